"""Average precision on WIDER FACE by its official protocol, which the authors' eval_tools in MATLAB define."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.boxes import blocks
from mtcnn_fast.datasets import Problems, matlab
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.documents import check_regular
from mtcnn_fast.evaluate.pairs import Coverage, ground_truth_pairs
from mtcnn_fast.evaluate.precision_recall import average_precision
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.text_files import portable
from mtcnn_fast.writing import reason

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
    """For each picture (N, 4): x, y, width, height in pixels of all faces, including those in none of the sets."""
    members: Mapping[str, tuple[NDArray[np.bool_], ...]]
    """By set, for each picture (N,): whether a face counts in that set. Otherwise it is ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class WiderCurve:
    """Precision and recall on one of the sets, at the thresholds .999, .998, ..., 0 of the normalised score."""

    precision: NDArray[np.float64]
    """(1000,): the precision at each threshold; NaN where nothing is proposed."""
    recall: NDArray[np.float64]
    """(1000,): the recall at each threshold."""

    @property
    def average_precision(self) -> float:
        """The area under the envelope of the curve."""
        return average_precision(np.nan_to_num(self.precision), self.recall)


@dataclass(frozen=True, slots=True, eq=False)
class WiderResult:
    """The result of `evaluate_wider`."""

    faces: Mapping[str, int]
    """By set, the number of faces that count."""
    curves: Mapping[str, WiderCurve]
    """By set, its curve."""
    coverage: Coverage


def read_wider_ground_truth(folder: str | os.PathLike[str]) -> WiderGroundTruth:
    """The ground truth in `wider_easy_val.mat`, `wider_medium_val.mat` and `wider_hard_val.mat` of eval_tools.

    Raises OSError for a file that does not exist, ValueError for one of another kind, or one that contradicts another.
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
    keys = ("event_list", "file_list", "face_bbx_list", "gt_list")
    check_regular(path)
    variables = matlab.variables(path, keys)
    try:
        for event, files, boxes, listed in matlab.rows(*(variables[key] for key in keys)):
            for file, faces, indices in matlab.rows(files, boxes, listed):
                rows = np.asarray(faces, np.float64).reshape(-1, 4)
                if not np.isfinite(rows).all():
                    raise ValueError(f"face_bbx_list of {file[0]} has a number that is not finite")
                member = np.isin(np.arange(1, len(rows) + 1), indices)
                if np.count_nonzero(member) != np.size(indices):
                    raise IndexError(f"gt_list of {file[0]} has an index twice, or beyond its {len(rows)} faces")
                yield portable(f"{event[0]}/{file[0]}"), rows, member
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not WIDER FACE's ground truth: {type(error).__name__}: {reason(error)}") from error


def evaluate_wider(detections: Iterable[PictureDetections], ground_truth: WiderGroundTruth) -> WiderResult:
    """Precision and recall on the easy, medium and hard set.

    The protocol: scores are normalised to [0, 1] over all pictures. Each detection, highest score first, takes the face
    of highest IoU among all faces, including those that are ignored. The IoU counts coordinates as inclusive (VOC's
    + 1). Below IoU .5 the detection is a false positive. From .5 on, it is a true positive if that face counts and no
    detection has taken it, a false positive if one has, and nothing if the face is ignored. There are 1,000 thresholds.

    Raises ValueError if a picture comes twice, if names can be of several pictures, or if no picture is in the ground
    truth.
    """
    pairs = ground_truth_pairs(ground_truth.names, detections)
    scores = [np.empty(0)]
    proposed: dict[str, list[NDArray[np.bool_]]] = {name: [np.empty(0, np.bool_)] for name in SETS}
    recalled: dict[str, list[NDArray[np.bool_]]] = {name: [np.empty(0, np.bool_)] for name in SETS}
    for index, picture in pairs:
        if picture is None:
            continue
        # Rows in files need not be sorted. eval_tools sorts them; some translations of it do not, and lose half the AP.
        order = np.argsort(-picture.scores, kind="stable")
        scores.append(picture.scores[order])
        faces = ground_truth.boxes[index]
        face, overlaps = _best(picture.boxes[order].astype(np.float64), faces)
        for name in SETS:
            counts = ground_truth.members[name][index][face] if len(faces) else np.zeros(len(order), np.bool_)
            hits = np.flatnonzero(overlaps & counts)
            first = hits[np.unique(face[hits], return_index=True)[1]]
            # eval_tools skips pictures without any labelled face.
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
    return WiderResult(counted, curves, pairs.coverage())


def _best(boxes: NDArray[np.float64], faces: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each box (n, 4) x1, y1, x2, y2, the index of the face (m, 4) x, y, w, h of highest IoU, and whether it is
    enough."""
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
    """A detector's curve on one of the sets, from the files that WIDER FACE's authors publish."""

    set: str
    label: str
    curve: WiderCurve


def read_published_curves(
    folder: str | os.PathLike[str], problems: Problems | None = None, notes: Problems | None = None
) -> list[PublishedCurve]:
    """The validation curves at any depth of a folder: `.mat` files with a set and "val" in their names.

    problems: receives files that are no such curve; None: they are errors. notes: receives a count of files that were
    passed over.

    Raises ValueError if there are no curves, and for two of one label and set; ImportError if a file needs h5py and it
    is missing.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder} is not a folder of published curves")
    curves: list[PublishedCurve] = []
    files_of: dict[tuple[str, str], str] = {}
    unusable, passed_over = Problems() if problems is None else problems, PassedOver()
    files = find(
        [os.fspath(folder)],
        (".mat",),
        report=lambda error: unusable.add(str(error.filename), reason(error)),
        passed_over=passed_over,
    )
    for file in files:
        name = file.below.rpartition("/")[2].lower()
        sets = [each for each in SETS if each in name]
        if len(sets) != 1 or "val" not in name:
            passed_over.add_file(name)
            continue
        try:
            curve = _published(Path(file.path), sets[0])
        except (OSError, ValueError) as error:
            unusable.add(file.path, reason(error))
            continue
        other = files_of.setdefault((curve.set, curve.label), file.path)
        if other != file.path:
            raise ValueError(f"{other} and {file.path} are both the {curve.set} set's curve of {curve.label!r}")
        curves.append(curve)
    if unusable.count and (problems is None or not curves):
        raise ValueError(next(iter(unusable)))
    if not curves:
        raise ValueError(
            f"{folder} has no published curves: .mat files with easy, medium or hard, and val, in their names"
        )
    if notes is not None and str(passed_over):
        notes.add(folder, str(passed_over))
    return curves


def _published(path: Path, name: str) -> PublishedCurve:
    """The curve in a file. Raises ValueError that does not name the file."""
    try:
        check_regular(path)
        variables = matlab.variables(path, ("pr_cruve", "legend_name"), hdf5=True)
        curve, label = variables["pr_cruve"], str(variables["legend_name"][0])
        precision, recall = np.asarray(curve, np.float64).T
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # the variables of a damaged file may be anything
        raise ValueError(f"it is not a published curve of WIDER FACE: {reason(error)}") from error
    return PublishedCurve(name, label, WiderCurve(precision, recall))
