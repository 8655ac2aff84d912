"""The progress bar of a command, and lines above it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from mtcnn_fast.extra import require
from mtcnn_fast.video import Frames


class Progress:
    """A bar of tqdm with units per second and the time left, until `stack` ends; without a terminal as stderr, none.

    total: counts the units, or says None. It is not called without a bar. Raises ImportError without tqdm.
    """

    def __init__(self, unit: str, total: Callable[[], int | None], stack: ExitStack) -> None:
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            tqdm = require("tqdm", "a progress bar").tqdm
            self._bar = stack.enter_context(tqdm(total=total(), unit=unit))

    def update(self, count: int = 1) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            self._bar.update(count)

    def print(self, to: Callable[[str], object], line: str) -> None:
        """Prints a line by `to`, above the bar."""
        if self._bar is None:
            to(line)
        else:
            with self._bar.external_write_mode():
                to(line)


def progress_of(source: Frames, stack: ExitStack) -> Progress:
    """The progress through the frames of a source."""

    def total() -> int | None:
        if source.frame_count is None and source.duration and source.fps:
            return round(source.duration * source.fps)
        return source.frame_count

    return Progress("frame", total, stack)
