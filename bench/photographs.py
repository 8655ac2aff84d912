"""The labelled and unlabelled photographs that accuracy and agreement are measured on, and their ground truth."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast.datasets import Annotation, read
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.evaluate.matching import match
from mtcnn_fast.evaluate.sets import MeasuredSet

DATA = Path(os.environ.get("MTCNN_FAST_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
# Paths are below the folder of the data.
SETS = {
    "photos": MeasuredSet(AnnotatedSet("photos", format="backgrounds")),
    "wider_val_416": MeasuredSet(AnnotatedSet("wider_val_416/gt_416.txt", format="wider")),
    "facemask": MeasuredSet(AnnotatedSet("facemask/annotations", format="voc")),
    # Its boxes are tight, and of one face a picture: what else is found is not wrong.
    "net_7876": MeasuredSet(AnnotatedSet("net_7876/test.txt", format="facepoint", complete=False), iou=0.4),
}


def add_arguments(parser: argparse.ArgumentParser, threads: int) -> None:
    """Which photographs to take, and how to look at them: data, sets, limit, min_face_size, threads, json."""
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets of photographs (all)")
    parser.add_argument("--limit", type=int, help="photographs of a set, at most (all)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads of each detector (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")


def load(data: Path, name: str, limit: int | None = None) -> list[Annotation]:
    """A set (of net_7876 the test split), or every nth of it so that no more than `limit` are left.

    Of photos, which are not labelled, the boxes are none.
    """
    annotated = SETS[name].annotated
    photographs = list(read(data / annotated.annotations, annotated.format))
    return photographs[:: -(-len(photographs) // limit)] if limit else photographs


def pairs(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], others: NDArray[np.float32], least_iou: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of boxes (n, 4) and of others (m, 4) that belong together, one to one, as `match` pairs them."""
    taken = match(boxes, scores, others, np.zeros(len(others), np.bool_), least_iou)
    mine = np.flatnonzero(taken >= 0)
    return mine, taken[mine]


def matched(ours: list[list[float]], theirs: list[list[float]], least_iou: float = 0.5) -> int:
    """How many boxes of `theirs`, taken in their order, are among `ours`."""
    boxes, others = (np.array(side, np.float32).reshape(-1, 4) for side in (theirs, ours))
    return len(pairs(boxes, np.zeros(len(boxes), np.float32), others, least_iou)[0])
