"""`blur`, `blur_frames`, and the command `mtcnn-fast blur`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast
from mtcnn_fast import MTCNN, Detections, Frame, blur, blur_frames
from mtcnn_fast.blurring import WAYS
from mtcnn_fast.cli import main
from videos import audio_of, cut, make

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def small() -> MTCNN:
    return MTCNN(device="cpu", min_face_size=40)


@pytest.fixture(scope="module")
def faces(astronaut: NDArray[np.uint8], small: MTCNN) -> Detections:
    return small.detect(astronaut)


def inside(shape: tuple[int, ...], box: NDArray[Any], widen: float) -> NDArray[np.bool_]:
    """The pixels whose centres are in the ellipse of a widened box."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * (0.5 + widen)
    rows, columns = np.indices(shape[:2]) + 0.5
    ellipse: NDArray[np.bool_] = ((columns - middle[0]) / half[0]) ** 2 + ((rows - middle[1]) / half[1]) ** 2 <= 1
    return ellipse


@pytest.mark.parametrize("how", WAYS)
def test_hides_the_face_and_nothing_else(
    astronaut: NDArray[np.uint8], small: MTCNN, faces: Detections, how: str
) -> None:
    before = astronaut.copy()
    hidden = blur(astronaut, faces, how)
    np.testing.assert_array_equal(astronaut, before)
    region = inside(astronaut.shape, faces[0].box.astype(np.float64), 0.2)
    np.testing.assert_array_equal(hidden[~region], astronaut[~region])
    assert (hidden[region] != astronaut[region]).any(1).mean() > 0.95
    assert not len(small.detect(hidden))
    x1, y1, x2, y2 = np.rint(faces[0].box).astype(int)
    assert region[y1:y2, x1:x2].mean() > 0.99
    if how == "solid":
        assert not hidden[region].any()


@pytest.mark.parametrize("size", [40, 160, 640])
@pytest.mark.parametrize("how", ["gaussian", "pixelate"])
def test_strength_grows_with_the_face(how: str, size: int) -> None:
    """Stripes of a tenth of the face are gone at any size."""
    image = np.tile(255 * (np.arange(size) * 20 // size % 2).astype(np.uint8), (size, 1))
    hidden = blur(image, np.array([[0.0, 0, size, size]]), how, 0)
    middle = hidden[size // 2, size // 4 : -size // 4].astype(int)
    assert np.ptp(middle) < 100


def test_a_face_at_the_border(astronaut: NDArray[np.uint8]) -> None:
    boxes = np.array([[-40.0, -30, 60, 70], [490, 480, 600, 600], [-90, 10, -60, 30]])
    hidden = blur(astronaut, boxes, "solid")
    region = np.any([inside(astronaut.shape, box, 0.2) for box in boxes], 0)
    assert not hidden[region].any()
    np.testing.assert_array_equal(hidden[~region], astronaut[~region])


def test_any_image(astronaut: NDArray[np.uint8], faces: Detections) -> None:
    hidden = blur(astronaut, faces)
    np.testing.assert_array_equal(blur(np.asfortranarray(astronaut), faces), hidden)
    np.testing.assert_array_equal(blur(Image.fromarray(astronaut), faces.boxes), hidden)
    np.testing.assert_array_equal(blur(astronaut[..., ::-1], faces[0])[..., ::-1], hidden)
    gray = astronaut[..., 1]
    np.testing.assert_array_equal(blur(gray[..., np.newaxis], faces)[..., 0], blur(gray, faces))
    alpha = np.dstack([astronaut, np.full(gray.shape, 255, np.uint8)])
    np.testing.assert_array_equal(blur(alpha, faces)[..., :3], hidden)
    assert (blur(alpha, faces, "solid")[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"how": "smear"}, ValueError, "how is 'smear'; wanted one of ('gaussian', 'pixelate', 'solid')"),
        ({"how": 3}, TypeError, "how is 3 (int); wanted a string"),
        ({"widen": -0.1}, ValueError, "widen is -0.1; wanted a share from 0 to 2"),
        ({"widen": float("nan")}, ValueError, "widen is nan; wanted a share from 0 to 2"),
        ({"faces": np.zeros((2, 5))}, ValueError, "faces, as boxes, has shape (2, 5); wanted (n, 4)"),
        ({"faces": np.array([[0, 0, np.inf, 1]])}, ValueError, "faces has a box that is not finite"),
    ],
)
def test_bad_arguments(
    astronaut: NDArray[np.uint8], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        blur(**{"image": astronaut, "faces": np.zeros((0, 4)), **options})


def command(*arguments: object) -> int:
    return main(["blur", "--device", "cpu", "--min-face-size", "40", *map(str, arguments)])


@pytest.fixture
def folder(pictures: Path) -> Path:
    (pictures / "notes.txt").write_text("not a picture")
    (pictures / "film.mp4").touch()
    (pictures / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return pictures


def test_a_folder_gives_the_same_tree(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert command(folder, "--output", out, "--how", "solid") == 1
    lines, errors = capsys.readouterr()
    assert sorted(lines.splitlines()) == [
        f"{folder}/a/face.jpg: 1 face hidden in {out}/a/face.jpg",
        f"{folder}/b/face.jpg: 1 face hidden in {out}/b/face.jpg",
        f"{folder}/c.png: 0 faces hidden in {out}/c.png",
    ]
    assert f"{folder}/notes.txt: not copied: it is no picture" in errors
    assert f"{folder}/film.mp4: not copied: a video is blurred by a command of its own" in errors
    assert f"{folder}/a/broken.jpg: not a picture that Pillow can decode" in errors
    assert re.search(r"^4 pictures, 2 faces, 1 failed, [\d.]+ s$", errors, re.MULTILINE)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a/face.jpg", "b/face.jpg", "c.png"]
    assert not len(MTCNN(device="cpu", min_face_size=40).detect(mtcnn_fast.read(out / "a" / "face.jpg")))


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("a", "a", "--output is {}/a, which is what is read"),
        ("a/face.jpg", "a/face.jpg", "--output is {}/a/face.jpg, which is what is read"),
        ("a/face.jpg", "face.png", "--output is {}/face.png; wanted a name that ends with '.jpg'"),
        ("a/face.jpg", "none/face.jpg", "there is no folder for {}/none/face.jpg"),
        ("none.jpg", "face.jpg", "there is no {}/none.jpg; wanted a picture, a folder or a video"),
    ],
)
def test_outputs_that_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], source: str, output: str, message: str
) -> None:
    before = (folder / "a" / "face.jpg").read_bytes()
    with pytest.raises(SystemExit) as ended:
        command(folder / source, "--output", folder / output)
    assert ended.value.code == 2
    assert message.format(folder, folder) in capsys.readouterr().err
    assert (folder / "a" / "face.jpg").read_bytes() == before


def test_pictures_are_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither where the output is the picture's own folder, nor through links."""
    before = (folder / "a" / "face.jpg").read_bytes()
    assert command(folder / "a" / "face.jpg", "--output", folder / "a") == 1
    (folder / "out").mkdir()
    (folder / "out" / "a").symlink_to(folder / "a")
    assert command(folder, "--output", folder / "out") == 1
    assert capsys.readouterr().err.count("face.jpg is among the files that are read; wanted another --output") == 2
    assert (folder / "a" / "face.jpg").read_bytes() == before
    assert (folder / "out" / "b" / "face.jpg").exists()


def test_a_video(folder: Path, face_in_a_film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "hidden.mp4"
    assert command(face_in_a_film, "--output", out, "--how", "solid", "--every", 4) == 0
    lines, errors = capsys.readouterr()
    assert lines == f"{face_in_a_film}: the faces are hidden in {out}\n"
    assert re.fullmatch(r"14 frames, [\d.]+ s \([\d.]+ frames per second\)\n", errors)
    detector = MTCNN(device="cpu", min_face_size=40)
    with mtcnn_fast.frames(face_in_a_film) as before, mtcnn_fast.frames(out) as after:
        for was, frame in zip(before, after, strict=True):
            assert frame.timestamp == was.timestamp
            assert len(detector.detect(was.image)) == (was.index > 5)
            assert not len(detector.detect(frame.image))
            assert (frame.image.max(2) < 8).mean() > 0.05 or was.index < 6
    assert audio_of(out) == audio_of(face_in_a_film)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "out.avi"], "out.avi has the suffix '.avi'; wanted one of .mp4, .m4v, .mov, .mkv"),
        (["--output", "."], "film.mkv is among the files that are read; wanted another --output"),
        (["--output", "out.mp4", "--every", "0"], "every is 0; wanted at least 1"),
        (["--output", "out.mp4", "--widen", "3"], "widen is 3.0; wanted a share from 0 to 2"),
    ],
)
def test_options_of_a_video(
    face_in_a_film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(face_in_a_film.parent)
    with pytest.raises(SystemExit) as ended:
        command(face_in_a_film, *options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def face_in_a_film(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """A film in whose frame 6 a face comes in, between two searches. It has audio."""
    face = np.ascontiguousarray(astronaut[20:212, 130:322])
    return make(tmp_path / "film.mkv", [face if i > 5 else np.full_like(face, 128) for i in range(14)])


def test_a_video_that_breaks(face_in_a_film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, out = cut(face_in_a_film, 0.9), face_in_a_film.with_name("hidden.mp4")
    assert command(broken, "--output", out) == 1
    errors = capsys.readouterr().err.splitlines()
    assert re.match(rf"{broken}: broken after frame \d+: it is cut off", errors[0])
    count = int(re.fullmatch(rf"(\d+) frames until then are in {out}", errors[1])[1])  # type: ignore[index]
    with mtcnn_fast.frames(out) as frames:
        assert len(list(frames)) == count > 5


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no film", "film.mkv: it cannot be opened as a video"), (b"", "film.mkv: it is empty")],
)
def test_no_video(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str) -> None:
    pytest.importorskip("av")
    (tmp_path / "film.mkv").write_bytes(content)
    assert command(tmp_path / "film.mkv", "--output", tmp_path / "out.mp4") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_frames_come_before_the_failure(astronaut: NDArray[np.uint8], small: MTCNN) -> None:
    def frames() -> Iterator[Frame]:
        for index in range(3):
            yield Frame(index, index / 25, astronaut)
        raise OSError("broken")

    hidden = blur_frames(frames(), small, "solid")
    for index in range(3):
        frame = next(hidden)
        assert (frame.index, frame.timestamp) == (index, index / 25)
        assert not len(small.detect(frame.image))
    with pytest.raises(OSError, match="broken"):
        next(hidden)
    with pytest.raises(ValueError, match="every is 0; wanted at least 1"):
        blur_frames([], small, every=0)


@pytest.mark.parametrize("frames", ["film.mp4", 0, [np.zeros((4, 4, 3), np.uint8)]], ids=["path", "camera", "images"])
def test_frames_that_are_none(small: MTCNN, frames: Any) -> None:
    with pytest.raises(TypeError, match=r"^frames (is|gives) .*; wanted .*mtcnn_fast\.frames"):
        list(blur_frames(frames, small))
