"""The stage functions: shapes, types, errors, and what can be said of them without the oracle (see test_cascade.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mtcnn_fast
import reference
from mtcnn_fast import ops


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def test_resize_to_its_own_size_changes_nothing(face: NDArray[np.uint8]) -> None:
    same = ops.resize(face, face.shape[:2])
    assert same.dtype == np.float32
    np.testing.assert_array_equal(same, face)


def test_resize_by_whole_numbers_is_a_mean(face: NDArray[np.uint8]) -> None:
    half = ops.resize(face, (60, 50))
    np.testing.assert_allclose(half, face.reshape(60, 2, 50, 2, 3).mean((1, 3)), atol=1e-3)


def test_resize_takes_any_image(face: NDArray[np.uint8]) -> None:
    size = (31, 77)
    expected = ops.resize(face, size)
    assert expected.shape == (31, 77, 3)
    np.testing.assert_array_equal(ops.resize(np.asfortranarray(face), np.array(size)), expected)
    np.testing.assert_array_equal(ops.resize(np.dstack([face, face[..., 0]]), list(size)), expected)
    gray = ops.resize(face[..., 0], size)
    for channel in range(3):
        np.testing.assert_array_equal(gray[..., channel], expected[..., 0])
    row = np.broadcast_to(face[:1], face.shape)
    np.testing.assert_array_equal(ops.resize(row, size), ops.resize(row.copy(), size))


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (0, TypeError),
        ((0, 5), ValueError),
        ((5, -1), ValueError),
        ((5,), ValueError),
        ((5, 5, 3), ValueError),
        ((5.0, 5), TypeError),
        ("55", TypeError),
        ((2**40, 5), ValueError),
    ],
)
def test_resize_refuses_bad_sizes(face: NDArray[np.uint8], size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ops.resize(face, size)


def test_pyramid(astronaut: NDArray[np.uint8]) -> None:
    levels = ops.pyramid(astronaut[:100, :200])
    sides = [(level.shape[0], level.shape[1]) for level in levels]
    scales = [0.6 * 0.709**k for k in range(5)]
    assert sides == [(int(np.ceil(100 * scale)), int(np.ceil(200 * scale))) for scale in scales]
    for level in levels:
        assert level.dtype == np.float32
        assert level.shape[2] == 3
        pixels = ops.resize(astronaut[:100, :200], level.shape[:2])
        np.testing.assert_allclose(level, (pixels - 127.5) / 128, atol=1e-6)
    assert len(ops.pyramid(astronaut, min_face_size=100)) < len(ops.pyramid(astronaut, 20, 0.8))
    assert ops.pyramid(astronaut[:11]) == []
    with pytest.raises(ValueError, match="min_face_size"):
        ops.pyramid(astronaut, min_face_size=1)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 12), (14, 15), (37, 100), (12, 700)])
def test_pnet_has_the_cells_that_its_layers_give(device: str, height: int, width: int) -> None:
    probability, offsets = ops.pnet(noise(height, width, 3), device=device)
    cells = tuple(-(-(side - 2) // 2) - 4 for side in (height, width))
    assert probability.shape == cells
    assert offsets.shape == (*cells, 4)
    assert probability.dtype == offsets.dtype == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1


def test_pnet_of_less_than_a_cell() -> None:
    for shape in ((11, 40, 3), (40, 11, 3), (1, 1, 3)):
        probability, offsets = ops.pnet(noise(*shape))
        assert probability.size == offsets.size == 0
        assert probability.ndim == 2
        assert offsets.ndim == 3


def test_networks_do_not_hide_nan(device: str) -> None:
    for outputs in (
        ops.pnet(np.full((20, 30, 3), np.nan), device=device),
        ops.rnet(np.full((2, 24, 24, 3), np.nan), device=device),
        ops.onet(np.full((2, 48, 48, 3), np.nan), device=device),
    ):
        for output in outputs:
            assert np.isnan(output).all()


@pytest.mark.parametrize("n", [0, 1, 2, 17, pytest.param(300, marks=pytest.mark.heavy)])
def test_refining_networks(device: str, n: int) -> None:
    probability, offsets = ops.rnet(noise(n, 24, 24, 3), device=device)
    assert (probability.shape, offsets.shape) == ((n,), (n, 4))
    probability, offsets, landmarks = ops.onet(noise(n, 48, 48, 3), device=device)
    assert (probability.shape, offsets.shape, landmarks.shape) == ((n,), (n, 4), (n, 10))
    assert landmarks.dtype == np.float32


def test_refining_networks_see_each_crop_alone(device: str) -> None:
    for network, side in ((ops.rnet, 24), (ops.onet, 48)):
        crops = noise(37, side, side, 3)
        together = network(crops, device=device)
        for i in (0, 1, 20, 36):
            for all_of_them, one in zip(together, network(crops[i : i + 1], device=device), strict=True):
                np.testing.assert_array_equal(all_of_them[i : i + 1], one)


def test_network_inputs_of_other_layouts_and_types() -> None:
    crops = noise(5, 24, 24, 3)
    expected = ops.rnet(crops)[0]
    np.testing.assert_array_equal(ops.rnet(crops.astype(np.float64))[0], expected)
    np.testing.assert_array_equal(ops.rnet(np.asfortranarray(crops))[0], expected)
    np.testing.assert_array_equal(ops.rnet(crops.astype(">f4"))[0], expected)


@pytest.mark.parametrize(
    ("call", "value", "error"),
    [
        (ops.pnet, np.zeros((20, 20, 3), np.uint8), TypeError),
        (ops.pnet, np.zeros((20, 20), np.float32), ValueError),
        (ops.pnet, np.zeros((3, 20, 20), np.float32), ValueError),
        (ops.pnet, np.zeros((0, 20, 3), np.float32), ValueError),
        (ops.pnet, [[1.0]], TypeError),
        (ops.rnet, np.zeros((2, 48, 48, 3), np.float32), ValueError),
        (ops.rnet, np.zeros((24, 24, 3), np.float32), ValueError),
        (ops.rnet, np.zeros((2, 3, 24, 24), np.float32), ValueError),
        (ops.rnet, None, TypeError),
        (ops.rnet, np.ma.zeros((2, 24, 24, 3), np.float32), TypeError),
        (ops.onet, np.zeros((2, 24, 24, 3), np.float32), ValueError),
        (ops.onet, np.zeros((2, 48, 48, 3), np.complex64), TypeError),
    ],
)
def test_bad_network_inputs(call: Any, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(value)


@pytest.mark.parametrize("mode", ["union", "min"])
@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 0.7, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nms(mode: str, threshold: float, dtype: Any) -> None:
    random = np.random.default_rng(3)
    for n in (1, 2, 30, 500):
        corner = random.uniform(-50, 150, (n, 2))
        boxes = np.hstack([corner, corner + random.uniform(1, 60, (n, 1)) * random.uniform(0.8, 1.2, (n, 2))])
        scores = np.round(random.uniform(0, 1, n), 2)  # with ties
        boxes, scores = boxes.astype(dtype), scores.astype(dtype)
        kept = ops.nms(boxes, scores, threshold, mode=mode)
        assert kept.dtype == np.int64
        assert kept.tolist() == reference.nms(boxes, scores, threshold, mode).tolist()


def test_nms_of_half_open_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [10, 0, 20, 10]], np.float64)
    scores = np.array([0.9, 0.8, 0.7])
    assert ops.nms(boxes, scores, 0.5).tolist() == [0, 1, 2]  # exactly half is not more than half
    assert ops.nms(boxes, scores, 0.49).tolist() == [0, 2]
    assert ops.nms(boxes, scores, 0.99, "min").tolist() == [0, 2]
    assert ops.nms(boxes, scores, 0).tolist() == [0, 2]  # boxes that touch do not overlap
    assert ops.nms(boxes.astype(np.int32), scores, 0.49).tolist() == [0, 2]


def test_nms_tells_scores_apart_that_float32_does_not() -> None:
    boxes = np.array([[0, 0, 10, 10.0]] * 2)
    assert ops.nms(boxes, np.array([0.5, 0.5 + 1e-12]), 0.5).tolist() == [1]


def test_nms_of_nothing() -> None:
    kept = ops.nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5)
    assert (kept.shape, kept.dtype) == ((0,), np.int64)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((np.zeros((2, 4)), np.zeros(3), 0.5), ValueError),
        ((np.zeros((2, 5)), np.zeros(2), 0.5), ValueError),
        ((np.zeros(4), np.zeros(1), 0.5), ValueError),
        ((np.zeros((2, 4), bool), np.zeros(2), 0.5), TypeError),
        (([[0, 0, 1, 1]], [0.5], 0.5), TypeError),
        ((np.full((2, 4), np.nan), np.zeros(2), 0.5), ValueError),
        ((np.zeros((2, 4)), np.array([0.5, np.nan]), 0.5), ValueError),
        ((np.zeros((2, 4)), np.zeros(2), np.nan), ValueError),
        ((np.zeros((2, 4)), np.zeros(2), 1.5), ValueError),
        ((np.zeros((2, 4)), np.zeros(2), "0.5"), TypeError),
        ((np.zeros((2, 4)), np.zeros(2), 0.5, "iou"), ValueError),
        ((np.zeros((2, 4)), np.zeros(2), 0.5, None), TypeError),
    ],
)
def test_bad_nms_inputs(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ops.nms(*arguments)


def test_devices_and_profiles(face: NDArray[np.uint8]) -> None:
    calls: list[Any] = [
        lambda **k: ops.resize(face, (20, 20), **k),
        lambda **k: ops.pyramid(face, **k),
        lambda **k: ops.pnet(noise(20, 20, 3), **k),
        lambda **k: ops.rnet(noise(2, 24, 24, 3), **k),
        lambda **k: ops.onet(noise(2, 48, 48, 3), **k),
        lambda **k: ops.nms(np.zeros((0, 4)), np.zeros(0), 0.5, **k),
    ]
    for call in calls:
        call(device="cpu")
        if "cuda:0" in mtcnn_fast.available_devices():
            call(device="cuda")
        with pytest.raises(RuntimeError, match=r"GPU|CUDA"):
            call(device="cuda:9")
        with pytest.raises(ValueError, match="device"):
            call(device="gpu")
        with pytest.raises(TypeError, match="device"):
            call(device=[])
    for call in calls[:2]:
        call(profile="facenet-pytorch")
        with pytest.raises(ValueError, match="profile"):
            call(profile="opencv")
