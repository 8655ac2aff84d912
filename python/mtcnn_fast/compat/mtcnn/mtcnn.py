"""The class MTCNN of the package mtcnn on this package's detector."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

import mtcnn_fast.detector
from mtcnn_fast.checks import described, each, number
from mtcnn_fast.compat.mtcnn.exceptions import InvalidImage
from mtcnn_fast.compat.mtcnn.results import (
    COLUMNS,
    COLUMNS_WITHOUT_LANDMARKS,
    FIRST,
    SECOND,
    Release,
    cut,
    face_of,
    table_of,
)
from mtcnn_fast.compat.mtcnn.stages import Stage, StageONet, StagePNet, StageRNet
from mtcnn_fast.compat.shared import LatestDetector, rounded
from mtcnn_fast.image import is_pil
from mtcnn_fast.reading import read

__all__ = ["MTCNN"]

_LANDMARKS = "face_and_landmarks_detection"
_STAGES = {"face_detection_only": (StagePNet, StageRNet), _LANDMARKS: (StagePNet, StageRNet, StageONet)}
_CHOICES = {
    "box_format": ("xywh", "xyxy"),
    "output_type": ("json", "numpy"),
    "batch_stack_justification": (
        *("center", "top", "topleft", "topright", "bottom", "bottomleft", "bottomright", "left", "right"),
    ),
}
_THRESHOLDS = ("threshold_pnet", "threshold_rnet", "threshold_onet")
_NMS = {"nms_pnet1": 0.5, "nms_pnet2": 0.7, "nms_rnet": 0.7, "nms_onet": 0.7}
_STAGE_OPTIONS = ("min_face_size", "min_size", "scale_factor", *_THRESHOLDS, *_NMS)
_DEVICE = re.compile(r"/?(?:device:)?(cpu|gpu)(?::(\d+))?", re.IGNORECASE)
_WITHOUT_FACES = np.zeros((1, 1, 3), np.uint8)  # in the place of bytes that are no picture
_WANTED = "wanted an RGB array (height, width, 3), a path, the bytes of a file, or a list of these"


class MTCNN:
    """Finds faces, with the interface of mtcnn's MTCNN.

    `MTCNN()` and `MTCNN(weights_file, min_face_size, steps_threshold, scale_factor)` follow release 0.1.1.
    `MTCNN(stages, device)` follows release 1.0.0 in its defaults and in the form of its results, and gives the numbers
    of 0.1.1. Both take all arguments of `detect_faces`.

    * weights_file: None for mtcnn's own networks, or a safetensors file as `mtcnn_fast.MTCNN` takes it.
    * min_face_size, steps_threshold, scale_factor: smallest face in pixels, least probability of each network, scale
      from one pyramid level to the next.
    * stages: "face_and_landmarks_detection" or "face_detection_only", or the classes or objects of `stages`. All three
      networks run in any case: without O-Net's stage, faces have no landmarks.
    * device: "CPU:0", "GPU:0" and so on.

    Raises as `mtcnn_fast.MTCNN` does, and ValueError for other stages or another device.
    """

    _release: Release
    _stages: list[Stage]
    _device: Any
    _min_face_size: Any
    _scale_factor: Any
    _thresholds: tuple[float, ...]
    _weights: Any

    @overload
    def __init__(
        self,
        weights_file: str | os.PathLike[str] | None = None,
        min_face_size: float = 20,
        steps_threshold: Sequence[float] | None = None,
        scale_factor: float = 0.709,
    ) -> None: ...
    @overload
    def __init__(self, stages: str | Sequence[Stage | type[Stage]] = _LANDMARKS, device: str = "CPU:0") -> None: ...
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names_stages = bool(args) and (
            args[0] in _STAGES if isinstance(args[0], str) else isinstance(args[0], Sequence)
        )
        if names_stages or "stages" in kwargs or "device" in kwargs:
            self._follow_1_0_0(*args, **kwargs)
        else:
            self._follow_0_1_1(*args, **kwargs)
        self._latest_detector = LatestDetector()
        self._detector({})

    def _follow_0_1_1(
        self,
        weights_file: Any = None,
        min_face_size: Any = 20,
        steps_threshold: Any = None,
        scale_factor: Any = 0.709,
    ) -> None:
        if str(weights_file).endswith(".npy"):
            raise ValueError(
                f"weights_file is {weights_file!r}: it holds pickled objects, which are not read because they can run "
                "any code; wanted None for mtcnn's own networks, or a safetensors file"
            )
        self._release = FIRST
        self._set_stages(_LANDMARKS)
        self._device = "CPU:0"
        self._min_face_size, self._scale_factor, self._weights = min_face_size, scale_factor, weights_file
        if steps_threshold is None:
            self._thresholds = FIRST.thresholds
        else:
            self._thresholds = each("steps_threshold", steps_threshold, 3, number)

    def _follow_1_0_0(self, stages: Any = _LANDMARKS, device: Any = "CPU:0") -> None:
        self._release = SECOND
        self._set_stages(stages)
        self._device = device
        self._min_face_size, self._scale_factor, self._weights = 20, 0.709, None
        self._thresholds = SECOND.thresholds

    def _set_stages(self, stages: Any) -> None:
        if isinstance(stages, str):
            kinds: Sequence[Any] = _STAGES.get(stages, ())
        else:
            kinds = stages if isinstance(stages, Sequence) else ()
        self._stages = [stage() if isinstance(stage, type) else stage for stage in kinds]
        if tuple(type(stage) for stage in self._stages) not in _STAGES.values():
            raise ValueError(
                f"stages is {described(stages)}; wanted one of {tuple(_STAGES)}, or [StagePNet, StageRNet] with or "
                "without StageONet"
            )

    @property
    def device(self) -> Any:
        """The device as the caller named it."""
        return self._device

    @property
    def stages(self) -> list[Stage]:
        return self._stages

    @property
    def min_face_size(self) -> Any:
        """The smallest face in pixels. It can be set, to an integer; a string that is no number sets 20."""
        return self._min_face_size

    @min_face_size.setter
    def min_face_size(self, value: Any) -> None:
        try:
            self._min_face_size = int(value)
        except ValueError:
            self._min_face_size = 20

    def get_stage(self, stage_id: int | None = None, stage_name: str | None = None) -> Stage | None:
        """The stage with this number or this name; None: there is none."""
        return next((stage for stage in self._stages if stage.id == stage_id or stage.name == stage_name), None)

    def predict(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        """The same as `detect_faces`."""
        return self.detect_faces(image, *args, **kwargs)

    def detect_faces(
        self,
        image: Any = None,
        fit_to_image: bool = True,
        limit_boundaries_landmarks: bool = False,
        box_format: str = "xywh",
        output_type: str = "json",
        postprocess: bool = True,
        batch_stack_justification: str = "center",
        **stage_options: Any,
    ) -> Any:
        """Finds the faces in an image, or in each of a list of images, which may differ in size.

        image: an array (H, W, 3) with values 0 to 255, in RGB, whose floats are rounded; the path of a picture, which
        is read upright; or the bytes of a file. `img` is another name of this argument.
        fit_to_image: cut boxes to the image; with limit_boundaries_landmarks also landmarks. postprocess=False: none.
        box_format: "xywh" or "xyxy". output_type: "json" or "numpy".
        batch_stack_justification, and min_size among the stage options, have no effect: no image is padded.
        stage_options: for this call, min_face_size, scale_factor, the least probabilities threshold_pnet,
        threshold_rnet and threshold_onet, and the greatest overlaps nms_pnet1, nms_pnet2, nms_rnet and nms_onet.

        "json" gives a list of {"box": [x, y, width, height], "confidence": probability, "keypoints": {name: (x, y)}}
        in integers, highest confidence first; for a list of images, a list of such lists. "numpy" gives float64
        (N, 16): number of the image, box, confidence, five x, five y of the landmarks. Without landmarks there are no
        keypoints, and 6 columns. Bytes that are no picture have no faces.

        Raises InvalidImage for what is no image and for a file without a picture, ValueError for an array that has not
        an image's shape, TypeError for an unknown option, and as `mtcnn_fast.MTCNN` does for the value of an option.
        """
        chosen = (box_format, output_type, batch_stack_justification)
        for (name, allowed), value in zip(_CHOICES.items(), chosen, strict=True):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; wanted one of {allowed}")
        image = stage_options.pop("img", image)
        detector = self._detector(stage_options)
        batch = isinstance(image, list)
        images = [_input(one, f"image {i}") for i, one in enumerate(image)] if batch else [_input(image, "image")]
        found = detector.detect_batch(images) if batch else [detector.detect(images[0])]
        tables = [table_of(i, faces) for i, faces in enumerate(found)]
        if postprocess and fit_to_image:
            for one, table in zip(images, tables, strict=True):
                height, width = one.size[::-1] if is_pil(one) else one.shape[:2]
                cut(table, width, height, self._release, limit_boundaries_landmarks)
        columns = COLUMNS if len(self._stages) == len(_STAGES[_LANDMARKS]) else COLUMNS_WITHOUT_LANDMARKS
        if output_type == "json":
            xywh = box_format == "xywh"
            faces = [[face_of(row[:columns], xywh, self._release) for row in table] for table in tables]
            return faces if batch else faces[0]
        rows = np.concatenate([np.empty((0, COLUMNS)), *tables])[:, :columns]
        if box_format == "xywh":
            rows[:, 3:5] -= rows[:, 1:3]
        return rows

    def _detector(self, options: dict[str, Any]) -> mtcnn_fast.detector.MTCNN:
        if unknown := [name for name in options if name not in _STAGE_OPTIONS]:
            raise TypeError(f"detect_faces has no option {unknown[0]!r}; wanted one of {_STAGE_OPTIONS}")
        own = zip(_THRESHOLDS, self._thresholds, strict=True)
        return self._latest_detector(
            min_face_size=options.get("min_face_size", self._min_face_size),
            scale_factor=options.get("scale_factor", self._scale_factor),
            thresholds=tuple(options.get(name, threshold) for name, threshold in own),
            nms_thresholds=tuple(options.get(name, threshold) for name, threshold in _NMS.items()),
            device=_core_device(self._device),
            weights=self._weights,
            profile="mtcnn",
        )


def _core_device(device: Any) -> str:
    found = _DEVICE.fullmatch(device) if isinstance(device, str) else None
    if found is None:
        raise ValueError(f"device is {described(device)}; wanted 'CPU:0' or 'GPU:N'")
    return "cpu" if found[1].lower() == "cpu" else f"cuda:{found[2] or 0}"


def _input(image: Any, name: str) -> Any:
    """The image as `mtcnn_fast.MTCNN.detect` takes it."""
    if isinstance(image, bytes | bytearray | memoryview):
        try:
            return read(image)
        except OSError:
            return _WITHOUT_FACES
    if isinstance(image, str | os.PathLike):
        try:
            return read(image)
        except OSError as error:
            raise InvalidImage(f"{name}: {error}") from error
    if is_pil(image):
        return image
    if not hasattr(image, "shape"):
        hint = ", which is what cv2.imread gives for a file that it cannot read" if image is None else ""
        raise InvalidImage(f"{name} is {described(image)}{hint}; {_WANTED}")
    return rounded(np.asarray(image), name)
