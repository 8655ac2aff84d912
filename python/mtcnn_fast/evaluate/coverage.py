"""Annotated pictures and pictures of a ground truth with their detections, under the names that detectors give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mtcnn_fast.datasets import Annotation
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.pairing import Pairing


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the pictures of detections and those of a ground truth correspond."""

    pictures: int
    """In the ground truth."""
    missing: tuple[str, ...]
    """Pictures of the ground truth without detections in the file, not even none: as if nothing were found in them."""
    unknown: tuple[str, ...]
    """Pictures with detections that the ground truth does not have: they do not count."""

    def to_dict(self) -> dict[str, Any]:
        """Of numbers and lists: ready for JSON."""
        return {"pictures": self.pictures, "missing": list(self.missing), "unknown": list(self.unknown)}


class Pairs:
    """Iterates over annotations and the detections of each picture, or None where there are none.

    They belong together as `Pairing` says, which also says what comes when, and what is refused.

    Raises ValueError, at the end, if there were detections but none for an annotated picture.
    """

    def __init__(self, annotations: Iterable[Annotation], detections: Iterable[PictureDetections]) -> None:
        self._annotations = annotations
        self._detections = detections
        self._unknown: str | None = None
        self.pictures = 0
        """Annotated, so far."""
        self.incomplete = 0
        """Annotated pictures, so far, of which a label is lost."""
        self.without_detections = 0
        """Annotated pictures, so far, that have none."""
        self.without_annotations = 0
        """Pictures with detections that no annotation named: known at the end."""

    def __iter__(self) -> Iterator[tuple[Annotation, PictureDetections | None]]:
        labelled = ((annotation.name, annotation) for annotation in self._annotations)
        detected = ((found.name, found) for found in self._detections)
        # The first by the alphabet, whatever the order they come in.
        name: str | None = None
        for annotation, found in Pairing(labelled, detected, self._note):
            name = annotation.name if name is None else min(name, annotation.name)
            self.pictures += 1
            self.incomplete += not annotation.complete
            self.without_detections += found is None
            yield annotation, found
        if self._unknown is not None and name is not None and self.without_detections == self.pictures:
            raise ValueError(
                f"none of the pictures with detections is annotated: {self._unknown!r} is not; "
                f"the annotations have names such as {name!r}"
            )

    def _note(self, unknown: str) -> None:
        self._unknown = unknown if self._unknown is None else min(self._unknown, unknown)
        self.without_annotations += 1


class Matcher:
    """Brings detections to the pictures of a ground truth, by name, as `Pairing` says.

    Raises ValueError for a ground truth that has a name twice.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        twice = [name for name, count in Counter(self._names).items() if count > 1]
        if twice:
            raise ValueError(f"the ground truth has {twice[0]!r} twice")
        self._missing = set(range(len(self._names)))
        self._unknown: list[str] = []

    def match(self, detections: Iterable[PictureDetections]) -> Iterator[tuple[int, PictureDetections]]:
        """Index and detections of each picture that the ground truth has.

        Raises ValueError as `Pairing` does, and if pictures come, but none that is known.
        """
        labelled = ((name, index) for index, name in enumerate(self._names))
        for index, found in Pairing(labelled, ((found.name, found) for found in detections), self._unknown.append):
            if found is not None:
                self._missing.remove(index)
                yield index, found
        if self._unknown and len(self._missing) == len(self._names):
            wanted = f"such as {self._names[0]!r}" if self._names else "none"
            raise ValueError(
                f"no picture of the detections is in the ground truth: not {min(self._unknown)!r}; {wanted} is"
            )

    def coverage(self) -> Coverage:
        """Of what was matched."""
        missing = tuple(self._names[index] for index in sorted(self._missing))
        return Coverage(len(self._names), missing, tuple(self._unknown))
