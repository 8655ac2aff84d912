"""The result type."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

from mtcnn_fast import Detections, Face

BOXES = np.arange(12, dtype=np.float32).reshape(3, 4)
SCORES = np.float32([0.99, 0.9, 0.8])
LANDMARKS = np.arange(30, dtype=np.float32).reshape(3, 5, 2)


@pytest.fixture
def faces() -> Detections:
    return Detections(BOXES, SCORES, LANDMARKS)


@pytest.fixture
def none() -> Detections:
    return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


def test_arrays(faces: Detections) -> None:
    for found, given in zip(faces.astuple(), (BOXES, SCORES, LANDMARKS), strict=True):
        np.testing.assert_array_equal(found, given)
        assert found.dtype == np.float32
    assert faces.astuple()[0] is faces.boxes


def test_is_immutable(faces: Detections) -> None:
    for array in (*faces.astuple(), faces[0].box, faces[0].landmarks, *faces[1:].astuple()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for name in ("boxes", "scores", "landmarks", "other"):
        with pytest.raises(AttributeError):
            setattr(faces, name, BOXES)
    with pytest.raises(AttributeError):
        faces[0].score = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        hash(faces)


def test_does_not_follow_the_arrays_given() -> None:
    boxes = BOXES.copy()
    faces = Detections(boxes, SCORES, LANDMARKS)
    boxes[:] = -1
    np.testing.assert_array_equal(faces.boxes, BOXES)


def test_one_face(faces: Detections) -> None:
    face = faces[1]
    assert isinstance(face, Face)
    np.testing.assert_array_equal(face.box, BOXES[1])
    assert type(face.score) is float
    assert face.score == SCORES[1]
    np.testing.assert_array_equal(face.landmarks, LANDMARKS[1])
    assert face == faces[-2] == faces[np.int64(1)]
    assert face != faces[0]
    assert face != "face"
    for index in (3, -4):
        with pytest.raises(IndexError):
            faces[index]


def test_iteration(faces: Detections, none: Detections) -> None:
    assert [face.score for face in faces] == SCORES.tolist()
    assert list(none) == []
    assert (len(faces), len(none), bool(faces), bool(none)) == (3, 0, True, False)


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (slice(None, 2), [0, 1]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        (np.array([True, False, True]), [0, 2]),
        ([True, False, True], [0, 2]),
        (SCORES > 2, []),
        (np.array([2, 0, 2]), [2, 0, 2]),
        ([1], [1]),
        ([], []),
        (np.array([], np.int64), []),
    ],
)
def test_choosing(faces: Detections, index: Any, chosen: list[int]) -> None:
    some = faces[index]
    assert isinstance(some, Detections)
    assert some == Detections(BOXES[chosen], SCORES[chosen], LANDMARKS[chosen])


@pytest.mark.parametrize(
    ("index", "error"),
    [
        ((0, 1), TypeError),
        ("boxes", TypeError),
        (None, TypeError),
        (1.0, TypeError),
        (True, TypeError),
        (..., TypeError),
        ([0.5], IndexError),
        ([3], IndexError),
        ([True, False], IndexError),
        (np.array(1), IndexError),
        (np.array([[0, 1]]), IndexError),
    ],
)
def test_bad_indices(faces: Detections, index: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        faces[index]


def test_to_dicts(faces: Detections, none: Detections) -> None:
    assert none.to_dicts() == []
    dicts = faces.to_dicts()
    assert json.loads(json.dumps(dicts)) == dicts
    assert len(dicts) == 3
    assert dicts[0] == {
        "box": [0, 1, 2, 3],
        "score": float(SCORES[0]),
        "landmarks": {
            "left_eye": [0, 1],
            "right_eye": [2, 3],
            "nose": [4, 5],
            "mouth_left": [6, 7],
            "mouth_right": [8, 9],
        },
    }
    assert faces[0].to_dict() == dicts[0]


def test_to_dicts_with_digits(none: Detections) -> None:
    faces = Detections(BOXES + 0.123456, [0.98765432] * 3, LANDMARKS - 0.9876)
    (first, *_) = faces.to_dicts(digits=2)
    assert first["box"] == [0.12, 1.12, 2.12, 3.12]
    assert first["score"] == 0.9877
    assert first["landmarks"]["left_eye"] == [-0.99, 0.01]
    assert faces[0].to_dict(2) == faces[0].to_dict(digits=np.int64(2)) == first  # type: ignore[arg-type]
    assert faces[0].to_dict(0)["box"] == [0, 1, 2, 3]
    assert all(type(value) is float for value in faces[0].to_dict(0)["box"])
    assert faces.to_dicts(30) == faces.to_dicts() == faces.to_dicts(None)
    digits: Any
    for digits, error in ((-1, ValueError), (1.0, TypeError), ("2", TypeError), (True, TypeError)):
        for call in (faces.to_dicts, none.to_dicts, faces[0].to_dict):
            with pytest.raises(error, match="digits is"):
                call(digits)


def test_equality(faces: Detections, none: Detections) -> None:
    assert faces == Detections(BOXES, SCORES, LANDMARKS)
    assert faces != Detections(BOXES + 1, SCORES, LANDMARKS)
    assert faces != Detections(BOXES, SCORES + 1, LANDMARKS)
    assert faces != Detections(BOXES, SCORES, LANDMARKS + 1)
    assert faces != none
    assert faces != faces.astuple()


def test_repr(faces: Detections, none: Detections) -> None:
    assert repr(faces) == "<Detections: 3 faces, best score 0.9900>"
    assert repr(faces[:1]) == "<Detections: 1 face, best score 0.9900>"
    assert repr(none) == "<Detections: 0 faces>"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(faces: Detections, again: Any) -> None:
    other = again(faces)
    assert other == faces
    assert not other.boxes.flags.writeable
    assert again(faces[0]) == faces[0]


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks"),
    [
        (BOXES[:2], SCORES, LANDMARKS),
        (BOXES, SCORES, LANDMARKS.reshape(3, 10)),
        (BOXES, SCORES[:, np.newaxis], LANDMARKS),
        (BOXES[0], SCORES[0], LANDMARKS[0]),
    ],
)
def test_bad_shapes(boxes: Any, scores: Any, landmarks: Any) -> None:
    with pytest.raises(ValueError, match=r"wanted \(n, 4\), \(n,\) and \(n, 5, 2\)"):
        Detections(boxes, scores, landmarks)
