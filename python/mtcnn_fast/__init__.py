"""MTCNN face detection: fast, exact, with few dependencies.

>>> import mtcnn_fast
>>> detector = mtcnn_fast.MTCNN()
>>> faces = detector.detect(image)  # uint8 (H, W, 3) in RGB order
>>> faces.boxes, faces.scores, faces.landmarks
"""

from __future__ import annotations

from pathlib import Path

from mtcnn_fast import _core, ops
from mtcnn_fast._core import __version__, available_devices, available_isas
from mtcnn_fast.blurred_videos import blur_frames
from mtcnn_fast.blurring import blur
from mtcnn_fast.detections import Detections, Face
from mtcnn_fast.detector import MTCNN
from mtcnn_fast.device import DeviceDetections
from mtcnn_fast.drawing import draw, show
from mtcnn_fast.drawings import save_crops
from mtcnn_fast.reading import read
from mtcnn_fast.streaming import ImageResult
from mtcnn_fast.tracker import Tracker, Tracks
from mtcnn_fast.video import Frame, Frames, VideoWriter, frames

__all__ = [
    "MTCNN",
    "Detections",
    "DeviceDetections",
    "Face",
    "Frame",
    "Frames",
    "ImageResult",
    "Tracker",
    "Tracks",
    "VideoWriter",
    "__version__",
    "available_devices",
    "available_isas",
    "blur",
    "blur_frames",
    "draw",
    "frames",
    "get_cmake_dir",
    "get_include",
    "ops",
    "read",
    "save_crops",
    "show",
]


# In an editable installation the headers lie beside the compiled module, not beside this file.
_installed = Path(_core.__file__).parent


def get_include() -> str:
    """The include folder for a C++ compiler: it holds mtcnn_fast/detector.h."""
    return str(_installed / "include")


def get_cmake_dir() -> str:
    """The package folder for CMake: pass it as -Dmtcnn_fast_DIR=..., then find_package(mtcnn_fast CONFIG)."""
    return str(_installed / "lib" / "cmake" / "mtcnn_fast")
