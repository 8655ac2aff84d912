"""Which pictures of a ground truth have detections, under the names that detectors give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mtcnn_fast.console import console, shown
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

    def complaints(self) -> list[str]:
        """A sentence for each of the two that is not empty."""
        return [
            f"{len(names)} {what}: {', '.join(map(shown, names[:3]))}{', ...' if len(names) > 3 else ''}"
            for names, what in (
                (self.missing, f"of {self.pictures} pictures are not among the detections, and count as without any"),
                (self.unknown, "pictures of the detections are not in the ground truth, and do not count"),
            )
            if names
        ]

    def report(self) -> None:
        """Prints them on stderr."""
        for complaint in self.complaints():
            console.complain(complaint)


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
