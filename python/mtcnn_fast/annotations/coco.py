"""COCO's JSON document."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn_fast.annotations.base import Annotation, Faces, Points, Problems, Wanted, picture_folder
from mtcnn_fast.checks import each, number


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """`images` (id, file_name) and `annotations` (image_id, bbox `[x, y, w, h]`, iscrowd, keypoints `[x, y, v] * 5`).

    Every annotation is a face, of whatever category. A keypoint with v = 0 is unknown. The document is read whole.
    """
    folder = picture_folder(images, path.parent / "images", path.parent.parent / "images", path.parent)
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    pictures, labels = (document.get(key) if isinstance(document, dict) else None for key in ("images", "annotations"))
    if not isinstance(pictures, list) or not isinstance(labels, list):
        raise ValueError(f"{path} has no lists `images` and `annotations`, as COCO's documents have them")
    by_picture: defaultdict[Any, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for position, label in enumerate(labels):
        try:
            by_picture[label["image_id"]].append((position, label))
        except (KeyError, TypeError):
            problems.add(path, f"annotations[{position}] has no image_id")
    known = set()
    for position, picture in enumerate(pictures):
        try:
            name, key = picture["file_name"], picture["id"]
            known.add(key)
            if not isinstance(name, str):
                raise TypeError
        except (KeyError, TypeError):
            problems.add(path, f"images[{position}] has no id or no file_name")
            continue
        if not wanted(name):
            continue
        faces = Faces()
        for index, label in by_picture.get(key, ()):
            try:
                x, y, w, h = _numbers(label, "bbox", 4)
                landmarks = _landmarks(label) if label.get("keypoints") else None
                faces.add(x, y, x + w, y + h, landmarks, bool(label.get("iscrowd")))
            except ValueError as error:
                problems.add(path, f"annotations[{index}]: {error}")
        yield faces.annotation(name, folder / name)
    for key in by_picture.keys() - known:
        for index, _ in by_picture[key]:
            problems.add(path, f"annotations[{index}]: there is no image with the id {key!r}")


def _numbers(label: dict[str, Any], key: str, count: int) -> tuple[float, ...]:
    try:
        return each(key, label.get(key), count, number)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _landmarks(label: dict[str, Any]) -> Points:
    values = _numbers(label, "keypoints", 15)
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return [(x, y) if visible else (np.nan, np.nan) for x, y, visible in triples]
