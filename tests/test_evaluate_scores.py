"""Precision and recall, landmark errors, and their commands, against cases worked out by hand and slow formulations."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast.boxes import overlaps
from mtcnn_fast.cli import main, plots
from mtcnn_fast.cli.outputs import write_json
from mtcnn_fast.datasets import Annotation
from mtcnn_fast.detections import LANDMARKS
from mtcnn_fast.evaluate import pairing
from mtcnn_fast.evaluate.detection_files import PictureDetections
from mtcnn_fast.evaluate.landmarks import BOX, INTER_OCULAR, LandmarkErrors, landmark_error
from mtcnn_fast.evaluate.matching import FALSE, NEITHER, Rule, match
from mtcnn_fast.evaluate.pairs import annotated_pairs
from mtcnn_fast.evaluate.precision_recall import PrecisionRecall, average_precision, precision_recall


def labelled(
    name: str, boxes: Sequence[Sequence[float]], ignored: Sequence[bool] | None = None, points: Any = None
) -> Annotation:
    n = len(boxes)
    return Annotation(
        name,
        Path("images", name),
        np.array(boxes, np.float32).reshape(n, 4),
        np.full((n, 5, 2), np.nan, np.float32) if points is None else np.array(points, np.float32).reshape(n, 5, 2),
        np.zeros(n, np.bool_) if ignored is None else np.array(ignored, np.bool_),
    )


def detected(
    name: str, boxes: Sequence[Sequence[float]], scores: Sequence[float], points: Any = None
) -> PictureDetections:
    n = len(boxes)
    return PictureDetections(
        name,
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float64),
        np.full((n, 5, 2), np.nan, np.float32) if points is None else np.array(points, np.float32).reshape(n, 5, 2),
    )


A, B, C, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [80, 80, 90, 90]


def test_overlaps() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 5, 9]], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [5, 5, 5, 9]], np.float32)
    np.testing.assert_allclose(overlaps(boxes, others), [[1, 1 / 3, 0, 0], [0, 0, 0, 0]])
    assert overlaps(boxes, others[:0]).shape == (2, 0)


def matched(boxes: Any, scores: Any, faces: Any, ignored: Any, iou: float = 0.5, **rule: Any) -> list[int]:
    shaped = np.array(boxes, np.float32).reshape(-1, 4)
    found = match(
        shaped,
        np.array(scores, np.float64),
        np.array(faces, np.float32).reshape(-1, 4),
        np.array(ignored, bool),
        Rule(iou=iou, **rule),
    )
    return [int(index) for index in found]


def test_match() -> None:
    near_a = [0, 0, 10, 9]
    # The highest score takes the face, though the other overlaps it more; a second detection of a face is false.
    assert matched([A, near_a, FAR], [0.5, 0.9, 0.7], [A, B], [False, False]) == [FALSE, 0, FALSE]
    # With the first face taken, the second best overlap will do.
    assert matched([A, A], [0.9, 0.8], [A, near_a], [False, False]) == [0, 1]
    # Any number of detections on an ignored face count neither way; a face that counts comes first.
    assert matched([A, A, A], [0.9, 0.8, 0.7], [A], [True]) == [NEITHER] * 3
    assert matched([A, A], [0.9, 0.8], [A, near_a], [True, False]) == [1, NEITHER]
    # Of equal scores the first listed.
    assert matched([near_a, A], [0.5, 0.5], [A], [False]) == [0, FALSE]
    # An overlap of exactly that much is enough.
    assert matched([[0, 0, 10, 5]], [1], [A], [False], 0.5) == [0]
    assert matched([[0, 0, 10, 4.9]], [1], [A], [False], 0.5) == [FALSE]
    assert matched([], [], [A], [False]) == []
    assert matched([A], [1], [], []) == [FALSE]


def slow_match(found: PictureDetections, annotation: Annotation, iou: float) -> list[tuple[float, bool]]:
    """(score, true) of the detections that count, by plain loops."""

    def overlap(a: Any, b: Any) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        inner = max(width, 0) * max(height, 0)
        return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)

    boxes, faces = found.boxes.astype(float).tolist(), annotation.boxes.astype(float).tolist()
    taken: set[int] = set()
    result = []
    for i in sorted(range(len(boxes)), key=lambda i: -found.scores[i]):
        candidates = [
            (overlap(boxes[i], faces[j]), j)
            for j in range(len(faces))
            if j not in taken and not annotation.ignored[j] and overlap(boxes[i], faces[j]) >= iou
        ]
        if candidates:
            taken.add(max(candidates, key=lambda pair: (pair[0], -pair[1]))[1])
            result.append((float(found.scores[i]), True))
        elif not any(overlap(boxes[i], faces[j]) >= iou for j in range(len(faces)) if annotation.ignored[j]):
            result.append((float(found.scores[i]), False))
    return result


def slow_average_precision(counted: list[tuple[float, bool]], faces: int) -> float:
    """The area under the envelope as a sum over the faces found, of the best precision at that recall or beyond."""
    points = []
    for threshold in {score for score, _ in counted}:
        kept = [true for score, true in counted if score >= threshold]
        points.append((sum(kept) / faces, sum(kept) / len(kept)))
    return sum(
        max((precision for recall, precision in points if recall >= (k + 1) / faces - 1e-12), default=0) / faces
        for k in range(faces)
    )


def random_set(seed: int, coarse: bool) -> tuple[list[Annotation], list[PictureDetections]]:
    generator = np.random.default_rng(seed)

    def boxes(n: int) -> NDArray[np.float64]:
        corners = generator.uniform(0, 40, (n, 2))
        return np.concatenate([corners, corners + generator.uniform(5, 25, (n, 2))], axis=1)

    annotations, detections = [], []
    for i in range(20):
        faces = boxes(int(generator.integers(0, 8)))
        near = faces + generator.normal(0, 1.5, faces.shape)
        found = np.concatenate([near, near[::2] + 1, boxes(3)])
        scores = generator.uniform(0, 1, len(found)).round(1 if coarse else 9)
        annotations.append(labelled(f"{i}.jpg", faces.tolist(), generator.uniform(size=len(faces)) < 0.2))
        detections.append(detected(f"{i}.jpg", found.tolist(), scores.tolist()))
    return annotations, detections


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("coarse", [False, True])
def test_precision_recall_as_a_slow_one(seed: int, coarse: bool) -> None:
    annotations, detections = random_set(seed, coarse)
    for iou in (0.3, 0.5, 0.75):
        result = precision_recall(annotations, detections, iou)
        counted = [pair for a, d in zip(annotations, detections, strict=True) for pair in slow_match(d, a, iou)]
        faces = sum(int((~annotation.ignored).sum()) for annotation in annotations)
        true = sum(right for _, right in counted)
        assert result.faces == faces
        assert result.recall == pytest.approx(true / faces)
        assert result.precision == pytest.approx(true / len(counted))
        assert result.false_positives == len(counted) - true
        assert result.average_precision == pytest.approx(slow_average_precision(counted, faces))
        for budget in (0, 1, 5, 20, 10**6):
            best = 0.0
            for threshold in {score for score, _ in counted}:
                kept = [right for score, right in counted if score >= threshold]
                if len(kept) - sum(kept) <= budget:
                    best = max(best, sum(kept) / faces)
            assert result.recall_at(budget) == pytest.approx(best)


def test_precision_recall_by_hand() -> None:
    annotations = [labelled("a.jpg", [A, B]), labelled("b.jpg", [A, C], [False, True]), labelled("c.jpg", [A])]
    detections = [
        detected("a.jpg", [A, FAR, B], [0.9, 0.8, 0.6]),
        detected("b.jpg", [C, C, FAR], [0.95, 0.85, 0.5]),
        # Nothing of c.jpg.
    ]
    result = precision_recall(annotations, detections)
    assert result.faces == 4
    np.testing.assert_array_equal(result.scores, [0.9, 0.8, 0.6, 0.5])
    np.testing.assert_array_equal(result.found, [1, 1, 2, 2])
    np.testing.assert_array_equal(result.false, [0, 1, 1, 2])
    np.testing.assert_allclose(result.recalls, [0.25, 0.25, 0.5, 0.5])
    np.testing.assert_allclose(result.precisions, [1, 1 / 2, 2 / 3, 1 / 2])
    assert result.average_precision == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert [result.recall_at(n) for n in (0, 1, 9)] == [0.25, 0.5, 0.5]


def test_equal_scores_stand_or_fall_together() -> None:
    annotations = [labelled("a.jpg", [A])]
    for boxes in ([A, FAR], [FAR, A]):
        result = precision_recall(annotations, [detected("a.jpg", boxes, [0.5, 0.5])])
        assert result.average_precision == 0.5
        assert result.recall_at(0) == 0


def test_a_picture_that_has_lost_a_label() -> None:
    lost = dataclasses.replace(labelled("a.jpg", [A, C], [False, True]), complete=False)
    annotations = [lost, labelled("b.jpg", [A])]
    detections = [detected("a.jpg", [A, FAR, C], [0.9, 0.8, 0.7]), detected("b.jpg", [FAR], [0.6])]
    result = precision_recall(annotations, detections)
    # What is found beside the labels of the first may be the face whose label is lost.
    assert (result.faces, result.recall, result.false_positives, result.precision) == (2, 0.5, 1, 0.5)
    np.testing.assert_array_equal(result.scores, [0.9, 0.6])


def test_average_precision_is_under_the_envelope() -> None:
    precisions, recalls = np.array([0.5, 2 / 3, 0.5]), np.array([0.1, 0.4, 0.6])
    assert average_precision(precisions, recalls) == pytest.approx(0.4 * 2 / 3 + 0.2 * 0.5)
    assert average_precision(np.empty(0), np.empty(0)) == 0


def test_sets_with_nothing() -> None:
    without_faces: PrecisionRecall = precision_recall([labelled("a.jpg", [])], [detected("a.jpg", [A], [0.5])])
    assert (without_faces.faces, without_faces.false_positives, without_faces.precision) == (0, 1, 0)
    assert math.isnan(without_faces.recall)
    assert math.isnan(without_faces.average_precision)
    assert math.isnan(without_faces.recall_at(3))
    nothing_found = precision_recall([labelled("a.jpg", [A])], [])
    assert (nothing_found.recall, nothing_found.average_precision, nothing_found.false_positives) == (0, 0, 0)
    assert math.isnan(nothing_found.precision)
    for iou in (0, -1, 1.5, math.nan):
        with pytest.raises(ValueError, match="iou"):
            precision_recall([], [], iou)


def pairs_of(labels: Sequence[str], names: Sequence[str]) -> Any:
    """Of names: the pairs and the detections left over, sorted, or the error."""
    pairs = annotated_pairs([labelled(name, []) for name in labels], [detected(name, [], []) for name in names])
    try:
        found = sorted((annotation.name, "" if each is None else each.name) for annotation, each in pairs)
    except ValueError as error:
        return str(error)
    return found, pairs.without_detections, pairs.without_labels


def test_pairs_by_name() -> None:
    labels = ("e/a.jpg", "e/b.jpg", "c.jpg", "d.1.jpg", "c.jpg", "missing.jpg", "x", "f/x")
    names = ["c.jpg", "unknown.jpg", "e/a", "/some/e/b.jpg", "d.1", "x/c.jpg", "c.png", "c.jpg", "x.png", "f/x.jpg"]
    assert pairs_of(labels, names) == (
        [
            ("c.jpg", "c.jpg"),
            ("c.jpg", "c.jpg"),
            ("d.1.jpg", "d.1"),
            ("e/a.jpg", "e/a"),
            ("e/b.jpg", "/some/e/b.jpg"),
            ("f/x", "f/x.jpg"),
            ("missing.jpg", ""),
            ("x", "x.png"),
        ],
        1,
        3,
    )


AMBIGUOUS = [
    (["x.jpg"], ["a/x.jpg", "b/x.jpg"], "'x.jpg' is one labelled picture, .* 'a/x.jpg', 'b/x.jpg' can belong"),
    (["x.jpg"], ["a/x", "b/x.jpg", "c/x", "d/x"], r"'a/x', 'b/x.jpg', 'c/x', ... \(4 in all\) can belong"),
    (["x", "y"], ["x.jpg", "x.png"], "'x' is one labelled picture, .* 'x.jpg', 'x.png' can belong"),
    (["x.jpg", "a/x.jpg"], ["b/../a/x.jpg"], "'b/../a/x.jpg' of the detections can be each of .* 'a/x.jpg', 'x.jpg'"),
    (["x.jpg", "x.png"], ["x"], "'x' of the detections can be each of .* 'x.jpg', 'x.png'"),
    (["x.jpg", "y.jpg"], ["y.jpg", "x.jpg", "x.jpg"], "the detections have 'x.jpg' more often than it is labelled"),
    (["x.jpg", "y.jpg"], ["y.jpg", "a/x.jpg", "a/x.jpg"], "the detections have 'a/x.jpg' more often"),
]


@pytest.mark.parametrize(("labels", "names", "message"), AMBIGUOUS)
def test_what_can_be_several_is_an_error(labels: list[str], names: list[str], message: str) -> None:
    for order in itertools.permutations(labels):
        for other in itertools.permutations(names):
            assert re.search(message, pairs_of(order, other))


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["x.jpg"], ["a/x.jpg", "x.jpg"], [("x.jpg", "x.jpg")]),
        (["x.jpg", "a/x.jpg"], ["a/x.jpg", "x.jpg"], [("a/x.jpg", "a/x.jpg"), ("x.jpg", "x.jpg")]),
        (["x.jpg", "a/x.jpg"], ["a/x.jpg"], [("a/x.jpg", "a/x.jpg"), ("x.jpg", "")]),
        (["x.jpg"], ["a/x", "b/x", "x"], [("x.jpg", "x")]),
        (["x.jpg", "y.jpg"], ["a/x.jpg", "y"], [("x.jpg", "a/x.jpg"), ("y.jpg", "y")]),
        (["x.jpg", "x.jpg"], ["x.jpg", "a/x.jpg"], [("x.jpg", ""), ("x.jpg", "x.jpg")]),
    ],
)
def test_the_order_does_not_matter(labels: list[str], names: list[str], expected: list[tuple[str, str]]) -> None:
    for order in itertools.permutations(labels):
        for other in itertools.permutations(names):
            assert pairs_of(order, other)[0] == expected


NAMES = [
    "x",
    "x.jpg",
    "x.png",
    "a/x",
    "a/x.jpg",
    "b/x.jpg",
    "b/a/x.jpg",
    "y.jpg",
    "c/y",
    "y",
    "a/y.jpg",
    "x.jpg#page=1",
]


def test_any_names_in_any_order() -> None:
    """Against nothing but itself in another order."""
    generator = random.Random(0)
    errors = 0
    for _ in range(600):
        labels, names = (generator.choices(NAMES, k=generator.randint(1, 4)) for _ in range(2))
        first = pairs_of(labels, names)
        # Here the message has any name that is not known.
        first = first if isinstance(first, str) and "is annotated" not in first else first and None
        again = pairs_of(generator.sample(labels, len(labels)), generator.sample(names, len(names)))
        again = again if isinstance(again, str) and "is annotated" not in again else again and None
        assert first == again
        errors += first is not None
    assert errors > 40


def test_pairs_that_wait_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "_IN_MEMORY", 2**16)
    count = 5000

    def labels() -> Iterator[Annotation]:
        return (labelled(f"{i % 7}/{i}.jpg", [A]) for i in range(count))

    def found() -> Iterator[PictureDetections]:
        return (detected(f"/data/set/{i % 7}/{i}.jpg", [A], [0.5]) for i in range(count))

    peaks = []
    for _ in range(3):  # of which one may be caught in the middle of a collection of garbage
        tracemalloc.start()
        try:
            result = precision_recall(labels(), found())
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert (result.faces, result.recall, result.false_positives) == (count, 1, 0)
    # The pairs alone, as arrays of NumPy, would be 8 MB.
    assert min(peaks) < 2**21 + 200 * count


def test_pairs_read_no_further_than_they_must() -> None:
    read = []

    def detections() -> Any:
        for name in ("a.jpg", "b.jpg"):
            read.append(name)
            yield detected(name, [], [])

    pairs = iter(annotated_pairs([labelled("a.jpg", []), labelled("b.jpg", [])], detections()))
    next(pairs)
    assert read == ["a.jpg"]


def test_detections_of_other_pictures() -> None:
    with pytest.raises(ValueError, match=r"'x\.jpg' is not; .* such as 'a\.jpg'"):
        precision_recall([labelled("a.jpg", [A])], [detected("x.jpg", [], [])])


# Eyes 4 apart in a box of 10 x 10.
POINTS = [[3, 3], [7, 3], [5, 5], [3, 8], [7, 8]]


def moved(points: Any, x: float, y: float = 0) -> Any:
    return np.add(points, [x, y]).tolist()


def test_landmark_error_by_hand() -> None:
    annotations = [
        labelled("a.jpg", [A, B, FAR], None, [POINTS, moved(POINTS, 20), moved(POINTS, 80, 80)]),
        labelled("b.jpg", [A, B], [False, True], [POINTS, moved(POINTS, 20)]),
        # Unlabelled landmarks count neither way.
        labelled("c.jpg", [A]),
    ]
    detections = [
        # Off by (0.3, 0.4): 0.5 pixels. And off by 0, 0, 0, 0 and 2 pixels.
        detected("a.jpg", [A, B], [0.9, 0.8], [moved(POINTS, 0.3, 0.4), [*moved(POINTS[:4], 20), [29, 8]]]),
        detected("b.jpg", [A, B], [0.9, 0.8], [moved(POINTS, 3), moved(POINTS, 90)]),
        detected("c.jpg", [A], [0.9], [POINTS]),
    ]
    result = landmark_error(annotations, detections)
    assert (result.normalisation, result.iou, result.faces) == (INTER_OCULAR, 0.4, 4)
    np.testing.assert_allclose(result.errors, [0.1, 0.125, 0.75], rtol=1e-5)
    assert result.found_share == 0.75
    assert result.nme == pytest.approx((0.1 + 0.125 + 0.75) / 3, rel=1e-5)
    assert result.failure_rate(0.11) == pytest.approx(2 / 3)
    assert result.failure_rate(0.11, missed=True) == pytest.approx(3 / 4)
    limits = np.array([0.05, 0.11, 0.2, 1])
    np.testing.assert_allclose(result.cumulative(limits), [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(result.cumulative(limits, missed=True), [0, 1 / 4, 1 / 2, 3 / 4])

    by_box = landmark_error(annotations, detections, BOX)
    np.testing.assert_allclose(by_box.errors, [0.04, 0.05, 0.3], rtol=1e-5)
    assert by_box.failure_rate() == pytest.approx(1 / 3)


def test_area_is_the_integral_of_the_distribution() -> None:
    errors = np.sort(np.random.default_rng(0).exponential(0.05, 1000))
    result = LandmarkErrors(INTER_OCULAR, 0.4, 1250, errors)
    middles = (np.arange(100_000) + 0.5) / 100_000 * 0.1
    for missed in (False, True):
        assert result.area(0.1, missed) == pytest.approx(result.cumulative(middles, missed).mean(), abs=1e-6)
    assert result.area(0.1, missed=True) == pytest.approx(0.8 * result.area(0.1))


def test_landmarks_that_are_partly_known() -> None:
    partly = [*POINTS[:4], [math.nan, math.nan]]
    one_eye = [[math.nan, math.nan], *POINTS[1:]]
    annotations = [labelled("a.jpg", [A, B], None, [partly, moved(one_eye, 20)])]
    detections = [detected("a.jpg", [A, B], [0.9, 0.8], [moved(POINTS, 1), moved(POINTS, 21)])]
    # Without an eye there is no distance of the eyes.
    faces = landmark_error(annotations, detections)
    assert faces.faces == 1
    np.testing.assert_allclose(faces.errors, [0.25])
    np.testing.assert_allclose(landmark_error(annotations, detections, BOX).errors, [0.1, 0.1])
    # A detection without landmarks finds none.
    without = landmark_error(annotations, [detected("a.jpg", [A, B], [0.9, 0.8])], BOX)
    assert (without.faces, without.found_share, len(without.errors)) == (2, 0, 0)
    assert math.isnan(without.nme)


def test_landmark_error_of_nothing() -> None:
    result = landmark_error([labelled("a.jpg", [A])], [])
    assert result.faces == 0
    assert all(map(math.isnan, (result.found_share, result.nme, result.failure_rate(), result.area())))
    # Eyes in one place have no distance to divide by.
    assert landmark_error([labelled("a.jpg", [A], None, [[[5, 5]] * 5])], []).faces == 0
    with pytest.raises(ValueError, match="'pupils'"):
        landmark_error([], [], "pupils")


def evaluate(name: str, *arguments: object) -> int:
    return main(["evaluate", name, *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Detections and annotations of two pictures."""
    row = "10 50 10 50 20 20 40 20 30 30 22 40 38 40"
    (tmp_path / "list.txt").write_text(f"a.jpg {row}\nb.jpg {row}\n1 2 3\n")
    points = dict(zip(LANDMARKS, [[20, 21], [40, 21], [30, 31], [22, 41], [38, 41]], strict=True))
    face = {"box": [10, 10, 50, 50], "score": 0.9, "landmarks": points}
    false = {"box": [70, 70, 90, 90], "score": 0.95, "landmarks": points}
    lines = [{"path": "a.jpg", "faces": [face, false]}, {"path": "b.jpg", "faces": []}]
    (tmp_path / "found.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "found.jsonl", tmp_path / "list.txt"


def test_command_faces(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    found, annotations = files
    options = ("--annotations", annotations, "--iou", 0.5, 0.9, "--near-iou", 0.01, "--false-positives", 0, 5)
    outputs = ("--json", tmp_path / "figures.json", "--plot", tmp_path / "curves.png")
    assert evaluate("faces", found, *options, *outputs) == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["2", "pictures"]
    assert rows[1:3] == [
        ["IoU", "faces", "recall", "precision", "false", "AP"],
        ["0.5", "2", "0.5000", "0.5000", "1", "0.2500"],
    ]
    assert rows[5:11] == [
        ["recall", "at", "numbers", "of", "false", "positives,", "IoU", "0.5"],
        ["shorter", "side", "faces", "0", "5", "any"],
        ["all", "2", "0.0000", "0.5000", "0.5000"],
        ["95%", "from", "0.0000", "0.0000", "0.0000"],
        ["to", "0.0000", "1.0000", "1.0000"],
        ["40", "to", "60", "2", "0.0000", "0.5000", "0.5000"],
    ]
    assert "list.txt:3: " in err
    assert "1 entries of the annotations could not be used" in err
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [entry["iou"] for entry in figures] == [0.5, 0.9]
    assert figures[0]["recall_at_false_positives"] == {"0": 0.0, "5": 0.5}
    assert figures[0]["recall_intervals_at_false_positives"] == {"0": [0, 0], "5": [0, 1]}
    assert figures[0]["recall_interval"] == [0, 1]
    assert figures[0]["sizes"] == [
        {"least": 40, "below": 60, "faces": 2, "recall": 0.5, "recall_at_false_positives": {"0": 0, "5": 0.5}}
    ]
    assert evaluate("faces", found, "--annotations", annotations, "--smallest-face", 90, "--false-positives") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["0.5", "0", "nan", "0.0000", "1", "nan"]
    ]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_command_landmarks(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    found, annotations = files
    outputs = ("--json", tmp_path / "figures.json", "--plot", tmp_path / "errors.png")
    assert evaluate("landmarks", found, "--annotations", annotations, *outputs) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["faces", "NME", "errors", ">", "0.1", "area"],
        ["found", "1", "0.0500", "0.0000", "0.5000"],
        ["labelled", "2", "-", "0.5000", "0.2500"],
    ]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["found"] == 0.5
    assert figures["nme"] == pytest.approx(0.05)
    assert (tmp_path / "errors.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["faces", "landmarks"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--iou", "0"], "iou is 0"),
        (["--annotations", "missing.txt"], "missing.txt"),
        (["--format", "voc"], "has no"),
        (["--only", "missing.txt"], "missing.txt"),
        (["--json", "missing/figures.json"], "no folder"),
        (["--plot", "missing/plot.png"], "no folder"),
        (["--json", ""], "argument --json: it is empty; wanted a path"),
        (["--plot", ""], "argument --plot: it is empty; wanted a path"),
        (["--only", ""], "argument --only: it is empty; wanted a path"),
        (["--images", ""], "argument --images: it is empty; wanted a path"),
        (["--annotations", ""], "argument --annotations: it is empty; wanted a path"),
        (["--coco-images", ""], "argument --coco-images: it is empty; wanted a path"),
        (["--json", "same", "--plot", "same"], "--json and --plot are both same"),
    ],
)
def test_bad_options(
    files: tuple[Path, Path],
    name: str,
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, annotations = files
    monkeypatch.chdir(found.parent)
    with pytest.raises(SystemExit) as exited:
        evaluate(name, found, "--annotations", annotations, *options)
    assert exited.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in found.parent.iterdir()) == ["found.jsonl", "list.txt"]


@pytest.mark.parametrize("name", ["faces", "landmarks"])
@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_what_is_read_is_not_replaced(
    files: tuple[Path, Path], name: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, annotations = files
    only = tmp_path / "only.txt"
    only.write_text("a.jpg\nb.jpg\n")
    (tmp_path / "link").symlink_to(found)
    before = {path: path.read_bytes() for path in (found, annotations, only)}
    for target in (found, annotations, only, tmp_path / "link"):
        with pytest.raises(SystemExit) as exited:
            evaluate(name, found, "--annotations", annotations, "--only", only, option, target)
        assert exited.value.code == 2
        assert "it is not replaced" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["faces", "landmarks"])
def test_one_output_that_fails_costs_no_other(
    files: tuple[Path, Path],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    found, annotations = files
    figures, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    arguments = (name, found, "--annotations", annotations)
    for refused in ("--json", "--plot"):
        outputs = {"--json": figures, "--plot": plot, refused: Path("/dev/full")}
        assert evaluate(*arguments, *itertools.chain.from_iterable(outputs.items())) == 1
        out, err = capsys.readouterr()
        assert err.splitlines()[-1] == "/dev/full: No space left on device"
        assert "faces" in out
    assert json.loads(figures.read_text())
    assert plot.read_bytes()[:4] == b"\x89PNG"

    kept = plot.read_bytes()

    def fail(*_: object) -> None:
        raise RuntimeError("no font\nat all")

    for drawn in ("precision_recall", "cumulative_errors"):
        monkeypatch.setattr(plots, drawn, fail)
    figures.unlink()
    assert evaluate(*arguments, "--json", figures, "--plot", plot) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == f"{plot}: no font at all"
    assert "faces" in out
    assert json.loads(figures.read_text())
    assert plot.read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "found.jsonl", "list.txt", "plot.png"]


@pytest.mark.parametrize("name", ["faces", "landmarks"])
def test_a_stdout_that_is_full(files: tuple[Path, Path], name: str, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    found, annotations = files
    command = [sys.executable, "-m", "mtcnn_fast", "evaluate", name, found, "--annotations", annotations]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*command, "--json", tmp_path / "figures.json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "stdout: No space left on device"
    assert json.loads((tmp_path / "figures.json").read_text())


def test_json_has_no_infinities(tmp_path: Path) -> None:
    write_json(tmp_path / "figures.json", {"a": [math.nan, math.inf, (-math.inf, 1.5, None, "NaN")], "b": True})
    assert json.loads((tmp_path / "figures.json").read_text(), parse_constant=pytest.fail) == {
        "a": [None, None, [None, 1.5, None, "NaN"]],
        "b": True,
    }


@pytest.mark.parametrize("name", ["faces", "landmarks"])
@pytest.mark.parametrize("content", [b"{}", b"\x00\xffnoise\n\x80\n", b'{"faces": 1}\n{"path": 2}'])
def test_detections_of_which_nothing_can_be_used(
    files: tuple[Path, Path], name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    found, annotations = files
    found.write_bytes(content)
    with pytest.raises(SystemExit) as exited:
        evaluate(name, found, "--annotations", annotations)
    assert exited.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{found} has no detections that can be used: {found}:1: " in line


@pytest.mark.parametrize("name", ["faces", "landmarks"])
def test_names_that_can_be_several(files: tuple[Path, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, annotations = files
    lines = found.read_text().splitlines()
    lines += [line.replace("a.jpg", "x/c.jpg") for line in lines[:1]] + [lines[0].replace("a.jpg", "y/c.jpg")]
    with annotations.open("a") as file:
        file.write(f"c.jpg {'10 50 10 50 20 20 40 20 30 30 22 40 38 40'}\n")
    told = set()
    for order in itertools.permutations(lines):
        found.write_text("\n".join(order))
        with pytest.raises(SystemExit) as exited:
            evaluate(name, found, "--annotations", annotations)
        assert exited.value.code == 2
        told.add(capsys.readouterr().err)
    (message,) = told
    assert "'c.jpg' is one labelled picture, to which the detections of each of 'x/c.jpg', 'y/c.jpg'" in message


def test_pictures_that_have_lost_a_label(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found, annotations = files
    annotations.write_text("a.jpg\n2\n10 10 40 40\n1 2 three 4\nb.jpg\n1\n10 10 40 40\n")
    assert evaluate("faces", found, "--annotations", annotations) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2].split() == ["0.5", "2", "0.5000", "1.0000", "0", "0.5000"]
    assert "1 pictures have lost a label" in err


def test_help_has_each_default_once(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("faces", "landmarks", "wider", "fddb", "table"):
        with pytest.raises(SystemExit):
            evaluate(name, "--help")
        text = " ".join(capsys.readouterr().out.split())
        assert "None" not in text
        for option in re.split(r" (?=--)", text):
            assert option.count("(default:") <= 1
