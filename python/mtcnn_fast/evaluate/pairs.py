"""Labelled pictures with their detections, paired by the pictures' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mtcnn_fast.datasets import Annotation
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.pairing import Pairing

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the pictures of detections and those of a ground truth correspond."""

    pictures: int
    """The number of pictures in the ground truth."""
    missing: tuple[str, ...]
    """Pictures of the ground truth that the file of detections does not mention. They count as pictures in which
    nothing was found."""
    unknown: tuple[str, ...]
    """Pictures with detections that the ground truth does not have. They do not count."""

    def to_dict(self) -> dict[str, Any]:
        """A dict of numbers and lists, ready for JSON."""
        return {"pictures": self.pictures, "missing": list(self.missing), "unknown": list(self.unknown)}


class Pairs(Generic[L]):
    """Iterates over labelled pictures and the detections of each, or None if it has none.

    `Pairing` says which belong together, in which order they come, and what it refuses.

    * labelled: the name of each picture, and an object that stands for it: an annotation, or an index.
    * check: is called at the end if there were detections, but none for a labelled picture. It receives the name of a
      picture with detections and that of a labelled one, each the first by the alphabet; None if no picture is
      labelled. It may raise ValueError.
    * keep_names: keep the names that `coverage` gives. Otherwise only counts are kept, and memory does not grow.
    """

    def __init__(
        self,
        labelled: Iterable[tuple[str, L]],
        detections: Iterable[PictureDetections],
        check: Callable[[str, str | None], None],
        keep_names: bool = False,
    ) -> None:
        self._labelled = labelled
        self._detections = detections
        self._check = check
        self._keep_names = keep_names
        self._missing: list[tuple[int, str]] = []
        self._unknown: list[str] = []
        self._first_unknown: str | None = None
        self.pictures = 0
        """The number of labelled pictures so far."""
        self.without_detections = 0
        """The number of labelled pictures so far that have no detections."""
        self.without_labels = 0
        """The number of pictures with detections that are not labelled; known at the end."""

    def __iter__(self) -> Iterator[tuple[L, PictureDetections | None]]:
        labelled = ((name, (number, name, item)) for number, (name, item) in enumerate(self._labelled))
        detected = ((picture.name, picture) for picture in self._detections)
        # The first by the alphabet, so that the order in which names come does not matter.
        first: str | None = None
        for (number, name, item), detections in Pairing(labelled, detected, self._add_unknown):
            first = name if first is None else min(first, name)
            self.pictures += 1
            if detections is None:
                self.without_detections += 1
                if self._keep_names:
                    self._missing.append((number, name))
            yield item, detections
        if self._first_unknown is not None and self.without_detections == self.pictures:
            self._check(self._first_unknown, first)

    def coverage(self) -> Coverage:
        """The coverage of the pictures so far, with their names."""
        return Coverage(self.pictures, tuple(name for _, name in sorted(self._missing)), tuple(self._unknown))

    def _add_unknown(self, name: str) -> None:
        self._first_unknown = name if self._first_unknown is None else min(self._first_unknown, name)
        self.without_labels += 1
        if self._keep_names:
            self._unknown.append(name)


def annotated_pairs(annotations: Iterable[Annotation], detections: Iterable[PictureDetections]) -> Pairs[Annotation]:
    """Annotations, each with its detections. Iteration raises ValueError as `Pairing` does, and also if there were
    detections, but none for an annotated picture."""

    def check(unknown: str, labelled: str | None) -> None:
        if labelled is not None:
            raise ValueError(
                f"none of the pictures with detections is annotated: {unknown!r} is not; "
                f"the annotations have names such as {labelled!r}"
            )

    return Pairs(((annotation.name, annotation) for annotation in annotations), detections, check)


def ground_truth_pairs(names: Sequence[str], detections: Iterable[PictureDetections]) -> Pairs[int]:
    """Indices of the pictures of a ground truth, each with its detections; with coverage.

    Raises ValueError for a ground truth that has a name twice. Iteration raises it as `Pairing` does, and also if there
    were detections, but none for a picture of the ground truth.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the ground truth has {twice[0]!r} twice")

    def check(unknown: str, _: str | None) -> None:
        known = f"has names such as {names[0]!r}" if names else "is empty"
        raise ValueError(f"the ground truth has no picture of the detections: {unknown!r} is not in it; it {known}")

    return Pairs(((name, index) for index, name in enumerate(names)), detections, check, keep_names=True)
