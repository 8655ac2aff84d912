"""Files of ignored boxes: faces that a data set does not label, which then are neither faces nor background.

The file is a JSON object, `{"picture": [[x1, y1, x2, y2], ...], ...}`, with boxes in pixels, 0-based and half-open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtcnn_fast.checks import described, each, number
from mtcnn_fast.datasets.base import Annotation, Faces, Problems
from mtcnn_fast.datasets.fields import quoted
from mtcnn_fast.datasets.json_files import read_json
from mtcnn_fast.datasets.pictures import picture_name


class IgnoredBoxes:
    """The boxes of a file, by the pictures of a data set."""

    def __init__(self, path: Path, known: Collection[str], problems: Problems) -> None:
        """Reads the file. known: the names of the data set's pictures.

        A name in the file may have more folders before it than the picture's. problems: receives names that mean no
        picture, and boxes that cannot be used. Raises OSError for a file that cannot be read, ValueError for one that
        is no JSON object, and for two names that mean one picture.
        """
        self._faces: dict[str, Faces] = {}
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no file; wanted a JSON file of ignored boxes")
        document = read_json(path)
        if not isinstance(document, dict):
            raise ValueError(f"{path} is {described(document)}; wanted an object of pictures and their boxes")
        written: dict[str, str] = {}
        for key, boxes in document.items():
            name = next((end for end in _ends(key) if end in known), None)
            if name is None:
                problems.add(path, f"there are no annotations of {quoted(key)}")
                continue
            other = written.setdefault(name, key)
            if other != key:
                raise ValueError(f"{path}: {quoted(other)} and {quoted(key)} are both the picture {quoted(name)}")
            self._faces[name] = _faces(boxes, path, key, problems)

    def added_to(self, annotation: Annotation) -> Annotation:
        """The annotation with the boxes of its picture. If one of them could not be used, it is not complete."""
        faces = self._faces.get(annotation.name)
        if faces is None:
            return annotation
        more = faces.annotation(annotation.name, annotation.path)
        return replace(
            annotation,
            boxes=np.concatenate([annotation.boxes, more.boxes]),
            landmarks=np.concatenate([annotation.landmarks, more.landmarks]),
            ignored=np.concatenate([annotation.ignored, more.ignored]),
            complete=annotation.complete and more.complete,
        )


def _ends(key: str) -> Iterator[str]:
    """The names that a key may mean: itself, then without its first folders."""
    try:
        name = picture_name(key)
    except ValueError:
        return
    while True:
        yield name
        _, slash, name = name.partition("/")
        if not slash:
            return


def _faces(boxes: object, path: Path, key: str, problems: Problems) -> Faces:
    faces = Faces()
    if not isinstance(boxes, list):
        faces.lose()
        problems.add(path, f"{quoted(key)} is {described(boxes)}; wanted a list of boxes [x1, y1, x2, y2]")
        return faces
    for position, box in enumerate(boxes, 1):
        try:
            x1, y1, x2, y2 = each("box", box, 4, number)
            faces.add(x1, y1, x2, y2, ignored=True)
        except (TypeError, ValueError) as error:
            faces.lose()
            problems.add(path, f"{quoted(key)}: box {position}: {error}")
    return faces
