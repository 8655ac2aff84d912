"""Which pictures are learned, which are compared on, and which faces their labels lack."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePath
from typing import Any

from mtcnn_fast import text_files

HERE = Path(__file__).parent
KEPT_OUT = HERE / "objects_kept_out.sha256"

# Pictures of the sets that are also in a test list, under another name (`compare_pictures.py`).
IN_TEST_LISTS = {"333_0_0", "maksssksksss327", "maksssksksss662", "maksssksksss680"}

# Of these sets, whose faces decide, there are few pictures.
ONE_IN = {"facemask": 5, "wider_val_416": 5}
ONE_IN_OTHERS = 10

# The labels of net_7876 end at the eyebrows and the chin; those of the other sets at the hair and below the chin. The
# boxes of the embedded networks, which follow WIDER FACE, reach beyond the labels of net_7876 by these shares: medians
# over 975 of its training pictures.
EXPAND = (0.04, 0.30, 0.04, 0.11)

# Photographs that facemask's train list holds twice. If one is compared on, the other is not learned.
TWICE = [
    ("maksssksksss156", "maksssksksss545"),
    ("maksssksksss435", "maksssksksss554"),
    ("maksssksksss451", "maksssksksss61"),
    ("maksssksksss354", "maksssksksss74"),
]

SETS: dict[str, dict[str, Any]] = {
    "net_7876": {"annotations": "net_7876/train.txt", "complete": False, "expand": EXPAND},
    "facemask": {"annotations": "facemask/annotations"},
    "wider_val_416": {"annotations": "wider_val_416/gt_416.txt"},
    "negatives": {"annotations": "negatives", "format": "backgrounds"},
}


def objects_kept_out(data: Path) -> list[str]:
    """The names of the object photographs that no network learns. Raises ValueError if a file is another one."""
    names = []
    for _, line in text_files.lines(KEPT_OUT):
        digest, name = line.split(maxsplit=1)
        file = data / "negatives" / name
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{file} is not the file that {KEPT_OUT.name} names: its SHA-256 differs")
        names.append(name)
    return names


def chosen_pictures(data: Path, name: str) -> dict[str, list[str]]:
    """The names of a set's pictures that may be learned, divided into "sources" and "validation"."""
    place = HERE / "backgrounds.txt" if name == "negatives" else data / name / "train.txt"
    pictures = [line.split(" ")[0] if name == "net_7876" else line for _, line in text_files.lines(place)]
    left_out = IN_TEST_LISTS | {PurePath(kept).stem for kept in objects_kept_out(data) if name == "negatives"}
    return divided([picture for picture in pictures if _stem(picture) not in left_out], ONE_IN.get(name, ONE_IN_OTHERS))


def divided(pictures: list[str], one_in: int = ONE_IN_OTHERS) -> dict[str, list[str]]:
    """Pictures to learn and to compare on, "sources" and "validation"."""
    compared = pictures[::one_in]
    stems = set(map(_stem, compared))
    twins = {twin for pair in TWICE for twin, other in (pair, pair[::-1]) if other in stems}
    learned = [picture for i, picture in enumerate(pictures) if i % one_in]
    return {"sources": [picture for picture in learned if _stem(picture) not in twins], "validation": compared}


def _stem(picture: str) -> str:
    return PurePath(text_files.portable(picture)).stem


def ignored_boxes(name: str, doubtful: bool) -> dict[str, list[list[float]]]:
    """The faces that the labels of a set lack, by picture. doubtful: with those that may be faces."""
    boxes: dict[str, list[list[float]]] = {}
    for suffix in ("", "_doubtful") if doubtful else ("",):
        file = HERE / "ignored" / f"{name}{suffix}.json"
        if file.exists():
            for picture, more in json.loads(file.read_text()).items():
                boxes.setdefault(picture, []).extend(more)
    return boxes
