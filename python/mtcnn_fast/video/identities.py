"""The faces of a video: from when to when each is there, and its best view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.detections import Detections
    from mtcnn_fast.drawings import Cut
    from mtcnn_fast.tracker import Tracks
    from mtcnn_fast.video.reading import Frame

# A tracker gives a face up after fewer frames, and never gives its id again.
_FRAMES_UNTIL_GONE = 100


@dataclass(slots=True)
class Identity:
    """A face of a video."""

    id: int
    first: tuple[int, float | None]
    """Index and timestamp of the first frame that shows it."""
    last: tuple[int, float | None]
    confirmed: bool = False
    """Whether two searches have found it."""
    quality: float = 0
    """Of the best view so far. A view is good that is large, sure and within the frame."""
    crop: NDArray[np.uint8] | None = None
    """Of the best view."""

    def __str__(self) -> str:
        (first, begin), (last, end) = self.first, self.last
        seconds = "" if begin is None or end is None else f", {begin:.2f} to {end:.2f} s"
        return f"id {self.id}: frames {first} to {last}{seconds}"


class Identities:
    """Collects the faces of a video. cut: makes the crops; None: there are none."""

    def __init__(self, cut: Cut | None = None) -> None:
        self._cut = cut
        self._present: dict[int, tuple[int, Identity]] = {}
        self._updates = 0

    def update(self, frame: Frame, tracks: Tracks) -> Iterator[Identity]:
        """Takes the next frame and its faces. Gives those that have gone; a face of one search alone counts as none."""
        self._updates += 1
        place = frame.index, frame.timestamp
        qualities = _qualities(frame.image, tracks)
        for row, (number, confirmed) in enumerate(zip(tracks.ids.tolist(), tracks.confirmed.tolist(), strict=True)):
            _, identity = self._present.get(number, (0, Identity(number, place, place)))
            self._present[number] = self._updates, identity
            identity.last, identity.confirmed = place, confirmed
            if self._cut is not None and qualities[row] > identity.quality:
                identity.quality = qualities[row]
                identity.crop = self._cut(frame.image, tracks[[row]])[0]
        gone = [id for id, (seen, _) in self._present.items() if self._updates - seen > _FRAMES_UNTIL_GONE]
        for number in gone:
            _, identity = self._present[number]
            if identity.confirmed:
                yield identity
            # Only now, so that `close` gives it again if its taker is interrupted.
            del self._present[number]

    def close(self) -> Iterator[Identity]:
        """Gives those that are left. A face in the last frame need not be confirmed."""
        for seen, identity in self._present.values():
            if identity.confirmed or seen == self._updates:
                yield identity
        self._present.clear()


def _qualities(image: NDArray[np.uint8], faces: Detections) -> list[float]:
    """A box's side, times its share within the frame, times the square of its score.

    A face that the border cuts often has a larger box, of lower score.
    """
    height, width = image.shape[:2]
    areas = _areas(faces.boxes)
    inside = _areas(np.clip(faces.boxes, 0, [width, height, width, height]))
    qualities: list[float] = (np.sqrt(areas) * inside / np.maximum(areas, 1e-9) * faces.scores**2).tolist()
    return qualities


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = np.maximum(0, boxes[:, 2] - boxes[:, 0]) * np.maximum(0, boxes[:, 3] - boxes[:, 1])
    return areas
