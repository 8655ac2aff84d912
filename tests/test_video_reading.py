"""`mtcnn_fast.frames`: every source in one loop, and what is said of sources that break."""

from __future__ import annotations

import functools
import gc
import http.server
import itertools
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures

import mtcnn_fast
from mtcnn_fast.video import Frames
from mtcnn_fast.video.cut_off import cut_off
from mtcnn_fast.video.source import Image, Source
from videos import CORNERS, TICKS, cut, hide_pyav, make, quarters

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames with sound, its index in front."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return make(path, [quarters(i) for i in range(30)], options={"movflags": "faststart"})


def corners(image: Any) -> list[str]:
    """The names of the colours in the corners, row by row."""
    height, width = image.shape[:2]
    names = []
    for y, x in ((5, 5), (5, width - 6), (height - 6, 5), (height - 6, width - 6)):
        far = {name: np.abs(image[y, x].astype(int) - color).max() for name, color in CORNERS.items()}
        names.append(min(far, key=lambda name: far[name]))
    return names


def test_a_file(film: Path) -> None:
    with mtcnn_fast.frames(film) as frames:
        assert (frames.size, frames.fps, frames.frame_count, frames.reader) == ((128, 96), 30.0, 30, "PyAV")
        assert frames.file == os.fspath(film)
        for i, frame in enumerate(frames):
            assert frame.index == i
            assert frame.timestamp == pytest.approx(i / 30)
            assert frame.image.shape == (96, 128, 3)
            assert frame.image.dtype == np.uint8
            assert frame.image.flags.c_contiguous
            assert np.abs(frame.image.astype(int) - quarters(i)).mean() < 4
        assert i == 29
        assert next(frames, None) is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_frame_rate(tmp_path: Path, suffix: str) -> None:
    times = np.cumsum([TICKS // 30 + 40 * (i % 3) for i in range(20)]).tolist()
    path = make(tmp_path / f"film.{suffix}", [quarters(i) for i in range(20)], times)
    assert [frame.timestamp for frame in mtcnn_fast.frames(path)] == pytest.approx([t / TICKS for t in times], abs=6e-4)


@pytest.mark.parametrize(
    ("rotation", "mirrored", "order"),
    [
        (0, False, ["top left", "top right", "bottom left", "bottom right"]),
        (-90, False, ["bottom left", "top left", "bottom right", "top right"]),
        (90, False, ["top right", "bottom right", "top left", "bottom left"]),
        (180, False, ["bottom right", "bottom left", "top right", "top left"]),
        (0, True, ["top right", "top left", "bottom right", "bottom left"]),
        (180, True, ["bottom left", "bottom right", "top left", "top right"]),
    ],
)
def test_frames_are_upright(tmp_path: Path, rotation: int, mirrored: bool, order: list[str]) -> None:
    path = make(tmp_path / "film.mp4", [quarters(10)] * 2, audio=None, rotation=(rotation, mirrored))
    with mtcnn_fast.frames(path) as frames:
        image = next(frames).image
        assert corners(image) == order
        assert frames.size == image.shape[1::-1] == ((96, 128) if abs(rotation) == 90 else (128, 96))


def test_the_matrix_of_a_mirrored_quarter_turn() -> None:
    from mtcnn_fast.video.by_pyav import _upright

    image = quarters(10)
    assert corners(_upright(image, (0, 1, 1, 0))) == ["top left", "bottom left", "top right", "bottom right"]
    assert corners(_upright(image, (0, -1, -1, 0))) == ["bottom right", "top right", "bottom left", "top left"]


def test_a_folder(tmp_path: Path) -> None:
    for name, index in (("b.png", 1), ("a.png", 0), ("c/a.png", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Pictures.fromarray(quarters(index)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    with mtcnn_fast.frames(tmp_path) as frames:
        assert (frames.size, frames.fps, frames.frame_count, frames.reader) == ((128, 96), None, 3, "Pillow")
        for frame in frames:
            assert frame.timestamp is None
            np.testing.assert_array_equal(frame.image, quarters(frame.index))
        assert frame.index == 2
    (tmp_path / "b.png").write_bytes(b"\x89PNG, but broken")
    with (
        mtcnn_fast.frames(tmp_path) as frames,
        pytest.raises(OSError, match=r"broken after frame 0: .*b\.png: ") as raised,
    ):
        list(frames)
    assert str(raised.value).count("\n") == 0


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_that_is_cut_off(film: Path, tmp_path: Path, suffix: str) -> None:
    whole = film if suffix == "mp4" else make(tmp_path / "film.mkv", [quarters(i) for i in range(30)])
    assert cut_off(os.fspath(whole)) is None
    path = cut(whole, 0.6)
    given = []
    with mtcnn_fast.frames(path) as frames, pytest.raises(OSError, match="it is cut off") as raised:
        given.extend(frames)
    assert 5 < len(given) < 30
    assert str(raised.value).startswith(f"{path}: broken after frame {len(given) - 1}: it is cut off: it should have ")
    assert next(frames, None) is None


def test_opencv_in_the_place_of_pyav(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_pyav(monkeypatch)
    with pytest.warns(UserWarning, match="read by OpenCV, because PyAV is missing"):
        opened = mtcnn_fast.frames(film)
    with opened as frames:
        assert (frames.size, frames.fps, frames.frame_count, frames.reader) == ((128, 96), 30.0, 30, "OpenCV")
        for i, frame in enumerate(frames):
            assert np.abs(frame.image.astype(int) - quarters(i)).mean() < 4
            assert frame.timestamp == pytest.approx(i / 30, abs=1e-3)
        assert i == 29
    with pytest.warns(UserWarning, match="OpenCV"):
        opened = mtcnn_fast.frames(cut(film, 0.6))
    with opened, pytest.raises(OSError, match=r"cut-film\.mp4: broken after frame \d+: it is cut off"):
        list(opened)


def test_without_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.mp4").touch()
    for name in ("av", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    for use, wanted in (
        (lambda: mtcnn_fast.frames(tmp_path / "film.mp4"), r"reading videos needs av .*mtcnn_fast\[video\]"),
        (lambda: mtcnn_fast.VideoWriter(tmp_path / "copy.mp4"), r"writing videos needs av .*mtcnn_fast\[video\]"),
        (lambda: mtcnn_fast.frames(0), r"reading a camera needs cv2 .*mtcnn_fast\[cli\]"),
    ):
        with pytest.raises(ImportError, match=wanted):
            use()


def test_sources_that_are_none(film: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no video\n" * 100)
    (tmp_path / "film.mp4").write_text("no video\n" * 100)
    (tmp_path / "nothing.mp4").touch()
    slow = make(tmp_path / "slow.mp4", [quarters(i) for i in range(10)])
    make_sound(tmp_path / "sound.m4a")
    for source, said in (
        (tmp_path / "empty", "no pictures in the folder"),
        (tmp_path / "notes.txt", "video"),
        (tmp_path / "film.mp4", "it cannot be opened as a video"),
        (tmp_path / "nothing.mp4", "it is empty"),
        (cut(slow, 0.6), "it is cut off"),
        (tmp_path / "sound.m4a", "it has no video"),
        ("http://127.0.0.1:9/film.mp4", "it cannot be opened as a video: Connection refused"),
        ("rtsp://127.0.0.1:9/film", "it cannot be opened as a video: Connection refused"),
    ):
        with pytest.raises(OSError) as raised:  # noqa: PT011 # the message is looked at
            mtcnn_fast.frames(source)
        assert str(raised.value).startswith(f"{source}: "), raised.value
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_stream(film: Path) -> None:
    handler = functools.partial(Quiet, directory=os.fspath(film.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with mtcnn_fast.frames(f"{url}/film.mp4") as frames:
            assert (frames.size, frames.frame_count, frames.file, frames.reader) == ((128, 96), 30, None, "PyAV")
            assert [frame.index for frame in frames] == list(range(30))
        with mtcnn_fast.frames(f"{url}/film.mp4", latest=True) as frames:
            seen = [(frame.index, frame.timestamp, time.sleep(0.02))[:2] for frame in frames]
            assert seen[-1] == (29, pytest.approx(29 / 30))
            assert all(timestamp == pytest.approx(index / 30) for index, timestamp in seen)
            assert len(seen) < 30
        with pytest.raises(OSError, match=f"^{url}/missing.mp4: it cannot be opened as a video: Server returned 404"):
            mtcnn_fast.frames(f"{url}/missing.mp4")
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_does_not_answer(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("mtcnn_fast.video.by_pyav.SECONDS_TO_WAIT", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(OSError, match=r"it cannot be opened as a video: no answer within 0\.5 s$"):
            mtcnn_fast.frames(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/film")


def test_a_server_that_stops_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn_fast.video.by_pyav.SECONDS_TO_WAIT", 0.5)
    content = make(tmp_path / "film.mkv", [quarters(i) for i in range(30)]).read_bytes()
    ended = threading.Event()

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content[: 7 * len(content) // 10])
            ended.wait(30)

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        given = []
        with (
            mtcnn_fast.frames(f"http://127.0.0.1:{server.getsockname()[1]}/film.mkv") as frames,
            pytest.raises(OSError, match=r"broken after frame \d+: no answer within 0\.5 s$"),
        ):
            given.extend(frames)
        ended.set()
    assert 5 < len(given) < 30


def test_colours_of_hd(tmp_path: Path) -> None:
    """The matrix is that of BT.709, not BT.601, whose greens would be off by 20 levels."""
    av = pytest.importorskip("av")
    image = quarters(10)
    image[48:, 64:] = 40, 180, 60
    path = tmp_path / "film.mp4"
    with av.open(os.fspath(path), "w") as output:
        video = output.add_stream("libx264", rate=30, options={"crf": "8"})
        video.height, video.width, video.pix_fmt = 96, 128, "yuv420p"
        video.codec_context.colorspace, video.codec_context.color_range = 1, 1
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts = 0
        output.mux(video.encode(frame))
        output.mux(video.encode(None))
    (decoded,) = mtcnn_fast.frames(path)
    np.testing.assert_allclose(decoded.image[80, 100], image[80, 100], atol=6)


def test_a_file_that_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        mtcnn_fast.frames("missing.mp4")


def test_metadata_in_another_encoding(film: Path, tmp_path: Path) -> None:
    content = film.read_bytes()
    assert b"Lavf" in content
    (tmp_path / "film.mp4").write_bytes(content.replace(b"Lavf", b"\xff\xe9 x"))
    with (
        mtcnn_fast.frames(tmp_path / "film.mp4") as frames,
        mtcnn_fast.VideoWriter(tmp_path / "copy.mp4", frames) as out,
    ):
        for frame in frames:
            out.write(frame.image, frame.timestamp)
    assert out.frame_count == 30


def test_what_is_appended_is_no_loss(film: Path, tmp_path: Path) -> None:
    for tail in (b"\0" * 20, b"\xff\xff\xff\xffSEFT and more", b"xy"):
        (tmp_path / "film.mp4").write_bytes(film.read_bytes() + tail)
        assert cut_off(os.fspath(tmp_path / "film.mp4")) is None


def make_sound(path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(os.fspath(path), "w") as output:
        tone = output.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        sound.rate = 48000
        output.mux(tone.encode(sound))
        output.mux(tone.encode(None))


def test_a_camera_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(OSError, match=r"^camera 77: it is not there, or another program has it$"):
        mtcnn_fast.frames(77)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("source", "latest", "error", "said"),
    [
        (1.5, False, TypeError, r"source is 1.5 \(float\); wanted a path, a URL or the number of a camera"),
        (True, False, TypeError, "source is True"),
        (b"film.mp4", False, TypeError, "source is b'film.mp4'"),
        (-1, False, ValueError, "source is -1; wanted at least 0"),
        ("film.mp4", True, ValueError, "latest is for cameras and URLs, whose frames do not wait; 'film.mp4' is none"),
        ("film.mp4", 1, TypeError, "latest is 1"),
    ],
)
def test_wrong_arguments(source: Any, latest: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"^{said}"):
        mtcnn_fast.frames(source, latest=latest)


class Camera(Source):
    """One that waits for no one: a frame per 2 ms, `number` of them, whose pixels are their places."""

    reader = "test"

    def __init__(self, number: int = 10**6) -> None:
        self.places = iter(range(number))
        self.closed = False

    def load(self, item: None) -> Image | None:
        assert not self.closed
        time.sleep(0.002)
        place = next(self.places, None)
        return None if place is None else Image(np.full((4, 4, 3), place % 256, np.uint8), place / 500)

    def close(self) -> None:
        self.closed = True


def test_the_latest_frame() -> None:
    camera = Camera(60)
    seen = []
    with Frames("camera", lambda: camera, True) as frames:
        for frame in frames:
            assert (frame.image == frame.index).all()
            assert frame.timestamp == frame.index / 500
            seen.append(frame.index)
            time.sleep(0.02)
    assert seen == sorted(set(seen))
    assert seen[0] == 0
    assert seen[-1] == 59
    assert len(seen) < 40
    assert camera.closed


@pytest.mark.parametrize("latest", [False, True])
def test_closing_early(latest: bool) -> None:
    before = threading.active_count()
    camera = Camera()
    with Frames("camera", lambda: camera, latest) as frames:
        assert next(frames).index == 0
        assert next(frames).index >= 1
        assert threading.active_count() == before + 1
    assert camera.closed
    assert threading.active_count() == before
    assert next(frames, None) is None
    frames.close()


def test_an_error_of_a_camera_comes_behind_its_frames() -> None:
    class Broken(Camera):
        def load(self, item: None) -> Image | None:
            image = super().load(item)
            if image is None:
                raise OSError("unplugged")
            return image

    for latest in (False, True):
        given = []
        with (
            Frames("camera 1", lambda: Broken(5), latest) as frames,
            pytest.raises(OSError, match=r"^camera 1: broken after frame 4: unplugged$"),
        ):
            given.extend(frame.index for frame in frames)
        assert given[-1] == 4


@pytest.mark.parametrize("latest", [False, True])
def test_a_program_ends_that_closes_nothing(latest: bool) -> None:
    program = f"""
import sys
sys.path.insert(0, {os.fspath(ROOT / "tests")!r})
from test_video_reading import Camera, Frames
frames = Frames("camera", Camera, {latest})
print(next(frames).index, next(frames).index >= 1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 True\n", "")


def test_decoded_frames_are_not_kept(film: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        with mtcnn_fast.frames(film) as frames:
            for _ in frames:
                pass
            assert sum(type(thing).__name__ == "VideoFrame" for thing in gc.get_objects()) < 10
    finally:
        gc.enable()


def test_damaged_files(film: Path, tmp_path: Path) -> None:
    """Every one gives frames, or an error of one line that names it."""
    matroska = make(tmp_path / "film.mkv", [quarters(i) for i in range(10)])
    broadcast = make(tmp_path / "film.ts", [quarters(i) for i in range(10)])
    draw = random.Random(1)
    errors = []
    for case in range(90):
        content = bytearray(draw.choice([film, matroska, broadcast]).read_bytes())
        for _ in range(draw.choice([1, 5, 50])):
            content[draw.randrange(len(content) if case % 2 else min(2000, len(content)))] = draw.randrange(256)
        path = tmp_path / f"{case}"
        path.write_bytes(content[: draw.randrange(len(content))] if case % 3 == 0 else content)
        try:
            with mtcnn_fast.frames(path) as frames:
                for frame in itertools.islice(frames, 100):
                    assert frame.timestamp is not None
                    assert np.isfinite(frame.timestamp)
        except OSError as error:
            errors.append((f"{path}: ", str(error)))
    assert 10 < len(errors) < 80
    assert not [said for name, said in errors if not said.startswith(name) or "\n" in said]
