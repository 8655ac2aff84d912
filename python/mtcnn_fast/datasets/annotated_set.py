"""A set of annotated pictures: where its files are, and how to take its labels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

from mtcnn_fast.checks import described, each, flag, number
from mtcnn_fast.datasets import Annotation, Problems, read
from mtcnn_fast.finding import PassedOver


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """A named set of annotated pictures.

    Raises TypeError for a flag that is not True or False, TypeError or ValueError for an `expand` that is not 4 finite
    numbers, and for scales out of their range. `read` checks the rest.
    """

    annotations: str | os.PathLike[str] | Iterable[Annotation]
    """The path that `datasets.read` takes, or the annotations themselves, which are read once and in order."""
    _: KW_ONLY
    name: str = ""
    """The name of the set in reports."""
    format: str | None = None
    """One of `datasets.FORMATS`; None: detected from the path. This and the next four apply only to a path."""
    images: str | os.PathLike[str] | None = None
    """The folder of the pictures; None: where the data set keeps it."""
    only: str | os.PathLike[str] | None = None
    """A text file that lists the pictures to take; None: all are taken."""
    ignored: str | os.PathLike[str] | None = None
    """A JSON file of boxes that are neither faces nor background, as `datasets.read` takes it; None: no such boxes."""
    outside: bool = False
    """Whether names of pictures may lead out of the folder of the pictures."""
    complete: bool = True
    """Whether every face of every picture is labelled. If not, a place without a label need not be background."""
    expand: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """The shares of a box's width or height by which its left, top, right and bottom side move outward. They adapt
    data sets with different conventions to one convention."""

    teachers: str | os.PathLike[str] | None = None
    """A file of detections by other detectors, as `train.teachers` reads it; None: there is none. Training alone uses
    it."""
    teacher_score: float = 0.2
    """The least score of a teacher's detection that is no background, though no face is labelled there."""
    scales: tuple[float, ...] = (1.0,)
    """Training takes samples of each picture at each of these scales, from more than 0 to 1."""

    def __post_init__(self) -> None:
        flag("outside", self.outside)
        flag("complete", self.complete)
        if not all(map(math.isfinite, each("expand", self.expand, 4, number))):
            raise ValueError(f"expand is {self.expand}; wanted 4 finite numbers")
        if not 0 <= number("teacher_score", self.teacher_score) <= 1:
            raise ValueError(f"teacher_score is {self.teacher_score}; wanted 0 to 1")
        if not isinstance(self.scales, Sequence) or isinstance(self.scales, str):
            raise TypeError(f"scales is {described(self.scales)}; wanted a sequence of numbers")
        scales = each("scales", self.scales, len(self.scales), number)
        if not scales or not all(0 < scale <= 1 for scale in scales):
            raise ValueError(f"scales is {self.scales}; wanted one number or more, above 0 and at most 1")

    def read(self, problems: Problems, notes: Problems | None = None) -> Iterable[Annotation]:
        """The annotations as the set has them: `expand` and `complete` are not applied.

        problems: receives rows and files that cannot be used. notes: receives, at the end, a count of the files in a
        folder of pictures that are no pictures; None: they are not counted. Raises OSError or ValueError at once for a
        path that cannot be opened. Iteration raises them as `datasets.read` does.
        """
        if not isinstance(self.annotations, str | os.PathLike):
            return self.annotations
        passed_over = PassedOver()
        pictures = read(
            self.annotations,
            self.format,
            images=self.images,
            only=self.only,
            ignored=self.ignored,
            problems=problems,
            passed_over=passed_over,
            outside=self.outside,
        )
        return pictures if notes is None else _noting(pictures, self.annotations, passed_over, notes)


def _noting(
    pictures: Iterable[Annotation], path: str | os.PathLike[str], passed_over: PassedOver, notes: Problems
) -> Iterator[Annotation]:
    yield from pictures
    if note := str(passed_over):
        notes.add(path, note)
