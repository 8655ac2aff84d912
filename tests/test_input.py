"""What an image may be, and what is said of everything else."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mtcnn_fast import MTCNN, Detections, draw, ops

U8 = np.uint8


def packed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(image, order="C")


VIEWS = {
    "contiguous": lambda image: packed(image),
    "read-only": lambda image: image,
    "crop": lambda image: image[7:111, 3:95],
    "upside down": lambda image: image[::-1],
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: image[::-1, ::-1],
    "channels reversed": lambda image: image[..., ::-1],
    "transposed": lambda image: image.transpose(1, 0, 2),
    "Fortran": lambda image: np.asfortranarray(image),
    "channel planes": lambda image: packed(image.transpose(2, 0, 1)).transpose(1, 2, 0),
    "every second pixel": lambda image: image[::2, ::2],
    "every second of RGBA": lambda image: np.dstack([image, image[..., 0]])[:, ::2],
    "three of four channels": lambda image: np.dstack([image, image[..., 0]])[..., :3],
    "three of four channels, reversed": lambda image: np.dstack([image, image[..., 0]])[..., 2::-1],
    "one channel": lambda image: image[..., 1],
    "one channel, kept": lambda image: image[..., 1:2],
    "one channel, mirrored": lambda image: image[:, ::-1, 1],
    "repeated channel": lambda image: np.broadcast_to(image[..., 1:2], image.shape),
    "repeated row": lambda image: np.broadcast_to(image[60:61], image.shape),
    "repeated column": lambda image: np.broadcast_to(image[:, 50:51], image.shape),
    "overlapping rows": lambda image: as_strided(packed(image), (90, 80, 3), (150, 3, 1), writeable=False),
    "one row": lambda image: image[5:6],
    "one column": lambda image: image[:, 5:6],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_any_strides(detector: MTCNN, face: NDArray[np.uint8], view: Any) -> None:
    seen = view(face)
    copy = packed(seen)
    faces = detector.detect(copy)
    assert detector.detect(seen) == faces
    assert detector.inspect(seen)["candidates"] == detector.inspect(copy)["candidates"]
    np.testing.assert_array_equal(
        detector.crop(seen, np.float32([[10, 10, 60, 60]])), detector.crop(copy, np.float32([[10, 10, 60, 60]]))
    )


def test_views_hold_faces(detector: MTCNN, face: NDArray[np.uint8]) -> None:
    """The test above would say little about pictures in which nothing is found."""
    for name in ("contiguous", "crop", "mirrored", "channels reversed", "one channel"):
        assert len(detector.detect(VIEWS[name](face))) == 1, name


def test_channel_order(detector: MTCNN, face: NDArray[np.uint8]) -> None:
    rgb, bgr = detector, MTCNN(device=detector.device, channel_order="bgr")
    expected = rgb.detect(face)
    assert len(expected) == 1
    alpha = np.random.default_rng(0).integers(0, 256, (*face.shape[:2], 1), dtype=U8)
    assert rgb.detect(np.dstack([face, alpha])) == expected
    assert bgr.detect(face[..., ::-1]) == expected
    assert bgr.detect(np.dstack([face[..., ::-1], alpha])) == expected
    assert rgb.detect(face[..., ::-1]) != expected
    gray = face[..., 1]
    assert (
        rgb.detect(gray) == bgr.detect(gray) == rgb.detect(gray[..., np.newaxis]) == rgb.detect(np.dstack([gray] * 3))
    )


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_pil_is_always_rgb(backend: str, face: NDArray[np.uint8], order: str) -> None:
    detector = MTCNN(device=backend, channel_order=order)
    picture = Image.fromarray(face)
    expected = MTCNN(device=backend).detect(face)
    assert detector.detect(picture) == expected
    assert detector.detect_batch([picture, picture.convert("RGBA")]) == [expected, expected]
    gray = picture.convert("L")
    assert detector.detect(gray) == detector.detect(np.asarray(gray))


def zeros(*shape: int, dtype: Any = U8) -> NDArray[Any]:
    return np.zeros(shape, dtype)


BAD = [
    (zeros(40, 40, 3, dtype=np.float32), TypeError, ["float32", "(40, 40, 3)", "uint8", "* 255"]),
    (zeros(40, 40, 3, dtype=np.float64), TypeError, ["float64", "uint8"]),
    (zeros(40, 40, 3, dtype=np.int64), TypeError, ["int64", "uint8"]),
    (zeros(40, 40, 3, dtype=np.int8), TypeError, ["int8", "uint8"]),
    (zeros(40, 40, 3, dtype=np.uint16), TypeError, ["uint16", "uint8"]),
    (zeros(40, 40, 3, dtype=bool), TypeError, ["bool", "uint8"]),
    (zeros(40, 40, 3, dtype=object), TypeError, ["object", "uint8"]),
    (zeros(3, 40, 40), ValueError, ["(3, 40, 40)", "(height, width, 3)", "transpose(1, 2, 0)"]),
    (zeros(3, 40, 40, dtype=np.float32), TypeError, ["float32", "transpose(1, 2, 0)"]),
    (zeros(2, 40, 40, 3), ValueError, ["(2, 40, 40, 3)", "detect_batch"]),
    (zeros(2, 40, 40, 3, dtype=np.float32), TypeError, ["float32", "detect_batch"]),
    (zeros(40, 40, 2), ValueError, ["(40, 40, 2)"]),
    (zeros(40, 40, 5), ValueError, ["(40, 40, 5)"]),
    (zeros(40), ValueError, ["(40,)"]),
    (zeros(), ValueError, ["()"]),
    (zeros(1, 1, 1, 1, 1), ValueError, ["(1, 1, 1, 1, 1)"]),
    (zeros(0, 40, 3), ValueError, ["(0, 40, 3)", "zero"]),
    (zeros(40, 0, 3), ValueError, ["(40, 0, 3)", "zero"]),
    (zeros(40, 40, 0), ValueError, ["(40, 40, 0)"]),
    (zeros(0, 0), ValueError, ["(0, 0)", "zero"]),
    (None, TypeError, ["None, which is what cv2.imread gives for a file that it cannot read", "uint8 NumPy array"]),
    ("photo.jpg", TypeError, ["str", "uint8 NumPy array", "mtcnn_fast.read(path)"]),
    (Path("photo.jpg"), TypeError, ["Path", "mtcnn_fast.read(path)"]),
    (b"photo", TypeError, ["bytes", "mtcnn_fast.read(data)"]),
    (bytearray(b"photo"), TypeError, ["bytearray", "mtcnn_fast.read(data)"]),
    (io.BytesIO(b"photo"), TypeError, ["BytesIO", "mtcnn_fast.read(file)"]),
    (np.ma.array(zeros(40, 40, 3), mask=True), TypeError, ["masked array", ".filled(0)"]),
    (zeros(40, 40, 3, dtype=[("r", U8)]), TypeError, ["[('r', 'u1')]"]),
    (7, TypeError, ["int"]),
    ([[1, 2], [3, 4]], TypeError, ["list", "numpy.asarray(image)"]),
    (memoryview(b"1234"), TypeError, ["memoryview"]),
    (np.uint8(3), TypeError, ["numpy.uint8"]),
    (Image.new("P", (40, 40)), ValueError, ["'P'", 'convert("RGB")']),
    (Image.new("1", (40, 40)), ValueError, ["'1'"]),
    (Image.new("CMYK", (40, 40)), ValueError, ["'CMYK'"]),
    (Image.new("LA", (40, 40)), ValueError, ["'LA'"]),
    (Image.new("I;16", (40, 40)), ValueError, ["'I;16'"]),
    (Image.new("F", (40, 40)), ValueError, ["'F'"]),
    (Image.new("RGB", (0, 40)), ValueError, ["zero"]),
]


@pytest.mark.parametrize(("image", "error", "words"), BAD)
def test_bad_images(detector: MTCNN, image: Any, error: type[Exception], words: list[str]) -> None:
    for call in (
        detector.detect,
        detector.inspect,
        lambda image: detector.crop(image, np.zeros((0, 4), np.float32)),
        lambda image: detector.align(image, np.zeros((0, 5, 2), np.float32)),
        lambda image: draw(image, Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))),
        lambda image: ops.resize(image, (20, 20)),
        MTCNN(device="cpu").windows,
    ):
        with pytest.raises(error) as raised:
            call(image)
        assert str(raised.value).startswith("image ")
        assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize(("image", "error", "words"), BAD)
def test_bad_images_in_a_batch(
    detector: MTCNN, face: NDArray[np.uint8], image: Any, error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error, match=r"^image 2 ") as raised:
        detector.detect_batch([face, face, image])
    assert all(word in str(raised.value) for word in words if word != "detect_batch"), raised.value


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (zeros(40, 40, 3), ValueError, ["(40, 40, 3)", "detect takes one image"]),
        (zeros(2, 3, 40, 40), ValueError, ["image 0", "transpose"]),
        (zeros(2, 40, 40, 3, dtype=np.float32), TypeError, ["image 0", "float32"]),
        (zeros(2, 0, 40, 3), ValueError, ["image 0", "zero"]),
        (Image.new("RGB", (40, 40)), TypeError, ["Image", "detect takes one image"]),
        ((zeros(40, 40, 3) for _ in range(2)), TypeError, ["generator", "a list, a tuple or", "list(images)"]),
        ("ab", TypeError, ["'ab'", "list", "mtcnn_fast.read(path)"]),
        (np.ma.zeros((2, 40, 40, 3), U8), TypeError, ["images is a masked array"]),
        (np.array([None, None]), ValueError, ["object array of shape (2,)", "list(images)"]),
        (zeros(2, 40, 40), ValueError, ["(2, 40, 40)", "detect takes one image"]),
        (None, TypeError, ["None", "list"]),
        ({}, TypeError, ["dict", "list"]),
        (5, TypeError, ["5", "list"]),
    ],
)
def test_bad_batches(detector: MTCNN, images: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as raised:
        detector.detect_batch(images)
    assert all(word in str(raised.value) for word in words), raised.value


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 400), (11, 11), (11, 400), (12, 12), (13, 12000), (12000, 13), (19, 400), (20, 20)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_small_and_long_images(detector: MTCNN, shape: tuple[int, int], channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=U8)
    for sought in (detector, MTCNN(device=detector.device, min_face_size=12)):
        boxes, scores, landmarks = sought.detect(image).astuple()
        n = len(scores)
        assert (boxes.shape, scores.shape, landmarks.shape) == ((n, 4), (n,), (n, 5, 2))
        assert boxes.dtype == scores.dtype == landmarks.dtype == np.float32
        assert min(shape) >= 12 or n == 0


@pytest.mark.heavy
def test_a_large_image(backend: str, face: NDArray[np.uint8]) -> None:
    image = np.zeros((8000, 8000, 3), U8)
    image[7000:7120, 7500:7600] = face
    faces = MTCNN(device=backend, min_face_size=40).detect(image)
    assert len(faces) >= 1
    assert 7500 < faces[0].landmarks[:, 0].min() < 7600


def test_an_image_beyond_the_limits(detector: MTCNN) -> None:
    """It has a few bytes of memory, and must not be copied to be refused."""
    image = np.broadcast_to(np.zeros((1, 1, 3), U8), (200_000, 200_000, 3))
    with pytest.raises(ValueError, match="pyramid"):
        detector.detect(image)
    with pytest.raises(ValueError, match="range"):
        detector.detect(np.broadcast_to(np.zeros((1, 1, 3), U8), (2**31, 12, 3)))


@pytest.mark.parametrize("kind", [np.matrix, np.memmap], ids=["matrix", "memmap"])
def test_subclasses_of_arrays(detector: MTCNN, face: NDArray[np.uint8], kind: type, tmp_path: Path) -> None:
    gray = packed(face[..., 1])
    if kind is np.memmap:
        gray.tofile(tmp_path / "gray")
        image: Any = np.memmap(tmp_path / "gray", mode="r", shape=gray.shape)
    else:
        image = gray.view(kind)
    assert detector.detect(image) == detector.detect_batch([image])[0] == detector.detect(gray)
    faces = detector.detect(gray)
    np.testing.assert_array_equal(draw(image, faces), draw(gray, faces))


class _Raises:
    @property
    def shape(self) -> tuple[int, ...]:
        raise KeyError("shape")


def test_a_shape_that_raises(detector: MTCNN) -> None:
    with pytest.raises(TypeError, match=r"^image is a .*_Raises; wanted"):
        detector(_Raises())


# --- Damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "share"), [("JPEG", 0.5), ("PNG", 0.5), ("BMP", 0.5), ("TIFF", 0.7), ("GIF", 0.5)]
)
def test_cut_off_pictures(
    detector: MTCNN, face: NDArray[np.uint8], astronaut: NDArray[np.uint8], file_format: str, share: float
) -> None:
    whole = io.BytesIO()
    Image.fromarray(astronaut).convert("L" if file_format == "GIF" else "RGB").save(whole, file_format)

    def cut_off() -> Image.Image:
        return Image.open(io.BytesIO(whole.getvalue()[: int(len(whole.getvalue()) * share)]))

    with pytest.raises(OSError, match=r"^image: ."):
        detector.detect(cut_off())
    with pytest.raises(OSError, match=r"^image 3: ."):
        detector.detect_batch([face, face, face, cut_off()])


@pytest.mark.parametrize(
    ("raised", "error", "said"),
    [
        (SyntaxError("broken file"), OSError, "image 1: broken file"),
        (KeyError("tile"), OSError, "image 1: KeyError('tile')"),
        (EOFError(), OSError, "image 1: EOFError()"),
        (FileNotFoundError(2, "No such file", "a.tif"), OSError, "image 1: [Errno 2] No such file: 'a.tif'"),
        (ValueError("closed"), ValueError, "image 1: closed"),
        (MemoryError("too much"), MemoryError, "image 1: too much"),
        (RecursionError("too deep"), RuntimeError, "image 1: too deep"),
        (RuntimeError("no decoder"), RuntimeError, "image 1: no decoder"),
    ],
    ids=repr,
)
def test_what_pillows_readers_raise(
    detector: MTCNN, face: NDArray[np.uint8], raised: Exception, error: type[Exception], said: str
) -> None:
    class Broken(Image.Image):
        def tobytes(self, *_: Any) -> bytes:
            raise raised

    picture = Broken()
    picture._mode, picture._size = "RGB", (40, 40)
    with pytest.raises(error) as found:
        detector.detect_batch([face, picture])
    assert str(found.value) == said
    assert found.value.__cause__ is raised


# --- EXIF -------------------------------------------------------------------------------------------------------------


def stored(image: NDArray[np.uint8], orientation: int, file_format: str = "JPEG") -> Image.Image:
    """A picture of a file that says how to turn it."""
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format, exif=exif)
    return Image.open(file)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(backend: str, astronaut: NDArray[np.uint8], file_format: str) -> None:
    detector = MTCNN(device=backend, min_face_size=60)
    turned = stored(np.rot90(astronaut), 6, file_format)
    with pytest.warns(UserWarning, match=r"^image has EXIF orientation 6 and .*mtcnn_fast\.read\(path\)") as seen:
        assert len(detector.detect(turned)) == 0
    assert len(seen) == 1
    assert "PIL.ImageOps.exif_transpose(image)" in str(seen[0].message)
    (face,) = detector.detect(ImageOps.exif_transpose(turned))
    assert face.score > 0.99


@pytest.mark.heavy
def test_exif_warns_once_a_call_at_the_callers_line(detector: MTCNN, face: NDArray[np.uint8]) -> None:
    turned = stored(face, 3)
    for call, name in (
        (lambda: detector.detect(turned), "image has EXIF orientation 3 and"),
        (lambda: detector(turned), "image has EXIF orientation 3 and"),
        (lambda: detector.inspect(turned), "image has"),
        (lambda: MTCNN(device="cpu").windows(turned), "image has"),
        (lambda: detector.detect_batch([face, turned, face]), "image 1 has EXIF orientation 3 and"),
        (lambda: detector([turned, turned, stored(face, 8)]), "image 0 has EXIF orientation 3 (and 2 more have one)"),
    ):
        with pytest.warns(UserWarning, match="EXIF") as seen:
            call()
        (warning,) = seen
        assert str(warning.message).startswith(name)
        assert warning.filename == __file__
        assert warning.lineno == call.__code__.co_firstlineno


def test_exif_that_turns_nothing(detector: MTCNN, face: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    # Warnings are errors here.
    expected = detector.detect(np.asarray(stored(face, 1)))
    for orientation in (0, 1, 9, 1000):
        assert detector.detect(stored(face, orientation)) == expected
    # A TIFF file is turned by Pillow when it is loaded.
    detector.detect(stored(face, 6, "TIFF"))
    turned, faces = stored(face, 6), expected
    detector.align(turned, faces)
    detector.crop(turned, faces)
    draw(turned, faces)
    ops.resize(turned, (20, 20))

    def damaged(_: Image.Image) -> Image.Exif:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", damaged)
    assert detector.detect(stored(face, 1)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_damaged_exif(detector: MTCNN, face: NDArray[np.uint8], seed: int) -> None:
    random = np.random.default_rng(seed)
    exif = bytearray(stored(face, 1).info["exif"])
    for place in random.integers(6, len(exif), 4):
        exif[place] = random.integers(256)
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", exif=bytes(exif[: random.integers(6, len(exif) + 1)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the damage
        assert len(detector.detect(Image.open(file))) == 1
