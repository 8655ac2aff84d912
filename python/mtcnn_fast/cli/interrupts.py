"""Ctrl-C and a request to end, at a time when what was done can be kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""The exit status of a process that a signal ended, as shells report it."""


class Interrupt(KeyboardInterrupt):
    """Carries the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


_came: list[int] = []

# What was done is kept in less, unless a disk or a share does not answer.
_SECONDS_TO_END = 2.0


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise `Interrupt`, once: what was done is being kept then.

    A further one ends the process at once if it comes later than `_SECONDS_TO_END`, and is left out before: it would
    raise in the middle of what keeps the results, and a key that is pressed twice is no wish to lose them.
    """
    began: list[float] = []

    def note(number: int, frame: object) -> None:
        if not began:
            began.append(time.monotonic())
            _came.append(number)
            raise Interrupt(number)
        if time.monotonic() - began[0] > _SECONDS_TO_END:
            os._exit(STATUS[signal.Signals(number)])

    _came.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, note) for number in STATUS}
    try:
        yield
    finally:
        # The process that was interrupted is about to end.
        for number, handler in previous.items() if not began else ():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def check() -> None:
    """Raises `Interrupt` if there was one already.

    C code of other packages, asking an object for an attribute, may clear the exception that a signal raised.
    """
    if _came:
        raise Interrupt(_came[0])
