"""Faces that keep their identity from frame to frame of a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.checks import at_least, described, flag, number
from mtcnn_fast.detections import Detections, Face
from mtcnn_fast.detector import MTCNN

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Tracks(Detections):
    """The faces of one frame, in the order of their ids: `Detections` that know who is who.

    A slice, a mask or an array of indices gives the `Tracks` chosen, and so do `above`, `largest` and `most_central`.
    """

    __slots__ = ("_ages", "_confirmed", "_ids")

    def __init__(
        self,
        boxes: ArrayLike,
        scores: ArrayLike,
        landmarks: ArrayLike,
        ids: ArrayLike,
        confirmed: ArrayLike,
        ages: ArrayLike,
    ) -> None:
        super().__init__(boxes, scores, landmarks)
        self._ids = np.array(ids, np.int64)
        self._confirmed = np.array(confirmed, np.bool_)
        self._ages = np.array(ages, np.int64)
        for name, array in (("ids", self._ids), ("confirmed", self._confirmed), ("ages", self._ages)):
            array.flags.writeable = False
            if array.shape != (len(self),):
                raise ValueError(f"{name} has shape {array.shape}; wanted ({len(self)},), one per face")

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,): a number per face, the same in each of its frames; ascending. A tracker never gives one again."""
        return self._ids

    @property
    def confirmed(self) -> NDArray[np.bool_]:
        """(N,): whether two searches have found the face; an error of one seldom is."""
        return self._confirmed

    @property
    def ages(self) -> NDArray[np.int64]:
        """(N,): frames since the face was found first; 0 in that frame."""
        return self._ages

    def to_dicts(self, digits: int | None = None) -> list[dict[str, Any]]:
        """One dict per face: {"id", "confirmed", "age"} and what `Face.to_dict` gives."""
        own = zip(self._ids.tolist(), self._confirmed.tolist(), self._ages.tolist(), strict=True)
        return [
            {"id": number, "confirmed": confirmed, "age": age, **face}
            for (number, confirmed, age), face in zip(own, super().to_dicts(digits), strict=True)
        ]

    def to_dataframe(self) -> Any:
        """A pandas.DataFrame of `Detections.to_dataframe`'s columns, after id, confirmed and age."""
        frame = super().to_dataframe()
        for place, (name, values) in enumerate(
            (("id", self._ids), ("confirmed", self._confirmed), ("age", self._ages))
        ):
            frame.insert(place, name, values)
        return frame

    def to_supervision(self) -> Any:
        """The supervision.Detections of `Detections.to_supervision`, with the ids as its `tracker_id`."""
        faces = super().to_supervision()
        faces.tracker_id = self._ids.copy()
        return faces

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int] | list[bool]) -> Tracks: ...
    def __getitem__(self, index: Any) -> Face | Tracks:
        chosen = super().__getitem__(index)
        if isinstance(chosen, Face):
            return chosen
        # `super` has checked the index; NumPy makes a float array of an empty list.
        rows = index if isinstance(index, slice) else np.asarray(index, None if len(index) else np.intp)
        return Tracks(
            chosen.boxes, chosen.scores, chosen.landmarks, self._ids[rows], self._confirmed[rows], self._ages[rows]
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tracks):
            return NotImplemented
        own, others = self.__reduce__()[1], other.__reduce__()[1]
        return all(np.array_equal(a, b) for a, b in zip(own, others, strict=True))

    __hash__ = None

    def __repr__(self) -> str:
        return f"<Tracks: {len(self)} {'face' if len(self) == 1 else 'faces'}, ids {self._ids.tolist()}>"

    def __reduce__(self) -> tuple[type[Tracks], tuple[Any, ...]]:
        return Tracks, (*self.astuple(), self._ids, self._confirmed, self._ages)


class Tracker:
    """Follows the faces of one stream of frames. Not for several threads at once, but trackers can share a detector.

    `MTCNN.detect` searches the first frame, one that differs from the frame before as after a cut, and every N-th
    frame. In the others, O-Net looks where each face should be by now (`MTCNN.refine`), at a fraction of the cost;
    where the faces together move so fast that others may have come in, a part of each of these frames is searched too.
    What a frame gives depends on the frames so far alone.

    * detector: an `MTCNN`; its options hold for the search.
    * every: most frames from one search of the whole frame to the next; 1: each frame is searched. A face that
      appears is found by the next search.
    * keep: O-Net's probability that a face needs to be shown between searches, in [0, 1]. A face that the last search
      did not find, or a single search alone has, needs 0.9 at least.
    * patience: frames in a row without it until a face is given up. It is not shown meanwhile. What a single search
      alone has found is given up at once.
    * spread: search a part of each frame, another one in each of `every` frames, instead of the whole of one of them:
      frames take about equal time, and a face that appears is found sooner. A round of parts counts as one search.

    Raises TypeError and ValueError for other options.
    """

    __slots__ = ("_detector", "_tracker")

    def __init__(
        self, detector: MTCNN, *, every: int = 10, keep: float = 0.6, patience: int = 3, spread: bool = False
    ) -> None:
        if not isinstance(detector, MTCNN):
            raise TypeError(f"detector is {described(detector)}; wanted an MTCNN")
        self._detector = detector
        self._tracker = _core.Tracker(
            detector._core,
            every=at_least("every", every, 1),
            keep=number("keep", keep),
            patience=at_least("patience", patience, 0),
            spread=flag("spread", spread),
        )

    @property
    def detector(self) -> MTCNN:
        """The detector that it was made with."""
        return self._detector

    def update(self, frame: Any, *, stream: Any = None) -> Tracks:
        """The faces of the next frame, which is an image as `MTCNN.detect` takes it; `stream` as there.

        Frames may differ in size. Raises errors as `MTCNN.detect` does; the frame then counts as not given.
        """
        queue = self._detector._stream(stream)
        view = self._detector._view(frame, "frame", queue)
        return Tracks(*_core.update_tracks([self._tracker], [view], queue)[0])

    @staticmethod
    def update_batch(trackers: Sequence[Tracker], frames: Sequence[Any], *, stream: Any = None) -> list[Tracks]:
        """The faces of the next frames of several streams, in common batches: a frame per tracker.

        The trackers are different ones of one detector. Results equal those of `update`. Raises errors as `update`
        does, with the frame's index, and ValueError for trackers of different detectors or one that is given twice.
        """
        for i, tracker in enumerate(trackers):
            if not isinstance(tracker, Tracker):
                raise TypeError(f"trackers[{i}] is {described(tracker)}; wanted a Tracker")
        if not trackers and not frames:
            return []
        if not trackers:
            raise ValueError(f"there are no trackers, and {len(frames)} frames; wanted one frame per tracker")
        detector = trackers[0]._detector
        queue = detector._stream(stream)
        views = [detector._view(frame, f"frame {i}", queue) for i, frame in enumerate(frames)]
        results = _core.update_tracks([tracker._tracker for tracker in trackers], views, queue)
        return [Tracks(*arrays) for arrays in results]

    def reset(self) -> None:
        """Gives all faces up: for the first frame of another stream, or after a seek. Ids are not given again."""
        self._tracker.reset()

    def __repr__(self) -> str:
        return f"<Tracker of {self._detector!r}>"
