"""COCO's JSON document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtcnn_fast.checks import each, number
from mtcnn_fast.datasets.base import Faces, Part, Parts, Reading
from mtcnn_fast.datasets.fields import IGNORING, is_set, quoted
from mtcnn_fast.datasets.json_files import read_json
from mtcnn_fast.datasets.keypoints import Schemes
from mtcnn_fast.datasets.pictures import Pictures, picture_folder

_LISTS = ("images", "annotations")


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """`images` (id, file_name) and `annotations` (image_id, bbox `[x, y, w, h]`, iscrowd, keypoints `[x, y, v] * n`).

    Every annotation is a face, whatever its category. The `keypoints` of its category name its landmarks. The document
    is read whole. If several pictures have one id, nothing says whose its labels are: the reader reports the id, and
    the pictures have no labels and are incomplete. A label without an id is only reported, because it could belong to
    any picture.
    """
    pictures = picture_folder(images, outside, path.parent / "images", path.parent.parent / "images", path.parent)
    document = read_json(path)
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in _LISTS):
        raise ValueError(f"{path} has no lists `images` and `annotations`, as COCO's documents have them")
    return lambda reading: _Document(path, document, pictures, reading).parts()


class _Document:
    """The lists of a document, in one reading that reports their problems."""

    def __init__(self, path: Path, document: dict[str, Any], folder: Pictures, reading: Reading) -> None:
        self._path = path
        self._folder = folder
        self._reading = reading
        self._pictures, self._labels = (document[key] for key in _LISTS)
        self._schemes = Schemes(document.get("categories"))

    def parts(self) -> Iterator[Part]:
        names = [self._name(position) for position in range(len(self._pictures))]
        by_id: defaultdict[Hashable, dict[str, None]] = defaultdict(dict)
        for picture, name in zip(self._pictures, names, strict=True):
            with suppress(KeyError, TypeError):
                by_id[_key(picture, "id")][name or ""] = None
        labels, losing = self._by_id(by_id)
        for position, (picture, name) in enumerate(zip(self._pictures, names, strict=True)):
            if name is None or not self._reading.wanted(name):
                continue
            faces = Faces()
            try:
                key = _key(picture, "id")
                others = [other for other in by_id[key] if other != name]
                if others:
                    raise ValueError(
                        f"{quoted(others[0])} has the id {key!r} too, and {len(labels[key])} labels have it"
                    )
                self._add(faces, labels[key])
                if key in losing:
                    faces.lose()
            except (KeyError, TypeError):
                faces.lose()
                self._tell(f"images[{position}]", "no id, so that its labels are not known")
            except ValueError as error:
                faces.lose()
                self._tell(f"images[{position}]", str(error))
            yield Part(name, self._folder.path(name), faces, self._path)

    def _name(self, position: int) -> str | None:
        try:
            name = self._pictures[position]["file_name"]
            if not isinstance(name, str):
                raise TypeError
            return self._folder.name(name)
        except (KeyError, TypeError):
            self._tell(f"images[{position}]", "no file_name")
        except ValueError as error:
            self._tell(f"images[{position}]", str(error))
        return None

    def _by_id(self, known: Collection[Hashable]) -> tuple[defaultdict[Hashable, list[int]], frozenset[Hashable]]:
        """By id of a picture, the positions of its labels; and the ids that a label has in another type: 1 and "1"."""
        positions: defaultdict[Hashable, list[int]] = defaultdict(list)
        spelled = {str(key): key for key in known}
        losing = set()
        for position, label in enumerate(self._labels):
            place = f"annotations[{position}]"
            try:
                key = _key(label, "image_id")
                if key in known:
                    positions[key].append(position)
                else:
                    problem = f"there is no image with the id {key!r}"
                    if str(key) in spelled:
                        losing.add(spelled[str(key)])
                        problem += f", but with {spelled[str(key)]!r}: it is taken to lack this label"
                    self._tell(place, problem)
            except (KeyError, TypeError):
                self._tell(place, "no image_id, so that its picture is not known and may be incomplete")
        return positions, frozenset(losing)

    def _add(self, faces: Faces, positions: list[int]) -> None:
        for position in positions:
            label = self._labels[position]
            landmarks, ignored, problems = None, False, []
            for mark in IGNORING:
                try:
                    ignored |= is_set(mark, label.get(mark))
                except ValueError as error:
                    problems.append(f"{error}; the box is kept")
            try:
                landmarks, unknown = self._schemes.landmarks(label)
                problems += [] if unknown is None else [unknown]
            except ValueError as error:
                problems.append(f"{error}; the box is kept")
            try:
                x, y, w, h = _box(label)
                faces.add(x, y, x + w, y + h, landmarks, ignored)
            except ValueError as error:
                faces.lose()
                problems.append(str(error))
            for problem in problems:
                self._tell(f"annotations[{position}]", problem)

    def _tell(self, place: str, what: str) -> None:
        self._reading.problems.add(self._path, f"{place}: {what}")


def _key(record: Any, name: str) -> Hashable:
    """An id. Raises KeyError or TypeError if there is none."""
    key = record[name]
    if key is None or not isinstance(key, Hashable):
        raise TypeError
    return key


def _box(label: dict[str, Any]) -> tuple[float, ...]:
    try:
        return each("bbox", label.get("bbox"), 4, number)
    except TypeError as error:
        raise ValueError(str(error)) from None
