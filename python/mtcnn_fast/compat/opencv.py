"""The face detector of OpenCV, `cv2.FaceDetectorYN`: the same names, arguments and results.

>>> from mtcnn_fast.compat.opencv import FaceDetectorYN
>>> detector = FaceDetectorYN.create("", "", (image.shape[1], image.shape[0]))
>>> _, faces = detector.detect(image)  # float32 (N, 15), or None

OpenCV is not needed. docs/compatibility.md lists all names and the differences.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtcnn_fast.checks import at_least, each, integer
from mtcnn_fast.compat.shared import BgrFinder, share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FaceDetectorYN", "FaceDetectorYN_create"]


class FaceDetectorYN:
    """Finds faces in BGR images of one size, with the interface of `cv2.FaceDetectorYN`. `create` makes one."""

    def __init__(
        self,
        input_size: Sequence[int],
        score_threshold: float,
        nms_threshold: float,
        top_k: int,
        options: dict[str, Any],
    ) -> None:
        self._finder = BgrFinder(options)
        self.setInputSize(input_size)
        self.setScoreThreshold(score_threshold)
        self.setNMSThreshold(nms_threshold)
        self.setTopK(top_k)
        self._finder.detector(self._score_threshold)

    @staticmethod
    def create(
        model: Any,
        config: Any,
        input_size: Sequence[int],
        score_threshold: float = 0.9,
        nms_threshold: float = 0.3,
        top_k: int = 5000,
        backend_id: int = 0,
        target_id: int = 0,
        **options: Any,
    ) -> FaceDetectorYN:
        """Makes a detector.

        * model, config, backend_id, target_id: not used. The networks are embedded, and `device` is an option.
        * input_size: width and height of the images, in pixels.
        * score_threshold: least score of a face, in [0, 1].
        * nms_threshold: greatest intersection over the union of two boxes, in [0, 1].
        * top_k: keep so many faces, those with the highest scores; 0 or less: all.
        * options: `min_face_size`, `device` and the other arguments of `mtcnn_fast.MTCNN`, except for `thresholds` and
          `channel_order`.

        Raises TypeError for an argument of a wrong type, ValueError for one out of its range.
        """
        return FaceDetectorYN(input_size, score_threshold, nms_threshold, top_k, options)

    def detect(self, image: Any, faces: Any = None) -> tuple[int, NDArray[np.float32] | None]:
        """Finds the faces of one image: 1, and a float32 array (N, 15) or None without a face.

        The columns are x1, y1, width, height, x and y of five landmarks, score. The landmarks are those of
        `mtcnn_fast.Detections`; OpenCV calls the left eye in the image the right eye, which it is for the person. The
        best score is first.

        image: BGR, BGRA or gray: uint8, or other numbers from 0 to 255, which are rounded. faces: not used. None and an
        image without pixels, which `cv2.imread` gives for a file that it cannot read, give 0 and None.

        Raises cv2.error if OpenCV is imported, else TypeError or ValueError, for anything that is not an image, and for
        an image of another size than `input_size`.
        """
        if image is None or getattr(image, "size", 1) == 0:
            return 0, None
        shape = getattr(image, "shape", ())
        size = tuple(shape[1::-1]) if len(shape) in (2, 3) else self._input_size
        if size != self._input_size:
            message = f"image has the size {size}, and input_size is {self._input_size}; setInputSize changes it"
            raise _error_kind(ValueError)(message)
        try:
            found = self._finder.find(
                image, self._score_threshold, self._nms_threshold, self._top_k if self._top_k > 0 else None
            )
        except (TypeError, ValueError) as error:
            raise _error_kind(type(error))(str(error)) from error
        return 1, found.to_opencv() if len(found) else None

    def getInputSize(self) -> tuple[int, int]:
        """Width and height of the images, in pixels."""
        return self._input_size

    def setInputSize(self, input_size: Sequence[int]) -> None:
        """Width and height of the images from the next call on, in pixels; at least 0."""
        width, height = each("input_size", input_size, 2, _not_negative)
        self._input_size = width, height

    def getScoreThreshold(self) -> float:
        """Least score of a face."""
        return self._score_threshold

    def setScoreThreshold(self, score_threshold: float) -> None:
        """Least score of a face from the next call on, in [0, 1]."""
        self._score_threshold = share("score_threshold", score_threshold)

    def getNMSThreshold(self) -> float:
        """Greatest intersection over the union of two boxes."""
        return self._nms_threshold

    def setNMSThreshold(self, nms_threshold: float) -> None:
        """Greatest intersection over the union of two boxes from the next call on, in [0, 1]."""
        self._nms_threshold = share("nms_threshold", nms_threshold)

    def getTopK(self) -> int:
        """The most faces of an image; 0 or less: all."""
        return self._top_k

    def setTopK(self, top_k: int) -> None:
        """The most faces of an image from the next call on, those with the highest scores; 0 or less: all."""
        self._top_k = integer("top_k", top_k)


FaceDetectorYN_create = FaceDetectorYN.create


def _not_negative(name: str, value: object) -> int:
    return at_least(name, value, 0)


def _error_kind(otherwise: type[Exception]) -> type[Exception]:
    """The error that OpenCV raises. A caller who catches it has imported OpenCV."""
    kind: type[Exception] = getattr(sys.modules.get("cv2"), "error", otherwise)
    return kind
