"""InsightFace's model for detection, on this package's detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.checks import integer
from mtcnn_fast.compat.shared import BgrFinder, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

_METRICS = ("default", "max")


class Detector:
    """Finds faces in BGR images, with the interface of insightface.model_zoo.scrfd.SCRFD.

    * det_thresh: least score of a face, in [0, 1].
    * nms_thresh: greatest intersection over the union of two boxes, in [0, 1].
    * options: `min_face_size`, `device` and the other arguments of `mtcnn_fast.MTCNN`, except for `thresholds` and
      `channel_order`.

    The first two are attributes. A changed attribute counts from the next call on. Raises as `mtcnn_fast.MTCNN` does.
    """

    taskname = "detection"

    def __init__(self, det_thresh: float = 0.5, nms_thresh: float = 0.4, **options: Any) -> None:
        self.det_thresh = share("det_thresh", det_thresh)
        self.nms_thresh = share("nms_thresh", nms_thresh)
        self.input_size: Any = None
        self._finder = BgrFinder(options)
        self._place: dict[str, Any] = {}
        self._finder.detector(self.det_thresh)

    def prepare(
        self,
        ctx_id: int,
        input_size: Any = None,
        det_thresh: float | None = None,
        nms_thresh: float | None = None,
    ) -> None:
        """Changes what is not None.

        ctx_id: the CPU if it is negative, else the device of the constructor. input_size: not used; images are searched
        at their own size.
        """
        self._place = {"device": "cpu"} if integer("ctx_id", ctx_id) < 0 else {}
        if input_size is not None:
            self.input_size = input_size
        if det_thresh is not None:
            self.det_thresh = share("det_thresh", det_thresh)
        if nms_thresh is not None:
            self.nms_thresh = share("nms_thresh", nms_thresh)

    def detect(
        self, img: Any, input_size: Any = None, max_num: int = 0, metric: str = "default"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Finds the faces of one image: float32 (N, 5): x1, y1, x2, y2, score; and landmarks (N, 5, 2).

        The best score is first. The landmarks are those of `mtcnn_fast.Detections`.

        img: BGR, BGRA or gray: uint8, or other numbers from 0 to 255, which are rounded. input_size: not used. max_num:
        if there are more faces, keep so many; 0: all. metric: which: with "max" the largest ones, with "default" those
        with the greatest area minus twice the squared distance from the image's center, best first.

        Raises TypeError or ValueError for anything that is not an image, and for other arguments.
        """
        limit = integer("max_num", max_num)
        if metric not in _METRICS:
            raise ValueError(f"metric is {metric!r}; wanted one of {_METRICS}")
        thresholds = share("det_thresh", self.det_thresh), share("nms_thresh", self.nms_thresh)
        faces = self._finder.find(img, *thresholds, **self._place)
        if 0 < limit < len(faces):
            if metric == "max":
                faces = faces.largest(limit)
            else:
                # InsightFace's center is a whole pixel.
                height, width = (side // 2 * 2 for side in img.shape[:2])
                faces = faces.most_central((height, width), limit)
        return np.hstack([faces.boxes, faces.scores[:, np.newaxis]]), faces.landmarks.copy()
