"""Precision and recall of detections on any annotated set."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.datasets import Annotation
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.matching import FALSE, NEITHER, Rule, match, shorter_sides
from mtcnn_fast.evaluate.measures import DetectedFaces
from mtcnn_fast.evaluate.pairs import annotated_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class JudgedDetections:
    """The detections that count, highest score first, and the faces that count, each with its picture."""

    pictures: int
    """The number of pictures."""
    detection_pictures: NDArray[np.uint32]
    """(K,): the index of each detection's picture."""
    found_sizes: NDArray[np.float32]
    """(K,): the shorter side, in pixels, of the face that each detection finds; NaN: it is a false positive."""
    last_of_score: NDArray[np.intp]
    """(S,): for each distinct score, the index of the last detection that has it."""
    face_pictures: NDArray[np.uint32]
    """(F,): the index of each face's picture."""
    face_sizes: NDArray[np.float32]
    """(F,): the shorter side of each face in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """The faces found and the false positives at each threshold of the score: at each distinct score."""

    rule: Rule
    """The rule by which faces and detections count."""
    faces: int
    """The number of faces that count: labelled and not ignored."""
    scores: NDArray[np.float64]
    """(K,): the distinct scores, highest first."""
    found: NDArray[np.int64]
    """(K,): the number of faces found by detections of at least that score."""
    false: NDArray[np.int64]
    """(K,): the number of false positives among the detections of at least that score."""
    judged: JudgedDetections
    """The detections and the faces one by one, for `recall_intervals` and `recall_by_size`."""

    @property
    def iou(self) -> float:
        """The least IoU of a match."""
        return self.rule.iou

    @property
    def recalls(self) -> NDArray[np.float64]:
        """(K,): the share of the faces that are found, at each score; NaN if there are no faces."""
        return np.asarray(self.found / self.faces) if self.faces else np.full(len(self.found), np.nan)

    @property
    def precisions(self) -> NDArray[np.float64]:
        """(K,): the share of the detections that are faces, at each score."""
        return np.asarray(self.found / (self.found + self.false))

    @property
    def recall(self) -> float:
        """The recall of all detections; NaN if there are no faces."""
        return _ratio(int(self.found[-1]) if len(self.found) else 0, self.faces)

    @property
    def precision(self) -> float:
        """The precision of all detections; NaN if there are none."""
        return float(self.precisions[-1]) if len(self.scores) else float("nan")

    @property
    def false_positives(self) -> int:
        """The number of false positives among all detections."""
        return int(self.false[-1]) if len(self.false) else 0

    @property
    def average_precision(self) -> float:
        """The area under the envelope of the curve; NaN if there are no faces."""
        return average_precision(self.precisions, self.recalls) if self.faces else float("nan")

    def recall_at(self, false_positives: float) -> float:
        """The recall at the lowest score that has at most so many false positives; NaN if there are no faces."""
        below = self.scores_within(false_positives)
        return _ratio(int(self.found[below - 1]) if below else 0, self.faces)

    def scores_within(self, false_positives: float) -> int:
        """The number of distinct scores, highest first, that have at most so many false positives together."""
        return int(np.searchsorted(self.false, false_positives, side="right"))


def average_precision(precisions: NDArray[np.float64], recalls: NDArray[np.float64]) -> float:
    """The area under the envelope of a curve, which at each recall is the best precision there or beyond.

    precisions, recalls: (K,), recall ascending. PASCAL VOC computes it so since 2010 (Everingham et al., The PASCAL
    Visual Object Classes Challenge: A Retrospective, 2015). Beyond the last recall the precision is 0.
    """
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    return float((np.diff(recalls, prepend=0.0) * envelope).sum())


class PrecisionRecallTally:
    """Collects the pictures of a set. It keeps 16 bytes per detection and 8 bytes per face.

    rule: a rule, or the least IoU of a match.
    """

    def __init__(self, rule: Rule | float = 0.5) -> None:
        self._rule = rule if isinstance(rule, Rule) else Rule(iou=rule)
        self._pictures = 0
        self._scores = array("d")
        # Of each detection: its picture, and the size of the face that it finds. Of each face: its picture and size.
        self._detection_pictures, self._face_pictures = array("I"), array("I")
        self._found_sizes, self._face_sizes = array("f"), array("f")

    def update(self, annotation: Annotation, detections: DetectedFaces | None) -> None:
        """Adds a picture and the faces that a detector found in it; None: no faces. Pictures may come in any order.

        If a label of the picture is lost (`complete` is False), detections without a labelled face count neither way.
        """
        picture = self._pictures
        self._pictures += 1
        faces_count = self._rule.counts(annotation.boxes, annotation.ignored)
        sizes = shorter_sides(annotation.boxes).astype(np.float32)
        self._face_sizes.frombytes(sizes[faces_count].tobytes())
        self._face_pictures.extend([picture] * int(faces_count.sum()))
        if detections is None or not len(detections.boxes):
            return
        faces = match(detections.boxes, detections.scores, annotation.boxes, annotation.ignored, self._rule)
        counts = (faces != NEITHER) & (annotation.complete | (faces != FALSE))
        self._scores.frombytes(detections.scores[counts].astype(np.float64).tobytes())
        self._detection_pictures.extend([picture] * int(counts.sum()))
        # FALSE takes the last of these.
        self._found_sizes.frombytes(np.append(sizes, np.float32("nan"))[faces[counts]].tobytes())

    def compute(self) -> PrecisionRecall:
        """The figures of the pictures added so far."""
        scores, found_sizes = np.array(self._scores, np.float64), np.array(self._found_sizes, np.float32)
        order = np.argsort(-scores, kind="stable")
        scores, found_sizes = scores[order], found_sizes[order]
        true_positives = np.cumsum(~np.isnan(found_sizes), dtype=np.int64)
        false = np.arange(1, len(scores) + 1) - true_positives
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, np.intp)
        judged = JudgedDetections(
            self._pictures,
            np.array(self._detection_pictures, np.uint32)[order],
            found_sizes,
            last,
            np.array(self._face_pictures, np.uint32),
            np.array(self._face_sizes, np.float32),
        )
        faces = len(self._face_sizes)
        return PrecisionRecall(self._rule, faces, scores[last], true_positives[last], false[last], judged)


def precision_recall(
    annotations: Iterable[Annotation], detections: Iterable[PictureDetections], iou: Rule | float = 0.5
) -> PrecisionRecall:
    """Precision and recall of detections on annotations.

    Detections match faces one to one at `iou`, highest score first, or by a rule. Ignored faces count neither way.
    `annotated_pairs` pairs the pictures. In a picture without detections, nothing was found. Detections in a picture
    without annotations are left out.

    Raises ValueError for an `iou` that is not in (0, 1], and as the iteration over `annotated_pairs` does.
    """
    tally = PrecisionRecallTally(iou)
    for annotation, faces in annotated_pairs(annotations, detections):
        tally.update(annotation, faces)
    return tally.compute()


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
