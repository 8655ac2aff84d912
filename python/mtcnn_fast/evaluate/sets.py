"""Annotated sets by their descriptions: the tables of a TOML file, and the argument of `--set`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mtcnn_fast import toml_files
from mtcnn_fast.checks import described, flag, number, text
from mtcnn_fast.datasets import FORMATS
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.evaluate import documents
from mtcnn_fast.evaluate.landmarks import INTER_OCULAR, NORMALISATIONS
from mtcnn_fast.evaluate.matching import Rule
from mtcnn_fast.text_files import portable


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """An annotated set, and how detections are compared with it."""

    annotated: AnnotatedSet
    rule: Rule = field(default_factory=Rule)
    """Which faces and detections count."""
    normalisation: str = INTER_OCULAR
    """The normalisation of the landmarks' errors."""


def parse_set(description: str, folder: Path = Path()) -> MeasuredSet:
    """The set that an argument of `--set` describes: `NAME=FORMAT:PATH[,images=DIR][,only=FILE][,ignored=FILE][,iou=T]
    [,ignored_iou=T][,near_iou=T][,smallest_face=PIXELS][,complete=no][,normalisation=N][,outside=yes]`.

    Paths are below `folder`. Raises ValueError for any other description.
    """
    name, equals, rest = description.partition("=")
    place, *pairs = rest.split(",")
    format, colon, path = place.partition(":")
    if not (name and equals and colon and path):
        raise ValueError(f"set is {description!r}; wanted NAME=FORMAT:PATH[,KEY=VALUE ...]")
    entry: dict[str, Any] = {"format": format, "path": path}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"set {name} has {pair!r}; wanted KEY=VALUE")
        if key in entry:
            raise ValueError(f"set {name} has {key} twice")
        entry[key] = value
    for key in _RULE & entry.keys():
        try:
            entry[key] = float(entry[key])
        except ValueError:
            raise ValueError(f"set {name}: {key} is {entry[key]!r}; wanted a number") from None
    for key in {"complete", "outside"} & entry.keys():
        if entry[key] not in ("yes", "no"):
            raise ValueError(f"set {name}: {key} is {entry[key]!r}; wanted yes or no")
        entry[key] = entry[key] == "yes"
    return _checked_set(name, entry, folder)


def read_sets(path: Path) -> list[MeasuredSet]:
    """The sets of a TOML file.

    Its tables `[NAME]` have the key `path` and, as fields of AnnotatedSet, Rule and MeasuredSet, format, images, only,
    ignored, iou, ignored_iou, near_iou, smallest_face, complete, normalisation and outside. Paths are below the file's
    folder. Raises ValueError for any other file.
    """
    documents.check_regular(path)
    document = toml_files.read(path, "evaluate")
    try:
        return [_checked_set(name, entry, path.parent) for name, entry in document.items()]
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _checked_set(name: str, entry: object, folder: Path) -> MeasuredSet:
    if not isinstance(entry, dict) or "path" not in entry:
        raise ValueError(f"set {name} is {described(entry)}; wanted a table with a path")
    values: dict[str, Any] = {}
    try:
        for key, value in entry.items():
            if key not in _CHECKS:
                raise ValueError(f"there is no key {key!r}; wanted {', '.join(_CHECKS)}")
            values[key] = _CHECKS[key](key, value)
        rule = Rule(**{key: values.pop(key) for key in _RULE & values.keys()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"set {name}: {error}") from None
    for key in ("path", "images", "only", "ignored"):
        if key in values:
            values[key] = _below(folder, values[key])
    normalisation = values.pop("normalisation", INTER_OCULAR)
    return MeasuredSet(AnnotatedSet(values.pop("path"), name=name, **values), rule, normalisation)


def _below(folder: Path, name: str) -> Path:
    """A path below a folder. If it does not exist, it may be written as in Windows."""
    path = folder / name
    # os.path, because a Path raises for a name that no file can have.
    return path if os.path.exists(path) else folder / portable(name)  # noqa: PTH110


def _path(key: str, value: object) -> str:
    string = text(key, value)
    if not string:
        raise ValueError(f"{key} is empty; wanted a path")
    return string


def _one_of(wanted: Sequence[str]) -> Callable[[str, object], str]:
    def check(key: str, value: object) -> str:
        string = text(key, value)
        if string not in wanted:
            raise ValueError(f"{key} is {string!r}; wanted one of {', '.join(wanted)}")
        return string

    return check


_RULE = {one.name for one in fields(Rule)}

_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "path": _path,
    "format": _one_of(FORMATS),
    "images": _path,
    "only": _path,
    "ignored": _path,
    "iou": number,
    "ignored_iou": number,
    "near_iou": number,
    "smallest_face": number,
    "complete": flag,
    "normalisation": _one_of(NORMALISATIONS),
    "outside": flag,
}
