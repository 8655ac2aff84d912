"""What a profile promises about its package, held against what tools/make_golden.py recorded of that package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Faces = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Boxes, scores and landmarks of an image."""

# What a profile promises: faces found by both with that IoU and scores that near are the same face.
LEAST_IOU = 0.98
SCORE_TOLERANCE = 0.005
LEAST_MATCHED = 0.995
MOST_EXTRA = 0.005


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (n, m) of boxes (n, 4) with boxes (m, 4)."""
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    intersection = np.maximum(inner, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return np.asarray(intersection / (areas[0][:, None] + areas[1][None] - intersection))


def matches(iou: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs one to one, the most alike first."""
    iou = iou.copy()
    while iou.size and iou.max() >= LEAST_IOU:
        i, j = (int(index) for index in np.unravel_index(iou.argmax(), iou.shape))
        yield i, j
        iou[i], iou[:, j] = -1, -1


def check_promise(results: dict[str, Any], detect: Callable[[NDArray[np.uint8]], Faces], data: Path) -> None:
    """Holds the faces that `detect` finds in RGB images against the recorded ones, by name of the photograph."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV, whose decoder the recorded results need, is not installed")
    theirs = ours = matched = 0
    differing = []
    for name, expected in results.items():
        image = cv2.imread(str(data / name))
        assert image is not None, f"{name} cannot be read"
        found = detect(np.ascontiguousarray(image[:, :, ::-1]))
        boxes, scores = np.array(expected["boxes"]).reshape(-1, 4), np.array(expected["scores"])
        landmarks = np.array(expected["landmarks"]).reshape(-1, 5, 2)
        pairs = list(matches(overlaps(boxes, found[0].astype(np.float64))))
        good = 0
        for i, j in pairs:
            if abs(scores[i] - found[1][j]) <= SCORE_TOLERANCE:
                good += 1
                # A face found with a nearly equal box has its landmarks within a few hundredths of the box.
                assert np.abs(landmarks[i] - found[2][j]).max() <= 0.03 * np.ptp(boxes[i][[0, 2]]) + 0.01, name
        theirs, ours, matched = theirs + len(boxes), ours + len(found[0]), matched + good
        if not len(boxes) == len(found[0]) == good:
            differing.append(f"{name}: the package has {len(boxes)}, here are {len(found[0])}, {good} alike")
    summary = f"{matched} of {theirs} matched, {ours - matched} extra\n" + "\n".join(differing)
    assert theirs - matched <= max(1, (1 - LEAST_MATCHED) * theirs), summary
    # Of a small set, one face of doubt.
    assert ours - matched <= max(1, MOST_EXTRA * theirs), summary
