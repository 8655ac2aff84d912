"""The labelled and unlabelled photographs that accuracy and agreement are measured on, and their ground truth."""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

# The labels of this set are of one face a picture: what else is found is not wrong.
ONE_FACE_LABELLED = "net_7876"
DATA = Path(__file__).parents[1].parent / "shared" / "data"
SETS = ("photos", "wider_val_416", "facemask", "net_7876")
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Photograph:
    path: Path
    faces: NDArray[np.float64]  # (n, 4) as x1, y1, x2, y2
    # Faces that count neither as missed nor as found: WIDER FACE marks some boxes invalid.
    ignored: NDArray[np.bool_]  # (n,)


def read(path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 (height, width, 3) in RGB."""
    image = cv2.imread(str(path))
    if image is None:
        raise OSError(f"{path} cannot be read as a picture")
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8, copy=False)


def add_arguments(parser: argparse.ArgumentParser, threads: int) -> None:
    """Which photographs to take, and how to look at them: data, sets, limit, min_face_size, threads, json."""
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="sets of photographs (all)")
    parser.add_argument("--limit", type=int, help="photographs of a set, at most (all)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads of each detector (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")


def load(data: Path, name: str, limit: int | None = None) -> list[Photograph]:
    """A set (of net_7876 the test split), or every nth of it so that no more than `limit` are left."""
    photographs = {"photos": _photos, "wider_val_416": _wider, "facemask": _facemask, "net_7876": _net}[name](
        data / name
    )
    return photographs[:: -(-len(photographs) // limit)] if limit else photographs


def _photograph(path: Path, boxes: list[list[float]], ignored: list[bool] | None = None) -> Photograph:
    faces = np.array(boxes, np.float64).reshape(-1, 4)
    return Photograph(path, faces, np.array(ignored if ignored else [False] * len(faces), bool))


def _photos(folder: Path) -> list[Photograph]:
    return [_photograph(path, []) for path in sorted(folder.glob("*.jpg"))]


def _wider(folder: Path) -> list[Photograph]:
    lines = iter((folder / "gt_416.txt").read_text().splitlines())
    photographs = []
    for name in lines:
        boxes, ignored = [], []
        for _ in range(int(next(lines))):
            x, y, w, h, *attributes = (float(value) for value in next(lines).split())
            boxes.append([x, y, x + w, y + h])
            ignored.append(attributes[3] == 1)
        photographs.append(_photograph(folder / "images" / name, boxes, ignored))
    return photographs


def _facemask(folder: Path) -> list[Photograph]:
    photographs = []
    for path in sorted((folder / "images").glob("*.jpg")):
        root = ElementTree.parse(folder / "annotations" / f"{path.stem}.xml").getroot()
        corners = ("xmin", "ymin", "xmax", "ymax")
        boxes = [[float(box.findtext(corner, "nan")) for corner in corners] for box in root.iter("bndbox")]
        photographs.append(_photograph(path, boxes))
    return photographs


def _net(folder: Path) -> list[Photograph]:
    photographs = []
    for line in (folder / "test.txt").read_text().splitlines():
        name, x1, x2, y1, y2 = line.split()[:5]
        box = [float(x1), float(y1), float(x2), float(y2)]
        photographs.append(_photograph(folder / name.replace("\\", "/"), [box]))
    return photographs


def overlaps(box: Boxes, others: Boxes) -> Boxes:
    """IoU (n,) of a box (4,) with boxes (n, 4)."""
    inner = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0).prod(axis=1)
    return np.asarray(inner / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - inner))


def pairs(boxes: Boxes, others: Boxes, least_iou: float) -> list[tuple[int, int]]:
    """Indices of boxes (n, 4) and others (m, 4) that belong together, one to one: each box in turn takes the free one
    that it overlaps most, if by `least_iou`."""
    free = np.ones(len(others), bool)
    found = []
    for i, box in enumerate(boxes):
        iou = np.where(free, overlaps(box, others), -1)
        best = int(iou.argmax()) if len(iou) else -1
        if best >= 0 and iou[best] >= least_iou:
            free[best] = False
            found.append((i, best))
    return found


def matched(ours: list[list[float]], theirs: list[list[float]], least_iou: float = 0.5) -> int:
    """How many boxes of `theirs` are among `ours`."""
    return len(pairs(np.reshape(theirs, (-1, 4)), np.reshape(ours, (-1, 4)), least_iou))
