"""WIDER FACE: its text lists and its MATLAB files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn_fast.annotations import listings
from mtcnn_fast.annotations.base import Annotation, Faces, Problems, Wanted, lines, numbers, picture_folder
from mtcnn_fast.extra import require

# Rows are `x y w h blur expression illumination invalid occlusion pose`.
_INVALID = 7

# FDDB's lists of ellipses look the same, but for the suffix of the names: their numbers are no boxes.
_NAME = re.compile(r"\.[A-Za-z]\w*$")


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """A text list (name, count, rows of `x y w h` and, optionally, six attributes), or a `.mat` file of the same."""
    # wider_face_split/ lies beside WIDER_train/images and WIDER_val/images.
    splits = [f"WIDER_{split}" for split in ("train", "val", "test") if split in path.stem]
    usual = [folder / split / "images" for split in splits for folder in (path.parent, path.parent.parent)]
    folder = picture_folder(images, path.parent / "images", *usual, path.parent)
    return (_matlab if path.suffix.lower() == ".mat" else _text)(path, folder, problems, wanted)


def _text(path: Path, folder: Path, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    for name, line, rows in listings.entries(lines(path), path, problems, wanted):
        if not _NAME.search(name):
            problems.add(path, f"{listings.shown(name)} is not the name of a picture", line)
            continue
        faces = Faces()
        for number, row in rows:
            try:
                _add(faces, numbers(row.split()))
            except ValueError as error:
                problems.add(path, str(error), number)
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
