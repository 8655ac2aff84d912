"""Drawing of faces with the interface of mtcnn 1.0.0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast.compat.mtcnn.results import COLUMNS, SECOND, face_of
from mtcnn_fast.detections import LANDMARKS

__all__ = ["plot", "plot_bbox", "plot_landmarks"]

_YELLOW = "#FFFF00"


def plot(image: NDArray[Any], detection: Any, input_as_width_height: bool = True) -> NDArray[Any] | None:
    """A copy of the image (H, W, 3) as uint8 with the faces in yellow; None without a face.

    detection: one face or several, as `MTCNN.detect_faces` gives them. input_as_width_height: boxes are x, y, width,
    height; else x1, y1, x2, y2.
    """
    if len(detection) == 0:
        return None
    one = isinstance(detection, dict) or (isinstance(detection, np.ndarray) and detection.ndim == 1)
    for face in [detection] if one else detection:
        image = plot_landmarks(plot_bbox(image, face, input_as_width_height=input_as_width_height), face)
    return image


def plot_bbox(
    image: NDArray[Any],
    bbox: Any,
    color: str = _YELLOW,
    normalize_color: bool = False,
    input_as_width_height: bool = True,
) -> NDArray[Any]:
    """A copy of the image with a frame of one pixel, cut to the image.

    bbox: a face, as a dictionary or a row of numbers, or four numbers. color: "#RRGGBB" or "#RGB". normalize_color: the
    image has values 0 to 1 and keeps its type; else the result is uint8.
    """
    x1, y1, x2, y2 = bbox["box"] if isinstance(bbox, dict) else bbox[1:5] if len(bbox) > 4 else bbox
    if input_as_width_height:
        x2, y2 = x1 + x2, y1 + y2
    left, top, right, bottom = (round(float(value)) for value in (x1, y1, x2, y2))
    sides = [(left, top, left, bottom), (right, top, right, bottom), (left, top, right, top)]
    return _painted(image, [*sides, (left, bottom, right, bottom)], color, normalize_color)


def plot_landmarks(
    image: NDArray[Any],
    landmarks: Any,
    color: str = _YELLOW,
    keypoints: str = ",".join(LANDMARKS),
    brush_size: int = 2,
    normalize_color: bool = False,
) -> NDArray[Any]:
    """A copy of the image with squares of 2 * brush_size + 1 pixels; the image itself for a face without landmarks.

    landmarks: a face, as a dictionary or a row of numbers, or its "keypoints". keypoints: the names of those to draw,
    with commas between them. The other arguments are those of `plot_bbox`.
    """
    if isinstance(landmarks, dict):
        points = landmarks.get("keypoints", landmarks)
    elif len(landmarks) == COLUMNS:
        points = face_of(landmarks, True, SECOND)["keypoints"]
    else:
        points = {}
    wanted = [name.strip() for name in keypoints.split(",")]
    squares = [
        (x - brush_size, y - brush_size, x + brush_size, y + brush_size)
        for x, y in (points[name] for name in wanted if name in points and name in LANDMARKS)
    ]
    return _painted(image, squares, color, normalize_color) if squares else image


def _painted(
    image: NDArray[Any], areas: list[tuple[int, int, int, int]], color: str, normalize_color: bool
) -> NDArray[Any]:
    """A copy with areas of one color, each from x1, y1 to x2, y2, inclusive."""
    digits = color.removeprefix("#").removeprefix("0x")
    try:
        levels = bytes.fromhex("".join(2 * digit for digit in digits) if len(digits) == 3 else digits)
    except ValueError:
        levels = b""
    if len(levels) != 3:
        raise ValueError(f"color is {color!r}; wanted #RRGGBB or #RGB")
    painted = image.copy() if normalize_color else image.astype(np.uint8)
    for x1, y1, x2, y2 in areas:
        area = painted[max(y1, 0) : max(y2 + 1, 0), max(x1, 0) : max(x2 + 1, 0)]
        area[...] = np.divide(list(levels), 255) if normalize_color else list(levels)
    return painted
