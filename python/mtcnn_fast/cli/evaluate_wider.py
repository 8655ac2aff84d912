"""`mtcnn-fast evaluate wider`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from mtcnn_fast.cli import plots
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.inputs import add_ground_truth_arguments, check_usable, detections_of, refusing
from mtcnn_fast.cli.outputs import Outputs, add_output_arguments
from mtcnn_fast.cli.reports import aligned, report, report_coverage, tell
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Problems
from mtcnn_fast.evaluate.wider import (
    SETS,
    WiderResult,
    evaluate_wider,
    read_published_curves,
    read_wider_ground_truth,
)

# The label of the detections' curves beside published ones.
_OWN = "detections"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate wider`."""
    add_ground_truth_arguments(parser, "DIR", "folder of eval_tools' wider_{easy,medium,hard}_val.mat")
    parser.add_argument(
        "--curves", type=path, metavar="DIR", help="folder of published curves (.mat) to print beside (default: none)"
    )
    add_output_arguments(parser, "the precision-recall curves", "the figures and the curves")


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate wider`. Returns the exit status."""
    problems, refused, notes = Problems(), Problems(), Problems()
    with refusing(error):
        outputs = Outputs(arguments, (arguments.detections, arguments.coco_images))
        published = [] if arguments.curves is None else read_published_curves(arguments.curves, refused, notes)
        ground_truth = read_wider_ground_truth(arguments.ground_truth)
        result = evaluate_wider(detections_of(arguments, problems, notes), ground_truth)
        check_usable(arguments.detections, problems, len(result.coverage.missing) < result.coverage.pictures)
    tell(notes)
    report(refused, "published curves")
    report(problems, "entries of the detections")
    covered = report_coverage(result.coverage)

    curves = [(name, _OWN, curve) for name, curve in result.curves.items()]
    curves += [
        (one.set, f"{one.label} (published)" if one.label == _OWN else one.label, one.curve) for one in published
    ]
    table = [["", *SETS], ["faces", *(f"{result.faces[name]}" for name in SETS)]]
    for label in dict.fromkeys(label for _, label, _ in curves):
        figures = {name: f"{curve.average_precision:.4f}" for name, of, curve in curves if of == label}
        table.append([f"AP, {label}", *(figures.get(name, "-") for name in SETS)])
    console.say(aligned(table))

    def draw(file: BinaryIO) -> None:
        panels: dict[str, dict[str, plots.Curve]] = {name: {} for name in SETS}
        for name, label, curve in curves:
            panels[name][label] = (curve.recall, curve.precision, curve.average_precision)
        plots.precision_recall_panels(panels, file)

    written = outputs.write(_figures(result), draw)
    return int(bool(problems.count or refused.count or not covered or not written))


def _figures(result: WiderResult) -> dict[str, Any]:
    curves = {
        name: {
            "faces": result.faces[name],
            "average_precision": curve.average_precision,
            "precision": curve.precision.tolist(),
            "recall": curve.recall.tolist(),
        }
        for name, curve in result.curves.items()
    }
    return {"sets": curves, **result.coverage.to_dict()}
