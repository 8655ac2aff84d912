"""CelebA: boxes in one list, landmarks in another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

from mtcnn_fast.datasets.base import Faces, Part, Parts, Reading
from mtcnn_fast.datasets.fields import Points, numbers, points, quoted
from mtcnn_fast.datasets.limits import lines
from mtcnn_fast.datasets.pictures import Pictures, picture_folder, picture_name

BOXES = "list_bbox_celeba.txt"
LANDMARKS = "list_landmarks_celeba.txt"


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """list_bbox_celeba.txt, or its folder, with list_landmarks_celeba.txt beside it: one face per picture."""
    boxes = path / BOXES if path.is_dir() else path
    inside = boxes.parent
    # Anno/ lies beside Img/img_celeba.
    usual = [inside / "img_celeba", inside.parent / "Img" / "img_celeba", inside.parent / "img_celeba"]
    pictures = picture_folder(images, outside, *usual, inside / "images", inside)
    known = _Landmarks(inside / LANDMARKS)
    return lambda reading: _parts(boxes, known, pictures, reading)


def _box(fields: list[str]) -> list[float]:
    if len(fields) != 4:
        raise ValueError(f"{len(fields)} numbers after the name; wanted x y width height")
    x, y, w, h = numbers(fields)
    return [x, y, x + w, y + h]


def _parts(boxes: Path, known: _Landmarks, pictures: Pictures, reading: Reading) -> Iterator[Part]:
    promised, rows = _rows(boxes)
    count = 0
    for number, line in rows:
        count += 1
        text, *fields = line.split()
        try:
            name = pictures.name(text)
        except ValueError as error:
            reading.problems.add(boxes, str(error), number)
            continue
        if not reading.wanted(name):
            continue
        faces = Faces()
        lost = faces.add_row(partial(_box, fields), partial(known.find, name))
        if lost is not None:
            reading.problems.add(boxes, lost, number)
        yield Part(name, pictures.path(name), faces, boxes, number)
    if count != promised:
        reading.problems.add(boxes, f"{count} rows; its first line says {promised}")


class _Landmarks:
    """A list of landmarks. It is kept in memory, because the two lists need not have the same order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, tuple[int, str] | None] = {}
        for number, line in _rows(path)[1]:
            text, rest = [*line.split(None, 1), ""][:2]
            # A row that does not begin with the name of a file belongs to no picture.
            with suppress(ValueError):
                name = picture_name(text)
                known = self._rows.setdefault(name, (number, rest))
                if known is None or known[1].split() != rest.split():
                    self._rows[name] = None

    def find(self, name: str) -> Points:
        """The five points of a picture. Raises ValueError if the list has none, not five, or rows that differ."""
        if name not in self._rows:
            raise ValueError(f"{self._path} has no landmarks of {name}")
        row = self._rows[name]
        if row is None:
            raise ValueError(f"{self._path} has several rows of {name}, which differ")
        number, rest = row
        try:
            values = numbers(rest.split())
            if len(values) != 10:
                raise ValueError(f"{len(values)} numbers after the name; wanted five points x y")
            return points(values)
        except ValueError as error:
            raise ValueError(f"{self._path}:{number}: {error}") from None


def _rows(path: Path) -> tuple[int, Iterator[tuple[int, str]]]:
    """The number of rows that the first line promises, and the lines behind the header."""
    rows = lines(path)
    head = next(rows, (0, ""))[1]
    if not head.isdecimal():
        raise ValueError(f"{path} begins with {quoted(head)}; wanted the number of rows, as CelebA's lists have it")
    second = next(rows, None)
    # The second line has the names of the columns. A list may lack it.
    ahead = [] if second is None or not _is_row(second[1]) else [second]
    return int(head), chain(ahead, rows)


def _is_row(line: str) -> bool:
    try:
        return bool(numbers(line.split()[1:]))
    except ValueError:
        return False
