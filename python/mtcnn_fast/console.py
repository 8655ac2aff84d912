"""What commands print: standard streams may be closed, full, or read by somebody who has left."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from mtcnn_fast.writing import reason


class Console:
    """Lines to stdout and stderr. A stream that refuses a line is given no more; the first refusal is told once.

    A closed stream (`>&-`) takes nothing and refuses nothing.
    """

    def __init__(self) -> None:
        self._refused: OSError | None = None

    def begin(self) -> None:
        """To be called before a command opens anything.

        A closed standard stream leaves its number to the next file that is opened, and what C libraries print on
        stderr would go there: the null device takes the number. Names that are not text are shown escaped.
        """
        self._refused = None
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if stream is None:
                _claim_free_number()
        for output in (sys.stdout, sys.stderr):
            if output is not None and hasattr(output, "reconfigure"):
                output.reconfigure(errors="backslashreplace")

    @property
    def refused(self) -> bool:
        """Whether stdout has refused a line, so that something of the output is lost."""
        return self._refused is not None

    @property
    def reader_has_left(self) -> bool:
        """Whether stdout was a pipe that nobody reads any more (`| head`)."""
        return isinstance(self._refused, BrokenPipeError)

    def say(self, line: str) -> None:
        """Prints a line on stdout."""
        self.write(f"{line}\n")

    def write(self, text: str) -> None:
        """Prints text on stdout as it stands."""
        if self._refused is not None or sys.stdout is None:
            return
        try:
            _put(sys.stdout, text)
        except OSError as error:
            self._refused = error
            _silence(sys.stdout)
            if not self.reader_has_left:
                self.complain(f"stdout: {reason(error)}")

    def end(self) -> None:
        """To be called when the command has ended: what others have printed on stdout is written out."""
        self.write("")

    def complain(self, line: str) -> None:
        """Prints a line on stderr."""
        if sys.stderr is None:
            return
        try:
            _put(sys.stderr, f"{line}\n")
        except OSError:
            # There is nowhere left to say so.
            _silence(sys.stderr)


console = Console()
"""Of this process."""


def _claim_free_number() -> None:
    number = os.open(os.devnull, os.O_RDWR)
    if number > 2:
        os.close(number)


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _silence(stream: TextIO) -> None:
    """What is still buffered must not raise again when the interpreter ends."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
