"""InsightFace's `FaceAnalysis` and `Face`, with detection alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.compat.insightface.detector import Detector
from mtcnn_fast.detections import Detections
from mtcnn_fast.drawing import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TASK = Detector.taskname
_OTHERS = "InsightFace's FaceAnalysis has the others, and takes this package's Detector"


class Face(dict[str, Any]):
    """A dictionary whose items are attributes too. An attribute that it lacks is None.

    FaceAnalysis gives `bbox` (4,): x1, y1, x2, y2; `kps` (5, 2): the landmarks; `det_score`. A model for recognition
    adds `embedding`.
    """

    def __init__(self, d: Mapping[str, Any] | None = None, **values: Any) -> None:
        super().__init__(d or {}, **values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle look for methods
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    @property
    def embedding_norm(self) -> Any:
        """The length of `embedding`."""
        return None if self.embedding is None else np.linalg.norm(self.embedding)

    @property
    def normed_embedding(self) -> Any:
        """`embedding` at length 1."""
        return None if self.embedding is None else self.embedding / self.embedding_norm

    @property
    def sex(self) -> str | None:
        """For a `gender` of 1 "M", for another one "F"."""
        return None if self.gender is None else "M" if self.gender == 1 else "F"


class FaceAnalysis:
    """Finds faces in BGR images, with the interface of insightface.app.FaceAnalysis.

    * name, root, provider_options, sess_options: not used. The networks are embedded.
    * allowed_modules: "detection" alone. None gives a UserWarning, because InsightFace would load other models.
    * providers: with "CPUExecutionProvider" first, the CPU is used.
    * options: `min_face_size`, `device` and the other arguments of `mtcnn_fast.MTCNN`, except for `thresholds` and
      `channel_order`.

    `models` is a dictionary of models by name, `det_model` the one for detection. Raises ValueError for other modules,
    and errors as `mtcnn_fast.MTCNN` does.
    """

    def __init__(
        self,
        name: Any = "buffalo_l",
        root: Any = "~/.insightface",
        allowed_modules: Iterable[str] | None = None,
        *,
        providers: Sequence[Any] | None = None,
        provider_options: Any = None,
        sess_options: Any = None,
        **options: Any,
    ) -> None:
        if allowed_modules is None:
            warnings.warn(
                f'faces are detected, and not recognised: {_OTHERS}; allowed_modules=["{_TASK}"] is silent',
                stacklevel=2,
            )
        elif (modules := list(allowed_modules)) != [_TASK]:
            raise ValueError(f'allowed_modules is {modules}; wanted ["{_TASK}"]; {_OTHERS}')
        if providers and providers[0] == "CPUExecutionProvider":
            options = {"device": "cpu", **options}
        self.det_model: Any = Detector(**options)
        self.models: dict[str, Any] = {_TASK: self.det_model}

    def prepare(self, ctx_id: int = 0, det_thresh: float = 0.5, det_size: Any = None) -> None:
        """Prepares the models. det_thresh: least score of a face. The others are those of `Detector.prepare`."""
        self.det_thresh = det_thresh
        self.det_size = det_size
        for name, model in self.models.items():
            if name == _TASK:
                model.prepare(ctx_id, input_size=det_size, det_thresh=det_thresh)
            else:
                model.prepare(ctx_id)

    def get(self, img: Any, max_num: int = 0, det_metric: str = "default") -> list[Face]:
        """The faces of one image. The other models of `models` have run on them.

        The arguments are those of `Detector.detect`. Raises errors as it does.
        """
        boxes, points = self.det_model.detect(img, max_num=max_num, metric=det_metric)
        faces = [Face(bbox=box[:4], kps=kps, det_score=box[4]) for box, kps in zip(boxes, points, strict=True)]
        for face in faces:
            for name, model in self.models.items():
                if name != _TASK:
                    model.get(img, face)
        return faces

    def draw_on(self, img: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.uint8]:
        """A copy of the image with the faces drawn on it by `mtcnn_fast.draw`."""
        detections = Detections(
            np.array([face.bbox for face in faces]).reshape(-1, 4),
            np.array([face.det_score for face in faces]),
            np.array([face.kps for face in faces]).reshape(-1, 5, 2),
        )
        return draw(img, detections)
