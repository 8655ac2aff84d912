"""What every reader of annotations gives and uses."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mtcnn_fast.datasets.fields import UNKNOWN, Points, box_text, checked_box
from mtcnn_fast.datasets.limits import check_room
from mtcnn_fast.finding import PassedOver

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of problems, so that each is told once: hashes of 8 MB.
_MOST_REMEMBERED = 100_000

Wanted = Callable[[str], bool]
"""Whether a picture of that name is to be read."""


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
    """Rows and files that could not be used. A problem counts once, however many readers of the same data tell of it.

    Iteration lists the first `limit` of them.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._count = 0
        self._kept: list[str] = []
        self._hashes: set[int] = set()

    def add(self, file: str | os.PathLike[str], reason: str, line: int | None = None) -> None:
        """Notes `reason`, for a file or for a line of it, counted from 1."""
        place = os.fspath(file) if line is None else f"{os.fspath(file)}:{line}"
        text = f"{place}: {reason}"
        if hash(text) in self._hashes:
            return
        if len(self._hashes) < _MOST_REMEMBERED:
            self._hashes.add(hash(text))
        self._count += 1
        if len(self._kept) < self._limit:
            self._kept.append(text)

    @property
    def count(self) -> int:
        """The number of problems, listed or not. Those beyond the first 100,000 count each time."""
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)


@contextmanager
def warning_instead(problems: Problems | None, what: str) -> Iterator[Problems]:
    """The problems, if somebody wants to be told of them. Else others, of which a warning says how many came of `what`.

    To be used in a generator: the warning is at the line that asked the generator for more.
    """
    if problems is not None:
        yield problems
        return
    unheard = Problems(limit=1)
    yield unheard
    if unheard.count:
        warnings.warn(f"{unheard.count} {what} could not be used; the first: {next(iter(unheard))}", stacklevel=4)


class Faces:
    """Collects the faces of one picture."""

    def __init__(self) -> None:
        self._boxes: list[Sequence[float]] = []
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
        check_room(len(self._boxes))
        box = checked_box((x1, y1, x2, y2))
        if not (np.float32(x1) < np.float32(x2) and np.float32(y1) < np.float32(y2)):
            raise ValueError(f"{box_text(box)} has no area")
        self._known = None
        self._boxes.append(box)
        self._landmarks.append((UNKNOWN,) * 5 if landmarks is None else landmarks)
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


def _key(box: Sequence[float], landmarks: Points, ignored: bool) -> str:
    # As text a NaN is equal to a NaN.
    return repr((tuple(map(float, box)), [tuple(map(float, xy)) for xy in landmarks], ignored))
