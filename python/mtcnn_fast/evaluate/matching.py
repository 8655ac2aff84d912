"""Which detection is which face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.boxes import overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

# What a detection is that is no face that counts.
FALSE = -1
NEITHER = -2


def match(
    boxes: Floats, scores: Floats, faces: Floats, ignored: NDArray[np.bool_], least_iou: float
) -> NDArray[np.intp]:
    """For each of the detections (N, 4) the index of its face among (M, 4), or FALSE, or NEITHER: (N,).

    As COCO's evaluator does: the detections, highest score first, take one to one the free face that they overlap most,
    if by `least_iou`; what then overlaps an ignored face by as much counts neither way, however many do.
    """
    matches = np.full(len(boxes), FALSE, np.intp)
    if not len(faces):
        return matches
    iou = overlaps(boxes, faces)
    free = ~ignored
    near = iou >= least_iou
    order = np.argsort(-scores, kind="stable")
    for i in order[near[order].any(axis=1)]:
        best = int(np.where(free, iou[i], -1).argmax())
        if free[best] and near[i, best]:
            matches[i] = best
            free[best] = False
        elif (near[i] & ignored).any():
            matches[i] = NEITHER
    return matches


def checked_iou(value: float) -> float:
    """The least IoU of a match. Raises ValueError if it is not in (0, 1]: boxes that do not touch are no match."""
    if not 0 < value <= 1:
        raise ValueError(f"iou is {value}; wanted more than 0, and at most 1")
    return value
