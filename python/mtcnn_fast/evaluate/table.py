"""Several detectors on several annotated sets, and `mtcnn-fast evaluate table`."""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mtcnn_fast import MTCNN, Detections, detector_options
from mtcnn_fast.arguments import Commands
from mtcnn_fast.arguments import path as path_argument
from mtcnn_fast.checks import described, flag, number, text
from mtcnn_fast.console import console, shown
from mtcnn_fast.datasets import FORMATS, Annotation, Problems, read
from mtcnn_fast.evaluate import documents
from mtcnn_fast.evaluate.inputs import FAILURES, INCOMPLETE, report, tell
from mtcnn_fast.evaluate.landmarks import INTER_OCULAR, NORMALISATIONS, LandmarkErrors, LandmarkTally
from mtcnn_fast.evaluate.matching import checked_iou
from mtcnn_fast.evaluate.precision_recall import PrecisionRecall, PrecisionRecallTally
from mtcnn_fast.extra import require
from mtcnn_fast.streaming import detect_each
from mtcnn_fast.text_files import portable
from mtcnn_fast.writing import line_of, reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.streaming import Find

EMBEDDED = "embedded"
FACENET_PYTORCH = "facenet-pytorch"

_SHARED = ("min_face_size", "scale_factor", "thresholds")


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """A set of annotated pictures, and how detections are compared with it."""

    name: str
    path: Path
    format: str | None = None
    """One of `annotations.FORMATS`; None: detected from the path."""
    images: Path | None = None
    only: Path | None = None
    iou: float = 0.5
    complete: bool = True
    """Whether every face in the pictures is labelled. If not, what else is found is not wrong: no precision."""
    normalisation: str = INTER_OCULAR
    """Of the landmarks' errors."""
    outside: bool = False
    """Whether names may lead out of the folder of the pictures."""

    def read(self, problems: Problems) -> Iterable[Annotation]:
        """Its pictures."""
        return read(self.path, self.format, images=self.images, only=self.only, problems=problems, outside=self.outside)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What a detector finds on a set."""

    detector: str
    annotated: AnnotatedSet
    pictures: int
    """Of the set, those that cannot be read included: nothing is found in them."""
    incomplete: int
    """Pictures of the set of which a label is lost."""
    faces: PrecisionRecall
    landmarks: LandmarkErrors


def evaluate(
    name: str, find: Find, annotated: AnnotatedSet, labels: Problems, failures: Problems, notes: Problems
) -> Row:
    """Detects on a set, in batches and at constant memory; of a picture with pages on the first.

    labels: is told of entries of the annotations that cannot be used; failures: of pictures; notes: of pictures that
    are damaged, or have pages that are not searched.
    """
    faces = PrecisionRecallTally(annotated.iou)
    landmarks = LandmarkTally(annotated.normalisation, annotated.iou)
    count = incomplete = 0
    files = ((annotation, annotation.path) for annotation in annotated.read(labels))
    for outcome in detect_each(find, files, first_page_only=True):
        annotation = outcome.key
        count += 1
        incomplete += not annotation.complete
        if outcome.error is not None:
            by_detector = outcome.picture is not None and not outcome.error.startswith(f"{name}: ")
            failures.add(annotation.path, f"{name}: {outcome.error}" if by_detector else outcome.error)
        if outcome.remark is not None:
            notes.add(annotation.path, outcome.remark)
        faces.add(annotation, outcome.faces)
        landmarks.add(annotation, outcome.faces)
    return Row(name, annotated, count, incomplete, faces.result(), landmarks.result())


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
        lines.append(f"| {' | '.join(shown(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def make_detector(name: str, options: Mapping[str, Any], max_faces: int | None = None) -> Find:
    """What finds faces: EMBEDDED, FACENET_PYTORCH, or the path of a file of weights; with MTCNN's `options`."""
    if name == FACENET_PYTORCH:
        return facenet_pytorch(options, max_faces)
    detector = MTCNN(channel_order="rgb", **{**options, "weights": None if name == EMBEDDED else name})
    detector.detect_batch([], max_faces=max_faces)
    return lambda images: detector.detect_batch(images, max_faces=max_faces)


def facenet_pytorch(options: Mapping[str, Any], max_faces: int | None = None) -> Find:
    """The peer's detector on the CPU, with the options of MTCNN's that it has as well: _SHARED.

    Raises ImportError without that package, ValueError for what it refuses: options, or a picture.
    """
    with _its_errors():
        module = require("facenet_pytorch", "the detector facenet-pytorch", remedy="pip install facenet-pytorch")
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
            # An image with no room for a face is an error of PyTorch's there.
            with _its_errors():
                boxes, scores, landmarks = detector.detect(np.ascontiguousarray(image), landmarks=True)
                if boxes is None:
                    boxes, scores, landmarks = np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
                order = np.argsort(-scores.astype(np.float64), kind="stable")[:max_faces]
                found.append(Detections(boxes[order], scores[order], landmarks[order]))
        return found

    return find


@contextmanager
def _its_errors() -> Iterator[None]:
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # another package raises what it likes
        raise ValueError(f"{FACENET_PYTORCH}: {reason(error)}") from error


def parse_set(description: str, folder: Path = Path()) -> AnnotatedSet:
    """A set as `--set` gives it: `NAME=FORMAT:PATH[,images=DIR][,only=FILE][,iou=T][,complete=no][,normalisation=N]
    [,outside=yes]`.

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
        if key in entry:
            raise ValueError(f"set {name} has {key} twice")
        entry[key] = value
    if "iou" in entry:
        try:
            entry["iou"] = float(entry["iou"])
        except ValueError:
            raise ValueError(f"set {name}: iou is {entry['iou']!r}; wanted a number") from None
    for key in {"complete", "outside"} & entry.keys():
        if entry[key] not in ("yes", "no"):
            raise ValueError(f"set {name}: {key} is {entry[key]!r}; wanted yes or no")
        entry[key] = entry[key] == "yes"
    return _checked_set(name, entry, folder)


def read_sets(path: Path) -> list[AnnotatedSet]:
    """The sets of a TOML file, whose tables `[NAME]` have the keys `path` and, as AnnotatedSet, format, images, only,
    iou, complete, normalisation and outside. Paths are below the file's folder. Raises ValueError for anything else."""
    toml = require("tomllib" if find_spec("tomllib") else "tomli", "reading TOML files", "evaluate")
    content = documents.text(path)
    try:
        document = toml.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path} is TOML that nests too deep") from error
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {reason(error)}") from error
    try:
        return [_checked_set(name, entry, path.parent) for name, entry in document.items()]
    except (RecursionError, ValueError) as error:
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
            values[key] = _below(folder, values[key])
    return AnnotatedSet(name, **values)


def _below(folder: Path, name: str) -> Path:
    """A path as it is given, or else as Windows may have written it."""
    path = folder / name
    # A Path raises for a name that no file can have.
    return path if os.path.exists(path) else folder / portable(name)  # noqa: PTH110


def _path(key: str, value: object) -> str:
    found = text(key, value)
    if not found:
        raise ValueError(f"{key} is empty; wanted a path")
    return found


def _one_of(wanted: Sequence[str]) -> Callable[[str, object], str]:
    def check(key: str, value: object) -> str:
        found = text(key, value)
        if found not in wanted:
            raise ValueError(f"{key} is {found!r}; wanted one of {', '.join(wanted)}")
        return found

    return check


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "path": _path,
    "format": _one_of(FORMATS),
    "images": _path,
    "only": _path,
    "iou": lambda key, value: checked_iou(number(key, value)),
    "complete": flag,
    "normalisation": _one_of(NORMALISATIONS),
    "outside": flag,
}


def add_parser(commands: Commands) -> None:
    """`mtcnn-fast evaluate table`."""
    parser = commands.add_parser(
        "table",
        help="a table of several detectors on several annotated sets",
        description="Prints a Markdown table of what detectors find on annotated sets.",
    )
    parser.add_argument(
        "--sets",
        type=path_argument,
        metavar="FILE.toml",
        help="TOML file of sets: tables [NAME] of path, format, images, only, iou, ... (default: none)",
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="NAME=FORMAT:PATH[,KEY=VALUE...]",
        help="one set, with the keys images, only, iou, complete (no: not every face is labelled), normalisation and "
        "outside (yes: names may lead out of the folder); "
        "may be given again (default: none)",
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        type=path_argument,
        default=[EMBEDDED],
        metavar="DETECTOR",
        help=f"{EMBEDDED}, {FACENET_PYTORCH}, or files of weights",
    )
    detector_options.add_to(parser, "weights")
    detector_options.add_max_faces(parser)
    parser.set_defaults(run=lambda arguments: _run(arguments, parser.error))


def _run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    options = detector_options.given(arguments)
    try:
        require("PIL.Image", "reading pictures", "evaluate")
        sets = _sets(arguments)
        detectors = _detectors(arguments.detectors, options, arguments.max_faces)
    except FAILURES as why:
        error(line_of(why))
    labels, failures, notes, broken = (Problems() for _ in range(4))
    rows: list[Row] = []
    for annotated in sets:
        for index, (name, find) in enumerate(detectors.items()):
            # What the annotations and the pictures are is told once.
            told = (Problems(limit=0), failures, Problems(limit=0)) if index else (labels, failures, notes)
            try:
                row = evaluate(name, find, annotated, *told)
            except FAILURES as why:
                broken.add(f"set {annotated.name}", line_of(why))
                break
            if not row.pictures:
                broken.add(f"set {annotated.name}", f"{annotated.path} has no pictures")
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
        console.say(f"{FACENET_PYTORCH} has of these {', '.join(_SHARED)} and max_faces.")
    console.say("")
    console.say(markdown(rows))
    return int(bool(failures.count or broken.count))


def _sets(arguments: argparse.Namespace) -> list[AnnotatedSet]:
    """What --sets and --set name. For sets that are not there it raises as `datasets.read` does."""
    sets = [] if arguments.sets is None else read_sets(Path(arguments.sets))
    sets += [parse_set(description) for description in arguments.set or []]
    if not sets:
        raise ValueError("wanted --sets or --set")
    twice = [name for name, count in Counter(annotated.name for annotated in sets).items() if count > 1]
    if twice:
        raise ValueError(f"two sets have the name {twice[0]!r}")
    for annotated in sets:
        annotated.read(Problems(limit=0))
    return sets


def _detectors(names: Sequence[str], options: Mapping[str, Any], max_faces: int | None) -> dict[str, Find]:
    files: dict[str, str] = {}
    for name in names:
        file = name if name in (EMBEDDED, FACENET_PYTORCH) else os.path.realpath(name)
        if file in files:
            raise ValueError(f"the detector {name} is given twice")
        files[file] = name
    return {name: make_detector(name, options, max_faces) for name in names}


def _stated(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
