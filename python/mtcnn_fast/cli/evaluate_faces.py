"""`mtcnn-fast evaluate faces`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, NoReturn

from mtcnn_fast.cli import plots
from mtcnn_fast.cli.inputs import (
    Comparison,
    add_annotation_arguments,
    add_detection_arguments,
    check_counts,
    refusing,
)
from mtcnn_fast.cli.outputs import Outputs, add_output_arguments
from mtcnn_fast.cli.reports import aligned
from mtcnn_fast.console import console
from mtcnn_fast.evaluate.matching import Rule
from mtcnn_fast.evaluate.precision_recall import PrecisionRecall, PrecisionRecallTally
from mtcnn_fast.evaluate.recall import FALSE_POSITIVES, SHARE, SizeClass, recall_by_size, recall_intervals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate faces`."""
    add_detection_arguments(parser, outside=False)
    add_annotation_arguments(parser)
    parser.add_argument("--iou", type=float, nargs="+", default=[0.5], metavar="T", help="least IoU of a match")
    parser.add_argument(
        "--ignored-iou",
        type=float,
        metavar="T",
        help="least IoU with an ignored face at which a detection counts neither way (default: that of --iou)",
    )
    parser.add_argument(
        "--near-iou",
        type=float,
        metavar="T",
        help="least IoU with a labelled face at which a detection that does not match counts neither way "
        "(default: it is false)",
    )
    parser.add_argument(
        "--smallest-face", type=float, default=0, metavar="PIXELS", help="ignore faces with a shorter side below this"
    )
    parser.add_argument(
        "--false-positives",
        type=int,
        nargs="*",
        default=list(FALSE_POSITIVES),
        metavar="N",
        help="print the recall at N false positives, with its interval and by the size of faces; none: no such table",
    )
    add_output_arguments(parser, "the curves", "the figures")


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate faces`. Returns the exit status."""
    limits = arguments.false_positives
    with refusing(error):
        check_counts(limits)
        settings = {key: getattr(arguments, key) for key in ("ignored_iou", "near_iou", "smallest_face")}
        tallies = [PrecisionRecallTally(Rule(iou=iou, **settings)) for iou in arguments.iou]
        outputs = Outputs(arguments, Comparison.files(arguments))
        comparison = Comparison(arguments)
        comparison.measure(tallies)
    comparison.report()
    if not comparison.pictures:
        error(f"{arguments.annotations} has no pictures")

    results = [tally.compute() for tally in tallies]
    console.say(f"{comparison.pictures} pictures")
    head = ["IoU", "faces", "recall", "precision", "false", "AP"]
    table = [head]
    for result in results:
        figures = [f"{result.iou:g}", f"{result.faces}", f"{result.recall:.4f}", f"{result.precision:.4f}"]
        table.append([*figures, f"{result.false_positives}", f"{result.average_precision:.4f}"])
    console.say(aligned(table))
    recalls = [_Recalls.of(result, limits) for result in results]
    for result, recall in zip(results, recalls, strict=True):
        if limits and result.faces:
            console.say(f"\nrecall at numbers of false positives, IoU {result.iou:g}")
            console.say(aligned(recall.table()))

    def draw(file: BinaryIO) -> None:
        curves = {
            f"IoU {result.iou:g}": (result.recalls, result.precisions, result.average_precision) for result in results
        }
        plots.precision_recall(curves, file)

    figures_of = [_figures(result) | recall.figures() for result, recall in zip(results, recalls, strict=True)]
    written = outputs.write(figures_of, draw)
    return int(not (comparison.whole and written))


def _figures(result: PrecisionRecall) -> dict[str, Any]:
    return {
        **asdict(result.rule),
        "faces": result.faces,
        "recall": result.recall,
        "precision": result.precision,
        "false_positives": result.false_positives,
        "average_precision": result.average_precision,
    }


@dataclass(frozen=True, slots=True)
class _Recalls:
    """Recall at numbers of false positives, the last of which is infinity: all detections count."""

    false_positives: list[int]
    faces: int
    recalls: list[float]
    intervals: list[tuple[float, float]]
    classes: list[SizeClass]

    @classmethod
    def of(cls, result: PrecisionRecall, false_positives: list[int]) -> _Recalls:
        counts = [*false_positives, math.inf]
        recalls = [result.recall_at(n) for n in counts]
        return cls(
            false_positives, result.faces, recalls, recall_intervals(result, counts), recall_by_size(result, counts)
        )

    def table(self) -> list[list[str]]:
        def row(label: str, faces: str, shares: Iterable[float]) -> list[str]:
            return [label, faces, *(f"{share:.4f}" for share in shares)]

        lows, highs = zip(*self.intervals, strict=True)
        return [
            ["shorter side", "faces", *map(str, self.false_positives), "any"],
            row("all", f"{self.faces}", self.recalls),
            row(f"{SHARE:.0%} from", "", lows),
            row("to", "", highs),
            *(row(_sides(one), f"{one.faces}", one.recalls) for one in self.classes),
        ]

    def figures(self) -> dict[str, Any]:
        names = list(map(str, self.false_positives))
        return {
            "recall_interval": self.intervals[-1],
            "recall_at_false_positives": dict(zip(names, self.recalls[:-1], strict=True)),
            "recall_intervals_at_false_positives": dict(zip(names, self.intervals[:-1], strict=True)),
            "sizes": [
                {
                    "least": one.least,
                    "below": None if math.isinf(one.below) else one.below,
                    "faces": one.faces,
                    "recall": one.recalls[-1],
                    "recall_at_false_positives": dict(zip(names, one.recalls[:-1], strict=True)),
                }
                for one in self.classes
            ],
        }


def _sides(one: SizeClass) -> str:
    return f"{one.least:g} and more" if math.isinf(one.below) else f"{one.least:g} to {one.below:g}"
