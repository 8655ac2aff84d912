"""YOLO's data sets, as Ultralytics reads them: a text file of labels per picture, in shares of the picture's sides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import splitext

from mtcnn_fast.datasets.base import Faces, Part, Parts, Problems, Reading
from mtcnn_fast.datasets.fields import UNKNOWN, Points, numbers, point
from mtcnn_fast.datasets.limits import MAX_TEXT, read_bounded
from mtcnn_fast.datasets.yolo_folders import Folder, described, of_folder, of_pictures
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.reading import size, suffixes
from mtcnn_fast.text_files import lines_of
from mtcnn_fast.writing import reason

_BOX = ("cx", "cy", "w", "h")
_PLAIN = 1 + len(_BOX)
_POINTS = 5
# The numbers of a row that has five points of x y, or of x y v. Other rows outline a polygon, which is no box.
_COUNTS = {_PLAIN + _POINTS * dimensions: dimensions for dimensions in (2, 3)}
# Writers round, and Ultralytics takes a share up to this.
_LARGEST = 1.01
_TEXT = ".txt"
# LabelImg keeps the names of the classes beside the labels.
_CLASSES = f"classes{_TEXT}"


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """A folder with `images/` and `labels/`, or one whose folders have these; a folder in `images/` or `labels/`; or a
    YAML file that names folders of pictures by `train`, `val` and `test`.

    A row of a label file is `class cx cy w h`. Five points `x y` or `x y v` may follow. Every row is a face, whatever
    its class. A picture without a label file, or with an empty one, has no faces. A picture's name is its path below
    the folder that all its set's pictures are in.
    """
    if path.is_dir():
        folders = of_folder(path) if images is None else [of_pictures(images, path)]
        return lambda reading: _parts(folders, None, reading)
    if images is not None:
        raise ValueError(f"images is given; wanted none: {path} names the folders of the pictures")
    described_set = described(path, outside)
    keypoints = described_set.keypoints

    def parts(reading: Reading) -> Iterator[Part]:
        for problem in described_set.problems:
            reading.problems.add(path, problem)
        if keypoints is not None and keypoints[0] != _POINTS:
            reading.problems.add(
                path, f"kpt_shape has {keypoints[0]} points, which give no landmarks; wanted {_POINTS}"
            )
        return _parts(described_set.folders, keypoints, reading)

    return parts


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a picture's labels, as pixels."""

    width: int
    height: int
    counts: dict[int, int]
    """By the numbers of a row that has points, the numbers of a point."""

    def add(self, faces: Faces, fields: list[str]) -> str | None:
        """As `Faces.add_row`."""
        return faces.add_row(lambda: self._box(fields), lambda: self._landmarks(fields))

    def _box(self, fields: list[str]) -> list[float]:
        if len(fields) != _PLAIN and len(fields) not in self.counts:
            also = " or ".join(map(str, self.counts))
            raise ValueError(f"{len(fields)} numbers; wanted {_PLAIN}: class cx cy w h, or {also}: with points")
        _, *shares = numbers(fields[:_PLAIN])
        for name, share in zip(_BOX, shares, strict=True):
            if not 0 <= share <= _LARGEST:
                raise ValueError(f"{name} is {share:g}; wanted a share of the picture's side, from 0 to 1")
        cx, cy, w, h = shares
        width, height = self.width, self.height
        return [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]

    def _landmarks(self, fields: list[str]) -> Points | None:
        dimensions = self.counts.get(len(fields))
        if dimensions is None or len(fields) != _PLAIN + _POINTS * dimensions:
            return None
        values = numbers(fields[_PLAIN:])
        return [self._point(values[i : i + dimensions]) for i in range(0, len(values), dimensions)]

    def _point(self, values: list[float]) -> tuple[float, float]:
        x, y, *visible = values
        # Where points have no v, their writers put 0 0 or -1 -1 for one that is not known.
        known = visible[0] != 0 if visible else (x, y) not in ((0, 0), (-1, -1))
        return point(x * self.width, y * self.height) if known else UNKNOWN


def _parts(folders: list[Folder], keypoints: tuple[int, int] | None, reading: Reading) -> Iterator[Part]:
    counts = _COUNTS if keypoints is None else {_PLAIN + keypoints[0] * keypoints[1]: keypoints[1]}

    def report(error: OSError) -> None:
        reading.problems.add(error.filename, reason(error))

    for folder in folders:
        stems = set()
        for file in find([str(folder.pictures)], suffixes(), report=report, passed_over=reading.passed_over):
            stem = splitext(file.below)[0]
            stems.add(hash(stem))
            name = folder.before + file.below
            if reading.wanted(name):
                picture, labels = Path(file.path), folder.labels / f"{stem}{_TEXT}"
                yield Part(name, picture, _faces(labels, picture, counts, reading.problems), labels)
        for file in find([str(folder.labels)], (_TEXT,), report=report, passed_over=PassedOver()):
            if hash(splitext(file.below)[0]) not in stems and file.below != _CLASSES:
                reading.problems.add(file.path, f"there is no picture of this name in {folder.pictures}")


def _faces(labels: Path, picture: Path, counts: dict[int, int], problems: Problems) -> Faces:
    faces = Faces()
    if not os.path.lexists(labels):
        return faces
    try:
        if not labels.is_file():
            raise OSError("not a file")
        with labels.open("rb") as file:
            rows = list(lines_of(read_bounded(file, MAX_TEXT)))
    except (OSError, ValueError) as error:
        faces.lose()
        problems.add(labels, reason(error))
        return faces
    if not rows:
        return faces
    try:
        placed = _Rows(*size(picture), counts)
    except OSError as error:
        faces.lose()
        problems.add(picture, f"its size, which places its labels, cannot be read: {reason(error)}")
        return faces
    for line, row in rows:
        if (lost := placed.add(faces, row.split())) is not None:
            problems.add(labels, lost, line)
    return faces
