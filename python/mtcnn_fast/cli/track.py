"""`mtcnn-fast track`."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn

from mtcnn_fast import MTCNN, Frame, Frames, Tracker, VideoWriter, draw, frames
from mtcnn_fast.checks import shown
from mtcnn_fast.cli import detector_options, interrupts, remarks
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.line_file import STANDARD_OUTPUT, LineFile, json_lines
from mtcnn_fast.cli.progress import progress_of
from mtcnn_fast.console import console
from mtcnn_fast.detecting import plural
from mtcnn_fast.drawings import OutputFolder
from mtcnn_fast.extra import require
from mtcnn_fast.video.identities import Identities, Identity
from mtcnn_fast.video.reading import is_url
from mtcnn_fast.writing import is_folder, line_of

_CROP = 112
"""The side of an aligned face, as recognition networks want it."""

_FAILURES = (ImportError, KeyboardInterrupt, MemoryError, OSError, RuntimeError, ValueError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `track`."""
    parser.add_argument(
        "source",
        type=path,
        metavar="SOURCE",
        help="video file, folder of pictures, number of a camera (from 0), or URL (rtsp://, http:// and others)",
    )
    parser.add_argument(
        "--draw",
        type=path,
        metavar="OUT.mp4",
        help="write a video with the faces drawn, in a colour per id, and with the audio (default: none)",
    )
    parser.add_argument(
        "--json",
        type=json_lines,
        metavar="FILE.jsonl",
        help="write a line per frame to this file: index, timestamp in seconds, and the faces with their ids; - writes "
        "the lines to stdout, and the printed lines to stderr (default: none)",
    )
    parser.add_argument(
        "--crops",
        type=path,
        metavar="DIR",
        help=f"write a PNG per id to this folder: the face, upright by its landmarks, in {_CROP} x {_CROP} pixels, of "
        "the frame in which it is largest, surest and least cut off (default: none)",
    )
    parser.add_argument(
        "--every", type=int, default=10, metavar="N", help="frames from one search of the whole frame to the next"
    )
    detector_options.add_to(parser)


class _Work:
    """The outputs of a run, and what is printed of it."""

    def __init__(self, arguments: argparse.Namespace, source: Frames, tracker: Tracker, stack: ExitStack) -> None:
        inputs = [] if source.file is None else [source.file]
        self._tracker = tracker
        if arguments.draw is not None:
            require("cv2", "drawing faces")
        if arguments.crops is not None:
            require("PIL.Image", "writing crops")
            _check_crops(arguments.crops, arguments.source)
        self._video = None if arguments.draw is None else VideoWriter(arguments.draw, source)
        self._crops = None if arguments.crops is None else OutputFolder(arguments.crops, [arguments.source])
        self._identities = Identities(None if self._crops is None else partial(tracker.detector.align, size=_CROP))
        self._lines = None if arguments.json is None else LineFile(arguments.json, inputs)
        self._to_stdout = arguments.json == STANDARD_OUTPUT
        self._frames = self._faces = self._ids = 0
        self._next = 0
        self.kept: list[str] = []
        """What holds the work, after `close`."""
        self._progress = progress_of(source, stack)

    @property
    def nobody_reads(self) -> bool:
        """Whether the only output is a stdout that refuses more."""
        files = (self._video, self._crops, None if self._to_stdout else self._lines)
        return console.refused and not any(output is not None for output in files)

    def add(self, frame: Frame) -> None:
        """Finds the faces of the next frame, and writes them."""
        tracks = self._tracker.update(frame.image)
        self._frames += 1
        self._faces += len(tracks)
        self._next = frame.index + 1
        if self._lines is not None:
            self._lines.write({"index": frame.index, "timestamp": frame.timestamp, "faces": tracks.to_dicts()})
        if self._video is not None:
            self._video.write(draw(frame.image, tracks), frame.timestamp)
        for identity in self._identities.update(frame, tracks):
            self._end(identity)
        self._progress.update()

    def close(self, whole: bool) -> None:
        """Ends all outputs. Raises what one of them raises, after the others."""

        def end_lines() -> None:
            lines = None if self._lines is None else self._lines.close(whole)
            if lines is not None:
                self.kept.append(lines)

        def end_video() -> None:
            video = None if self._video is None else self._video.close(whole)
            if video is not None:
                self.kept.append(str(video))

        def end_crops() -> None:
            if self._crops is not None:
                self.kept.append(str(self._crops.folder))

        with ExitStack() as stack:  # the last one first
            stack.callback(end_crops)
            stack.callback(end_lines)
            stack.callback(end_video)
            for identity in self._identities.close():
                self._end(identity)

    def summary(self, seconds: float) -> str:
        """One line about the run."""
        dropped = self._next - self._frames
        parts = [plural(self._frames, "frame"), *([f"{dropped:,} dropped"] if dropped else [])]
        parts += [plural(self._faces, "face"), plural(self._ids, "id")]
        return ", ".join([*parts, f"{seconds:.1f} s ({self._frames / seconds:.1f} frames per second)"])

    def _end(self, identity: Identity) -> None:
        if self._crops is not None and identity.crop is not None:
            self._crops.save(identity.crop, Path("face"), f"id{identity.id}", ".png")
        self._ids += 1
        self._progress.print(console.complain if self._to_stdout else console.say, str(identity))


def _check_crops(folder: str, source: str) -> None:
    """Raises FileExistsError for a folder whose pictures are the frames, or one in it: the next run would read them."""
    place, read = Path(os.path.realpath(folder)), Path(os.path.realpath(source))
    if is_folder(read) and read in (place, *place.parents):
        raise FileExistsError(f"--crops is {folder}, in the folder that is read; wanted another")


def _opened(source: str) -> Frames:
    """The frames that the argument names. Those of a camera, or of a stream that does not wait, are the latest."""
    if source.isdecimal() and not os.path.lexists(source):
        return frames(int(source), latest=True)
    return frames(source, latest=is_url(source) and not source.startswith(("http:", "https:")))


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `track`. Returns the exit status."""
    began = time.monotonic()
    ended: BaseException | None = None
    with ExitStack() as stack:
        stack.enter_context(remarks.reported(console.complain))
        try:
            detector = MTCNN(**detector_options.options_of(arguments))
            tracker = Tracker(detector, every=arguments.every)
            source = stack.enter_context(_opened(arguments.source))
        except OSError as reason:
            interrupts.check()
            console.complain(shown(line_of(reason)))
            return 1
        except (ImportError, RuntimeError, TypeError, ValueError) as reason:
            error(shown(line_of(reason)))
        try:
            work = _Work(arguments, source, tracker, stack)
        except (ImportError, OSError, ValueError) as reason:
            error(shown(line_of(reason)))
        try:
            for frame in source:
                work.add(frame)
                interrupts.check()
                if work.nobody_reads:
                    break
        except _FAILURES as reason:
            ended = interrupts.cause(reason)
        try:
            work.close(ended is None)
        except _FAILURES as reason:
            ended = ended or reason
    if ended is not None and not isinstance(ended, KeyboardInterrupt):
        console.complain(shown(line_of(ended)))
    console.complain(work.summary(time.monotonic() - began))
    if ended is not None and work.kept:
        console.complain(shown(f"what was done is in {', '.join(work.kept)}"))
    if isinstance(ended, KeyboardInterrupt):
        raise ended
    return int(ended is not None)
