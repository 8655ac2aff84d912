"""`MTCNN.refine`: O-Net's answers at given places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import reference
from mtcnn_fast import MTCNN, Detections, available_isas

PROFILES = ["reference", "facenet-pytorch", "mtcnn"]
Image = NDArray[np.uint8]


def expected(image: Image, boxes: NDArray[np.float32], profile: str) -> tuple[Any, Any, Any]:
    """The oracle's boxes, scores and landmarks, of boxes that need squaring."""
    conventions = reference.CONVENTIONS[profile]
    shift = [1, 1, 0, 0] if conventions.shifts_output else [0, 0, 0, 0]
    n = len(boxes)
    start = reference.Candidates(
        boxes.astype(np.float64) + shift, np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, 4)), np.zeros((n, 10))
    )
    squares, crops = reference.squares(start, 1, "rnet", conventions, [], image)
    logits, offsets, landmarks = reference.onet(reference.cut(image, crops, 48, conventions))
    sides = squares.boxes[:, 2:] - squares.boxes[:, :2] + 1
    points = landmarks.reshape(-1, 2, 5) * sides[:, :, None] + squares.boxes[:, :2, None] - 1
    found = reference.regress(squares.boxes, offsets, 1, reference.precision(conventions)) - shift
    return found, reference.probability(logits), points.transpose(0, 2, 1)


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("profile", PROFILES)
def test_answers_are_the_oracles(profile: str, isa: str, astronaut: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTCNN_FAST_ISA", isa)
    boxes = np.float32([[170, 60, 275, 210], [0.25, 3.5, 50.75, 30.25], [-20, 300, 40, 340], [480, 440, 530, 530]])
    faces = MTCNN(device="cpu", profile=profile).refine(astronaut, boxes)
    found, scores, landmarks = expected(astronaut, boxes, profile)
    np.testing.assert_allclose(faces.scores, scores, atol=1e-4)
    np.testing.assert_allclose(faces.boxes, found, atol=0.01)
    np.testing.assert_allclose(faces.landmarks, landmarks, atol=0.01)
    assert faces.scores[0] > 0.99


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("profile", PROFILES)
def test_mirrored_landmarks_are_the_oracles(
    profile: str, isa: str, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTCNN_FAST_ISA", isa)
    direct = MTCNN(device="cpu", profile=profile)
    mirrored = MTCNN(device="cpu", profile=profile, landmarks="mirrored")
    for image in (astronaut, astronaut[::3, ::3]):
        # Enlarged and shrunken crops, and crops that leave the image on each side.
        around = np.float32([[9, 8, 29, 38], [5, -30, 69, 60], [-20, 90, 40, 140], [130, 125, 180, 175]])
        around *= len(image) / 171
        for asked, found in (
            (direct.detect(image), mirrored.detect(image)),
            (direct.refine(image, around), mirrored.refine(image, around)),
        ):
            np.testing.assert_array_equal(found.boxes, asked.boxes)
            np.testing.assert_array_equal(found.scores, asked.scores)
            expected = reference.mirrored_landmarks(image, found.boxes, profile)
            np.testing.assert_allclose(found.landmarks, expected, atol=0.01)
            assert len(found) in (1, 4)


def test_a_face_is_found_again_from_where_it_was(astronaut: Image) -> None:
    detector = MTCNN(device="cpu")
    faces = detector.detect(astronaut, max_faces=1)
    side = float(faces.boxes[0, 2] - faces.boxes[0, 0])
    for moved in (faces.boxes, faces.boxes + np.float32(0.15 * side)):
        again = detector.refine(astronaut, moved)
        assert again.scores[0] > 0.99
        np.testing.assert_allclose(again.boxes, faces.boxes, atol=0.1 * side)
    # A rough box, twice as large as the face, needs R-Net.
    rough = faces.boxes + np.float32([[-0.5, -0.5, 0.5, 0.5]]) * np.float32(side)
    assert detector.refine(astronaut, rough).scores[0] < 0.1
    assert detector.refine(astronaut, rough, "both").scores[0] > 0.5


def test_kinds_of_boxes_and_images(astronaut: Image) -> None:
    detector = MTCNN(device="cpu")
    faces = detector.detect(astronaut)
    expected = detector.refine(astronaut, faces)
    assert isinstance(expected, Detections)
    assert len(expected) == len(faces)
    np.testing.assert_array_equal(detector.refine(astronaut, faces[0]).boxes, expected.boxes[:1])
    np.testing.assert_array_equal(detector.refine(astronaut, faces.boxes.astype(np.float64)).boxes, expected.boxes)
    assert len(detector.refine(astronaut, np.zeros((0, 4), np.float32))) == 0
    several = detector.refine([astronaut, astronaut[:50, :60]], [faces, np.float32([[1, 2, 30, 40]])])
    np.testing.assert_array_equal(several[0].landmarks, expected.landmarks)
    assert [len(answers) for answers in several] == [len(faces), 1]
    assert detector.refine([], []) == []


def test_a_box_without_pixels_keeps_its_place(astronaut: Image) -> None:
    boxes = np.float32([[-90, 5, -40, 60], [170, 60, 275, 165], [1e20, 0, 2e20, 5]])
    for network in ("onet", "both"):
        faces = MTCNN(device="cpu").refine(astronaut, boxes, network)
        assert faces.scores[0] == faces.scores[2] == 0 < faces.scores[1]
        np.testing.assert_array_equal(faces.boxes[[0, 2]], boxes[[0, 2]])
        np.testing.assert_array_equal(faces.landmarks[0], np.tile(np.float32([-65, 32.5]), (5, 1)))


BOXES = np.float32([[1, 2, 30, 40]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda d, i: d.refine(i, np.float32([[0, 0, 9, 9], [5, 0, 4, 9]])),
            ValueError,
            "box 1: it is 5, 0, 4, 9,",
        ),
        (lambda d, i: d.refine(i, np.float32([[0, np.nan, 9, 9]])), ValueError, "box 0: it is 0, nan, 9, 9, wanted"),
        (lambda d, i: d.refine([i, i], [BOXES, -BOXES]), ValueError, "image 1: box 0: it is -1, -2, -30, -40, wanted"),
        (lambda d, i: d.refine(i, BOXES, "pnet"), ValueError, "network is 'pnet'; wanted 'onet' or 'both'"),
        (lambda d, i: d.refine(i, [[1, 2, 30, 40]]), TypeError, r"boxes is .* \(list\); wanted a floating-point"),
        (lambda d, i: d.refine(i, BOXES[:, :3]), ValueError, r"has shape \(1, 3\); wanted \(n, 4\)"),
        (lambda d, i: d.refine([i], BOXES), TypeError, "boxes is .*; wanted a list with the boxes of each"),
        (lambda d, i: d.refine([i, i], [BOXES]), ValueError, "there are 2 images, and boxes for 1"),
        (lambda d, i: d.refine(i.astype(float), BOXES), TypeError, "image is a float64 array"),
        (lambda d, i: d.refine(i, BOXES, stream=1), ValueError, "stream is given, and the detector runs on the CPU"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str, astronaut: Image) -> None:
    with pytest.raises(error, match=message):
        call(MTCNN(device="cpu"), astronaut)
