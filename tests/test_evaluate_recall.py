"""Recall at numbers of false positives: what counts, the sizes of faces, and intervals, against cases by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mtcnn_fast.evaluate import precision_recall, recall
from mtcnn_fast.evaluate.matching import FALSE, NEITHER, Rule
from mtcnn_fast.evaluate.recall import SizeClass, recall_by_size, recall_intervals
from test_evaluate_scores import detected, labelled, matched, random_set

A, FAR = [0, 0, 10, 10], [80, 80, 90, 90]
# Half of A, and boxes that overlap A by an IoU of 0.3 and 0.2.
HALF, THIRD, FIFTH = [0, 0, 10, 5], [0, 0, 10, 3], [0, 0, 10, 2]


def test_what_counts_neither_way() -> None:
    found, scores = [A, HALF, THIRD, FIFTH, FAR], [0.9, 0.8, 0.7, 0.6, 0.5]
    for ignored, rule, expected in (
        (False, {}, [0, FALSE, FALSE, FALSE, FALSE]),
        (False, {"near_iou": 0.25}, [0, NEITHER, NEITHER, FALSE, FALSE]),
        (False, {"ignored_iou": 0.1}, [0, FALSE, FALSE, FALSE, FALSE]),
        (True, {}, [NEITHER, NEITHER, FALSE, FALSE, FALSE]),
        (True, {"near_iou": 0.1}, [NEITHER, NEITHER, FALSE, FALSE, FALSE]),
        (True, {"ignored_iou": 0.3}, [NEITHER, NEITHER, NEITHER, FALSE, FALSE]),
        (True, {"ignored_iou": 0.9}, [NEITHER, FALSE, FALSE, FALSE, FALSE]),
    ):
        assert matched(found, scores, [A], [ignored], **rule) == expected, (ignored, rule)
    # A labelled face that is too small to count is still labelled.
    small = {"ignored_iou": 0.3, "smallest_face": 11}
    assert matched(found, scores, [A], [False], **small) == [NEITHER, NEITHER, NEITHER, FALSE, FALSE]
    assert matched(found, scores, [A], [False], near_iou=0.1, **small) == [NEITHER] * 4 + [FALSE]
    # A face that is free is taken, though an ignored one is overlapped too.
    assert matched([HALF], [1], [A, HALF], [False, True], ignored_iou=0.2) == [0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"iou": 0}, "iou is 0"),
        ({"ignored_iou": 1.1}, "ignored_iou is 1.1; wanted more than 0"),
        ({"near_iou": math.nan}, "near_iou is nan"),
        ({"smallest_face": -1}, "smallest_face is -1; wanted 0 pixels or more"),
    ],
)
def test_bad_rules(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rule(**settings)


def face(size: float, at: float = 0) -> list[float]:
    """A face with a shorter side of `size` pixels."""
    return [at, 0, at + size, 2 * size]


SIZED = [
    labelled("a.jpg", [face(10), face(20, 100), face(25, 200)]),
    labelled("b.jpg", [face(19.5), face(70, 100), face(70, 200)]),
]
FOUND = [
    detected("a.jpg", [face(10), face(25, 200), FAR], [0.9, 0.8, 0.7]),
    detected("b.jpg", [face(70, 100), face(30, 500), face(70, 200)], [0.6, 0.5, 0.4]),
]


def test_the_smallest_face() -> None:
    result = precision_recall(SIZED, FOUND, Rule(smallest_face=20))
    # What is found of the smaller ones is not false.
    assert (result.faces, result.recall, result.false_positives) == (4, 3 / 4, 2)


def test_recall_by_size() -> None:
    result = precision_recall(SIZED, FOUND)
    assert recall_by_size(result, (0, 1, math.inf)) == [
        SizeClass(0, 12, 1, (1, 1, 1)),
        SizeClass(16, 20, 1, (0, 0, 0)),
        SizeClass(20, 30, 2, (0.5, 0.5, 0.5)),
        SizeClass(60, math.inf, 2, (0, 0.5, 1)),
    ]
    assert recall_by_size(precision_recall([labelled("a.jpg", [])], []), (2,)) == []


def test_intervals_by_hand() -> None:
    # Two pictures, one found: of their four resamples, recall is 0 in one, 0.5 in two and 1 in one.
    two = precision_recall([labelled("a.jpg", [A]), labelled("b.jpg", [A])], [detected("a.jpg", [A], [0.9])])
    assert recall_intervals(two, (0, math.inf)) == [(0, 1), (0, 1)]
    assert recall_intervals(two, (3,), share=0.4) == [(0.5, 0.5)]
    # Pictures that are alike.
    alike = [labelled(f"{i}.jpg", [A, FAR]) for i in range(9)]
    same = precision_recall(alike, [detected(f"{i}.jpg", [A], [0.9]) for i in range(9)])
    assert recall_intervals(same, (1,)) == [(0.5, 0.5)]
    ((low, high),) = recall_intervals(precision_recall([labelled("a.jpg", [])], []), (1,))
    assert math.isnan(low)
    assert math.isnan(high)


def test_a_picture_without_faces_can_be_drawn() -> None:
    one = precision_recall([labelled("a.jpg", [A]), labelled("b.jpg", [])], [detected("a.jpg", [A], [0.9])])
    # In a fourth of the resamples there is no face, and no recall.
    assert recall_intervals(one, (1,)) == [(1, 1)]


@pytest.mark.parametrize("first", [1, 7, 512])
def test_intervals_as_of_drawn_pictures(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "_FIRST", first)
    annotations, detections = random_set(3, coarse=True)
    counts: Sequence[float] = (0, 2, 5, 20, math.inf)
    rng = np.random.default_rng(5)
    recalls = []
    for _ in range(40):
        drawn = rng.integers(len(annotations), size=len(annotations))
        result = precision_recall(
            [
                labelled(f"{n}", annotations[i].boxes.tolist(), annotations[i].ignored.tolist())
                for n, i in enumerate(drawn)
            ],
            [
                detected(f"{n}", detections[i].boxes.tolist(), detections[i].scores.tolist())
                for n, i in enumerate(drawn)
            ],
        )
        recalls.append([result.recall_at(count) for count in counts])
    expected = np.quantile(recalls, [0.1, 0.9], axis=0).T
    got = recall_intervals(precision_recall(annotations, detections), counts, share=0.8, resamples=40, seed=5)
    np.testing.assert_allclose(got, expected)
