"""Geometry of boxes: x1, y1, x2, y2 in pixels, half-open, computed in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Boxes = NDArray[np.floating[Any]]


# Pairs compared at a time, for some 100 MB of temporary arrays.
_PAIRS = 1 << 20


def blocks(count: int, others: int) -> Iterator[slice]:
    """Slices of `count` boxes, each small enough to be compared with `others` boxes at a time."""
    rows = max(1, _PAIRS // max(1, others))
    return (slice(start, start + rows) for start in range(0, count, rows))


def centres(boxes: Boxes) -> NDArray[np.float64]:
    """The centres (N, 2) of boxes (N, 4)."""
    corners = boxes.astype(np.float64)
    middles: NDArray[np.float64] = (corners[:, :2] + corners[:, 2:]) / 2
    return middles


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Areas (N,) of boxes (N, 4)."""
    corners = boxes.astype(np.float64)
    product: NDArray[np.float64] = (corners[:, 2:] - corners[:, :2]).prod(1)
    return product


def intersections(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Areas (N, M) that boxes (N, 4) share with boxes (M, 4)."""
    a, b = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared: NDArray[np.float64] = np.maximum(sides, 0).prod(2)
    return shared


def overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) with boxes (M, 4); 0 if neither box has an area."""
    shared = intersections(boxes, others)
    union = areas(boxes)[:, None] + areas(others)[None] - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def expanded(boxes: Boxes, shares: Sequence[float]) -> NDArray[np.float64]:
    """Boxes (N, 4) whose left, top, right and bottom side are moved outward by shares of their width or height."""
    corners = boxes.astype(np.float64)
    moved: NDArray[np.float64] = corners + np.array(shares) * (-1, -1, 1, 1) * np.tile(
        corners[:, 2:] - corners[:, :2], 2
    )
    return moved
