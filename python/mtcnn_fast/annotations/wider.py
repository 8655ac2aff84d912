"""WIDER FACE: its text lists and its MATLAB files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn_fast.annotations.base import Annotation, Faces, Problems, Wanted, lines, numbers, picture_folder
from mtcnn_fast.extra import require

# Rows are `x y w h blur expression illumination invalid occlusion pose`.
_INVALID = 7

# What tells a name from a row of numbers, where the count of rows is wrong.
_NAME = re.compile(r"\.[A-Za-z]\w*$")
_COUNT = re.compile(r"[0-9]{1,9}")


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """A text list (name, count, rows of `x y w h` and, optionally, six attributes), or a `.mat` file of the same."""
    # wider_face_split/ lies beside WIDER_train/images and WIDER_val/images.
    splits = [f"WIDER_{split}" for split in ("train", "val", "test") if split in path.stem]
    usual = [folder / split / "images" for split in splits for folder in (path.parent, path.parent.parent)]
    folder = picture_folder(images, path.parent / "images", *usual, path.parent)
    return (_matlab if path.suffix.lower() == ".mat" else _text)(path, folder, problems, wanted)


def _text(path: Path, folder: Path, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    rows = lines(path)
    ahead = next(rows, None)
    while ahead is not None:
        number, name = ahead
        ahead = next(rows, None)
        if not _NAME.search(name):
            problems.add(path, f"{_short(name)} is not the name of a picture", number)
            continue
        if ahead is None or not _COUNT.fullmatch(ahead[1]):
            problems.add(path, f"the number of faces does not follow {_short(name)}", number)
            continue
        count = int(ahead[1])
        ahead = next(rows, None)
        if count == 0 and ahead is not None and not ahead[1].strip("0. \t"):
            ahead = next(rows, None)  # the official lists have a row of zeros for a picture without faces

        take, faces, left = wanted(name), Faces(), count
        while left and ahead is not None and not _NAME.search(ahead[1]):
            if take:
                try:
                    _add(faces, numbers(ahead[1].split()))
                except ValueError as error:
                    problems.add(path, str(error), ahead[0])
            left -= 1
            ahead = next(rows, None)
        if not take:
            continue
        if left:
            problems.add(path, f"{left} of the {count} rows of {_short(name)} are missing", number)
        yield faces.annotation(name, folder / name)


def _add(faces: Faces, values: list[float]) -> None:
    if len(values) < 4:
        raise ValueError(f"{len(values)} numbers; wanted x y w h and, optionally, attributes")
    x, y, w, h = values[:4]
    faces.add(x, y, x + w, y + h, ignored=len(values) > _INVALID and values[_INVALID] == 1)


def _matlab(path: Path, folder: Path, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    loadmat = require("scipy.io", "reading MATLAB files", "evaluate").loadmat
    try:
        content: dict[str, Any] = loadmat(path)
        keys = ("event_list", "file_list", "face_bbx_list", "invalid_label_list")
        events = list(zip(*(content[key].ravel() for key in keys), strict=True))
    except NotImplementedError as error:
        raise ValueError(f"{path} is a MATLAB 7.3 file, which SciPy cannot read; take the text list") from error
    except KeyError as error:
        raise ValueError(f"{path} has no {error}: it is not WIDER FACE's ground truth of all faces") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a MATLAB file of WIDER FACE: {error}") from error
    for event, files, boxes, invalid in events:
        for file, rows, flags in zip(files.ravel(), boxes.ravel(), invalid.ravel(), strict=True):
            name = f"{event[0]}/{file[0]}.jpg"
            if not wanted(name):
                continue
            faces = Faces()
            for row, flag in zip(rows.astype(np.float64), flags.ravel(), strict=True):
                x, y, w, h = row.tolist()
                try:
                    faces.add(x, y, x + w, y + h, ignored=bool(flag))
                except ValueError as error:
                    problems.add(path, f"{name}: {error}")
            yield faces.annotation(name, folder / name)


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:80]) + "..."
