"""What several of the interfaces share: the detector behind them, and rules that this package's detector lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtcnn_fast import ops
from mtcnn_fast.checks import described, number
from mtcnn_fast.detections import Detections
from mtcnn_fast.detector import MTCNN
from mtcnn_fast.image import is_pil

# Those of P-Net and R-Net in an interface with one threshold, which is O-Net's.
_EARLIER_THRESHOLDS = (0.6, 0.7)


class LatestDetector:
    """Makes a detector of the options of a call, and keeps it until a call has others."""

    def __init__(self) -> None:
        self._made: tuple[dict[str, Any], MTCNN] | None = None

    def __call__(self, **options: Any) -> MTCNN:
        made = self._made  # read once, because another thread may make one of other options meanwhile
        if made is None or made[0] != options:
            made = self._made = options, MTCNN(**options)
        return made[1]


class BgrFinder:
    """Finds faces in BGR images by two thresholds: of the score, and of the overlap between faces.

    options: arguments of `mtcnn_fast.MTCNN` except for `thresholds` and `channel_order`. Raises TypeError for these.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        for name in ("thresholds", "channel_order"):
            if name in options:
                raise TypeError(f"{name} is given; this interface has one threshold, of the score, and BGR images")
        self._options = options
        self._detector = LatestDetector()

    def detector(self, score_threshold: float, **options: Any) -> MTCNN:
        """The detector of faces of at least this score. `options` count more than those of the constructor."""
        return self._detector(
            thresholds=(*_EARLIER_THRESHOLDS, score_threshold),
            channel_order="bgr",
            **{**self._options, **options},
        )

    def find(
        self, image: Any, score_threshold: float, nms_threshold: float, max_faces: int | None = None, **options: Any
    ) -> Detections:
        """The faces of one image: at most `max_faces`, then without those that overlap a better one too much.

        image: an array as `mtcnn_fast.MTCNN.detect` takes it, or one of other numbers, from 0 to 255.
        nms_threshold: greatest intersection over the union of two boxes.
        """
        if is_pil(image):
            raise TypeError("image is a PIL image; wanted an array in BGR order: numpy.asarray(image)[..., ::-1]")
        faces = self.detector(score_threshold, **options).detect(rounded(image), max_faces=max_faces)
        return faces[ops.nms(faces.boxes, faces.scores, nms_threshold)]


def rounded(image: Any, name: str = "image") -> Any:
    """The image as uint8, if it is an array of other numbers, from 0 to 255; any other image as it is.

    Raises ValueError that begins with `name` for values that are not finite.
    """
    if not isinstance(image, np.ndarray) or image.dtype == np.uint8 or image.dtype.kind not in "iuf":
        return image
    if not np.isfinite(image).all():
        raise ValueError(f"{name} is {described(image)} with values that are not finite; wanted 0 to 255")
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def share(name: str, value: object) -> float:
    """Returns a number from 0 to 1. Raises TypeError or ValueError for anything else."""
    found = number(name, value)
    if not 0 <= found <= 1:
        raise ValueError(f"{name} is {found}; wanted 0 to 1")
    return found
