"""The command `mtcnn-fast`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast
from conftest import leave_early
from mtcnn_fast import MTCNN, reading
from mtcnn_fast.cli import main
from reference import CONVENTIONS

pytest.importorskip("cv2")
pytest.importorskip("tqdm")


@pytest.fixture
def folder(pictures: Path) -> Path:
    """The pictures, and a file that is none."""
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def detect(*arguments: object) -> int:
    return main(["detect", "--device", "cpu", *map(str, arguments)])


def test_one_line_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(folder, folder / "a" / "face.jpg") == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{folder}/c.png: 0 faces (60x40)",
        f"{folder}/a/face.jpg: 1 face (512x512)",
        f"{folder}/b/face.jpg: 1 face (512x512)",
        f"{folder}/a/face.jpg: 1 face (512x512)",
    ]
    closing, passed_over = err.splitlines()
    assert re.fullmatch(r"4 pictures, 3 faces, \d+\.\d s", closing)
    assert passed_over == "passed over: 1 .txt"


def test_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(folder / "a", folder / "c.png", "--json", "-") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert len(err.splitlines()) == 3
    assert [list(entry) for entry in document] == [["path", "width", "height", "faces"]] * 2
    assert document[0]["path"] == f"{folder}/a/face.jpg"
    assert (document[1]["width"], document[1]["height"], document[1]["faces"]) == (60, 40, [])
    image = mtcnn_fast.read(folder / "a" / "face.jpg")
    assert document[0]["faces"] == MTCNN(device="cpu").detect(image).to_dicts()

    assert detect(folder / "a", folder / "c.png", "--json", tmp_path / "faces.json") == 0
    assert json.loads((tmp_path / "faces.json").read_text()) == document
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_unreadable_files_are_named_and_survived(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "a" / "empty.png").touch()
    missing = folder / "missing.jpg"
    assert detect(missing, folder, folder / "notes.txt", "--json", "-") == 1
    out, err = capsys.readouterr()
    records = json.loads(out)
    assert [Path(entry["path"]).name for entry in records if "error" not in entry] == ["c.png", "face.jpg", "face.jpg"]
    assert [list(entry) for entry in records if "error" in entry] == [["path", "error", "faces"]] * 4
    for path in (missing, folder / "a" / "broken.jpg", folder / "a" / "empty.png", folder / "notes.txt"):
        assert f"{path}: " in err


def test_a_picture_beyond_the_limits_is_survived(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (2500, 2500)).save(folder / "large.png")
    assert detect(folder / "large.png", folder / "c.png", "--min-face-size", "4", "--scale-factor", "0.99") == 1
    out, err = capsys.readouterr()
    assert "c.png: " in out
    assert "large.png: " in err
    assert "pyramid" in err


def test_draw(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = tmp_path / "new" / "drawn"
    assert detect(folder, folder / "a" / "face.jpg", folder / "b" / "face.jpg", "--draw", drawn) == 0
    files = sorted(str(path.relative_to(drawn)) for path in drawn.rglob("*.*"))
    assert files == ["a/face.jpg", "b/face.jpg", "c.png", "face-2.jpg", "face.jpg"]
    with Image.open(drawn / "face.jpg") as picture, Image.open(folder / "a" / "face.jpg") as before:
        assert picture.size == (512, 512)
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(before)).max() > 100


def test_draw_spares_the_pictures_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "a" / "face.jpg").read_bytes()
    assert detect(folder / "a", "--draw", folder / "a") == 0
    assert (folder / "a" / "face.jpg").read_bytes() == before
    assert (folder / "a" / "face-2.jpg").exists()


def test_draw_below_the_pictures_can_be_repeated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert detect(folder, "--draw", folder / "drawn") == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
    assert len(list((folder / "drawn").rglob("*.*"))) == 3


@pytest.mark.parametrize("name", ["дівчина.jpg", "face photo ☺.JPG", "100%.jpeg"])
def test_any_name(tmp_path: Path, astronaut_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(astronaut_path, tmp_path / name)
    assert detect(tmp_path, "--draw", tmp_path / "drawn", "--json", tmp_path / "faces.json") == 0
    assert f"{name}: 1 face" in capsys.readouterr().out
    assert (tmp_path / "drawn" / name).exists()
    assert json.loads((tmp_path / "faces.json").read_text())[0]["path"] == str(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows any bytes for a name")
def test_a_name_that_is_not_text(tmp_path: Path, astronaut_path: Path) -> None:
    shutil.copy(astronaut_path, os.fsencode(tmp_path) + b"/\xff.jpg")
    run = subprocess.run(
        [sys.executable, "-m", "mtcnn_fast", "detect", "--device", "cpu", tmp_path, "--json", "-"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert len(json.loads(run.stdout)[0]["faces"]) == 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation(
    tmp_path: Path, astronaut: NDArray[np.uint8], orientation: int, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.rot90(astronaut[:, 60:], turns)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert detect(tmp_path / "turned.jpg") == 0
    assert "1 face (452x512)" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_kinds_of_pictures(
    tmp_path: Path, astronaut: NDArray[np.uint8], mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    if mode == "I;16":
        Image.fromarray(astronaut[..., 1].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(astronaut).convert(mode).save(path)
    assert detect(path) == 0
    assert "1 face (512x512)" in capsys.readouterr().out


def test_options_reach_the_detector(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "a" / "face.jpg"
    few: list[Any] = [["--min-face-size", 300], ["--max-face-size", 40], ["--max-faces", 0]]
    for options in few:
        assert detect(picture, *options) == 0
        assert "0 faces" in capsys.readouterr().out
    detect(picture, "--thresholds", 0.1, 0.1, 0.1, "--nms-thresholds", 1, 1, 1, 1, "--clip", "--json", "-")
    faces = json.loads(capsys.readouterr().out)[0]["faces"]
    assert len(faces) > 10
    assert min(min(face["box"]) for face in faces) >= 0
    weights = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
    same = ["--device", "cpu", "--precision", "fp32", "--weights", weights, "--num-threads", 1]
    assert detect(picture, *same, "--profile", "mtcnn", "--scale-factor", 0.8) == 0
    assert "1 face" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--min-face-size", "1"], "min_face_size"),
        (["--min-face-size", "nan"], "min_face_size"),
        (["--min-face-size", "small"], "invalid float"),
        (["--max-faces", "-1"], "max_faces"),
        (["--thresholds", "1", "2", "3"], "thresholds"),
        (["--device", "cuda:9"], "device is 'cuda:9', but"),
        (["--profile", "opencv"], "profile"),
        (["--weights", "missing.safetensors"], "missing.safetensors"),
        (["--num-threads", "0"], "num_threads"),
        (["--json", "missing/faces.json"], "missing/faces.json"),
        (["--json", "."], ". is a folder; wanted the name of a file"),
        (["--draw", __file__], "test_cli.py"),
        (["--unknown"], "--unknown"),
    ],
)
def test_bad_options(folder: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        detect(folder, *options)
    assert exited.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(tmp_path, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "no pictures" in err


def test_a_bar_on_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert detect(folder) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "3/3" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(folder, "--json", "/dev/full") == 1
    assert capsys.readouterr().err.splitlines()[0] == "/dev/full: No space left on device"


def test_a_terminal_without_tqdm(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(SystemExit):
        detect(folder)
    assert 'pip install "mtcnn_fast[cli]"' in capsys.readouterr().err


def test_without_opencv(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert detect(folder) == 0
    with pytest.raises(SystemExit):
        detect(folder, "--draw", folder / "drawn")
    assert 'pip install "mtcnn_fast[cli]"' in capsys.readouterr().err


def test_without_pillow(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reading._pillow.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    try:
        with pytest.raises(SystemExit):
            detect(folder)
        assert main(["info"]) == 0
    finally:
        reading._pillow.cache_clear()
    assert 'pip install "mtcnn_fast[cli]"' in capsys.readouterr().err


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert mtcnn_fast.__version__ in out
    assert all(isa in out for isa in mtcnn_fast.available_isas())
    for word in ("devices", "cpu", "instruction sets", "threads", "weights"):
        assert word in out


@pytest.mark.parametrize("command", ["detect", "info"])
def test_info_and_detect_say_what_the_environment_has_wrong(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTCNN_FAST_ISA", "mmx")
    with pytest.raises(SystemExit):
        main([command] + [str(folder)] * (command == "detect"))
    assert "mmx" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["detect", "--help"], ["info", "--help"]):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        assert exited.value.code == 0
    text = capsys.readouterr().out
    options = ["--draw", "--json", "--max-faces", "--clip", "--min-face-size", "--max-face-size", "--scale-factor"]
    options += [
        "--thresholds",
        "--nms-thresholds",
        "--device",
        "--profile",
        "--precision",
        "--landmarks",
        "--weights",
        "--num-threads",
    ]
    for option in options:
        described = text.split(f"\n  {option}")[1].split("\n  -")[0]
        assert "(default: " in " ".join(described.split()), option


def test_the_choices_are_the_profiles_of_the_core(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["detect", "--help"])
    assert f"--profile {{{','.join(CONVENTIONS)}}}" in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"mtcnn-fast {mtcnn_fast.__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send to another process")
def test_an_interrupt_ends_quietly(folder: Path) -> None:
    arguments = [sys.executable, "-u", "-m", "mtcnn_fast", "detect", "--device", "cpu", *[str(folder)] * 3000]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
def test_a_reader_that_leaves(folder: Path) -> None:
    arguments = [sys.executable, "-u", "-m", "mtcnn_fast", "detect", "--device", "cpu", *[str(folder)] * 200]
    assert leave_early(arguments) == (1, "")
