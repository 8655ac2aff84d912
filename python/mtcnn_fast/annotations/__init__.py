"""Labelled pictures, as the data sets of face detection give them, one at a time: `read`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from posixpath import splitext

from mtcnn_fast.annotations import backgrounds, celeba, coco, facepoint, voc, wider
from mtcnn_fast.annotations.base import Annotation, Problems, lines, numbers
from mtcnn_fast.checks import described

__all__ = ["FORMATS", "Annotation", "Problems", "read"]

_READERS = {
    "wider": wider.read,
    "voc": voc.read,
    "celeba": celeba.read,
    "facepoint": facepoint.read,
    "coco": coco.read,
    "backgrounds": backgrounds.read,
}
FORMATS: tuple[str, ...] = tuple(_READERS)


def read(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
    only: str | os.PathLike[str] | None = None,
    problems: Problems | None = None,
) -> Iterator[Annotation]:
    """The labelled pictures of a data set, in its order, read as they are asked for.

    * path: the annotation file; for "voc" the folder of XML files, for "backgrounds" the folder of pictures.
    * format: one of FORMATS; None: told from the path, and from the first lines of a text file. "backgrounds" must be
      named: any folder of pictures looks like one.
    * images: the folder of the pictures; None: where the data set keeps it.
    * only: a text file that lists the pictures to take: names or stems, one a line, with their folders or without.
    * problems: is told of every row and file that cannot be used, and of every picture in `only` that did not come;
      None: a warning says how many there were.

    Raises ValueError for a format that is not known or does not fit the file, OSError for a file that cannot be read.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"there are no annotations at {source}")
    if format is None:
        format = _told(source)
    elif format not in _READERS:
        raise ValueError(f"format is {described(format)}; wanted one of {', '.join(FORMATS)}")
    return _read(
        source, format, None if images is None else Path(images), None if only is None else Path(only), problems
    )


def _read(
    path: Path, format: str, images: Path | None, only: Path | None, problems: Problems | None
) -> Iterator[Annotation]:
    noted = Problems(limit=1) if problems is None else problems
    listed = _Listed(only) if only is not None else None
    yield from _READERS[format](path, images, noted, listed.take if listed else lambda _: True)
    if listed is not None:
        listed.report(noted)
    if problems is None and noted.count:
        first = next(iter(noted))
        warnings.warn(f"{noted.count} rows or files of {path} could not be used; the first: {first}", stacklevel=2)


class _Listed:
    """The pictures that a text file lists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = {line.replace("\\", "/"): number for number, line in lines(path)}
        self._seen: set[str] = set()

    def take(self, name: str) -> bool:
        own = name.rpartition("/")[2]
        for key in (name, splitext(name)[0], own, splitext(own)[0]):
            if key in self._lines:
                self._seen.add(key)
                return True
        return False

    def report(self, problems: Problems) -> None:
        for name, line in self._lines.items():
            if name not in self._seen:
                problems.add(self._path, f"there are no annotations of {name}", line)


def _told(path: Path) -> str:
    """The format of a file or a folder. Raises ValueError if nothing tells it."""
    if path.is_dir():
        if (path / celeba.BOXES).is_file():
            return "celeba"
        if any(file.suffix.lower() == ".xml" for file in path.iterdir()):
            return "voc"
    elif path.suffix.lower() in (".mat", ".json", ".xml"):
        return {".mat": "wider", ".json": "coco", ".xml": "voc"}[path.suffix.lower()]
    else:
        first, second = ([line for _, line in islice(lines(path), 2)] + ["", ""])[:2]
        if second.isdecimal():
            return "wider"
        if first.isdecimal() and second.startswith("image_id"):
            return "celeba"
        if _is_row(first):
            return "facepoint"
    raise ValueError(f"nothing tells the format of {path}; format can be {', '.join(FORMATS)}")


def _is_row(line: str) -> bool:
    try:
        return len(numbers(line.rsplit(None, facepoint.NUMBERS)[1:])) == facepoint.NUMBERS
    except ValueError:
        return False
