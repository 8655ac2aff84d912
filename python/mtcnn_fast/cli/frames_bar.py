"""The progress bar of commands that go through the frames of a video."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from mtcnn_fast.extra import require
from mtcnn_fast.video import Frames


def frames_bar(source: Frames, stack: ExitStack) -> Any:
    """A bar of tqdm with frames per second and the time left, until `stack` ends; None: stderr is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    total = source.frame_count
    if total is None and source.duration and source.fps:
        total = round(source.duration * source.fps)
    return stack.enter_context(require("tqdm", "a progress bar").tqdm(total=total, unit="frame"))
