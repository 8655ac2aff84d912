"""`VideoWriter`: a video file made of images."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.checks import described, number
from mtcnn_fast.extra import require
from mtcnn_fast.video.by_opencv import OpencvSink, opencv_must_do
from mtcnn_fast.video.by_pyav import PyavSink
from mtcnn_fast.video.reading import Frames
from mtcnn_fast.writing import check_destination, is_special, keep_permissions, reason, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
"""Of the containers that hold H.264 and MPEG-4."""

_FPS = 25.0
"""Of a source that does not say: a folder, some cameras."""

# The most bytes that Linux and macOS allow for a name, less what a part adds.
_NAME_BYTES = 255 - 30


class VideoWriter:
    """Writes images as a video: H.264 with the source's timestamps and audio by PyAV (extra `video`).

    Without PyAV it is MPEG-4 by OpenCV, at a constant rate and without audio, with a UserWarning. Audio is copied from
    the file that `source` reads, packet by packet, as it is. The video is written beside `path` and takes its place by
    `close`, or when a `with` block ends. If the block raises, the video has the frames until then: at `path`, or if a
    file is there, beside it, as a UserWarning says.

    * path: its suffix tells the container: .mp4, .m4v, .mov or .mkv.
    * source: the `Frames` that the images are made of; None: there is no audio.
    * fps: frames per second of images without timestamps, and by OpenCV of all; None: those of the source, else 25.

    Raises ValueError for another suffix, FileExistsError if `path` is the file that `source` reads, OSError if it
    cannot be written or there is no encoder, TypeError for other arguments.

    >>> with mtcnn_fast.frames("film.mp4") as film, mtcnn_fast.VideoWriter("out.mp4", film) as out:
    ...     for frame in film:
    ...         out.write(frame.image, frame.timestamp)
    """

    def __init__(self, path: str | os.PathLike[str], source: Frames | None = None, *, fps: float | None = None) -> None:
        if source is not None and not isinstance(source, Frames):
            raise TypeError(f"source is {described(source)}; wanted the Frames of mtcnn_fast.frames")
        suffix = Path(path).suffix
        if suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path} has the suffix {suffix!r}; wanted one of {', '.join(SUFFIXES)}")
        self._source = None if source is None else source._source
        given = fps if fps is not None or source is None else source.fps
        self._fps = _FPS if given is None else number("fps", given)
        if not 0 < self._fps < float("inf"):
            raise ValueError(f"fps is {self._fps}; wanted more than 0")
        file = None if source is None else source.file
        self._path = check_destination(path, inputs=[] if file is None else [file])
        if is_special(self._path):
            raise OSError(f"{path} is no file; a video needs one")
        self._kind = OpencvSink if opencv_must_do() else PyavSink
        self._kind.check()
        self._sink: PyavSink | OpencvSink | None = None
        self._size = 0, 0
        self._written = 0
        self._closed = False
        target = Path(os.path.realpath(self._path))
        stem = os.fsdecode(os.fsencode(target.stem)[:_NAME_BYTES])
        # The suffix stays at the end: by it OpenCV chooses the container.
        self._part = target.with_name(f"{stem}.{os.getpid()}.part{target.suffix}")

    @property
    def frame_count(self) -> int:
        """How many images have been written."""
        return self._written

    def write(self, image: NDArray[np.uint8], timestamp: float | None = None) -> None:
        """Writes the next image.

        image: uint8 (H, W, 3), RGB. The first sets the size of the video, which is even: where it is not, the last
        column or row is repeated. Images of other sizes are scaled to fit, with black beside or above and below.
        timestamp: in seconds, later than the one before; None: by `fps`. The source's first one, of images or audio,
        becomes 0.

        Raises OSError that names the file, TypeError and ValueError for another image.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            raise TypeError(f"image is {described(image)}; wanted a uint8 NumPy array (height, width, 3)")
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image has shape {image.shape}; wanted (height, width, 3)")
        if timestamp is not None and not math.isfinite(number("timestamp", timestamp)):
            raise ValueError(f"timestamp is {timestamp}; wanted seconds")
        if self._closed:
            raise ValueError(f"{self._path} is closed; wanted the image before")
        height, width = image.shape[:2]
        with self._failing():
            if self._sink is None:
                self._size = width + width % 2, height + height % 2
                self._sink = self._kind(self._part, self._size, self._fps, self._source)
                for loss in self._sink.losses:
                    warnings.warn(f"{self._path}: {loss}", stacklevel=2)
            self._sink.write(_fitted(image, *self._size), self._written / self._fps if timestamp is None else timestamp)
        self._written += 1

    def close(self, whole: bool = True) -> Path | None:
        """Ends the video and returns its path; None: there are no frames, and no file.

        whole: False for one that lacks its end: then a file at `path` stays, and the video is beside it. Audio ends
        with the last frame. Raises OSError that names the file. Closing twice does nothing.
        """
        if self._closed:
            return None
        self._closed = True
        try:
            if self._sink is None:
                return None
            with self._failing():
                self._sink.close(whole)
                with self._part.open("rb+") as file:
                    settle(file)
                target = Path(os.path.realpath(self._path))
                if not whole and target.exists():
                    target = target.with_name(f"{target.stem}.part{target.suffix}")
                keep_permissions(target, self._part)
                self._part.replace(target)
        finally:
            self._part.unlink(missing_ok=True)
        return self._path if target == Path(os.path.realpath(self._path)) else target

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        with suppress(OSError):  # the first failure is raised
            kept = self.close(whole=False)
            if kept is not None:
                warnings.warn(f"{kept} has the {self._written} frames until the failure", stacklevel=2)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Makes errors of the encoders name the file."""
        try:
            yield
        except OSError as error:
            raise OSError(f"{self._path}: {reason(error)}") from error


def _fitted(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """An image in the middle of one of this size, scaled if it does not fit."""
    if image.shape[:2] == (height, width):
        return image
    if width - image.shape[1] in (0, 1) and height - image.shape[0] in (0, 1):
        return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
    scale = min(width / image.shape[1], height / image.shape[0])
    pillow = require("PIL.Image", "writing images of several sizes")
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    scaled = np.asarray(pillow.fromarray(image).resize(size, pillow.Resampling.BILINEAR))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = scaled
    return canvas
