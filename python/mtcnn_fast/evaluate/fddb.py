"""ROC curves on FDDB by its official protocol, as in the evaluation program of Jain and Learned-Miller (2010)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import splitext
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from mtcnn_fast import reading
from mtcnn_fast.boxes import blocks
from mtcnn_fast.datasets import Problems, listings
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.documents import lines
from mtcnn_fast.evaluate.ellipses import rows
from mtcnn_fast.evaluate.pairs import Coverage, ground_truth_pairs
from mtcnn_fast.extra import require
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.text_files import portable
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SIDE = 450
"""The longest side of FDDB's pictures."""

# The limit of an ellipse's numbers: far beyond any picture, and safe for `ellipses`, which shifts them by 32 bits.
_LARGEST = 2**15

_LEAST_IOU = 0.5

_LIST = "ellipseList.txt"

_ELLIPSE = "major_radius minor_radius angle center_x center_y 1"


@dataclass(frozen=True, slots=True, eq=False)
class FddbGroundTruth:
    """The faces of FDDB, which are ellipses."""

    names: tuple[str, ...]
    """YYYY/MM/DD/big/img_N, without suffix."""
    ellipses: tuple[NDArray[np.float64], ...]
    """For each picture (N, 5): major and minor radius in pixels, angle of the major axis in radians, centre x and y."""


@dataclass(frozen=True, slots=True, eq=False)
class FddbResult:
    """The result of `evaluate_fddb`: the points of the ROC curves, one per distinct score, highest first."""

    faces: int
    scores: NDArray[np.float64]
    """(K,): the distinct scores. A point counts the detections of at least its score."""
    false_positives: NDArray[np.int64]
    """(K,): the number of false positives."""
    discrete: NDArray[np.float64]
    """(K,): the share of the faces that are found with an IoU of more than .5."""
    continuous: NDArray[np.float64]
    """(K,): the sum of the IoU of all matches, divided by the number of faces."""
    coverage: Coverage

    def at(self, false_positives: int) -> tuple[float, float]:
        """The highest discrete and continuous rates with at most so many false positives; 0 if no point has so few."""
        within = self.false_positives <= false_positives
        return float(self.discrete[within].max(initial=0)), float(self.continuous[within].max(initial=0))


def read_fddb_ground_truth(path: str | os.PathLike[str], notes: Problems | None = None) -> FddbGroundTruth:
    """The ellipses of a list, or of all `*ellipseList.txt` at any depth of a folder.

    A list has, for each picture, a name, a count and one row per ellipse. notes: receives a count of the files that
    were passed over.

    Raises OSError for a file that cannot be read, ValueError for a file with any other line, and for a picture that
    comes twice.
    """
    source = Path(path)
    files = list(_folds(source, notes)) if source.is_dir() else [source]
    if not files:
        raise FileNotFoundError(f"there is no *{_LIST} in {source}")
    ellipses: dict[str, NDArray[np.float64]] = {}
    problems = Problems(limit=1)
    for file in files:
        for name, at, listed in listings.entries(lines(file), file, problems):
            try:
                values = [_ellipse(row) for _, row in listed]
            except ValueError as error:
                problems.add(file, f"{name}: {error}")
                continue
            key = portable(name)
            if key in ellipses:
                problems.add(file, f"{key} comes a second time", at)
            ellipses[key] = np.array(values, np.float64).reshape(-1, 5)
    if problems.count:
        raise ValueError(f"{source} is no list of FDDB's ellipses: {next(iter(problems))}")
    return FddbGroundTruth(tuple(ellipses), tuple(ellipses.values()))


def _folds(folder: Path, notes: Problems | None) -> Iterator[Path]:
    passed_over = PassedOver()

    def fail(error: OSError) -> NoReturn:
        raise error

    for file in find([str(folder)], (".txt",), report=fail, passed_over=passed_over):
        if file.below.lower().endswith(_LIST.lower()):
            yield Path(file.path)
        else:
            passed_over.add_file(file.below)
    if notes is not None and str(passed_over):
        notes.add(folder, str(passed_over))


def _ellipse(row: str) -> list[float]:
    values = listings.fields(row, _ELLIPSE)[:5]
    # A NaN fails the comparisons too.
    if not (all(abs(value) < _LARGEST for value in values) and values[0] > 0 and values[1] > 0):
        raise ValueError(f"{row!r} is no ellipse: wanted finite numbers, and radii that are positive")
    return values


def read_fddb_sizes(
    folder: str | os.PathLike[str],
    names: Iterable[str],
    problems: Problems | None = None,
    notes: Problems | None = None,
) -> dict[str, tuple[int, int]]:
    """Width and height, upright, of the pictures `folder`/name, whatever their suffix.

    problems: receives pictures that cannot be read or do not exist, and these are left out; None: they raise OSError.
    notes: receives remarks about the other pictures, as `reading.remark` gives them.

    Raises ValueError for a name that two pictures have, NotADirectoryError for a folder that is none.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder} is not a folder of pictures")
    files: dict[str, list[str]] = {name: [] for name in names}
    unusable = Problems(limit=1) if problems is None else problems
    found = find(
        [os.fspath(folder)],
        reading.suffixes(),
        report=lambda error: unusable.add(str(error.filename), reason(error)),
        passed_over=PassedOver(),
    )
    for file in found:
        name = splitext(portable(file.below))[0]
        if name in files:
            files[name].append(file.path)
    sizes = {}
    for name, paths in files.items():
        if len(paths) > 1:
            raise ValueError(f"{paths[0]} and {paths[1]} are both the picture {name!r}")
        size = _size(paths[0], unusable, notes) if paths else None
        if size is not None:
            sizes[name] = size
        elif not paths:
            unusable.add(Path(folder) / name, "there is no such picture, of any suffix")
        if problems is None and unusable.count:
            raise OSError(next(iter(unusable)))
    return sizes


def _size(path: str, problems: Problems, notes: Problems | None) -> tuple[int, int] | None:
    try:
        pixels, remark = reading.first_page(path)
    except (MemoryError, OSError, ValueError) as error:
        problems.add(path, reason(error))
        return None
    if remark is not None and notes is not None:
        notes.add(path, remark)
    return pixels.shape[1], pixels.shape[0]


def evaluate_fddb(
    detections: Iterable[PictureDetections],
    ground_truth: FddbGroundTruth,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> FddbResult:
    """The discrete and the continuous ROC curve.

    The protocol: faces are the pixels in filled ellipses. Detections are the pixels in rectangles, whose corners are
    rounded and belong to them. For each distinct score of a picture, the detections of at least that score are matched
    one to one with the faces so that the sum of IoU is greatest.

    * sizes: width and height of each picture, at whose borders regions end; None: 450 x 450, because no side in FDDB is
      longer. On 5,074 detections of MTCNN, None changes at any score at most one of the 5,171 faces found, and .0008 of
      the continuous rate.

    Raises ValueError if a picture comes twice, if names can be of several pictures, if no picture is in the ground
    truth, or if `sizes` lacks one that is.
    """
    lacking = [name for name in ground_truth.names if sizes is not None and name not in sizes]
    if lacking:
        raise ValueError(f"sizes lacks {len(lacking)} pictures of the ground truth, such as {lacking[0]}")
    pairs = ground_truth_pairs(ground_truth.names, detections)
    points = [np.empty((0, 4))]
    for index, picture in pairs:
        if picture is None:
            continue
        size = (LARGEST_SIDE, LARGEST_SIDE) if sizes is None else sizes[ground_truth.names[index]]
        order = np.argsort(-picture.scores, kind="stable")
        iou = _overlaps(ground_truth.ellipses[index], picture.boxes[order], size)
        points.append(_points(picture.scores[order], iou))
    faces = sum(map(len, ground_truth.ellipses))
    # Each picture's points are differences to the point before, so their sums make the curve.
    together = np.concatenate(points)
    # The order of equal scores must not depend on the order of the pictures, which would change the sums' last digits.
    together = together[np.lexsort((*together[:, :0:-1].T, -together[:, 0]))]
    scores, (count, true, overlap) = together[:, 0], np.cumsum(together[:, 1:], axis=0).T
    last = _last(scores)
    return FddbResult(
        faces,
        scores[last],
        (count - true)[last].astype(np.int64),
        true[last] / max(faces, 1),
        overlap[last] / max(faces, 1),
        pairs.coverage(),
    )


def _overlaps(ellipses: NDArray[np.float64], boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """IoU (n, m) of the regions of ellipses (n, 5) and boxes (m, 4)."""
    width, height = size
    # From here on half-open: the pixel of the second corner belongs to the rectangle.
    limits = np.array([width, height, width, height])
    x1, y1, x2, y2 = np.clip(np.rint(boxes).astype(np.int64) + np.array([0, 0, 1, 1]), 0, limits).T
    areas = (x2 - x1) * (y2 - y1)
    iou = np.zeros((len(ellipses), len(boxes)))
    down = np.arange(height)[:, None]
    for row, (major, minor, angle, x, y) in zip(iou, ellipses, strict=True):
        # The program uses OpenCV's old C interface, which rounds the centre and truncates the radii.
        first, last = rows((round(x), round(y)), (int(major), int(minor)), round(math.degrees(angle)), size).T
        # The rectangles' pixels in the ellipse, counted in each row in which the two overlap.
        inner = np.zeros(len(boxes), np.int64)
        for part in blocks(len(boxes), height):
            across = np.minimum(last[:, None], x2[part]) - np.maximum(first[:, None], x1[part])
            within = (down >= y1[part]) & (down < y2[part])
            inner[part] = np.where(within, np.maximum(across, 0), 0).sum(axis=0)
        union = (last - first).sum() + areas - inner
        np.divide(inner, union, out=row, where=union > 0)
    return iou


def _points(scores: NDArray[np.float64], iou: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, 4): each distinct score, and the detections, true positives and sum of IoU that it adds.

    scores (m,), highest first; iou (n, m).
    """
    optimize = require("scipy.optimize", "evaluating on FDDB", extra="evaluate")
    ends = _last(scores) + 1
    totals = np.zeros((len(ends) + 1, 3))
    overlapped = np.count_nonzero(iou, axis=0)
    for i, end in enumerate(ends):
        start = int(totals[i, 0])
        totals[i + 1] = end, *totals[i, 1:]
        # Detections that overlap no face change no match.
        if overlapped[start:end].any():
            matched = iou[optimize.linear_sum_assignment(iou[:, :end], maximize=True)]
            totals[i + 1, 1:] = np.count_nonzero(matched > _LEAST_IOU), matched.sum()
    return np.column_stack((scores[ends - 1], np.diff(totals, axis=0)))


def _last(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """The index of the last of each run of equal scores. scores: sorted."""
    return np.flatnonzero(np.diff(scores, append=-np.inf))
