"""The faces found in one image."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mtcnn_fast.checks import at_least, integer, number, text
from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
FACE_COLUMNS = ("x1", "y1", "x2", "y2", "score", *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"))
"""The columns of a face as a row of a table: a data frame, CSV, Parquet."""

# A page of a notebook with a table of thousands of rows is slow.
_ROWS_SHOWN = 20


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """One face, as `faces[i]` and iteration give it. Its arrays are read-only."""

    box: NDArray[np.float32]
    """(4,): x1, y1, x2, y2 in pixels."""
    score: float
    """Probability of a face, in [0, 1]."""
    landmarks: NDArray[np.float32]
    """(5, 2): x, y of left eye, right eye, nose, left and right mouth corner, as seen in the image."""

    @property
    def width(self) -> float:
        """x2 - x1, in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """y2 - y1, in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def area(self) -> float:
        """Width times height, in square pixels; 0 for a box that is empty."""
        return float(_areas(self.box))

    @property
    def center(self) -> NDArray[np.float32]:
        """(2,): x, y of the middle of the box, in pixels; a new array."""
        return _centers(self.box)

    @property
    def xywh(self) -> NDArray[np.float32]:
        """(4,): x1, y1, width, height in pixels; a new array."""
        return _xywh(self.box)

    @property
    def left_eye(self) -> NDArray[np.float32]:
        """(2,): x, y of the left eye, as seen in the image."""
        return self._point(0)

    @property
    def right_eye(self) -> NDArray[np.float32]:
        """(2,): x, y of the right eye, as seen in the image."""
        return self._point(1)

    @property
    def nose(self) -> NDArray[np.float32]:
        """(2,): x, y of the tip of the nose."""
        return self._point(2)

    @property
    def mouth_left(self) -> NDArray[np.float32]:
        """(2,): x, y of the left corner of the mouth, as seen in the image."""
        return self._point(3)

    @property
    def mouth_right(self) -> NDArray[np.float32]:
        """(2,): x, y of the right corner of the mouth, as seen in the image."""
        return self._point(4)

    def _point(self, index: int) -> NDArray[np.float32]:
        point: NDArray[np.float32] = self.landmarks[index]
        return point

    def to_dict(self, digits: int | None = None) -> dict[str, Any]:
        """{"box": [x1, y1, x2, y2], "score": s, "landmarks": {"left_eye": [x, y], ...}}, in Python's floats.

        digits: decimals of the rounded coordinates, at least 0; the score keeps two more. None: no rounding.
        """
        _check_digits(digits)

        def short(values: list[float], more: int = 0) -> list[float]:
            return values if digits is None else [round(value, digits + more) for value in values]

        (score,) = short([self.score], 2)
        points = [short(point) for point in self.landmarks.tolist()]
        return {
            "box": short(self.box.tolist()),
            "score": score,
            "landmarks": dict(zip(LANDMARKS, points, strict=True)),
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.box)
        return f"Face(box=({box}), score={self.score:.3f})"


class Detections:
    """The faces found in one image, by score, highest first. Immutable: its arrays are read-only copies.

    `len` gives the number of faces. Iteration and an integer index give `Face`s. A slice, a boolean mask (N,) or an
    array of indices gives the `Detections` chosen. To write to an array, copy it first: `faces.boxes.copy()`. PyTorch
    wants writable arrays, so copy there too: `torch.tensor(faces.boxes)`.

    Raises ValueError for arrays of other shapes than those of the properties.
    """

    __slots__ = ("_boxes", "_landmarks", "_scores")

    def __init__(self, boxes: ArrayLike, scores: ArrayLike, landmarks: ArrayLike) -> None:
        self._boxes = _frozen(boxes)
        self._scores = _frozen(scores)
        self._landmarks = _frozen(landmarks)
        n = len(self._scores) if self._scores.ndim == 1 else -1
        shapes = self._boxes.shape, self._scores.shape, self._landmarks.shape
        if shapes != ((n, 4), (n,), (n, 5, 2)):
            raise ValueError(f"boxes, scores and landmarks have shapes {shapes}; wanted (n, 4), (n,) and (n, 5, 2)")

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4): x1, y1, x2, y2 in pixels; in the reference profile 0-based, half-open and not clipped."""
        return self._boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,): probability of a face, in [0, 1], highest first."""
        return self._scores

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(N, 5, 2): x, y of left eye, right eye, nose, left and right mouth corner, as seen in the image."""
        return self._landmarks

    @property
    def xywh(self) -> NDArray[np.float32]:
        """(N, 4): x1, y1, width, height in pixels; a new array."""
        return _xywh(self._boxes)

    @property
    def widths(self) -> NDArray[np.float32]:
        """(N,): x2 - x1, in pixels; a new array."""
        return self._boxes[:, 2] - self._boxes[:, 0]

    @property
    def heights(self) -> NDArray[np.float32]:
        """(N,): y2 - y1, in pixels; a new array."""
        return self._boxes[:, 3] - self._boxes[:, 1]

    @property
    def areas(self) -> NDArray[np.float32]:
        """(N,): width times height, in square pixels; 0 for a box that is empty; a new array."""
        return _areas(self._boxes).astype(np.float32)

    @property
    def centers(self) -> NDArray[np.float32]:
        """(N, 2): x, y of the middles of the boxes, in pixels; a new array."""
        return _centers(self._boxes)

    def points(self, name: str) -> NDArray[np.float32]:
        """(N, 2): x, y of one landmark of each face, such as `points("left_eye")`, as seen in the image.

        name: left_eye, right_eye, nose, mouth_left or mouth_right. Raises ValueError for another.
        """
        if text("name", name) not in LANDMARKS:
            raise ValueError(f"name is {name!r}; wanted one of {LANDMARKS}")
        return self._landmarks[:, LANDMARKS.index(name)]

    def above(self, score: float) -> Detections:
        """The faces whose score is greater than `score`, in the same order. Raises ValueError for NaN."""
        least = number("score", score)
        if math.isnan(least):
            raise ValueError("score is nan; wanted a number")
        return self[self._scores > least]

    def largest(self, n: int = 1) -> Detections:
        """The `n` faces with the largest areas, or all if there are fewer; largest first, equal ones by score.

        `faces.largest()` has one face, or none if none was found. Raises ValueError for a negative `n`.
        """
        return self._best(_areas(self._boxes), n)

    def most_central(self, shape: tuple[int, ...], n: int = 1, weight: float = 2.0) -> Detections:
        """The `n` faces that are large and near the middle of the image, or all if there are fewer; best first.

        Faces are ordered by their area less `weight` times the squared distance, in pixels, between the middles of box
        and image. This is the order of facenet-pytorch's selection method "center_weighted_size". Equal ones stay by
        score.

        shape: the shape of the image, which begins with its height and width, such as `image.shape`. weight: at least
        0; 0 gives the order of `largest`.

        Raises ValueError for a negative `n`, for a negative or infinite `weight`, and for a shape of one number or
        with a negative one.
        """
        if not isinstance(shape, tuple | list) or len(shape) < 2:
            raise ValueError(f"shape is {shape!r}; wanted (height, width), or image.shape")
        height, width = (at_least(f"shape[{i}]", shape[i], 0) for i in range(2))
        weight = number("weight", weight)
        if not 0 <= weight < math.inf:
            raise ValueError(f"weight is {weight}; wanted a number of at least 0")
        boxes = self._boxes.astype(np.float64)
        away = (boxes[:, :2] + boxes[:, 2:]) / 2 - (width / 2, height / 2)
        return self._best(_areas(self._boxes) - weight * np.square(away).sum(axis=1), n)

    def _best(self, values: NDArray[np.float64], n: int) -> Detections:
        # The order of equal values is that of the faces, which is by score.
        return self[np.argsort(-values, kind="stable")[: at_least("n", n, 0)]]

    def astuple(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """boxes, scores, landmarks."""
        return self._boxes, self._scores, self._landmarks

    def to_dicts(self, digits: int | None = None) -> list[dict[str, Any]]:
        """One dict per face, as `Face.to_dict` gives it: ready for JSON."""
        _check_digits(digits)
        return [face.to_dict(digits) for face in self]

    def to_json(self, digits: int | None = 2) -> str:
        """`to_dicts(digits)` as a JSON document in one line; `[]` if no face was found."""
        return json.dumps(self.to_dicts(digits))

    def to_rows(self) -> NDArray[np.float32]:
        """(N, 15): a row per face; a new array.

        Its columns are x1, y1, x2, y2, score, left_eye_x, left_eye_y, right_eye_x and so on, in the order of
        `landmarks`.
        """
        return np.hstack([self._boxes, self._scores[:, np.newaxis], self._landmarks.reshape(-1, 10)])

    def to_dataframe(self) -> Any:
        """A pandas.DataFrame of float32: the rows and the columns of `to_rows`, with names.

        Raises ImportError without pandas.
        """
        pandas = require("pandas", "to_dataframe", remedy="pip install pandas")
        return pandas.DataFrame(self.to_rows(), columns=list(FACE_COLUMNS))

    def to_supervision(self) -> Any:
        """A supervision.Detections: `xyxy`, `confidence`, `class_id` 0, and `data["landmarks"]` (N, 5, 2).

        Its arrays are copies. Raises ImportError without supervision.
        """
        supervision = require("supervision", "to_supervision", remedy="pip install supervision")
        return supervision.Detections(
            xyxy=self._boxes.copy(),
            confidence=self._scores.copy(),
            class_id=np.zeros(len(self), np.intp),
            data={"landmarks": self._landmarks.copy()},
        )

    def to_opencv(self) -> NDArray[np.float32]:
        """(N, 15): the columns of OpenCV's FaceDetectorYN: x1, y1, width, height, landmarks, score.

        A row is a face as `cv2.FaceRecognizerSF.alignCrop` takes it. The landmarks have the order of `landmarks`:
        OpenCV's right eye is the person's, which is the left one in the image. A new array; OpenCV is not needed.
        """
        return np.hstack([self.xywh, self._landmarks.reshape(-1, 10), self._scores[:, np.newaxis]])

    def __len__(self) -> int:
        return len(self._scores)

    def __iter__(self) -> Iterator[Face]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int] | list[bool]) -> Detections: ...
    def __getitem__(self, index: Any) -> Face | Detections:
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            return Face(self._boxes[index], float(self._scores[index]), self._landmarks[index])
        if not isinstance(index, slice):
            if not isinstance(index, list | np.ndarray):
                raise TypeError(
                    f"faces are chosen by an integer, a slice, a mask or an array of indices, not by {index!r}"
                )
            # NumPy makes a float array of an empty list, which is no index.
            index = np.empty(0, np.intp) if isinstance(index, list) and not index else np.asarray(index)
            if index.ndim != 1:
                raise IndexError(f"a mask or an array of indices has one axis; this one has {index.ndim}")
        return Detections(self._boxes[index], self._scores[index], self._landmarks[index])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return all(np.array_equal(a, b) for a, b in zip(self.astuple(), other.astuple(), strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        best = f", best score {self._scores[0]:.4f}" if len(self) else ""
        return f"<Detections: {len(self)} {'face' if len(self) == 1 else 'faces'}{best}>"

    def _repr_html_(self) -> str:
        """A table for notebooks, of at most 20 faces."""
        head = "".join(f"<th>{name}</th>" for name in ("", *FACE_COLUMNS))
        rows = [
            f"<tr><th>{i}</th>"
            + "".join(
                f"<td>{value:.{4 if name == 'score' else 1}f}</td>"
                for name, value in zip(FACE_COLUMNS, row, strict=True)
            )
            + "</tr>"
            for i, row in enumerate(self.to_rows()[:_ROWS_SHOWN].tolist())
        ]
        more = f"<p>{len(self) - _ROWS_SHOWN} more</p>" if len(self) > _ROWS_SHOWN else ""
        faces = f"{len(self)} {'face' if len(self) == 1 else 'faces'}"
        return f"<p>{faces}</p><table><tr>{head}</tr>{''.join(rows)}</table>{more}"

    def __reduce__(self) -> tuple[type[Detections], tuple[Any, ...]]:
        # Unpickled arrays are writable. The constructor makes them read-only again.
        return Detections, self.astuple()


def _check_digits(digits: object) -> None:
    if digits is not None and integer("digits", digits) < 0:
        raise ValueError(f"digits is {digits}; wanted None or an integer of at least 0")


def _xywh(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def _centers(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    centers: NDArray[np.float32] = (boxes[..., :2] + boxes[..., 2:]) / np.float32(2)
    return centers


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    # In float64, where products of float32 are exact: faces that differ in area keep their order.
    sides = np.maximum(boxes[..., 2:].astype(np.float64) - boxes[..., :2], 0)
    areas: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return areas


def _frozen(values: ArrayLike) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32, order="C")
    array.flags.writeable = False
    return array
