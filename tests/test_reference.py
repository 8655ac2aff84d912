"""The oracle held against sums done by hand, and the embedded networks against their published sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

import reference


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_networks_have_the_published_sizes() -> None:
    networks = reference.load_networks()
    sizes = {
        net: sum(array.size for name, array in networks.items() if name.startswith(net))
        for net in ("pnet", "rnet", "onet")
    }
    assert sizes == {"pnet": 6632, "rnet": 100178, "onet": 389040}
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in networks.values())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pnet.conv1.weight", (10, 3, 3, 3)),
        ("pnet.conv3.bias", (32,)),
        ("pnet.prelu2.weight", (16,)),
        ("pnet.face.weight", (2, 32, 1, 1)),
        ("pnet.box.weight", (4, 32, 1, 1)),
        ("rnet.conv3.weight", (64, 48, 2, 2)),
        ("rnet.fc.weight", (128, 576)),
        ("rnet.box.weight", (4, 128)),
        ("onet.conv4.weight", (128, 64, 2, 2)),
        ("onet.fc.weight", (256, 1152)),
        ("onet.landmarks.weight", (10, 256)),
    ],
)
def test_weight_file_has_the_documented_shapes(name: str, shape: tuple[int, ...]) -> None:
    assert reference.load_networks()[name].shape == shape


@pytest.mark.parametrize("kind", ["area", "cv2_area", "bilinear", "bilinear_of_areas", "adaptive_average"])
@pytest.mark.parametrize(
    ("source", "target"), [(1, 1), (7, 7), (17, 24), (24, 48), (100, 71), (480, 205), (5, 1), (1, 5)]
)
def test_windows_lie_in_the_source_and_sum_to_one(kind: reference.Filter, source: int, target: int) -> None:
    table = reference.window_table(source, target, kind)
    assert len(table) == target
    for first, weights in table:
        assert 0 <= first <= first + len(weights) <= source
        assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_windows_by_hand() -> None:
    def table(kind: reference.Filter, source: int, target: int) -> list[tuple[int, list[float]]]:
        return [
            (first, np.round(weights, 9).tolist()) for first, weights in reference.window_table(source, target, kind)
        ]

    assert table("area", 5, 2) == [(0, [0.4, 0.4, 0.2]), (2, [0.2, 0.4, 0.4])]
    assert table("adaptive_average", 5, 3) == [(0, [0.5, 0.5]), (1, [0.333333333] * 3), (3, [0.5, 0.5])]
    assert table("bilinear", 2, 4) == [(0, [1]), (0, [0.75, 0.25]), (0, [0.25, 0.75]), (1, [1])]
    assert table("bilinear_of_areas", 2, 3) == [(0, [1.0, 0.0]), (0, [0.5, 0.5]), (1, [1.0])]


def test_opencv_ignores_slivers() -> None:
    # Output 1 covers 1.0005 .. 2.001 of the source: 1/1000 of a pixel or less at its end does not count.
    first, weights = reference.window_table(2001, 2000, "cv2_area")[1]
    assert (first, len(weights)) == (1, 1)
    assert len(reference.window_table(2001, 2000, "area")[1][1]) == 2


@pytest.mark.parametrize("target", [(30, 42), (25, 35), (17, 23)])
def test_mtcnn_levels_are_opencvs(noise: NDArray[np.uint8], target: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    expected = cv2.resize(noise, target[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(reference.resize(noise, target, "mtcnn"), expected)


@pytest.mark.parametrize("target", [24, 48])
@pytest.mark.parametrize("source", [2, 17, 23, 24, 31, 47, 50])
def test_mtcnn_crops_are_opencvs(noise: NDArray[np.uint8], source: int, target: int) -> None:
    cv2 = pytest.importorskip("cv2")
    crop, size = noise[:source, :source], (target, target)
    expected = cv2.resize(crop.astype(np.float64), size, interpolation=cv2.INTER_AREA)
    exact = reference.resize_exactly(crop, size, reference.CONVENTIONS["mtcnn"])
    # OpenCV keeps its weights in float32.
    np.testing.assert_allclose(exact, expected, atol=1e-4)


def test_level_sizes() -> None:
    assert [(h, w) for _, h, w in reference.levels(480, 640)] == [
        (288, 384), (205, 273), (145, 194), (103, 137), (73, 98), (52, 69), (37, 49), (26, 35), (19, 25), (14, 18),
    ]  # fmt: skip
    # facenet-pytorch adds one where side * scale is whole.
    assert reference.levels(480, 640, profile="facenet-pytorch")[0][1:] == (289, 385)
    # The shorter side equals min_face_size: one level of 12 pixels, whatever the rounding of 12 / 49 * 49.
    assert [(h, w) for _, h, w in reference.levels(49, 98, min_face_size=49)] == [(12, 24)]
    assert reference.levels(19, 400) == []
    scales = [scale for scale, _, _ in reference.levels(480, 640, max_face_size=60)]
    assert max(12 / scale for scale in scales) <= 60
    assert len(scales) == 4


@pytest.mark.parametrize(("side", "cells"), [(12, 1), (13, 2), (14, 2), (15, 3), (16, 3), (31, 11)])
def test_pnet_map_has_the_size_of_ceil_mode(side: int, cells: int) -> None:
    logits, offsets = reference.pnet(np.zeros((side, 20, 3)))
    assert logits.shape == (cells, 5)
    assert offsets.shape == (cells, 5, 4)


def test_pooling_does_not_see_beyond_the_border() -> None:
    x = -np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    assert reference.max_pool(x, 2)[0, :, :, 0].tolist() == [[-1, -3], [-7, -9]]
    assert reference.max_pool(-np.arange(1.0, 17.0).reshape(1, 4, 4, 1), 3)[0, :, :, 0].tolist() == [
        [-1, -3],
        [-9, -11],
    ]


def test_convolution_by_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).standard_normal((2, 6, 7, 10))
    kernel, bias = reference.weight("pnet.conv2.weight"), reference.weight("pnet.conv2.bias")
    result = reference.convolve(x, "pnet.conv2")
    assert result.shape == (2, 4, 5, 16)
    expected = sum(
        x[1, 2 + dy, 3 + dx, i] * kernel[:, i, dy, dx] for dy in range(3) for dx in range(3) for i in range(10)
    )
    np.testing.assert_allclose(result[1, 2, 3], expected + bias)


def test_probability_saturates_without_warning() -> None:
    logits = np.array([-1000.0, 0.0, 0.4054651081081644, 1000.0])
    np.testing.assert_allclose(reference.probability(logits), [0, 0.5, 0.6, 1], atol=1e-15)
    assert reference.threshold_logit(0.6) == pytest.approx(0.4054651081081644)
    assert reference.threshold_logit(0) == -math.inf
    assert reference.threshold_logit(1) == math.inf


# Three boxes in a row, each overlapping the next by an IoU of 6/14 and not the one after it by much (2/18).
CHAIN = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], dtype=np.float64)


def test_nms_keeps_what_only_a_dropped_box_overlaps() -> None:
    assert reference.nms(CHAIN, np.array([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]
    assert reference.nms(CHAIN, np.array([0.7, 0.9, 0.8]), 0.4).tolist() == [1]
    assert reference.nms(CHAIN, np.array([0.7, 0.8, 0.9]), 0.43).tolist() == [2, 1, 0]
    assert reference.nms(CHAIN[:0], np.zeros(0), 0.4).tolist() == []


def test_nms_suppresses_above_the_threshold_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 7]], dtype=np.float64)
    scores = np.array([0.9, 0.8])
    assert reference.nms(boxes, scores, 0.7).tolist() == [0, 1]
    assert reference.nms(boxes, scores, math.nextafter(0.7, 0)).tolist() == [0]


def test_nms_by_the_smaller_area() -> None:
    boxes = np.array([[0, 0, 20, 20], [5, 5, 10, 10]], dtype=np.float64)
    scores = np.array([0.8, 0.9])
    assert reference.nms(boxes, scores, 0.7, "union").tolist() == [1, 0]
    assert reference.nms(boxes, scores, 0.7, "min").tolist() == [1]


def test_nms_counts_pixels_where_asked() -> None:
    # 11 of 12 x 12 columns are shared with the pixel at the corner counted, 10 of 12 without.
    boxes = np.array([[1, 1, 12, 12], [2, 1, 13, 12]], dtype=np.float64)
    scores = np.array([0.9, 0.8])
    threshold = (10 / 12 + 11 / 13) / 2
    assert reference.nms(boxes, scores, threshold, extra_pixel=0).tolist() == [0, 1]
    assert reference.nms(boxes, scores, threshold, extra_pixel=1).tolist() == [0]


def test_nms_ties_go_to_the_first() -> None:
    assert reference.nms(CHAIN[[0, 0, 2]], np.ones(3), 0.5).tolist() == [0, 2]


def test_boxes_by_hand() -> None:
    window = reference.cell_windows(np.array([1]), np.array([2]), 0.6, np.float64)
    assert window.tolist() == [[8, 5, 26, 23]]
    moved = reference.regress(window, np.array([[0.5, 0, 0, 1.0]]), 0, np.float64)
    assert moved.tolist() == [[17, 5, 26, 41]]
    assert reference.square(moved, np.float64).tolist() == [[3.5, 5, 39.5, 41]]
    assert reference.regress(window, np.array([[0.5, 0, 0, 1.0]]), 1, np.float64).tolist() == [[17.5, 5, 26, 42]]


def test_crops_are_black_beyond_the_border() -> None:
    image = np.full((30, 40, 3), 255, np.uint8)
    crops = np.array([[-11, 1, 12, 24], [29, 19, 52, 42]])
    cuts = reference.cut(image, crops, 24, reference.CONVENTIONS["reference"]) * 128 + 127.5
    assert (cuts[0, :, :12] == 0).all()
    assert (cuts[0, :, 12:] == 255).all()
    assert (cuts[1, :12, :12] == 255).all()
    assert cuts[1].sum() == 12 * 12 * 3 * 255


@pytest.mark.parametrize("profile", reference.CONVENTIONS)
@pytest.mark.parametrize("shape", [(11, 50), (1, 1), (20, 20), (13, 300)])
def test_small_images_have_no_faces(profile: str, shape: tuple[int, int]) -> None:
    result = reference.detect(np.full((*shape, 3), 99, np.uint8), profile=profile)
    assert (result.boxes.shape, result.scores.shape, result.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


@pytest.mark.parametrize("profile", reference.CONVENTIONS)
def test_the_astronaut_is_found(profile: str, astronaut: NDArray[np.uint8]) -> None:
    result = reference.detect(astronaut, min_face_size=60, profile=profile)
    assert len(result.boxes) == 1
    assert result.scores[0] > 0.999
    x1, y1, x2, y2 = result.boxes[0]
    assert (abs(x1 - 176), abs(y1 - 74), abs(x2 - 268), abs(y2 - 190)) < (12, 12, 12, 12)
    left_eye, right_eye, nose, left_mouth, right_mouth = result.landmarks[0]
    assert x1 < left_eye[0] < nose[0] < right_eye[0] < x2
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1]) < y2


def test_agreement_tells_rounding_from_error(astronaut: NDArray[np.uint8]) -> None:
    result = reference.detect(astronaut, min_face_size=60)
    result.close_decisions.clear()
    faces = result.boxes.astype(np.float32), result.scores.astype(np.float32), result.landmarks.astype(np.float32)
    assert reference.assert_agrees(result, *faces) == []
    with pytest.raises(AssertionError, match="is missing"):
        reference.assert_agrees(result, *(array[:0] for array in faces))
    with pytest.raises(AssertionError, match="score is off"):
        reference.assert_agrees(result, faces[0], faces[1] - 1e-3, faces[2])
    with pytest.raises(AssertionError, match="landmarks are off"):
        reference.assert_agrees(result, faces[0], faces[1], faces[2] + 0.1)
    elsewhere = reference.CloseDecision("rnet", "fix", "x1", 0, 1, (400, 400, 450, 450))
    result.close_decisions.append(elsewhere)
    with pytest.raises(AssertionError, match="is missing"):
        reference.assert_agrees(result, *(array[:0] for array in faces))
    near = reference.CloseDecision("rnet", "fix", "x1", 0, 1, (150, 60, 250, 160))
    result.close_decisions.append(near)
    assert reference.assert_agrees(result, *(array[:0] for array in faces)) == [near]
