"""Detectors by their names: this package's with any weights, and that of facenet-pytorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import MTCNN, Detections
from mtcnn_fast.extra import require
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.streaming import Find

EMBEDDED = "embedded"
FACENET_PYTORCH = "facenet-pytorch"

SHARED_OPTIONS = ("min_face_size", "scale_factor", "thresholds")
"""The options of MTCNN that facenet-pytorch has as well."""


def make_detector(name: str, options: Mapping[str, Any], max_faces: int | None = None) -> Find:
    """A detector with MTCNN's `options`. name: EMBEDDED, FACENET_PYTORCH, or what `weights` takes."""
    if name == FACENET_PYTORCH:
        return facenet_pytorch(options, max_faces)
    detector = MTCNN(channel_order="rgb", **{**options, "weights": None if name == EMBEDDED else name})
    detector.detect_batch([], max_faces=max_faces)
    return lambda images: detector.detect_batch(images, max_faces=max_faces)


def facenet_pytorch(options: Mapping[str, Any], max_faces: int | None = None) -> Find:
    """facenet-pytorch's detector on the CPU, with those `options` of MTCNN that it has as well: SHARED_OPTIONS.

    Raises ImportError without that package, ValueError for options or pictures that it refuses.
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
        detections = []
        for image in images:
            # It raises an error of PyTorch for an image that is too small for a face.
            with _its_errors():
                boxes, scores, landmarks = detector.detect(np.ascontiguousarray(image), landmarks=True)
                if boxes is None:
                    boxes, scores, landmarks = np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
                order = np.argsort(-scores.astype(np.float64), kind="stable")[:max_faces]
                detections.append(Detections(boxes[order], scores[order], landmarks[order]))
        return detections

    return find


@contextmanager
def _its_errors() -> Iterator[None]:
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # another package raises exceptions of any type
        raise ValueError(f"{FACENET_PYTORCH}: {reason(error)}") from error
