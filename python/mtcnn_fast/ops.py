"""The stages of the cascade one at a time, for tests, studies and pipelines.

Sizes are (height, width). A normalised pixel is (value - 127.5) / 128. Network inputs may have any floating-point type.
The networks compute in float32, or with precision "fast" as `MTCNN` does. Errors are those of `MTCNN`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.checks import each, floats, integer, number, text
from mtcnn_fast.detector import MTCNN
from mtcnn_fast.image import pixels, walkable, walkable_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def resize(image: Any, size: Sequence[int], *, device: str = "cpu", profile: str = "reference") -> Floats:
    """A whole image, in RGB order, resized as pyramid levels are: float32 (h, w, 3), pixel values from 0 to 255.

    size: (h, w), of at most 2**30 pixels. Its sides and the image's have at most 2**28 pixels.
    """
    height, width = each("size", size, 2, integer)
    return _stages(device, profile).resize(walkable_pixels(image), height, width)


def pyramid(
    image: Any,
    min_face_size: float = 20,
    scale_factor: float = 0.709,
    *,
    device: str = "cpu",
    profile: str = "reference",
) -> list[Floats]:
    """The levels that P-Net sees, largest first: float32 (h, w, 3), normalised."""
    stages = _stages(device, profile, number("min_face_size", min_face_size), number("scale_factor", scale_factor))
    array, pixel_format = pixels(image)
    levels = stages.levels(*array.shape[:2])
    if not levels:
        return []
    view = walkable(array), pixel_format
    return [(stages.resize(view, height, width) - np.float32(127.5)) / np.float32(128) for _, height, width in levels]


def pnet(level: NDArray[np.floating[Any]], *, device: str = "cpu", precision: str = "fp32") -> tuple[Floats, Floats]:
    """Probability (h', w') and offsets (h', w', 4) of every 12 x 12 cell of a normalised level (h, w, 3).

    The cells are 2 pixels apart.
    """
    return _stages(device, precision=precision).pnet(_float32("level", level, (None, None, 3)))


def rnet(crops: NDArray[np.floating[Any]], *, device: str = "cpu", precision: str = "fp32") -> tuple[Floats, Floats]:
    """Probability (N,) and offsets (N, 4) of normalised crops (N, 24, 24, 3)."""
    return _stages(device, precision=precision).rnet(_float32("crops", crops, (None, 24, 24, 3)))


def onet(
    crops: NDArray[np.floating[Any]], *, device: str = "cpu", precision: str = "fp32"
) -> tuple[Floats, Floats, Floats]:
    """Probability (N,), offsets (N, 4) and landmarks (N, 10: x1..x5, y1..y5) of normalised crops (N, 48, 48, 3)."""
    return _stages(device, precision=precision).onet(_float32("crops", crops, (None, 48, 48, 3)))


def nms(
    boxes: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    threshold: float,
    mode: str = "union",
    *,
    device: str = "cpu",
) -> NDArray[np.int64]:
    """Greedy suppression: int64 indices of the boxes kept, highest score first, ties in the order given.

    A box is dropped if it overlaps a kept one by more than `threshold`. The overlap is the intersection over the union,
    or with mode "min" over the smaller box.

    boxes: (N, 4), x1, y1, x2, y2, half-open. scores: (N,).
    """
    stages = _stages(device)
    corners = floats("boxes", boxes, (None, 4), integers=True).astype(np.float64)
    values = floats("scores", scores, (None,))
    if len(corners) != len(values):
        raise ValueError(f"there are {len(corners)} boxes and {len(values)} scores")
    if not np.isfinite(corners).all() or np.isnan(values).any():
        raise ValueError("boxes must be finite, and scores must not be NaN")
    limit = number("threshold", threshold)
    if not 0 <= limit <= 1:
        raise ValueError(f"threshold is {limit}; wanted 0 to 1")
    # The boxes are sorted here, because float64 scores that differ can be equal in the core's float32.
    order = np.argsort(-values, kind="stable")
    kept = stages.nms(corners[order], values[order].astype(np.float32), limit, text("mode", mode))
    return order[kept]


def _float32(name: str, value: object, shape: tuple[int | None, ...]) -> Floats:
    return np.ascontiguousarray(floats(name, value, shape), dtype=np.float32)


def _stages(
    device: str,
    profile: str = "reference",
    min_face_size: float = 20,
    scale_factor: float = 0.709,
    precision: str = "fp32",
) -> _core.Detector:
    # A detector reads the variable when it is made, so a cached one serves only the value that it was made under.
    return _cached_detector(
        text("device", device),
        text("profile", profile),
        min_face_size,
        scale_factor,
        text("precision", precision),
        os.environ.get("MTCNN_FAST_ISA"),
    )


@lru_cache(maxsize=8)
def _cached_detector(
    device: str, profile: str, min_face_size: float, scale_factor: float, precision: str, _isa: str | None
) -> _core.Detector:
    detector = MTCNN(
        device=device,
        profile=profile,
        min_face_size=min_face_size,
        scale_factor=scale_factor,
        precision=precision,
    )
    return detector._core
