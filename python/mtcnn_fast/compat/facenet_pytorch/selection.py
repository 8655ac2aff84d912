"""One face per image, by facenet-pytorch's four methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast.compat.facenet_pytorch.crops import image_shape

METHODS = ("probability", "largest", "largest_over_threshold", "center_weighted_size")


def areas(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def best_face(
    boxes: NDArray[Any], probs: NDArray[Any], img: Any, method: str, threshold: float, center_weight: float
) -> int | None:
    """The row of the face that the method chooses; None: no face is over the threshold."""
    if method == "probability":
        value = probs
    elif method == "largest":
        value = areas(boxes)
    elif method == "largest_over_threshold":
        over = np.asarray(probs > threshold, dtype=bool)
        if not over.any():
            return None
        value = np.where(over, areas(boxes).astype(np.float64), -np.inf)
    elif method == "center_weighted_size":
        offsets = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(image_shape(img)) / 2
        value = areas(boxes) - (offsets**2).sum(axis=1) * center_weight
    else:
        raise ValueError(f"method is {method!r}; wanted one of {METHODS}")
    # The order is reversed after sorting, not the values: of equal ones facenet-pytorch takes the last.
    return int(np.argsort(value)[::-1][0])
