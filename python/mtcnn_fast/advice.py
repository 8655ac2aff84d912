"""Advice in error messages about values that are no images: the Python expression that makes an image of them.

tests/test_advice.py evaluates every expression here, and looks for a face in the result.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.checks import article

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHANNELS = (1, 3, 4)

# Cameras and scanners with more than 8 bits have 10, 12, 14 or 16: greatest value, and divisor that makes it 255.
_DEPTHS = ((1023, 4), (4095, 16), (16383, 64), (65535, 257))


@dataclass(frozen=True)
class ArrayTraits:
    """An array that is no image."""

    what: str
    """Its description for a message; in a batch that of one image."""
    shape: tuple[int, ...]
    dtype: str
    values: NDArray[Any] | None = None
    """The values, which give the range; None if they are on a GPU, or of a type that NumPy lacks."""
    torch: bool = False
    """Whether its methods are PyTorch's."""
    batch: bool = False
    """Whether it holds several images, where several are allowed."""


def is_torch(image: object) -> bool:
    # Tested by a method, so that other packages' subclasses of tensors count.
    return hasattr(image, "permute")


def is_image_shape(shape: tuple[int, ...]) -> bool:
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS)) and 0 not in shape


def refusal(traits: ArrayTraits, name: str, wanted: str) -> TypeError | ValueError:
    """The error for an array that is not of type uint8 or not of an image's shape."""
    if traits.dtype != "uint8":
        return TypeError(f"{name} is {traits.what}; {wanted}{_array_hint(traits)}")
    shape = traits.shape[1:] if traits.batch else traits.shape
    if len(shape) in (2, 3) and 0 in shape:
        return ValueError(f"{name} has shape {shape}: a side is zero; {wanted}")
    return ValueError(f"{name} has shape {shape}; {wanted}{_array_hint(traits)}")


def refusal_of_object(image: object, name: str, wanted: str) -> TypeError:
    """The error for a value that is no array."""
    if image is None:
        return TypeError(f"{name} is None, which is what cv2.imread gives for a file that it cannot read; {wanted}")
    if isinstance(image, list | tuple):
        hint = _list_hint(image, name)
    elif can_be_an_array(image):
        hint = "; try numpy.asarray(image)"
    else:
        hint = file_hint(image)
    return TypeError(f"{name} is {article(type(image))}; {wanted}{hint}")


def can_be_an_array(values: object) -> bool:
    """Whether NumPy can make an array of a value that is none, by an interface of the value."""
    if isinstance(values, memoryview):
        return values.ndim > 1  # a memoryview with one axis is a file's content
    return hasattr(values, "__array__") or hasattr(values, "__array_interface__")


def file_hint(source: object) -> str:
    """The call that reads an image, if this is a file, a file's path or its content; else nothing."""
    if isinstance(source, str | os.PathLike):
        return "; a file is read by mtcnn_fast.read(path)"
    if isinstance(source, bytes | bytearray | memoryview):
        return "; a file's content is read by mtcnn_fast.read(data)"
    return "; an open file is read by mtcnn_fast.read(file)" if hasattr(source, "read") else ""


def pil_hint(image: Any) -> str:
    """The expression that makes an image of a PIL image whose mode `detect` does not take."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        try:
            values = np.asarray(image)
        except Exception:  # an incomplete file has no range of values, and its mode is wrong all the same
            values = None
        dtype = "float32" if image.mode == "F" else "int32"
        return _value_hint(dtype, values, "numpy.asarray(image)", torch=False, plain='image.convert("L")')
    if image.mode == "La":
        return '; image.convert("LA").convert("RGB") makes one of it'
    # Pillow warns where a palette with an alpha for each color is converted to RGB.
    to = "RGBA" if isinstance(image.info.get("transparency"), bytes) else "RGB"
    return f'; image.convert("{to}") makes one of it'


def _list_hint(image: list[Any] | tuple[Any, ...], name: str) -> str:
    inner: Any = image
    while isinstance(inner, list | tuple) and inner:
        inner = inner[0]
    if isinstance(inner, int | float) and isinstance(image[0], list | tuple):
        return "; lists of pixels become an array by numpy.asarray(image)"
    # For one of the images in a list this would be no advice.
    return "; detect_batch takes several images" if name == "image" else ""


def _array_hint(traits: ArrayTraits) -> str:
    expression, hint = "images" if traits.batch else "image", ""
    if len(traits.shape) == 4 and not traits.batch:
        hint += "; several images in one array are for detect_batch"
    if len(traits.shape) in (3, 4) and traits.shape[-3] in _CHANNELS and traits.shape[-1] not in _CHANNELS:
        axes = "(1, 2, 0)" if len(traits.shape) == 3 else "(0, 2, 3, 1)"
        expression += f".{'permute' if traits.torch else 'transpose'}{axes}"
        hint += f"; channels come last: {expression}"
    if traits.dtype == "uint8":
        return hint
    return hint + _value_hint(traits.dtype, traits.values, expression, traits.torch)


def _value_hint(dtype: str, values: NDArray[Any] | None, expression: str, torch: bool, plain: str | None = None) -> str:
    """The expression that makes uint8 pixels of an expression's values. plain: the one for values from 0 to 255."""
    cast = ".to(torch.uint8)" if torch else ".astype(numpy.uint8)"
    if dtype == "bool":
        return f"; {expression}{cast} * 255 makes pixels of it"
    is_float = dtype.startswith(("float", "bfloat"))
    if not is_float and not dtype.startswith(("int", "uint")):
        return ""
    plain = plain or (f"{expression}.round(){cast}" if is_float else f"{expression}{cast}")
    # PyTorch does not divide its unsigned types of more than 8 bits.
    whole = f"{expression}.int()" if torch else expression
    by_unit = f"({expression} * 255).round(){cast}"
    by_depth = {most: f"({whole} // {divisor}){cast}" for most, divisor in _DEPTHS}
    if values is None or values.size == 0:
        other = f"0 to 1 by {by_unit}" if is_float else f"0 to 65535 by {by_depth[65535]}"
        return f"; values from 0 to 255 become pixels by {plain}, values from {other}"
    low, high = float(values.min()), float(values.max())
    values_hint = f"; its values are from {low:g} to {high:g}"
    if low >= 0 and high <= (1 if is_float else 255):
        return f"{values_hint}: {by_unit if is_float else plain}"
    if is_float:
        return f"{values_hint}: {plain}" if low >= 0 and high <= 255 else f"{values_hint}, wanted 0 to 255"
    if low >= 0 and high <= 65535:
        return f"{values_hint}: {next(by for most, by in by_depth.items() if high <= most)}"
    return f"{values_hint}, wanted 0 to 255"
