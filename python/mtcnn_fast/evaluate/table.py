"""Measures a detector on an annotated set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtcnn_fast.datasets import Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.evaluate.landmarks import LandmarkErrors, LandmarkTally
from mtcnn_fast.evaluate.precision_recall import PrecisionRecall, PrecisionRecallTally
from mtcnn_fast.evaluate.sets import MeasuredSet
from mtcnn_fast.streaming import detect_each

if TYPE_CHECKING:
    from mtcnn_fast.streaming import Find


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The figures of a detector on a set."""

    detector: str
    annotated: AnnotatedSet
    pictures: int
    """The number of pictures in the set. Those that cannot be read count too: nothing is found in them."""
    incomplete: int
    """The number of pictures that have lost a label."""
    faces: PrecisionRecall
    landmarks: LandmarkErrors


def evaluate(
    name: str, find: Find, measured: MeasuredSet, labels: Problems, failures: Problems, notes: Problems
) -> Row:
    """Detects on the pictures of a set, in batches and at constant memory. Only the first page of a file is searched.

    labels: receives entries of the annotations that cannot be used. failures: receives pictures that cannot be used.
    notes: receives pictures that are damaged, or have pages that are not searched.
    """
    faces = PrecisionRecallTally(measured.rule)
    landmarks = LandmarkTally(measured.normalisation, measured.rule.iou)
    count = incomplete = 0
    files = ((annotation, annotation.path) for annotation in measured.annotated.read(labels))
    for outcome in detect_each(find, files, first_page_only=True):
        annotation = outcome.key
        count += 1
        incomplete += not annotation.complete
        if outcome.error is not None:
            by_detector = outcome.picture is not None and not outcome.error.startswith(f"{name}: ")
            failures.add(annotation.path, f"{name}: {outcome.error}" if by_detector else outcome.error)
        if outcome.remark is not None:
            notes.add(annotation.path, outcome.remark)
        faces.update(annotation, outcome.faces)
        landmarks.update(annotation, outcome.faces)
    return Row(name, measured.annotated, count, incomplete, faces.compute(), landmarks.compute())
