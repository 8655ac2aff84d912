"""`mtcnn-fast track`."""

from __future__ import annotations

import json
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mtcnn_fast
from conftest import leave_early
from mtcnn_fast import MTCNN, Tracker, draw
from mtcnn_fast.cli import main
from videos import audio_of, cut, hide_pyav, make

pytest.importorskip("cv2")
pytest.importorskip("tqdm")

FRAMES = 24


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Path:
    """The astronaut's face, which moves by 2 pixels per frame, and sound."""
    images = [astronaut[40:200, 130 + 2 * i : 258 + 2 * i] for i in range(FRAMES)]
    return make(tmp_path_factory.mktemp("film") / "film.mp4", images, options={"movflags": "faststart"})


@pytest.fixture
def small() -> MTCNN:
    return MTCNN(device="cpu", min_face_size=40, num_threads=1)


def track(*arguments: object) -> int:
    options = ("--device", "cpu", "--min-face-size", 40, "--num-threads", 1)
    return main(["track", *map(str, (*arguments, *options))])


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_outputs(film: Path, tmp_path: Path, small: MTCNN, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, lines, crops = tmp_path / "drawn.mp4", tmp_path / "faces.jsonl", tmp_path / "crops"
    assert track(film, "--draw", drawn, "--json", lines, "--crops", crops, "--every", 5) == 0
    out, err = capsys.readouterr()
    assert out == f"id 0: frames 0 to {FRAMES - 1}, 0.00 to {(FRAMES - 1) / 30:.2f} s\n"
    assert re.fullmatch(rf"{FRAMES} frames, {FRAMES} faces, 1 id, \d+\.\d s \(\d+\.\d frames per second\)\n", err)

    tracker = Tracker(small, every=5)
    with mtcnn_fast.frames(film) as frames, mtcnn_fast.frames(drawn) as pictures:
        for frame, picture, record in zip(frames, pictures, lines_of(lines), strict=True):
            tracks = tracker.update(frame.image)
            assert record == {"index": frame.index, "timestamp": frame.timestamp, "faces": tracks.to_dicts()}
            assert picture.timestamp == pytest.approx(frame.timestamp)
            assert np.abs(draw(frame.image, tracks).astype(int) - picture.image).mean() < 6
    assert [content for _, content in audio_of(drawn)] == [content for _, content in audio_of(film)]
    assert [path.name for path in crops.iterdir()] == ["id0.png"]
    crop = mtcnn_fast.read(crops / "id0.png")
    assert crop.shape == (112, 112, 3)
    assert len(small.detect(np.pad(crop, ((40, 40), (40, 40), (0, 0))))) == 1


def test_lines_on_stdout(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(film, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert [record["index"] for record in map(json.loads, out.splitlines())] == list(range(FRAMES))
    assert err.startswith("id 0: frames 0 to ")


def test_a_folder(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in mtcnn_fast.frames(film):
        Image.fromarray(frame.image).save(folder / f"{frame.index:04}.png")
    for crops in (folder, folder / "crops"):
        with pytest.raises(SystemExit):
            track(folder, "--crops", crops)
        assert f"--crops is {crops}, in the folder that is read; wanted another" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == FRAMES
    assert track(folder, "--draw", tmp_path / "film.mp4", "--json", tmp_path / "faces.jsonl") == 0
    assert capsys.readouterr().out == f"id 0: frames 0 to {FRAMES - 1}\n"
    assert {record["timestamp"] for record in lines_of(tmp_path / "faces.jsonl")} == {None}
    with mtcnn_fast.frames(tmp_path / "film.mp4") as frames:
        assert (frames.fps, frames.frame_count) == (25, FRAMES)


def test_a_film_that_is_cut_off(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, lines = tmp_path / "drawn.mp4", tmp_path / "faces.jsonl"
    assert track(cut(film, 0.7), "--draw", drawn, "--json", lines) == 1
    failure, summary, kept = capsys.readouterr().err.splitlines()
    count = len(lines_of(lines))
    assert 5 < count < FRAMES
    assert re.search(
        rf"cut-film\.mp4: broken after frame {count - 1}: it is cut off: it should have \d+ bytes", failure
    )
    assert summary.startswith(f"{count} frames, ")
    assert kept == f"what was done is in {drawn}, {lines}"
    assert sum(1 for _ in mtcnn_fast.frames(drawn)) == count
    assert track(cut(film, 0.7), "--json", "-") == 1
    assert "what was done" not in capsys.readouterr().err


def test_an_interruption(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done is kept, beside files of earlier runs."""
    drawn, lines, crops = tmp_path / "drawn.mp4", tmp_path / "faces.jsonl", tmp_path / "crops"
    outputs = ("--draw", drawn, "--json", lines, "--crops", crops)
    update = Tracker.update

    def interrupted(tracker: Tracker, frame: NDArray[np.uint8]) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return update(tracker, frame)

    monkeypatch.setattr(Tracker, "update", interrupted)
    for left, video, records in (
        (8, drawn, lines),
        (12, tmp_path / "drawn.part.mp4", tmp_path / "faces.jsonl.part"),
    ):
        count = left
        assert track(film, *outputs) == 130
        out, err = capsys.readouterr()
        assert out.startswith(f"id 0: frames 0 to {count - 1}")
        assert err.splitlines()[1] == f"what was done is in {video}, {records}, {crops}"
        assert sum(1 for _ in mtcnn_fast.frames(video)) == len(lines_of(records)) == count
        assert (crops / "id0.png").exists()
    assert len(lines_of(lines)) == 8
    left = FRAMES
    assert track(film, *outputs) == 0
    assert len(lines_of(lines)) == FRAMES


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["missing.mp4"], 1, "missing.mp4: No such file or directory"),
        (["notes.txt"], 1, "notes.txt: it "),
        (["77"], 1, "camera 77: it is not there, or another program has it"),
        (["rtsp://127.0.0.1:9/film"], 1, "rtsp://127.0.0.1:9/film: it cannot be opened as a video: Connection refused"),
        (["99999999999"], 2, "it must fit 32 bits"),
        (["FILM", "--every", 0], 2, "every is 0; wanted at least 1"),
        (["FILM", "--min-face-size", -1], 2, "min_face_size"),
        (["FILM", "--draw", "FILM"], 2, "is a file that the command reads; it is not replaced"),
        (["FILM", "--draw", "missing/film.mp4"], 2, "there is no folder for missing/film.mp4"),
        (["FILM", "--draw", "film.avi"], 2, "film.avi has the suffix '.avi'; wanted one of .mp4"),
        (["FILM", "--json", "faces.json"], 2, "--json: faces.json has the suffix '.json'; wanted .jsonl"),
        (["FILM", "--json", "faces.txt"], 2, "--json: faces.txt has the suffix '.txt'; wanted .jsonl"),
        (["FILM", "--json", "missing/faces.jsonl"], 2, "there is no folder for missing/faces.jsonl"),
        (["FILM", "--crops", "notes.txt"], 2, "notes.txt is no folder"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[object],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no film\n" * 100)
    before = film.read_bytes()
    try:
        ended = main(["track", *(str(film) if each == "FILM" else str(each) for each in arguments)])
    except SystemExit as refusal:
        ended = int(str(refusal.code))
    out, err = capfd.readouterr()
    assert (ended, out) == (status, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert film.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("module", "arguments"), [("PIL.Image", ["--crops", "crops"]), ("tqdm", [])])
def test_a_package_that_is_missing(
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as ended:
        track(film, *arguments)
    assert ended.value.code == 2
    assert f"needs {module} (" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["track", "blur"])
def test_a_signal_while_a_source_opens(film: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """PyAV may clear the exception of the signal, and end with an error of its own."""

    def opened(*_: object, **__: object) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise OSError("no answer within 10 s")

    monkeypatch.setattr(f"mtcnn_fast.cli.{command}.frames", opened)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        assert main([command, str(film), *(["--output", f"{film}.mp4"] if command == "blur" else [])]) == 143
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_without_pyav(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hide_pyav(monkeypatch)
    assert track(film, "--draw", tmp_path / "drawn.mp4") == 0
    reading, writing, summary = capfd.readouterr().err.splitlines()
    assert reading.startswith("videos are read by OpenCV, because PyAV is missing: audio is not copied")
    assert "drawn.mp4: written by OpenCV in mp4v, which browsers do not play" in writing
    assert summary.startswith(f"{FRAMES} frames")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE")
def test_a_reader_that_leaves(film: Path) -> None:
    command = [sys.executable, "-m", "mtcnn_fast", "track", str(film), "--device", "cpu", "--json", "-"]
    status, err = leave_early(command)
    assert status == 1
    assert "Traceback" not in err
