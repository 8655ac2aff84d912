"""Drawing, with OpenCV 4 or 5."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn_fast import MTCNN, Detections, Tracks, draw, show


@pytest.fixture
def faces(astronaut: NDArray[np.uint8]) -> Detections:
    pytest.importorskip("cv2")
    return MTCNN(device="cpu").detect(astronaut)


def test_draws_on_a_copy(astronaut: NDArray[np.uint8], faces: Detections) -> None:
    before = astronaut.copy()
    drawn = draw(astronaut, faces)
    np.testing.assert_array_equal(astronaut, before)
    assert drawn.flags.writeable
    assert (drawn.shape, drawn.dtype) == (astronaut.shape, np.uint8)
    changed = np.any(drawn != astronaut, axis=2)
    x1, y1, x2, y2 = np.rint(faces[0].box).astype(int)
    assert changed[y1 : y2 + 1, x1].all()
    assert changed[y2, x1 : x2 + 1].all()
    assert all(changed[y, x] for x, y in np.rint(faces[0].landmarks).astype(int))
    assert not changed[y2 + 10 :].any()
    assert 0.001 < changed.mean() < 0.1
    np.testing.assert_array_equal(draw(astronaut, faces[:0]), astronaut)


def test_keeps_the_channel_order(astronaut: NDArray[np.uint8], faces: Detections) -> None:
    drawn = draw(astronaut, faces)
    np.testing.assert_array_equal(draw(astronaut[..., ::-1], faces)[..., ::-1], drawn)
    alpha = np.full((*astronaut.shape[:2], 1), 100, np.uint8)
    np.testing.assert_array_equal(draw(np.dstack([astronaut, alpha]), faces)[..., :3], drawn)


@pytest.mark.parametrize("gray", [lambda image: image[..., 1], lambda image: image[..., 1:2]])
def test_gray_stays_gray(astronaut: NDArray[np.uint8], faces: Detections, gray: Any) -> None:
    image = gray(astronaut)
    drawn = draw(image, faces)
    assert drawn.shape == image.shape
    assert np.any(drawn != image)


def test_any_image(astronaut: NDArray[np.uint8], faces: Detections) -> None:
    drawn = draw(astronaut, faces)
    np.testing.assert_array_equal(draw(np.asfortranarray(astronaut), faces), drawn)
    np.testing.assert_array_equal(draw(Image.fromarray(astronaut), faces), drawn)
    assert draw(np.broadcast_to(astronaut[:1], astronaut.shape), faces).shape == astronaut.shape


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (3000, 40), (1500, 2000)])
def test_boxes_anywhere(size: tuple[int, int]) -> None:
    pytest.importorskip("cv2")
    boxes = np.array([[-50, -60, 5, 5], [-1e30, 0, 1e30, np.inf], [2, 2, 2, 2], [1e9, 1e9, 2e9, 2e9]])
    faces = Detections(boxes, np.ones(4), np.full((4, 5, 2), -1e20))
    assert draw(np.zeros((*size, 3), np.uint8), faces).shape == (*size, 3)


def test_what_is_not_an_image_or_faces(astronaut: NDArray[np.uint8], faces: Detections) -> None:
    with pytest.raises(TypeError, match="float64"):
        draw(astronaut / 255, faces)
    with pytest.raises(TypeError, match="wanted Detections"):
        draw(astronaut, faces.boxes)  # type: ignore[arg-type]


def test_without_opencv(monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    faces = MTCNN(device="cpu").detect(astronaut)
    with pytest.raises(ImportError, match=r'pip install "mtcnn_fast\[cli\]"'):
        draw(astronaut, faces)


def test_show(astronaut: NDArray[np.uint8], faces: Detections) -> None:
    drawn = draw(astronaut, faces)
    shown = show(astronaut, faces)
    assert isinstance(shown, Image.Image)
    np.testing.assert_array_equal(np.asarray(shown), drawn)
    np.testing.assert_array_equal(np.asarray(show(Image.fromarray(astronaut), faces)), drawn)
    bgr = np.ascontiguousarray(astronaut[..., ::-1])
    np.testing.assert_array_equal(np.asarray(show(bgr, faces, channel_order="bgr")), drawn)
    # A PIL image is RGB, whatever the order of arrays.
    np.testing.assert_array_equal(np.asarray(show(Image.fromarray(astronaut), faces, "bgr")), drawn)
    alpha = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    assert show(alpha, faces, "bgr").mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(show(alpha, faces, "bgr"))[..., :3], drawn)
    assert show(astronaut[..., :1], faces).mode == show(astronaut[..., 0], faces).mode == "L"
    np.testing.assert_array_equal(np.asarray(show(astronaut, faces[:0])), astronaut)
    with pytest.raises(ValueError, match="channel_order is 'grb'"):
        show(astronaut, faces, "grb")
    with pytest.raises(TypeError, match="wanted Detections"):
        show(astronaut, list(faces))  # type: ignore[arg-type]


def test_an_id_has_one_colour(faces: Detections) -> None:
    """In each frame and beside any other, and neighbours differ."""
    image = np.zeros((300, 400, 3), np.uint8)

    def drawn(ids: list[int]) -> dict[int, tuple[int, ...]]:
        places = [[20 + 90 * i, 40, 80 + 90 * i, 120] for i in range(len(ids))]
        landmarks = [[[50 + 90 * i, 80]] * 5 for i in range(len(ids))]
        tracks = Tracks(places, [0.9] * len(ids), landmarks, ids, [True] * len(ids), [0] * len(ids))
        picture = draw(image, tracks)
        return {number: tuple(picture[100, 20 + 90 * i].tolist()) for i, number in enumerate(ids)}

    first = drawn([0, 1, 2, 3])
    assert drawn([1, 3, 10**12]) == {1: first[1], 3: first[3], 10**12: drawn([10**12])[10**12]}
    colors = [np.array(color) for color in first.values()]
    assert min(np.abs(one - other).max() for i, one in enumerate(colors) for other in colors[:i]) > 50
    assert draw(image[..., 0], Tracks([[20, 40, 80, 120]], [0.9], [[[50, 80]] * 5], [7], [True], [0])).max() == 255
