"""The folders of a YOLO data set: by its layout, or by the YAML file that describes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtcnn_fast.checks import article
from mtcnn_fast.datasets.fields import quoted
from mtcnn_fast.datasets.limits import read_bounded
from mtcnn_fast.datasets.pictures import leads_out, without_outside
from mtcnn_fast.extra import require
from mtcnn_fast.text_files import decode, portable
from mtcnn_fast.writing import reason

SUFFIXES = (".yaml", ".yml")

_IMAGES, _LABELS = "images", "labels"
_SPLITS = ("train", "val", "test")
# A YAML file has a few lines, or a few thousand names of classes. The parser takes 9 s for so many bytes of one list.
_MOST_YAML = 2**18


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of pictures, at any depth, and that of their labels."""

    pictures: Path
    labels: Path
    before: str = ""
    """The beginning of its pictures' names."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a YAML file tells."""

    folders: list[Folder]
    keypoints: tuple[int, int] | None
    """Its `kpt_shape`: points per face, and numbers per point, 2 or 3."""
    problems: list[str]


def of_folder(path: Path) -> list[Folder]:
    """The folders of a data set in a folder. Raises ValueError if there are none."""
    found = list(_below(path)) or list(_inside(path)) or list(_beside(path))
    if not found:
        raise ValueError(
            f"{path} has no labels of YOLO; wanted a folder with {_IMAGES}/ and {_LABELS}/, a folder in one of these, "
            "or one with .txt files beside the pictures"
        )
    return _named(found)


def of_pictures(pictures: Path, labels: Path) -> Folder:
    """A folder of pictures that the user names, with the labels of another. Raises NotADirectoryError."""
    if not pictures.is_dir():
        raise NotADirectoryError(f"there is no folder of pictures {pictures}")
    inside = labels / _LABELS
    return Folder(pictures, inside if inside.is_dir() else labels)


def is_set(path: Path) -> bool:
    """Whether a folder has the layout of a data set."""
    return next(_below(path), None) is not None


def described(path: Path, outside: bool) -> Described:
    """The folders that a YAML file names.

    A folder that does not exist or has no labels is a problem, as long as there is another. Raises ValueError for a
    file that is not such a description, and for a folder outside that of the file, unless `outside`; ImportError
    without PyYAML.
    """
    document = _document(path)
    found, problems = [], []
    for split in _SPLITS:
        for place in _texts(path, split, document.get(split)):
            folder = _existing(path, document, place, outside)
            try:
                if folder is None:
                    raise ValueError(f"there is no folder {quoted(place)}")
                found += of_folder(folder)
            except ValueError as error:
                problems.append(f"{split}: {error}")
    if not found:
        raise ValueError(
            f"{path} names no folder of pictures; wanted train, val or test{': ' * bool(problems)}{'; '.join(problems)}"
        )
    return Described(_named(found), _keypoints(path, document.get("kpt_shape")), problems)


def _below(path: Path) -> Iterator[Folder]:
    """`images/` and `labels/` in the folder, or else in its folders."""
    if (path / _IMAGES).is_dir() and (path / _LABELS).is_dir():
        yield Folder(path / _IMAGES, path / _LABELS)
        return
    for inner in sorted(path.iterdir()):
        if (inner / _IMAGES).is_dir() and (inner / _LABELS).is_dir():
            yield Folder(inner / _IMAGES, inner / _LABELS)


def _inside(path: Path) -> Iterator[Folder]:
    """A folder in `images/` or `labels/`, with its counterpart."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 # links stay
    for own, other in ((_IMAGES, _LABELS), (_LABELS, _IMAGES)):
        if own in whole.parts:
            at = len(whole.parts) - 1 - whole.parts[::-1].index(own)
            counterpart = Path(*whole.parts[:at], other, *whole.parts[at + 1 :])
            if counterpart.is_dir():
                yield Folder(path, counterpart) if own == _IMAGES else Folder(counterpart, path)
                return


def _beside(path: Path) -> Iterator[Folder]:
    if next(path.glob("*.txt"), None) is not None:
        yield Folder(path, path)


def _named(folders: list[Folder]) -> list[Folder]:
    """The folders that are in no other one, with the beginnings of their names."""
    places = {Path(os.path.abspath(folder.pictures)): folder for folder in folders}  # noqa: PTH100
    outer = {place: folder for place, folder in places.items() if not any(other in place.parents for other in places)}
    common = Path(os.path.commonpath(list(outer)))
    return [
        replace(folder, before="" if place == common else f"{place.relative_to(common).as_posix()}/")
        for place, folder in outer.items()
    ]


def _document(path: Path) -> dict[str, Any]:
    yaml = require("yaml", "a YAML file", remedy="pip install pyyaml")
    try:
        with path.open("rb") as file:
            document = yaml.safe_load(decode(read_bounded(file, _MOST_YAML)))
    except RecursionError as error:
        raise ValueError(f"{path} is YAML that nests too deep") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not YAML: {reason(error)}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} has {article(type(document))}; wanted keys, among them train, val or test")
    return document


def _texts(path: Path, key: str, value: object) -> list[str]:
    """The values of a key that has a text, several or none."""
    texts = []
    for each in value if isinstance(value, list) else [] if value is None else [value]:
        # No value is shown: one with aliases can be short in the file and endless in a message.
        if not isinstance(each, str) or "\0" in each:
            raise ValueError(f"{path}: {key} has {article(type(each))}; wanted the path of a folder")
        texts.append(each)
    return texts


def _existing(path: Path, document: dict[str, Any], place: str, outside: bool) -> Path | None:
    """The folder that a place in the file means; None: there is none."""
    roots = [path.parent / portable(root) for root in _texts(path, "path", document.get("path"))]
    names = [portable(place), portable(place).removeprefix("../")]  # Roboflow's files have ../ too much
    found = [root / name for root in (*roots, path.parent) for name in names if (root / name).exists()]
    inside = [each for each in found if outside or not leads_out(os.path.abspath(each), path.parent)]  # noqa: PTH100
    if found and not inside:
        raise ValueError(f"{path}: {without_outside(place, str(path.parent))}")
    if inside and not inside[0].is_dir():
        raise ValueError(f"{path}: {quoted(place)} is a file; wanted a folder of pictures")
    return inside[0] if inside else None


def _keypoints(path: Path, shape: object) -> tuple[int, int] | None:
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(type(each) is int for each in shape):
        points, dimensions = shape
        if points > 0 and dimensions in (2, 3):
            return points, dimensions
    raise ValueError(f"{path}: kpt_shape is not [points, 2] or [points, 3]")
