"""The lists of CNN_FacePoint (Sun, Wang, Tang: Deep Convolutional Network Cascade for Facial Point Detection, 2013)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mtcnn_fast.datasets.base import Faces, Part, Parts, Problems, Reading
from mtcnn_fast.datasets.fields import Points, numbers, points, quoted
from mtcnn_fast.datasets.limits import lines
from mtcnn_fast.datasets.pictures import Pictures, picture_folder, picture_name

_BOX = 4
# The numbers of a box, and two for each of five points.
_NUMBERS = 14

# A path may have spaces, but ends with a suffix.
_PATH = re.compile(r".*?\.[A-Za-z]\w*(?=\s|$)")


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """One face per row: the picture's path, `x1 x2 y1 y2`, and left eye, right eye, nose, mouth corners as `x y`.

    A picture with several faces has several rows.
    """
    pictures = picture_folder(images, outside, path.parent)
    return lambda reading: _parts(path, pictures, reading)


def several(path: Path) -> Counter[str]:
    """The pictures with rows of different faces, and how many rows each has."""
    first: dict[str, int] = {}
    counts: Counter[str] = Counter()
    differing = set()
    for _, line in lines(path):
        with suppress(ValueError):
            text, fields = split(line)
            name, row = picture_name(text), hash(tuple(fields))
            counts[name] += 1
            if first.setdefault(name, row) != row:
                differing.add(name)
    return Counter({name: counts[name] for name in differing})


def is_row(line: str) -> bool:
    """Whether a line can be a row of such a list."""
    try:
        return len(numbers(split(line)[1])) == _NUMBERS
    except ValueError:
        return False


def split(line: str) -> tuple[str, list[str]]:
    """The path, and the fields after it. Raises ValueError if the end of the path cannot be found."""
    path, *fields = line.rsplit(None, _NUMBERS)
    if len(fields) == _NUMBERS and _PATH.fullmatch(path):
        return path, fields
    begins = _PATH.match(line)
    if begins is not None:
        return begins[0], line[begins.end() :].split()
    if len(fields) == _NUMBERS:
        return path, fields
    raise ValueError(f"{quoted(line)} has no path of a picture, with {_NUMBERS} numbers after it")


def _parts(path: Path, pictures: Pictures, reading: Reading) -> Iterator[Part]:
    for number, line in lines(path):
        try:
            text, fields = split(line)
            name = pictures.name(text)
        except ValueError as error:
            reading.problems.add(path, str(error), number)
            continue
        if reading.wanted(name):
            yield Part(name, pictures.path(name), _faces(fields, path, number, reading.problems), path, number)


def _faces(fields: list[str], path: Path, line: int, problems: Problems) -> Faces:
    wanted = f"{len(fields)} numbers after the path; wanted x1 x2 y1 y2 and five points x y"

    def box() -> list[float]:
        if len(fields) < _BOX:
            raise ValueError(wanted)
        x1, x2, y1, y2 = numbers(fields[:_BOX])
        return [x1, y1, x2, y2]

    def landmarks() -> Points:
        if len(fields) != _NUMBERS:
            raise ValueError(wanted)
        return points(numbers(fields[_BOX:]))

    faces = Faces()
    if (lost := faces.add_row(box, landmarks)) is not None:
        problems.add(path, lost, line)
    return faces
