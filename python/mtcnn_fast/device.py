"""Images in a GPU's memory, and detections left there, by the protocols that array packages share.

None of those packages is imported. The protocols: https://dmlc.github.io/dlpack/latest/python_spec.html and
https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.checks import described
from mtcnn_fast.image import article, check_shape, layout_hint, pixel_format

if TYPE_CHECKING:
    from mtcnn_fast._core import DeviceArray, DeviceImage

_WANTED = "wanted a uint8 array (height, width, 3), (height, width, 4) or (height, width)"

# Both protocols' number for the legacy default stream, which as a cudaStream_t may also be null.
_LEGACY_STREAM = 1

_DLPACK_CPU = (1, 3)  # plain memory, and memory that CUDA has pinned
_DLPACK_CUDA = (2, 13)  # a GPU's own memory, and memory managed by CUDA
_DLPACK_TYPES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


class DeviceDetections:
    """The faces found in one image, by score, highest first, in the memory of the detector's GPU. Immutable.

    `boxes`, `scores` and `landmarks` are dense float32 arrays that any package takes that knows DLPack or
    `__cuda_array_interface__`, without a copy: `torch.from_dlpack(faces.boxes)`, `cupy.asarray(faces.boxes)`. The
    values are there: no stream need be waited for. The memory, one piece for all images of a call, is given back with
    the last array in it, which may outlive the detector.
    """

    __slots__ = ("_boxes", "_landmarks", "_scores")

    def __init__(self, boxes: DeviceArray, scores: DeviceArray, landmarks: DeviceArray) -> None:
        self._boxes, self._scores, self._landmarks = boxes, scores, landmarks

    @property
    def boxes(self) -> DeviceArray:
        """(N, 4): x1, y1, x2, y2 in pixels, as in `Detections`."""
        return self._boxes

    @property
    def scores(self) -> DeviceArray:
        """(N,): probability of a face, in [0, 1], highest first."""
        return self._scores

    @property
    def landmarks(self) -> DeviceArray:
        """(N, 5, 2): x, y of left eye, right eye, nose, left and right mouth corner, as seen in the image."""
        return self._landmarks

    def astuple(self) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """boxes, scores, landmarks."""
        return self._boxes, self._scores, self._landmarks

    def __len__(self) -> int:
        return len(self._scores)

    def __repr__(self) -> str:
        faces = "face" if len(self) == 1 else "faces"
        return f"<DeviceDetections: {len(self)} {faces} on {self._scores.device}>"


@dataclass(frozen=True)
class _Exported:
    """An array as a protocol describes it."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in bytes
    dtype: str
    device: str
    owner: object  # keeps the memory


def is_exported(image: object) -> bool:
    """Whether an image is not NumPy's or PIL's and offers itself by one of the protocols."""
    return not isinstance(image, np.ndarray | np.generic) and (
        hasattr(image, "__dlpack_device__") or hasattr(image, "__cuda_array_interface__")
    )


def exported_pixels(core: _core.Detector, image: Any, channel_order: str, name: str, stream: int) -> DeviceImage:
    """An exported image as the core takes it. What is queued on `stream` from now on finds its pixels written.

    Raises TypeError or ValueError, under `name`, for what is not an image in the memory of the detector's device.
    """
    exported = _read(core, image, name, stream)
    what = f"a {exported.dtype} array of shape {exported.shape} on {exported.device}"
    if exported.dtype != "uint8":
        hint = layout_hint(exported.shape)
        if "float" in exported.dtype:
            hint += "; pixels in 0..1 become so by (image * 255).round(), converted to uint8"
        raise TypeError(f"{name} is {what}; {_WANTED}{hint}")
    check_shape(exported.shape, name, _WANTED)
    if exported.device != core.device:
        raise ValueError(f"{name} is {what}; wanted it on the detector's device, {core.device}")
    (height, width, *_), (row, pixel, *channel) = exported.shape, exported.strides
    if (height > 1 and row == 0) or (width > 1 and pixel == 0):
        raise ValueError(f"{name} repeats one row or column in memory (strides {exported.strides}); copy it first")
    return (
        exported.address,
        (height, width),
        (row, pixel, channel[0] if channel else 0),
        pixel_format(exported.shape, channel_order),
        exported.owner,
    )


def stream_address(stream: object) -> int:
    """The cudaStream_t of a `stream` argument; 0 for None: the legacy default stream.

    Raises TypeError or ValueError for anything but None, an integer or a stream of PyTorch, CuPy or cuda.core.
    """
    if stream is None:
        return 0
    found = stream
    if hasattr(stream, "__cuda_stream__"):
        found = stream.__cuda_stream__
        found = found() if callable(found) else found
        # (version of the protocol, address)
        found = found[1] if isinstance(found, tuple) and len(found) == 2 else found
    else:
        for attribute in ("cuda_stream", "ptr"):  # PyTorch, CuPy
            found = getattr(stream, attribute, found)
    if not isinstance(found, int) or isinstance(found, bool):
        raise TypeError(
            f"stream is {described(stream)}; wanted None, a cudaStream_t as an integer, or an object with "
            "__cuda_stream__, cuda_stream or ptr"
        )
    if not 0 <= found < 2**64:
        raise ValueError(f"stream is {found}; wanted the address of a cudaStream_t")
    return found


def _read(core: _core.Detector, image: Any, name: str, stream: int) -> _Exported:
    # DLPack comes first: PyTorch's other interface tells no stream, so that nothing could wait for a tensor's values.
    if hasattr(image, "__dlpack_device__"):
        kind = int(image.__dlpack_device__()[0])
        if kind in _DLPACK_CPU:
            raise TypeError(
                f"{name} is {article(type(image))} in the host's memory; {_WANTED} of NumPy's or in a GPU's memory; "
                "most packages give NumPy's by .numpy()"
            )
        if kind not in _DLPACK_CUDA:
            raise TypeError(
                f"{name} is {article(type(image))} on a device of DLPack's type {kind}; wanted one of CUDA's or the "
                "host's, as a NumPy array"
            )
        _check_on_gpu(core, name)
        return _read_dlpack(image, stream)
    _check_on_gpu(core, name)
    return _read_cuda_array_interface(core, image, name, stream)


def _check_on_gpu(core: _core.Detector, name: str) -> None:
    if core.device == "cpu":
        raise ValueError(
            f"{name} is in a GPU's memory, and the detector runs on the CPU; use device='cuda', or pass a NumPy array"
        )


def _read_dlpack(image: Any, stream: int) -> _Exported:
    # The producer makes the stream given wait for what it has queued itself.
    arguments: dict[str, Any] = {"stream": stream or _LEGACY_STREAM}
    try:
        capsule = image.__dlpack__(**arguments, max_version=(1, 0))
    except TypeError:  # from before versions
        capsule = image.__dlpack__(**arguments)
    address, shape, strides, (code, bits, lanes), (_, index) = _core.read_dlpack(capsule)
    dtype = f"{_DLPACK_TYPES.get(code, f'type {code} of ')}{bits}" + (f"x{lanes}" if lanes != 1 else "")
    strides = _dense(shape) if strides is None else strides
    item = bits * lanes // 8
    return _Exported(
        address, shape, tuple(stride * item for stride in strides), dtype, f"cuda:{index}", (image, capsule)
    )


def _read_cuda_array_interface(core: _core.Detector, image: Any, name: str, stream: int) -> _Exported:
    interface = image.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise ValueError(f"{name} has a mask; wanted an array without one")
    dtype = np.dtype(interface["typestr"])
    shape = tuple(interface["shape"])
    strides = interface.get("strides")
    if strides is None:
        strides = tuple(stride * dtype.itemsize for stride in _dense(shape))
    address = int(interface["data"][0])
    # An array without pixels has no address, and is refused for its shape.
    owner = _core.cuda_device_of(address) if 0 not in shape else None
    if owner == -1:
        raise ValueError(f"{name} is at an address that is in no GPU's memory")
    queue = interface.get("stream")
    if queue == 0:
        raise ValueError(f"{name} is to be waited for on stream 0, which __cuda_array_interface__ forbids; wanted 1")
    # None says that there is nothing to wait for.
    if queue is not None and owner is not None and queue != (stream or _LEGACY_STREAM):
        core.order_streams(int(queue), stream)
    device = core.device if owner is None else f"cuda:{owner}"
    return _Exported(address, shape, tuple(strides), dtype.name, device, image)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return tuple(strides)
