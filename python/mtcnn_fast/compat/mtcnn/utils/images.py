"""Reading of pictures with the interface of mtcnn 1.0.0."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast.reading import read

__all__ = ["load_image", "load_images_batch"]


def load_image(image: Any, dtype: Any = np.float32, device: str | None = None) -> NDArray[Any]:
    """The picture in a file, upright: (H, W, 3) in RGB with values 0 to 255. An array is returned as it is.

    image: a path, or the bytes of a file. dtype: a type of NumPy's or TensorFlow's. device: has no effect. Raises as
    `mtcnn_fast.read` does.
    """
    if not isinstance(image, str | os.PathLike | bytes | bytearray | memoryview):
        return np.asarray(image)
    return read(image).astype(getattr(dtype, "as_numpy_dtype", dtype))


def load_images_batch(images: Iterable[Any], dtype: Any = np.float32, device: str | None = None) -> list[NDArray[Any]]:
    """`load_image` of each."""
    return [load_image(image, dtype, device) for image in images]
