"""Recall at numbers of false positives: its interval over pictures, and by the size of faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.evaluate.precision_recall import JudgedDetections, PrecisionRecall

if TYPE_CHECKING:
    from numpy.typing import NDArray

FALSE_POSITIVES = (2, 5, 10, 20, 40)
"""The numbers of false positives at which recall is reported."""

SIZES = (12, 16, 20, 30, 40, 60)
"""Shorter sides of faces, in pixels, that divide them into classes."""

SHARE = 0.95
RESAMPLES = 1000

# Detections, highest score first, that a resample looks at before it looks at more.
_FIRST = 512


@dataclass(frozen=True, slots=True)
class SizeClass:
    """The recall of faces of similar sizes."""

    least: float
    """The shortest that the shorter side of a face may be, in pixels."""
    below: float
    """The length, in pixels, that the shorter side does not reach; infinity: any."""
    faces: int
    """The number of faces."""
    recalls: tuple[float, ...]
    """The share found at each number of false positives."""


def recall_by_size(
    result: PrecisionRecall, false_positives: Sequence[float], sizes: Sequence[float] = SIZES
) -> list[SizeClass]:
    """The recall by the shorter side of the faces, in those classes that have faces.

    false_positives: numbers of false positives among all detections; infinity: all detections count. sizes: ascending,
    the bounds between the classes.
    """
    judged = result.judged
    bounds = np.array([0, *sizes, math.inf])
    total = np.histogram(judged.face_sizes, bounds)[0]
    ends = [_end(judged, result.scores_within(count)) for count in false_positives]
    found = [np.histogram(judged.found_sizes[:end], bounds)[0] for end in ends]
    return [
        SizeClass(
            float(bounds[i]), float(bounds[i + 1]), int(total[i]), tuple(float(one[i] / total[i]) for one in found)
        )
        for i in np.flatnonzero(total)
    ]


def recall_intervals(
    result: PrecisionRecall,
    false_positives: Sequence[float],
    *,
    share: float = SHARE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Bootstrap intervals (low, high) of the recall at numbers of false positives; NaN if there are no faces.

    An interval leaves out an equal share of the `resampled_recalls` on both sides. The arguments are those of that
    function.
    """
    if not result.faces:
        return [(math.nan, math.nan)] * len(false_positives)
    recalls = resampled_recalls(result, false_positives, resamples=resamples, seed=seed)
    ends = np.nanquantile(recalls, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]


def resampled_recalls(
    result: PrecisionRecall, false_positives: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """The recalls (R, N) of resamples at N numbers of false positives; NaN where no face is drawn.

    Each resample draws as many pictures as there are, with replacement, and takes the recall at the same numbers of
    false positives in them. Pictures are drawn, not faces, because the faces of a picture are alike. Results of two
    detectors on the same pictures in the same order get the same draws, so that their differences can be taken.

    false_positives: as of `recall_by_size`.
    """
    judged = result.judged
    rng = np.random.default_rng(seed)
    faces = np.bincount(judged.face_pictures, minlength=judged.pictures)
    found = np.bincount(judged.detection_pictures[~np.isnan(judged.found_sizes)], minlength=judged.pictures)
    limits = np.array(false_positives, np.float64)
    finite = np.isfinite(limits)
    recalls = np.full((resamples, len(false_positives)), np.nan)
    for row in recalls:
        times = np.bincount(rng.integers(judged.pictures, size=judged.pictures), minlength=judged.pictures)
        drawn = int(times @ faces)
        if drawn:
            row[~finite] = times @ found / drawn
            row[finite] = _found(judged, times, limits[finite]) / drawn
    return recalls


def _found(
    judged: JudgedDetections, times: NDArray[np.int64], false_positives: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The faces found at each number of false positives if each picture comes so many times."""
    length = _FIRST
    while True:
        ends = judged.last_of_score[: np.searchsorted(judged.last_of_score, length)]
        weights = times[judged.detection_pictures[:length]]
        false = np.cumsum(weights * np.isnan(judged.found_sizes[:length]))
        if length >= len(judged.found_sizes) or (len(ends) and false[ends[-1]] > false_positives.max(initial=0)):
            break
        length *= 4
    found = np.append(0, (np.cumsum(weights) - false)[ends])
    return np.asarray(found[np.searchsorted(false[ends], false_positives, side="right")])


def _end(judged: JudgedDetections, scores: int) -> int:
    """The number of detections with the highest `scores` scores."""
    return int(judged.last_of_score[scores - 1]) + 1 if scores else 0
