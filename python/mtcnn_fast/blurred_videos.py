"""Frames of a video in which faces are hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.blurring import WIDEN, check_options, hide
from mtcnn_fast.checks import described
from mtcnn_fast.looking_back import LookBack
from mtcnn_fast.video import Frame

if TYPE_CHECKING:
    from mtcnn_fast.detector import MTCNN
    from mtcnn_fast.looking_back import SettledFrame


def blur_frames(
    frames: Iterable[Frame], detector: MTCNN, how: str = "gaussian", widen: float = WIDEN, *, every: int = 10
) -> Iterator[Frame]:
    """The frames of a video with their faces hidden, each up to 2 x `every` - 1 frames after it was asked for.

    A face is hidden from the frame in which it comes in, also if a search finds it later: O-Net follows it back. A face
    that is out of sight for some frames stays hidden on its way, and one that is lost until a search says that it is
    gone. 2 x `every` frames are in memory.

    frames: as `mtcnn_fast.frames` gives them. detector: one with channel order "rgb". how, widen: as `blur` has them.
    every: most frames from one search to the next. A face that is in the picture for fewer frames may be found by none.

    Raises ImportError without OpenCV, TypeError for `frames` that are none, and errors as `blur` and `Tracker` do for
    the options. If `frames` raise, the frames until there come first.

    >>> with mtcnn_fast.frames("film.mp4") as film, mtcnn_fast.VideoWriter("hidden.mp4", film) as out:
    ...     for frame in mtcnn_fast.blur_frames(film, detector):
    ...         out.write(frame.image, frame.timestamp)
    """
    if isinstance(frames, str) or not isinstance(frames, Iterable):
        raise TypeError(f"frames is {described(frames)}; wanted those that mtcnn_fast.frames gives")
    check_options(how, widen)
    look_back: LookBack[Frame] = LookBack(detector, every=every)
    if detector.options["channel_order"] != "rgb":
        raise ValueError("the detector takes images in BGR order, and frames are in RGB order")
    return _hidden(iter(frames), look_back, how, widen)


def _hidden(frames: Iterator[Frame], look_back: LookBack[Frame], how: str, widen: float) -> Iterator[Frame]:
    def finished(settled: SettledFrame[Frame]) -> Frame:
        image = np.array(settled.image)
        hide(image, settled.boxes, how, widen, 0)
        return Frame(settled.key.index, settled.key.timestamp, image)

    failure = None
    while True:
        try:
            frame = next(frames, None)
            if frame is not None and not isinstance(frame, Frame):
                raise TypeError(f"frames gives {described(frame)}; wanted a Frame, as mtcnn_fast.frames gives it")
        except Exception as error:
            failure = error
            break
        if frame is None:
            break
        yield from map(finished, look_back.update(frame, frame.image))
    yield from map(finished, look_back.finish())
    if failure is not None:
        raise failure
