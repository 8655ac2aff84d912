"""`mtcnn-fast evaluate faces`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from mtcnn_fast.cli import plots
from mtcnn_fast.cli.inputs import Comparison, add_annotation_arguments, add_detection_arguments, refusing
from mtcnn_fast.cli.outputs import Outputs, add_output_arguments
from mtcnn_fast.cli.reports import aligned
from mtcnn_fast.console import console
from mtcnn_fast.evaluate.precision_recall import PrecisionRecall, PrecisionRecallTally


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate faces`."""
    add_detection_arguments(parser, outside=False)
    add_annotation_arguments(parser)
    parser.add_argument("--iou", type=float, nargs="+", default=[0.5], metavar="T", help="least IoU of a match")
    parser.add_argument(
        "--false-positives",
        type=int,
        nargs="*",
        metavar="N",
        help="also print the recall at N false positives (default: no such columns)",
    )
    add_output_arguments(parser, "the curves", "the figures")


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate faces`. Returns the exit status."""
    limits = arguments.false_positives or []
    with refusing(error):
        if min(limits, default=0) < 0:
            raise ValueError(f"a number of false positives is {min(limits)}; wanted 0 or more")
        tallies = [PrecisionRecallTally(iou) for iou in arguments.iou]
        outputs = Outputs(arguments, Comparison.files(arguments))
        comparison = Comparison(arguments)
        comparison.measure(tallies)
    comparison.report()
    if not comparison.pictures:
        error(f"{arguments.annotations} has no pictures")

    results = [tally.compute() for tally in tallies]
    console.say(f"{comparison.pictures} pictures")
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
    return int(not (comparison.whole and written))


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
