"""Faces followed forward and backward through a stream of frames, so that each has boxes from its first frame on.

`Tracker` shows a face from the search on that finds it. Here frames are kept until they are settled, and O-Net follows
the face back through them. Frames in which that is unsure are searched too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from mtcnn_fast.boxes import centres, overlaps
from mtcnn_fast.extra import require
from mtcnn_fast.image import pixels
from mtcnn_fast.tracker import Tracker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.detector import MTCNN

    Box = NDArray[np.float64]

K = TypeVar("K")

# As the tracker has them: O-Net's answer counts where it overlaps the prediction by so much, and where it moved by so
# much of the side, or is less sure than that, O-Net looks once more from there.
_LEAST_OVERLAP = 0.2
_FAR = 0.12
_SURE = 0.9

# Boxes of one face, and the least overlap of a face that is followed and one that is found.
_SAME_FACE = 0.5
_LEAST_PAIRED = 0.3

# How far the camera may move between two searches, in sides of the median face. A face that comes in at a corner and
# leaves again moves by more from where half of it is in the picture to where four fifths are, and back.
_MOST_MOVED = 0.6

# Searches in a row that may miss a face that O-Net sees and two searches have found.
_MOST_MISSED = 3

# The tracker's measure of a cut: the mean difference, of 255, of small pictures of the frames.
_CUT = 28
_THUMBNAIL = (32, 18)
_SAMPLED = (128, 72)

# Where R-Net and O-Net look for a face that is out of O-Net's sight, in sides of the box; and how they zoom.
_AROUND = np.array(
    [each for away in (-0.7, -0.35, 0.35, 0.7) for each in ((away, 0, 1), (0, away, 1))] + [(0, 0, 1.5), (0, 0, 0.67)]
)


@dataclass
class SettledFrame(Generic[K]):
    """A frame with the boxes of its faces."""

    key: K
    image: Any
    boxes: NDArray[np.float64]
    """(N, 4): x1, y1, x2, y2 in pixels; a box may be that of a frame nearby, where the face is out of sight."""


@dataclass
class _Kept(Generic[K]):
    """A frame whose boxes may still change."""

    key: K
    image: Any
    boxes: dict[int, Box] = field(default_factory=dict)
    """Those of each face, by its id; by -1 less the id, where a lost face was seen last."""


@dataclass
class _Followed:
    """A face that is followed from frame to frame."""

    id: int
    box: Box
    seen: int
    """The last frame in which it was seen."""
    seen_box: Box
    velocity: Box | None = None
    """Pixels per frame, of the box's centre; None: not known yet."""
    found: int = 1
    """Searches that found it."""
    missed: int = 0
    """Searches in a row, the last ones, that did not."""

    def see(self, number: int, box: Box) -> None:
        # A search corrects the box that O-Net has given in the same frame.
        if number != self.seen:
            moved = (_centre(box) - _centre(self.seen_box)) / abs(number - self.seen)
            self.velocity = moved if self.velocity is None else (self.velocity + moved) / 2
        self.box = self.seen_box = box
        self.seen = number


class LookBack(Generic[K]):
    """Gives the boxes of the faces of each frame of one stream, up to 2 x `every` - 1 frames after it came.

    `MTCNN.detect` searches every N-th frame, and O-Net follows the faces through the others, as in `Tracker`. Besides:

    * A face that a search finds first is followed back to where it came in.
    * A face that is lost and found again has boxes in between, on the straight way.
    * A face that is lost keeps its last box, and has one that moves on, until the search that ends it.
    * A frame in which a face is lost, before which the camera moved far, or after which there is a cut, is searched.

    detector: an `MTCNN`. every, keep, patience: as `Tracker` has them. At most 2 x `every` frames are in memory.
    Raises ImportError without OpenCV, and errors as `Tracker` does for the options.
    """

    def __init__(self, detector: MTCNN, *, every: int = 10, keep: float = 0.6, patience: int = 3) -> None:
        Tracker(detector, every=every, keep=keep, patience=patience)  # checks the options
        self._cv2 = require("cv2", "telling cuts")
        self._detector, self._every, self._keep, self._patience = detector, every, keep, patience
        self._kept: deque[_Kept[K]] = deque()
        self._faces: list[_Followed] = []
        self._frames = 0
        self._searched = -every
        self._next_id = 0
        self._moved = 0.0
        self._thumbnail: NDArray[np.float32] | None = None

    def update(self, key: K, image: Any) -> list[SettledFrame[K]]:
        """Takes the next frame, and returns those that are settled, in their order.

        key: anything; it comes back with the frame. image: an array, as `MTCNN.detect` takes it; it must stay as it is
        until it comes back. Raises errors as `MTCNN.detect` does; the frame then counts as not given.
        """
        pixels(image)
        number = self._frames
        self._frames += 1
        self._kept.append(_Kept(key, image))
        self._go_on(number)
        cut = self._is_cut(number)
        if cut and self._searched != number - 1:
            # No later search finds a face that came in shortly before the cut.
            self._follow_back(number - 1, self._unknown(number - 1, self._detected(number - 1)))
        if not (cut or number - self._searched >= self._every or self._is_unsure(number)):
            return []
        self._search(number, cut)
        return self._settled(number - self._every)

    def finish(self) -> list[SettledFrame[K]]:
        """The frames that are left at the end of the stream, of which the last is searched."""
        last = self._frames - 1
        if self._frames and self._searched != last:
            self._search(last, cut=False)
        return self._settled(last)

    def _at(self, number: int) -> _Kept[K]:
        return self._kept[number - self._first]

    @property
    def _first(self) -> int:
        """The number of the first frame that is kept."""
        return self._frames - len(self._kept)

    def _settled(self, last: int) -> list[SettledFrame[K]]:
        settled = []
        while self._kept and self._first <= last:
            frame = self._kept.popleft()
            settled.append(SettledFrame(frame.key, frame.image, _stacked(frame.boxes)))
        return settled

    def _is_cut(self, number: int) -> bool:
        """Whether the frame differs from the one before as after a cut, and half of the faces or more are lost."""
        image = self._at(number).image
        height, width = image.shape[:2]
        # Some of its pixels do, in a fifth of the time.
        image = np.ascontiguousarray(image[:: max(1, height // _SAMPLED[1]), :: max(1, width // _SAMPLED[0])])
        small = self._cv2.resize(image, _THUMBNAIL, interpolation=self._cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, small
        if before is None or before.shape != small.shape or np.abs(small - before).mean() < _CUT:
            return False
        return 2 * sum(face.seen == number for face in self._faces) <= len(self._faces)

    def _is_unsure(self, number: int) -> bool:
        if self._faces:
            side = np.median(_sides(np.array([face.box for face in self._faces])))
            self._moved += float(np.abs(_movement(self._at(number - 1).boxes, self._at(number).boxes)).max() / side)
        lost = [face.seen_box for face in self._faces if face.seen == number - 1]
        # At the border, faces leave.
        return self._moved > _MOST_MOVED or any(_is_inside(box, self._at(number).image.shape) for box in lost)

    def _go_on(self, number: int) -> None:
        """Follows the faces into the newest frame."""
        frame = self._at(number)
        known = [face.velocity for face in self._faces if face.velocity is not None]
        camera = np.median(known, 0) if known else np.zeros(2)
        for face in self._faces:
            face.box = face.box + np.tile(camera if face.velocity is None else face.velocity, 2)
        # O-Net looks for as many frames as the tracker waits.
        looked_for = [face for face in self._faces if number - face.seen <= 1 + self._patience]
        for face, box in zip(looked_for, self._look(frame.image, looked_for), strict=True):
            if box is not None:
                self._see(face, number, box)
        for face in self._faces:
            frame.boxes[face.id] = face.box
            if face.seen != number:
                frame.boxes[-1 - face.id] = face.seen_box

    def _see(self, face: _Followed, number: int, box: Box) -> None:
        """Notes where a face is, and boxes on the straight way where it was out of sight."""
        for between in range(max(face.seen + 1, self._first), number):
            share = (between - face.seen) / (number - face.seen)
            self._at(between).boxes[face.id] = (1 - share) * face.seen_box + share * box
        face.see(number, box)

    def _detected(self, number: int) -> Box:
        return self._detector.detect(self._at(number).image).boxes.astype(np.float64)

    def _unknown(self, number: int, found: Box) -> list[_Followed]:
        """New faces, of those that were found in a frame and have no box there."""
        boxes = self._at(number).boxes
        known = _stacked({who: box for who, box in boxes.items() if who >= 0})
        new = []
        for box in found[~(overlaps(found, known) > _SAME_FACE).any(1)]:
            new.append(_Followed(self._next_id, box, number, box))
            boxes[self._next_id] = box
            self._next_id += 1
        return new

    def _search(self, number: int, cut: bool) -> None:
        """Searches the newest frame. A lost face that it does not find ends after `patience`, or at a cut."""
        frame, found = self._at(number), self._detected(number)
        expected = np.array([face.box for face in self._faces]).reshape(-1, 4)
        mine, theirs = _paired(overlaps(expected, found))
        paired = dict(zip(mine, theirs, strict=True))
        faces = []
        for index, face in enumerate(self._faces):
            if index in paired:
                self._see(face, number, found[paired[index]])
                face.found, face.missed = face.found + 1, 0
                faces.append(face)
            elif face.seen == number:
                # What one search found the next must find, else it goes: O-Net alone would believe in its errors.
                face.missed += 1
                if face.missed < (1 if face.found == 1 else _MOST_MISSED):
                    faces.append(face)
            elif cut or number - face.seen > self._patience:
                del frame.boxes[face.id], frame.boxes[-1 - face.id]
            else:
                faces.append(face)
            if face.seen == number:
                frame.boxes[face.id] = face.box
                frame.boxes.pop(-1 - face.id, None)
        new = self._unknown(number, found[[index for index in range(len(found)) if index not in theirs]])
        self._faces = faces + new
        self._searched = number
        self._moved = 0
        self._follow_back(number, [replace(face) for face in new])

    def _follow_back(self, number: int, faces: list[_Followed]) -> None:
        """Follows new faces back from a frame, until they are out of sight or have boxes already."""
        for earlier in range(number - 1, self._first - 1, -1):
            frame = self._at(earlier)
            camera = _movement(self._at(earlier + 1).boxes, frame.boxes)
            others = _stacked(frame.boxes)
            for face in faces:
                face.box = face.box + np.tile(camera if face.velocity is None else face.velocity, 2)
            faces = [face for face in faces if not (overlaps(face.box[np.newaxis], others) > _SAME_FACE).any()]
            for face, box in zip(faces, self._look(frame.image, faces), strict=True):
                if box is not None:
                    face.see(earlier, box)
                frame.boxes[face.id] = face.box
            # A face that is half in the picture is out of sight, and moves on as before.
            faces = [
                face
                for face in faces
                if face.seen - earlier < self._patience or _crosses_border(face.box, frame.image.shape)
            ]
            if not faces:
                return

    def _look(self, image: Any, faces: list[_Followed]) -> list[Box | None]:
        """The boxes of faces near where they are expected; None: out of sight."""
        if not faces:
            return []
        expected = np.array([face.box for face in faces])
        boxes, scores = self._refined(image, expected)
        sides = _sides(expected)
        moved = np.abs(centres(boxes) - centres(expected)).max(1) > _FAR * sides
        unsure = np.flatnonzero((scores > 0.15) & (moved | (scores < _SURE)))
        if len(unsure):
            again, surer = self._refined(image, boxes[unsure])
            better = surer >= 0.9 * scores[unsure]
            boxes[unsure[better]], scores[unsure[better]] = again[better], surer[better]
        near = overlaps(boxes, expected).diagonal() > _LEAST_OVERLAP
        found = [box if good else None for box, good in zip(boxes, near & (scores >= self._keep), strict=True)]
        lost = [i for i, box in enumerate(found) if box is None]
        if lost:
            for i, box in zip(lost, self._look_around(image, expected[lost], sides[lost]), strict=True):
                found[i] = box
        return found

    def _look_around(self, image: Any, expected: Box, sides: NDArray[np.float64]) -> list[Box | None]:
        places = centres(expected)[:, np.newaxis] + sides[:, np.newaxis, np.newaxis] * _AROUND[np.newaxis, :, :2]
        halves = (sides[:, np.newaxis] * _AROUND[np.newaxis, :, 2] / 2)[..., np.newaxis]
        windows = np.concatenate([places - halves, places + halves], 2)
        boxes, scores = self._refined(image, windows.reshape(-1, 4), "both")
        away = np.abs(centres(boxes).reshape(len(expected), -1, 2) - centres(expected)[:, np.newaxis]).max(2)
        distances = np.where(scores.reshape(away.shape) >= self._keep, away, np.inf)
        return [
            box[distance.argmin()] if np.isfinite(distance).any() else None
            for box, distance in zip(boxes.reshape(windows.shape), distances, strict=True)
        ]

    def _refined(self, image: Any, boxes: Box, network: str = "onet") -> tuple[Box, NDArray[np.float64]]:
        """The boxes and scores that `MTCNN.refine` answers."""
        answers = self._detector.refine(image, boxes.astype(np.float32), network)
        corners = answers.boxes.astype(np.float64).reshape(-1, 2, 2)
        # A network that was never trained may put corners in the wrong order, which `refine` refuses.
        return np.sort(corners, 1).reshape(-1, 4), answers.scores.astype(np.float64)


def _stacked(boxes: dict[int, Box]) -> Box:
    return np.array(list(boxes.values())).reshape(-1, 4)


def _centre(box: Box) -> NDArray[np.float64]:
    return (box[:2] + box[2:]) / 2


def _is_inside(box: Box, shape: tuple[int, ...]) -> bool:
    return bool((box[:2] >= 0).all() and (box[2:] <= shape[1::-1]).all())


def _crosses_border(box: Box, shape: tuple[int, ...]) -> bool:
    return bool((box[2:] > 0).all() and (box[:2] < shape[1::-1]).all()) and not _is_inside(box, shape)


def _sides(boxes: Box) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).max(1)
    return sides


def _movement(before: dict[int, Box], after: dict[int, Box]) -> NDArray[np.float64]:
    """How far the centres of the faces that are in both frames moved, in the median: as the camera does."""
    moved = [_centre(after[who]) - _centre(box) for who, box in before.items() if who >= 0 and who in after]
    return np.median(moved, 0) if moved else np.zeros(2)


def _paired(gains: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Rows and columns that are paired one to one, the best pair first."""
    rows: list[int] = []
    columns: list[int] = []
    for place in np.argsort(-gains, None, kind="stable"):
        row, column = divmod(int(place), gains.shape[1])
        if gains[row, column] <= _LEAST_PAIRED:
            break
        if row not in rows and column not in columns:
            rows.append(row)
            columns.append(column)
    return rows, columns
