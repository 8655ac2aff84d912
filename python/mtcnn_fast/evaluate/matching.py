"""Matching detections with labelled faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.boxes import overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

# In place of a face's index: a false positive, and a detection that counts neither way.
FALSE = -1
NEITHER = -2


def match(
    boxes: Floats, scores: Floats, faces: Floats, ignored: NDArray[np.bool_], least_iou: float
) -> NDArray[np.intp]:
    """For each of the detections (N, 4) the index of its face among (M, 4), or FALSE, or NEITHER: (N,).

    As in COCO's evaluator, each detection, highest score first, takes the free face that it overlaps most, if by at
    least `least_iou`. A detection without a face that overlaps an ignored face by that much is NEITHER. An ignored face
    may have any number of them.
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
    """Returns the least IoU of a match. Raises ValueError if it is not in (0, 1]: boxes without overlap never match."""
    if not 0 < value <= 1:
        raise ValueError(f"iou is {value}; wanted more than 0, and at most 1")
    return value
