"""Ctrl-C and a request to end, at a time when what was done can be kept."""

from __future__ import annotations

import signal
import threading
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise `Interrupt`."""

    def note(number: int, frame: object) -> None:
        _came.append(number)
        raise Interrupt(number)

    _came.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, note) for number in STATUS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def check() -> None:
    """Raises `Interrupt` if there was one already.

    C code of other packages, asking an object for an attribute, may clear the exception that a signal raised.
    """
    if _came:
        raise Interrupt(_came[0])
