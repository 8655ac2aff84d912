"""What every source of frames has."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS_TO_WAIT = 10
"""How long a stream may take to open, or to its next frame."""


class Image(NamedTuple):
    """A decoded frame: RGB, uint8 (H, W, 3), upright."""

    pixels: NDArray[np.uint8]
    timestamp: float | None
    """In seconds; None: the source has none."""


class Source(ABC):
    """Gives images one after the other.

    Its `load` is called for one item after the other, by `threads` threads. By default the items say nothing, and one
    thread asks for the next image until there is none.
    """

    threads: ClassVar[int] = 1
    reader: ClassVar[str]
    """The package that decodes."""
    fps: float | None = None
    """Frames per second, in the mean."""
    frame_count: int | None = None
    duration: float | None = None
    """In seconds."""
    time_base: Fraction | None = None
    """The seconds of which timestamps are multiples; None: any fraction."""
    start: float = 0
    """The container's first timestamp, in seconds, where that is more than 0."""
    pixel_aspect: Fraction | None = None
    """Width over height of a pixel, upright; None: 1."""
    file: str | None = None
    """The path of the file that is read, whose audio belongs to the frames."""
    has_audio: bool = False

    def items(self) -> Iterable[Any]:
        """What `load` is called for."""
        return itertools.repeat(None)

    @abstractmethod
    def load(self, item: Any) -> Image | None:
        """The image of an item; None: there is no further one. Raises OSError that does not name the source."""

    def close(self) -> None:  # noqa: B027 # a source that holds nothing open closes nothing
        """Closes what is open. No `load` is running, and none follows."""
