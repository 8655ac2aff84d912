"""`mtcnn-fast blur`."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from mtcnn_fast import MTCNN, reading
from mtcnn_fast.blurred_pictures import blurred
from mtcnn_fast.blurred_videos import blur_frames
from mtcnn_fast.blurring import GAUSSIAN, WAYS, WIDEN, check_options
from mtcnn_fast.checks import at_least, shown
from mtcnn_fast.cli import detector_options, interrupts, remarks
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.progress import progress_of
from mtcnn_fast.console import console
from mtcnn_fast.detecting import Tally, finder, plural
from mtcnn_fast.extra import require
from mtcnn_fast.finding import FoundFile, PassedOver, find
from mtcnn_fast.streaming import FAILURES, Outcome, detect_each, readers_for
from mtcnn_fast.video import VideoWriter, frames
from mtcnn_fast.video.writing import SUFFIXES
from mtcnn_fast.writing import check_destination, check_folder, is_folder, line_of, make_folder, reason, write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `blur`."""
    parser.add_argument("source", type=path, metavar="PATH", help="picture, folder of pictures at any depth, or video")
    parser.add_argument(
        "--output",
        required=True,
        type=path,
        metavar="OUT",
        help="the copy of a picture or a video, or a folder for it; of a folder, the folder for the copies, which have "
        "the same paths below it",
    )
    parser.add_argument(
        "--how",
        choices=WAYS,
        default=GAUSSIAN,
        help="blur, six blocks per face, or black, which alone leaves nothing of the face",
    )
    parser.add_argument(
        "--widen",
        type=float,
        default=WIDEN,
        metavar="SHARE",
        help="share of a box's width and height that is hidden beyond it on each side; 0.2 hides ears and hair line",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=10,
        metavar="N",
        help="frames of a video from one search to the next; twice as many are in memory",
    )
    detector_options.add_to(parser)


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `blur`. Returns the exit status."""
    began = time.monotonic()
    try:
        check_options(arguments.how, arguments.widen)
        at_least("every", arguments.every, 1)
        for module in ("PIL.Image", "cv2"):
            require(module, "blurring")
        detector = MTCNN(**detector_options.options_of(arguments))
        copies = _Copies(arguments.source, arguments.output)
        is_video = not (is_folder(Path(arguments.source)) or _is_picture(arguments.source))
        if not is_video:
            copies.check_suffix()
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as reason:
        error(shown(line_of(reason)))
    if is_video:
        return _blur_video(arguments, detector, copies, error)
    tally, not_copied = Tally(), _NotCopied()
    try:
        _blur_pictures(arguments, detector, copies, tally, not_copied)
    finally:
        console.complain(f"{tally}, {time.monotonic() - began:.1f} s" if tally.pictures else "no pictures found")
        if str(not_copied):
            console.complain(str(not_copied))
    return int(not tally.all_well or tally.damaged > 0 or (not tally.pictures and bool(str(not_copied))))


def _is_picture(source: str) -> bool:
    if os.path.splitext(source)[1].lower() in reading.suffixes():  # noqa: PTH122 # as in `finding`
        return True
    try:
        reading.size(source)
    except OSError:
        return False
    return True


class _Copies:
    """The paths of the copies. Raises OSError for an output that cannot or must not be written."""

    def __init__(self, source: str, output: str) -> None:
        self._source, self._output = Path(os.path.realpath(source)), Path(output)
        if not os.path.exists(source):  # noqa: PTH110 # a Path would raise for a name that is too long
            raise FileNotFoundError(f"there is no {source}; wanted a picture, a folder or a video")
        if reading.is_pipe(source):
            raise OSError(f"{source} is a pipe; wanted a picture, a folder or a video, which can be read twice")
        self._into_folder = is_folder(self._source) or is_folder(self._output)
        if self._source == Path(os.path.realpath(output)):
            raise FileExistsError(f"--output is {output}, which is what is read; wanted another")
        if self._into_folder:
            check_folder(output)
            return
        check_destination(output, inputs=[source])

    def check_suffix(self) -> None:
        """Raises ValueError for the name of a picture's copy that does not suit its format."""
        if not self._into_folder and self._output.suffix.lower() != self._source.suffix.lower():
            raise ValueError(
                f"--output is {self._output}; wanted a name that ends with {self._source.suffix!r}, because the copy "
                "has the format of the picture"
            )

    def path(self, below: str) -> Path:
        """The path of a picture's copy. Raises FileExistsError where files lie that are read."""
        place = self._output / below if self._into_folder else self._output
        real, output = Path(os.path.realpath(place)), Path(os.path.realpath(self._output))
        # The folder of the copies may be in that of the pictures, where the search leaves it out. Links in it may lead
        # back to the pictures.
        left_out = self._source in output.parents and output in real.parents
        if self._source in (real, *real.parents) and not left_out:
            raise FileExistsError(f"{place} is among the files that are read; wanted another --output")
        return place


class _NotCopied(PassedOver):
    """Names the files that are no pictures."""

    def add_file(self, name: str) -> None:
        super().add_file(name)
        is_video = os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 # as in `finding`
        why = "a video is blurred by a command of its own" if is_video else "it is no picture"
        console.complain(f"{shown(name)}: not copied: {why}")


def _blur_pictures(
    arguments: argparse.Namespace, detector: MTCNN, copies: _Copies, tally: Tally, not_copied: PassedOver
) -> None:
    def fail(name: str, why: str) -> None:
        tally.failed += 1
        console.complain(f"{shown(name)}: {shown(why)}")

    def unreadable(error: OSError) -> None:
        tally.pictures += 1
        fail(str(error.filename), reason(error))

    files = find(
        [arguments.source],
        reading.suffixes(),
        leave_out=[arguments.output],
        report=unreadable,
        passed_over=not_copied,
    )
    outcomes = detect_each(
        finder(detector, None),
        ((file, file.path) for file in files),
        readers=readers_for(detector.num_threads),
        first_page_only=True,
    )
    for outcome in outcomes:
        interrupts.check()
        tally.pictures += 1
        file = outcome.key
        try:
            tally.faces += _blur_picture(file, outcome, copies, arguments)
        except FAILURES as error:
            fail(file.path, reason(error) if getattr(error, "filename", None) == file.path else line_of(error))
            continue
        if outcome.picture is not None and outcome.picture.damage is not None:
            tally.damaged += 1
            console.complain(f"{shown(file.path)}: damaged: {shown(outcome.picture.damage)}")


def _blur_picture(file: FoundFile, outcome: Outcome[Any], copies: _Copies, arguments: argparse.Namespace) -> int:
    """Writes the copy of a picture, and returns the number of its faces."""
    if outcome.faces is None:
        raise OSError(outcome.error)
    place = copies.path(file.below)
    content = blurred(Path(file.path).read_bytes(), outcome.faces, arguments.how, arguments.widen)
    make_folder(place.parent)
    write_whole(place, content)
    console.say(f"{shown(file.path)}: {plural(len(outcome.faces), 'face')} hidden in {shown(place)}")
    return len(outcome.faces)


def _blur_video(
    arguments: argparse.Namespace, detector: MTCNN, copies: _Copies, error: Callable[[str], NoReturn]
) -> int:
    """Writes the copy of a video. Returns the exit status."""
    began, source = time.monotonic(), arguments.source
    ended: BaseException | None = None
    kept: Path | None = None
    with ExitStack() as stack:
        stack.enter_context(remarks.reported(console.complain))
        try:
            film = stack.enter_context(frames(source))
        except OSError as reason:
            interrupts.check()
            console.complain(shown(line_of(reason)))
            return 1
        except ImportError as reason:
            error(shown(line_of(reason)))
        try:
            out = VideoWriter(copies.path(os.path.basename(source)), film)  # noqa: PTH119 # as in `finding`
            progress = progress_of(film, stack)
        except (ImportError, OSError, ValueError) as reason:
            error(shown(line_of(reason)))
        try:
            for frame in blur_frames(film, detector, arguments.how, arguments.widen, every=arguments.every):
                interrupts.check()
                out.write(frame.image, frame.timestamp)
                progress.update()
        except (KeyboardInterrupt, *FAILURES) as reason:
            ended = interrupts.cause(reason)
        try:
            kept = out.close(ended is None)
        except (KeyboardInterrupt, OSError) as reason:
            ended = ended or reason
    if ended is not None and not isinstance(ended, KeyboardInterrupt):
        console.complain(shown(line_of(ended)))
    count, seconds = out.frame_count, time.monotonic() - began
    if ended is None:
        console.say(f"{shown(source)}: the faces are hidden in {shown(kept)}")
    elif kept is not None:
        console.complain(f"{plural(count, 'frame')} until then are in {shown(kept)}")
    console.complain(f"{plural(count, 'frame')}, {seconds:.1f} s ({count / seconds:.1f} frames per second)")
    if isinstance(ended, KeyboardInterrupt):
        raise ended
    return int(ended is not None)
