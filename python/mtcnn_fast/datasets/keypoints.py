"""The five landmarks among COCO's keypoints."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

from mtcnn_fast.checks import described, each, number
from mtcnn_fast.datasets.fields import UNKNOWN, Points, point
from mtcnn_fast.detections import LANDMARKS

_SIDES = {"left": ("left", "l"), "right": ("right", "r")}

# Names that data sets have for the parts of LANDMARKS, without the side.
_PARTS = {
    "eye": ("eye", "eyecenter", "eyecentre", "pupil"),
    "nose": ("nose", "nosetip", "tipofnose"),
    "mouth": ("mouth", "mouthcorner", "cornerofmouth", "lipcorner"),
}

# If a scheme has such names, its left and right are the person's, as in COCO. Those of the five landmarks are the
# picture's.
_BODY = ("ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "neck")

_Scheme = tuple[int | None, ...]
"""For each landmark, in the order of LANDMARKS, the index of its keypoint; None: it has none."""


def scheme(names: Sequence[str]) -> _Scheme:
    """The keypoints that are the landmarks, found by their names, in any order.

    The keypoints of a body may lack some landmarks, such as the corners of the mouth. Raises ValueError if the names do
    not identify the landmarks.
    """
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    found = [[index for index, name in enumerate(plain) if name in _spellings(landmark)] for landmark in LANDMARKS]
    for landmark, indices in zip(LANDMARKS, found, strict=True):
        if len(indices) > 1:
            raise ValueError(f"several of the names can be {landmark}")
    chosen = [indices[0] if indices else None for indices in found]
    if any(_is_of_a_body(name) for name in plain):
        left_eye, right_eye, nose, mouth_left, mouth_right = chosen
        chosen = [right_eye, left_eye, nose, mouth_right, mouth_left]
        if all(index is None for index in chosen):
            raise ValueError("none of the names is that of a landmark")
    elif None in chosen:
        raise ValueError(f"no name is that of {LANDMARKS[chosen.index(None)]}")
    return tuple(chosen)


class Schemes:
    """The schemes of a document's categories."""

    def __init__(self, categories: object) -> None:
        self._names: dict[Hashable, object] = {}
        self._twice: set[Hashable] = set()
        self._schemes: dict[tuple[Hashable, int], _Scheme | None] = {}
        for category in categories if isinstance(categories, list) else ():
            if isinstance(category, dict) and isinstance(key := category.get("id"), Hashable):
                names = category.get("keypoints") or None
                if self._names.setdefault(key, names) != names:
                    self._twice.add(key)

    def landmarks(self, label: dict[str, Any]) -> tuple[Points | None, str | None]:
        """The landmarks of a label, or None if they are unknown, and the problem to report of that, once per scheme.

        Raises ValueError for keypoints that have too few or too many numbers, or are not finite.
        """
        if not label.get("keypoints"):
            return None, None
        try:
            if not isinstance(label["keypoints"], list):
                raise TypeError(f"keypoints is {described(label['keypoints'])}; wanted x y v of each keypoint")
            values = each("keypoints", label["keypoints"], len(label["keypoints"]), number)
        except TypeError as error:
            raise ValueError(str(error)) from None
        category = label.get("category_id")
        if category is None and len(self._names) == 1:
            category = next(iter(self._names))
        if not isinstance(category, Hashable):
            raise ValueError("category_id is a list or an object; wanted the id of a category")
        names = self._names.get(category)
        triples = len(values) // 3
        count = len(names) if isinstance(names, list) else triples
        if len(values) != 3 * count:
            of_each = f"of each of {count} keypoints" if isinstance(names, list) else "of each keypoint"
            raise ValueError(f"keypoints has {len(values)} numbers; wanted x y v {of_each}")
        if not any(values[2::3]):
            return None, None
        problem = None
        key = (category, triples)
        if key not in self._schemes:
            try:
                self._schemes[key] = self._scheme(category, names, triples)
            except ValueError as error:
                self._schemes[key] = None
                problem = (
                    f"the {triples} keypoints of category {category!r} give no landmarks, here and elsewhere: {error}"
                )
        known = self._schemes[key]
        if known is None:
            return None, problem
        chosen = [None if index is None else values[3 * index : 3 * index + 3] for index in known]
        return [point(*xyv[:2]) if xyv and xyv[2] else UNKNOWN for xyv in chosen], problem

    def _scheme(self, category: Hashable, names: object, triples: int) -> _Scheme:
        if category in self._twice:
            raise ValueError("the category comes twice, with other names")
        if names is None:
            if triples != len(LANDMARKS):
                raise ValueError(f"they have no names; wanted names, or {len(LANDMARKS)} keypoints")
            return tuple(range(triples))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its `keypoints` are not a list of names")
        return scheme(names)


def _is_of_a_body(name: str) -> bool:
    sides = [side for spellings in _SIDES.values() for side in spellings]
    return any(name in (part, f"{side}{part}", f"{part}{side}") for part in _BODY for side in sides)


def _spellings(landmark: str) -> frozenset[str]:
    """The names that a landmark may have, in lower case, without separators between their words."""
    words = landmark.split("_")
    part = next(word for word in words if word in _PARTS)
    side = next((word for word in words if word in _SIDES), None)
    if side is None:
        return frozenset(_PARTS[part])
    found = {f"{a}{b}" for name in _PARTS[part] for s in _SIDES[side] for a, b in ((s, name), (name, s))}
    # mouth_left_corner, eye_left_center
    found |= {f"{part}{s}{name.removeprefix(part)}" for name in _PARTS[part] for s in _SIDES[side]}
    return frozenset(found)
