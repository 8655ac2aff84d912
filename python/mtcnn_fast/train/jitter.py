"""Windows moved, zoomed and rotated at random, and the faces of a rotated picture.

They are cut when samples are made. A stored crop lacks the pixels around it, and a sample the other faces, ignored ones
too, that decide what a moved window shows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.boxes import centres
from mtcnn_fast.train.samples import NEGATIVE, PART, POSITIVE
from mtcnn_fast.train.windows import (
    NO_SAMPLE,
    LabelledFaces,
    Recipe,
    Windows,
    allowed,
    label,
    squares,
    whole_squares,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def jittered(
    windows: Windows, faces: LabelledFaces, height: int, width: int, recipe: Recipe, rng: np.random.Generator
) -> Windows:
    """The copies of windows that a recipe asks for, in a picture of a height and a width."""
    copies = np.zeros(len(windows.kinds), np.int64)
    for kind, count in zip((NEGATIVE, POSITIVE, PART), recipe.jittered, strict=True):
        copies[windows.kinds == kind] = count
    boxes = np.repeat(windows.boxes, copies, 0)
    count = len(boxes)
    pivots, sides = centres(boxes), boxes[:, 2] - boxes[:, 0]
    angles = rng.uniform(-recipe.max_angle, recipe.max_angle, count)
    zooms = np.exp(rng.uniform(-1, 1, count) * math.log(recipe.max_zoom))
    shifts = rng.uniform(-recipe.max_shift, recipe.max_shift, (count, 2)) * sides[:, None]
    sides = sides * zooms
    boxes = whole_squares(pivots + shifts - sides[:, None] / 2, sides)
    kinds, matched = np.full(count, NO_SAMPLE, np.int8), np.zeros(count, np.int64)
    for i in range(count):
        kinds[i : i + 1], matched[i : i + 1] = label(boxes[i : i + 1], rotated_faces(faces, pivots[i], angles[i]))
    kept = allowed(boxes, height, width, recipe) & (kinds != NO_SAMPLE)
    return Windows(boxes[kept], kinds[kept], matched[kept], angles[kept], pivots[kept])


def rotated_faces(faces: LabelledFaces, pivot: Floats, degrees: float) -> LabelledFaces:
    """The faces of the picture that `rotate.rotation` turns. Their landmarks stay."""
    boxes = rotated_boxes(faces.boxes, pivot, degrees)
    # A corner of an ignored box may be full of faces.
    ignored = rotated_boxes(faces.boxes, pivot, degrees, corners=True)
    boxes = np.where(faces.usable[:, None], boxes, ignored)
    square = (faces.compared != faces.boxes).any(1)
    return replace(faces, boxes=boxes, compared=np.where(square[:, None], squares(boxes), boxes))


def rotated_boxes(boxes: Floats, pivots: Floats, degrees: Floats | float, *, corners: bool = False) -> Floats:
    """The boxes (N, 4) of faces after a rotation about pivots, (2,) or (N, 2), by an angle, a number or (N,).

    The head is taken for the ellipse that its box holds, and the result is the box of the turned ellipse. (The box
    of the turned box would be too large: 1.6 times the area at 20 degrees.) corners: the box of the turned box.
    """
    radians = np.radians(degrees)
    cosine, sine = np.cos(radians), np.sin(radians)
    from_pivot = centres(boxes) - pivots
    x, y = from_pivot[:, 0], from_pivot[:, 1]
    middle = pivots + np.stack([cosine * x - sine * y, sine * x + cosine * y], 1)
    a, b = (boxes[:, 2:] - boxes[:, :2]).T / 2
    reach = np.add if corners else np.hypot
    half = np.stack([reach(np.abs(a * cosine), np.abs(b * sine)), reach(np.abs(a * sine), np.abs(b * cosine))], 1)
    return np.hstack([middle - half, middle + half])
