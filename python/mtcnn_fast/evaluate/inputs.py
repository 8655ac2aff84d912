"""What the commands of this package read: annotations, and the detections that belong to them."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from posixpath import splitext
from typing import TYPE_CHECKING, overload

from mtcnn_fast.annotations import FORMATS, Annotation, Problems, read

if TYPE_CHECKING:
    from mtcnn_fast.evaluate.detection_files import PictureDetections


class Pairs:
    """Iterates over annotations and the detections of each picture, or None where there are none.

    A picture goes by its name in the annotations; in the detections its suffix may be left out, and there may be
    folders before it. Detections in the order of the annotations are read as they are needed; others wait in memory
    until their picture comes. Where a name comes several times, the detections are taken in turn.

    Raises ValueError, at the end, if there were detections but none for an annotated picture.
    """

    def __init__(self, annotations: Iterable[Annotation], detections: Iterable[PictureDetections]) -> None:
        self._annotations = annotations
        self._detections = iter(detections)
        self._waiting: defaultdict[str, list[PictureDetections]] = defaultdict(list)
        self.pictures = 0
        """Annotated, so far."""
        self.without_detections = 0
        """Annotated pictures, so far, that have none."""
        self.without_annotations = 0
        """Pictures with detections that no annotation named: known at the end."""

    def __iter__(self) -> Iterator[tuple[Annotation, PictureDetections | None]]:
        name = None
        for annotation in self._annotations:
            name = annotation.name
            found = self._take(name)
            self.pictures += 1
            self.without_detections += found is None
            yield annotation, found
        left = chain(chain.from_iterable(self._waiting.values()), self._detections)
        unknown = next(left, None)
        if unknown is None:
            return
        self.without_annotations = 1 + sum(1 for _ in left)
        if name is not None and self.without_detections == self.pictures:
            raise ValueError(
                f"none of the pictures with detections is annotated: {unknown.name!r} is not; "
                f"the annotations have names such as {name!r}"
            )

    def _take(self, name: str) -> PictureDetections | None:
        ends = (f"/{name}", f"/{splitext(name)[0]}")
        queue = self._waiting.get(_key(name), [])
        for index, found in enumerate(queue):
            if f"/{found.name}".endswith(ends):
                return queue.pop(index)
        for found in self._detections:
            if f"/{found.name}".endswith(ends):
                return found
            self._waiting[_key(found.name)].append(found)
        return None

    def report(self) -> None:
        """Says on stderr what had no counterpart."""
        if self.without_detections:
            print(f"{self.without_detections} annotated pictures have no detections: none found", file=sys.stderr)
        if self.without_annotations:
            print(f"{self.without_annotations} pictures with detections have no annotations: left out", file=sys.stderr)


def _key(name: str) -> str:
    """What a name with a suffix and folders, or without, has in common."""
    return name.rpartition("/")[2].partition(".")[0]


def add_annotation_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--annotations, --format, --images and --only."""
    parser.add_argument(
        "--annotations", required=required, metavar="PATH", help="annotation file, or folder of annotation files"
    )
    parser.add_argument("--format", choices=FORMATS, help="of the annotations; None: told from the path")
    parser.add_argument("--images", metavar="DIR", help="folder of the pictures; None: where the data set keeps them")
    parser.add_argument("--only", metavar="FILE", help="text file that lists the pictures to take; None: all")


def annotations_of(arguments: argparse.Namespace, problems: Problems) -> Iterator[Annotation]:
    """What the arguments above name."""
    return read(
        arguments.annotations, arguments.format, images=arguments.images, only=arguments.only, problems=problems
    )


def report(problems: Problems, what: str) -> None:
    """Lists problems on stderr, of `what`, such as "rows of the annotations"."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems.count:
        print(f"{problems.count} {what} could not be used", file=sys.stderr)


@overload
def checked_destination(path: str) -> Path: ...
@overload
def checked_destination(path: str | None) -> Path | None: ...
def checked_destination(path: str | None) -> Path | None:
    """The path of a file to write.

    Raises FileNotFoundError, before any work is done, if it has no folder, and IsADirectoryError if it is one.
    """
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder for {path}")
    if path is not None and Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; wanted the name of a file")
    return None if path is None else Path(path)


def write_json(path: Path, figures: object) -> None:
    """Writes numbers, and lists and mappings of them, in a line; null for NaN, which JSON does not have."""
    path.write_text(json.dumps(_without_nan(figures)) + "\n")


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if value != value else value


def aligned(rows: list[list[str]]) -> str:
    """A table whose columns are as wide as they must be, right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
