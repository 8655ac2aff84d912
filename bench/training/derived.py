"""Annotations that are made of others: of the boxes of two detectors, with O-Net's landmarks, in COCO's format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mtcnn_fast import MTCNN
from mtcnn_fast.boxes import overlaps
from mtcnn_fast.datasets import Annotation
from mtcnn_fast.detections import LANDMARKS
from mtcnn_fast.text_files import lines
from mtcnn_fast.train.teachers import TeacherDetections

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Both teachers give a face this score. Their boxes of one face overlap by this IoU.
_FACE_FROM = 0.5
_SAME_FROM = 0.4
# O-Net's landmarks of what it does not take for a face are of nothing.
_LEAST_SCORE = 0.7
Rows = dict[str, list[dict[str, Any]]]
"""Detections by the paths of pictures, as files of teachers hold them."""


def agreed(found: TeacherDetections) -> NDArray[np.float32]:
    """(N, 4): the mean boxes of what two teachers both take for a face. Each box pairs with at most one."""
    sure = found.scores >= _FACE_FROM
    first, second = (found.boxes[sure & (found.teachers == teacher)] for teacher in (0, 1))
    shared = overlaps(first, second)
    pairs = []
    while shared.size and shared.max() >= _SAME_FROM:
        i, j = np.unravel_index(shared.argmax(), shared.shape)
        pairs.append((first[i] + second[j]) / 2)
        shared[i], shared[:, j] = 0, 0
    return np.array(pairs, np.float32).reshape(-1, 4)


def landmarks(net: MTCNN, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 5, 2): O-Net's landmarks for boxes (N, 4); NaN where it sees no face."""
    faces = net.refine(image, boxes)
    return np.where((faces.scores >= _LEAST_SCORE)[:, None, None], faces.landmarks, np.float32(np.nan))


def coco(annotations: Iterable[Annotation]) -> dict[str, Any]:
    """A document in COCO's format."""
    images, labels = [], []
    for number, one in enumerate(annotations):
        images.append({"id": number, "file_name": one.name})
        for box, points, ignored in zip(one.boxes.tolist(), one.landmarks.tolist(), one.ignored.tolist(), strict=True):
            label = {"image_id": number, "category_id": 1, "bbox": _corner_and_sides(box), "ignore": int(ignored)}
            if np.isfinite(points).all():
                label["keypoints"] = [value for x, y in points for value in (round(x, 2), round(y, 2), 2)]
            labels.append(label)
    return {
        "images": images,
        "annotations": labels,
        "categories": [{"id": 1, "name": "face", "keypoints": list(LANDMARKS)}],
    }


def _corner_and_sides(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = (round(side, 2) for side in box)
    return [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]


def unstretched(
    of_set: Path, folder: Path, known: Mapping[str, Annotation], rows: Rows
) -> tuple[list[Annotation], Rows]:
    """Writes pictures of wider_val_416 in the shape that they had before they were stretched to squares.

    The shorter side of the shape stays, the longer one is enlarged.

    folder: the folder of the new pictures. known: their annotations, by the names of the stretched pictures. rows: has
    the teachers' detections. Returns the annotations and the detections in the new pictures.
    """
    annotations: list[Annotation] = []
    found: Rows = {}
    for _, line in lines(of_set / "original_sizes.tsv"):
        name, _, *sides, _ = line.split("\t")
        if name not in known:
            continue
        shape = np.array(sides, np.float64)
        scale = np.tile(shape / shape.min(), 2)
        place = folder / f"{Path(name).stem}.png"
        with Image.open(of_set / "images" / name) as picture:
            width, height = np.rint(np.array(picture.size) * scale[:2]).astype(int).tolist()
            picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(place)
        boxes = (known[name].boxes * scale).astype(np.float32)
        annotations.append(replace(known[name], name=place.name, path=place, boxes=boxes))
        if (path := f"{of_set.name}/images/{name}") in rows:
            found[f"{folder.name}/{place.name}"] = [
                {**row, "box": (np.array(row["box"]) * scale).round(1).tolist()} for row in rows[path]
            ]
    return annotations, found
