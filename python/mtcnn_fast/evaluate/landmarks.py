"""Errors of landmarks, and `mtcnn-fast evaluate landmarks`."""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import numpy as np

from mtcnn_fast.arguments import Commands
from mtcnn_fast.checks import described
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.detections import LANDMARKS
from mtcnn_fast.evaluate import plots
from mtcnn_fast.evaluate.detection_files import PictureDetections, add_detection_arguments, detections_of
from mtcnn_fast.evaluate.inputs import (
    FAILURES,
    Pairs,
    add_annotation_arguments,
    aligned,
    annotations_of,
    check_usable,
    report_reading,
)
from mtcnn_fast.evaluate.matching import checked_iou, match
from mtcnn_fast.evaluate.outputs import Outputs, add_output_arguments
from mtcnn_fast.writing import line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mtcnn_fast.evaluate.precision_recall import Found

INTER_OCULAR = "inter-ocular"
BOX = "box"
NORMALISATIONS = (INTER_OCULAR, BOX)


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkErrors:
    """Errors of the faces that were found. A share counts, with `missed`, those that were not as beyond any limit."""

    normalisation: str
    """What errors are divided by: INTER_OCULAR, the distance of the labelled eyes, or BOX, sqrt(W H) of the labelled
    box. The two are not comparable."""
    iou: float
    """Asked of a match."""
    faces: int
    """That count: not ignored, with labelled landmarks and a distance to divide by that is not 0."""
    errors: NDArray[np.float64]
    """(K,): of each face found the mean, over its labelled landmarks, of the normalised distance, ascending."""

    @property
    def found(self) -> float:
        """The share of the faces that were found, with landmarks; NaN if there are no faces."""
        return len(self.errors) / self.faces if self.faces else float("nan")

    @property
    def nme(self) -> float:
        """The normalised mean error, of the faces found; NaN if there are none."""
        return float(self.errors.mean()) if len(self.errors) else float("nan")

    def failure_rate(self, limit: float = 0.1, missed: bool = False) -> float:
        """The share of faces with a larger error; NaN if there are no faces."""
        return 1 - float(self.cumulative(np.array([limit]), missed)[0])

    def cumulative(self, limits: NDArray[np.float64], missed: bool = False) -> NDArray[np.float64]:
        """The cumulative error distribution (N,): the share of faces with at most that error, for each limit (N,)."""
        total = self.faces if missed else len(self.errors)
        within = np.searchsorted(self.errors, limits, side="right")
        return np.asarray(within / total) if total else np.full(len(limits), np.nan)

    def area(self, limit: float = 0.1, missed: bool = False) -> float:
        """Under the cumulative distribution up to the limit, divided by it, in [0, 1]; NaN if there are no faces."""
        total = self.faces if missed else len(self.errors)
        # The integral of a step of height 1 / total at each error.
        return float(np.maximum(1 - self.errors / limit, 0).sum()) / total if total else float("nan")


class LandmarkTally:
    """Collects the pictures of a set, of which it keeps eight bytes a face."""

    def __init__(self, normalisation: str = INTER_OCULAR, iou: float = 0.4) -> None:
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation is {described(normalisation)}; wanted {' or '.join(NORMALISATIONS)}")
        self._normalisation = normalisation
        self._iou = checked_iou(iou)
        self._faces = 0
        self._errors = array("d")

    def add(self, annotation: Annotation, found: Found | None) -> None:
        """Adds a picture and what was found in it, in any order; None: nothing."""
        labels = annotation.landmarks.astype(np.float64)
        labelled = np.asarray(np.isfinite(labels).all(axis=2))
        distances = self._distances(annotation)
        measured = labelled.any(axis=1) & (distances > 0) & ~annotation.ignored
        self._faces += int(measured.sum())
        if found is None or not measured.any():
            return
        taken = match(found.boxes, found.scores, annotation.boxes, annotation.ignored, self._iou)
        for detection in np.flatnonzero(taken >= 0):
            face = taken[detection]
            if not measured[face]:
                continue
            known = labelled[face]
            offsets = found.landmarks[detection].astype(np.float64)[known] - labels[face][known]
            error = float(np.hypot(offsets[:, 0], offsets[:, 1]).mean() / distances[face])
            if np.isfinite(error):
                self._errors.append(error)

    def result(self) -> LandmarkErrors:
        """Of the pictures added so far."""
        errors = np.sort(np.array(self._errors, np.float64))
        return LandmarkErrors(self._normalisation, self._iou, self._faces, errors)

    def _distances(self, annotation: Annotation) -> NDArray[np.float64]:
        """(N,): what the errors of each face are divided by; NaN where it is unknown."""
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
    """Of the detections that match faces one to one at `iou`, highest score first.

    Pictures belong together as `Pairs` says. Raises ValueError for an `iou` that is not in (0, 1], and for another
    normalisation than NORMALISATIONS.
    """
    tally = LandmarkTally(normalisation, iou)
    for annotation, found in Pairs(annotations, detections):
        tally.add(annotation, found)
    return tally.result()


def add_parser(commands: Commands) -> None:
    """`mtcnn-fast evaluate landmarks`."""
    parser = commands.add_parser(
        "landmarks",
        help="errors of landmarks on an annotated set that has them",
        description="Prints the normalised mean error of landmarks, failures, and the area under the cumulative "
        "distribution of the errors.",
    )
    add_detection_arguments(parser, outside=False)
    add_annotation_arguments(parser)
    parser.add_argument(
        "--normalisation",
        choices=NORMALISATIONS,
        default=INTER_OCULAR,
        help="divide by the distance of the labelled eyes, or by sqrt(width x height) of the labelled box",
    )
    parser.add_argument("--iou", type=float, default=0.4, metavar="T", help="overlap asked of a match")
    parser.add_argument("--limit", type=float, default=0.1, metavar="E", help="an error beyond it is a failure")
    add_output_arguments(parser, "the cumulative distribution", "the figures")
    parser.set_defaults(run=lambda arguments: _run(arguments, parser.error))


def _run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    labels, rows, notes = Problems(), Problems(), Problems()
    limit = arguments.limit
    inputs = (arguments.detections, arguments.coco_images, arguments.annotations, arguments.only)
    try:
        if not 0 < limit < float("inf"):
            raise ValueError(f"limit is {limit}; wanted a finite number of more than 0")
        tally = LandmarkTally(arguments.normalisation, arguments.iou)
        outputs = Outputs(arguments, inputs)
        pairs = Pairs(annotations_of(arguments, labels), detections_of(arguments, rows, notes))
        for annotation, found in pairs:
            tally.add(annotation, found)
        check_usable(arguments.detections, rows, pairs.without_detections < pairs.pictures)
    except FAILURES as reason:
        error(line_of(reason))
    report_reading(labels, rows, notes, pairs)

    result = tally.result()
    if not result.faces:
        error(f"{arguments.annotations} has no face whose landmarks are labelled")
    figures = {
        "normalisation": result.normalisation,
        "iou": result.iou,
        "faces": result.faces,
        "found": result.found,
        "nme": result.nme,
        "limit": limit,
        "failure_rate": result.failure_rate(limit),
        "failure_rate_with_missed": result.failure_rate(limit, missed=True),
        "area": result.area(limit),
        "area_with_missed": result.area(limit, missed=True),
    }
    console.say(f"errors divided by: {result.normalisation}; matched at IoU {result.iou:g}")
    console.say(
        aligned(
            [
                ["", "faces", "NME", f"errors > {limit:g}", "area"],
                ["found", f"{len(result.errors)}", f"{result.nme:.4f}"]
                + [f"{figures[key]:.4f}" for key in ("failure_rate", "area")],
                ["labelled", f"{result.faces}", "-"]
                + [f"{figures[key]:.4f}" for key in ("failure_rate_with_missed", "area_with_missed")],
            ]
        )
    )

    def draw(file: BinaryIO) -> None:
        limits = np.linspace(0, limit, 201)
        plots.cumulative_errors({"found": (limits, result.cumulative(limits), result.area(limit))}, file)

    written = outputs.write(figures, draw)
    return int(bool(rows.count or pairs.without_detections or not written))
