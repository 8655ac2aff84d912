"""What the commands of `evaluate` read: annotations, and the detections that belong to them."""

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
"""What reading and measuring may raise, to be told in a line."""


@contextmanager
def refusing(error: Callable[[str], NoReturn]) -> Iterator[None]:
    """Within it, FAILURES end the command by `error`, which is told a line."""
    try:
        yield
    except FAILURES as reason:
        error(line_of(reason))


def add_annotation_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--annotations, --format, --images, --only and --outside."""
    parser.add_argument(
        "--annotations",
        required=required,
        type=path,
        metavar="PATH",
        help="annotation file, or folder of annotation files",
    )
    parser.add_argument(
        "--format", choices=datasets.FORMATS, help="of the annotations (default: detected from the path)"
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
    _add_outside(parser)


def add_detection_arguments(parser: argparse.ArgumentParser, outside: bool = True) -> None:
    """DETECTIONS and what tells how to read them. outside: --outside too, which is else another's to add."""
    if outside:
        _add_outside(parser)
    parser.add_argument("detections", type=path, metavar="DETECTIONS", help="file, folder or archive of detections")
    parser.add_argument(
        "--detections-format",
        choices=detection_files.FORMATS,
        help="of DETECTIONS (default: detected from the content)",
    )
    parser.add_argument(
        "--coco-images",
        type=path,
        metavar="FILE.json",
        help="COCO annotations that name the pictures of COCO's results (default: their ids are their names)",
    )


def add_ground_truth_arguments(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """DETECTIONS, what tells how to read them, and --ground-truth."""
    add_detection_arguments(parser)
    parser.add_argument("--ground-truth", required=True, type=path, metavar=metavar, help=help)


def _add_outside(parser: argparse.ArgumentParser) -> None:
    """--outside, of annotations and of archives of detections."""
    parser.add_argument(
        "--outside",
        action="store_true",
        help="take names that lead out of the folder of the pictures, or of an archive: absolute ones, and ../ "
        "(default: they are refused)",
    )


def annotations_of(arguments: argparse.Namespace, problems: Problems) -> Iterator[Annotation]:
    """The pictures that `add_annotation_arguments` name."""
    return datasets.read(
        arguments.annotations,
        arguments.format,
        images=arguments.images,
        only=arguments.only,
        problems=problems,
        outside=arguments.outside,
    )


def detections_of(arguments: argparse.Namespace, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    """The detections that `add_detection_arguments` name."""
    return read_detections(
        arguments.detections,
        arguments.detections_format,
        images=arguments.coco_images,
        problems=problems,
        notes=notes,
        outside=arguments.outside,
    )


def check_usable(detections: str, problems: Problems, any_used: bool) -> None:
    """Raises ValueError for detections of which nothing could be used: that is no measurement of a detector."""
    if problems.count and not any_used:
        raise ValueError(f"{detections} has no detections that can be used: {next(iter(problems))}")


class Comparison:
    """The annotated pictures and the detections that a command's arguments name. Raises what reading them raises."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._detections = arguments.detections
        self._incomplete = 0
        self._labels, self._rows, self._notes = Problems(), Problems(), Problems()
        self._pairs = annotated_pairs(
            annotations_of(arguments, self._labels), detections_of(arguments, self._rows, self._notes)
        )

    @staticmethod
    def files(arguments: argparse.Namespace) -> tuple[str | None, ...]:
        """The files that a comparison reads, which no output is to replace."""
        return (arguments.detections, arguments.coco_images, arguments.annotations, arguments.only)

    @property
    def pictures(self) -> int:
        """Annotated."""
        return self._pairs.pictures

    @property
    def whole(self) -> bool:
        """Whether every entry of the detections could be used, and every picture has some."""
        return not (self._rows.count or self._pairs.without_detections)

    def measure(self, measures: Sequence[Measure]) -> None:
        """Tells the measures of every picture. Raises what reading raises, and as `check_usable` does."""
        for annotation, detections in self._pairs:
            self._incomplete += not annotation.complete
            for measure in measures:
                measure.update(annotation, detections)
        check_usable(self._detections, self._rows, self._pairs.without_detections < self._pairs.pictures)

    def report(self) -> None:
        """Says on stderr what was noted of annotations, of detections, and of the pairs of both."""
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
