"""CelebA: boxes in one list, landmarks in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtcnn_fast.annotations.base import (
    Annotation,
    Faces,
    Points,
    Problems,
    Wanted,
    lines,
    numbers,
    picture_folder,
    points,
)

BOXES = "list_bbox_celeba.txt"
LANDMARKS = "list_landmarks_celeba.txt"


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """list_bbox_celeba.txt, or its folder, with list_landmarks_celeba.txt beside it: one face a picture."""
    boxes = path / BOXES if path.is_dir() else path
    inside = boxes.parent
    # Anno/ lies beside Img/img_celeba.
    usual = [inside / "img_celeba", inside.parent / "Img" / "img_celeba", inside.parent / "img_celeba"]
    folder = picture_folder(images, *usual, inside / "images", inside)
    landmarks = _Landmarks(inside / LANDMARKS)
    for number, line in _rows(boxes):
        name, *fields = line.split()
        if not wanted(name):
            continue
        faces = Faces()
        try:
            values = numbers(fields)
            if len(values) != 4:
                raise ValueError(f"{len(values)} numbers after the name; wanted x y width height")
            x, y, w, h = values
            faces.add(x, y, x + w, y + h, landmarks.find(name))
        except ValueError as error:
            # A picture whose only label is bad is no picture without faces.
            problems.add(boxes, str(error), number)
            continue
        yield faces.annotation(name, folder / name)


class _Landmarks:
    """The landmarks of pictures asked for about in the order of the list, of which what was passed over is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = _rows(path)
        self._passed: dict[str, tuple[int, str]] = {}

    def find(self, name: str) -> Points:
        """Five points. Raises ValueError if the list has none, or not five, for the picture."""
        row = self._passed.pop(name, None)
        while row is None:
            number, line = next(self._rows, (0, ""))
            if not line:
                raise ValueError(f"{self._path} has no landmarks of {name}")
            key, rest = [*line.split(None, 1), ""][:2]
            if key == name:
                row = number, rest
            else:
                self._passed[key] = number, rest
        number, rest = row
        try:
            values = numbers(rest.split())
            if len(values) != 10:
                raise ValueError(f"{len(values)} numbers after the name; wanted five points x y")
            return points(values)
        except ValueError as error:
            raise ValueError(f"{self._path}:{number}: {error}") from None


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    """What follows the two header lines, of which the first is the number of rows."""
    rows = lines(path)
    head = next(rows, (0, ""))[1]
    if not head.isdecimal():
        raise ValueError(f"{path} begins with {head[:80]!r}; wanted the number of rows, as CelebA's lists have it")
    next(rows, None)
    yield from rows
