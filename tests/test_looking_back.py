"""`LookBack`: boxes of faces from the frame on in which they come in."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn_fast import MTCNN
from mtcnn_fast.blurring import regions
from mtcnn_fast.boxes import areas, intersections
from mtcnn_fast.looking_back import LookBack

pytest.importorskip("cv2")

Pixels = NDArray[np.uint8]
EVERY = 8


@pytest.fixture(scope="module")
def small() -> MTCNN:
    return MTCNN(device="cpu", min_face_size=30, num_threads=1)


@pytest.fixture(scope="module")
def face(astronaut: Pixels) -> Pixels:
    """90 x 80 pixels."""
    return np.asarray(Image.fromarray(astronaut[20:220, 130:310]).resize((80, 90), Image.Resampling.BILINEAR))


def frame(face: Pixels, x: int | None) -> Pixels:
    """240 x 120 pixels, with a face whose left side is at x, or without one."""
    image = np.full((120, 240, 3), 128, np.uint8)
    if x is not None:
        left, right = max(0, x), min(240, x + 80)
        image[15:105, left:right] = face[:, left - x : right - x]
    return image


def boxes_of(detector: MTCNN, images: list[Pixels]) -> list[NDArray[np.float64]]:
    look_back: LookBack[int] = LookBack(detector, every=EVERY)
    settled = []
    for number, image in enumerate(images):
        settled += look_back.update(number, image)
        assert number + 1 - len(settled) < 2 * EVERY
        assert all(one.key <= number - EVERY for one in settled)
    settled += look_back.finish()
    assert [one.key for one in settled] == list(range(len(images)))
    assert all(one.image is image for one, image in zip(settled, images, strict=True))
    return [one.boxes for one in settled]


def true_box(detector: MTCNN, face: Pixels) -> NDArray[np.float64]:
    """With the left side of the face at 0."""
    return detector.detect(frame(face, 80), max_faces=1).boxes.astype(np.float64) - (80, 0, 80, 0)


def covered(boxes: NDArray[np.float64], truth: NDArray[np.float64], x: int) -> bool:
    place = np.clip(truth + np.array([x, 0, x, 0]), 0, (240, 120, 240, 120))
    return bool((intersections(regions(boxes, 0.2), place) >= 0.8 * areas(place)).any())


def test_a_face_is_followed_back_to_where_it_comes_in(small: MTCNN, face: Pixels) -> None:
    """The first search that can find it is in frame 8."""
    places = [240 - 14 * i for i in range(14)]
    boxes, truth = boxes_of(small, [frame(face, x) for x in places]), true_box(small, face)
    there = [x + truth[0, 2] <= 240 for x in places]
    assert 3 < there.index(True) < EVERY
    assert all(covered(one, truth, x) for one, x, seen in zip(boxes, places, there, strict=True) if seen)


def test_a_face_that_comes_in_after_the_last_search(small: MTCNN, face: Pixels) -> None:
    places = [None] * 10 + [100, 103, 106]
    boxes, truth = boxes_of(small, [frame(face, x) for x in places]), true_box(small, face)
    assert all(covered(one, truth, x) for one, x in zip(boxes, places, strict=True) if x is not None)


def test_a_face_that_comes_in_shortly_before_a_cut(small: MTCNN, face: Pixels) -> None:
    """The cut is where a search is due, and between two."""
    for cut in (EVERY, EVERY + 5):
        places = [None] * (cut - 3) + [100, 103, 106]
        after = np.random.default_rng(0).integers(0, 60, (120, 240, 3), np.uint8)
        boxes = boxes_of(small, [*(frame(face, x) for x in places), after, after])
        truth = true_box(small, face)
        assert all(covered(one, truth, x) for one, x in zip(boxes, places, strict=False) if x is not None)


@pytest.mark.parametrize("hidden", [range(3, 5), range(2, 7), range(6, 11)], ids=str)
def test_a_face_that_is_out_of_sight_is_bridged(small: MTCNN, face: Pixels, hidden: range) -> None:
    """Also from one search to the next, and where the tracker has given it up."""
    places = [20 + 5 * i for i in range(20)]
    images = [frame(face, None if i in hidden else x) for i, x in enumerate(places)]
    boxes, truth = boxes_of(small, images), true_box(small, face)
    assert all(covered(one, truth, x) for one, x in zip(boxes, places, strict=True))


@pytest.mark.parametrize("frames", [3, EVERY - 1, EVERY])
def test_a_face_that_is_gone_stays_hidden_until_a_search_confirms_it(small: MTCNN, face: Pixels, frames: int) -> None:
    boxes = boxes_of(small, [frame(face, 80 if i < frames else None) for i in range(3 * EVERY)])
    # The frame in which it is lost is searched too.
    assert [len(one) > 0 for one in boxes] == [i < frames + EVERY for i in range(3 * EVERY)]


def test_a_face_that_a_moving_camera_passes_between_two_searches(small: MTCNN, face: Pixels) -> None:
    """Another face, in the upper half, shows that the camera moves."""
    passing = range(3, 7)
    places = [160 - 12 * i for i in range(12)]
    images = [np.concatenate([frame(face, x), frame(face, x if i in passing else None)]) for i, x in enumerate(places)]
    boxes, truth = boxes_of(small, images), true_box(small, face) + np.array([0, 120, 0, 120])
    for i in passing:
        place = truth + np.array([places[i], 0, places[i], 0])
        assert (intersections(regions(boxes[i], 0.2), place) >= 0.8 * areas(place)).any()


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_short_streams(small: MTCNN, face: Pixels, count: int) -> None:
    assert [len(one) for one in boxes_of(small, [frame(face, 80)] * count)] == [1] * count


def test_frames_of_changing_size_and_bad_ones(small: MTCNN, face: Pixels) -> None:
    look_back: LookBack[int] = LookBack(small, every=2)
    settled = look_back.update(0, frame(face, 80))
    with pytest.raises(TypeError, match="wanted a uint8 NumPy array"):
        look_back.update(9, np.zeros((4, 4, 3)))
    for number, image in enumerate([frame(face, 81)[:110], np.zeros((1, 1, 3), np.uint8), frame(face, 82)], 1):
        settled += look_back.update(number, image)
    settled += look_back.finish()
    assert [one.key for one in settled] == [0, 1, 2, 3]
    assert [len(one.boxes) for one in settled] == [1] * 4
