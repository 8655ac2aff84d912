"""What the commands of this package read: annotations, and the detections that belong to them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mtcnn_fast.arguments import path
from mtcnn_fast.console import console, shown
from mtcnn_fast.datasets import FORMATS, Annotation, Problems, read
from mtcnn_fast.evaluate.pairing import Pairing

if TYPE_CHECKING:
    from mtcnn_fast.evaluate.detection_files import PictureDetections

FAILURES = (ImportError, MemoryError, OSError, RuntimeError, ValueError)
"""What reading and measuring may raise, to be told in a line."""


class Pairs:
    """Iterates over annotations and the detections of each picture, or None where there are none.

    They belong together as `Pairing` says, which also says what comes when, and what is refused.

    Raises ValueError, at the end, if there were detections but none for an annotated picture.
    """

    def __init__(self, annotations: Iterable[Annotation], detections: Iterable[PictureDetections]) -> None:
        self._annotations = annotations
        self._detections = detections
        self._unknown: str | None = None
        self.pictures = 0
        """Annotated, so far."""
        self.incomplete = 0
        """Annotated pictures, so far, of which a label is lost."""
        self.without_detections = 0
        """Annotated pictures, so far, that have none."""
        self.without_annotations = 0
        """Pictures with detections that no annotation named: known at the end."""

    def __iter__(self) -> Iterator[tuple[Annotation, PictureDetections | None]]:
        labelled = ((annotation.name, annotation) for annotation in self._annotations)
        detected = ((found.name, found) for found in self._detections)
        # The first by the alphabet, whatever the order they come in.
        name: str | None = None
        for annotation, found in Pairing(labelled, detected, self._note):
            name = annotation.name if name is None else min(name, annotation.name)
            self.pictures += 1
            self.incomplete += not annotation.complete
            self.without_detections += found is None
            yield annotation, found
        if self._unknown is not None and name is not None and self.without_detections == self.pictures:
            raise ValueError(
                f"none of the pictures with detections is annotated: {self._unknown!r} is not; "
                f"the annotations have names such as {name!r}"
            )

    def _note(self, unknown: str) -> None:
        self._unknown = unknown if self._unknown is None else min(self._unknown, unknown)
        self.without_annotations += 1

    def report(self) -> None:
        """Says on stderr what had no counterpart, and what had not all its labels."""
        for count, what in (
            (self.without_detections, "annotated pictures have no detections: none found"),
            (self.without_annotations, "pictures with detections have no annotations: left out"),
            (self.incomplete, INCOMPLETE),
        ):
            if count:
                console.complain(f"{count} {what}")


INCOMPLETE = "pictures have lost a label: what is found there and is no labelled face counts neither way"
"""What is said of pictures whose annotations are not complete."""


def add_annotation_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--annotations, --format, --images, --only and --outside."""
    parser.add_argument(
        "--annotations",
        required=required,
        type=path,
        metavar="PATH",
        help="annotation file, or folder of annotation files",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the annotations (default: detected from the path)")
    parser.add_argument(
        "--images",
        type=path,
        metavar="DIR",
        help="folder of the pictures (default: where the data set keeps them)",
    )
    parser.add_argument(
        "--only", type=path, metavar="FILE", help="text file that lists the pictures to take (default: all are taken)"
    )
    add_outside(parser)


def add_outside(parser: argparse.ArgumentParser) -> None:
    """--outside, of annotations and of archives of detections."""
    parser.add_argument(
        "--outside",
        action="store_true",
        help="take names that lead out of the folder of the pictures, or of an archive: absolute ones, and ../ "
        "(default: they are refused)",
    )


def annotations_of(arguments: argparse.Namespace, problems: Problems) -> Iterator[Annotation]:
    """What the arguments above name."""
    return read(
        arguments.annotations,
        arguments.format,
        images=arguments.images,
        only=arguments.only,
        problems=problems,
        outside=arguments.outside,
    )


def report(problems: Problems, what: str) -> None:
    """Lists problems on stderr, of `what`, such as "entries of the annotations", and counts them."""
    tell(problems)
    if problems.count:
        console.complain(f"{problems.count} {what} could not be used")


def tell(notes: Problems) -> None:
    """Lists them on stderr, as many as are kept."""
    listed = 0
    for note in notes:
        console.complain(shown(note))
        listed += 1
    if listed and listed < notes.count:
        console.complain(f"... and {notes.count - listed} more")


def report_reading(labels: Problems, rows: Problems, notes: Problems, pairs: Pairs) -> None:
    """Says on stderr what was noted of annotations, of detections, and of the pairs of both."""
    tell(notes)
    report(labels, "entries of the annotations")
    report(rows, "entries of the detections")
    pairs.report()


def check_usable(detections: str, problems: Problems, found: bool) -> None:
    """Raises ValueError for detections of which nothing could be used: that is no measurement of a detector."""
    if problems.count and not found:
        raise ValueError(f"{detections} has no detections that can be used: {next(iter(problems))}")


def aligned(rows: list[list[str]]) -> str:
    """A table whose columns are as wide as they must be, right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
