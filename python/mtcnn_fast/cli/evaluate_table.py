"""`mtcnn-fast evaluate table`."""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mtcnn_fast.checks import shown
from mtcnn_fast.cli import detector_options
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.inputs import FAILURES, check_counts, refusing
from mtcnn_fast.cli.reports import INCOMPLETE, report, tell
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Problems
from mtcnn_fast.evaluate.detectors import EMBEDDED, FACENET_PYTORCH, SHARED_OPTIONS, make_detector
from mtcnn_fast.evaluate.recall import recall_intervals
from mtcnn_fast.evaluate.sets import MeasuredSet, parse_set, read_sets
from mtcnn_fast.evaluate.table import Row, evaluate
from mtcnn_fast.extra import require
from mtcnn_fast.weights import SETS
from mtcnn_fast.writing import line_of

if TYPE_CHECKING:
    from mtcnn_fast.streaming import Find


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `evaluate table`."""
    parser.add_argument(
        "--sets",
        type=path,
        metavar="FILE.toml",
        help="TOML file of sets: tables [NAME] with path, format, images, only, iou, ... (default: none)",
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="NAME=FORMAT:PATH[,KEY=VALUE...]",
        help="one set, with the keys images, only, ignored, iou, ignored_iou, near_iou, smallest_face, complete (no: "
        "not every face is labelled), normalisation and outside (yes: names may lead out of the folder); may be "
        "repeated (default: none)",
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        type=path,
        default=[EMBEDDED],
        metavar="DETECTOR",
        help=f"{EMBEDDED}, {FACENET_PYTORCH}, or files of weights",
    )
    parser.add_argument(
        "--false-positives",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="add the recall at N false positives, with its 95 %% interval over pictures (default: no such columns)",
    )
    detector_options.add_to(parser, "weights")
    detector_options.add_max_faces(parser)


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `evaluate table`. Returns the exit status."""
    options = detector_options.options_of(arguments)
    with refusing(error):
        require("PIL.Image", "reading pictures", "evaluate")
        check_counts(arguments.false_positives)
        sets = _sets(arguments)
        detectors = _detectors(arguments.detectors, options, arguments.max_faces)
    labels, failures, notes, broken = (Problems() for _ in range(4))
    rows: list[Row] = []
    for measured in sets:
        annotated = measured.annotated
        for index, (name, find) in enumerate(detectors.items()):
            try:
                row = evaluate(name, find, measured, labels, failures, notes)
            except FAILURES as why:
                broken.add(f"set {annotated.name}", line_of(why))
                break
            if not row.pictures:
                broken.add(f"set {annotated.name}", f"{annotated.annotations} has no pictures")
                break
            rows.append(row)
            if row.incomplete and not index:
                console.complain(f"set {shown(annotated.name)}: {row.incomplete} {INCOMPLETE}")
    tell(notes)
    report(labels, "entries of the annotations")
    report(failures, "pictures")
    if not rows:
        error(next(iter(broken)))
    report(broken, "sets")
    stated = options | {"max_faces": arguments.max_faces}
    console.say(f"Settings: {', '.join(f'{key} {_stated(value)}' for key, value in stated.items())}.")
    if FACENET_PYTORCH in detectors:
        console.say(f"Of these, {FACENET_PYTORCH} has {', '.join(SHARED_OPTIONS)} and max_faces.")
    console.say("")
    console.say(_markdown(rows, arguments.false_positives))
    return int(bool(failures.count or broken.count))


def _markdown(rows: Sequence[Row], false_positives: Sequence[int]) -> str:
    """A table of the rows. A figure that the set does not allow is `-`."""
    more = "".join(f" recall at {n} |" for n in false_positives)
    lines = [
        "| set | pictures | IoU | detector | faces | recall | precision | false positives | AP | NME | normalised by |"
        + more,
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---|" + "---:|" * len(false_positives),
    ]
    for row in rows:
        complete, nme = row.annotated.complete, row.landmarks.nme
        cells = [
            row.annotated.name,
            f"{row.pictures}",
            f"{row.faces.iou:g}",
            row.detector,
            f"{row.faces.faces}",
            _share(row.faces.recall),
            # Without faces every detection is false, and precision says nothing.
            _share(row.faces.precision) if complete and row.faces.faces else "-",
            f"{row.faces.false_positives}" if complete else "-",
            _share(row.faces.average_precision) if complete else "-",
            _share(nme),
            "-" if math.isnan(nme) else row.landmarks.normalisation,
            *(
                f"{row.faces.recall_at(n):.4f} ({low:.4f} to {high:.4f})" if complete and row.faces.faces else "-"
                for n, (low, high) in zip(false_positives, recall_intervals(row.faces, false_positives), strict=True)
            ),
        ]
        lines.append(f"| {' | '.join(shown(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _sets(arguments: argparse.Namespace) -> list[MeasuredSet]:
    """The sets of --sets and --set. For a set that does not exist, it raises as `datasets.read` does."""
    sets = [] if arguments.sets is None else read_sets(Path(arguments.sets))
    sets += [parse_set(description) for description in arguments.set or []]
    if not sets:
        raise ValueError("wanted --sets or --set")
    twice = [name for name, count in Counter(measured.annotated.name for measured in sets).items() if count > 1]
    if twice:
        raise ValueError(f"two sets have the name {twice[0]!r}")
    for measured in sets:
        measured.annotated.read(Problems(limit=0))
    return sets


def _detectors(names: Sequence[str], options: Mapping[str, Any], max_faces: int | None) -> dict[str, Find]:
    files: dict[str, str] = {}
    for name in names:
        file = name if name in (EMBEDDED, FACENET_PYTORCH, *SETS) else os.path.realpath(name)
        if file in files:
            raise ValueError(f"the detector {name} is given twice")
        files[file] = name
    return {name: make_detector(name, options, max_faces) for name in names}


def _stated(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
