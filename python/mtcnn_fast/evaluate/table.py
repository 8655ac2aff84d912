"""What a detector finds on an annotated set."""

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
    """What a detector finds on a set."""

    detector: str
    annotated: AnnotatedSet
    pictures: int
    """Of the set, those that cannot be read included: nothing is found in them."""
    incomplete: int
    """Pictures of the set of which a label is lost."""
    faces: PrecisionRecall
    landmarks: LandmarkErrors


def evaluate(
    name: str, find: Find, measured: MeasuredSet, labels: Problems, failures: Problems, notes: Problems
) -> Row:
    """Detects on a set, in batches and at constant memory; of a picture with pages on the first.

    labels: is told of entries of the annotations that cannot be used; failures: of pictures; notes: of pictures that
    are damaged, or have pages that are not searched.
    """
    faces = PrecisionRecallTally(measured.iou)
    landmarks = LandmarkTally(measured.normalisation, measured.iou)
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
