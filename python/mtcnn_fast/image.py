"""What counts as an image in the host's memory, and its pixels as the C++ core takes them; device.py has the GPUs'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.checks import described, text

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WANTED = "wanted a uint8 NumPy array (height, width, 3), (height, width, 4) or (height, width), or a PIL image"
_PIL_FORMATS = {"RGB": "rgb", "RGBA": "rgba", "L": "gray"}
_CHANNEL_ORDERS = ("rgb", "bgr")


def checked_channel_order(order: object) -> str:
    if text("channel_order", order) not in _CHANNEL_ORDERS:
        raise ValueError(f"channel_order is {order!r}; wanted one of {_CHANNEL_ORDERS}")
    return str(order)


def is_pil(image: object) -> bool:
    # By what it can do: PIL must not be imported for those who do not use it.
    return hasattr(image, "getbands") and hasattr(image, "mode")


def pixels(image: object, channel_order: str = "rgb", name: str = "image") -> tuple[NDArray[np.uint8], str]:
    """The pixels of an image, not copied, and their format: "rgb", "bgr", "rgba", "bgra" or "gray".

    Raises TypeError or ValueError, under `name`, for anything that is not an image.
    """
    if is_pil(image):
        mode = image.mode  # type: ignore[attr-defined]
        if mode not in _PIL_FORMATS:
            raise ValueError(f'{name} is a PIL image in mode {mode!r}; wanted RGB, RGBA or L: image.convert("RGB")')
        array = np.asarray(image)
        check_shape(array.shape, name)
        return array, _PIL_FORMATS[mode]
    if not isinstance(image, np.ndarray):
        hint = "; detect_batch takes several images" if isinstance(image, list | tuple) else ""
        raise TypeError(f"{name} is {article(type(image))}; {_WANTED}{hint}")
    if image.dtype != np.uint8:
        hint = layout_hint(image.shape)
        if np.issubdtype(image.dtype, np.floating):
            hint += "; pixels in 0..1 become so by (image * 255).round().astype(numpy.uint8)"
        raise TypeError(f"{name} is {described(image)}; {_WANTED}{hint}")
    check_shape(image.shape, name)
    return image, pixel_format(image.shape, channel_order)


def pixel_format(shape: tuple[int, ...], channel_order: str) -> str:
    channels = shape[2] if len(shape) == 3 else 1
    return "gray" if channels == 1 else channel_order + ("a" if channels == 4 else "")


def has_zero_stride(image: NDArray[Any]) -> bool:
    """Whether rows or columns repeat in memory (numpy.broadcast_to): the one layout that the core cannot walk."""
    return any(stride == 0 and side > 1 for stride, side in zip(image.strides[:2], image.shape[:2], strict=True))


def walkable(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same pixels in a layout that the core can walk: the array itself, save for repeated rows or columns."""
    return np.ascontiguousarray(image) if has_zero_stride(image) else image


def check_shape(shape: tuple[int, ...], name: str, wanted: str = _WANTED) -> None:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ValueError(f"{name} has shape {shape}; {wanted}{layout_hint(shape)}")
    if 0 in shape:
        raise ValueError(f"{name} has shape {shape}: a side is zero; {wanted}")


def layout_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return "; several images in one array are for detect_batch"
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        return "; channels come last: image.transpose(1, 2, 0)"
    return ""


def article(kind: type) -> str:
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"a {module}{kind.__qualname__}"
