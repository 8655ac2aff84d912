"""Images in the host's memory: checks, and their pixels as the C++ core takes them. device.py does it for GPUs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.advice import ArrayTraits, is_image_shape, is_torch, pil_hint, refusal, refusal_of_object
from mtcnn_fast.checks import article, described, is_masked, named, text
from mtcnn_fast.protocols import Exported, copy_hint, is_exported, is_on_host, read_on_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WANTED = "wanted a uint8 NumPy array (height, width, 3), (height, width, 4) or (height, width), or a PIL image"
_PIL_FORMATS = {"RGB": "rgb", "RGBA": "rgba", "L": "gray"}
_CHANNEL_ORDERS = ("rgb", "bgr")

# Limits on the pixels of an image that is copied and on the images of a call: repeated ones take only a few bytes.
_MOST_COPIED = 2**31
_MOST_IMAGES = 2**24

_EXIF_ORIENTATION = 274
_TURNED = range(2, 9)  # 1 means upright; other values are undefined


def checked_channel_order(order: object) -> str:
    if text("channel_order", order) not in _CHANNEL_ORDERS:
        raise ValueError(f"channel_order is {order!r}; wanted one of {_CHANNEL_ORDERS}")
    return str(order)


def is_pil(image: object) -> bool:
    # Tested by attributes, because PIL must not be imported for callers who do not use it.
    return hasattr(image, "getbands") and hasattr(image, "mode")


def pixels(image: object, channel_order: str = "rgb", name: str = "image") -> tuple[NDArray[np.uint8], str]:
    """The pixels of an image, not copied, and their format: "rgb", "bgr", "rgba", "bgra" or "gray".

    Raises TypeError or ValueError for anything that is not an image; the message begins with `name`. A package that
    fails to give the pixels raises errors of its own, such as OSError for a damaged file; `name` is put in front.
    """
    if isinstance(image, np.ndarray):
        refuse_mask(image, name)
        if image.dtype != np.uint8 or not is_image_shape(image.shape):
            raise refusal(ArrayTraits(described(image), image.shape, image.dtype.name, image), name, _WANTED)
        return image, pixel_format(image.shape, channel_order)
    if is_pil(image):
        return _pil_pixels(image, name)
    if not is_exported(image):
        raise refusal_of_object(image, name, _WANTED)
    if not is_on_host(image, name):
        raise ValueError(
            f"{name} is {article(type(image))} in a GPU's memory; wanted one in the host's{copy_hint(image)}"
        )
    exported = read_on_host(image, name)
    array = exported.array()
    if array is None or array.dtype != np.uint8 or not is_image_shape(array.shape):
        what = described_export(image, exported, exported.shape)
        raise refusal(ArrayTraits(what, exported.shape, exported.dtype, array, is_torch(image)), name, _WANTED)
    return array, pixel_format(array.shape, channel_order)


def batch_pixels(images: Any, channel_order: str) -> list[tuple[NDArray[np.uint8], str]]:
    """The pixels of each image in an array (N, H, W, channels) in the host's memory. Raises errors as `pixels` does."""
    torch = False
    if isinstance(images, np.ndarray):
        refuse_mask(images, "images")
        shape, dtype = images.shape, images.dtype.name
        array: NDArray[Any] | None = images
        what = f"a {images.dtype} array of shape {shape[1:]}"
    else:
        exported, torch = read_on_host(images, "images"), is_torch(images)
        array, shape, dtype = exported.array(), exported.shape, exported.dtype
        what = described_export(images, exported, shape[1:])
    check_batch_shape(shape, dtype)
    if shape[0] == 0:
        return []
    if array is None or dtype != "uint8" or not is_image_shape(shape[1:]):
        raise refusal(ArrayTraits(what, shape, dtype, array, torch, batch=True), "image 0", _WANTED)
    return [(image, pixel_format(shape[1:], channel_order)) for image in array]


def check_batch_shape(shape: tuple[int, ...], dtype: str) -> None:
    if len(shape) != 4:
        hint = "list(images)" if dtype == "object" else "detect takes one image"
        raise ValueError(f"images is a {dtype} array of shape {shape}; wanted (N, H, W, channels); {hint}")
    if shape[0] > _MOST_IMAGES:
        raise ValueError(f"images is an array of {shape[0]} images; wanted at most 2**24 per call")


def described_export(image: object, exported: Exported, shape: tuple[int, ...]) -> str:
    kind = article(type(image)).partition(" ")[2]
    return f"a {exported.dtype} {kind} of shape {tuple(shape)}"


def refuse_mask(image: NDArray[Any], name: str) -> None:
    if is_masked(image):
        raise TypeError(f"{name} is a masked array; wanted one without a mask: {name.split()[0]}.filled(0)")


def warn_of_turned(images: Iterable[tuple[str, object]]) -> None:
    """Gives one UserWarning, at the caller's line outside this package, if EXIF would turn any of the images."""
    turned = [(name, orientation) for name, image in images if (orientation := _orientation(image)) in _TURNED]
    if not turned:
        return
    (name, orientation), others = turned[0], len(turned) - 1
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "mtcnn_fast":
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{name} has EXIF orientation {orientation}{f' (and {others} more have one)' * bool(others)} and is taken as "
        "stored, so turned faces are not found; mtcnn_fast.read(path) and PIL.ImageOps.exif_transpose(image) give it "
        "upright",
        UserWarning,
        stacklevel=level,
    )


def _orientation(image: object) -> int:
    if not is_pil(image):
        return 1
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)  # type: ignore[attr-defined]
    except Exception:  # damaged EXIF gives no orientation
        return 1
    return orientation if isinstance(orientation, int) else 1


def _pil_pixels(image: Any, name: str) -> tuple[NDArray[np.uint8], str]:
    if image.mode not in _PIL_FORMATS:
        wanted = "wanted RGB, RGBA or L"
        raise ValueError(f"{name} is a PIL image in mode {image.mode!r}; {wanted}{pil_hint(image)}")
    # For a damaged file Pillow's readers raise exceptions of many types: SyntaxError, struct.error, ...
    with named(name, OSError):
        array = np.asarray(image)
    if not is_image_shape(array.shape):
        raise refusal(ArrayTraits("a PIL image", array.shape, "uint8"), name, _WANTED)
    return array, _PIL_FORMATS[image.mode]


def pixel_format(shape: tuple[int, ...], channel_order: str) -> str:
    channels = shape[2] if len(shape) == 3 else 1
    return "gray" if channels == 1 else channel_order + ("a" if channels == 4 else "")


def has_zero_stride(image: NDArray[Any]) -> bool:
    """Whether rows or columns repeat in memory (numpy.broadcast_to): the one layout that the core cannot walk."""
    return any(stride == 0 and side > 1 for stride, side in zip(image.strides[:2], image.shape[:2], strict=True))


def walkable_pixels(image: object, channel_order: str = "rgb") -> tuple[NDArray[np.uint8], str]:
    """The `pixels` of an image, `walkable`, and their format."""
    array, pixel_format = pixels(image, channel_order)
    return walkable(array), pixel_format


def walkable(image: NDArray[np.uint8], name: str = "image") -> NDArray[np.uint8]:
    """The same pixels in a layout that the core can walk: the array itself, or a copy if rows or columns repeat.

    Raises ValueError that begins with `name` for an image that is too large to copy.
    """
    if not has_zero_stride(image):
        return image
    if image.shape[0] * image.shape[1] > _MOST_COPIED:
        raise ValueError(
            f"{name} repeats rows or columns in memory (shape {image.shape}, strides {image.strides}), and has more "
            "than 2**31 pixels, too many to copy"
        )
    return np.ascontiguousarray(image)
