"""Ctrl-C and a request to end. They come as one exception, so that a command can keep its results."""

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
    """The exception for a signal, with the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


_came: list[int] = []

# Keeping the results takes less, unless a disk or a network share does not answer.
_SECONDS_TO_END = 2.0


@contextmanager
def interruptible() -> Iterator[None]:
    """In its block, the first SIGINT or SIGTERM raises `Interrupt`, and the command then keeps its results.

    A further signal within `_SECONDS_TO_END` is ignored. It would raise while the results are being kept, and a user
    who presses a key twice does not want to lose them. After that time a further signal ends the process at once.
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
    """Raises `Interrupt` if a signal has come.

    C code of other packages that asks an object for an attribute may clear the exception that the signal raised.
    """
    if _came:
        raise Interrupt(_came[0])


def cause(error: BaseException) -> BaseException:
    """`Interrupt` if a signal has come, else the error: a stream that is waited for fails where a signal ends it."""
    return Interrupt(_came[0]) if _came and not isinstance(error, KeyboardInterrupt) else error
