"""`frames`: one loop over the frames of a video, a camera, a stream or a folder of pictures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtcnn_fast.checks import at_least, described, flag
from mtcnn_fast.read_ahead import read_ahead
from mtcnn_fast.video.by_opencv import OpencvSource, opencv_must_do
from mtcnn_fast.video.by_pyav import PyavSource
from mtcnn_fast.video.folder import FolderSource
from mtcnn_fast.video.newest import Newest
from mtcnn_fast.video.source import Image, Source
from mtcnn_fast.writing import is_folder, reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Frames that are decoded and wait, at most: these many, or 96 MiB of pixels.
_MOST_FRAMES = 8
_MOST_PIXELS = 2**25


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of a video, a camera, a stream or a folder."""

    index: int
    """Its place among the source's frames, from 0. Where `latest` drops frames, places are missing."""
    timestamp: float | None
    """In seconds: the container's, or since a camera's first frame; None: of a folder."""
    image: NDArray[np.uint8]
    """(H, W, 3), RGB, upright by the display matrix that phones write, or by EXIF."""


class Frames(Iterator[Frame]):
    """The frames of a source, decoded ahead by a thread; made by `frames`. A `with` block or `close` ends it early.

    Iteration raises OSError where the source breaks, after the frames until there.
    """

    def __init__(self, name: str, opened: Callable[[], Source], latest: bool) -> None:
        self._name = name
        self._given = 0
        with self._naming():
            self._source = opened()
            items = iter(self._source.items())
            try:
                first = next((self._source.load(item) for item in items), None)
                if first is None:
                    raise OSError("it has no frames")
            except BaseException:
                self._source.close()
                raise
        height, width = first.pixels.shape[:2]
        self._size = width, height
        self._steps = self._run(first, items, latest)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame, upright."""
        return self._size

    @property
    def fps(self) -> float | None:
        """Frames per second, in the mean; None: the source does not say."""
        return self._source.fps

    @property
    def frame_count(self) -> int | None:
        """How many frames there are, as the source says; None: it does not, or it has no end."""
        return self._source.frame_count

    @property
    def duration(self) -> float | None:
        """In seconds, as the source says; None: it does not, or it has no end."""
        return self._source.duration

    @property
    def reader(self) -> str:
        """The package that decodes: "PyAV", "OpenCV" or "Pillow"."""
        return self._source.reader

    @property
    def file(self) -> str | None:
        """The path of the video file; None: of a folder, a camera or a URL."""
        return self._source.file

    def __next__(self) -> Frame:
        return next(self._steps)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and closes the source."""
        self._steps.close()
        self._source.close()

    def _run(self, first: Image, items: Iterator[Any], latest: bool) -> Generator[Frame, None, None]:
        with closing(self._source), self._naming():
            for index, image in chain([(0, first)], self._rest(items, latest)):
                self._given = index + 1
                yield Frame(index, image.timestamp, image.pixels)

    def _rest(self, items: Iterator[Any], latest: bool) -> Iterator[tuple[int, Image]]:
        """The images after the first, with their places."""
        if latest:
            with closing(Newest(self._source)) as newest:
                yield from newest
            return
        with closing(
            read_ahead(
                items,
                self._source.load,
                pixels=lambda image: 0 if image is None else image.pixels.size // 3,
                readers=self._source.threads,
                most_sources=_MOST_FRAMES,
                most_pixels=_MOST_PIXELS,
            )
        ) as loaded:
            for number, (_, image) in enumerate(loaded, 1):
                if image is None:
                    return
                yield number, image

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Makes errors of the source name it, and the frame after which it broke."""
        try:
            yield
        except OSError as error:
            place = f"broken after frame {self._given - 1}: " if self._given else ""
            raise OSError(f"{self._name}: {place}{reason(error)}") from error

    def __repr__(self) -> str:
        width, height = self._size
        return f"<Frames of {self._name}, {width}x{height}, by {self.reader}>"


def frames(source: str | os.PathLike[str] | int, *, latest: bool = False) -> Frames:
    """The frames of a video file, a folder of pictures, a camera or a stream, one after the other.

    source: the path of a file; a folder, whose pictures are the frames in the order of their names, also those in
    folders in it; a URL (`rtsp://`, `http://` and others of FFmpeg); or the number of a camera, from 0. Files and URLs
    are read by PyAV (extra `video`), else by OpenCV, with a UserWarning; cameras by OpenCV (extra `cli`).
    latest: if frames of a camera or a URL come faster than they are taken, only the newest is kept. `Frame.index`
    counts those that were dropped.

    Raises OSError that says why there are no frames, TypeError for another source, ValueError for a negative number and
    for `latest` of a file or a folder, ImportError without the package that reads.

    >>> for frame in mtcnn_fast.frames("film.mp4"):
    ...     faces = detector.detect(frame.image)
    """
    newest = flag("latest", latest)
    if isinstance(source, str | os.PathLike):
        place = os.fspath(source)
        if not isinstance(place, str):
            raise TypeError(f"source is {described(source)}; wanted a path that is a string")
        is_file = not is_url(place)
        if newest and is_file:
            raise ValueError(f"latest is for cameras and URLs, whose frames do not wait; {place!r} is none")
        if is_folder(Path(place)):
            return Frames(place, lambda: FolderSource(place), False)
        if is_file:
            os.stat(place)  # noqa: PTH116 # it raises FileNotFoundError, where decoders say less
        return Frames(place, lambda: _video(place, is_file), newest)
    if not isinstance(source, int) or isinstance(source, bool):
        raise TypeError(f"source is {described(source)}; wanted a path, a URL or the number of a camera")
    camera = at_least("source", source, 0)
    return Frames(f"camera {camera}", lambda: OpencvSource(camera, False), newest)


def is_url(source: str) -> bool:
    """Whether a source is a URL, not a path."""
    return "://" in source


def _video(place: str, is_file: bool) -> Source:
    if not opencv_must_do():
        return PyavSource(place, is_file)
    warnings.warn(
        "videos are read by OpenCV, because PyAV is missing: audio is not copied, and damage goes unnoticed "
        '(pip install "mtcnn_fast[video]")',
        stacklevel=5,
    )
    return OpencvSource(place, is_file)
