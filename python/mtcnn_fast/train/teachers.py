"""Detections that other detectors, the teachers, made of the pictures to learn from.

A file of them has a JSON object per line, and may be gzipped:

    {"path": "lfw/a.jpg", "detections": [{"by": "yunet", "box": [x1, y1, x2, y2], "score": 0.9}, ...]}

Boxes are in pixels, 0-based and half-open. A picture without detections was looked at. One that has no line was not.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.boxes import overlaps
from mtcnn_fast.checks import each, number, text
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.datasets.annotated_set import AnnotatedSet
    from mtcnn_fast.train.windows import LabelledFaces

_GZIP = b"\x1f\x8b"

# A teacher has found a labelled face if its box overlaps the label by this IoU. Boxes of detectors and labels of data
# sets have other conventions.
_FOUND_FROM = 0.4
# A detection that overlaps no label by this IoU is of a face without a label.
_UNLABELLED_BELOW = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class TeacherDetections:
    """The detections of one picture."""

    boxes: NDArray[np.float64]
    """(N, 4)."""
    scores: NDArray[np.float64]
    """(N,)."""
    teachers: NDArray[np.int64]
    """(N,): the number of the teacher in `Teachers.names`."""


class Teachers:
    """The detections in a file, by pictures.

    Raises OSError for a file that cannot be read, ValueError for a line that is no such object.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.names: list[str] = []
        """The teachers that have a detection in the file."""
        self._pictures: dict[str, TeacherDetections] = {}
        place = Path(path)
        content = place.read_bytes()
        try:
            content = gzip.decompress(content) if content.startswith(_GZIP) else content
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{place} is a damaged gzip file: {reason(error)}") from error
        for line_number, line in enumerate(content.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                self._pictures[text("path", row["path"])] = self._detections(row["detections"])
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                said = f"{error} is missing" if isinstance(error, KeyError) else reason(error)
                raise ValueError(
                    f"{place}:{line_number}: {said}; wanted path and detections, each of which has by, box and score"
                ) from error

    def of(self, picture: Path) -> TeacherDetections | None:
        """The detections of a picture; None if it was not looked at.

        The path of a line may be any number of the last parts of the picture's. The line with the most parts counts.
        """
        parts = picture.parts
        return next(filter(None, (self._pictures.get("/".join(parts[i:])) for i in range(len(parts)))), None)

    def judged(self, faces: LabelledFaces, found: TeacherDetections, least_score: float) -> LabelledFaces:
        """The labelled faces of a picture with the teachers' verdicts, and faces that the labels lack as unusable ones.

        The verdict on a face is the least of the teachers' scores, 0 if one of them did not find it: scores of several
        detectors are not alike. A face that the labels lack is a detection by any teacher, of `least_score` or more.
        """
        shared = overlaps(faces.boxes, found.boxes)
        scores = np.where(shared >= _FOUND_FROM, found.scores, 0.0)
        # A file without any detection has one teacher, who found nothing.
        by_teacher = [scores[:, found.teachers == i].max(1, initial=0) for i in range(max(1, len(self.names)))]
        lacking = found.boxes[(found.scores >= least_score) & (shared.max(0, initial=0) < _UNLABELLED_BELOW)]
        count = len(lacking)
        return replace(
            faces,
            boxes=np.concatenate([faces.boxes, lacking]),
            compared=np.concatenate([faces.compared, lacking]),
            landmarks=np.concatenate([faces.landmarks, np.full((count, 5, 2), np.nan)]),
            usable=np.concatenate([faces.usable, np.zeros(count, np.bool_)]),
            verdicts=np.concatenate([np.min(by_teacher, 0), np.full(count, np.nan)]),
        )

    def _detections(self, rows: Any) -> TeacherDetections:
        boxes, scores, teachers = [], [], []
        for row in rows:
            box, score, name = each("box", row["box"], 4, number), number("score", row["score"]), text("by", row["by"])
            if not (box[0] < box[2] and box[1] < box[3] and np.isfinite(box).all()):
                raise ValueError(f"box is {row['box']}; wanted x1 y1 x2 y2 with an area")
            if not 0 <= score <= 1:
                raise ValueError(f"score is {score}; wanted 0 to 1")
            if name not in self.names:
                self.names.append(name)
            boxes.append(box)
            scores.append(score)
            teachers.append(self.names.index(name))
        return TeacherDetections(
            np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64), np.array(teachers, np.int64)
        )


def teachers_of(sources: Iterable[AnnotatedSet]) -> list[Teachers | None]:
    """The teachers of each set. Sets that name one file share its detections."""
    loaded: dict[str, Teachers] = {}
    found: list[Teachers | None] = []
    for source in sources:
        file = None if source.teachers is None else os.fspath(source.teachers)
        if file is not None and file not in loaded:
            loaded[file] = Teachers(file)
        found.append(None if file is None else loaded[file])
    return found
