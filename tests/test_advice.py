"""The advice of error messages is followed to the letter, and leads to the face."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.ImageCms
import PIL.ImageOps
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast
from mtcnn_fast import MTCNN, Detections, draw, ops

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def finder() -> MTCNN:
    return MTCNN(device="cpu")


def refused(call: Any, image: Any, advice: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        call(image)
    assert advice in str(raised.value), raised.value


def follow(finder: MTCNN, advice: str, **names: Any) -> None:
    """Evaluates the advice, and finds the face in what it gives."""
    given = eval(advice, {"PIL": PIL, "numpy": np, "mtcnn_fast": mtcnn_fast, **names})
    found = finder(given)
    for faces in found if isinstance(found, list) else [found]:
        assert [face.score > 0.99 for face in faces] == [True]
        np.testing.assert_allclose(faces[0].box, [178.8, 59.3, 267.6, 174.4], atol=6)


def planes(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


ARRAYS = [
    (lambda p: np.float32(p) / 255, "(image * 255).round().astype(numpy.uint8)"),
    (lambda p: np.float16(p / 255), "(image * 255).round().astype(numpy.uint8)"),
    (lambda p: p * 1.0, "image.round().astype(numpy.uint8)"),
    (lambda p: p.astype(np.longdouble), "image.round().astype(numpy.uint8)"),
    (lambda p: planes(np.float32(p) / 255), "(image.transpose(1, 2, 0) * 255).round().astype(numpy.uint8)"),
    (lambda p: planes(np.float32(p)), "image.transpose(1, 2, 0).round().astype(numpy.uint8)"),
    (lambda p: p.astype(np.uint16) * 257, "(image // 257).astype(numpy.uint8)"),
    (lambda p: p.astype(np.int32) * 257, "(image // 257).astype(numpy.uint8)"),
    (lambda p: p.astype(">u2") * 64, "(image // 64).astype(numpy.uint8)"),
    (lambda p: p.astype(np.uint16) * 16, "(image // 16).astype(numpy.uint8)"),
    (lambda p: p.astype(np.uint16) * 4, "(image // 4).astype(numpy.uint8)"),
    (lambda p: p.astype(np.uint16), "image.astype(numpy.uint8)"),
    (lambda p: p.astype(np.int64), "image.astype(numpy.uint8)"),
    (lambda p: planes(p).astype(np.int64), "image.transpose(1, 2, 0).astype(numpy.uint8)"),
    (lambda p: np.asarray(Image.fromarray(p).convert("1")), "image.astype(numpy.uint8) * 255"),
    (lambda p: planes(p), "image.transpose(1, 2, 0)"),
    (lambda p: p[np.newaxis], "detect_batch"),
    (lambda p: np.ma.array(p, mask=p > 300), "image.filled(0)"),
]


@pytest.mark.parametrize(("make", "advice"), ARRAYS, ids=[advice for _, advice in ARRAYS])
def test_arrays(finder: MTCNN, astronaut: Pixels, make: Any, advice: str) -> None:
    image = make(astronaut)
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    for call in (
        finder.detect,
        lambda image: finder.detect_batch([image]),
        finder.inspect,
        finder.windows,
        lambda image: finder.crop(image, nothing),
        lambda image: finder.align(image, nothing),
        lambda image: draw(image, nothing),
        lambda image: ops.resize(image, (20, 20)),
    ):
        refused(call, image, advice)
    follow(finder, "image" if advice == "detect_batch" else advice, image=image)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([-1.0, 1.0], "its values are from -1 to 1, wanted 0 to 255"),
        ([0.0, 256.0], "from 0 to 256, wanted 0 to 255"),
        ([0.0, np.nan], "from nan to nan, wanted 0 to 255"),
        ([0.0, np.inf], "from 0 to inf, wanted 0 to 255"),
        (np.int64([-1, 5]), "from -1 to 5, wanted 0 to 255"),
        (np.int64([0, 65536]), "from 0 to 65536, wanted 0 to 255"),
    ],
)
def test_values_that_are_no_pixels(finder: MTCNN, values: Any, said: str) -> None:
    refused(finder.detect, np.resize(np.array(values), (20, 20, 3)), said)


def test_an_array_without_values(finder: MTCNN) -> None:
    with pytest.raises(TypeError, match="float32"):
        finder.detect(np.zeros((0, 20, 3), np.float32))


BATCHES = [
    (lambda p: planes(p)[np.newaxis], "images.transpose(0, 2, 3, 1)"),
    # The first is black, and tells nothing of the range.
    (lambda p: np.stack([p * 0.0, p * 1.0]), "images.round().astype(numpy.uint8)"),
    (lambda p: planes(p)[np.newaxis] / 255, "(images.transpose(0, 2, 3, 1) * 255).round().astype(numpy.uint8)"),
]


@pytest.mark.parametrize(("make", "advice"), BATCHES, ids=[advice for _, advice in BATCHES])
def test_batches_in_one_array(finder: MTCNN, astronaut: Pixels, make: Any, advice: str) -> None:
    images = make(astronaut)
    refused(finder.detect_batch, images, advice)
    refused(finder, images, advice)
    follow(finder, f"({advice})[-1:]", images=images)


def test_several_images_of_other_kinds(finder: MTCNN, astronaut: Pixels) -> None:
    several = np.empty(1, object)
    several[0] = astronaut
    refused(finder.detect_batch, several, "list(images)")
    follow(finder, "list(images)", images=several)
    refused(finder.detect_batch, iter([astronaut]), "list(images)")
    follow(finder, "list(images)", images=iter([astronaut]))
    refused(finder.detect_batch, {1: astronaut}.values(), "list(images)")
    follow(finder, "list(images)", images={1: astronaut}.values())


def test_pixels_in_lists(finder: MTCNN, astronaut: Pixels) -> None:
    image = astronaut.tolist()
    for call in (finder.detect, lambda image: finder.detect_batch([image])):
        refused(call, image, "numpy.asarray(image)")
    refused(finder.detect, np.asarray(image), "image.astype(numpy.uint8)")
    follow(finder, "numpy.asarray(image).astype(numpy.uint8)", image=image)
    # What takes several images has no use for several of several.
    with pytest.raises(TypeError, match=r"^image 0 is a list; ") as error:
        finder.detect_batch([[astronaut]])
    assert "detect_batch" not in str(error.value)


TENSORS = [
    (lambda t: t / 255, "(image * 255).round().to(torch.uint8)"),
    (lambda t: t.half(), "image.round().to(torch.uint8)"),
    (lambda t: t.bfloat16(), "image.round().to(torch.uint8)"),
    (lambda t: (t / 255).bfloat16(), "(image * 255).round().to(torch.uint8)"),
    (lambda t: t.permute(2, 0, 1) / 255, "(image.permute(1, 2, 0) * 255).round().to(torch.uint8)"),
    (lambda t: t.permute(2, 0, 1), "image.permute(1, 2, 0)"),
    (lambda t: t.long(), "image.to(torch.uint8)"),
    (lambda t: t.permute(2, 0, 1).int() * 257, "(image.permute(1, 2, 0).int() // 257).to(torch.uint8)"),
    (lambda t: t.new_tensor(np.asarray(Image.fromarray(t.numpy()).convert("1"))).bool(), "image.to(torch.uint8) * 255"),
]


@pytest.mark.parametrize(("make", "advice"), TENSORS, ids=[advice for _, advice in TENSORS])
def test_tensors(finder: MTCNN, astronaut: Pixels, make: Any, advice: str) -> None:
    torch = pytest.importorskip("torch")
    image = make(torch.from_numpy(astronaut.copy()))
    for call in (finder.detect, lambda image: finder.detect_batch([image]), lambda image: ops.resize(image, (20, 20))):
        refused(call, image, advice)
    follow(finder, advice, image=image, torch=torch)


def test_tensors_of_many_bits(finder: MTCNN, astronaut: Pixels) -> None:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(astronaut.astype(np.uint16) * 257)
    advice = "(image.int() // 257).to(torch.uint8)"
    refused(finder.detect, image, advice)
    follow(finder, advice, image=image, torch=torch)
    images = torch.from_numpy(planes(astronaut)[np.newaxis] / 255)
    advice = "(images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)"
    refused(finder.detect_batch, images, advice)
    follow(finder, advice, images=images, torch=torch)


def test_tensors_with_a_gradient(finder: MTCNN, astronaut: Pixels) -> None:
    torch = pytest.importorskip("torch")
    image = (torch.from_numpy(astronaut.copy()) / 255).requires_grad_()
    refused(finder.detect, image, "tensor.detach()")
    image = image.detach()
    advice = "(image * 255).round().to(torch.uint8)"
    refused(finder.detect, image, advice)
    follow(finder, advice, image=image, torch=torch)


def test_what_can_be_an_array(finder: MTCNN, astronaut: Pixels) -> None:
    class Wrapped:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Pixels:
            return astronaut

    refused(finder.detect, Wrapped(), "numpy.asarray(image)")
    follow(finder, "numpy.asarray(image)", image=Wrapped())
    refused(finder.detect_batch, Wrapped(), "numpy.asarray(images)")
    refused(finder.detect, memoryview(astronaut), "numpy.asarray(image)")
    follow(finder, "numpy.asarray(image)", image=memoryview(astronaut))


# --- PIL --------------------------------------------------------------------------------------------------------------


def deep(picture: Image.Image, mode: str, factor: float = 1, dtype: str = "<u2") -> Image.Image:
    values = (np.float64(picture.convert("L")) * factor).astype(dtype)
    return Image.frombytes(mode, picture.size, values.tobytes())


def with_alpha_a_color(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.convert("P").save(file, "PNG", transparency=bytes(range(256)))
    return Image.open(file)


def to_lab(picture: Image.Image) -> Image.Image:
    profiles = (PIL.ImageCms.createProfile(space) for space in ("sRGB", "LAB"))
    return PIL.ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")  # type: ignore[return-value,arg-type]


RGB = 'image.convert("RGB")'
GRAY = 'image.convert("L")'
DEEP = "(numpy.asarray(image) // 257).astype(numpy.uint8)"
UNIT = "(numpy.asarray(image) * 255).round().astype(numpy.uint8)"

PICTURES = {
    **{mode: (lambda p, mode=mode: p.convert(mode), RGB) for mode in ("1", "P", "LA", "RGBX", "CMYK", "YCbCr", "HSV")},
    "PA": (lambda p: p.convert("P").convert("PA"), RGB),
    "RGBa": (lambda p: p.convert("RGBA").convert("RGBa"), RGB),
    "La": (lambda p: p.convert("LA").convert("La"), 'image.convert("LA").convert("RGB")'),
    "LAB": (to_lab, RGB),
    "P, alpha a color": (with_alpha_a_color, 'image.convert("RGBA")'),
    "I;16": (lambda p: deep(p, "I;16", 257), DEEP),
    "I;16L": (lambda p: deep(p, "I;16L", 257), DEEP),
    "I;16B": (lambda p: deep(p, "I;16B", 257, ">u2"), DEEP),
    "I;16N": (lambda p: deep(p, "I;16N", 257, "=u2"), DEEP),
    "I": (lambda p: deep(p, "I", 257, "=i4"), DEEP),
    "I;16, 12 bits": (lambda p: deep(p, "I;16", 16), "(numpy.asarray(image) // 16).astype(numpy.uint8)"),
    "I;16, 8 bits": (lambda p: deep(p, "I;16"), GRAY),
    "I;16B, 8 bits": (lambda p: deep(p, "I;16B", 1, ">u2"), GRAY),
    "I, 8 bits": (lambda p: p.convert("I"), GRAY),
    "F, to 255": (lambda p: p.convert("F"), GRAY),
    "F, to 1": (lambda p: deep(p, "F", 1 / 255, "=f4"), UNIT),
}


@pytest.mark.parametrize(("make", "advice"), PICTURES.values(), ids=PICTURES)
def test_pil_images(finder: MTCNN, astronaut: Pixels, make: Any, advice: str) -> None:
    image = make(Image.fromarray(astronaut))
    for call in (finder.detect, lambda image: finder.detect_batch([image]), lambda image: ops.resize(image, (20, 20))):
        refused(call, image, advice)
    follow(finder, advice, image=image)


def test_every_mode_of_pil_is_tried() -> None:
    tried = {name.partition(",")[0] for name in PICTURES}
    assert set(Image.MODES) - tried == {"RGB", "RGBA", "L"}


def test_pil_images_of_no_known_range(finder: MTCNN, astronaut: Pixels) -> None:
    file = io.BytesIO()
    deep(Image.fromarray(astronaut), "I;16", 257).save(file, "PNG")
    half = file.getvalue()[: len(file.getvalue()) // 2]
    for advice in (GRAY, DEEP):
        refused(finder.detect, Image.open(io.BytesIO(half)), advice)
    refused(finder.detect, deep(Image.fromarray(astronaut), "F", 2, "=f4"), "to 510, wanted 0 to 255")


# --- Files ------------------------------------------------------------------------------------------------------------


def test_files(finder: MTCNN, astronaut_path: Path) -> None:
    content = astronaut_path.read_bytes()
    for advice, name, source in (
        ("mtcnn_fast.read(path)", "path", astronaut_path),
        ("mtcnn_fast.read(path)", "path", str(astronaut_path)),
        ("mtcnn_fast.read(data)", "data", content),
        ("mtcnn_fast.read(data)", "data", bytearray(content)),
        ("mtcnn_fast.read(data)", "data", memoryview(content)),
        ("mtcnn_fast.read(file)", "file", io.BytesIO(content)),
    ):
        refused(finder.detect, source, advice)
        refused(lambda image: finder.detect_batch([image]), source, advice)
        refused(finder.detect_batch, source, advice)
        follow(finder, advice, **{name: source})


def test_a_turned_picture(finder: MTCNN, astronaut: Pixels, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(astronaut)).save(path, exif=exif)
    image = Image.open(path)
    with pytest.warns(UserWarning, match="EXIF orientation 6") as seen:
        assert len(finder.detect(image)) == 0
    for advice in ("mtcnn_fast.read(path)", "PIL.ImageOps.exif_transpose(image)"):
        assert advice in str(seen[0].message)
        follow(finder, advice, path=path, image=image)


def test_arrays_for_pytorch(finder: MTCNN, astronaut: Pixels) -> None:
    torch = pytest.importorskip("torch")
    faces = finder.detect(astronaut)
    for array in (torch.tensor(faces.boxes), torch.from_numpy(faces.boxes.copy())):
        array += 1
    assert faces == finder.detect(astronaut)
