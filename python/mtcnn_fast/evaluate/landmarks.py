"""Errors of landmarks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.checks import described
from mtcnn_fast.datasets import Annotation
from mtcnn_fast.detections import LANDMARKS
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.matching import Rule, match
from mtcnn_fast.evaluate.measures import DetectedFaces
from mtcnn_fast.evaluate.pairs import annotated_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTER_OCULAR = "inter-ocular"
BOX = "box"
NORMALISATIONS = (INTER_OCULAR, BOX)


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkErrors:
    """Errors of the landmarks of the faces that were found.

    With `missed`, shares also count the faces that were not found, as if their errors were beyond any limit.
    """

    normalisation: str
    """The divisor of the errors: INTER_OCULAR, the distance of the labelled eyes, or BOX, sqrt(W H) of the labelled
    box. The two are not comparable."""
    iou: float
    """The least IoU of a match."""
    faces: int
    """The number of faces that count: not ignored, with labelled landmarks, and with a divisor that is not 0."""
    errors: NDArray[np.float64]
    """(K,): for each face found, the mean normalised distance over its labelled landmarks. Ascending."""

    @property
    def found_share(self) -> float:
        """The share of the faces that were found, with landmarks; NaN if there are no faces."""
        return len(self.errors) / self.faces if self.faces else float("nan")

    @property
    def nme(self) -> float:
        """The normalised mean error of the faces found; NaN if there are none."""
        return float(self.errors.mean()) if len(self.errors) else float("nan")

    def failure_rate(self, limit: float = 0.1, missed: bool = False) -> float:
        """The share of faces whose error is larger than the limit; NaN if there are no faces."""
        return 1 - float(self.cumulative(np.array([limit]), missed)[0])

    def cumulative(self, limits: NDArray[np.float64], missed: bool = False) -> NDArray[np.float64]:
        """The cumulative error distribution (N,): for each limit (N,) the share of faces with at most that error."""
        total = self.faces if missed else len(self.errors)
        within = np.searchsorted(self.errors, limits, side="right")
        return np.asarray(within / total) if total else np.full(len(limits), np.nan)

    def area(self, limit: float = 0.1, missed: bool = False) -> float:
        """The area under the cumulative distribution up to the limit, divided by the limit; NaN if there are no faces.

        It is in [0, 1].
        """
        total = self.faces if missed else len(self.errors)
        # The integral of a step of height 1 / total at each error.
        return float(np.maximum(1 - self.errors / limit, 0).sum()) / total if total else float("nan")


class LandmarkTally:
    """Collects the pictures of a set. It keeps eight bytes per face."""

    def __init__(self, normalisation: str = INTER_OCULAR, iou: float = 0.4) -> None:
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation is {described(normalisation)}; wanted {' or '.join(NORMALISATIONS)}")
        self._normalisation = normalisation
        self._rule = Rule(iou=iou)
        self._faces = 0
        self._errors = array("d")

    def update(self, annotation: Annotation, detections: DetectedFaces | None) -> None:
        """Adds a picture and the faces that a detector found in it; None: no faces. Pictures may come in any order."""
        labels = annotation.landmarks.astype(np.float64)
        labelled = np.asarray(np.isfinite(labels).all(axis=2))
        distances = self._distances(annotation)
        measured = labelled.any(axis=1) & (distances > 0) & ~annotation.ignored
        self._faces += int(measured.sum())
        if detections is None or not measured.any():
            return
        faces = match(detections.boxes, detections.scores, annotation.boxes, annotation.ignored, self._rule)
        for detection in np.flatnonzero(faces >= 0):
            face = faces[detection]
            if not measured[face]:
                continue
            known = labelled[face]
            offsets = detections.landmarks[detection].astype(np.float64)[known] - labels[face][known]
            error = float(np.hypot(offsets[:, 0], offsets[:, 1]).mean() / distances[face])
            if np.isfinite(error):
                self._errors.append(error)

    def compute(self) -> LandmarkErrors:
        """The errors of the pictures added so far."""
        errors = np.sort(np.array(self._errors, np.float64))
        return LandmarkErrors(self._normalisation, self._rule.iou, self._faces, errors)

    def _distances(self, annotation: Annotation) -> NDArray[np.float64]:
        """(N,): the divisor of each face's errors; NaN where it is unknown."""
        if self._normalisation == BOX:
            boxes = annotation.boxes.astype(np.float64)
            return np.asarray(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))
        eyes = [LANDMARKS.index(name) for name in ("left_eye", "right_eye")]
        left, right = (annotation.landmarks[:, eye].astype(np.float64) for eye in eyes)
        return np.asarray(np.hypot(*(right - left).T))


def landmark_error(
    annotations: Iterable[Annotation],
    detections: Iterable[PictureDetections],
    normalisation: str = INTER_OCULAR,
    iou: float = 0.4,
) -> LandmarkErrors:
    """Errors of the landmarks of detections that match faces one to one at `iou`, highest score first.

    `annotated_pairs` pairs the pictures. Raises ValueError for an `iou` that is not in (0, 1], for a `normalisation`
    that is not in NORMALISATIONS, and as the iteration over `annotated_pairs` does.
    """
    tally = LandmarkTally(normalisation, iou)
    for annotation, faces in annotated_pairs(annotations, detections):
        tally.update(annotation, faces)
    return tally.compute()
