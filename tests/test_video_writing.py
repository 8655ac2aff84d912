"""`VideoWriter`: what is written is what was read, and a file is whole, or said not to be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtcnn_fast
from mtcnn_fast import VideoWriter
from videos import TICKS, Image, audio_of, cut, even, hide_pyav, make, quarters


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob(f"*.{os.getpid()}.part*"))


def copy(source: Path, path: Path) -> Path:
    with mtcnn_fast.frames(source) as frames, VideoWriter(path, frames) as video:
        for frame in frames:
            video.write(frame.image, frame.timestamp)
        assert video.frame_count == frame.index + 1
    return path


def read(path: Path) -> tuple[list[float | None], list[Image]]:
    with mtcnn_fast.frames(path) as frames:
        every = list(frames)
    return [frame.timestamp for frame in every], [frame.image for frame in every]


@pytest.mark.parametrize("suffixes", ["mp4 mp4", "mkv mkv", "mkv mov", "mov m4v"])
def test_a_copy(tmp_path: Path, suffixes: str) -> None:
    """The timestamps of a variable frame rate stay, the audio is the same to the byte, and the pixels are nearly."""
    pytest.importorskip("av")
    first, second = suffixes.split()
    times = np.cumsum([60] + [20 + 11 * (i % 3) for i in range(24)]).tolist()
    source = make(tmp_path / f"film.{first}", [quarters(i) for i in range(25)], times)
    path = copy(source, tmp_path / f"copy.{second}")
    before, after = read(source), read(path)
    assert after[0] == pytest.approx(before[0], abs=1e-9)
    assert before[0] == pytest.approx([time / TICKS for time in times], abs=6e-4)
    for one, other in zip(before[1], after[1], strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3
    packets, copies = audio_of(source), audio_of(path)
    assert len(packets) > 30
    assert [content for _, content in copies] == [content for _, content in packets]
    assert [time for time, _ in copies] == pytest.approx([time for time, _ in packets], abs=1e-4)


def test_the_clock_begins_at_0(tmp_path: Path) -> None:
    """That of a transport stream may begin anywhere. Picture and sound move together."""
    av = pytest.importorskip("av")
    source = make(
        tmp_path / "film.ts", [quarters(i) for i in range(25)], [time + 3000 for time in even(25)], audio_from=3000
    )
    path = copy(source, tmp_path / "copy.mp4")
    before, after = read(source)[0], read(path)[0]
    assert before[0] >= 5
    assert 0 <= after[0] < 0.1
    moved = before[0] - after[0]
    assert [one - other for one, other in zip(before, after, strict=True)] == pytest.approx([moved] * 25, abs=1e-4)
    times, copies = ([time for time, _ in audio_of(file)] for file in (source, path))
    assert [one - other for one, other in zip(times, copies, strict=True)] == pytest.approx(
        [moved] * len(times), abs=1e-3
    )
    with av.open(os.fspath(path)) as file:
        assert sum(sound.samples for sound in file.decode(audio=0)) > 20_000


def test_pixels_that_are_no_squares_stay_so(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    for rotation, aspect in ((0, Fraction(16, 15)), (90, Fraction(15, 16))):
        source = make(
            tmp_path / "film.mp4", [quarters(0)] * 2, rotation=(rotation, False), pixel_aspect=Fraction(16, 15)
        )
        with av.open(os.fspath(copy(source, tmp_path / "copy.mp4"))) as file:
            assert file.streams.video[0].sample_aspect_ratio == aspect


def test_it_is_h264_that_browsers_play(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with VideoWriter(path, fps=10) as video:
        for i in range(5):
            video.write(quarters(i))
    with av.open(os.fspath(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10
    assert read(path)[0] == pytest.approx([i / 10 for i in range(5)])


def test_phones_films_are_written_upright(tmp_path: Path) -> None:
    source = make(tmp_path / "film.mp4", [quarters(10)] * 3, rotation=(-90, False))
    _, images = read(copy(source, tmp_path / "copy.mp4"))
    assert images[0].shape == (128, 96, 3)
    assert np.abs(np.rot90(quarters(10), -1).astype(int) - images[0]).mean() < 6


def test_odd_sides_lose_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")
    image = quarters(3, 97, 75)
    image[:, 88:] = 255
    with VideoWriter(tmp_path / "film.mp4") as video:
        video.write(image)
    (written,) = read(tmp_path / "film.mp4")[1]
    assert written.shape == (76, 98, 3)
    assert np.abs(written[:75, :97].astype(int) - image).mean() < 6
    assert (written[:75, 97] > 240).all()


def test_images_of_other_sizes_are_fitted(tmp_path: Path) -> None:
    pytest.importorskip("av")
    white = np.full((96, 128, 3), 255, np.uint8)
    with VideoWriter(tmp_path / "film.mp4") as video:
        for image in (white, white[:48], white[:, :32], white.repeat(4, 0)):
            video.write(image)
    images = read(tmp_path / "film.mp4")[1]
    assert {image.shape for image in images} == {(96, 128, 3)}
    shares = [(image > 128).mean() for image in images]
    assert shares == pytest.approx([1, 0.5, 0.25, 0.25], abs=0.03)


def test_a_failure_keeps_what_was_done(tmp_path: Path) -> None:
    source = make(tmp_path / "film.mp4", [quarters(i) for i in range(30)], options={"movflags": "faststart"})
    broken, path = cut(source, 0.6), tmp_path / "copy.mp4"
    for kept in (path, tmp_path / "copy.part.mp4"):
        with (
            pytest.warns(UserWarning, match=rf"{kept} has the \d+ frames until the failure"),
            pytest.raises(OSError, match="it is cut off"),
        ):
            copy(broken, path)
        times, images = read(kept)
        assert 5 < len(images) < 30
        assert times == pytest.approx([time / TICKS for time in even(len(images))])
        packets = audio_of(kept)
        assert len(packets) > 20
        assert packets[-1][0] <= times[-1]
        assert [content for _, content in packets] == [content for _, content in audio_of(source)[: len(packets)]]


def test_an_earlier_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = make(tmp_path / "copy.mp4", [quarters(0)] * 3)
    path.chmod(0o640)
    earlier = path.read_bytes()
    video = VideoWriter(path)
    for i in range(4):
        video.write(quarters(i))
    assert path.read_bytes() == earlier
    assert video.close() == path
    assert video.close() is None
    assert len(read(path)[1]) == 4
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(ValueError, match="is closed"):
        video.write(quarters(0))
    video = VideoWriter(path)
    assert video.close() is None
    assert len(read(path)[1]) == 4


def test_audio_that_the_container_cannot_hold_is_said_to_be_left_out(tmp_path: Path) -> None:
    source = make(tmp_path / "film.mov", [quarters(i) for i in range(3)], audio="pcm_mulaw")
    with pytest.warns(UserWarning, match=r"copy\.mp4: its audio in pcm_mulaw is left out; \.mp4 cannot hold it"):
        path = copy(source, tmp_path / "copy.mp4")
    assert audio_of(path) == []
    assert len(read(path)[1]) == 3


def test_opencv_in_the_place_of_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_pyav(monkeypatch)
    with VideoWriter(tmp_path / "film.mp4", fps=20) as video:
        with pytest.warns(UserWarning, match=r"written by OpenCV in mp4v.* at 20 frames per second .*without audio"):
            video.write(quarters(0, 97, 75))
        for i in range(1, 6):
            video.write(quarters(i, 97, 75))
    with pytest.warns(UserWarning, match="OpenCV"):
        frames = mtcnn_fast.frames(tmp_path / "film.mp4")
    with frames:
        assert (frames.size, frames.fps) == ((98, 76), 20.0)
        assert [frame.timestamp for frame in frames] == pytest.approx([i / 20 for i in range(6)], abs=1e-3)


def test_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("mtcnn_fast.video.by_pyav._ENCODER", "libnone")
    with pytest.raises(OSError, match=r"this PyAV has no encoder for H\.264 \(libnone\)"):
        VideoWriter(tmp_path / "film.mp4")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    source = make(tmp_path / "film.mp4", [quarters(0)] * 2)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to(source)
    with mtcnn_fast.frames(source) as frames:
        for path, error, said in (
            (tmp_path / "film.avi", ValueError, "has the suffix '.avi'; wanted one of .mp4, .m4v, .mov, .mkv"),
            (tmp_path / "missing" / "film.mp4", FileNotFoundError, "there is no folder for"),
            (tmp_path / "folder.mp4", IsADirectoryError, "is a folder"),
            (source, FileExistsError, "is a file that the command reads; it is not replaced"),
            (tmp_path / "link.mp4", FileExistsError, "is a file that the command reads; it is not replaced"),
        ):
            with pytest.raises(error) as raised:
                VideoWriter(path, frames)
            assert said in str(raised.value)
            assert os.fspath(path) in str(raised.value)
    assert len(read(source)[1]) == 2


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        (np.zeros((4, 4), np.uint8), ValueError, r"image has shape \(4, 4\); wanted \(height, width, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"image has shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3)), TypeError, "image is a float64 array"),
        ([1], TypeError, r"image is \[1\]"),
    ],
)
def test_images_that_are_none(tmp_path: Path, image: Any, error: type[Exception], said: str) -> None:
    pytest.importorskip("av")
    video = VideoWriter(tmp_path / "film.mp4")
    with pytest.raises(error, match=f"^{said}"):
        video.write(image)
    with pytest.raises(ValueError, match=r"^timestamp is nan; wanted seconds"):
        video.write(quarters(0), float("nan"))
    assert video.close() is None
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(tmp_path: Path) -> None:
    source: Any = "film.mp4"
    with pytest.raises(TypeError, match=r"source is 'film.mp4'"):
        VideoWriter(tmp_path / "film.mp4", source)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps is"):
            VideoWriter(tmp_path / "film.mp4", fps=fps)
