"""Arrays of other packages in the host's memory, and protocols that are not kept. test_cuda.py has the GPUs'."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from device_memory import ByDLPack
from mtcnn_fast import MTCNN, _core, draw, ops
from mtcnn_fast.device import batch_device_pixels
from mtcnn_fast.image import pixels
from mtcnn_fast.protocols import read_on_gpu

Image = NDArray[np.uint8]


class OnHost(ByDLPack):
    device = (1, 0)

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.address = array.ctypes.data if array.size else 0
        self.streams = []


class Old(OnHost):
    versioned = False


class Pinned(OnHost):
    device = (3, 0)


class Torch:
    """Tensors of PyTorch's."""

    def __new__(cls, array: NDArray[Any]) -> Any:
        torch = pytest.importorskip("torch")
        # PyTorch has no negative strides.
        return torch.from_numpy(np.array(array))


class Offered:
    """Of NumPy's own DLPack, which exports what is read-only from 2.1 on, to those who ask for version 1."""

    def __init__(self, array: NDArray[Any]) -> None:
        if np.lib.NumpyVersion(np.__version__) < "2.1.0":
            array = array.copy()
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


# For what is decided before the memory is read.
ON_GPU = cast(_core.Detector, SimpleNamespace(device="cuda:0"))
INTERFACE = {"shape": (20, 20, 3), "typestr": "|u1", "data": (4096, False), "version": 3}

EXPORTS = [OnHost, Old, Pinned, Torch, Offered]


@pytest.mark.parametrize("export", EXPORTS)
def test_images(detector: MTCNN, face: Image, export: Any) -> None:
    expected = detector.detect(face)
    assert len(expected) == 1
    gray, alpha = face[..., 1], np.dstack([face, face[..., :1]])
    image = export(face)
    assert detector.detect(image) == expected
    assert detector.detect_batch([face, image, export(gray), export(alpha)]) == detector.detect_batch(
        [face, face, gray, alpha]
    )
    np.testing.assert_array_equal(detector.align(image, expected), detector.align(face, expected))
    np.testing.assert_array_equal(detector.crop(image, expected), detector.crop(face, expected))
    np.testing.assert_array_equal(ops.resize(image, (30, 40)), ops.resize(face, (30, 40)))
    assert detector.inspect(image)["candidates"] == detector.inspect(face)["candidates"]
    cpu = MTCNN(device="cpu")
    np.testing.assert_array_equal(cpu.windows(image)[0], cpu.windows(face)[0])


def test_drawing(detector: MTCNN, face: Image) -> None:
    pytest.importorskip("cv2")
    faces = detector.detect(face)
    np.testing.assert_array_equal(draw(OnHost(face), faces), draw(face, faces))


@pytest.mark.parametrize("export", [OnHost, Old, Offered])
def test_strides(detector: MTCNN, face: Image, export: Any) -> None:
    for view in (
        face[7:111, 3:95],
        face[::-1],
        face[:, ::-1],
        face.transpose(1, 0, 2),
        face[..., ::-1],
        face[::2, ::2],
    ):
        assert detector.detect(export(view)) == detector.detect(view)
    row = np.broadcast_to(face[:1], face.shape)
    assert detector.detect(export(row)) == detector.detect(row)


@pytest.mark.parametrize("export", EXPORTS)
def test_batches_in_one_array(detector: MTCNN, face: Image, export: Any) -> None:
    stack = np.stack([face, face[:, ::-1], face[::-1]])
    expected = detector.detect_batch(stack)
    assert detector.detect_batch(export(stack)) == expected
    assert detector.detect_batch(export(stack[:0])) == []
    assert detector.detect_batch(export(stack[..., :1])) == detector.detect_batch(stack[..., :1])
    for bad, words in (
        (face, ["images is a uint8 array of shape (120, 100, 3)", "detect takes one image"]),
        (
            stack.transpose(0, 3, 1, 2),
            ["image 0 has shape (3, 120, 100)", "channels come last: images.", "(0, 2, 3, 1)"],
        ),
        (stack[..., :2], ["image 0 has shape (120, 100, 2)"]),
    ):
        with pytest.raises(ValueError, match=r"^image") as raised:
            detector.detect_batch(export(bad))
        assert all(word in str(raised.value) for word in words), raised.value
    with pytest.raises(ValueError, match="detect_batch"):
        detector.detect(export(stack))


@pytest.mark.parametrize("export", EXPORTS)
def test_nothing_is_copied(face: Image, export: Any) -> None:
    image = export(face.copy())
    array, pixel_format = pixels(image)
    assert pixel_format == "rgb"
    assert not array.flags.writeable
    if export is Torch:
        assert array.ctypes.data == image.data_ptr()
    elif export is not Offered:
        assert array.ctypes.data == image.address


def test_memory_is_kept_and_given_back(face: Image) -> None:
    image = OnHost(face.copy())
    alive = weakref.ref(image)
    array, _ = pixels(image)
    part = array[5:]
    del image, array
    gc.collect()
    np.testing.assert_array_equal(part, face[5:])
    assert alive() is not None
    del part
    gc.collect()
    assert alive() is None


def test_the_producer_is_given_no_stream(detector: MTCNN, face: Image) -> None:
    image = OnHost(face)
    detector.detect(image)
    assert image.streams == [None]


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.int64, np.uint16, np.int8, bool, np.complex64]
)
def test_other_types(detector: MTCNN, dtype: Any) -> None:
    exported: Any = OnHost(np.zeros((40, 40, 3), dtype))
    if dtype is np.complex64:
        exported = Offered(np.zeros((40, 40, 3), dtype))
    with pytest.raises(TypeError) as raised:
        detector.detect_batch([exported])
    kind = type(exported).__name__
    assert str(raised.value).startswith(f"image 0 is a {np.dtype(dtype)} test_exported.{kind} of shape (40, 40, 3); ")


def test_pytorchs_tensors_that_are_no_images(detector: MTCNN, face: Image) -> None:
    torch = pytest.importorskip("torch")
    zeros = torch.zeros(40, 40, 3)
    for tensor, error, words in (
        (zeros, TypeError, ["image 1 is a float32 torch.Tensor of shape (40, 40, 3)"]),
        (zeros.bfloat16(), TypeError, ["bfloat16", "(40, 40, 3)", "uint8"]),
        (zeros.clone().requires_grad_(), ValueError, ["image 1: ", "require gradient", "detach()"]),
        (zeros.to(torch.complex64).conj(), ValueError, ["image 1: ", "conjugate bit"]),
        (zeros.to("meta"), ValueError, ["image 1: ", "meta"]),
        (zeros.to_sparse(), ValueError, ["image 1: ", "strided"]),
    ):
        for images in ([face, tensor], (face, tensor)):
            with pytest.raises(error, match=r"^image 1") as raised:
                detector.detect_batch(images)
            assert all(word in str(raised.value) for word in words), raised.value


def test_a_gpus_array_is_taken_apart_where_it_lies(face: Image) -> None:
    class OnGpu(OnHost):
        device = (2, 0)

    stack = np.stack([face, face, face])
    for array in (stack, stack[::-1, 3:, ::2], stack[..., 1:2], stack[1:].transpose(0, 2, 1, 3)):
        exported = OnGpu(array)
        views = batch_device_pixels(ON_GPU, exported, "bgr", 0)
        assert exported.streams == [1]
        pixel_format = "bgr" if array.shape[3] == 3 else "gray"
        for view, image in zip(views, array, strict=True):
            assert view[:4] == (image.ctypes.data, image.shape[:2], image.strides, pixel_format)
    assert batch_device_pixels(ON_GPU, OnGpu(stack[:0]), "rgb", 0) == []
    for bad, words in (
        (face, "^images is a uint8 array of shape .*; detect takes one image"),
        (stack.transpose(0, 3, 1, 2), r"^image 0 has shape .*: images\.transpose\(0, 2, 3, 1\)"),
        (np.float32(stack), r"^image 0 is a float32 array of shape \(120, 100, 3\) on cuda:0; .*\(images \* 255\)"),
        (np.broadcast_to(face[:1], stack.shape), "^image 0 repeats one row or column"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            batch_device_pixels(ON_GPU, OnGpu(bad), "rgb", 0)


# --- Exporters that do not keep to the protocols ----------------------------------------------------------------------


def by_dlpack(device: Any = (1, 0), **attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(__dlpack_device__=lambda: device, **attributes)


def raising(error: Exception) -> Any:
    def call(*_: Any, **__: Any) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        (by_dlpack(), TypeError, "image 1 is a types.SimpleNamespace, which has __dlpack_device__ and no __dlpack__"),
        (by_dlpack(None), TypeError, "image 1: its __dlpack_device__ gives None"),
        (by_dlpack((1,)), TypeError, "image 1: its __dlpack_device__ gives (1,)"),
        (by_dlpack(("cpu", 0)), TypeError, "image 1: its __dlpack_device__ gives ('cpu', 0)"),
        (
            by_dlpack((8, 0)),
            TypeError,
            "image 1 is a types.SimpleNamespace on a device of DLPack's type 8; wanted one in",
        ),
        (by_dlpack(__dlpack__=lambda **_: None), TypeError, "image 1: its __dlpack__ gives None"),
        (by_dlpack(__dlpack__=lambda **_: np.zeros(3)), TypeError, "image 1: its __dlpack__ gives a float64 array"),
        (by_dlpack(__dlpack__=raising(RuntimeError("gone"))), RuntimeError, "image 1: gone"),
        (by_dlpack(__dlpack__=raising(MemoryError("full"))), MemoryError, "image 1: full"),
        (by_dlpack(__dlpack__=raising(BufferError("no"))), ValueError, "image 1: no"),
        (by_dlpack(__dlpack__=raising(KeyError("x"))), ValueError, "image 1: KeyError('x')"),
        (by_dlpack(__dlpack__=raising(TypeError("bad"))), TypeError, "image 1: bad"),
        (SimpleNamespace(__dlpack_device__=raising(RuntimeError("gone"))), RuntimeError, "image 1: gone"),
        (SimpleNamespace(__dlpack_device__=(1, 0)), TypeError, "image 1: 'tuple' object is not callable"),
    ],
    ids=str,
)
def test_exporters_that_fail(detector: MTCNN, face: Image, image: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        detector.detect_batch([face, image])
    assert str(raised.value).startswith(said)


def test_capsules_that_lie(detector: MTCNN, face: Image) -> None:
    class Elsewhere(OnHost):
        device = (2, 0)

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    with pytest.raises(ValueError, match="image is on another device than its __dlpack_device__ says: DLPack's type 2"):
        detector.detect(Elsewhere(face))
    nowhere = OnHost(face)
    nowhere.address = 0
    with pytest.raises(ValueError, match="image is at address 0"):
        detector.detect(nowhere)
    capsule = face.copy().__dlpack__()
    taken = by_dlpack(__dlpack__=lambda **_: capsule)
    np.from_dlpack(taken)
    with pytest.raises(TypeError, match=r"^image: the capsule is named 'used_dltensor"):
        detector.detect(taken)


def read_interface(interface: Any) -> None:
    read_on_gpu(ON_GPU, SimpleNamespace(__cuda_array_interface__=interface), "image", 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", None),
        ("shape", (2.0, 3)),
        ("typestr", None),
        ("typestr", "uint99"),
        ("strides", (1,)),
        ("strides", ("a", 1, 1)),
        ("data", None),
        ("data", (None, False)),
        ("data", (4096,)),
        ("stream", "1"),
    ],
)
def test_interfaces_of_wrong_types(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^image: its __cuda_array_interface__ has {field} "):
        read_interface({**INTERFACE, field: value})


def test_interfaces_that_are_impossible() -> None:
    for sides in ((-1, 20, 3), (2**70, 20, 3)):
        with pytest.raises(ValueError, match=r"^image has shape \("):
            read_interface({**INTERFACE, "shape": sides})
    with pytest.raises(ValueError, match=r"^image has strides"):
        read_interface({**INTERFACE, "strides": (2**70, 3, 1)})
    for address in (0, -1, 2**64):
        with pytest.raises(ValueError, match=f"^image is at address {address}, "):
            read_interface({**INTERFACE, "data": (address, False)})
    with pytest.raises(TypeError, match=r"^image: its __cuda_array_interface__ is 7"):
        read_interface(7)


def test_an_interface_that_raises(detector: MTCNN, face: Image) -> None:
    class Raising:
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            raise RuntimeError("lost the device")

    with pytest.raises(RuntimeError, match=r"^image: lost the device"):
        read_on_gpu(ON_GPU, Raising(), "image", 0)
    with pytest.raises((RuntimeError, ValueError), match=r"^image 1(: lost the device| is in a GPU's memory)"):
        detector.detect_batch([face, Raising()])
