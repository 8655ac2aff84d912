"""What samples and measurements read of annotated pictures, and what one picture must not do to a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mtcnn_fast import reading
from mtcnn_fast.streaming import FAILURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FAILURES", "name_bytes", "pixels_to_learn"]

# As `reading.first_page` begins.
_DAMAGED = "damaged"


def pixels_to_learn(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], str | None]:
    """(H, W, 3), RGB, and what is to be said of them; None: nothing.

    Raises FAILURES. A damaged picture is an OSError: half of it may be grey, also where its labels are.
    """
    pixels, note = reading.first_page(path)
    if note is not None and note.startswith(_DAMAGED):
        raise OSError(note)
    return pixels, note


def name_bytes(name: str) -> bytes:
    """A picture's name for a digest, whatever its annotations took it from."""
    try:
        return name.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # JSON has surrogates that stand for no byte
        return name.encode(errors="surrogatepass")
