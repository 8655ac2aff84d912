"""The photographs for measuring accuracy and agreement, labelled or not, and their ground truth."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast.datasets import Annotation, read
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.evaluate.matching import Rule, match
from mtcnn_fast.evaluate.sets import MeasuredSet

DATA = Path(os.environ.get("MTCNN_FAST_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
# Paths are relative to the folder of the data.
SETS = {
    "photos": MeasuredSet(AnnotatedSet("photos", format="backgrounds")),
    "wider_val_416": MeasuredSet(AnnotatedSet("wider_val_416/gt_416.txt", format="wider")),
    "facemask": MeasuredSet(AnnotatedSet("facemask/annotations", format="voc")),
    # Its boxes are tight. It labels one face per picture, so other detections are not wrong.
    "net_7876": MeasuredSet(AnnotatedSet("net_7876/test.txt", format="facepoint", complete=False), Rule(iou=0.4)),
}


def add_arguments(parser: argparse.ArgumentParser, threads: int) -> None:
    """Adds the arguments that choose photographs and settings: data, sets, limit, min_face_size, threads, json."""
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets of photographs (all)")
    parser.add_argument("--limit", type=int, help="most photographs per set (all)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads of each detector (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")


def load(data: Path, name: str, limit: int | None = None) -> list[Annotation]:
    """The photographs of a set (of net_7876, the test split), or every nth of them, so that at most `limit` are left.

    The set "photos" is not labelled, so its photographs have no boxes.
    """
    annotated = SETS[name].annotated
    photographs = list(read(data / annotated.annotations, annotated.format))
    return photographs[:: -(-len(photographs) // limit)] if limit else photographs


def pairs(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], others: NDArray[np.float32], least_iou: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of boxes (n, 4) and of others (m, 4) that `match` pairs, one to one."""
    taken = match(boxes, scores, others, np.zeros(len(others), np.bool_), Rule(iou=least_iou))
    mine = np.flatnonzero(taken >= 0)
    return mine, taken[mine]


def matched(ours: list[list[float]], theirs: list[list[float]], least_iou: float = 0.5) -> int:
    """The number of boxes in `theirs`, taken in their order, that match one of `ours`."""
    boxes, others = (np.array(side, np.float32).reshape(-1, 4) for side in (theirs, ours))
    return len(pairs(boxes, np.zeros(len(boxes), np.float32), others, least_iou)[0])
