"""The lists of CNN_FacePoint (Sun, Wang, Tang: Deep Convolutional Network Cascade for Facial Point Detection, 2013)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtcnn_fast.annotations.base import Annotation, Faces, Problems, Wanted, lines, numbers, picture_folder, points

# Four numbers of a box, and two of each of five points.
NUMBERS = 14


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """One face a row: the picture's path, `x1 x2 y1 y2`, and left eye, right eye, nose, mouth corners as `x y`."""
    folder = picture_folder(images, path.parent)
    for number, line in lines(path):
        # From the right: a path may have spaces.
        name, *fields = line.rsplit(None, NUMBERS)
        name = name.replace("\\", "/")
        if not wanted(name):
            continue
        faces = Faces()
        try:
            values = numbers(fields)
            if len(values) != NUMBERS:
                raise ValueError(f"{len(values)} numbers after the path; wanted x1 x2 y1 y2 and five points x y")
            x1, x2, y1, y2 = values[:4]
            faces.add(x1, y1, x2, y2, points(values[4:]))
        except ValueError as error:
            problems.add(path, str(error), number)
            continue
        yield faces.annotation(name, folder / name)
