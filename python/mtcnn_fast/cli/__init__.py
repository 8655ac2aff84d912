"""The command line `mtcnn-fast`: one file per command, and the parts that commands share. `commands` lists them."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from mtcnn_fast.cli.commands import parser
from mtcnn_fast.cli.interrupts import STATUS, interruptible
from mtcnn_fast.console import console
from mtcnn_fast.reading import as_a_command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    console.begin()
    try:
        arguments = parser().parse_args(argv)
        with interruptible(), as_a_command():
            status: int = arguments.run(arguments)
    except SystemExit as ended:  # from the parser, after help or a wrong argument
        console.end()
        raise SystemExit(ended.code or int(console.refused)) from None
    except KeyboardInterrupt as interrupt:
        console.end()
        return STATUS[getattr(interrupt, "number", signal.SIGINT)]
    console.end()
    return status or int(console.refused)
