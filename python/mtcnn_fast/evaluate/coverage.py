"""Which pictures of a ground truth have detections, under the names that detectors give them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from posixpath import splitext
from typing import Any

from mtcnn_fast.evaluate.detection_files import PictureDetections


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
            f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for names, what in (
                (self.missing, f"of {self.pictures} pictures are not among the detections, and count as without any"),
                (self.unknown, "pictures of the detections are not in the ground truth, and do not count"),
            )
            if names
        ]

    def report(self) -> None:
        """Prints them on stderr."""
        for complaint in self.complaints():
            print(complaint, file=sys.stderr)


class Matcher:
    """Brings detections to the pictures of a ground truth by name.

    Folders above those that the ground truth names, and a picture's suffix, may be there or not.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        stems = [splitext(name)[0] for name in self._names]
        unique = Counter(stems)
        self._indices = {stem: index for index, stem in enumerate(stems) if unique[stem] == 1}
        self._indices |= {name: index for index, name in enumerate(self._names)}
        self._depths = sorted({name.count("/") + 1 for name in self._names}, reverse=True)
        self._seen: set[int] = set()
        self._unknown: list[str] = []

    def match(self, detections: Iterable[PictureDetections]) -> Iterator[tuple[int, PictureDetections]]:
        """Index and detections of each picture that the ground truth has.

        Raises ValueError if a picture comes twice, and if pictures come, but none that is known.
        """
        for found in detections:
            index = self._find(found.name)
            if index is None:
                self._unknown.append(found.name)
                continue
            if index in self._seen:
                raise ValueError(f"the detections have {self._names[index]} twice")
            self._seen.add(index)
            yield index, found
        if self._unknown and not self._seen:
            wanted = f"such as {self._names[0]!r}" if self._names else "none"
            raise ValueError(
                f"no picture of the detections is in the ground truth: not {self._unknown[0]!r}; {wanted} is"
            )

    def coverage(self) -> Coverage:
        """Of what was matched so far."""
        missing = (name for index, name in enumerate(self._names) if index not in self._seen)
        return Coverage(len(self._names), tuple(missing), tuple(self._unknown))

    def _find(self, name: str) -> int | None:
        parts = name.split("/")
        tails = ("/".join(parts[-depth:]) for depth in self._depths)
        keys = (key for tail in tails for key in (tail, splitext(tail)[0]))
        return next((self._indices[key] for key in keys if key in self._indices), None)
