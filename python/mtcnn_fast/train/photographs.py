"""Pixels of annotated pictures for samples and measurements."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mtcnn_fast import reading
from mtcnn_fast.streaming import FAILURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FAILURES", "name_bytes", "pixels_to_learn"]

# The first word of a note of `reading.first_page` on a damaged picture.
_DAMAGED = "damaged"


def pixels_to_learn(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], str | None]:
    """The pixels of a picture, (H, W, 3) in RGB order, and a remark on the picture, or None.

    Raises FAILURES, which must not end a run. A damaged picture is an OSError: half of it may be grey, also where its
    labels are.
    """
    pixels, note = reading.first_page(path)
    if note is not None and note.startswith(_DAMAGED):
        raise OSError(note)
    return pixels, note


def name_bytes(name: str) -> bytes:
    """The bytes of a picture's name for a digest."""
    try:
        return name.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # JSON has surrogates that stand for no byte
        return name.encode(errors="surrogatepass")
