"""`mtcnn-fast detect`: results as they come, kept whatever ends the run, and gone on with."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from mtcnn_fast import MTCNN, Detections, detecting, result_formats, streaming
from mtcnn_fast.cli import interrupts, main
from mtcnn_fast.reading import Picture
from mtcnn_fast.results import File

pytest.importorskip("cv2")
pytest.importorskip("tqdm")


def detect(*arguments: object) -> int:
    return main(["detect", "--device", "cpu", *map(str, arguments)])


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "mtcnn_fast", "detect", "--device", "cpu", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    found: list[dict[str, Any]] = (
        json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))
    )
    return found


@pytest.fixture
def pictures(tmp_path: Path, astronaut_path: Path) -> Path:
    """300 links to a picture with a face, one without, and one with two pages."""
    (tmp_path / "data").mkdir()
    with Image.open(astronaut_path) as picture:
        small = picture.crop((120, 40, 300, 220)).resize((60, 60))
    small.save(tmp_path / "data" / "face.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "data" / "none.png")
    small.save(tmp_path / "data" / "pages.tif", save_all=True, append_images=[Image.new("RGB", (20, 20))])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(300):
        target = tmp_path / "data" / ("face.png", "none.png", "pages.tif")[number % 3]
        (folder / f"{number:03}{target.suffix}").symlink_to(target)
    return folder


@pytest.fixture
def whole(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The document of a run that nothing disturbed."""
    assert detect(pictures, "--json", tmp_path / "whole.json") == 0
    assert not list(tmp_path.glob("whole.json.*"))
    capsys.readouterr()
    return tmp_path / "whole.json"


def test_pages_are_told(whole: Path) -> None:
    found = records(whole)
    assert len(found) == 400
    assert [(record.get("page"), record.get("pages"), len(record["faces"])) for record in found[:4]] == [
        (None, None, 1),
        (None, None, 0),
        (0, 2, 1),
        (1, 2, 0),
    ]


def test_the_first_page_alone(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(pictures / "002.tif", "--pages", "first", "--json", tmp_path / "a.json") == 0
    (record,) = records(tmp_path / "a.json")
    assert (record["page"], record["pages"]) == (0, 2)
    assert "page 0 of 2" in capsys.readouterr().out


def test_lines_are_those_of_the_document(pictures: Path, whole: Path, tmp_path: Path) -> None:
    for arguments in (["--json", tmp_path / "a.jsonl"], ["--json", tmp_path / "a.txt", "--format", "jsonl"]):
        assert detect(pictures, *arguments) == 0
        lines = Path(str(arguments[1])).read_text().splitlines()
        assert list(map(json.loads, lines)) == records(whole)


def test_stdout_is_one_document_or_lines(pictures: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(pictures, "--json", "-") == 0
    assert capsys.readouterr().out == whole.read_text()
    assert detect(pictures, "--json", "-", "--format", "jsonl") == 0
    assert list(map(json.loads, capsys.readouterr().out.splitlines())) == records(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_an_interrupted_run_leaves_a_whole_file(
    pictures: Path, whole: Path, tmp_path: Path, number: signal.Signals, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*[pictures] * 10, "--json", tmp_path / name]
    with started(*arguments) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    found = records(tmp_path / name)
    assert 20 <= len(found) < 10 * 400
    assert found == (records(whole) * 10)[: len(found)]
    assert not list(tmp_path.glob("a.json*.part"))
    assert detect(*arguments, "--resume") == 0
    assert records(tmp_path / name) == records(whole) * 10


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to another process")
def test_a_key_that_is_pressed_twice_loses_nothing(pictures: Path, tmp_path: Path) -> None:
    with started(*[pictures] * 10, "--json", tmp_path / "a.json") as process:
        assert process.stdout is not None
        for _ in range(50):
            process.stdout.readline()
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.002)
        _, err = process.communicate(timeout=60)
    # The system's own status where the last comes when the interpreter has given up its handlers.
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err
    assert len(records(tmp_path / "a.json")) >= 50


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to another process")
def test_a_later_interrupt_ends_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(interrupts, "_SECONDS_TO_END", 0.01)
    monkeypatch.setattr(os, "_exit", ended.append)
    previous = {number: signal.getsignal(number) for number in interrupts.STATUS}
    try:
        with interrupts.interruptible():
            with pytest.raises(interrupts.Interrupt):
                signal.raise_signal(signal.SIGINT)
            time.sleep(0.02)
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        interrupts._came.clear()
    assert ended == [143]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to another process")
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_killed_run_is_gone_on_with(
    pictures: Path, whole: Path, tmp_path: Path, name: str, earlier: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    good = b'{"path": "other.jpg", "faces": []}\n' if name.endswith("l") else b"[]\n"
    if earlier:
        path.write_bytes(good)
    generator = random.Random(name)
    for attempt in range(3):
        with started(pictures, pictures, "--json", path, *["--resume"] * (attempt > 0)) as process:
            assert process.stdout is not None
            for _ in range(generator.randint(1, 200)):
                process.stdout.readline()
            process.kill()
            process.communicate()
        # A file of before is there until the new one is whole.
        if earlier:
            assert path.read_bytes() == good
        lines = path if path.exists() and not earlier else tmp_path / f"{name}.part"
        assert lines.read_text().count("\n") > 0
    if not (name == "a.jsonl" and not earlier):
        with pytest.raises(SystemExit):
            detect(pictures, pictures, "--json", path)
        assert "--resume goes on with it" in capsys.readouterr().err
    assert detect(pictures, pictures, "--json", path, "--resume") == 0
    assert records(path) == records(whole) * 2
    assert not (tmp_path / f"{name}.part").exists()


def test_cut_anywhere_it_ends_the_same(pictures: Path, whole: Path, tmp_path: Path) -> None:
    detect(pictures, "--json", tmp_path / "a.jsonl")
    content = (tmp_path / "a.jsonl").read_bytes()
    generator = random.Random(1)
    for size in (0, 1, len(content) - 1, *(generator.randrange(len(content)) for _ in range(12))):
        (tmp_path / "a.jsonl").write_bytes(content[:size])
        assert detect(pictures, "--json", tmp_path / "a.jsonl", "--resume") == 0
        assert (tmp_path / "a.jsonl").read_bytes() == content


def test_an_interrupt_spares_an_earlier_file(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    interrupted_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    path = tmp_path / "a.json"
    path.write_text("[]\n")
    with interrupted_after(50):
        assert detect(pictures, "--json", path) == 130
    assert path.read_text() == "[]\n"
    assert len((tmp_path / "a.json.part").read_text().splitlines()) == 50
    told = f"{path} is from an earlier run; the results of this run are in {path}.part (--resume goes on)"
    assert told in capsys.readouterr().err
    assert detect(pictures, "--json", path, "--resume") == 0
    assert len(records(path)) == 400


def test_resuming_a_finished_run_does_nothing(pictures: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = whole.read_bytes()
    assert detect(pictures, "--json", whole, "--resume") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("400 pictures, 200 faces, 400 from an earlier run, ")
    assert whole.read_bytes() == before
    # More cannot be added to a file of which nobody knows the settings.
    (pictures / "new.png").symlink_to(pictures.parent / "data" / "face.png")
    with pytest.raises(SystemExit):
        detect(pictures, "--json", whole, "--resume")
    assert "not the settings" in capsys.readouterr().err
    assert whole.read_bytes() == before


def test_resuming_begins_where_there_is_nothing(pictures: Path, whole: Path, tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl"):
        assert detect(pictures, "--json", tmp_path / name, "--resume") == 0
        assert records(tmp_path / name) == records(whole)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_failed_is_tried_again(
    pictures: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [pictures / f"{number:03}.png" for number in (4, 10, 150)]
    targets = {path: path.readlink() for path in broken}
    for path in broken:
        path.unlink()
        path.write_bytes(b"away")
    assert detect(pictures, "--json", tmp_path / name) == 1
    assert sum("error" in record for record in records(tmp_path / name)) == 3
    for path in broken[:2]:
        path.unlink()
        path.symlink_to(targets[path])
    assert detect(pictures, "--json", tmp_path / name, "--resume") == 1
    out = capsys.readouterr().out
    assert out.count("004.png") == 1
    assert out.count("005.tif") == 2  # a page each, and none again
    assert [record["path"] for record in records(tmp_path / name) if "error" in record] == [str(broken[2])]
    broken[2].unlink()
    broken[2].symlink_to(targets[broken[2]])
    assert detect(pictures, "--json", tmp_path / name, "--resume") == 0
    assert detect(pictures, "--json", tmp_path / "whole.json") == 0
    assert records(tmp_path / name) == records(tmp_path / "whole.json")
    assert not list(tmp_path.glob("*.retried"))


def test_a_kill_while_trying_again_loses_nothing(pictures: Path, tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert detect(pictures, "--json", path) == 0
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    for number in (0, 1, 5, 8):
        record = json.loads(lines[number])
        assert "page" not in record
        lines[number] = json.dumps({"path": record["path"], "error": "away", "faces": []}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    # Two were tried again, and of the third the line is not whole, when the process was killed.
    tried = [[1, json.loads(good.splitlines()[0])], [2, json.loads(good.splitlines()[1])]]
    left = "".join(json.dumps(line) + "\n" for line in tried) + '[5, {"path": "'
    (tmp_path / "a.jsonl.retried").write_text(left)
    assert detect(pictures, "--json", path, "--resume") == 0
    assert path.read_bytes() == good


def test_other_settings_and_pictures_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    assert detect(pictures, "--json", path) == 0
    before = path.read_bytes()
    for arguments, words in (
        ((pictures, "--min-face-size", 30), "other settings: min_face_size"),
        ((pictures, "--pages", "first"), "other settings: pages"),
        ((pictures, "--clip"), "other settings: clip"),
        ((pictures / "001.png",), "is of other pictures"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            detect(*arguments, "--json", path, "--resume")
        assert exited.value.code == 2
        assert words in capsys.readouterr().err
        assert path.read_bytes() == before
    with pytest.raises(SystemExit):
        detect(pictures, "--resume")
    assert "--json FILE" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_run_of_first_pages_is_whole(
    pictures: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [pictures / "002.tif", "--pages", "first", "--json", tmp_path / name]
    assert detect(*arguments) == 0
    before = (tmp_path / name).read_bytes()
    capsys.readouterr()
    assert detect(*arguments, "--resume") == 0
    assert capsys.readouterr().err.startswith("1 picture, 1 face, 1 from an earlier run, ")
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        '[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]',
        '{"images": []}',
        '{"image": "a.png", "boxes": []}\n{"image": "b',
        '{"path": "a.png", "faces": [], "pages": "2"}',
        '{"path": "a.png", "faces": [], "page": null}\n',
        '{"path": "a.png", "faces": []}',
        "[" * 5000,
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_file_of_another_tool_is_left_alone(
    pictures: Path, tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as exited:
        detect(pictures / "000.png", "--json", tmp_path / name, "--resume")
    assert exited.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / name).read_text().rstrip("\n") == content.rstrip("\n")
    assert not list(tmp_path.glob("*.part*"))


def test_a_machine_that_went_down_leaves_zeros(pictures: Path, whole: Path, tmp_path: Path) -> None:
    detect(pictures, "--json", tmp_path / "a.jsonl")
    content = (tmp_path / "a.jsonl").read_bytes()
    cut = content.index(b"\n", 5000) + 1
    for left in (content[:cut], content[: cut + 15], content[: cut - 1]):
        (tmp_path / "a.jsonl").write_bytes(left + bytes(100) if left.endswith((b"\n", b"p")) else left)
        assert detect(pictures, "--json", tmp_path / "a.jsonl", "--resume") == 0
        assert (tmp_path / "a.jsonl").read_bytes() == content


def test_settings_are_compared_before_anything_is_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_bytes(b"away")
    arguments = [pictures / "000.png", pictures / "broken.png", "--json", tmp_path / "a.json"]
    assert detect(*arguments) == 1
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208
    with pytest.raises(SystemExit):
        detect(*arguments, "--resume", "--min-face-size", 30)
    assert "other settings: min_face_size" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208


def test_what_an_earlier_run_tried_again_is_not_taken_for_this_ones(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, retried = tmp_path / "a.jsonl", tmp_path / "a.jsonl.retried"
    picture = str(pictures / "000.png")
    for number, name in ((1, "other.png"), (9, picture), (0, picture)):
        path.unlink(missing_ok=True)
        assert detect(picture, "--json", path) == 0
        before = path.read_bytes()
        retried.write_text(json.dumps([number, {"path": name, "faces": []}]) + "\n")
        with pytest.raises(SystemExit):
            detect(picture, "--json", path, "--resume")
        assert "is of other pictures" in capsys.readouterr().err
        assert path.read_bytes() == before
    for damaged in ("[", "{}", "[1, 2]", '["a", {"path": "x", "faces": []}]', "[1, {}]", "[" * 5000):
        retried.write_text(damaged + "\n")
        with pytest.raises(SystemExit):
            detect(picture, "--json", path, "--resume")
        assert "a.jsonl.retried:1: not a line that this command has written" in capsys.readouterr().err
        assert path.read_bytes() == before
    # A new run replaces the file, and what belonged to it.
    assert detect(picture, "--json", path) == 0
    assert not retried.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links")
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_file_that_is_a_link(pictures: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "real").mkdir()
    link, target = tmp_path / name, tmp_path / "real" / name
    link.symlink_to(target)
    for _ in range(2):
        assert detect(pictures / "000.png", "--json", link) == 0
        assert link.is_symlink()
        assert len(records(target)) == 1
        target.chmod(0o600)
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_two_runs_never_write_one_file(
    pictures: Path, whole: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(*[pictures] * 4, "--json", tmp_path / name) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for more in ([], ["--resume"]):
            with pytest.raises(SystemExit):
                detect(pictures, "--json", tmp_path / name, *more)
            assert f"another run is writing {tmp_path / name}" in capsys.readouterr().err
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert records(tmp_path / name) == records(whole) * 4


def test_options_that_would_count_for_nothing(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: list[list[str]] = [["--json", "-", "--resume"], ["--json", os.devnull, "--resume"], ["--format", "jsonl"]]
    for arguments in options:
        with pytest.raises(SystemExit) as exited:
            detect(pictures, *arguments)
        assert exited.value.code == 2
        assert arguments[-1 if "--resume" in arguments else 0] in capsys.readouterr().err


def test_a_name_that_is_too_long_costs_nothing_else(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x" * 300 + ".jpg"
    (tmp_path / "a.json").write_text("[]\n")
    assert detect(name, pictures / "000.png", "--json", tmp_path / "a.json", "--draw", tmp_path / "drawn") == 1
    assert f"{name}: File name too long" in capsys.readouterr().err
    assert ["error" in record for record in records(tmp_path / "a.json")] == [True, False]


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_pictures_that_links_lead_to_are_not_drawn_over(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "face.png").symlink_to(data / "face.png")
    for _ in range(2):
        assert detect(tmp_path / "linked", "--draw", data) == 0
    after = {path.name: path.read_bytes() for path in data.iterdir()}
    assert sorted(after.keys() - before.keys()) == ["face-2.png"]
    assert {name: after[name] for name in before} == before


def test_whatever_a_drawing_raises_costs_no_faces(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise SystemError("tile cannot extend outside image")

    monkeypatch.setattr("mtcnn_fast.drawings.draw", fail)
    assert detect(pictures / "000.png", "--draw", tmp_path / "drawn", "--json", tmp_path / "a.json") == 1
    assert "000.png: not drawn: tile cannot extend outside image" in capsys.readouterr().err
    assert len(records(tmp_path / "a.json")[0]["faces"]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have shorter paths")
def test_drawings_of_nested_folders(
    tmp_path: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    below = "d/" * 1200
    for name in ("d/" * number for number in range(200, 1201, 200)):
        Path("in", name).mkdir(parents=True)
    shutil.copy(astronaut_path, f"in/{below}a.jpg")
    try:
        assert detect("in", "--draw", "in/drawn") == 0
        assert Path("in/drawn", below, "a.jpg").exists()
    finally:
        subprocess.run(["rm", "-rf", "in"], check=True)


def test_a_picture_is_never_replaced(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    before = {path: path.read_bytes() for path in data.iterdir()}
    for arguments in (
        (data / "face.png", "--json", data / "face.png"),
        (data, "--json", data / "none.png"),
        (data / "face.png", "--json", pictures / "000.png"),
    ):
        with pytest.raises(SystemExit) as exited:
            detect(*arguments, "--format", "json")
        assert exited.value.code == 2
        assert "it is not replaced" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in data.iterdir()} == before


def test_a_drawing_that_fails_costs_nothing(
    pictures: Path, tmp_path: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, drawn, path = tmp_path / "in", tmp_path / "out", tmp_path / "a.json"
    (folder / "sub").mkdir(parents=True)
    drawn.mkdir()
    for name in ("a.jpg", "sub/b.jpg"):
        shutil.copy(astronaut_path, folder / name)
    with Image.open(astronaut_path) as picture:
        picture.convert("L").save(folder / "gray.pgm")
    (drawn / "sub").touch()
    assert detect(folder, "--draw", drawn, "--json", path) == 1
    err = capsys.readouterr().err
    assert f"{folder}/sub/b.jpg: not drawn: {drawn}/sub is no folder" in err
    assert "Traceback" not in err
    found = records(path)
    assert [len(record["faces"]) for record in found] == [1, 1, 1]
    assert [record.get("drawing") for record in found] == [str(drawn / "a.jpg"), str(drawn / "gray.png"), None]
    # It is drawn by the next run, and nothing else is.
    (drawn / "sub").unlink()
    times = {name: (drawn / name).stat().st_mtime_ns for name in ("a.jpg", "gray.png")}
    assert detect(folder, "--draw", drawn, "--json", path, "--resume") == 0
    assert times == {name: (drawn / name).stat().st_mtime_ns for name in times}
    assert [record["drawing"] for record in records(path)][2] == str(drawn / "sub" / "b.jpg")


def test_drawings_of_pages_and_of_one_name(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, drawn = tmp_path / "data", tmp_path / "drawn"
    (tmp_path / "two").mkdir()
    shutil.copy(data / "face.png", tmp_path / "two")
    assert detect(data, tmp_path / "two", "--draw", drawn, "--json", tmp_path / "a.json") == 0
    assert sorted(path.name for path in drawn.iterdir()) == [
        "face-2.png",
        "face.png",
        "none.png",
        "pages-page0.tif",
        "pages-page1.tif",
    ]
    assert [record["drawing"] for record in records(tmp_path / "a.json")][-1] == str(drawn / "face-2.png")


def test_an_unwritable_destination_is_told_before_any_picture(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()

    def never(*_: Any) -> Any:
        raise AssertionError("a picture was read")

    monkeypatch.setattr(streaming, "read_ahead", never)
    for arguments in (
        ["--draw", tmp_path / "file"],
        ["--draw", tmp_path / "file" / "sub"],
        ["--json", tmp_path / "file" / "a.json"],
        ["--json", tmp_path],
        ["--json", tmp_path / "missing" / "a.json"],
        ["--json", ""],
        ["--draw", ""],
    ):
        with pytest.raises(SystemExit) as exited:
            detect(pictures, *arguments)
        assert exited.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_nothing_is_written_for_paths_that_lead_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert detect("holiday/", "https://host/a.jpg", "--json", "faces.json", "--draw", "out") == 1
    assert os.listdir() == []  # noqa: PTH208
    err = capsys.readouterr().err
    assert "holiday/: No such file or directory" in err
    assert "https://host/a.jpg: No such file or directory" in err


def test_an_empty_path_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        detect("")
    assert exited.value.code == 2
    assert "it is empty; wanted a path" in capsys.readouterr().err


def test_what_was_passed_over_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.mov", "b.mov", "notes.txt"):
        (tmp_path / name).touch()
    assert detect(tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == ["no pictures found", "passed over: 2 .mov, 1 .txt"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA error: an illegal memory access"), ValueError("x")]
)
def test_one_picture_never_ends_a_run(
    pictures: Path,
    tmp_path: Path,
    error: Exception,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = MTCNN.detect_batch

    def fail(detector: MTCNN, images: Any, **options: Any) -> Any:
        if any(image.shape[:2] == (30, 40) for image in images):
            raise error
        return found(detector, images, **options)

    monkeypatch.setattr(MTCNN, "detect_batch", fail)
    assert detect(*[pictures / f"{number:03}.{kind}" for number, kind in ((0, "png"), (1, "png"), (2, "tif"))]) == 1
    out, err = capsys.readouterr()
    assert out.count(": 1 face") == 2
    assert f"{pictures}/001.png: {str(error) or 'not enough memory'}" in err


def test_an_animation_that_breaks_off(tmp_path: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open(astronaut_path) as picture:
        picture.save(tmp_path / "a.tif", save_all=True, append_images=[picture.rotate(90), picture.rotate(180)])
    content = (tmp_path / "a.tif").read_bytes()
    with Image.open(tmp_path / "a.tif") as opened:
        opened.seek(2)
        place = opened.tag_v2[273][0]  # type: ignore[attr-defined] # where its pixels are
    (tmp_path / "a.tif").write_bytes(content[:place] + bytes(100) + content[place + 100 :])
    assert detect(tmp_path / "a.tif", "--json", tmp_path / "a.jsonl") in (0, 1)
    found = records(tmp_path / "a.jsonl")
    assert [(record["page"], record["pages"]) for record in found] == [(0, 3), (1, 3), (2, 3)]
    assert len(found[0]["faces"]) == 1


def test_a_page_that_cannot_be_read_is_the_last(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seek = TiffImagePlugin.TiffImageFile.seek

    def fail(image: TiffImagePlugin.TiffImageFile, frame: int) -> None:
        if frame == 1 and threading.current_thread() is threading.main_thread():
            raise EOFError("it breaks off")
        seek(image, frame)

    path = tmp_path / "a.jsonl"
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "seek", fail)
    assert detect(pictures / "002.tif", pictures / "003.png", "--json", path) == 1
    assert [(record.get("page"), "error" in record) for record in records(path)] == [
        (0, False),
        (1, True),
        (None, False),
    ]
    monkeypatch.undo()
    assert detect(pictures / "002.tif", pictures / "003.png", "--json", path, "--resume") == 0
    assert [(record.get("page"), "error" in record) for record in records(path)] == [
        (0, False),
        (1, False),
        (None, False),
    ]


def test_a_full_disk_keeps_what_was_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add, count = File.add, 0

    def full(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 70:
            raise OSError(28, "No space left on device", str(tmp_path / "a.jsonl"))
        add(*arguments)

    monkeypatch.setattr(File, "add", full)
    assert detect(pictures, "--json", tmp_path / "a.jsonl") == 1
    assert f"{tmp_path}/a.jsonl: No space left on device" in capsys.readouterr().err
    assert len(records(tmp_path / "a.jsonl")) == 69
    monkeypatch.undo()
    assert detect(pictures, "--json", tmp_path / "a.jsonl", "--resume") == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_the_last_write_tells_where_the_results_are(
    pictures: Path,
    tmp_path: Path,
    error: BaseException,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(result_formats, "write", fail)
    assert detect(pictures, "--json", tmp_path / "a.json") == (1 if isinstance(error, OSError) else 130)
    assert f"the results of this run are in {tmp_path}/a.json.part (--resume goes on)" in capsys.readouterr().err
    monkeypatch.undo()
    assert detect(pictures, "--json", tmp_path / "a.json", "--resume") == 0
    assert "400 from an earlier run" in capsys.readouterr().err


def test_a_document_of_any_layout_is_gone_on_with(pictures: Path, whole: Path, tmp_path: Path) -> None:
    found = records(whole)
    for number, text in enumerate((json.dumps(found), json.dumps(found, indent=2), "[]", "[\n]\n")):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        detector = MTCNN(device="cpu")
        settings = detecting.settings_of(detector, max_faces=None, clip=False, pages="all")
        (tmp_path / f"{number}.json.settings").write_text(json.dumps(settings))
        assert detect(pictures, "--json", path, "--resume") == 0
        assert records(path) == found


def test_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the engine and the decoder; bench/streaming.py runs the command over 100,000 pictures.
    def outcomes(find: Any, files: Any, **_: Any) -> Iterator[streaming.Outcome[Any]]:
        picture = Picture(np.zeros((4, 4, 3), np.uint8))
        none = Detections(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
        return (streaming.Outcome(key, picture, none) for key, _ in files)

    monkeypatch.setattr(detecting, "detect_each", outcomes)
    peaks = []
    for count in (2_000, 20_000):
        file: File[detecting.Item] = File(
            tmp_path / f"{count}.json", "json", {}, to_do_again=detecting.to_do_again(None)
        )
        items = (detecting.Item(f"{number}.jpg", "", "") for number in range(count))
        tracemalloc.start()
        for _ in detecting.detect_files(lambda _: [], items, detecting.Tally(), results=file, complain=lambda *_: None):
            pass
        file.close(True, True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(records(tmp_path / f"{count}.json")) == count
    assert peaks[1] < peaks[0] + 200_000


def test_a_run_that_is_over_leaves_no_threads(pictures: Path) -> None:
    before = threading.active_count()
    assert detect(pictures) == 0
    time.sleep(0.05)
    assert threading.active_count() <= before + 1


def test_formats() -> None:
    names = ("a.json", "a.JSONL", "a.ndjson", "a.csv", "a.b.parquet")
    assert [result_formats.format_of(name) for name in names] == ["json", "jsonl", "jsonl", "csv", "parquet"]
    assert result_formats.format_of("a.jsonl", "json") == "json"
