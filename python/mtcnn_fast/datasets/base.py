"""What every reader of annotations gives and uses."""

from __future__ import annotations

import math
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mtcnn_fast.checks import described
from mtcnn_fast.datasets.limits import MAX_FACES
from mtcnn_fast.finding import PassedOver
from mtcnn_fast.text_files import portable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Beyond this, float32 does not hold every whole pixel.
_LARGEST = 2.0**24

_UNKNOWN = ((math.nan, math.nan),) * 5

# The most bytes that Linux and macOS allow for a name, and Linux for a path.
_LONGEST_PART = 255
_LONGEST_NAME = 4095

Points = Sequence[Sequence[float]]
"""x, y of each landmark."""

Wanted = Callable[[str], bool]
"""Whether a picture of that name is to be read."""

IGNORING = ("difficult", "invalid", "iscrowd", "ignore")
"""What data sets call the mark of a face that counts neither as a face nor as background."""

# True and 1.0 are equal to 1.
_SET: frozenset[object] = frozenset((1, "true", "yes"))
_NOT_SET: frozenset[object] = frozenset((0, "", "false", "no"))


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """The labelled faces of one picture."""

    name: str
    """As the annotation file names the picture, with `/` between folders: what detections are matched by."""
    path: Path
    """Of the picture, which need not exist."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 in pixels, 0-based, half-open, each with an area."""
    landmarks: NDArray[np.float32]
    """(N, 5, 2): x, y in the order of `mtcnn_fast.detections.LANDMARKS`; NaN where unknown."""
    ignored: NDArray[np.bool_]
    """(N,): neither face nor background: WIDER FACE's invalid, VOC's difficult, COCO's iscrowd and ignore."""
    complete: bool = True
    """Whether every label of the picture could be used: if not, what is not labelled need not be background."""


class Problems:
    """Rows and files that could not be used: all are counted, the first `limit` kept to be listed by iteration."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._count = 0
        self._kept: list[str] = []

    def add(self, file: str | os.PathLike[str], reason: str, line: int | None = None) -> None:
        """Notes `reason`, for a file or for a line of it, counted from 1."""
        self._count += 1
        if len(self._kept) < self._limit:
            place = os.fspath(file) if line is None else f"{os.fspath(file)}:{line}"
            self._kept.append(f"{place}: {reason}")

    @property
    def count(self) -> int:
        """Of all that were noted, kept or not."""
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)


class Faces:
    """Collects the faces of one picture."""

    def __init__(self) -> None:
        self._boxes: list[tuple[float, float, float, float]] = []
        self._landmarks: list[Points] = []
        self._ignored: list[bool] = []
        self._complete = True
        self._known: Counter[str] | None = None

    def add(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        landmarks: Points | None = None,
        ignored: bool = False,
    ) -> None:
        """Adds a face. Raises ValueError for a box that is not finite or has no area, and for one too many.

        landmarks: checked by `point`, or NaN.
        """
        if len(self._boxes) == MAX_FACES:
            raise ValueError(f"the picture has more than {MAX_FACES} faces, which is the limit")
        box = (x1, y1, x2, y2)
        # A NaN fails the comparison too.
        if not all(abs(value) <= _LARGEST for value in box):
            raise ValueError(f"box {x1:g} {y1:g} {x2:g} {y2:g} (x1 y1 x2 y2) is not finite, or beyond 2^24 pixels")
        if not (np.float32(x1) < np.float32(x2) and np.float32(y1) < np.float32(y2)):
            raise ValueError(f"box {x1:g} {y1:g} {x2:g} {y2:g} (x1 y1 x2 y2) has no area")
        self._known = None
        self._boxes.append(box)
        self._landmarks.append(_UNKNOWN if landmarks is None else landmarks)
        self._ignored.append(ignored)

    def lose(self) -> None:
        """Notes that a label of the picture could not be used."""
        self._complete = False

    def merge(self, other: Faces) -> bool:
        """Adds those faces of another collection that this one does not have. Returns whether the two were the same."""
        # A list may have a row for each of a picture's faces: the work must not grow with those that are there.
        if self._known is None:
            self._known = self._keys()
        missing = other._keys()
        for key in missing:
            missing[key] -= self._known[key]
        same = len(self._boxes) == len(other._boxes) and not any(count > 0 for count in missing.values())
        for box, landmarks, ignored in zip(other._boxes, other._landmarks, other._ignored, strict=True):
            key = _key(box, landmarks, ignored)
            if missing[key] > 0:
                missing[key] -= 1
                self._known[key] += 1
                self._boxes.append(box)
                self._landmarks.append(landmarks)
                self._ignored.append(ignored)
        self._complete = self._complete and other._complete
        return same

    def annotation(self, name: str, path: Path) -> Annotation:
        """The faces added so far, as those of a picture."""
        return Annotation(
            name,
            path,
            np.array(self._boxes, np.float32).reshape(-1, 4),
            np.array(self._landmarks, np.float32).reshape(-1, 5, 2),
            np.array(self._ignored, np.bool_),
            self._complete,
        )

    def _keys(self) -> Counter[str]:
        return Counter(map(_key, self._boxes, self._landmarks, self._ignored))


@dataclass(frozen=True, slots=True)
class Part:
    """What one place of a data set says of a picture."""

    name: str
    path: Path
    faces: Faces
    file: Path
    """Where it stands."""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a data set."""

    problems: Problems
    wanted: Wanted
    """Is asked once for each part, before its labels are looked at."""
    passed_over: PassedOver = field(default_factory=PassedOver)
    """Is told of files of other kinds in a folder of pictures."""


Parts: TypeAlias = Callable[[Reading], Iterator[Part]]
"""The wanted parts of a data set, which may be asked for several times."""


def numbers(fields: Iterable[str]) -> list[float]:
    """The fields as numbers. Raises ValueError that names the field that is none."""
    values = []
    for text in fields:
        try:
            if "_" in text:  # for Python 1_000 is a number
                raise ValueError
            values.append(float(text))
        except ValueError:
            raise ValueError(f"{shown(text)} is not a number") from None
    return values


def points(values: Sequence[float]) -> Points:
    """Five points of x1 y1 x2 y2 ... y5. Raises ValueError as `point` does."""
    return [point(*values[i : i + 2]) for i in range(0, 10, 2)]


def point(x: float, y: float) -> tuple[float, float]:
    """A landmark. Raises ValueError for one that is not finite."""
    if not (abs(x) <= _LARGEST and abs(y) <= _LARGEST):
        raise ValueError(f"landmark {x:g} {y:g} is not finite, or beyond 2^24 pixels")
    return x, y


def is_set(name: str, value: object) -> bool:
    """Whether a mark of an object is set, as any data set spells that: 1, 1.0, "1", "true", true; None is not set.

    Raises ValueError that says so if it is neither a yes nor a no.
    """
    if value is None:
        return False
    plain = value.strip().lower() if isinstance(value, str) else value
    if isinstance(plain, str) and plain not in _SET | _NOT_SET:
        with suppress(ValueError):
            plain = float(plain)
    # NumPy's booleans are no numbers.
    if isinstance(plain, str | Real | np.bool_) and plain in _SET | _NOT_SET:
        return plain in _SET
    raise ValueError(f"{name} is {described(value)}; wanted 0 or 1")


def picture_name(name: str) -> str:
    """The name of a picture with `/` between its folders, and without steps that lead nowhere, such as `./`.

    Raises ValueError for what cannot be the name of a file.
    """
    if "\0" in name:
        raise ValueError(f"the name has a NUL: {shown(name)}")
    parts = portable(name).split("/")
    if parts[-1] in ("", ".", ".."):
        raise ValueError(f"{shown(name)} is not the name of a file")
    found = "/".join(part for part in parts if part not in ("", "."))
    try:
        lengths = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise ValueError(f"the name has a character that names cannot have: {shown(name)}") from None
    if max(lengths) > _LONGEST_PART or sum(lengths) + len(lengths) > _LONGEST_NAME:
        raise ValueError(f"the name is too long: {shown(name)}")
    return f"/{found}" if posixpath.isabs(portable(name)) else found


def leads_out(name: str, folder: Path | None = None) -> bool:
    """Whether a name, with `/` between folders, leads out of where it stands: up, or from the root to elsewhere.

    folder: what absolute names may lie in. Links are not looked into: they are the user's own.
    """
    plain = posixpath.normpath(name)
    if posixpath.isabs(plain):
        places = () if folder is None else {os.path.abspath(folder), os.path.realpath(folder)}  # noqa: PTH100
        return not any(Path(plain).is_relative_to(place) for place in places)
    return plain.partition("/")[0] == ".."


def without_outside(name: str, place: str) -> str:
    """Words for a name that leads out of a place, where that is not allowed."""
    return f"{shown(name)} leads out of {place}; it is taken with --outside (outside=True in Python, true in TOML)"


@dataclass(frozen=True, slots=True)
class Pictures:
    """The folder of a data set's pictures."""

    folder: Path
    outside: bool
    """Whether pictures may lie elsewhere."""

    def name(self, text: str) -> str:
        """The name of a picture, as `picture_name`. Raises ValueError, too, for one that leads out of the folder."""
        found = picture_name(text)
        if not self.outside and leads_out(found, self.folder):
            raise ValueError(without_outside(found, os.fspath(self.folder)))
        return found

    def path(self, name: str) -> Path:
        """Of the picture."""
        return self.folder / name


def shown(text: str) -> str:
    """A text, or its beginning, as a message has it."""
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def picture_folder(images: Path | None, outside: bool, *usual: Path) -> Pictures:
    """`images`, or where a data set usually keeps its pictures: the first of those folders there is, else the last.

    Raises NotADirectoryError if `images` is not a folder.
    """
    if images is None:
        return Pictures(next((folder for folder in usual if folder.is_dir()), usual[-1]), outside)
    if not images.is_dir():
        raise NotADirectoryError(f"there is no folder of pictures {images}")
    return Pictures(images, outside)


def _key(box: Sequence[float], landmarks: Points, ignored: bool) -> str:
    # As text a NaN is equal to a NaN.
    return repr((tuple(map(float, box)), [tuple(map(float, xy)) for xy in landmarks], ignored))
