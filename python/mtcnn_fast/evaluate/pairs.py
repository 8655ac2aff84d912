"""Labelled pictures with their detections, under the names that detectors give them."""

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
    """In the ground truth."""
    missing: tuple[str, ...]
    """Pictures of the ground truth that the file of detections does not mention. They count as pictures in which
    nothing was found."""
    unknown: tuple[str, ...]
    """Pictures with detections that the ground truth does not have: they do not count."""

    def to_dict(self) -> dict[str, Any]:
        """Of numbers and lists: ready for JSON."""
        return {"pictures": self.pictures, "missing": list(self.missing), "unknown": list(self.unknown)}


class Pairs(Generic[L]):
    """Iterates over labelled pictures and the detections of each, or None where there are none.

    They belong together as `Pairing` says, which also says what comes when, and what is refused.

    * labelled: of each picture the name and what stands for it: an annotation, or an index.
    * check: is called at the end if there were detections but none for a labelled picture, with a name of each of the
      two, the first by the alphabet; None where no picture is labelled. It may raise ValueError.
    * keep_names: keep the names that `coverage` gives; else only counts, in memory that does not grow with them.
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
        """Labelled, so far."""
        self.without_detections = 0
        """Labelled pictures, so far, that have none."""
        self.without_labels = 0
        """Pictures with detections that no label named: known at the end."""

    def __iter__(self) -> Iterator[tuple[L, PictureDetections | None]]:
        labelled = ((name, (number, name, item)) for number, (name, item) in enumerate(self._labelled))
        detected = ((picture.name, picture) for picture in self._detections)
        # The first by the alphabet, whatever the order they come in.
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
        """Of the pictures so far, by their names."""
        return Coverage(self.pictures, tuple(name for _, name in sorted(self._missing)), tuple(self._unknown))

    def _add_unknown(self, name: str) -> None:
        self._first_unknown = name if self._first_unknown is None else min(self._first_unknown, name)
        self.without_labels += 1
        if self._keep_names:
            self._unknown.append(name)


def annotated_pairs(annotations: Iterable[Annotation], detections: Iterable[PictureDetections]) -> Pairs[Annotation]:
    """Annotations, each with its detections. Its iteration raises ValueError as `Pairing` does, and if there were
    detections but none for an annotated picture."""

    def check(unknown: str, labelled: str | None) -> None:
        if labelled is not None:
            raise ValueError(
                f"none of the pictures with detections is annotated: {unknown!r} is not; "
                f"the annotations have names such as {labelled!r}"
            )

    return Pairs(((annotation.name, annotation) for annotation in annotations), detections, check)


def ground_truth_pairs(names: Sequence[str], detections: Iterable[PictureDetections]) -> Pairs[int]:
    """Indices of the pictures of a ground truth, each with its detections; with coverage.

    Raises ValueError for a ground truth that has a name twice. Its iteration raises it as `Pairing` does, and if there
    were detections but none for a picture of the ground truth.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the ground truth has {twice[0]!r} twice")

    def check(unknown: str, _: str | None) -> None:
        known = f"such as {names[0]!r}" if names else "none"
        raise ValueError(f"no picture of the detections is in the ground truth: not {unknown!r}; {known} is")

    return Pairs(((name, index) for index, name in enumerate(names)), detections, check, keep_names=True)
