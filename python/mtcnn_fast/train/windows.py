"""The windows of a picture that become samples, and their kinds. Pure geometry, in float64.

Windows and boxes are x1, y1, x2, y2 in pixels, half-open. Windows are squares of whole pixels, because the engine cuts
such crops, and targets refer to the window that is cut. Kinds and thresholds follow Zhang et al. 2016, section III. The
numbers of windows and the way of drawing them follow the open retrainings that match the original networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.boxes import areas, blocks, centres, expanded, intersections, overlaps
from mtcnn_fast.checks import at_least, each, flag, number
from mtcnn_fast.train.samples import LANDMARK, NEGATIVE, PART, POSITIVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NO_SAMPLE = -1
NEGATIVE_BELOW, PART_FROM, POSITIVE_ABOVE = 0.3, 0.4, 0.65

NARROW_FACES = ("square", "keep", "skip")
# The best square about a face of sides a <= b has side sqrt(ab) and IoU sqrt(r) / (2 - sqrt(r)), r = a / b.
_NARROW_BELOW = (2 * POSITIVE_ABOVE / (1 + POSITIVE_ABOVE)) ** 2  # 0.62: 10 to 13 % of WIDER FACE's

# A window that overlaps a labelled face by so much, and is centred on it, is not filled by another face.
_SAFE_FROM = 0.05

# Rounds of draws for negatives, where faces leave little room.
_ROUNDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How many windows are drawn in a picture, and where.

    * background: negatives per picture that has all its faces labelled, at random places. As in the levels of an image
      pyramid, sides are as likely in one octave as in another. A picture with less room gives fewer.
    * near: negatives per face that overlap it a little. A picture with less room gives fewer.
    * about: windows about each face, with sides from 0.8 of its shorter to 1.25 of its longer side and centres within
      0.2 of its width and height. Each gives a positive, a part face or nothing, by its overlap.
    * landmarks: such windows per face with five known landmarks. Those that would be positives give landmark samples.
    * rotated: the same, with the picture rotated about the face by up to `max_angle` degrees.
    * jittered: copies of each window that became a negative, a positive or a part face, drawn and mined ones: moved by
      up to `max_shift` of its side along both axes, and its side multiplied by a number from 1 / `max_zoom` to
      `max_zoom`, in the picture rotated about the window by up to `max_angle` degrees. Its overlap then decides anew
      what it is.
    * min_face: longer side, in pixels, of the smallest face that gives samples. The default is the window of P-Net, 12:
      a detector whose min_face_size is 12 or more never enlarges smaller faces. They are no background either.
    * narrow_faces: the treatment of faces that no square window overlaps by more than 0.65, so that no window would be
      a positive. "square": windows are compared with the square about the face, which the cascade hands on from network
      to network. "keep": windows are compared with the face as labelled. "skip": no samples, as of ignored faces.
    * outside: whether windows may lie partly outside the picture, where they are black. The windows of R-Net and O-Net
      may, those of P-Net never do.

    Raises TypeError or ValueError for other values.
    """

    background: int = 50
    near: int = 5
    about: int = 20
    landmarks: int = 10
    rotated: int = 5
    max_angle: float = 5.0
    jittered: tuple[int, int, int] = (0, 0, 0)
    max_shift: float = 0.15
    max_zoom: float = 1.25
    min_face: float = 12.0
    narrow_faces: str = "square"
    outside: bool = False

    def __post_init__(self) -> None:
        for name in ("background", "near", "about", "landmarks", "rotated"):
            at_least(name, getattr(self, name), 0)
        if not 0 <= number("max_angle", self.max_angle) <= 45:
            raise ValueError(f"max_angle is {self.max_angle}; wanted 0 to 45 degrees")
        # TOML gives lists, which equal no tuple.
        object.__setattr__(self, "jittered", each("jittered", self.jittered, 3, _count))
        if not 0 <= number("max_shift", self.max_shift) <= 1:
            raise ValueError(f"max_shift is {self.max_shift}; wanted 0 to 1")
        if not 1 <= number("max_zoom", self.max_zoom) <= 4:
            raise ValueError(f"max_zoom is {self.max_zoom}; wanted 1 to 4")
        if not 1 <= number("min_face", self.min_face) < math.inf:
            raise ValueError(f"min_face is {self.min_face}; wanted at least 1 pixel")
        flag("outside", self.outside)
        if self.narrow_faces not in NARROW_FACES:
            raise ValueError(f"narrow_faces is {self.narrow_faces!r}; wanted one of {NARROW_FACES}")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFaces:
    """The labelled faces of one picture."""

    boxes: Floats
    """(M, 4): the boxes that targets refer to."""
    compared: Floats
    """(M, 4): the boxes that windows are compared with; of usable narrow faces, squares about them."""
    landmarks: Floats
    """(M, 5, 2), NaN where unknown."""
    usable: NDArray[np.bool_]
    """(M,): whether a face gives samples. If not, it is neither face nor background."""
    complete: bool
    """Whether every face of the picture is labelled."""
    verdicts: Floats
    """(M,): the verdict of the teachers on each face, as in `samples.LABELS`; NaN without one."""

    @classmethod
    def of(
        cls,
        boxes: NDArray[np.floating[Any]],
        landmarks: NDArray[np.floating[Any]],
        ignored: NDArray[np.bool_],
        recipe: Recipe,
        *,
        complete: bool = True,
        expand: tuple[float, float, float, float] = (0, 0, 0, 0),
    ) -> LabelledFaces:
        """From labels (M, 4), (M, 5, 2), (M,). expand: shares of width and height by which the sides move outward.

        Raises ValueError for a box that is empty or not finite.
        """
        with np.errstate(invalid="ignore"):
            moved = expanded(boxes, expand)
            sides = moved[:, 2:] - moved[:, :2]
        if not (np.isfinite(moved).all() and (sides > 0).all()):
            raise ValueError("a labelled box is empty or not finite")
        narrow = sides.min(1) < _NARROW_BELOW * sides.max(1)
        usable = ~ignored & (sides.max(1) >= recipe.min_face)
        compared = moved
        if recipe.narrow_faces == "square":
            compared = np.where((narrow & usable)[:, np.newaxis], squares(moved), moved)
        elif recipe.narrow_faces == "skip":
            usable &= ~narrow
        verdicts = np.full(len(moved), np.nan)
        return cls(moved, compared, landmarks.astype(np.float64), usable, complete, verdicts)

    def scaled(self, factors: tuple[float, float], recipe: Recipe) -> LabelledFaces:
        """The faces of the picture, shrunk by factors of its width and height. Those below `min_face` are unusable."""
        boxes, compared = self.boxes * (factors * 2), self.compared * (factors * 2)
        large = (boxes[:, 2:] - boxes[:, :2]).max(1) >= recipe.min_face
        landmarks = self.landmarks * factors
        return replace(self, boxes=boxes, compared=compared, landmarks=landmarks, usable=self.usable & large)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows that become samples."""

    boxes: Floats
    """(N, 4): squares of whole pixels."""
    kinds: NDArray[np.int8]
    """(N,): kinds as in `samples`."""
    faces: NDArray[np.int64]
    """(N,): the index of the face that labels a window; without meaning for negatives."""
    angles: Floats
    """(N,): degrees by which `rotate.rotation` first turns the picture about the pivot."""
    pivots: Floats
    """(N, 2): without meaning at an angle of 0."""

    @classmethod
    def joined(cls, parts: list[Windows]) -> Windows:
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @classmethod
    def upright(cls, boxes: Floats, kinds: NDArray[np.int8], faces: NDArray[np.int64]) -> Windows:
        return cls(boxes, kinds, faces, np.zeros(len(boxes)), np.zeros((len(boxes), 2)))


def _count(name: str, value: object) -> int:
    return at_least(name, value, 0)


def squares(boxes: Floats) -> Floats:
    """Squares (N, 4) about the centres of boxes, of their longer sides, as the cascade makes them."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.hstack([centres(boxes) - half, centres(boxes) + half])


def label(windows: Floats, faces: LabelledFaces) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """The kind (N,) of each window, or NO_SAMPLE, and the index (N,) of the usable face of highest IoU, or 0.

    The IoU with that face decides: below 0.3 a window is a negative, from 0.4 to 0.65 a part face, above a positive. A
    window that an unusable face fills to 0.3 or more is no negative; at an IoU of 0.3 or more with such a face it gives
    no sample.

    If not every face is labelled, a negative must overlap a usable face by 0.05 or more, and the centre of one of the
    two must lie within the other. No window of another face does so. (An ignored crowd has room for other faces.)
    """
    parts = [_label(windows[part], faces) for part in blocks(len(windows), len(faces.boxes))]
    if not parts:
        return np.empty(0, np.int8), np.empty(0, np.int64)
    kinds, matched = (np.concatenate(column) for column in zip(*parts, strict=True))
    return kinds, matched


def _label(windows: Floats, faces: LabelledFaces) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    kinds = np.full(len(windows), NO_SAMPLE, np.int8)
    if not len(faces.boxes):
        kinds[:] = NEGATIVE if faces.complete else NO_SAMPLE
        return kinds, np.zeros(len(windows), np.int64)
    iou = overlaps(windows, faces.compared)
    of_usable = np.where(faces.usable, iou, 0)
    best = of_usable.max(1)
    # An ignored box may be a crowd. As in COCO's evaluation, the share of the window that it fills counts.
    filled = intersections(windows, faces.compared[~faces.usable]).max(1, initial=0) / areas(windows)
    negative = (best < NEGATIVE_BELOW) & (filled < NEGATIVE_BELOW)
    if not faces.complete:
        centred = _holds(faces.compared[None], centres(windows)[:, None])
        centred = centred | _holds(windows[:, None], centres(faces.compared)[None])
        negative &= ((of_usable >= _SAFE_FROM) & centred).any(1)
    spoiled = np.where(faces.usable, 0, iou).max(1) >= NEGATIVE_BELOW
    kinds[negative] = NEGATIVE
    kinds[(best >= PART_FROM) & ~spoiled] = PART
    kinds[(best > POSITIVE_ABOVE) & ~spoiled] = POSITIVE
    return kinds, of_usable.argmax(1)


def _holds(boxes: Floats, points: Floats) -> NDArray[np.bool_]:
    return np.asarray(((boxes[..., :2] <= points) & (points < boxes[..., 2:])).all(-1))


def box_targets(windows: Floats, boxes: Floats) -> Floats:
    """Offsets (N, 4) of boxes from windows, in units of the windows' widths and heights."""
    return (boxes - windows) / np.tile(windows[:, 2:] - windows[:, :2], 2)


def landmark_targets(windows: Floats, landmarks: Floats) -> Floats:
    """Places (N, 5, 2) of landmarks in windows. Inside a window they run from 0 to 1."""
    return (landmarks - windows[:, None, :2]) / (windows[:, 2:] - windows[:, :2])[:, None]


def allowed(boxes: Floats, height: int, width: int, recipe: Recipe) -> NDArray[np.bool_]:
    """(N,): whether boxes lie in a picture, or may lie outside."""
    inside = (boxes >= 0) & (boxes <= (width, height, width, height))
    return np.asarray(inside.all(1) | recipe.outside)


def draw(faces: LabelledFaces, height: int, width: int, recipe: Recipe, rng: np.random.Generator) -> Windows:
    """The windows that a recipe gives in a picture of a height and a width."""

    def whole(boxes: Floats) -> NDArray[np.bool_]:
        return allowed(boxes, height, width, recipe)

    def negatives(wanted: int, candidates: Callable[[], Floats]) -> Windows:
        found: list[Floats] = [np.empty((0, 4))]
        for _ in range(_ROUNDS):
            if wanted <= sum(map(len, found)):
                break
            boxes = candidates()
            found.append(boxes[whole(boxes) & (label(boxes, faces)[0] == NEGATIVE)])
        boxes = np.concatenate(found)[:wanted]
        return Windows.upright(boxes, np.full(len(boxes), NEGATIVE, np.int8), np.zeros(len(boxes), np.int64))

    def positives(count: int, which: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
        """The positives of each face among `count` windows about it, and the indices of the faces."""
        boxes, own = _about(faces.boxes[which], count, rng), np.repeat(which, count)
        kinds, matched = label(boxes, faces)
        kept = whole(boxes) & (kinds == POSITIVE) & (matched == own)
        return boxes[kept], own[kept]

    shortest, longest = recipe.min_face, max(recipe.min_face, min(height, width) / 2)
    usable = np.flatnonzero(faces.usable)
    parts = []
    if min(height, width) >= shortest:
        if faces.complete:
            parts.append(
                negatives(
                    recipe.background, lambda: _anywhere(recipe.background, height, width, shortest, longest, rng)
                )
            )
        parts.append(
            negatives(
                recipe.near * len(usable), lambda: _touching(faces.boxes[usable], recipe.near, shortest, longest, rng)
            )
        )
    boxes = _about(faces.boxes[usable], recipe.about, rng)
    kinds, matched = label(boxes, faces)
    kept = whole(boxes) & ((kinds == POSITIVE) | (kinds == PART))
    parts.append(Windows.upright(boxes[kept], kinds[kept], matched[kept]))
    known = usable[np.isfinite(faces.landmarks[usable]).all((1, 2))]
    boxes, own = positives(recipe.landmarks, known)
    parts.append(Windows.upright(boxes, np.full(len(boxes), LANDMARK, np.int8), own))
    boxes, own = positives(recipe.rotated, known)
    angles = rng.uniform(-recipe.max_angle, recipe.max_angle, len(boxes))
    pivots = centres(faces.boxes[own])
    parts.append(Windows(boxes, np.full(len(boxes), LANDMARK, np.int8), own, angles, pivots))
    return Windows.joined(parts)


def _about(boxes: Floats, count: int, rng: np.random.Generator) -> Floats:
    boxes = np.repeat(boxes, count, 0)
    sides = boxes[:, 2:] - boxes[:, :2]
    side = rng.uniform(0.8 * sides.min(1), 1.25 * sides.max(1))
    return whole_squares(centres(boxes) + rng.uniform(-0.2, 0.2, sides.shape) * sides - side[:, None] / 2, side)


def _anywhere(count: int, height: int, width: int, shortest: float, longest: float, rng: np.random.Generator) -> Floats:
    side = np.floor(np.exp(rng.uniform(math.log(shortest), math.log(longest), count)))
    return whole_squares(rng.uniform(0, np.stack([width - side, height - side], 1)), side)


def _touching(boxes: Floats, count: int, shortest: float, longest: float, rng: np.random.Generator) -> Floats:
    boxes = np.repeat(boxes, count, 0)
    side = rng.uniform(shortest, longest, len(boxes))
    return whole_squares(rng.uniform(boxes[:, :2] - side[:, None], boxes[:, 2:]), side)


def whole_squares(corners: Floats, side: Floats) -> Floats:
    """Squares (N, 4) of whole pixels, from their upper left corners (N, 2) and sides (N,)."""
    low, side = np.rint(corners), np.maximum(1, np.rint(side))[:, None]
    return np.hstack([low, low + side])
