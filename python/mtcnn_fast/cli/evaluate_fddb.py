"""`mtcnn-fast evaluate fddb`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NoReturn

from mtcnn_fast.cli import plots
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.inputs import add_ground_truth_arguments, check_counts, check_usable, detections_of, refusing
from mtcnn_fast.cli.outputs import Outputs, add_output_arguments
from mtcnn_fast.cli.reports import aligned, report, report_coverage, tell
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Problems
from mtcnn_fast.evaluate.fddb import (
    LARGEST_SIDE,
    FddbResult,
    evaluate_fddb,
    read_fddb_ground_truth,
    read_fddb_sizes,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate fddb`."""
    add_ground_truth_arguments(parser, "PATH", "list of ellipses, or folder of FDDB-fold-*-ellipseList.txt")
    parser.add_argument(
        "--images",
        type=path,
        metavar="DIR",
        help="folder of FDDB's pictures, at whose borders regions end (default: 450 x 450 pixels each)",
    )
    parser.add_argument(
        "--false-positives",
        type=int,
        nargs="+",
        default=[50, 100, 200, 500, 1000, 2000],
        metavar="N",
        help="print the rates at N false positives; the plot ends at the greatest N",
    )
    add_output_arguments(parser, "the curves", "the figures and the curves")


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate fddb`. Returns the exit status."""
    problems, unread, notes = Problems(), Problems(), Problems()
    counts = sorted(arguments.false_positives)
    with refusing(error):
        check_counts(counts)
        outputs = Outputs(arguments, (arguments.detections, arguments.coco_images, arguments.ground_truth))
        ground_truth = read_fddb_ground_truth(arguments.ground_truth, notes)
        sizes = None
        if arguments.images is not None:
            sizes = read_fddb_sizes(arguments.images, ground_truth.names, unread, notes)
            if not sizes:
                raise FileNotFoundError(next(iter(unread), f"{arguments.images} has no pictures"))
            sizes = dict.fromkeys(ground_truth.names, (LARGEST_SIDE, LARGEST_SIDE)) | sizes
        result = evaluate_fddb(detections_of(arguments, problems, notes), ground_truth, sizes)
        check_usable(arguments.detections, problems, len(result.coverage.missing) < result.coverage.pictures)
    tell(notes)
    report(unread, f"pictures, whose regions end at {LARGEST_SIDE} x {LARGEST_SIDE} pixels,")
    report(problems, "entries of the detections")
    covered = report_coverage(result.coverage)

    end = int(result.false_positives.max(initial=0))
    console.say(f"{result.coverage.pictures} pictures, {result.faces} faces; {end} false positives in all")
    rates = [result.at(count) for count in counts]
    table = [["false positives", *map(str, counts)]]
    for name, values in zip(("discrete", "continuous"), zip(*rates, strict=True), strict=True):
        table.append([name, *(f"{value:.4f}" for value in values)])
    console.say(aligned(table))

    def draw(file: BinaryIO) -> None:
        x, limit = result.false_positives, min(counts[-1], end)
        panels = {
            name: {"detections": (x, y, value)}
            for name, y, value in zip(
                ("discrete", "continuous"), (result.discrete, result.continuous), result.at(limit), strict=True
            )
        }
        plots.roc(panels, limit, file)

    written = outputs.write(_figures(result, counts), draw)
    return int(bool(problems.count or unread.count or not covered or not written))


def _figures(result: FddbResult, counts: Sequence[int]) -> dict[str, Any]:
    names = ("discrete", "continuous")
    return {
        "faces": result.faces,
        "at": [{"false_positives": n, **dict(zip(names, result.at(n), strict=True))} for n in counts],
        "scores": result.scores.tolist(),
        "false_positives": result.false_positives.tolist(),
        "discrete": result.discrete.tolist(),
        "continuous": result.continuous.tolist(),
        **result.coverage.to_dict(),
    }
