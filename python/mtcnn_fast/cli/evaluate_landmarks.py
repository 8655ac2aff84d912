"""`mtcnn-fast evaluate landmarks`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import BinaryIO, NoReturn

import numpy as np

from mtcnn_fast.cli import plots
from mtcnn_fast.cli.inputs import Comparison, add_annotation_arguments, add_detection_arguments, refusing
from mtcnn_fast.cli.outputs import Outputs, add_output_arguments
from mtcnn_fast.cli.reports import aligned
from mtcnn_fast.console import console
from mtcnn_fast.evaluate.landmarks import INTER_OCULAR, NORMALISATIONS, LandmarkTally


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate landmarks`."""
    add_detection_arguments(parser, outside=False)
    add_annotation_arguments(parser)
    parser.add_argument(
        "--normalisation",
        choices=NORMALISATIONS,
        default=INTER_OCULAR,
        help="divide errors by the distance of the labelled eyes, or by sqrt(width x height) of the labelled box",
    )
    parser.add_argument("--iou", type=float, default=0.4, metavar="T", help="least IoU of a match")
    parser.add_argument("--limit", type=float, default=0.1, metavar="E", help="a larger error is a failure")
    add_output_arguments(parser, "the cumulative distribution", "the figures")


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate landmarks`. Returns the exit status."""
    limit = arguments.limit
    with refusing(error):
        if not 0 < limit < float("inf"):
            raise ValueError(f"limit is {limit}; wanted a finite number of more than 0")
        tally = LandmarkTally(arguments.normalisation, arguments.iou)
        outputs = Outputs(arguments, Comparison.files(arguments))
        comparison = Comparison(arguments)
        comparison.measure([tally])
    comparison.report()

    result = tally.compute()
    if not result.faces:
        error(f"{arguments.annotations} has no face whose landmarks are labelled")
    figures = {
        "normalisation": result.normalisation,
        "iou": result.iou,
        "faces": result.faces,
        "found": result.found_share,
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
    return int(not (comparison.whole and written))
