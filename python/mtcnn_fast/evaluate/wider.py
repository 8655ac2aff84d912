"""Average precision on WIDER FACE by its official protocol, that of the authors' eval_tools in MATLAB."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mtcnn_fast.annotations import Problems
from mtcnn_fast.boxes import blocks
from mtcnn_fast.evaluate.coverage import Coverage, Matcher
from mtcnn_fast.evaluate.detection_files import PictureDetections, add_detection_arguments, detections_of
from mtcnn_fast.evaluate.inputs import aligned, checked_destination, report, write_json
from mtcnn_fast.evaluate.precision_recall import average_precision
from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETS = ("easy", "medium", "hard")

_LEAST_IOU = 0.5

# .999, .998, ..., 0
_THRESHOLDS = 1 - np.arange(1, 1001) / 1000


@dataclass(frozen=True, slots=True, eq=False)
class WiderGroundTruth:
    """The faces of a split of WIDER FACE."""

    names: tuple[str, ...]
    """EVENT/PICTURE, without suffix."""
    boxes: tuple[NDArray[np.float64], ...]
    """Of each picture (N, 4): x, y, width, height in pixels. All faces, those in none of the sets too."""
    members: Mapping[str, tuple[NDArray[np.bool_], ...]]
    """By set, of each picture (N,): whether a face counts in that set. Otherwise it is ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class WiderCurve:
    """Precision and recall on one of the sets, at the thresholds .999, .998, ..., 0 of the normalised score."""

    precision: NDArray[np.float64]
    """(1000,): NaN where nothing is proposed."""
    recall: NDArray[np.float64]
    """(1000,)."""

    @property
    def average_precision(self) -> float:
        """The area under the envelope of the curve."""
        return average_precision(np.nan_to_num(self.precision), self.recall)


@dataclass(frozen=True, slots=True, eq=False)
class WiderResult:
    """What `evaluate_wider` gives."""

    faces: Mapping[str, int]
    """By set, how many count."""
    curves: Mapping[str, WiderCurve]
    """By set."""
    coverage: Coverage


def read_wider_ground_truth(folder: str | os.PathLike[str]) -> WiderGroundTruth:
    """The ground truth in `wider_easy_val.mat`, `wider_medium_val.mat` and `wider_hard_val.mat` of eval_tools.

    Raises OSError for a file that is not there, ValueError for one that is not of this kind or contradicts another.
    """
    names: list[str] = []
    boxes: list[NDArray[np.float64]] = []
    members = {}
    for number, name in enumerate(SETS):
        path = Path(folder) / f"wider_{name}_val.mat"
        pictures = list(_matlab_pictures(path))
        if number == 0:
            names = [picture for picture, _, _ in pictures]
            boxes = [faces for _, faces, _ in pictures]
        elif names != [picture for picture, _, _ in pictures] or not all(
            np.array_equal(faces, first) for (_, faces, _), first in zip(pictures, boxes, strict=True)
        ):
            raise ValueError(f"{path} has other pictures or faces than wider_{SETS[0]}_val.mat beside it")
        members[name] = tuple(member for _, _, member in pictures)
    return WiderGroundTruth(tuple(names), tuple(boxes), members)


def _matlab_pictures(path: Path) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.bool_]]]:
    """Name, boxes and membership of the faces of each picture."""
    try:
        content = _matlab(path)
    except NotImplementedError as error:
        raise ValueError(f"{path} is of MATLAB 7.3; wanted the older format, of WIDER FACE's own files") from error
    try:
        keys = ("event_list", "file_list", "face_bbx_list", "gt_list")
        events = list(zip(*(content[key].ravel() for key in keys), strict=True))
        for event, files, boxes, listed in events:
            for file, faces, indices in zip(files.ravel(), boxes.ravel(), listed.ravel(), strict=True):
                rows = np.asarray(faces, np.float64).reshape(-1, 4)
                member = np.isin(np.arange(1, len(rows) + 1), indices)
                if np.count_nonzero(member) != np.size(indices):
                    raise IndexError(f"gt_list of {file[0]} is no choice of its {len(rows)} faces")
                yield f"{event[0]}/{file[0]}", rows, member
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not WIDER FACE's ground truth: {error!r}") from error


def _matlab(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file.

    Raises ValueError for another or a damaged one, NotImplementedError for one of MATLAB 7.3.
    """
    scipy_io = require("scipy.io", "reading MATLAB files", extra="evaluate")
    content = path.read_bytes()
    try:
        variables: dict[str, Any] = scipy_io.loadmat(io.BytesIO(content))
    except NotImplementedError:
        raise
    except Exception as error:  # of any type: whatever the parser of a damaged file stumbles over
        raise ValueError(f"{path} is not a whole MATLAB file: {error}") from error
    return variables


def evaluate_wider(detections: Iterable[PictureDetections], ground_truth: WiderGroundTruth) -> WiderResult:
    """Precision and recall on the easy, medium and hard set.

    The protocol: scores are normalised to [0, 1] over all pictures. A detection, highest score first, takes the face
    of highest IoU, where coordinates are inclusive (VOC's + 1) and faces that are ignored take part. From IoU .5 on it
    is a true positive if that face counts and is not taken yet, a false positive if it is taken, and nothing if the
    face is ignored; below, it is a false positive. There are 1,000 thresholds.

    Raises ValueError if a picture comes twice or if no picture is in the ground truth.
    """
    matcher = Matcher(ground_truth.names)
    scores = [np.empty(0)]
    proposed: dict[str, list[NDArray[np.bool_]]] = {name: [np.empty(0, np.bool_)] for name in SETS}
    recalled: dict[str, list[NDArray[np.bool_]]] = {name: [np.empty(0, np.bool_)] for name in SETS}
    for index, found in matcher.match(detections):
        # The files' rows need not be sorted: eval_tools sorts, some of its translations do not, and lose half the AP.
        order = np.argsort(-found.scores, kind="stable")
        scores.append(found.scores[order])
        faces = ground_truth.boxes[index]
        face, overlaps = _best(found.boxes[order].astype(np.float64), faces)
        for name in SETS:
            counts = ground_truth.members[name][index][face] if len(faces) else np.zeros(len(order), np.bool_)
            hits = np.flatnonzero(overlaps & counts)
            first = hits[np.unique(face[hits], return_index=True)[1]]
            # eval_tools passes over pictures in which nothing at all is labelled.
            proposed[name].append(~overlaps | counts if len(faces) else counts)
            recalled[name].append(np.isin(np.arange(len(order)), first))
    steps = _steps(np.concatenate(scores))
    counted = {name: sum(int(member.sum()) for member in ground_truth.members[name]) for name in SETS}
    curves = {}
    for name in SETS:
        proposals, true_positives = (
            np.cumsum(np.bincount(steps[np.concatenate(chosen[name])], minlength=len(_THRESHOLDS)))
            for chosen in (proposed, recalled)
        )
        precision = np.full(len(_THRESHOLDS), np.nan)
        np.divide(true_positives, proposals, out=precision, where=proposals > 0)
        curves[name] = WiderCurve(precision, true_positives / max(counted[name], 1))
    return WiderResult(counted, curves, matcher.coverage())


def _best(boxes: NDArray[np.float64], faces: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For boxes (n, 4) x1, y1, x2, y2 the face (m, 4) x, y, w, h of highest IoU, and whether that is enough."""
    face, overlaps = np.zeros(len(boxes), np.intp), np.zeros(len(boxes), np.bool_)
    if not len(faces):
        return face, overlaps
    low, high = faces[:, :2], faces[:, :2] + faces[:, 2:]
    areas = (high - low + 1).prod(axis=1)
    # Some pictures have 2,000 faces, and some detectors thousands of boxes.
    for part in blocks(len(boxes), len(faces)):
        block = boxes[part, None]
        sides = np.minimum(block[..., 2:], high) - np.maximum(block[..., :2], low) + 1
        inner = np.maximum(sides, 0).prod(axis=2)
        iou = inner / ((block[..., 2:] - block[..., :2] + 1).prod(axis=2) + areas - inner)
        face[part] = iou.argmax(axis=1)
        overlaps[part] = iou.max(axis=1) >= _LEAST_IOU
    return face, overlaps


def _steps(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each score the index of the first threshold that its normalised value reaches."""
    if not len(scores):
        return np.empty(0, np.intp)
    span = scores.max() - scores.min()
    normalised = (scores - scores.min()) / span if span > 0 else np.ones_like(scores)
    return np.searchsorted(-_THRESHOLDS, -normalised, side="left")


@dataclass(frozen=True, slots=True, eq=False)
class PublishedCurve:
    """A detector's curve on one of the sets, as WIDER FACE's authors publish it."""

    set: str
    label: str
    curve: WiderCurve


def read_published_curves(folder: str | os.PathLike[str]) -> list[PublishedCurve]:
    """The validation curves at any depth of a folder: `.mat` files with a set and "val" in their names.

    Raises ValueError if there are none or if one is not such a curve; ImportError where one needs h5py that is missing.
    """
    found = []
    for path in sorted(Path(folder).rglob("*.mat")):
        name = path.name.lower()
        sets = [each for each in SETS if each in name]
        if len(sets) == 1 and "val" in name:
            found.append(_published(path, sets[0]))
    if not found:
        raise ValueError(
            f"{folder} has no published curves: .mat files with easy, medium or hard, and val, in their names"
        )
    return found


def _published(path: Path, name: str) -> PublishedCurve:
    try:
        try:
            content = _matlab(path)
            curve, label = content["pr_cruve"], str(content["legend_name"][0])
        except NotImplementedError:  # MATLAB 7.3 writes HDF5, with arrays transposed and text as UTF-16
            h5py = require("h5py", "reading files of MATLAB 7.3", extra="evaluate")
            with h5py.File(path) as file:
                curve = file["pr_cruve"][()].T
                label = file["legend_name"][()].T.astype("<u2").tobytes().decode("utf-16-le")
        precision, recall = np.asarray(curve, np.float64).T
    except (IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a published curve of WIDER FACE: {error}") from error
    return PublishedCurve(name, label, WiderCurve(precision, recall))


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mtcnn-fast evaluate wider`."""
    parser = commands.add_parser(
        "wider",
        help="average precision on WIDER FACE, by its official protocol",
        description="Prints the average precision of detections on WIDER FACE's easy, medium and hard set, by the "
        "official protocol.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_detection_arguments(parser)
    parser.add_argument(
        "--ground-truth", required=True, metavar="DIR", help="folder of eval_tools' wider_{easy,medium,hard}_val.mat"
    )
    parser.add_argument("--curves", metavar="DIR", help="folder of published curves (.mat) to set beside")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the precision-recall curves to this file")
    parser.add_argument("--json", metavar="FILE", help="write the figures and the curves to this file")
    parser.set_defaults(run=lambda arguments: _run(arguments, parser.error))


def _run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    problems = Problems()
    try:
        json_file, plot_file = map(checked_destination, (arguments.json, arguments.plot))
        published = [] if arguments.curves is None else read_published_curves(arguments.curves)
        ground_truth = read_wider_ground_truth(arguments.ground_truth)
        result = evaluate_wider(detections_of(arguments, problems), ground_truth)
    except (ImportError, OSError, ValueError) as reason:
        error(str(reason))
    report(problems, "rows of the detections")
    result.coverage.report()

    curves = [(name, "detections", curve) for name, curve in result.curves.items()]
    curves += [(one.set, one.label, one.curve) for one in published]
    table = [["", *SETS], ["faces", *(f"{result.faces[name]}" for name in SETS)]]
    for label in dict.fromkeys(label for _, label, _ in curves):
        figures = {name: f"{curve.average_precision:.4f}" for name, of, curve in curves if of == label}
        table.append([f"AP, {label}", *(figures.get(name, "-") for name in SETS)])
    print(aligned(table))
    if json_file is not None:
        write_json(json_file, _figures(result))
    if plot_file is not None:
        from mtcnn_fast.evaluate import plots

        panels: dict[str, dict[str, plots.Curve]] = {name: {} for name in SETS}
        for name, label, curve in curves:
            panels[name][label] = (curve.recall, curve.precision, curve.average_precision)
        plots.precision_recall_panels(panels, plot_file)
    return 1 if problems.count or result.coverage.complaints() else 0


def _figures(result: WiderResult) -> dict[str, Any]:
    curves = {
        name: {
            "faces": result.faces[name],
            "average_precision": curve.average_precision,
            "precision": curve.precision.tolist(),
            "recall": curve.recall.tolist(),
        }
        for name, curve in result.curves.items()
    }
    return {"sets": curves, **result.coverage.to_dict()}
