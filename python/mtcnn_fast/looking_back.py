"""Faces followed forward and backward through a stream of frames, so that each has boxes from its first frame on.

`Tracker` finds a face that comes in by its next search. Here frames are kept until they are settled, and O-Net follows
the face back through them. Frames in which the tracker is unsure are searched too.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from mtcnn_fast.boxes import overlaps
from mtcnn_fast.extra import require
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

# Boxes of one face.
_SAME_FACE = 0.5

# How far the camera may move between two searches, in sides of the median face: a face that is in the picture for a few
# frames only, at its border, else is in none of the frames that are searched.
_MOST_MOVED = 1.0

# The frames that the velocity of a lost face is taken from: boxes tremble.
_STEPS = 3

# The tracker's measure of a cut: the mean difference, of 255, of small pictures of the frames.
_CUT = 28
_THUMBNAIL = (32, 18)

# Where R-Net and O-Net look for a face that is out of O-Net's sight, in sides of the box; and how they zoom.
_AROUND = np.array(
    [(dx, dy, 1) for dx in (-0.35, 0, 0.35) for dy in (-0.35, 0, 0.35) if dx or dy]
    + [(-0.7, 0, 1), (0.7, 0, 1), (0, -0.7, 1), (0, 0.7, 1), (0, 0, 1.5), (0, 0, 0.67)]
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
    """A frame whose boxes may still change: those of each face, by its id."""

    key: K
    image: Any
    boxes: dict[int, Box] = field(default_factory=dict)


@dataclass
class _Followed:
    """A face that is followed from one of the frames that are kept."""

    id: int
    box: Box
    velocity: Box | None = None
    """Pixels per frame, of the box's centre; None: not known yet."""
    lost: int = 0


class LookBack(Generic[K]):
    """Gives the boxes of the faces of each frame of one stream, up to 2 x `every` - 1 frames after it came.

    * A face that a search finds first is followed back to where it came in.
    * A face that is lost and found again has boxes in between, on the straight way.
    * A face that is lost keeps its last box until the next search.
    * A frame in which a face is lost, before which the camera moved far, or after which there is a cut, is searched
      like every N-th one.

    detector: an `MTCNN`. every, keep, patience: as `Tracker` has them. At most 2 x `every` frames are in memory.
    Raises ImportError without OpenCV, and errors as `Tracker` does for the options.
    """

    def __init__(self, detector: MTCNN, *, every: int = 10, keep: float = 0.6, patience: int = 3) -> None:
        self._cv2 = require("cv2", "telling cuts")
        self._tracker = Tracker(detector, every=every, keep=keep, patience=patience)
        self._detector, self._every, self._keep, self._patience = detector, every, keep, patience
        self._kept: deque[_Kept[K]] = deque()
        self._frames = 0
        self._searched = 0  # the frame of the last search
        self._last_seen: dict[int, int] = {}
        self._next_own_id = -1  # the tracker's are not negative
        self._moved = 0.0
        self._thumbnail: NDArray[np.float32] | None = None
        self._unsure: list[int] = []

    def update(self, key: K, image: Any) -> list[SettledFrame[K]]:
        """Takes the next frame, and returns those that are settled, in their order.

        key: anything; it comes back with the frame. image: an array, as `MTCNN.detect` takes it; it must stay as it is
        until it comes back. Raises errors as `Tracker.update` does; the frame then counts as not given.
        """
        tracks = self._tracker.update(image)
        number = self._frames
        self._frames += 1
        self._kept.append(_Kept(key, image))
        for who, box in zip(tracks.ids.tolist(), tracks.boxes.astype(np.float64), strict=True):
            self._see(who, number, box)
        new = tracks.ids[tracks.ages == 0].tolist()
        regular = number % self._every == 0
        cut = self._is_cut(number)
        if cut and (number - 1) % self._every:
            # No later search finds a face that came in shortly before the cut.
            self._unsure.append(number - 1)
        if new or regular or cut:  # the tracker has searched the frame
            self._look_back(new)
        elif self._is_unsure(number):
            self._unsure.append(number)
            self._moved = 0
        return self._settled(number - self._every if regular else -1)

    def finish(self) -> list[SettledFrame[K]]:
        """The frames that are left at the end of the stream, of which the last is searched."""
        if self._frames and (self._frames - 1) % self._every:
            self._unsure.append(self._frames - 1)
            self._look_back([])
        return self._settled(self._frames - 1)

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

    def _see(self, who: int, number: int, box: Box) -> None:
        """Notes a face's box, and boxes on the straight way where it was not seen since its last one."""
        before = self._last_seen.get(who, number)
        if before >= self._first:
            self._bridge(who, before, self._at(before).boxes.get(who, box), number, box)
        self._at(number).boxes[who] = box
        self._last_seen[who] = number

    def _bridge(self, who: int, before: int, first: Box, after: int, last: Box) -> None:
        for number in range(before + 1, after):
            share = (number - before) / (after - before)
            self._at(number).boxes[who] = (1 - share) * first + share * last

    def _is_cut(self, number: int) -> bool:
        """Whether the frame differs from the one before as after a cut, and half of the faces or more are lost."""
        image = np.ascontiguousarray(self._at(number).image)
        small = self._cv2.resize(image, _THUMBNAIL, interpolation=self._cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, small
        if before is None or before.shape != small.shape or np.abs(small - before).mean() < _CUT:
            return False
        faces, now = self._at(number - 1).boxes, self._at(number).boxes
        return 2 * sum(who in now for who in faces) <= len(faces)

    def _is_unsure(self, number: int) -> bool:
        before, now = self._at(number - 1).boxes, self._at(number).boxes
        if now:
            side = np.median(_sides(_stacked(now)))
            self._moved += float(np.abs(_movement(before, now)).max() / side)
        lost = [box for who, box in before.items() if who >= 0 and who not in now]
        # At the border, faces leave.
        return self._moved > _MOST_MOVED or any(_is_inside(box, self._at(number).image.shape) for box in lost)

    def _look_back(self, new: list[int]) -> None:
        """Settles what happened up to the newest frame, which has been searched. new: the faces that it found first."""
        number = self._frames - 1
        for who, seen in list(self._last_seen.items()):
            if self._searched <= seen < number:
                self._hold(who, seen, number)
            # The id comes back within the tracker's patience, or not at all.
            if seen < number - self._patience:
                del self._last_seen[who]
        self._searched = number
        newest = self._at(number).boxes
        self._follow([_Followed(who, newest[who]) for who in new], range(number, self._first - 1, -1))
        for unsure in self._unsure:
            self._search(unsure)
        self._unsure.clear()
        self._moved = 0

    def _hold(self, who: int, seen: int, until: int) -> None:
        """Keeps a lost face where it was, and also where it is if it moves on, such as out of the picture."""
        still = self._at(seen).boxes[who]
        first = max(seen - _STEPS, self._first)
        earlier = self._at(first).boxes.get(who)
        velocity = (_centre(still) - _centre(earlier)) / (seen - first) if earlier is not None and first < seen else 0
        for number in range(seen + 1, until):
            boxes = self._at(number).boxes
            boxes[who] = still
            boxes[self._next_own_id] = still + np.tile((number - seen) * velocity, 2)
        self._next_own_id -= 1

    def _search(self, number: int) -> None:
        """Searches a frame, and follows the faces that are new there both ways."""
        frame = self._at(number)
        found = self._detector.detect(frame.image).boxes.astype(np.float64)
        faces = []
        for box in found[~(overlaps(found, _stacked(frame.boxes)) > _SAME_FACE).any(1)]:
            frame.boxes[self._next_own_id] = box
            faces.append(_Followed(self._next_own_id, box))
            self._next_own_id -= 1
        self._follow(faces, range(number, self._first - 1, -1))
        self._follow([_Followed(face.id, frame.boxes[face.id]) for face in faces], range(number, self._frames))

    def _follow(self, faces: list[_Followed], numbers: range) -> None:
        """Follows faces from the first of these frames on, until they are out of sight or have boxes already."""
        for before, number in itertools.pairwise(numbers):
            frame = self._at(number)
            camera = _movement(self._at(before).boxes, frame.boxes)
            others = _stacked(frame.boxes)
            going, expected = [], []
            for face in faces:
                box = face.box + np.tile(camera if face.velocity is None else face.velocity, 2)
                if not (overlaps(box[np.newaxis], others) > _SAME_FACE).any():
                    going.append(face)
                    expected.append(box)
            if not going:
                return
            faces = []
            for face, box, answer in zip(going, expected, self._look(frame.image, np.array(expected)), strict=True):
                if answer is None:
                    face.box = box
                    face.lost += 1
                else:
                    moved = _centre(answer) - _centre(face.box)
                    face.velocity = moved if face.velocity is None else (face.velocity + moved) / 2
                    face.box, face.lost = answer, 0
                frame.boxes[face.id] = face.box
                # A face that is half in the picture is out of sight, and moves on as before.
                if face.lost < self._patience or _crosses_border(face.box, frame.image.shape):
                    faces.append(face)

    def _look(self, image: Any, expected: Box) -> list[Box | None]:
        """The boxes of faces near where they are expected; None: out of sight."""
        boxes, scores = self._refined(image, expected)
        sides = _sides(expected)
        moved = np.abs(_centres(boxes) - _centres(expected)).max(1) > _FAR * sides
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
        centres = _centres(expected)[:, np.newaxis] + sides[:, np.newaxis, np.newaxis] * _AROUND[np.newaxis, :, :2]
        halves = (sides[:, np.newaxis] * _AROUND[np.newaxis, :, 2] / 2)[..., np.newaxis]
        windows = np.concatenate([centres - halves, centres + halves], 2)
        boxes, scores = self._refined(image, windows.reshape(-1, 4), "both")
        away = np.abs(_centres(boxes).reshape(len(expected), -1, 2) - _centres(expected)[:, np.newaxis]).max(2)
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


def _centres(boxes: Box) -> NDArray[np.float64]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _is_inside(box: Box, shape: tuple[int, ...]) -> bool:
    return bool((box[:2] >= 0).all() and (box[2:] <= shape[1::-1]).all())


def _crosses_border(box: Box, shape: tuple[int, ...]) -> bool:
    return bool((box[2:] > 0).all() and (box[:2] < shape[1::-1]).all()) and not _is_inside(box, shape)


def _sides(boxes: Box) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).max(1)
    return sides


def _movement(before: dict[int, Box], after: dict[int, Box]) -> NDArray[np.float64]:
    """How far the centres of the faces that are in both frames moved, in the median: as the camera does."""
    moved = [_centre(after[who]) - _centre(box) for who, box in before.items() if who in after]
    return np.median(moved, 0) if moved else np.zeros(2)
