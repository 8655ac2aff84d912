"""Reading cameras, and reading and writing videos where PyAV is missing, with OpenCV (extra `cli`)."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.extra import require
from mtcnn_fast.video.cut_off import cut_off
from mtcnn_fast.video.source import SECONDS_TO_WAIT, Image, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODEC = "mp4v"


class OpencvSource(Source):
    """A file, a URL or a camera. Raises OSError that does not name it, ImportError without OpenCV."""

    reader = "OpenCV"

    def __init__(self, place: str | int, is_file: bool) -> None:
        self._cv2 = cv2 = require("cv2", "reading a camera" if isinstance(place, int) else "reading videos")
        self.file = place if is_file and isinstance(place, str) else None
        self._is_camera = isinstance(place, int)
        self._began: float | None = None
        with _silent(cv2):
            if is_file or self._is_camera:
                self._capture = cv2.VideoCapture(place)
            else:
                limit = 1000 * SECONDS_TO_WAIT
                limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
                self._capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            if self._is_camera:
                raise OSError("it is not there, or another program has it")
            raise OSError(self._cut_off() or "it cannot be opened as a video")
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if fps > 0 else None
        if is_file and count > 0:
            self.frame_count = round(count)
            self.duration = count / fps if fps > 0 else None

    def load(self, item: None) -> Image | None:
        there, frame = self._capture.read()
        if not there:
            if self._is_camera:
                raise OSError("the camera gives no more frames")
            damage = self._cut_off()
            if damage is not None:
                raise OSError(damage)
            return None
        if self._is_camera:
            now = time.monotonic()
            self._began = now if self._began is None else self._began
            timestamp = now - self._began
        else:
            timestamp = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
        code = self._cv2.COLOR_GRAY2RGB if frame.ndim == 2 else self._cv2.COLOR_BGR2RGB
        return Image(self._cv2.cvtColor(frame, code), timestamp)

    def close(self) -> None:
        self._capture.release()

    def _cut_off(self) -> str | None:
        return None if self.file is None else cut_off(self.file)


def opencv_must_do() -> bool:
    """Whether PyAV is missing, and OpenCV is there to read and write videos in its place."""
    return importlib.util.find_spec("av") is None and importlib.util.find_spec("cv2") is not None


@contextmanager
def _silent(cv2: Any) -> Iterator[None]:
    """Keeps OpenCV from printing why something cannot be opened. The caller raises an error of one line."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


class OpencvSink:
    """An MPEG-4 video of images, at a constant rate. Raises OSError that does not name the file."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, source: Source | None) -> None:
        self._cv2 = cv2 = require("cv2", "writing videos")
        with _silent(cv2):
            self._video = cv2.VideoWriter(os.fspath(path), cv2.VideoWriter.fourcc(*_CODEC), fps, size)
        if not self._video.isOpened():
            raise OSError(f"OpenCV has no encoder for {path.suffix} here ({_CODEC})")
        self.losses = (
            f"written by OpenCV in {_CODEC}, which browsers do not play, at {fps:.4g} frames per second throughout and "
            'without audio; H.264, timestamps and audio need PyAV: pip install "mtcnn_fast[video]"',
        )

    @staticmethod
    def check() -> None:
        require("cv2", "writing videos")

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        self._video.write(self._cv2.cvtColor(image, self._cv2.COLOR_RGB2BGR))

    def close(self, whole: bool) -> None:
        self._video.release()
