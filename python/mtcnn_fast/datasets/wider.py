"""WIDER FACE: its text lists and its MATLAB files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn_fast.checks import described
from mtcnn_fast.datasets import listings, matlab
from mtcnn_fast.datasets.base import Faces, Part, Parts, Problems, Reading
from mtcnn_fast.datasets.fields import is_set, numbers, quoted
from mtcnn_fast.datasets.limits import lines
from mtcnn_fast.datasets.pictures import Pictures, picture_folder
from mtcnn_fast.writing import reason

# Rows are `x y w h blur expression illumination invalid occlusion pose`.
_BOX = 4
# The index among the attributes.
_INVALID = 3

# FDDB's lists of ellipses look the same, but their names have no suffix. Their numbers are no boxes.
_NAME = re.compile(r"\.[A-Za-z]\w*$")

_KEYS = ("event_list", "file_list", "face_bbx_list", "invalid_label_list")


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """A text list (name, count, rows of `x y w h` and, optionally, six attributes), or a `.mat` file of the same."""
    # wider_face_split/ lies beside WIDER_train/images and WIDER_val/images.
    splits = [f"WIDER_{split}" for split in ("train", "val", "test") if split in path.stem]
    usual = [folder / split / "images" for split in splits for folder in (path.parent, path.parent.parent)]
    pictures = picture_folder(images, outside, path.parent / "images", *usual, path.parent)
    if path.suffix.lower() != ".mat":
        return lambda reading: _text(path, pictures, reading)
    content = _content(path)
    return lambda reading: _matlab(path, content, pictures, reading)


def _text(path: Path, pictures: Pictures, reading: Reading) -> Iterator[Part]:
    problems = reading.problems

    def wanted(name: str) -> bool:
        try:
            return reading.wanted(_checked(pictures, name))
        except ValueError:
            return True  # the loop below reports it

    for entry in listings.entries(lines(path), path, problems, wanted):
        try:
            name = _checked(pictures, entry.name)
        except ValueError as error:
            problems.add(path, str(error), entry.line)
            continue
        faces = Faces()
        if not entry.complete:
            faces.lose()
        for number, row in entry.rows:
            _add(faces, row.split(), path, number, problems)
        yield Part(name, pictures.path(name), faces, path, entry.line)


def _checked(pictures: Pictures, name: str) -> str:
    plain = pictures.name(name)
    if not _NAME.search(plain):
        raise ValueError(f"{quoted(name)} is not the name of a picture")
    return plain


def _add(faces: Faces, fields: list[str], path: Path, line: int, problems: Problems) -> None:
    box, attributes = fields[:_BOX], fields[_BOX:]
    invalid = attributes.pop(_INVALID) if len(attributes) > _INVALID else None
    ignored, lost = False, None
    try:
        ignored = is_set("invalid", invalid)
        numbers(attributes)
    except ValueError as error:
        lost = f"{error}; the box is kept"
    try:
        if len(box) < _BOX:
            raise ValueError(f"{len(box)} numbers; wanted x y w h and, optionally, attributes")
        x, y, w, h = numbers(box)
        faces.add(x, y, x + w, y + h, ignored=ignored)
    except ValueError as error:
        faces.lose()
        lost = str(error)
    if lost is not None:
        problems.add(path, lost, line)


_Cells = tuple[Any, Any, Any, Any]
"""An event: its name, and lists with the name, the boxes and the marks of invalid boxes of each of its pictures."""


def _content(path: Path) -> list[_Cells]:
    content = matlab.variables(path, _KEYS)
    try:
        return matlab.rows(*(content[key] for key in _KEYS))
    except KeyError as error:
        raise ValueError(f"{path} has no {error}: it is not WIDER FACE's ground truth of all faces") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a MATLAB file of WIDER FACE: {reason(error)}") from error


def _matlab(path: Path, content: list[_Cells], pictures: Pictures, reading: Reading) -> Iterator[Part]:
    for number, (event, files, boxes, invalid) in enumerate(content):
        try:
            listed = matlab.rows(files, boxes, invalid)
        except (AttributeError, ValueError):
            reading.problems.add(path, f"event {number}: its lists of pictures, boxes and marks are not of one length")
            continue
        for position, (file, rows, marks) in enumerate(listed):
            try:
                name = pictures.name(f"{_text_of(event)}/{_text_of(file)}.jpg")
            except ValueError as error:
                reading.problems.add(path, f"event {number}, picture {position}: {error}")
                continue
            if reading.wanted(name):
                tell = partial(_tell, reading.problems, path, name)
                yield Part(name, pictures.path(name), _faces(rows, marks, tell), path)


def _faces(rows: Any, marks: Any, tell: Callable[[object], None]) -> Faces:
    faces = Faces()
    try:
        rows = np.asarray(rows, np.float64)
        if rows.size and (rows.ndim != 2 or rows.shape[1] != _BOX):
            raise ValueError(f"its boxes have shape {rows.shape}; wanted (n, 4)")
    except (TypeError, ValueError) as error:
        faces.lose()
        tell(error)
        return faces
    boxes = rows.reshape(-1, _BOX).tolist()
    flags = np.asarray(marks).ravel().tolist()
    if len(flags) != len(boxes):
        tell(f"{len(flags)} marks of invalid faces; wanted one of each of the {len(boxes)} boxes")
        flags = [0] * len(boxes)
    for (x, y, w, h), flag in zip(boxes, flags, strict=True):
        ignored = False
        try:
            ignored = is_set("invalid", flag)
        except ValueError as error:
            tell(error)
        try:
            faces.add(x, y, x + w, y + h, ignored=ignored)
        except ValueError as error:
            faces.lose()
            tell(error)
    return faces


def _tell(problems: Problems, path: Path, name: str, what: object) -> None:
    problems.add(path, f"{name}: {what}")


def _text_of(cell: Any) -> str:
    """The text of a cell. Raises ValueError for a cell that is no text."""
    values = np.asarray(cell).ravel()
    if values.size != 1 or not isinstance(values[0], str):
        raise ValueError(f"{described(cell)} is not a text")
    return str(values[0])
