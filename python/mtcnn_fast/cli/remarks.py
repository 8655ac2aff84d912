"""Warnings of the package in a command: lines on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mtcnn_fast.checks import shown


@contextmanager
def reported(complain: Callable[[str], object]) -> Iterator[None]:
    """In its block, each different UserWarning is one line, without the place in the code that gave it."""
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
        if not issubclass(category, UserWarning):
            others(message, category, *where, **how)
        elif (line := shown(message)) not in told:
            told.add(line)
            complain(line)

    with warnings.catch_warnings():
        others = warnings.showwarning
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
