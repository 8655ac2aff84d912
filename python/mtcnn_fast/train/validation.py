"""How much of whole pictures' faces the cascade finds up to one network: what crops do not tell.

A network that is right on 95 % of its crops may find no face in a picture. (Implementations of the paper report both.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast import pictures
from mtcnn_fast.annotations import Annotation, Problems
from mtcnn_fast.train.windows import areas, intersections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast import MTCNN

LEAST_SCORE = 0.05
"""Of windows looked at: enough for recall at any number of false positives that a cascade can live with."""

_NEXT = {"pnet": "rnet", "rnet": "onet"}
_LEAST_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Recall:
    """What a cascade finds at a threshold chosen so that it finds so many false positives and no more."""

    recall: float
    """Share of the faces found; NaN where there are none."""
    threshold: float
    """The score from which on windows count."""
    false_positives: float
    """A picture; NaN where no picture has all its faces labelled."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An annotated picture, and whether every face of it is labelled."""

    annotation: Annotation
    complete: bool


def measure_recall(
    detector: MTCNN, stage: str, annotated: Iterable[Picture], false_positives: float, problems: Problems
) -> Recall:
    """The recall at so many false positives a picture of what the cascade hands on after `stage`: its windows after
    P-Net and R-Net, its detections after O-Net.

    A face is found if a window overlaps it by an IoU of 0.5 or more; a window that so overlaps none is false, if it
    is in a picture that has all its faces labelled, and does not lie on an ignored one. The detector takes BGR images,
    and its thresholds bound what can be found. Pictures that cannot be read go to `problems`.
    """
    found, false, faces, complete = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)], 0, 0
    for picture in annotated:
        try:
            image = pictures.read(picture.annotation.path)
        except OSError as error:
            problems.add(picture.annotation.path, error.strerror or str(error))
            continue
        boxes, scores = _windows(detector, stage, image)
        best, wrong = _judge(picture.annotation, boxes, scores)
        faces += len(best)
        found.append(best)
        if picture.complete:
            complete += 1
            false.append(scores[wrong])
    of_faces, of_false = np.concatenate(found), np.sort(np.concatenate(false))[::-1]
    allowed = int(false_positives * complete)
    threshold = float(of_false[allowed]) if allowed < len(of_false) else 0.0
    return Recall(
        float((of_faces > threshold).sum() / faces) if faces else np.nan,
        threshold,
        float((of_false > threshold).sum() / complete) if complete else np.nan,
    )


def _windows(detector: MTCNN, stage: str, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if stage == "onet":
        faces = detector.detect(image)
        return faces.boxes, faces.scores
    return detector.windows(image, _NEXT[stage])


def _judge(
    annotation: Annotation, boxes: NDArray[np.float32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The best score of each face that is not ignored, 0 where none finds it; and which windows find nothing."""
    windows, labelled = boxes.astype(np.float64), annotation.boxes.astype(np.float64)
    shared = intersections(windows, labelled)
    hits = shared >= _LEAST_IOU * (areas(windows)[:, None] + areas(labelled) - shared)
    best: NDArray[np.float32] = np.where(hits, scores[:, None], np.float32(0)).max(0, initial=0)
    wrong: NDArray[np.bool_] = np.logical_not(hits.any(1))
    return best[~annotation.ignored], wrong
