"""Faces cut out for recognition, against OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast import MTCNN, Detections

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
F32 = np.float32


def similarity(points: NDArray[Any], onto: NDArray[Any]) -> NDArray[np.float64]:
    """Umeyama's least squares by its normal equations: x' = a x - b y + c, y' = b x + a y + d."""
    x, y = np.float64(points).T
    zero, one = np.zeros(5), np.ones(5)
    rows = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    a, b, c, d = np.linalg.lstsq(rows, onto.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """OpenCV before 5 places a sample to 1/32 of a pixel: on gentle slopes that is less than a grey level."""
    y, x = np.mgrid[:height, :width]
    channels = [127 + 120 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(3)]
    return np.dstack(channels).astype(np.uint8)


def turned(angle: float, scale: float, shift: tuple[float, float], mirror: bool = False) -> NDArray[np.float32]:
    """A face of 112 pixels, turned about the origin, scaled and moved."""
    points = (TEMPLATE - 56) * ([-1, 1] if mirror else [1, 1])
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    moved: NDArray[np.float32] = (points @ np.array([[cosine, sine], [-sine, cosine]]) + shift).astype(F32)
    return moved


@pytest.mark.parametrize("size", [112, 96, 224, 1, 7])
@pytest.mark.parametrize("angle", [0, 0.3, -2.0, np.pi])
@pytest.mark.parametrize("scale", [0.4, 1, 3])
def test_align_is_opencvs_warp(detector: MTCNN, size: int, angle: float, scale: float) -> None:
    cv2: Any = pytest.importorskip("cv2")
    image = smooth(240, 320)
    landmarks = turned(angle, scale, (150.25, 110.75))
    landmarks += np.random.default_rng(0).normal(0, scale, (5, 2)).astype(F32)
    crop = detector.align(image, landmarks[np.newaxis], size=size)[0]
    warp = similarity(landmarks, TEMPLATE * (size / 112))
    expected = cv2.warpAffine(image, warp, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
    difference = np.abs(crop.astype(int) - expected)
    inside = cv2.warpAffine(np.ones((240, 320), F32), warp, (size, size)) > 0.999
    assert crop.dtype == np.uint8
    assert crop.shape == (size, size, 3)
    assert difference[inside].max(initial=0) <= 4
    assert difference[inside].mean() <= 0.6 if inside.any() else True
    outside = cv2.warpAffine(np.ones((240, 320), F32), warp, (size, size)) == 0
    assert np.all(crop[outside] <= 12)


def test_align_puts_the_template_where_it_is(detector: MTCNN) -> None:
    image = smooth(112, 112)
    np.testing.assert_array_equal(detector.align(image, TEMPLATE[np.newaxis].astype(F32))[0], image)


def test_align_of_a_mirrored_face_does_not_mirror(detector: MTCNN) -> None:
    """The best similarity without a reflection, not the better one with it."""
    image = smooth(240, 320)
    landmarks = turned(0.2, 1.0, (150, 110), mirror=True)
    crop = detector.align(image, landmarks[np.newaxis], size=112)[0]
    cv2: Any = pytest.importorskip("cv2")
    warp = similarity(landmarks, TEMPLATE)
    assert np.linalg.det(warp[:, :2]) > 0
    inside = cv2.warpAffine(np.ones((240, 320), F32), warp, (112, 112)) > 0.999
    expected = cv2.warpAffine(image, warp, (112, 112))
    assert np.abs(crop.astype(int) - expected)[inside].mean() < 1


def test_a_face_that_was_found(detector: MTCNN, astronaut: NDArray[np.uint8]) -> None:
    faces = detector.detect(astronaut)
    crops = detector.align(astronaut, faces)
    assert crops.shape == (1, 112, 112, 3)
    again = detector.detect(crops[0])
    assert len(again) == 1
    np.testing.assert_allclose(again[0].landmarks, TEMPLATE, atol=6)
    for one in (faces[0], faces.landmarks):
        np.testing.assert_array_equal(detector.align(astronaut, one), crops)
    crops = detector.crop(astronaut, faces, margin=0.2)
    assert crops.shape == (1, 160, 160, 3)
    assert len(detector.detect(crops[0])) == 1
    for one in (faces[0], faces.boxes):
        np.testing.assert_array_equal(detector.crop(astronaut, one, margin=0.2), crops)


@pytest.mark.parametrize("size", [8, 30, 64, 160])
@pytest.mark.parametrize(
    "box", [(10, 20, 74, 84), (0, 0, 320, 240), (100, 50, 130, 110), (5, 5, 6, 6), (7, 9, 300, 11)]
)
def test_crop_is_opencvs_resize(detector: MTCNN, size: int, box: tuple[int, int, int, int]) -> None:
    cv2: Any = pytest.importorskip("cv2")
    image = smooth(240, 320)
    x1, y1, x2, y2 = box
    cut = np.ascontiguousarray(image[y1:y2, x1:x2])
    shrinks = x2 - x1 >= size and y2 - y1 >= size
    expected = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    crop = detector.crop(image, F32([box]), size=size)[0]
    assert np.abs(crop.astype(int) - expected).max() <= 1


def test_crop_beyond_the_image_is_black(detector: MTCNN) -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    padded = np.pad(image, ((100, 100), (100, 100), (0, 0)))
    boxes = F32([[-20, -30, 44, 34], [40, 30, 104, 94], [-90, -90, -26, -26], [61, 0, 125, 64]])
    crops = detector.crop(image, boxes, size=64)
    for crop, (x1, y1, x2, y2) in zip(crops, boxes.astype(int) + 100, strict=True):
        np.testing.assert_array_equal(crop, padded[y1:y2, x1:x2])


def test_crop_with_a_margin(detector: MTCNN, astronaut: NDArray[np.uint8]) -> None:
    crop = detector.crop(astronaut, F32([[200, 100, 240, 180]]), size=80, margin=0.25)
    np.testing.assert_array_equal(crop, detector.crop(astronaut, F32([[190, 80, 250, 200]]), size=80))
    crop = detector.crop(astronaut, F32([[200, 100, 240, 180]]), size=20, margin=-0.25)
    np.testing.assert_array_equal(crop, detector.crop(astronaut, F32([[210, 120, 230, 160]]), size=20))


@pytest.mark.parametrize("method", ["align", "crop"])
def test_channels_stay_as_they_are(face: NDArray[np.uint8], method: str) -> None:
    rgb, bgr = getattr(MTCNN(device="cpu"), method), getattr(MTCNN(device="cpu", channel_order="bgr"), method)
    faces = MTCNN(device="cpu").detect(face)
    expected = rgb(face, faces, size=50)
    np.testing.assert_array_equal(bgr(face[..., ::-1], faces, size=50), expected[..., ::-1])
    np.testing.assert_array_equal(rgb(np.dstack([face, face[..., 0]]), faces, size=50), expected)
    gray = rgb(face[..., 1], faces, size=50)
    for channel in range(3):
        np.testing.assert_array_equal(gray[..., channel], expected[..., 1])
    for view in (np.asfortranarray(face), np.dstack([face, face])[..., :3]):
        np.testing.assert_array_equal(rgb(view, faces, size=50), expected)
    flipped = np.ascontiguousarray(face[::-1, ::-1])[::-1, ::-1]
    np.testing.assert_array_equal(rgb(flipped, faces, size=50), expected)
    row = np.broadcast_to(face[:1], face.shape)
    np.testing.assert_array_equal(rgb(row, faces, size=50), rgb(row.copy(), faces, size=50))


@pytest.mark.parametrize("method", ["align", "crop"])
def test_no_faces(detector: MTCNN, face: NDArray[np.uint8], method: str) -> None:
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    crops = getattr(detector, method)(face, none, size=30)
    assert (crops.shape, crops.dtype) == ((0, 30, 30, 3), np.uint8)


@pytest.mark.parametrize("margin", [14, 2.001, -0.5, -3, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [0, 2])
def test_a_margin_in_pixels_is_refused(detector: MTCNN, face: NDArray[np.uint8], margin: float, n: int) -> None:
    """facenet-pytorch takes pixels. The message is about all faces, and comes without any."""
    words = rf"^margin is {margin}; .* above -0\.5 and at most 2: a share of the box's width and height.* not pixels"
    with pytest.raises(ValueError, match=words):
        detector.crop(face, F32([[0, 0, 9, 9]] * n).reshape(n, 4), margin=margin)


@pytest.mark.parametrize("margin", [2, -0.499])
def test_the_largest_and_the_least_margin(detector: MTCNN, face: NDArray[np.uint8], margin: float) -> None:
    assert detector.crop(face, F32([[0, 0, 1000, 1000]]), size=20, margin=margin).shape == (1, 20, 20, 3)


def points(*rows: tuple[float, float]) -> NDArray[np.float32]:
    return F32([rows])


@pytest.mark.parametrize(
    ("method", "faces", "options", "error", "words"),
    [
        ("align", points(*[(5, 5)] * 5), {}, ValueError, "face 0.*one point"),
        ("align", points(*[(5, 5)] * 4, (np.nan, 5)), {}, ValueError, "face 0.*finite"),
        ("align", np.zeros((2, 4), F32), {}, ValueError, r"\(2, 4\).*\(n, 5, 2\)"),
        ("align", np.zeros((1, 5, 2), int), {}, TypeError, "int64"),
        ("align", [[1, 2]], {}, TypeError, "list"),
        ("align", None, {}, TypeError, "None"),
        ("align", TEMPLATE[np.newaxis], {"size": 0}, ValueError, "size is 0"),
        ("align", TEMPLATE[np.newaxis], {"size": -5}, ValueError, "size is -5"),
        ("align", TEMPLATE[np.newaxis], {"size": 112.0}, TypeError, "size is 112.0"),
        ("align", TEMPLATE[np.newaxis], {"size": True}, TypeError, "size is True"),
        ("crop", F32([[0, 0, 9, 9], [5, 5, 5, 9]]), {}, ValueError, "face 1.*empty"),
        ("crop", F32([[9, 9, 0, 0]]), {}, ValueError, "face 0.*empty"),
        ("crop", F32([[0, 0, np.inf, 9]]), {}, ValueError, "face 0.*finite"),
        ("crop", F32([[0, 0, 1e12, 9]]), {}, ValueError, "face 0.*large"),
        ("crop", F32([[0, 0, 1e-3, 9]]), {"margin": -0.4}, ValueError, "face 0.*empty"),
        ("crop", F32([[0, 0, 9, 9]]), {"margin": "0"}, TypeError, "margin"),
        ("crop", F32([[0, 0, 9, 9]]), {"size": 0}, ValueError, "size is 0"),
        ("crop", np.zeros((1, 5, 2), F32), {}, ValueError, r"\(n, 4\)"),
    ],
)
def test_bad_faces(
    detector: MTCNN,
    face: NDArray[np.uint8],
    method: str,
    faces: Any,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        getattr(detector, method)(face, faces, **options)
