"""Detection into a file that is gone on with, and the table of detectors and sets."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtcnn_fast import MTCNN, Detections
from mtcnn_fast import read as read_picture
from mtcnn_fast.cli import main
from mtcnn_fast.datasets import Problems, read
from mtcnn_fast.evaluate import detect_to_file, read_detections
from mtcnn_fast.evaluate.sets import read_sets
from mtcnn_fast.streaming import detect_each

pytest.importorskip("tqdm")

POINTS = "20 20 40 20 30 30 22 40 38 40"
ENTRIES = 2000


def command(name: str, *arguments: object) -> int:
    return main(["evaluate", name, *map(str, arguments), "--device", "cpu"])


def detect(*arguments: object) -> int:
    return command("detect", *arguments)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A list of many rows, on a few small pictures of noise, of which one cannot be read."""
    generator = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(generator.integers(0, 256, (32, 24 + 8 * i, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = [f"{'broken' if i == 700 else i % 5}.png 1 20 1 20 {POINTS}\n" for i in range(ENTRIES)]
    (tmp_path / "list.txt").write_text("".join(rows))
    return tmp_path / "list.txt"


@pytest.fixture
def pictures(tmp_path: Path, astronaut_path: Path) -> Path:
    """A folder of one picture with a face, below a folder, and of one without."""
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    shutil.copy(astronaut_path, tmp_path / "pictures" / "a" / "face.jpg")
    Image.new("RGB", (60, 40)).save(tmp_path / "pictures" / "b.png")
    return tmp_path / "pictures"


def test_lines(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "found.jsonl"
    assert detect(pictures, "--json", output) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(line["path"], line["width"], line["height"]) for line in lines] == [
        ("b.png", 60, 40),
        ("a/face.jpg", 512, 512),
    ]
    expected = MTCNN(device="cpu").detect(read_picture(pictures / "a" / "face.jpg"))
    assert lines[1]["faces"] == expected.to_dicts()
    found = list(read_detections(output))
    assert [picture.name for picture in found] == ["b.png", "a/face.jpg"]
    np.testing.assert_array_equal(found[1].boxes, expected.boxes)
    np.testing.assert_array_equal(found[1].landmarks, expected.landmarks)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("2 pictures, 1 face, ")


def test_stopped_anywhere_it_ends_with_the_same_bytes(
    many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.jsonl"
    assert detect("--annotations", many, "--json", output) == 1
    whole = output.read_bytes()
    names = [json.loads(line)["path"] for line in whole.splitlines()]
    assert names == [annotation.name for annotation in read(many)]
    assert len(names) == ENTRIES
    told = capsys.readouterr().err
    assert told.count("broken.png") == 1
    assert "2,000 pictures, 0 faces, 1 failed, " in told

    ends = np.cumsum([len(line) for line in whole.splitlines(keepends=True)])
    # At the start, within the first line, within a line, before a line's end, between lines, at the end.
    for size in (0, 5, int(ends[900]) + 20, int(ends[1500]) - 1, int(ends[1234]), len(whole)):
        output.write_bytes(whole[:size])
        assert detect("--annotations", many, "--json", output) == 1
        assert output.read_bytes() == whole
        # What failed has been tried again.
        told = capsys.readouterr().err
        assert told.count("broken.png") == 1
        assert re.search(r"2,000 pictures, 0 faces, (\d+ from an earlier run, )?1 failed, ", told)


def test_batches_do_not_matter(many: Path, tmp_path: Path) -> None:
    detector = MTCNN(device="cpu", thresholds=(0.1, 0.1, 0.1), min_face_size=12)
    files = [(str(i), many.parent / f"{i % 5}.png") for i in range(20)]
    contents = []
    for size in (1, 7, 32):
        output = tmp_path / f"{size}.jsonl"
        assert detect_to_file(detector, files, output, batch_size=size).count == 0
        contents.append(output.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_an_interrupted_run_keeps_what_it_has(many: Path, tmp_path: Path) -> None:
    detector = MTCNN(device="cpu")
    files = [(annotation.name, annotation.path) for annotation in read(many)]
    detect_to_file(detector, files, tmp_path / "whole.jsonl")
    done = 0

    def interrupt(count: int) -> None:
        nonlocal done
        done += count
        if done == 333:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect_to_file(detector, files, tmp_path / "found.jsonl", progress=interrupt)
    assert len((tmp_path / "found.jsonl").read_bytes().splitlines()) == 333
    counts: list[int] = []
    assert detect_to_file(detector, files, tmp_path / "found.jsonl", progress=counts.append).count == 1
    assert sum(counts) == ENTRIES
    assert (tmp_path / "found.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_file_of_another_run_is_left_alone(
    many: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.jsonl"
    detect(pictures, "--json", output)
    before = output.read_bytes()
    weights = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
    for arguments, words in (
        ((pictures, "--min-face-size", 30), "other settings: min_face_size"),
        ((pictures, "--max-faces", 1, "--thresholds", 0.5, 0.5, 0.5), "other settings: thresholds, max_faces"),
        ((pictures, "--weights", weights), "other settings: weights"),
        (("--annotations", many), "is of other pictures: picture 1 is 'b.png' there, and '0.png' here"),
        ((pictures / "b.png",), "picture 2 is 'a/face.jpg' there, and no more here"),
    ):
        with pytest.raises(SystemExit):
            detect(*arguments, "--json", output)
        assert words in capsys.readouterr().err
        assert output.read_bytes() == before
    # The number of threads is no setting that matters.
    assert detect(pictures, "--json", output, "--num-threads", 1) == 0
    (tmp_path / "found.jsonl.settings").unlink()
    # It has everything: there is nothing to add to it.
    assert detect(pictures, "--json", output) == 0
    output.write_bytes(before.splitlines(keepends=True)[0])
    with pytest.raises(SystemExit):
        detect(pictures, "--json", output)
    assert "not the settings" in capsys.readouterr().err
    output.write_bytes(b'{"faces": []}\n' + before)
    with pytest.raises(SystemExit):
        detect(pictures, "--json", output)
    assert "found.jsonl:1: not a line" in capsys.readouterr().err


def test_what_the_detector_refuses_is_survived(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (2500, 2500)).save(pictures / "large.png")
    (pictures / "empty.jpg").touch()
    output = tmp_path / "found.jsonl"
    assert detect(pictures, "--json", output, "--min-face-size", 4, "--scale-factor", 0.99) == 1
    lines = {line["path"]: line for line in map(json.loads, output.read_text().splitlines())}
    assert "pyramid" in lines["large.png"]["error"]
    assert (lines["large.png"]["width"], lines["large.png"]["faces"]) == (2500, [])
    assert set(lines["empty.jpg"]) == {"path", "error", "faces"}
    assert len(lines["a/face.jpg"]["faces"]) == 1
    assert "4 pictures, 1 face, 2 failed, " in capsys.readouterr().err
    problems = Problems()
    assert [len(picture.boxes) for picture in read_detections(output, problems=problems)] == [0, 0, 0, 1]
    assert problems.count == 2


def test_nothing_is_written_for_paths_that_lead_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(tmp_path / "missing.jpg", "--json", tmp_path / "found.jsonl") == 1
    assert "missing.jpg: No such file or directory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bar_on_a_terminal(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert detect(pictures, "--json", tmp_path / "found.jsonl") == 0
    assert "2picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either PATHs or --annotations"),
        (["a.jpg", "--annotations", "list.txt"], "either PATHs or --annotations"),
        (["--annotations", "missing.txt"], "missing.txt"),
        (["a.jpg", "--batch", "0"], "batch"),
        (["a.jpg", "--min-face-size", "1"], "min_face_size"),
        (["a.jpg", "--max-faces", "-1"], "max_faces"),
        ([__file__, "--json", "missing/found.jsonl"], "no folder"),
    ],
)
def test_bad_options(arguments: Sequence[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        detect("--json", tmp_path / "found.jsonl", *arguments)
    assert exited.value.code == 2
    assert words in capsys.readouterr().err


def test_pictures_are_read_little_ahead(many: Path) -> None:
    taken = 0

    def files() -> Any:
        nonlocal taken
        for annotation in read(many):
            taken += 1
            yield annotation, annotation.path

    none = Detections(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
    outcomes = detect_each(lambda images: [none] * len(images), files(), batch_size=16)
    for _ in range(100):
        next(outcomes)
    assert taken <= 112 + 16  # the batches at hand and the next one
    outcomes.close()


@pytest.fixture
def sets(tmp_path: Path, pictures: Path, astronaut_path: Path) -> Path:
    """A TOML file of a complete set, one with a face a picture labelled, and backgrounds."""
    found = MTCNN(device="cpu").detect(Image.open(astronaut_path))[0]
    x1, y1, x2, y2 = found.box.tolist()
    points = " ".join(f"{value:g}" for value in found.landmarks.ravel().tolist())
    (pictures / "list.txt").write_text(f"a/face.jpg {x1} {x2} {y1} {y2} {points}\nb.png 1 20 1 20 {points}\n")
    (pictures / "only.txt").write_text("face\n")
    (tmp_path / "backgrounds").mkdir()
    shutil.copy(astronaut_path, tmp_path / "backgrounds")
    (tmp_path / "sets.toml").write_text(
        """
        [whole]
        path = "pictures/list.txt"
        [one]
        format = "facepoint"
        path = "pictures/list.txt"
        only = "pictures/only.txt"
        images = "pictures"
        iou = 0.4
        complete = false
        normalisation = "box"
        [background]
        format = "backgrounds"
        path = "backgrounds"
        """
    )
    return tmp_path / "sets.toml"


def cells(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]


def test_table(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    weights = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
    assert command("table", "--sets", sets, "--detectors", "embedded", weights) == 0
    out = capsys.readouterr().out
    assert "min_face_size 20" in out
    assert "thresholds 0.6 0.7 0.7" in out
    head, _, *rows = cells(out)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row.pop("detector") for row in found] == ["embedded", str(weights)] * 3
    assert found[::2] == found[1::2]
    whole, one, background = found[::2]
    assert list(whole.values()) == [
        "whole",
        "2",
        "0.5",
        "2",
        "0.5000",
        "1.0000",
        "0",
        "0.5000",
        "0.0000",
        "inter-ocular",
    ]
    assert list(one.values()) == ["one", "1", "0.4", "1", "1.0000", "-", "-", "-", "0.0000", "box"]
    assert list(background.values()) == ["background", "1", "0.5", "0", "-", "-", "1", "-", "-", "-"]


def test_ignored_boxes_of_sets(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ignored = sets.parent / "ignored.json"
    folder = sets.parent / "backgrounds"
    ignored.write_text(json.dumps({path.name: [[0, 0, 512, 512]] for path in folder.iterdir()}))
    assert command("table", "--set", f"background=backgrounds:{folder},ignored={ignored},iou=0.01") == 0
    assert cells(capsys.readouterr().out)[2][7] == "0"


def test_recall_in_the_table(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = sets.parent / "pictures" / "list.txt"
    described = f"facepoint:{place},only={place.parent / 'only.txt'}"
    chosen = ("--set", f"whole={described}", "--set", f"part={described},complete=no", "--false-positives", 0, 9)
    assert command("table", *chosen) == 0
    head, _, whole, part = cells(capsys.readouterr().out)
    assert head[-2:] == ["recall at 0", "recall at 9"]
    assert whole[-2:] == ["1.0000 (1.0000 to 1.0000)"] * 2
    assert part[-2:] == ["-", "-"]


def test_sets_of_the_command_line(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = sets.parent / "pictures" / "list.txt"
    one = f"one=facepoint:{place},only={place.parent / 'only.txt'},iou=0.4,complete=no"
    (place.parent / "broken.png").write_bytes(b"no picture")
    with place.open("a") as file:
        file.write(f"broken.png 1 20 1 20 {POINTS}\n")
    assert command("table", "--set", one, "--set", f"all=facepoint:{place}") == 1
    out, err = capsys.readouterr()
    assert [row[:5] for row in cells(out)[2:]] == [
        ["one", "1", "0.4", "embedded", "1"],
        ["all", "3", "0.5", "embedded", "3"],
    ]
    assert "broken.png: not a picture" in err
    assert "1 pictures could not be used" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "wanted --sets or --set"),
        (["--set", "name"], "wanted NAME=FORMAT:PATH"),
        (["--set", "name=voc"], "wanted NAME=FORMAT:PATH"),
        (["--set", "name=darknet:a"], "format is 'darknet'"),
        (["--set", "name=voc:a,iou=x"], "iou is 'x'"),
        (["--set", "name=voc:a,iou=2"], "iou is 2"),
        (["--set", "name=voc:a,smallest_face=x"], "smallest_face is 'x'; wanted a number"),
        (["--set", "name=voc:a", "--false-positives", "-1"], "a number of false positives is -1"),
        (["--set", "name=voc:a,complete=false"], "wanted yes or no"),
        (["--set", "name=voc:a,colour=red"], "no key 'colour'"),
        (["--set", "name=voc:a,normalisation=nose"], "normalisation is 'nose'"),
        (["--set", "name=voc:a,only"], "wanted KEY=VALUE"),
        (["--set", "name=voc:missing"], "missing"),
        (["--set", "name=voc:.", "--detectors", "missing.safetensors"], "missing.safetensors"),
        (["--sets", "missing.toml"], "missing.toml"),
    ],
)
def test_bad_tables(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        command("table", *arguments)
    assert exited.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[a", "not TOML"),
        ("a = 1", "wanted a table with a path"),
        ("[a]\nformat = 'voc'", "wanted a table with a path"),
        ("[a]\npath = 1", "path is 1"),
        ("[a]\npath = 'x'\niou = '0.5'", "iou is '0.5'"),
        ("[a]\npath = 'x'\ncomplete = 'no'", "complete is 'no'"),
    ],
)
def test_bad_toml(content: str, words: str, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    (tmp_path / "sets.toml").write_text(content)
    with pytest.raises(ValueError, match=words) as raised:
        read_sets(tmp_path / "sets.toml")
    assert "sets.toml" in str(raised.value)


def test_facenet_pytorch_that_is_not_there(
    sets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    with pytest.raises(SystemExit):
        command("table", "--set", f"a=facepoint:{sets.parent}/pictures/list.txt", "--detectors", "facenet-pytorch")
    assert "facenet_pytorch" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_that_a_list_names_is_not_waited_for(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "list.txt").write_text(f"a/face.jpg 1 20 1 20 {POINTS}\npipe.jpg 1 20 1 20 {POINTS}\n")
    os.mkfifo(pictures / "pipe.jpg")
    output = tmp_path / "found.jsonl"
    assert detect("--annotations", pictures / "list.txt", "--json", output) == 1
    assert command("table", "--set", f"a=facepoint:{pictures}/list.txt") == 1
    assert capsys.readouterr().err.count("pipe.jpg: it is a pipe, not a picture") == 2
    # One that the user names is read to its end.
    content = (pictures / "a" / "face.jpg").read_bytes()
    writer = threading.Thread(target=lambda: (pictures / "pipe.jpg").write_bytes(content))
    writer.start()
    assert detect(pictures / "pipe.jpg", "--json", tmp_path / "piped.jsonl") == 0
    writer.join()


def test_annotations_of_no_picture_are_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.txt").write_text(f"../up.jpg 1 20 1 20 {POINTS}\n")
    assert detect("--annotations", tmp_path / "list.txt", "--json", tmp_path / "found.jsonl") == 1
    err = capsys.readouterr().err
    assert "no pictures found" in err
    assert "--outside" in err
