"""COCO's keypoints: the five landmarks by the names of a category's keypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn_fast.datasets import Problems, read
from mtcnn_fast.datasets.keypoints import scheme
from mtcnn_fast.detections import LANDMARKS

SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
PERSON = ["nose", *(f"{side}_{part}" for part in SIDED for side in ("left", "right"))]
NAN = [np.nan, np.nan]


def triples(count: int, visible: int = 2) -> list[int]:
    """Keypoint k is at 10 k, 10 k + 1."""
    return [value for k in range(count) for value in (10 * k, 10 * k + 1, visible)]


def at(*indices: int) -> list[list[float]]:
    return [[10 * k, 10 * k + 1] for k in indices]


def landmarks(
    folder: Path, *keypoints: object, categories: object = None, **more: Any
) -> tuple[list[list[list[float]]], list[str]]:
    labels = [{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1, "keypoints": k} | more for k in keypoints]
    document = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": labels, "categories": categories}
    (folder / "faces.json").write_text(json.dumps(document))
    problems = Problems()
    (found,) = read(folder / "faces.json", problems=problems)
    # What becomes of the landmarks, the boxes stay, and the picture is complete.
    assert len(found.boxes) == len(keypoints)
    assert found.complete
    return found.landmarks.tolist(), list(problems)


def category(names: object, key: int = 1) -> dict[str, Any]:
    return {"id": key, "name": "face", "keypoints": names}


def test_a_person_is_seen_from_the_front(tmp_path: Path) -> None:
    found, problems = landmarks(tmp_path, triples(17), categories=[category(PERSON)])
    # The person's right eye is the left one in the picture.
    np.testing.assert_array_equal(found, [[*at(2, 1, 0), NAN, NAN]])
    assert problems == []


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (LANDMARKS, [0, 1, 2, 3, 4]),
        (LANDMARKS[::-1], [4, 3, 2, 1, 0]),
        (["chin", *LANDMARKS], [1, 2, 3, 4, 5]),
        (["leftEye", "rightEye", "noseTip", "leftMouthCorner", "rightMouthCorner"], [0, 1, 2, 3, 4]),
        (["nose_tip", "left_mouth_corner", "right_mouth_corner", "left_eye", "right_eye"], [3, 4, 0, 1, 2]),
        (["lefteye", "righteye", "nose", "leftmouth", "rightmouth"], [0, 1, 2, 3, 4]),
        (["eye_left", "eye_right", "nose", "mouth_left_corner", "mouth_right_corner"], [0, 1, 2, 3, 4]),
        (["L-Eye", "R-Eye", "Nose", "L-Mouth", "R-Mouth"], [0, 1, 2, 3, 4]),
        (["left_eye_center", "right_eye_center", "nose", "left_lip_corner", "right_lip_corner"], [0, 1, 2, 3, 4]),
        # Beside a body all sides are the person's.
        ([*LANDMARKS, "left_ear", "right_ear"], [1, 0, 2, 4, 3]),
        ([*PERSON, "mouth_left", "mouth_right"], [2, 1, 0, 18, 17]),
    ],
)
def test_names(tmp_path: Path, names: list[str], indices: list[int]) -> None:
    found, problems = landmarks(tmp_path, triples(len(names)), categories=[category(list(names))])
    np.testing.assert_array_equal(found, [at(*indices)])
    assert problems == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"{k}" for k in range(68)], "no name is that of left_eye"),
        ([*LANDMARKS, "left_eye_center"], "several of the names can be left_eye"),
        (["left_eye", "right_eye", "nose", "mouth"], "no name is that of mouth_left"),
        (["left_shoulder", "right_shoulder"], "none of the names"),
        ([1, 2, 3, 4, 5], "not a list of names"),
    ],
)
def test_what_names_do_not_tell_is_told_once(tmp_path: Path, names: list[Any], words: str) -> None:
    keypoints = [triples(len(names))] * 3
    found, problems = landmarks(tmp_path, *keypoints, categories=[category(names)])
    assert np.isnan(found).all()
    assert len(problems) == 1
    assert "annotations[0]" in problems[0]
    assert words in problems[0]


def test_keypoints_without_names(tmp_path: Path) -> None:
    for categories in (None, [], [{"id": 1, "name": "face"}], [category([])], {"no": "list"}, [3, {"id": []}]):
        found, problems = landmarks(tmp_path, triples(5), categories=categories)
        np.testing.assert_array_equal(found, [at(0, 1, 2, 3, 4)])
        assert problems == []
    for count in (1, 17, 68):
        found, problems = landmarks(tmp_path, triples(count), triples(5), triples(count), triples(count, visible=0))
        assert np.isnan([found[0], found[2], found[3]]).all()
        np.testing.assert_array_equal(found[1], at(0, 1, 2, 3, 4))
        assert len(problems) == 1
        assert "they have no names" in problems[0]


@pytest.mark.parametrize(
    "keypoints",
    [
        [1, 2],
        [*triples(5), 1],
        [*triples(4), "x", 2, 2],
        [*triples(4), None, 2, 2],
        [*triples(4), float("nan"), 2, 2],
        [*triples(4), 1e30, 2, 2],
        "x",
        7,
    ],
)
def test_keypoints_that_are_none(tmp_path: Path, keypoints: object) -> None:
    found, problems = landmarks(tmp_path, keypoints, triples(5), keypoints)
    assert np.isnan([found[0], found[2]]).all()
    np.testing.assert_array_equal(found[1], at(0, 1, 2, 3, 4))
    assert ["the box is kept" in problem for problem in problems] == [True, True]


def test_categories(tmp_path: Path) -> None:
    both = [category(list(LANDMARKS)), category(PERSON, 2)]
    found, problems = landmarks(tmp_path, triples(17), categories=both, category_id=2)
    np.testing.assert_array_equal(found, [[*at(2, 1, 0), NAN, NAN]])
    found, problems = landmarks(tmp_path, triples(17), categories=both)
    assert np.isnan(found).all()
    assert "51 numbers; wanted x y v of each of 5 keypoints" in problems[0]
    # A category that comes twice.
    twice = [category(list(LANDMARKS)), category(list(LANDMARKS[::-1]))]
    found, problems = landmarks(tmp_path, triples(5), triples(5), categories=twice)
    assert np.isnan(found).all()
    assert len(problems) == 1
    found, problems = landmarks(tmp_path, triples(5), categories=twice[:1] * 2)
    assert problems == []
    found, problems = landmarks(tmp_path, triples(5), categories=both, category_id=[])
    assert (np.isnan(found).all(), len(problems)) == (True, 1)
    # The only category, of labels that name none.
    found, problems = landmarks(tmp_path, triples(5), categories=twice[1:], category_id=None)
    np.testing.assert_array_equal(found, [at(4, 3, 2, 1, 0)])
    assert problems == []


def test_scheme() -> None:
    assert scheme(PERSON) == (2, 1, 0, None, None)
    with pytest.raises(ValueError, match="no name is that of left_eye"):
        scheme([])
