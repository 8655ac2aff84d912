"""Precision and recall of detections on any annotated set, and `mtcnn-fast evaluate faces`."""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, Protocol

import numpy as np

from mtcnn_fast.arguments import Commands
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Annotation, Problems
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
from mtcnn_fast.evaluate.matching import FALSE, NEITHER, checked_iou, match
from mtcnn_fast.evaluate.outputs import Outputs, add_output_arguments
from mtcnn_fast.writing import line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Found(Protocol):
    """The detections in one picture: `PictureDetections`, or the detector's own `Detections`."""

    @property
    def boxes(self) -> NDArray[np.float32]: ...
    @property
    def scores(self) -> NDArray[Any]: ...
    @property
    def landmarks(self) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """What a detector finds at each threshold of its score. Detections of one score stand or fall together."""

    iou: float
    """Asked of a match."""
    faces: int
    """That count: labelled and not ignored."""
    scores: NDArray[np.float64]
    """(K,): the distinct scores, highest first."""
    found: NDArray[np.int64]
    """(K,): faces found by detections of that score and more."""
    false: NDArray[np.int64]
    """(K,): false positives among the detections of that score and more."""

    @property
    def recalls(self) -> NDArray[np.float64]:
        """(K,): the share of the faces found, at each score; NaN if there are no faces."""
        return np.asarray(self.found / self.faces) if self.faces else np.full(len(self.found), np.nan)

    @property
    def precisions(self) -> NDArray[np.float64]:
        """(K,): the share of the detections that are faces, at each score."""
        return np.asarray(self.found / (self.found + self.false))

    @property
    def recall(self) -> float:
        """Of all detections; NaN if there are no faces."""
        return _ratio(int(self.found[-1]) if len(self.found) else 0, self.faces)

    @property
    def precision(self) -> float:
        """Of all detections; NaN if there are none."""
        return float(self.precisions[-1]) if len(self.scores) else float("nan")

    @property
    def false_positives(self) -> int:
        """Among all detections."""
        return int(self.false[-1]) if len(self.false) else 0

    @property
    def average_precision(self) -> float:
        """The area under the envelope of the curve; NaN if there are no faces."""
        return average_precision(self.precisions, self.recalls) if self.faces else float("nan")

    def recall_at(self, false_positives: int) -> float:
        """At the lowest score that has no more false positives than that; NaN if there are no faces."""
        below = int(np.searchsorted(self.false, false_positives, side="right"))
        return _ratio(int(self.found[below - 1]) if below else 0, self.faces)


def average_precision(precisions: NDArray[np.float64], recalls: NDArray[np.float64]) -> float:
    """The area under the envelope: at each recall the best precision there or beyond.

    precisions, recalls: (K,), recall ascending. As PASCAL VOC computes it since 2010 (Everingham et al., The PASCAL
    Visual Object Classes Challenge: A Retrospective, 2015); beyond the last recall it counts 0.
    """
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    return float((np.diff(recalls, prepend=0.0) * envelope).sum())


class PrecisionRecallTally:
    """Collects the pictures of a set, of which it keeps nine bytes a detection."""

    def __init__(self, iou: float = 0.5) -> None:
        self._iou = checked_iou(iou)
        self._faces = 0
        self._scores = array("d")
        self._true = bytearray()

    def add(self, annotation: Annotation, found: Found | None) -> None:
        """Adds a picture and what was found in it, in any order; None: nothing.

        Where a label is lost (`complete` is False), what is no labelled face counts neither way.
        """
        self._faces += int((~annotation.ignored).sum())
        if found is None or not len(found.boxes):
            return
        taken = match(found.boxes, found.scores, annotation.boxes, annotation.ignored, self._iou)
        counts = (taken != NEITHER) & (annotation.complete | (taken != FALSE))
        self._scores.frombytes(found.scores[counts].astype(np.float64).tobytes())
        self._true += (taken[counts] != FALSE).tobytes()

    def result(self) -> PrecisionRecall:
        """Of the pictures added so far."""
        scores, true = np.array(self._scores, np.float64), np.array(self._true, np.bool_)
        order = np.argsort(-scores, kind="stable")
        scores, found = scores[order], np.cumsum(true[order], dtype=np.int64)
        false = np.arange(1, len(scores) + 1) - found
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, np.intp)
        return PrecisionRecall(self._iou, self._faces, scores[last], found[last], false[last])


def precision_recall(
    annotations: Iterable[Annotation], detections: Iterable[PictureDetections], iou: float = 0.5
) -> PrecisionRecall:
    """Of detections on annotations, one to one at `iou`, highest score first; ignored faces count neither way.

    Pictures belong together as `Pairs` says; in one without detections nothing was found, and detections in a picture
    without annotations are left out. Raises ValueError for an `iou` that is not in (0, 1], and as `Pairs` does.
    """
    tally = PrecisionRecallTally(iou)
    for annotation, found in Pairs(annotations, detections):
        tally.add(annotation, found)
    return tally.result()


def add_parser(commands: Commands) -> None:
    """`mtcnn-fast evaluate faces`."""
    parser = commands.add_parser(
        "faces",
        help="precision and recall on any annotated set",
        description="Prints precision, recall and average precision of detections on an annotated set.",
    )
    add_detection_arguments(parser, outside=False)
    add_annotation_arguments(parser)
    parser.add_argument("--iou", type=float, nargs="+", default=[0.5], metavar="T", help="overlap asked of a match")
    parser.add_argument(
        "--false-positives",
        type=int,
        nargs="*",
        metavar="N",
        help="print recall at so many of them (default: no such columns)",
    )
    add_output_arguments(parser, "the curves", "the figures")
    parser.set_defaults(run=lambda arguments: _run(arguments, parser.error))


def _run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    labels, rows, notes = Problems(), Problems(), Problems()
    limits = arguments.false_positives or []
    inputs = (arguments.detections, arguments.coco_images, arguments.annotations, arguments.only)
    try:
        if min(limits, default=0) < 0:
            raise ValueError(f"a number of false positives is {min(limits)}; wanted 0 or more")
        tallies = [PrecisionRecallTally(iou) for iou in arguments.iou]
        outputs = Outputs(arguments, inputs)
        pairs = Pairs(annotations_of(arguments, labels), detections_of(arguments, rows, notes))
        for annotation, found in pairs:
            for tally in tallies:
                tally.add(annotation, found)
        check_usable(arguments.detections, rows, pairs.without_detections < pairs.pictures)
    except FAILURES as reason:
        error(line_of(reason))
    report_reading(labels, rows, notes, pairs)
    if not pairs.pictures:
        error(f"{arguments.annotations} has no pictures")

    results = [tally.result() for tally in tallies]
    console.say(f"{pairs.pictures} pictures")
    head = ["IoU", "faces", "recall", "precision", "false", "AP"]
    table = [head + [f"recall@{n}" for n in limits]]
    for result in results:
        shares = [result.recall_at(n) for n in limits]
        figures = [f"{result.iou:g}", f"{result.faces}", f"{result.recall:.4f}", f"{result.precision:.4f}"]
        table.append(
            [*figures, f"{result.false_positives}", f"{result.average_precision:.4f}", *(f"{s:.4f}" for s in shares)]
        )
    console.say(aligned(table))

    def draw(file: BinaryIO) -> None:
        curves = {
            f"IoU {result.iou:g}": (result.recalls, result.precisions, result.average_precision) for result in results
        }
        plots.precision_recall(curves, file)

    written = outputs.write([_figures(result, limits) for result in results], draw)
    return int(bool(rows.count or pairs.without_detections or not written))


def _figures(result: PrecisionRecall, false_positives: list[int]) -> dict[str, Any]:
    return {
        "iou": result.iou,
        "faces": result.faces,
        "recall": result.recall,
        "precision": result.precision,
        "false_positives": result.false_positives,
        "average_precision": result.average_precision,
        "recall_at_false_positives": {str(n): result.recall_at(n) for n in false_positives},
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
