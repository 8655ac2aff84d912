"""Faces in the forms of mtcnn: rows of numbers, and dictionaries of integers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast.detections import LANDMARKS, Detections

# Columns: number of the image, x1, y1, x2, y2, score, x of the landmarks, y of the landmarks.
COLUMNS = 16
COLUMNS_WITHOUT_LANDMARKS = 6
_BOX, _SCORE, _XS, _YS = slice(1, 5), 5, slice(6, 11), slice(11, 16)


class Release(NamedTuple):
    """A release by its defaults, and by the rules of its results."""

    thresholds: tuple[float, ...]
    rounds: bool
    """Coordinates are rounded, and points are lists. Else coordinates are truncated, and points are tuples."""
    cuts_all_sides: bool
    """Boxes are cut on all sides of the image. Else on the left and at the top."""


FIRST = Release((0.6, 0.7, 0.7), rounds=False, cuts_all_sides=False)
SECOND = Release((0.6, 0.7, 0.8), rounds=True, cuts_all_sides=True)


def table_of(image: int, faces: Detections) -> NDArray[np.float64]:
    """A row per face."""
    table = np.empty((len(faces), COLUMNS))
    table[:, 0] = image
    table[:, _BOX] = faces.boxes
    table[:, _SCORE] = faces.scores
    table[:, _XS], table[:, _YS] = np.moveaxis(faces.landmarks, 2, 0)
    return table


def cut(table: NDArray[np.float64], width: int, height: int, release: Release, landmarks: bool) -> None:
    """Moves corners, and if asked for landmarks, that lie outside of the image to its border pixels."""
    table[:, 1:3] = np.maximum(table[:, 1:3], 0)
    if release.cuts_all_sides:
        table[:, _BOX] = np.clip(table[:, _BOX], 0, [width - 1, height - 1] * 2)
    if landmarks:
        table[:, _XS] = np.clip(table[:, _XS], 0, width - 1)
        table[:, _YS] = np.clip(table[:, _YS], 0, height - 1)


def face_of(row: NDArray[np.float64], xywh: bool, release: Release) -> dict[str, Any]:
    """A row as a dictionary of Python's numbers; without "keypoints" if it has no landmarks."""
    whole = np.rint if release.rounds else np.trunc
    x1, y1, x2, y2 = row[_BOX]
    if not release.rounds:  # 0.1.1 takes the size from the truncated corner
        x1, y1 = np.trunc(x1), np.trunc(y1)
    box = np.array((x1, y1, x2 - x1, y2 - y1) if xywh else (x1, y1, x2, y2))
    face = {"box": whole(box).astype(int).tolist(), "confidence": float(row[_SCORE])}
    if len(row) == COLUMNS:
        points = whole(np.stack([row[_XS], row[_YS]], 1)).astype(int).tolist()
        face["keypoints"] = dict(zip(LANDMARKS, points if release.rounds else map(tuple, points), strict=True))
    return face
