"""Printing to the standard streams, which may be closed, full, or pipes whose reader has left."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from mtcnn_fast.writing import reason


class Console:
    """Prints lines to stdout and stderr.

    After a stream has refused a line, nothing more is printed to it; stderr reports stdout's refusal once. Lines to a
    closed stream (`>&-`) are dropped, and that is no refusal.
    """

    def __init__(self) -> None:
        self._refused: OSError | None = None

    def begin(self) -> None:
        """Prepares the streams. To be called before a command opens any file.

        The next opened file would get the number of a closed standard stream, and the messages of C libraries would
        go into it. So the null device takes the number. Characters that a stream cannot encode are printed escaped.
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
        """Whether stdout has refused a line, so that some of the output is lost."""
        return self._refused is not None

    @property
    def reader_has_left(self) -> bool:
        """Whether stdout was a pipe whose reader has left (`| head`)."""
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
        """Flushes what other code has printed on stdout. To be called when the command has ended."""
        self.write("")

    def complain(self, line: str) -> None:
        """Prints a line on stderr."""
        if sys.stderr is None:
            return
        try:
            _put(sys.stderr, f"{line}\n")
        except OSError:
            # No stream is left to report it on.
            _silence(sys.stderr)


console = Console()
"""The console of this process."""


def _claim_free_number() -> None:
    number = os.open(os.devnull, os.O_RDWR)
    if number > 2:
        os.close(number)


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _silence(stream: TextIO) -> None:
    """Connects the stream to the null device, so that its buffered text does not raise again at the process's end."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
