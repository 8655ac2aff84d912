"""The recall on whole pictures of the cascade up to one network.

Crops do not tell it: a network that is right on 95 % of its crops may find no face in a picture. (Implementations of
the paper report both.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.boxes import areas, blocks, expanded, intersections, overlaps
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.train.photographs import FAILURES, name_bytes, pixels_to_learn
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast import MTCNN

LEAST_SCORES = (0.05, 0, 0)
"""The least scores of windows that each network lets through to be judged. R-Net and O-Net let all windows through.
P-Net would let every place of the picture through; from 0.05 on, it finds more false positives than a cascade can use.
"""

_NEXT = {"pnet": "rnet", "rnet": "onet", "onet": None}
_LEAST_IOU = 0.5
# A window of a lesser overlap is not a face in a wrong place. Those of `evaluate faces --near-iou`, `--ignored-iou`.
_NEAR_IOU, _NEAR_IGNORED_IOU = 0.2, 0.3


@dataclass(frozen=True, slots=True)
class Recall:
    """The recall of a cascade at the lowest threshold that keeps its false positives within a limit."""

    recall: float
    """The share of the faces that is found; NaN if there are none."""
    threshold: float
    """The score that a window must exceed to count."""
    false_positives: float
    """False positives per picture; NaN if no picture has all its faces labelled."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedScores:
    """The scores of a cascade on whole pictures."""

    of_faces: NDArray[np.float32]
    """(M,): for each face, the best score of a window that finds it; 0 if none does."""
    of_false: NDArray[np.float32]
    """(N,): scores of the windows that find no face, in pictures that have all their faces labelled; highest first."""
    of_background: NDArray[np.float32]
    """(K,): those of them that are of no face at all: they overlap none by an IoU of 0.2, and no ignored one by 0.3."""
    complete: int
    """The number of pictures that have all their faces labelled."""

    def recall_at(self, false_positives: float) -> Recall:
        """The recall at no more than `false_positives` per picture."""
        # Exactly: in floats 0.29 * 100 is 28.999999999999996.
        allowed = int(Fraction(false_positives).limit_denominator(10**6) * self.complete)
        threshold = float(self.of_false[allowed]) if allowed < len(self.of_false) else 0.0
        return Recall(
            float((self.of_faces > threshold).sum() / len(self.of_faces)) if len(self.of_faces) else np.nan,
            threshold,
            float((self.of_false > threshold).sum() / self.complete) if self.complete else np.nan,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ValidationPicture:
    """A picture with its labels, on which recall is measured."""

    annotation: Annotation
    complete: bool = True
    """Whether every face is labelled: False, too, where the annotation has lost a label."""
    expand: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """As of an `AnnotatedSet`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "complete", self.complete and self.annotation.complete)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(N, 4): the boxes of the annotation, expanded."""
        return expanded(self.annotation.boxes, self.expand)


def pictures(annotated: AnnotatedSet, problems: Problems) -> list[ValidationPicture]:
    """The pictures of a set. `problems` is told of its rows that cannot be used. Raises as `AnnotatedSet.read`."""
    return [
        ValidationPicture(annotation, annotated.complete, annotated.expand)
        for annotation in annotated.read(problems, problems)
    ]


def pictures_digest(annotated: Iterable[ValidationPicture]) -> str:
    """Identifies pictures and labels: SHA-256 of names, not paths, because a data set may move."""
    digest = hashlib.sha256()
    for picture in annotated:
        name, boxes = picture.annotation.name, picture.boxes
        digest.update(name_bytes(f"{name} {picture.complete} {len(boxes)}\0"))
        digest.update(boxes.tobytes() + picture.annotation.ignored.tobytes())
    return f"sha256 {digest.hexdigest()}"


def measure_recall(
    detector: MTCNN, stage: str, annotated: Iterable[ValidationPicture], false_positives: float, problems: Problems
) -> Recall:
    """The recall of what `judge` finds, at no more than `false_positives` per picture."""
    return judge(detector, stage, annotated, problems).recall_at(false_positives)


def judge(detector: MTCNN, stage: str, annotated: Iterable[ValidationPicture], problems: Problems) -> JudgedScores:
    """Judges what the cascade hands on after `stage`: its windows after "pnet" and "rnet", its detections after "onet".

    A face is found if a window overlaps it by an IoU of 0.5 or more, even a face below the detector's min_face_size. A
    window that overlaps no face so is false, unless its picture has faces without labels or an ignored face fills half
    of the window. The detector takes RGB images, and its thresholds bound what can be found. Pictures that cannot be
    read, are damaged, or are beyond the detector's limits go to `problems` and count in nothing.
    """
    if stage not in _NEXT:
        raise ValueError(f"stage is {stage!r}; wanted one of {', '.join(_NEXT)}")
    of_faces, of_false, of_background = ([np.zeros(0, np.float32)] for _ in range(3))
    complete = 0
    for picture in annotated:
        try:
            pixels, note = pixels_to_learn(picture.annotation.path)
            windows, scores = _windows(detector, stage, pixels)
            best, wrong, far = _judge(picture, windows, scores)
        except FAILURES as error:
            problems.add(picture.annotation.path, reason(error))
            continue
        if note is not None:
            problems.add(picture.annotation.path, note)
        of_faces.append(best)
        if picture.complete:
            complete += 1
            of_false.append(scores[wrong])
            of_background.append(scores[wrong & far])
    false, background = (np.sort(np.concatenate(found))[::-1] for found in (of_false, of_background))
    return JudgedScores(np.concatenate(of_faces), false, background, complete)


def _windows(detector: MTCNN, stage: str, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    following = _NEXT[stage]
    if following is None:
        faces = detector.detect(image)
        return faces.boxes, faces.scores
    return detector.windows(image, following)


def _judge(
    picture: ValidationPicture, windows: NDArray[np.float32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """The best score for each face that is not ignored, 0 if no window finds it; whether each window is false; and
    whether it is far from every face."""
    ignored = picture.annotation.ignored
    faces, crowds = picture.boxes[~ignored], picture.boxes[ignored]
    best = np.zeros(len(faces), np.float32)
    wrong, far = np.zeros(len(windows), np.bool_), np.zeros(len(windows), np.bool_)
    for part in blocks(len(windows), len(ignored)):
        shared = overlaps(windows[part], faces)
        hits = shared >= _LEAST_IOU
        of_ignored = overlaps(windows[part], crowds).max(1, initial=0)
        far[part] = (shared.max(1, initial=0) < _NEAR_IOU) & (of_ignored < _NEAR_IGNORED_IOU)
        best = np.maximum(best, np.where(hits, scores[part, None], np.float32(0)).max(0))
        # An ignored box may be a crowd. As in COCO's evaluation, the share of the window that it fills counts.
        filled = intersections(windows[part], crowds).max(1, initial=0)
        wrong[part] = ~(hits.any(1) | ((filled > 0) & (filled >= _LEAST_IOU * areas(windows[part]))))
    return best, wrong, far
