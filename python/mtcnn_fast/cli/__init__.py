"""`mtcnn-fast`: a file for each command."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from mtcnn_fast import __version__
from mtcnn_fast.cli import detect, evaluate, info, train
from mtcnn_fast.cli.arguments import Parser, lists_commands
from mtcnn_fast.cli.interrupts import STATUS, interruptible
from mtcnn_fast.console import console
from mtcnn_fast.reading import as_a_command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    console.begin()
    try:
        arguments = _parser().parse_args(argv)
        with interruptible(), as_a_command():
            status: int = arguments.run(arguments)
    except SystemExit as ended:  # by the parser: help, or a wrong argument
        console.end()
        raise SystemExit(ended.code or int(console.refused)) from None
    except KeyboardInterrupt as interrupt:
        console.end()
        return STATUS[getattr(interrupt, "number", signal.SIGINT)]
    console.end()
    return status or int(console.refused)


def _parser() -> Parser:
    parser = Parser(prog="mtcnn-fast", description="Finds faces in pictures.")
    parser.add_argument("--version", action="version", version=f"mtcnn-fast {__version__}")
    lists_commands(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    detect.add_command(commands)
    train.add_command(commands)
    evaluate.add_command(commands)
    info.add_command(commands)
    return parser
