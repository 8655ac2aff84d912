"""`mtcnn-fast evaluate detect`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NoReturn

from mtcnn_fast.cli import reports, searching
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.detect import items_of, lead_nowhere
from mtcnn_fast.cli.inputs import add_annotation_arguments, annotations_of
from mtcnn_fast.datasets import Problems
from mtcnn_fast.detecting import Item
from mtcnn_fast.finding import PassedOver
from mtcnn_fast.writing import line_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate detect`."""
    parser.add_argument("paths", nargs="*", type=path, metavar="PATH", help="picture, or folder to search to any depth")
    add_annotation_arguments(parser, measured=False)
    searching.add_json(parser, "file of detections to write, or to go on with", required=True)
    searching.add_arguments(parser)


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate detect`. Returns the exit status."""
    if bool(arguments.paths) == (arguments.annotations is not None):
        error("wanted either PATHs or --annotations")
    try:
        if arguments.annotations is not None:
            annotations_of(arguments, Problems())
    except (OSError, ValueError) as reason:
        error(line_of(reason))
    sources = (arguments.annotations, arguments.images, arguments.only)
    kind = searching.kind_of(arguments.json, None, "", error)
    nowhere = arguments.annotations is None and lead_nowhere(arguments.paths)
    job = searching.Job(
        items=items_of(arguments.paths, below=True) if arguments.paths else _annotated(arguments),
        inputs=[*arguments.paths, *filter(None, sources)],
        output=None if nowhere else arguments.json,
        kind=kind,
        resume=not nowhere,
        pipes=bool(arguments.paths),
    )
    return searching.run(arguments, job, error)


def _annotated(arguments: argparse.Namespace) -> searching.Items:
    """The pictures of an annotated set. Problems of its labels do not affect detection, so they are only reported."""

    def items(report: Callable[[str, str], object], passed_over: PassedOver) -> Iterator[Item]:
        labels = Problems()
        for annotation in annotations_of(arguments, labels):
            yield Item(annotation.name, str(annotation.path), annotation.name)
        reports.report(labels, "entries of the annotations")

    return items
