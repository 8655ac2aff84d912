"""Images in a GPU's memory as the C++ core takes them, and detections that stay in a GPU's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtcnn_fast import _core
from mtcnn_fast.advice import ArrayTraits, is_image_shape, is_torch, refusal
from mtcnn_fast.checks import described
from mtcnn_fast.image import check_batch_shape, pixel_format
from mtcnn_fast.protocols import Exported, copy_hint, read_on_gpu

if TYPE_CHECKING:
    from mtcnn_fast._core import DeviceArray, DeviceImage

_WANTED = "wanted a uint8 array (height, width, 3), (height, width, 4) or (height, width)"


class DeviceDetections:
    """The faces found in one image, by score, highest first, in the memory of the detector's GPU. Immutable.

    `boxes`, `scores` and `landmarks` are dense float32 arrays. Any package that knows DLPack or
    `__cuda_array_interface__` takes them without a copy: `torch.from_dlpack(faces.boxes)`, `cupy.asarray(faces.boxes)`.
    The values are complete: no stream need be waited for. All images of a call share one piece of memory. It is freed
    with the last array in it, which may outlive the detector.
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


def device_pixels(core: _core.Detector, image: Any, channel_order: str, name: str, stream: int) -> DeviceImage:
    """An exported image as the core takes it. Work that is queued on `stream` after this call finds its pixels written.

    Raises TypeError or ValueError that begins with `name` for anything but an image in the memory of the detector's
    device. Errors of the array itself are raised with `name` in front.
    """
    _check_on_gpu(core, image, name)
    exported = read_on_gpu(core, image, name, stream)
    _check(core, exported, name, is_torch(image))
    return _device_image(exported, exported.shape, exported.strides, exported.address, channel_order)


def batch_device_pixels(core: _core.Detector, images: Any, channel_order: str, stream: int) -> list[DeviceImage]:
    """Each image in an exported array (N, H, W, channels). Raises errors as `device_pixels` does."""
    _check_on_gpu(core, images, "images")
    exported = read_on_gpu(core, images, "images", stream)
    check_batch_shape(exported.shape, exported.dtype)
    count, *shape = exported.shape
    if count == 0:
        return []
    _check(core, exported, "image 0", is_torch(images), batch=True)
    between, *strides = exported.strides
    return [
        _device_image(exported, tuple(shape), tuple(strides), exported.address + i * between, channel_order)
        for i in range(count)
    ]


def stream_address(stream: object) -> int:
    """The cudaStream_t of a `stream` argument; 0 for None: the legacy default stream.

    Raises TypeError or ValueError for anything but None, an integer or a stream of PyTorch, CuPy or cuda.core.
    """
    if stream is None:
        return 0
    address = stream
    if hasattr(stream, "__cuda_stream__"):
        address = stream.__cuda_stream__
        address = address() if callable(address) else address
        # (version of the protocol, address)
        address = address[1] if isinstance(address, tuple) and len(address) == 2 else address
    else:
        for attribute in ("cuda_stream", "ptr"):  # PyTorch, CuPy
            address = getattr(stream, attribute, address)
    if not isinstance(address, int) or isinstance(address, bool):
        raise TypeError(
            f"stream is {described(stream)}; wanted None, a cudaStream_t as an integer, or an object with "
            "__cuda_stream__, cuda_stream or ptr"
        )
    if not 0 <= address < 2**64:
        raise ValueError(f"stream is {address}; wanted the address of a cudaStream_t")
    return address


def _check(core: _core.Detector, exported: Exported, name: str, torch: bool, batch: bool = False) -> None:
    shape, strides = (sides[1 if batch else 0 :] for sides in (exported.shape, exported.strides))
    what = f"a {exported.dtype} array of shape {shape} on {exported.device}"
    if exported.dtype != "uint8" or not is_image_shape(shape):
        raise refusal(ArrayTraits(what, exported.shape, exported.dtype, torch=torch, batch=batch), name, _WANTED)
    if exported.device != core.device:
        raise ValueError(f"{name} is {what}; wanted it on the detector's device, {core.device}")
    if any(side > 1 and stride == 0 for side, stride in zip(shape[:2], strides[:2], strict=True)):
        raise ValueError(f"{name} repeats one row or column in memory (strides {strides}); copy it first")


def _device_image(
    exported: Exported, shape: tuple[int, ...], strides: tuple[int, ...], address: int, channel_order: str
) -> DeviceImage:
    (height, width, *_), (row, pixel, *channel) = shape, strides
    channel_stride = channel[0] if channel else 0
    return address, (height, width), (row, pixel, channel_stride), pixel_format(shape, channel_order), exported.owner


def _check_on_gpu(core: _core.Detector, image: object, name: str) -> None:
    if core.device == "cpu":
        raise ValueError(
            f"{name} is in a GPU's memory, and the detector runs on the CPU; use device='cuda', or pass a copy in the "
            f"host's memory{copy_hint(image)}"
        )
