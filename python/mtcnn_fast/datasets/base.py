"""Types that all readers of annotations share: their results, problems and parts."""

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

# Problems whose hashes are kept, so that each counts once: 8 MB.
_MOST_REMEMBERED = 100_000

Wanted = Callable[[str], bool]
"""Takes the name of a picture and returns whether to read it."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """The labelled faces of one picture."""

    name: str
    """The picture's name in the annotation file, with `/` between folders. Detections are matched by this name."""
    path: Path
    """The path of the picture, which need not exist."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 in pixels, 0-based, half-open, each with an area."""
    landmarks: NDArray[np.float32]
    """(N, 5, 2): x, y in the order of `mtcnn_fast.detections.LANDMARKS`; NaN where unknown."""
    ignored: NDArray[np.bool_]
    """(N,): whether a box counts neither as face nor as background: WIDER FACE's invalid, VOC's difficult, COCO's
    iscrowd and ignore."""
    complete: bool = True
    """Whether every label of the picture could be used. If not, a place without a label need not be background."""


class Problems:
    """Rows and files that could not be used. A problem counts once, however many readers of the same data add it.

    Iteration lists the first `limit` of them.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._count = 0
        self._kept: list[str] = []
        self._hashes: set[int] = set()

    def add(self, file: str | os.PathLike[str], reason: str, line: int | None = None) -> None:
        """Adds a problem of a file, or of a line of it, counted from 1."""
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
    """Gives `problems`. If they are None, gives others, and at the end warns of how many there were; `what` names them.

    To be used in a generator: the warning points at the line that asked the generator for more.
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
        """Adds a face. Raises ValueError for a box that is not finite or has no area, and beyond `limits.MAX_FACES`.

        landmarks: five points from `point`, or UNKNOWN; None: all unknown.
        """
        check_room(len(self._boxes))
        box = checked_box((x1, y1, x2, y2))
        if not (np.float32(x1) < np.float32(x2) and np.float32(y1) < np.float32(y2)):
            raise ValueError(f"{box_text(box)} has no area")
        self._known = None
        self._boxes.append(box)
        self._landmarks.append((UNKNOWN,) * 5 if landmarks is None else landmarks)
        self._ignored.append(ignored)

    def add_row(self, box: Callable[[], Sequence[float]], landmarks: Callable[[], Points | None]) -> str | None:
        """Adds the face of a row. Returns why a part of it cannot be used; None: nothing is wrong.

        box: gives x1, y1, x2, y2. landmarks: gives what `add` takes; if it raises ValueError, the box is kept alone. If
        `box` or `add` raises ValueError, the face is lost.
        """
        points, lost = None, None
        try:
            points = landmarks()
        except ValueError as error:
            lost = f"{error}; the box is kept"
        try:
            x1, y1, x2, y2 = box()
            self.add(x1, y1, x2, y2, points)
        except ValueError as error:
            self.lose()
            lost = str(error)
        return lost

    def lose(self) -> None:
        """Notes that a label of the picture could not be used."""
        self._complete = False

    def merge(self, other: Faces) -> bool:
        """Adds those faces of another collection that this one does not have. Returns whether the two were the same."""
        # A list may have a row per face of a picture, so the work must not grow with the faces that are there.
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
        """The annotation of a picture with the faces added so far."""
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
    """One entry of a data set about a picture. A picture may have several."""

    name: str
    path: Path
    faces: Faces
    file: Path
    """The annotation file with the entry."""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a data set."""

    problems: Problems
    wanted: Wanted
    """The reader calls it once per part, before it looks at the labels."""
    passed_over: PassedOver = field(default_factory=PassedOver)
    """Counts files of other kinds in a folder of pictures."""


Parts: TypeAlias = Callable[[Reading], Iterator[Part]]
"""Gives the wanted parts of a data set. It may be called several times."""


def _key(box: Sequence[float], landmarks: Points, ignored: bool) -> str:
    # A text, because a NaN equals another NaN only as text.
    return repr((tuple(map(float, box)), [tuple(map(float, xy)) for xy in landmarks], ignored))
