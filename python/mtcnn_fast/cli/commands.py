"""The commands with their names and help. Each has a file with its arguments and its work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from mtcnn_fast import __version__
from mtcnn_fast.cli import (
    blur,
    detect,
    evaluate_detect,
    evaluate_faces,
    evaluate_fddb,
    evaluate_landmarks,
    evaluate_table,
    evaluate_wider,
    info,
    track,
    train,
)
from mtcnn_fast.cli.arguments import Parser


class Module(Protocol):
    """The file of a command."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments to its parser."""

    def run(self, arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
        """Runs the command and returns its exit status. error: prints a line and ends the process with status 2."""


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands, as the help shows it."""

    name: str
    content: Module | Sequence[Command]
    help: str
    description: str
    epilog: str | None = None


_EVALUATE = (
    Command(
        "detect",
        evaluate_detect,
        "find the faces of any number of pictures, into a file of detections",
        "Finds faces in pictures, folders, or the pictures of an annotated set, and writes a file of detections. If it "
        "is interrupted, the same command goes on where it was. `mtcnn-fast detect --json FILE --resume` does the same "
        "without annotations, and prints one line per picture.",
    ),
    Command(
        "faces",
        evaluate_faces,
        "precision and recall on any annotated set",
        "Prints precision, recall and average precision of detections on an annotated set.",
    ),
    Command(
        "landmarks",
        evaluate_landmarks,
        "errors of landmarks on an annotated set that has them",
        "Prints the normalised mean error of landmarks, failures, and the area under the cumulative distribution of "
        "the errors.",
    ),
    Command(
        "wider",
        evaluate_wider,
        "average precision on WIDER FACE, by its official protocol",
        "Prints the average precision of detections on WIDER FACE's easy, medium and hard set, by the official "
        "protocol.",
    ),
    Command(
        "fddb",
        evaluate_fddb,
        "ROC curves on FDDB, by its official protocol",
        "Prints the discrete and continuous true positive rate of detections on FDDB at given numbers of false "
        "positives, over all folds, by the official protocol.",
    ),
    Command(
        "table",
        evaluate_table,
        "a table of several detectors on several annotated sets",
        "Runs detectors on annotated sets, and prints a Markdown table of their figures.",
    ),
)

_COMMANDS = (
    Command(
        "detect",
        detect,
        "find faces in pictures and folders of pictures",
        "Finds faces in pictures and in folders of pictures, and prints one line per picture. Each picture is first "
        "turned upright by its EXIF orientation. All coordinates are pixels of the upright picture.",
        "Exit status: 0; 1 if a picture failed, is damaged or was not drawn, or if output was refused; 2 for wrong "
        "arguments; 130 after Ctrl-C.",
    ),
    Command(
        "track",
        track,
        "follow faces through a video, a camera or a stream",
        "Finds faces in the frames of a video and follows them: the same face has the same id in each frame. Prints a "
        "line per id, with its first and last frame. A face that the next search does not find again gets no line.",
        "Exit status: 0; 1 if the source cannot be opened or breaks, or if output was refused; 2 for wrong arguments; "
        "130 after Ctrl-C. What was done until then is kept.",
    ),
    Command(
        "blur",
        blur,
        "hide the faces of pictures and of a video",
        "Writes copies of pictures, or of a video, in which the faces are hidden. The copy of a picture has its "
        "format, mode and metadata, without the previews. Pictures that cannot be kept so are named, and not copied. "
        "The copy of a video has its audio.",
        "Exit status: 0; 1 if a picture failed or is damaged, or if a video breaks; 2 for wrong arguments; 130 after "
        "Ctrl-C.",
    ),
    Command(
        "train",
        train,
        "train the networks on annotated pictures",
        "Trains networks with the settings of a TOML file (docs/training.md), or goes on where a run was interrupted. "
        "Writes the weight file that `detect --weights` takes. Prints one line per epoch.",
    ),
    Command(
        "evaluate",
        _EVALUATE,
        "measure a detector, this or any other",
        "Runs the detector over data sets, and measures detections of this detector or any other.",
    ),
    Command(
        "info",
        info,
        "print version, devices, instruction sets, threads and weights",
        "Prints the version of this installation and the devices and instruction sets that it can use.",
    ),
)


def parser() -> Parser:
    """Makes the parser of the command line. The arguments that it parses have `run`, which takes them, runs the command
    and returns the exit status."""
    root = Parser(prog="mtcnn-fast", description="Finds faces in pictures and videos.")
    root.add_argument("--version", action="version", version=f"mtcnn-fast {__version__}")
    _add(root, _COMMANDS)
    return root


def _add(group: Parser, commands: Sequence[Command]) -> None:
    """Adds commands to a group. Without a command, the group prints its help on stderr, and the exit status is 2."""

    def print_help(_: argparse.Namespace) -> int:
        group.print_help(sys.stderr)
        return 2

    group.set_defaults(run=print_help)
    subparsers = group.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands:
        added: Parser = subparsers.add_parser(
            command.name, help=command.help, description=command.description, epilog=command.epilog
        )
        if isinstance(command.content, Sequence):
            _add(added, command.content)
        else:
            command.content.add_arguments(added)
            added.set_defaults(run=_runner(command.content, added))


def _runner(module: Module, command: Parser) -> Callable[[argparse.Namespace], int]:
    return lambda arguments: module.run(arguments, command.error)
