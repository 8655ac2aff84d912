"""The faces found in one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mtcnn_fast.checks import integer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """One face, as `faces[i]` and iteration give it. Its arrays are read-only."""

    box: NDArray[np.float32]
    """(4,): x1, y1, x2, y2 in pixels."""
    score: float
    """Probability of a face, in [0, 1]."""
    landmarks: NDArray[np.float32]
    """(5, 2): x, y of left eye, right eye, nose, left and right mouth corner, as seen in the image."""

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

    def astuple(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """boxes, scores, landmarks."""
        return self._boxes, self._scores, self._landmarks

    def to_dicts(self, digits: int | None = None) -> list[dict[str, Any]]:
        """One dict per face, as `Face.to_dict` gives it: ready for JSON."""
        _check_digits(digits)
        return [face.to_dict(digits) for face in self]

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

    def __reduce__(self) -> tuple[type[Detections], tuple[Any, ...]]:
        # Unpickled arrays are writable. The constructor makes them read-only again.
        return Detections, self.astuple()


def _check_digits(digits: object) -> None:
    if digits is not None and integer("digits", digits) < 0:
        raise ValueError(f"digits is {digits}; wanted None or an integer of at least 0")


def _frozen(values: ArrayLike) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32, order="C")
    array.flags.writeable = False
    return array
