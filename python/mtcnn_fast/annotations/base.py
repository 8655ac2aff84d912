"""What every reader of annotations gives and uses."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Beyond this, float32 does not hold every whole pixel.
_LARGEST = 2.0**24

_UNKNOWN = ((np.nan, np.nan),) * 5

Points = Sequence[Sequence[float]]
"""x, y of each landmark."""

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
    """(N,): neither face nor background: WIDER FACE's invalid, VOC's difficult, COCO's iscrowd."""


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

    def add(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        landmarks: Points | None = None,
        ignored: bool = False,
    ) -> None:
        """Adds a face. Raises ValueError for a box that is not finite or has no area, and for infinite landmarks."""
        box = (x1, y1, x2, y2)
        # A NaN fails the comparison too.
        if not all(abs(value) <= _LARGEST for value in box):
            raise ValueError(f"box {x1:g} {y1:g} {x2:g} {y2:g} (x1 y1 x2 y2) is not finite, or beyond 2^24 pixels")
        if not (np.float32(x1) < np.float32(x2) and np.float32(y1) < np.float32(y2)):
            raise ValueError(f"box {x1:g} {y1:g} {x2:g} {y2:g} (x1 y1 x2 y2) has no area")
        if landmarks is not None and any(abs(value) > _LARGEST for point in landmarks for value in point):
            raise ValueError("landmarks are infinite, or beyond 2^24 pixels")
        self._boxes.append(box)
        self._landmarks.append(_UNKNOWN if landmarks is None else landmarks)
        self._ignored.append(ignored)

    def annotation(self, name: str, path: Path) -> Annotation:
        """The faces added so far, as those of a picture."""
        return Annotation(
            name,
            path,
            np.array(self._boxes, np.float32).reshape(-1, 4),
            np.array(self._landmarks, np.float32).reshape(-1, 5, 2),
            np.array(self._ignored, np.bool_),
        )


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, and their numbers from 1.

    Bytes that are not UTF-8 are kept as surrogates, as Python keeps those of file names.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if text:
                yield number, text


def numbers(fields: Iterable[str]) -> list[float]:
    """The fields as numbers. Raises ValueError that names the field that is none."""
    values = []
    for field in fields:
        try:
            values.append(float(field))
        except ValueError:
            raise ValueError(f"{field!r} is not a number") from None
    return values


def points(values: Sequence[float]) -> Points:
    """Five points of x1 y1 x2 y2 ... y5, which must be finite."""
    if not all(map(math.isfinite, values)):
        raise ValueError("landmarks are not finite")
    return [values[i : i + 2] for i in range(0, 10, 2)]


def picture_folder(images: Path | None, *usual: Path) -> Path:
    """`images`, or where a data set usually keeps its pictures: the first of those folders there is, else the last.

    Raises NotADirectoryError if `images` is not a folder.
    """
    if images is None:
        return next((folder for folder in usual if folder.is_dir()), usual[-1])
    if not images.is_dir():
        raise NotADirectoryError(f"there is no folder of pictures {images}")
    return images
