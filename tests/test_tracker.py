"""`Tracker`: faces that keep their identity from frame to frame."""

from __future__ import annotations

import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from mtcnn_fast import MTCNN, Tracker, Tracks
from mtcnn_fast.weights import embedded_weights

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pan(astronaut: Image) -> list[Image]:
    """A camera that passes over the astronaut's face, 3 pixels per frame, 12 frames of 120 x 160."""
    return [astronaut[40:200, 140 + 3 * i : 260 + 3 * i] for i in range(12)]


@pytest.fixture
def small() -> MTCNN:
    return MTCNN(device="cpu", min_face_size=60, num_threads=1)


def test_a_face_keeps_its_id(detector: MTCNN, pan: list[Image]) -> None:
    tracker = Tracker(detector, every=4)
    for i, frame in enumerate(pan):
        tracks = tracker.update(frame)
        assert tracks.ids.tolist() == [0]
        assert tracks.ages.tolist() == [i]
        assert tracks.confirmed.tolist() == [i >= 4]
        expected = detector.detect(frame, max_faces=1)
        side = expected.boxes[0, 3] - expected.boxes[0, 1]
        np.testing.assert_allclose(tracks.boxes, expected.boxes, atol=0.1 * side)
        np.testing.assert_allclose(tracks.landmarks, expected.landmarks, atol=0.1 * side)
        if i % 4 == 0:
            np.testing.assert_array_equal(tracks.boxes, expected.boxes)


def test_every_frame_searched_gives_what_detect_gives(small: MTCNN, pan: list[Image]) -> None:
    tracker = Tracker(small, every=1)
    for frame in pan:
        tracks, faces = tracker.update(frame), small.detect(frame)
        assert sorted(tracks.scores) == sorted(faces.scores)


def test_a_camera_that_begins_to_move_fast(astronaut: Image) -> None:
    """From one search to the next, the face moves by four fifths of its side: its boxes do not overlap enough."""
    face = np.asarray(PIL.Image.fromarray(astronaut[20:220, 130:310]).resize((72, 80), PIL.Image.Resampling.BILINEAR))
    tracker = Tracker(MTCNN(device="cpu", num_threads=1), every=1)
    for x in (0, 35, 70):
        frame = np.full((120, 240, 3), 128, np.uint8)
        frame[20:100, x : x + 72] = face
        assert tracker.update(frame).ids.tolist() == [0]


def test_a_face_that_goes_is_not_shown(small: MTCNN, pan: list[Image]) -> None:
    tracker = Tracker(small, every=5, patience=2)
    hidden = np.full((240, 300, 3), 130, np.uint8)
    shown = hidden.copy()
    shown[40:200, 90:210] = pan[0]
    for _ in range(6):
        assert tracker.update(shown).ids.tolist() == [0]
    assert [len(tracker.update(hidden)) for _ in range(2)] == [0, 0]
    assert tracker.update(shown).ids.tolist() == [0]  # within the patience
    assert [len(tracker.update(hidden)) for _ in range(3)] == [0, 0, 0]
    assert len(tracker.update(shown)) == 0  # given up, and no search is due
    tracker.reset()
    assert tracker.update(shown).ids.tolist() == [1]
    # Only one search has found it, so that there is no patience.
    assert [len(tracker.update(frame)) for frame in (hidden, shown)] == [0, 0]


def test_a_face_that_only_one_search_has_found_needs_a_higher_score(small: MTCNN, pan: list[Image]) -> None:
    covered = pan[0].copy()
    covered[:84] = 130  # O-Net's probability is about 0.7
    for searches, expected in ((1, 0), (2, 1)):
        tracker = Tracker(small, every=3)
        for _ in range(3 * searches - 2):
            assert len(tracker.update(pan[0])) == 1
        assert len(tracker.update(covered)) == expected


def test_a_fast_camera_brings_faces_in(small: MTCNN, pan: list[Image]) -> None:
    wide = np.full((160, 500, 3), 130, np.uint8)
    wide[:, 100:220] = wide[:, 260:380] = pan[0]
    tracker = Tracker(small, every=16)
    found = [len(tracker.update(wide[:, 20 + 6 * i : 320 + 6 * i])) for i in range(16)]
    assert (found[0], found[-1]) == (1, 2)  # the next search would be in the frame after these


@pytest.mark.parametrize("spread", [False, True])
def test_searches_in_parts(spread: bool, small: MTCNN, pan: list[Image]) -> None:
    tracker = Tracker(small, every=6, spread=spread)
    without = np.full((160, 240, 3), 130, np.uint8)
    frame = without.copy()
    frame[:, 60:180] = pan[0]
    tracks = [tracker.update(image) for image in [without, *[frame] * 13]]
    first = next(i for i, each in enumerate(tracks) if len(each))
    assert 1 <= first < 6 if spread else first == 6
    assert len({each.ids.tolist()[0] for each in tracks[first:]}) == 1
    # Parts that find it in one round are one search.
    confirmed = [i for i in range(first, len(tracks)) if tracks[i].confirmed.all()]
    assert first + 6 <= confirmed[0] <= first + 7


def test_a_cut_is_searched_at_once(small: MTCNN, astronaut: Image, pan: list[Image]) -> None:
    tracker = Tracker(small, every=100)
    assert tracker.update(pan[0]).ids.tolist() == [0]
    bright = np.full((200, 300, 3), 255, np.uint8)
    bright[20:180, 150:270] = pan[0]
    assert tracker.update(bright).ids.tolist() == [1]
    assert tracker.update(np.zeros_like(bright)).ids.tolist() == []
    assert tracker.update(bright).ids.tolist() == [2]


def test_what_one_search_found_the_next_must_find(pan: list[Image]) -> None:
    # The face is 115 pixels high, and 97 in the other frames: O-Net sees it in all of them.
    tracker = Tracker(MTCNN(device="cpu", min_face_size=112, num_threads=1), every=2)
    shrunk = np.asarray(PIL.Image.fromarray(pan[0]).resize((102, 136), PIL.Image.Resampling.BILINEAR))
    assert [len(tracker.update(frame)) for frame in (pan[0], shrunk, shrunk)] == [1, 1, 0]


def test_streams_in_common_batches(detector: MTCNN, pan: list[Image], astronaut: Image) -> None:
    streams = [pan[:6], pan[5::-1], [astronaut[i : i + 40, :50] for i in range(6)]]
    options: list[dict[str, Any]] = [{"every": 4}, {"every": 4, "spread": True}, {"every": 3, "spread": True}]
    alone = []
    for frames, chosen in zip(streams, options, strict=True):
        tracker = Tracker(detector, **chosen)
        alone.append([tracker.update(frame) for frame in frames])
    trackers = [Tracker(detector, **chosen) for chosen in options]
    for i in range(6):
        together = Tracker.update_batch(trackers, [frames[i] for frames in streams])
        assert together == [results[i] for results in alone]
    assert Tracker.update_batch([], []) == []


def test_frames_of_any_size_and_none_with_a_face(small: MTCNN, pan: list[Image]) -> None:
    tracker = Tracker(small, every=3)
    ids: set[int] = set()
    for i in range(40):
        height, width = 1 + i * 37 % 160, 1 + i * 53 % 120
        frame = pan[i % 12] if i % 5 == 0 else pan[0][:height, :width]
        ids.update(tracker.update(frame).ids.tolist())
    assert len(tracker.update(np.zeros((9, 9, 3), np.uint8))) == 0
    assert max(ids) == len(ids) - 1


@pytest.fixture
def tiny(pan: list[Image]) -> Image:
    """64 x 48 pixels, with a face of 42, for `tiny_detector`."""
    return np.asarray(PIL.Image.fromarray(pan[0]).resize((48, 64), PIL.Image.Resampling.BILINEAR))


@pytest.fixture
def tiny_detector() -> MTCNN:
    return MTCNN(device="cpu", min_face_size=36, num_threads=1)


def test_a_still_picture_does_not_drift(tiny: Image, tiny_detector: MTCNN) -> None:
    tracker = Tracker(tiny_detector)
    tracks = [tracker.update(tiny) for _ in range(10_010)]
    assert all(each.ids.tolist() == [0] for each in tracks)
    for early, late in zip(tracks[100:110], tracks[10_000:], strict=True):
        np.testing.assert_array_equal(early.boxes, late.boxes)


def test_a_long_stream_takes_no_more_memory(tiny: Image, tiny_detector: MTCNN) -> None:
    random = np.random.default_rng(0)
    tracker, last, resident = Tracker(tiny_detector), -1, 0
    for i in range(3000):
        height, width = (int(random.integers(1, side + 1)) for side in tiny.shape[:2])
        kind = i % 40
        frame = tiny if kind < 20 else np.zeros_like(tiny) if kind < 25 else tiny[:height, :width]
        tracks = tracker.update(frame)
        for number in tracks.ids[tracks.ages == 0].tolist():
            assert number > last
            last = number
        if i == 1000:
            resident = _resident_pages()
    assert last > 100
    assert (_resident_pages() - resident) * resource.getpagesize() < 2**20


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_corners_in_the_wrong_order(pan: list[Image]) -> None:
    """As a network that was never trained may give them."""
    weights = embedded_weights()
    weights["onet.box.bias"] = np.float32([2, 2, -2, -2])
    weights["onet.box.weight"] = np.zeros_like(weights["onet.box.weight"])
    tracker = Tracker(MTCNN(device="cpu", min_face_size=60, weights=weights, num_threads=1), every=2)
    first = tracker.update(pan[0])
    assert first.boxes[0, 0] > first.boxes[0, 2]
    for frame in pan[1:]:
        tracker.update(frame)


def test_tracks_are_detections(small: MTCNN, pan: list[Image]) -> None:
    tracker = Tracker(small, every=2)
    tracker.update(pan[0])
    tracks = [tracker.update(pan[0]) for _ in range(3)][-1]
    assert tracks[0].score == tracks.scores[0]
    for chosen in (tracks[:1], tracks[[0]], tracks[tracks.confirmed], tracks.above(0.5), tracks.largest()):
        assert isinstance(chosen, Tracks)
        assert chosen == tracks
    assert len(tracks[[]]) == len(tracks[:0].ids) == 0
    assert pickle.loads(pickle.dumps(tracks)) == tracks
    assert tracks.to_dicts(1)[0].items() >= {"id": 0, "confirmed": True, "age": 3}.items()
    assert repr(tracks) == "<Tracks: 1 face, ids [0]>"
    with pytest.raises(ValueError, match=r"ids has shape \(2,\); wanted \(1,\)"):
        Tracks(*tracks.astuple(), [0, 1], [True], [0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "every is 0; wanted at least 1"),
        ({"every": 1.5}, TypeError, "every is 1.5"),
        ({"keep": 1.5}, ValueError, "keep is 1.5, wanted a number in"),
        ({"keep": float("nan")}, ValueError, "keep is nan, wanted a number in"),
        ({"patience": -1}, ValueError, "patience is -1; wanted at least 0"),
        ({"spread": 1}, TypeError, "spread is 1"),
    ],
)
def test_options(options: dict[str, Any], error: type[Exception], message: str, small: MTCNN) -> None:
    with pytest.raises(error, match=message):
        Tracker(small, **options)


def test_errors(small: MTCNN, pan: list[Image]) -> None:
    with pytest.raises(TypeError, match="detector is 'cpu'"):
        Tracker("cpu")  # type: ignore[arg-type]
    tracker = Tracker(small)
    with pytest.raises(TypeError, match="frame is a float64 array"):
        tracker.update(pan[0].astype(float))
    with pytest.raises(ValueError, match="stream is given, and the detector runs on the CPU"):
        tracker.update(pan[0], stream=1)
    assert tracker.update(pan[0]).ages.tolist() == [0]  # the frames that were refused do not count
    other = Tracker(MTCNN(device="cpu", num_threads=1))
    for trackers, frames, message in (
        ([tracker, tracker], pan[:2], "a tracker is given twice"),
        ([tracker, other], pan[:2], "the trackers have different detectors"),
        ([tracker], pan[:2], "there are 1 trackers, and 2 frames"),
        ([], pan[:2], "there are no trackers, and 2 frames"),
    ):
        with pytest.raises(ValueError, match=message):
            Tracker.update_batch(trackers, frames)
    with pytest.raises(TypeError, match="frame 1 is"):
        Tracker.update_batch([tracker, Tracker(small)], [pan[0], None])
