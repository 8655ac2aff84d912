#!/usr/bin/env python3
"""Measure networks on the test lists, or on the validation pictures of `prepare.py`: a row per network.

    python bench/training/measure.py $DATA a=runs/a/mtcnn.safetensors b=runs/b/mtcnn.safetensors
    python bench/training/measure.py $DATA a=runs/a/mtcnn.safetensors --validation

The embedded networks are the first row. Each other network has a second row: its differences from the embedded ones.
Faces count from a shorter side of 20 pixels on. Detections of faces that the labels lack (`ignored/`), and beside
labelled faces, count neither way. In brackets are 95 % intervals over pictures. Choose networks and settings by
--validation; the test lists only say what was reached.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from arguments import named_path, path
from lists import HERE, SETS, chosen_pictures, objects_kept_out

from mtcnn_fast import text_files
from mtcnn_fast.datasets import Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.evaluate import PrecisionRecall, Rule, resampled_recalls
from mtcnn_fast.evaluate.detectors import EMBEDDED, make_detector
from mtcnn_fast.evaluate.recall import RESAMPLES
from mtcnn_fast.evaluate.sets import MeasuredSet
from mtcnn_fast.evaluate.table import Row, evaluate
from mtcnn_fast.writing import check_destination, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The labels of net_7876 end at the eyebrows and the chin, and those of facemask leave out hair: 0.5 would ask too much.
IOU = {"facemask": 0.4, "wider_val_416": 0.5, "net_7876": 0.4, "negatives": 0.5}

# Gates that leave O-Net most windows, and a last threshold low enough for all false positives that are asked for.
CURVE = (0.5, 0.3, 0.02)
DEFAULT = (0.6, 0.7, 0.7)
OPTIONS = {"min_face_size": 20, "device": "cpu"}

# False positives at which recall is measured, and the pictures of the test lists. Other lists have as many per picture.
AT = {"facemask": (10, 143), "wider_val_416": (5, 50)}

# At this recall on facemask, detections in object photographs are counted.
OBJECTS_AT = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A figure of a network."""

    value: float
    drawn: NDArray[np.float64]
    """(R,): the figure of pictures that are drawn with replacement, the same ones for each network."""
    digits: int = 3
    """Digits to print behind the point."""
    paired: bool = True
    """Whether the draws of two networks belong together."""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95 %."""
        if np.isnan(self.drawn).all():
            return math.nan, math.nan
        low, high = np.nanquantile(self.drawn, [0.025, 0.975])
        return float(low), float(high)

    def beside(self, other: Figure) -> Figure:
        """The difference from another network's figure."""
        drawn = self.drawn - other.drawn if self.paired else np.full(len(self.drawn), np.nan)
        return Figure(self.value - other.value, drawn, self.digits, self.paired)


def sets(data: Path, folder: Path, validation: bool) -> dict[str, MeasuredSet]:
    """The sets to measure on. Their lists of pictures are written to a folder."""
    measured = {}
    for name, settings in SETS.items():
        if validation:
            names = chosen_pictures(data, name)["validation"]
        elif name == "negatives":
            names = objects_kept_out(data)
        else:
            names = [line.split(" ")[0] for _, line in text_files.lines(data / name / "test.txt")]
        only = folder / f"{name}.txt"
        only.write_bytes("\n".join(names).encode(errors="surrogateescape"))
        annotations = data / settings["annotations"]
        if name == "net_7876" and not validation:
            annotations = data / name / "test.txt"
        ignored = HERE / "ignored" / f"{name}.json"
        annotated = AnnotatedSet(
            annotations,
            name=name,
            format=settings.get("format"),
            only=only,
            ignored=ignored if ignored.exists() else None,
            complete=settings.get("complete", True),
        )
        rule = Rule(iou=IOU[name], ignored_iou=0.3, near_iou=0.2, smallest_face=20)
        measured[name] = MeasuredSet(annotated, rule)
    return measured


def measure(weights: str, measured: dict[str, MeasuredSet]) -> dict[str, Figure | None]:
    """The figures of a network by the heads of their columns. None: it does not reach the recall that is asked for.

    weights: EMBEDDED or a file.
    """

    def rows(names: Sequence[str], **options: Any) -> dict[str, Row]:
        problems = Problems()
        find = make_detector(weights, OPTIONS | options)
        found = {name: evaluate(weights, find, measured[name], problems, problems, problems) for name in names}
        if problems.count:
            raise OSError(f"{problems.count} pictures or labels cannot be used, such as {next(iter(problems))}")
        return found

    curve = rows(("facemask", "wider_val_416", "negatives"), thresholds=CURVE)
    default = rows(tuple(measured), thresholds=DEFAULT)
    mirrored = rows(("net_7876",), thresholds=DEFAULT, landmarks="mirrored")
    at = {name: max(1, round(curve[name].pictures * count / pictures)) for name, (count, pictures) in AT.items()}
    return {
        f"facemask, recall at {at['facemask']}": recall(curve["facemask"].faces, at["facemask"]),
        f"wider, recall at {at['wider_val_416']}": recall(curve["wider_val_416"].faces, at["wider_val_416"]),
        "net_7876, recall": recall(default["net_7876"].faces),
        "NME": mean(default["net_7876"].landmarks.errors),
        "NME, mirrored": mean(mirrored["net_7876"].landmarks.errors),
        f"objects at facemask {OBJECTS_AT:g}": objects(curve["facemask"].faces, curve["negatives"].faces),
        "default: facemask, recall": recall(default["facemask"].faces),
        "default: facemask, false": false_positives(default["facemask"].faces),
        "default: wider, recall": recall(default["wider_val_416"].faces),
        "default: wider, false": false_positives(default["wider_val_416"].faces),
        "default: objects": false_positives(default["negatives"].faces),
    }


def recall(result: PrecisionRecall, at: float = math.inf) -> Figure:
    return Figure(result.recall_at(at), resampled_recalls(result, [at])[:, 0])


def objects(faces: PrecisionRecall, negatives: PrecisionRecall) -> Figure | None:
    """The detections on the object photographs from the score on that finds OBJECTS_AT of facemask's faces."""
    reached = np.flatnonzero(faces.recalls >= OBJECTS_AT)
    if not len(reached):
        return None
    return false_positives(negatives, float(faces.scores[reached[0]]))


def false_positives(result: PrecisionRecall, least_score: float = -math.inf) -> Figure:
    """The false positives from a score on."""
    judged = result.judged
    scores = int((result.scores >= least_score).sum())
    end = int(judged.last_of_score[scores - 1]) + 1 if scores else 0
    false = judged.detection_pictures[:end][np.isnan(judged.found_sizes[:end])]
    per_picture = np.bincount(false, minlength=judged.pictures).astype(np.float64)
    return Figure(float(per_picture.sum()), len(per_picture) * drawn_means(per_picture), digits=0)


def mean(errors: NDArray[np.float64]) -> Figure:
    """The mean error of faces: net_7876 has one in a picture. They are sorted, so that draws do not belong together."""
    return Figure(float(errors.mean()), drawn_means(errors), digits=4, paired=False)


def drawn_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])


def cell(figure: Figure | None, sign: str = "") -> str:
    if figure is None:
        return "-"
    value, low, high = (f"{number:{sign}.{figure.digits}f}" for number in (figure.value, *figure.interval))
    return value if np.isnan(figure.drawn).all() else f"{value} ({low} to {high})"


def row(name: str, cells: Iterable[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=path, help="folder of the photographs")
    parser.add_argument(
        "networks", nargs="*", type=named_path, metavar="NAME=FILE", help="weight files beside the embedded networks"
    )
    parser.add_argument("--validation", action="store_true", help="the validation pictures, not the test lists")
    parser.add_argument("--json", type=path, help="file to write the figures to")
    arguments = parser.parse_args()
    if arguments.json is not None:
        check_destination(arguments.json, begins=(b"{",))
    for _, file in arguments.networks:
        make_detector(str(file), OPTIONS)  # raises now, and not after minutes, for a file that is none
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        measured = sets(arguments.data, Path(folder), arguments.validation)
        for name, file in [(EMBEDDED, None), *arguments.networks]:
            own = figures[name] = measure(EMBEDDED if file is None else str(file), measured)
            if file is None:
                row("network", own)
                print("|---|" + "---:|" * len(own))
            row(name, map(cell, own.values()))
            if file is not None:
                embedded = figures[EMBEDDED].values()
                both = zip(own.values(), embedded, strict=True)
                row(f"{name}, more than embedded", (cell(a and b and a.beside(b), "+") for a, b in both))
    if arguments.json is not None:
        document = {
            name: {key: one and {"value": one.value, "interval": one.interval} for key, one in own.items()}
            for name, own in figures.items()
        }
        write_whole(arguments.json, json.dumps(document, indent=1).encode())


if __name__ == "__main__":
    main()
