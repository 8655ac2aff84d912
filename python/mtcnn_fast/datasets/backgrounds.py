"""A folder of pictures without faces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtcnn_fast.datasets.base import Faces, Part, Parts, Reading
from mtcnn_fast.finding import find
from mtcnn_fast.reading import suffixes
from mtcnn_fast.writing import reason


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """Every picture at any depth, in the order of the names. A picture's name is its path below the folder."""
    if images is not None:
        raise ValueError("images is given; wanted none: the path of backgrounds is the folder of their pictures")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a folder of pictures")
    return lambda reading: _parts(path, reading)


def _parts(folder: Path, reading: Reading) -> Iterator[Part]:
    def report(error: OSError) -> None:
        reading.problems.add(error.filename, reason(error))

    for file in find([str(folder)], suffixes(), report=report, passed_over=reading.passed_over):
        if reading.wanted(file.below):
            path = Path(file.path)
            yield Part(file.below, path, Faces(), path)
