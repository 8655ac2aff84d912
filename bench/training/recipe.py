"""The pictures of the recipe, as `prepare.py` writes them: lists, annotations by two detectors, a file of their boxes.

Data sets label few of the faces in the pictures that are to be had, and most pictures are in no data set. Two
detectors, the teachers, have looked at all of them. A face is what both take for one. What one of them might take for a
face is neither face nor background. Landmarks of such faces are the embedded O-Net's, the mean of a face and its mirror
image: on the test list of net_7876 their error is .047 of the distance between the eyes, .052 without the mirror and
.085 or more by the teachers.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from derived import Rows, agreed, coco, landmarks, unstretched
from lists import SETS, chosen_pictures, divided, ignored_boxes

from mtcnn_fast import MTCNN
from mtcnn_fast.boxes import expanded, overlaps
from mtcnn_fast.datasets import Annotation, read
from mtcnn_fast.reading import suffixes
from mtcnn_fast.train.photographs import pixels_to_learn
from mtcnn_fast.train.teachers import Teachers
from mtcnn_fast.writing import write_whole

MORE = "more_training"

# A labelled face and a teacher's box are one face from this IoU on.
LABELLED_FROM = 0.3

# The shares of a batch: of samples with faces, and of negatives. Objects, and heads from behind in `crowd`, are half of
# the negatives: with fewer, things are taken for faces. net_7876 alone has landmarks by hand.
SHARES: dict[str, tuple[float, float]] = {
    "facemask": (3, 2),
    "facemask_large": (2, 1),
    "wider_val_416": (2, 2),
    "net_7876": (4, 1),
    "lfw": (2, 0.5),
    "utkface": (1, 0.2),
    "crowd": (0.5, 3),
    "negatives": (1, 3),
    "objects": (1, 1),
}
# Small faces are learned from shrunken pictures. A face that still has more pixels than a crop, 48 for O-Net, would
# give the same crops again: scales are smaller where faces are large.
SCALES: dict[str, tuple[float, ...]] = {
    "facemask": (1, 0.7, 0.5),
    "facemask_large": (1, 0.7, 0.5, 0.35),
    "wider_val_416": (1, 0.7),
    "net_7876": (1, 0.25),
    "lfw": (1, 0.35),
    "negatives": (1, 0.6),
    "objects": (1, 0.6),
}
# Of a head of which a teacher sees anything, it is not known whether it shows its face.
CROWD_SCORE = 0.1


class Recipe:
    """Writes the lists, annotations and detections that `sources` and `validation` name into a folder.

    data: the folder of the photographs. folder: is there. teachers: files of detections by two detectors; a later one
    completes an earlier one. Raises ValueError for files of other detectors.
    """

    def __init__(self, data: Path, folder: Path, teachers: Sequence[Path]) -> None:
        self._data, self._folder = data.resolve(), folder
        self._more = self._data / MORE
        self._net = MTCNN(device="cpu", landmarks="mirrored")
        self._pictures = {name: chosen_pictures(self._data, name) for name in SETS}
        self._pictures["objects"] = divided(_names(self._more / "objects"))
        rows = _rows(teachers)
        wider = folder / "wider"
        wider.mkdir(exist_ok=True)
        self._wider, in_wider = unstretched(self._data / "wider_val_416", wider, self._labelled_wider(), rows)
        self._detections = folder / "teachers.jsonl.gz"
        lines = (json.dumps({"path": path, "detections": found}) for path, found in (rows | in_wider).items())
        write_whole(self._detections, gzip.compress("\n".join(lines).encode(), mtime=0))
        self._teachers = Teachers(self._detections)
        if len(self._teachers.names) != 2:
            names = ", ".join(self._teachers.names)
            raise ValueError(f"the detections are by {names or 'nobody'}; wanted those of two detectors")

    def sources(self) -> list[dict[str, Any]]:
        """The tables of the pictures to learn from."""
        large = self._more / "facemask_large"
        scales = {name: row["scale"] for name, row in json.loads(_text(large / "mapping.json")).items()}
        masked = self._pictures["facemask"]["sources"]
        return [
            self._source("facemask", **self._set("facemask", "sources")),
            self._source(
                "facemask_large",
                annotations=large / "annotations",
                only=self._list("facemask_large-learned", [name for name in masked if name in scales]),
                ignored=self._scaled_ignored(scales),
            ),
            self._source(
                "wider_val_416", annotations=self._document("wider", self._wider), images=self._folder / "wider"
            ),
            self._source(
                "net_7876",
                annotations=self._document("net_7876", map(self._completed, self._labelled_portraits())),
                images=self._data / "net_7876",
            ),
            self._by_teachers("lfw", self._more / "lfw"),
            self._by_teachers("utkface", self._more / "utkface", complete=False),
            self._by_teachers("crowd", self._more / "crowd" / "images", teacher_score=CROWD_SCORE),
            *(self._source(name, **self._set(name, "sources"), teachers=None) for name in ("negatives", "objects")),
        ]

    def validation(self) -> list[dict[str, Any]]:
        """The tables of the pictures on which epochs are compared. Doubtful faces count there, as on the test lists."""
        return [self._set(name, "validation") for name in self._pictures]

    def _set(self, name: str, table: str) -> dict[str, Any]:
        """The keys of a set as its authors label it. table: "sources" or "validation"."""
        own = SETS.get(name, {"annotations": f"{MORE}/{name}", "format": "backgrounds"})
        keys = own | {"annotations": self._data / own["annotations"]}
        keys["only"] = self._list(f"{name}-{table}", self._pictures[name][table])
        if ignored := ignored_boxes(name, doubtful=table == "sources"):
            keys["ignored"] = self._json(f"{name}-{table}-ignored", ignored)
        return keys

    def _by_teachers(self, name: str, folder: Path, **keys: Any) -> dict[str, Any]:
        """The table of a set without labels."""
        return self._source(
            name, annotations=self._document(name, map(self._completed, _unlabelled(folder))), images=folder, **keys
        )

    def _source(self, name: str, **keys: Any) -> dict[str, Any]:
        share, negative_share = SHARES[name]
        table = {"teachers": self._detections, **keys, "share": share, "negative_share": negative_share}
        table["scales"] = SCALES.get(name)
        return {key: value for key, value in table.items() if value is not None}

    def _list(self, name: str, pictures: Iterable[str]) -> Path:
        place = self._folder / f"{name}.txt"
        write_whole(place, "".join(f"{picture}\n" for picture in pictures).encode(errors="surrogateescape"))
        return place

    def _scaled_ignored(self, scales: Mapping[str, float]) -> Path:
        """The file of the faces that facemask's labels lack, doubtful ones too, for pictures in a scale of each."""
        boxes = {
            picture: [[side * scales[picture] for side in box] for box in rows]
            for picture, rows in ignored_boxes("facemask", doubtful=True).items()
            if picture in scales
        }
        return self._json("facemask_large-ignored", boxes)

    def _labelled_wider(self) -> dict[str, Annotation]:
        keys = self._set("wider_val_416", "sources")
        return {one.name: one for one in read(keys.pop("annotations"), **keys)}

    def _labelled_portraits(self) -> Iterable[Annotation]:
        """The labels of net_7876, with boxes as the other sets draw them."""
        keys = self._set("net_7876", "sources")
        for one in read(keys["annotations"], only=keys["only"]):
            yield replace(one, boxes=expanded(one.boxes, keys["expand"]).astype(np.float32))

    def _completed(self, labelled: Annotation) -> Annotation:
        """An annotation with the faces that both teachers see and that no label has."""
        found = self._teachers.of(labelled.path)
        if found is None:
            return labelled
        boxes = agreed(found)
        boxes = boxes[overlaps(boxes, labelled.boxes).max(1, initial=0) < LABELLED_FROM]
        if not len(boxes):
            return labelled
        image, _ = pixels_to_learn(labelled.path)
        return replace(
            labelled,
            boxes=np.concatenate([labelled.boxes, boxes]),
            landmarks=np.concatenate([labelled.landmarks, landmarks(self._net, image, boxes)]),
            ignored=np.concatenate([labelled.ignored, np.zeros(len(boxes), np.bool_)]),
        )

    def _document(self, name: str, annotations: Iterable[Annotation]) -> Path:
        return self._json(name, coco(annotations))

    def _json(self, name: str, document: Any) -> Path:
        place = self._folder / f"{name}.json"
        write_whole(place, json.dumps(document).encode())
        return place


def _text(place: Path) -> str:
    return place.read_text(encoding="utf-8")


def _names(folder: Path) -> list[str]:
    """The names of the pictures in a folder."""
    return sorted(place.name for place in folder.iterdir() if place.suffix.lower() in suffixes())


def _unlabelled(folder: Path) -> Iterable[Annotation]:
    for name in _names(folder):
        nothing = np.zeros(0, np.bool_)
        yield Annotation(name, folder / name, np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), nothing)


def _rows(files: Sequence[Path]) -> Rows:
    """The lines of files of detections, by picture. A later file completes an earlier one."""
    rows: Rows = {}
    for place in files:
        with gzip.open(place, "rt") if place.suffix == ".gz" else place.open() as file:
            rows |= {row["path"]: row["detections"] for row in map(json.loads, file)}
    return rows
