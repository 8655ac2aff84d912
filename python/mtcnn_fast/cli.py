"""`mtcnn-fast`: its commands, of which `detect` and `info` are here."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from mtcnn_fast import MTCNN, __version__, _core, available_devices, available_isas, detector_options, draw, pictures
from mtcnn_fast.evaluate import cli as evaluate
from mtcnn_fast.evaluate.inputs import checked_destination
from mtcnn_fast.extra import require
from mtcnn_fast.train import cli as train


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    # A file's name need not be text that the terminal can show.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # as shells report a process that was interrupted
    except BrokenPipeError:
        # The reader has gone (`| head`); what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(
        prog="mtcnn-fast", description="Finds faces in pictures.", formatter_class=formatter
    )
    parser.add_argument("--version", action="version", version=f"mtcnn-fast {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    detect = commands.add_parser(
        "detect",
        help="find faces in pictures and folders of pictures",
        description="Finds faces in pictures and in folders of pictures, and prints one line a picture.",
        formatter_class=formatter,
    )
    detect.set_defaults(run=lambda arguments: _detect(arguments, detect.error))
    detect.add_argument("paths", nargs="+", metavar="PATH", help="picture, or folder to search to any depth")
    detect.add_argument(
        "--draw", metavar="DIR", help="write a copy of each picture, with its faces drawn, to this folder"
    )
    detect.add_argument(
        "--json", metavar="FILE", help="write the faces to this file; - for stdout, and lines on stderr"
    )
    detector_options.add_max_faces(detect)
    detect.add_argument("--clip", action="store_true", help="cut boxes to the picture")
    detector_options.add_to(detect)

    train.add_command(commands, formatter)
    evaluate.add_commands(commands)

    info = commands.add_parser(
        "info",
        help="print version, devices, instruction sets, threads and weights",
        description="Prints what this installation is and what it runs on.",
        formatter_class=formatter,
    )
    info.set_defaults(run=lambda _: _info(info.error))
    return parser


def _detect(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    folder = Path(arguments.draw) if arguments.draw else None
    try:
        detector = MTCNN(channel_order="bgr", **detector_options.given(arguments))
        detector.detect_batch([], max_faces=arguments.max_faces)
        require("cv2", "mtcnn-fast detect")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        json_file = checked_destination(None if arguments.json == "-" else arguments.json)
        # A progress bar must know of every line printed beside it.
        tqdm = require("tqdm", "a progress bar").tqdm if sys.stderr.isatty() else None
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as reason:
        error(str(reason))

    say = tqdm.write if tqdm else print
    lines = sys.stderr if arguments.json == "-" else sys.stdout
    failures = []

    def fail(path: object, reason: Exception) -> None:
        failures.append(path)
        say(f"{path}: {getattr(reason, 'strerror', None) or reason}", file=sys.stderr)

    found = list(pictures.find(arguments.paths, folder, lambda reason: fail(reason.filename, reason)))
    places = pictures.Places(folder, [path for path, _ in found]) if folder is not None else None
    records = []
    with _interruptible() as check:
        for path, below in tqdm(found, unit="picture") if tqdm else found:
            check()
            try:
                image = pictures.read(path)
                faces = detector.detect(image, max_faces=arguments.max_faces, clip=arguments.clip)
                if places is not None:
                    pictures.write(places.choose(below), draw(image, faces))
            except (OSError, ValueError) as reason:
                fail(path, reason)
                continue
            height, width = image.shape[:2]
            say(f"{path}: {len(faces)} {'face' if len(faces) == 1 else 'faces'} ({width}x{height})", file=lines)
            records.append({"path": str(path), "width": width, "height": height, "faces": faces.to_dicts()})
    if not found:
        say("no pictures found", file=sys.stderr)
    if arguments.json == "-":
        print(json.dumps(records))
    elif json_file is not None:
        try:
            json_file.write_text(json.dumps(records) + "\n")
        except OSError as reason:
            fail(json_file, reason)
    return 1 if failures else 0


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt if there was one already.

    C code of other packages, asking an object for an attribute, may clear the exception that the interrupt raised.
    """
    interrupted = False

    def note(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if previous is None else previous)


def _info(error: Callable[[str], NoReturn]) -> int:
    try:
        detector = MTCNN()
    except ValueError as reason:  # a value of the environment variables that this machine cannot serve
        error(str(reason))
    print(f"mtcnn_fast        {__version__}")
    name = detector._core.device_name
    in_use = f"{detector.device}, {name}" if name else detector.device
    print(f"devices           {', '.join(available_devices())} (in use: {in_use})")
    without = _core.cuda_status()
    if without is not None:
        print(f"no CUDA           {without}")
    print(f"instruction sets  {', '.join(available_isas())} (in use: {detector.isa})")
    print(f"threads           {detector.num_threads}")
    print("weights           embedded: P-Net, R-Net and O-Net of Zhang et al., 2016")
    return 0
