"""Inputs of the commands of `evaluate`: annotations, and the detections that belong to them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from mtcnn_fast import datasets
from mtcnn_fast.cli import reports
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.evaluate import detection_files
from mtcnn_fast.evaluate.detection_files import PictureDetections, read_detections
from mtcnn_fast.evaluate.measures import Measure
from mtcnn_fast.evaluate.pairs import annotated_pairs
from mtcnn_fast.writing import line_of

FAILURES = (ImportError, MemoryError, OSError, RuntimeError, ValueError)
"""The exceptions of reading and measuring that are reported in a line."""


@contextmanager
def refusing(error: Callable[[str], NoReturn]) -> Iterator[None]:
    """Ends the command by `error`, with a line, if its block raises one of FAILURES."""
    try:
        yield
    except FAILURES as reason:
        error(line_of(reason))


def add_annotation_arguments(parser: argparse.ArgumentParser, measured: bool = True) -> None:
    """Adds --annotations, --format, --images, --only and --outside. measured: labels matter, so annotations are
    required, and --ignored is added."""
    parser.add_argument(
        "--annotations",
        required=measured,
        type=path,
        metavar="PATH",
        help="annotation file, or folder of annotation files",
    )
    parser.add_argument(
        "--format", choices=datasets.FORMATS, help="format of the annotations (default: detected from the path)"
    )
    parser.add_argument(
        "--images",
        type=path,
        metavar="DIR",
        help="folder of the pictures (default: where the data set keeps them)",
    )
    parser.add_argument(
        "--only", type=path, metavar="FILE", help="text file that lists the pictures to take (default: all are taken)"
    )
    if measured:
        parser.add_argument(
            "--ignored",
            type=path,
            metavar="FILE.json",
            help="boxes that are ignored beside the labelled ones: {picture: [[x1, y1, x2, y2], ...]} (default: none)",
        )
    _add_outside(parser)


def add_detection_arguments(parser: argparse.ArgumentParser, outside: bool = True) -> None:
    """Adds DETECTIONS and the options for reading them. outside: also adds --outside, unless another function does."""
    if outside:
        _add_outside(parser)
    parser.add_argument("detections", type=path, metavar="DETECTIONS", help="file, folder or archive of detections")
    parser.add_argument(
        "--detections-format",
        choices=detection_files.FORMATS,
        help="format of DETECTIONS (default: detected from the content)",
    )
    parser.add_argument(
        "--coco-images",
        type=path,
        metavar="FILE.json",
        help="COCO annotations that name the pictures of COCO's results (default: the ids are the names)",
    )


def add_ground_truth_arguments(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """Adds DETECTIONS, the options for reading them, and --ground-truth."""
    add_detection_arguments(parser)
    parser.add_argument("--ground-truth", required=True, type=path, metavar=metavar, help=help)


def _add_outside(parser: argparse.ArgumentParser) -> None:
    """Adds --outside, for annotations and for archives of detections."""
    parser.add_argument(
        "--outside",
        action="store_true",
        help="take names that lead out of the folder of the pictures, or out of an archive: absolute names, and ../ "
        "(default: they are refused)",
    )


def annotations_of(arguments: argparse.Namespace, problems: Problems) -> Iterator[Annotation]:
    """The pictures that the arguments of `add_annotation_arguments` name."""
    return datasets.read(
        arguments.annotations,
        arguments.format,
        images=arguments.images,
        only=arguments.only,
        ignored=getattr(arguments, "ignored", None),
        problems=problems,
        outside=arguments.outside,
    )


def detections_of(arguments: argparse.Namespace, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    """The detections that the arguments of `add_detection_arguments` name."""
    return read_detections(
        arguments.detections,
        arguments.detections_format,
        images=arguments.coco_images,
        problems=problems,
        notes=notes,
        outside=arguments.outside,
    )


def check_counts(false_positives: Sequence[int]) -> None:
    """Raises ValueError for a negative number of false positives."""
    if min(false_positives, default=0) < 0:
        raise ValueError(f"a number of false positives is {min(false_positives)}; wanted 0 or more")


def check_usable(detections: str, problems: Problems, any_used: bool) -> None:
    """Raises ValueError if no detections could be used, because figures would then measure no detector."""
    if problems.count and not any_used:
        raise ValueError(f"{detections} has no detections that can be used: {next(iter(problems))}")


class Comparison:
    """The annotated pictures and the detections that a command's arguments name. Raises errors as their readers do."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._detections = arguments.detections
        self._incomplete = 0
        self._labels, self._rows, self._notes = Problems(), Problems(), Problems()
        self._pairs = annotated_pairs(
            annotations_of(arguments, self._labels), detections_of(arguments, self._rows, self._notes)
        )

    @staticmethod
    def files(arguments: argparse.Namespace) -> tuple[str | None, ...]:
        """The files that a comparison reads, which no output may replace."""
        return tuple(
            getattr(arguments, name) for name in ("detections", "coco_images", "annotations", "only", "ignored")
        )

    @property
    def pictures(self) -> int:
        """The number of annotated pictures."""
        return self._pairs.pictures

    @property
    def whole(self) -> bool:
        """Whether every entry of the detections could be used, and every picture has detections."""
        return not (self._rows.count or self._pairs.without_detections)

    def measure(self, measures: Sequence[Measure]) -> None:
        """Gives every picture to the measures. Raises errors as the readers and `check_usable` do."""
        for annotation, detections in self._pairs:
            self._incomplete += not annotation.complete
            for measure in measures:
                measure.update(annotation, detections)
        check_usable(self._detections, self._rows, self._pairs.without_detections < self._pairs.pictures)

    def report(self) -> None:
        """Prints on stderr the problems of annotations, of detections, and of their pairs."""
        reports.tell(self._notes)
        reports.report(self._labels, "entries of the annotations")
        reports.report(self._rows, "entries of the detections")
        for count, what in (
            (self._pairs.without_detections, "annotated pictures have no detections: none found"),
            (self._pairs.without_labels, "pictures with detections have no annotations: left out"),
            (self._incomplete, reports.INCOMPLETE),
        ):
            if count:
                console.complain(f"{count} {what}")
