"""Several detectors on several annotated sets, and `mtcnn-fast evaluate table`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mtcnn_fast import MTCNN, Detections, detector_options
from mtcnn_fast.annotations import FORMATS, Annotation, Problems, read
from mtcnn_fast.checks import described, flag, number, text
from mtcnn_fast.evaluate.inputs import report
from mtcnn_fast.evaluate.landmarks import INTER_OCULAR, NORMALISATIONS, LandmarkErrors, LandmarkTally
from mtcnn_fast.evaluate.matching import checked_iou
from mtcnn_fast.evaluate.precision_recall import PrecisionRecall, PrecisionRecallTally
from mtcnn_fast.evaluate.run import detect_each
from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Find = Callable[[list[NDArray[np.uint8]]], list[Detections]]
    """Faces of BGR images."""

EMBEDDED = "embedded"
FACENET_PYTORCH = "facenet-pytorch"

_SHARED = ("min_face_size", "scale_factor", "thresholds")


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """A set of annotated pictures, and how detections are compared with it."""

    name: str
    path: Path
    format: str | None = None
    """One of `annotations.FORMATS`; None: told from the path."""
    images: Path | None = None
    only: Path | None = None
    iou: float = 0.5
    complete: bool = True
    """Whether every face in the pictures is labelled. If not, what else is found is not wrong: no precision."""
    normalisation: str = INTER_OCULAR
    """Of the landmarks' errors."""

    def read(self, problems: Problems) -> Iterable[Annotation]:
        """Its pictures."""
        return read(self.path, self.format, images=self.images, only=self.only, problems=problems)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What a detector finds on a set."""

    detector: str
    annotated: AnnotatedSet
    pictures: int
    """Of the set, those that cannot be read included: nothing is found in them."""
    faces: PrecisionRecall
    landmarks: LandmarkErrors


def evaluate(name: str, find: Find, annotated: AnnotatedSet, labels: Problems, failures: Problems) -> Row:
    """Detects on a set, in batches and at constant memory.

    labels: is told of rows of the annotations that cannot be used; failures: of pictures.
    """
    faces = PrecisionRecallTally(annotated.iou)
    landmarks = LandmarkTally(annotated.normalisation, annotated.iou)
    count = 0
    files = ((annotation, annotation.path) for annotation in annotated.read(labels))
    for annotation, _, outcome in detect_each(find, files):
        count += 1
        found = None
        if isinstance(outcome, Detections):
            found = outcome
        else:
            failures.add(annotation.path, str(outcome))
        faces.add(annotation, found)
        landmarks.add(annotation, found)
    return Row(name, annotated, count, faces.result(), landmarks.result())


def markdown(rows: Sequence[Row]) -> str:
    """A table of them; `-` for what a set does not tell."""
    lines = [
        "| set | pictures | IoU | detector | faces | recall | precision | false positives | AP | NME | normalised by |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---|",
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
            # Without faces everything that is found is false: a share of that says nothing.
            _share(row.faces.precision) if complete and row.faces.faces else "-",
            f"{row.faces.false_positives}" if complete else "-",
            _share(row.faces.average_precision) if complete else "-",
            _share(nme),
            "-" if math.isnan(nme) else row.landmarks.normalisation,
        ]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def make_detector(name: str, options: Mapping[str, Any], max_faces: int | None = None) -> Find:
    """What finds faces: EMBEDDED, FACENET_PYTORCH, or the path of a file of weights; with MTCNN's `options`."""
    if name == FACENET_PYTORCH:
        return facenet_pytorch(options, max_faces)
    detector = MTCNN(channel_order="bgr", **{**options, "weights": None if name == EMBEDDED else name})
    detector.detect_batch([], max_faces=max_faces)
    return lambda images: detector.detect_batch(images, max_faces=max_faces)


def facenet_pytorch(options: Mapping[str, Any], max_faces: int | None = None) -> Find:
    """The peer's detector on the CPU, with the options of MTCNN's that it has as well: _SHARED."""
    module = require("facenet_pytorch", "the detector facenet-pytorch", "evaluate")
    detector = module.MTCNN(
        keep_all=True,
        device="cpu",
        selection_method="probability",
        min_face_size=int(options["min_face_size"]),
        factor=options["scale_factor"],
        thresholds=list(options["thresholds"]),
    )

    def find(images: list[NDArray[np.uint8]]) -> list[Detections]:
        found = []
        for image in images:
            try:
                boxes, scores, landmarks = detector.detect(np.ascontiguousarray(image[:, :, ::-1]), landmarks=True)
            except RuntimeError as error:  # an image with no room for a face is an error of PyTorch's there
                raise ValueError(f"facenet-pytorch: {error}") from error
            if boxes is None:
                boxes, scores, landmarks = np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
            order = np.argsort(-scores.astype(np.float64), kind="stable")[:max_faces]
            found.append(Detections(boxes[order], scores[order], landmarks[order]))
        return found

    return find


def parse_set(description: str, folder: Path = Path()) -> AnnotatedSet:
    """A set as `--set` gives it: `NAME=FORMAT:PATH[,images=DIR][,only=FILE][,iou=T][,complete=no][,normalisation=N]`.

    Paths are below `folder`. Raises ValueError for anything else.
    """
    name, equals, rest = description.partition("=")
    place, *pairs = rest.split(",")
    format, colon, path = place.partition(":")
    if not (name and equals and colon and path):
        raise ValueError(f"set is {description!r}; wanted NAME=FORMAT:PATH[,KEY=VALUE ...]")
    entry: dict[str, Any] = {"format": format, "path": path}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"set {name} has {pair!r}; wanted KEY=VALUE")
        entry[key] = value
    if "iou" in entry:
        try:
            entry["iou"] = float(entry["iou"])
        except ValueError:
            raise ValueError(f"set {name}: iou is {entry['iou']!r}; wanted a number") from None
    if "complete" in entry:
        if entry["complete"] not in ("yes", "no"):
            raise ValueError(f"set {name}: complete is {entry['complete']!r}; wanted yes or no")
        entry["complete"] = entry["complete"] == "yes"
    return _checked_set(name, entry, folder)


def read_sets(path: Path) -> list[AnnotatedSet]:
    """The sets of a TOML file, whose tables `[NAME]` have the keys `path` and, as AnnotatedSet, format, images, only,
    iou, complete and normalisation. Paths are below the file's folder. Raises ValueError for anything else."""
    toml = require("tomllib" if find_spec("tomllib") else "tomli", "reading TOML files", "evaluate")
    try:
        document = toml.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    try:
        return [_checked_set(name, entry, path.parent) for name, entry in document.items()]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked_set(name: str, entry: object, folder: Path) -> AnnotatedSet:
    if not isinstance(entry, dict) or "path" not in entry:
        raise ValueError(f"set {name} is {described(entry)}; wanted a table with a path")
    values: dict[str, Any] = {}
    try:
        for key, value in entry.items():
            if key not in _CHECKS:
                raise ValueError(f"there is no key {key!r}; wanted {', '.join(_CHECKS)}")
            values[key] = _CHECKS[key](key, value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"set {name}: {error}") from None
    for key in ("path", "images", "only"):
        if key in values:
            values[key] = folder / values[key]
    return AnnotatedSet(name, **values)


def _one_of(wanted: Sequence[str]) -> Callable[[str, object], str]:
    def check(key: str, value: object) -> str:
        found = text(key, value)
        if found not in wanted:
            raise ValueError(f"{key} is {found!r}; wanted one of {', '.join(wanted)}")
        return found

    return check


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "path": text,
    "format": _one_of(FORMATS),
    "images": text,
    "only": text,
    "iou": lambda key, value: checked_iou(number(key, value)),
    "complete": flag,
    "normalisation": _one_of(NORMALISATIONS),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mtcnn-fast evaluate table`."""
    parser = commands.add_parser(
        "table",
        help="a table of several detectors on several annotated sets",
        description="Prints a Markdown table of what detectors find on annotated sets.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--sets", metavar="FILE.toml", help="TOML file of sets: tables [NAME] of path, format, images, only, iou, ..."
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=FORMAT:PATH[,KEY=VALUE...]",
        help="one set, with the keys images, only, iou, complete (no: not every face is labelled) and normalisation; "
        "may be given again",
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=[EMBEDDED],
        metavar="DETECTOR",
        help=f"{EMBEDDED}, {FACENET_PYTORCH}, or files of weights",
    )
    detector_options.add_to(parser, "weights")
    detector_options.add_max_faces(parser)
    parser.set_defaults(run=lambda arguments: _run(arguments, parser.error))


def _run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    labels, failures = Problems(), Problems()
    options = detector_options.given(arguments)
    try:
        require("cv2", "mtcnn-fast evaluate table")
        sets = read_sets(Path(arguments.sets)) if arguments.sets else []
        sets += [parse_set(description) for description in arguments.set]
        if not sets:
            raise ValueError("wanted --sets or --set")
        detectors = {name: make_detector(name, options, arguments.max_faces) for name in arguments.detectors}
        rows = []
        for annotated in sets:
            for index, (name, find) in enumerate(detectors.items()):
                # Of the annotations' problems one list will do.
                noted = Problems(limit=0) if index else labels
                rows.append(evaluate(name, find, annotated, noted, failures))
                if not rows[-1].pictures:
                    raise ValueError(f"set {annotated.name}: {annotated.path} has no pictures")
    except (ImportError, OSError, RuntimeError, ValueError) as reason:
        error(str(reason))
    report(labels, "rows or files of the annotations")
    report(failures, "pictures")
    stated = options | {"max_faces": arguments.max_faces}
    print(f"Settings: {', '.join(f'{key} {_stated(value)}' for key, value in stated.items())}.")
    if FACENET_PYTORCH in detectors:
        print(f"{FACENET_PYTORCH} has of these {', '.join(_SHARED)} and max_faces.")
    print()
    print(markdown(rows))
    return 1 if failures.count else 0


def _stated(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
