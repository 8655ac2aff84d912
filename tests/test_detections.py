"""The result type."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from typing import Any

import numpy as np
import pytest

from mtcnn_fast import Detections, Face
from mtcnn_fast.detections import FACE_COLUMNS

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


def boxed(*boxes: tuple[float, float, float, float]) -> Detections:
    """Faces with these boxes and falling scores."""
    n = len(boxes)
    return Detections(np.float32(boxes).reshape(n, 4), np.linspace(0.9, 0.5, n), LANDMARKS[np.zeros(n, int)])


def test_sizes(none: Detections) -> None:
    faces = boxed((10, 20, 40, 60), (-5, 0, 5, 1.5), (3, 3, 2, 1))
    np.testing.assert_array_equal(faces.widths, [30, 10, -1])
    np.testing.assert_array_equal(faces.heights, [40, 1.5, -2])
    np.testing.assert_array_equal(faces.areas, [1200, 15, 0])
    np.testing.assert_array_equal(faces.centers, [[25, 40], [0, 0.75], [2.5, 2]])
    np.testing.assert_array_equal(faces.xywh, [[10, 20, 30, 40], [-5, 0, 10, 1.5], [3, 3, -1, -2]])
    for i, face in enumerate(faces):
        assert (face.width, face.height, face.area) == (faces.widths[i], faces.heights[i], faces.areas[i])
        assert all(type(value) is float for value in (face.width, face.height, face.area))
        np.testing.assert_array_equal(face.center, faces.centers[i])
        np.testing.assert_array_equal(face.xywh, faces.xywh[i])
    arrays = (faces.widths, faces.heights, faces.areas, faces.centers, faces.xywh, faces[0].center, faces[0].xywh)
    for array in arrays:
        assert array.dtype == np.float32
        array[...] = 0  # a new array: the faces do not change
    np.testing.assert_array_equal(faces.areas, [1200, 15, 0])
    assert (none.widths.shape, none.areas.shape, none.centers.shape, none.xywh.shape) == ((0,), (0,), (0, 2), (0, 4))


def test_landmarks_by_name(faces: Detections, none: Detections) -> None:
    for i, name in enumerate(("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")):
        np.testing.assert_array_equal(faces.points(name), LANDMARKS[:, i])
        np.testing.assert_array_equal(getattr(faces[1], name), LANDMARKS[1, i])
        assert none.points(name).shape == (0, 2)
    with pytest.raises(ValueError, match="name is 'chin'; wanted one of"):
        faces.points("chin")
    with pytest.raises(TypeError, match="name is 0"):
        faces.points(0)  # type: ignore[arg-type]


def test_largest(none: Detections) -> None:
    # The second and third have one area; the one with the higher score comes first.
    faces = boxed((0, 0, 1, 1), (0, 0, 2, 3), (5, 5, 8, 7), (0, 0, 9, 9))
    assert faces.largest() == faces[[3]]
    assert faces.largest(3) == faces[[3, 1, 2]]
    assert faces.largest(9) == faces[[3, 1, 2, 0]]
    assert faces.largest(0) == faces[:0] == none == none.largest(2)
    n: Any
    for n, error in ((-1, ValueError), (1.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n is"):
            faces.largest(n)


def test_largest_tells_areas_that_float32_does_not() -> None:
    faces = boxed((0, 0, 4097, 4097), (0, 0, 4098, 4096.001))
    exact = [(f[2] - f[0]) * (f[3] - f[1]) for f in faces.boxes.astype(float)]
    assert faces.areas[0] == pytest.approx(faces.areas[1])
    assert faces.largest() == faces[[int(np.argmax(exact))]]


def test_most_central(none: Detections) -> None:
    faces = boxed((0, 0, 20, 20), (45, 45, 55, 55), (45, 45, 55, 55))
    assert faces.most_central((100, 100)) == faces[[1]]  # of two equal ones, the first
    assert faces.most_central((100, 100, 3), n=2) == faces[[1, 2]]
    assert faces.most_central((100, 100), n=3, weight=0) == faces.largest(3) == faces
    # shape is height and width: in a tall image the first face is nearer to the middle.
    assert boxed((15, 85, 25, 95), (85, 15, 95, 25)).most_central((180, 40)).boxes[0, 0] == 15
    assert none.most_central((100, 100)) == none
    arguments: Any
    for arguments, error in (
        (((100,),), ValueError),
        ((100,), ValueError),
        (((-1, 100),), ValueError),
        (((1.5, 100),), TypeError),
        (((100, 100), -1), ValueError),
        (((100, 100), 1, -0.5), ValueError),
        (((100, 100), 1, float("nan")), ValueError),
        (((100, 100), 1, float("inf")), ValueError),
        (((100, 100), 1, "2"), TypeError),
    ):
        with pytest.raises(error, match="wanted"):
            faces.most_central(*arguments)


def test_above(faces: Detections, none: Detections) -> None:
    assert faces.above(0.85) == faces[:2]
    assert faces.above(float(SCORES[1])) == faces[:1]  # greater, not equal
    assert faces.above(-1) == faces
    assert faces.above(1) == none == none.above(0)
    with pytest.raises(ValueError, match="score is nan"):
        faces.above(float("nan"))
    with pytest.raises(TypeError, match="score is '1'"):
        faces.above("1")  # type: ignore[arg-type]


def test_to_json(faces: Detections, none: Detections) -> None:
    assert none.to_json() == "[]"
    assert json.loads(faces.to_json()) == faces.to_dicts(2)
    assert json.loads(faces.to_json(digits=0)) == faces.to_dicts(0)
    assert json.loads(faces.to_json(digits=None)) == faces.to_dicts()
    with pytest.raises(ValueError, match="digits is -1"):
        none.to_json(-1)


def test_to_rows(faces: Detections, none: Detections) -> None:
    rows = faces.to_rows()
    assert (rows.shape, rows.dtype) == ((3, len(FACE_COLUMNS)), np.float32)
    columns = dict(zip(FACE_COLUMNS, rows.T, strict=True))
    np.testing.assert_array_equal(np.transpose([columns[name] for name in ("x1", "y1", "x2", "y2")]), BOXES)
    np.testing.assert_array_equal(columns["score"], SCORES)
    np.testing.assert_array_equal(columns["mouth_left_y"], LANDMARKS[:, 3, 1])
    assert none.to_rows().shape == (0, 15)


def test_to_dataframe(faces: Detections, none: Detections) -> None:
    pytest.importorskip("pandas")
    table = faces.to_dataframe()
    np.testing.assert_array_equal(table, faces.to_rows())
    assert set(table.dtypes) == {np.dtype("float32")}
    assert list(table.columns) == list(none.to_dataframe().columns) == list(FACE_COLUMNS)
    assert len(none.to_dataframe()) == 0


def test_to_supervision(faces: Detections, none: Detections) -> None:
    pytest.importorskip("supervision")
    theirs = faces.to_supervision()
    np.testing.assert_array_equal(theirs.xyxy, BOXES)
    np.testing.assert_array_equal(theirs.confidence, SCORES)
    np.testing.assert_array_equal(theirs.class_id, [0, 0, 0])
    np.testing.assert_array_equal(theirs[1:].data["landmarks"], LANDMARKS[1:])
    theirs.xyxy[:] = 0
    np.testing.assert_array_equal(faces.boxes, BOXES)
    assert len(none.to_supervision()) == 0


@pytest.mark.parametrize("package", ["pandas", "supervision"])
def test_missing_packages(faces: Detections, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    convert = faces.to_dataframe if package == "pandas" else faces.to_supervision
    with pytest.raises(ImportError, match=f"needs {package} .*: pip install {package}"):
        convert()


def test_to_opencv(faces: Detections, none: Detections) -> None:
    rows = faces.to_opencv()
    assert (rows.shape, rows.dtype) == ((3, 15), np.float32)
    np.testing.assert_array_equal(rows[:, :4], faces.xywh)
    np.testing.assert_array_equal(rows[:, 4:14].reshape(3, 5, 2), LANDMARKS)
    np.testing.assert_array_equal(rows[:, 14], SCORES)
    assert none.to_opencv().shape == (0, 15)


def test_html(faces: Detections, none: Detections) -> None:
    assert faces._repr_html_().count("<tr>") == 4
    assert "<td>0.9900</td>" in faces._repr_html_()
    assert "<p>1 face</p>" in faces[:1]._repr_html_()
    assert "<p>0 faces</p>" in none._repr_html_()
    many = faces[[0] * 25]._repr_html_()
    assert many.count("<tr>") == 21
    assert "<p>5 more</p>" in many


def test_repr_of_a_face(faces: Detections) -> None:
    assert repr(faces[0]) == "Face(box=(0.0, 1.0, 2.0, 3.0), score=0.990)"


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
