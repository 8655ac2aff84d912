"""Matching detections with labelled faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.boxes import overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

# In place of a face's index: a false positive, and a detection that counts neither way.
FALSE = -1
NEITHER = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which faces count, and which detections count neither as right nor as false.

    Raises ValueError for an IoU that is not in (0, 1], and for a `smallest_face` that is negative or not finite.
    """

    iou: float = 0.5
    """The least IoU of a match."""
    ignored_iou: float | None = None
    """The least IoU with an ignored face at which a detection that matches no face counts neither way; None: `iou`."""
    near_iou: float | None = None
    """The least IoU with a labelled face, of any size, at which such a detection counts neither way; None: it is
    false."""
    smallest_face: float = 0
    """The shorter side, in pixels, of the smallest face that counts. Smaller ones are ignored."""

    def __post_init__(self) -> None:
        checked_iou(self.iou)
        for name in ("ignored_iou", "near_iou"):
            if getattr(self, name) is not None:
                checked_iou(getattr(self, name), name)
        if not 0 <= self.smallest_face < math.inf:
            raise ValueError(f"smallest_face is {self.smallest_face}; wanted 0 pixels or more")

    def counts(self, faces: Floats, ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(M,): which faces (M, 4) count. ignored: (M,), those that the annotation ignores."""
        return np.asarray(~ignored & (shorter_sides(faces) >= self.smallest_face))

    def least_iou(self, counts: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(M,): the IoU with each face from which on a detection that matches no face counts neither way."""
        of_ignored = self.iou if self.ignored_iou is None else self.ignored_iou
        of_labelled = math.inf if self.near_iou is None else self.near_iou
        return np.minimum(np.where(counts, math.inf, of_ignored), np.where(ignored, math.inf, of_labelled))


def shorter_sides(boxes: Floats) -> NDArray[np.float64]:
    """(N,): the shorter sides of boxes (N, 4)."""
    corners = boxes.astype(np.float64)
    return np.asarray((corners[:, 2:] - corners[:, :2]).min(axis=1, initial=math.inf))


def match(
    boxes: Floats, scores: Floats, faces: Floats, ignored: NDArray[np.bool_], rule: Rule | None = None
) -> NDArray[np.intp]:
    """For each of the detections (N, 4) the index of its face among (M, 4), or FALSE, or NEITHER: (N,).

    As in COCO's evaluator, each detection, highest score first, takes the free face that it overlaps most, if by at
    least the rule's `iou`. A detection without a face that overlaps an ignored face by `ignored_iou` is NEITHER, and so
    is one that overlaps a labelled face by `near_iou`. Any number of detections may be so. ignored: (M,), those that
    the annotation ignores. rule: None: `Rule()`.
    """
    rule = rule or Rule()
    matches = np.full(len(boxes), FALSE, np.intp)
    if not len(faces):
        return matches
    iou = overlaps(boxes, faces)
    free = rule.counts(faces, ignored)
    near = iou >= rule.iou
    matches[(iou >= rule.least_iou(free, ignored)).any(axis=1)] = NEITHER
    order = np.argsort(-scores, kind="stable")
    for i in order[near[order].any(axis=1)]:
        best = int(np.where(free, iou[i], -1).argmax())
        if free[best] and near[i, best]:
            matches[i] = best
            free[best] = False
    return matches


def checked_iou(value: float, name: str = "iou") -> float:
    """Returns the least IoU of a match. Raises ValueError if it is not in (0, 1]: boxes without overlap never match."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}; wanted more than 0, and at most 1")
    return value
