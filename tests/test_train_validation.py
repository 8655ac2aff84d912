"""Recall at a number of false positives on whole pictures, against a slow formulation and hand-made cases."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conftest import load
from mtcnn_fast import MTCNN, Detections
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.train.validation import Recall, ValidationPicture, judge, measure_recall, pictures_digest

STAGES = ("pnet", "rnet", "onet")
FOLLOWING = {"pnet": "rnet", "rnet": "onet"}

Floats = NDArray[np.float32]
Found = tuple[Floats, Floats]
MakePicture = Callable[..., ValidationPicture]


class Finder:
    """In place of a detector: gives for the n-th picture, which is n + 1 pixels wide, the n-th windows and scores."""

    def __init__(self, *found: Found | Exception) -> None:
        self._found = found
        self.asked: list[str] = []

    def windows(self, image: NDArray[np.uint8], network: str) -> Found:
        self.asked.append(network)
        found = self._found[image.shape[1] - 1]
        if isinstance(found, Exception):
            raise found
        return found

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        boxes, scores = self.windows(image, "detections")
        return Detections(boxes, scores, np.zeros((len(boxes), 5, 2), np.float32))


def finder(*found: Found | Exception) -> MTCNN:
    return cast(MTCNN, Finder(*found))


def windows(*rows: Sequence[float]) -> Found:
    """Of x1, y1, x2, y2, score."""
    array = np.array(rows, np.float32).reshape(-1, 5)
    return array[:, :4].copy(), array[:, 4].copy()


@pytest.fixture
def picture(tmp_path: Path) -> MakePicture:
    """Makes the next picture, with the boxes given; those of `ignored` are ignored."""
    made = 0

    def make(*boxes: Sequence[float], ignored: Sequence[Sequence[float]] = (), **options: Any) -> ValidationPicture:
        nonlocal made
        made += 1
        path = tmp_path / f"{made}.png"
        Image.fromarray(np.zeros((2, made, 3), np.uint8)).save(path)
        every = np.array([*boxes, *ignored], np.float32).reshape(-1, 4)
        flags = np.arange(len(every)) >= len(boxes)
        landmarks = np.full((len(every), 5, 2), np.nan, np.float32)
        return ValidationPicture(Annotation(path.name, path, every, landmarks, flags), **options)

    return make


def recall(detector: MTCNN, known: Sequence[ValidationPicture], false_positives: float, stage: str = "pnet") -> Recall:
    problems = Problems()
    result = measure_recall(detector, stage, known, false_positives, problems)
    assert list(problems) == []
    return result


def shared(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def slowly(known: Sequence[ValidationPicture], found: Sequence[Found], false_positives: float) -> tuple[float, float]:
    """Recall and false positives per picture at the lowest threshold that leaves few enough, tried one by one."""
    complete = sum(picture.complete for picture in known)

    def at(threshold: float) -> tuple[int, int, int]:
        hit = faces = false = 0
        for picture, (boxes, scores) in zip(known, found, strict=True):
            real, ignored = [], []
            for box, flag in zip(picture.annotation.boxes.tolist(), picture.annotation.ignored, strict=True):
                width, height = box[2] - box[0], box[3] - box[1]
                left, top, right, bottom = picture.expand
                moved = (
                    box[0] - left * width,
                    box[1] - top * height,
                    box[2] + right * width,
                    box[3] + bottom * height,
                )
                (ignored if flag else real).append(moved)
            above = [box for box, score in zip(boxes.tolist(), scores, strict=True) if score > threshold]
            faces += len(real)
            for face in real:
                hit += any(shared(b, face) / (area(b) + area(face) - shared(b, face)) >= 0.5 for b in above)
            if picture.complete:
                for b in above:
                    near = any(shared(b, face) / (area(b) + area(face) - shared(b, face)) >= 0.5 for face in real)
                    spared = any(shared(b, crowd) / area(b) >= 0.5 for crowd in ignored)
                    false += not near and not spared
        return hit, faces, false

    candidates = sorted({0.0, *(float(score) for _, scores in found for score in scores)})
    hit, faces, false = next(
        result for result in map(at, candidates) if result[2] <= round(false_positives * complete, 6)
    )
    return hit / faces, false / complete


def test_a_face_in_a_wrong_place_is_false_and_no_background(picture: MakePicture) -> None:
    known = [picture((0, 0, 20, 20), ignored=[(60, 0, 80, 20)]), picture((0, 0, 20, 20), complete=False)]
    found = windows(
        (0, 0, 20, 20, 0.9),
        (0, 10, 20, 30, 0.8),  # an IoU of 1/3
        (0, 15, 20, 35, 0.7),  # 1/7
        (60, 10, 80, 28, 0.6),  # of an ignored face, 10 / 28
        (60, 14, 80, 34, 0.5),  # 6 / 34
        (100, 0, 120, 20, 0.4),
    )
    judged = judge(finder(found, found), "pnet", known, Problems())
    np.testing.assert_array_equal(judged.of_false, np.array([0.8, 0.7, 0.5, 0.4], np.float32))
    np.testing.assert_array_equal(judged.of_background, np.array([0.7, 0.5, 0.4], np.float32))
    assert judged.complete == 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("false_positives", [0.2, 1, 2.5, 100])
def test_the_slow_formulation_agrees(
    seed: int, false_positives: float, picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> Floats:
        corners, sides = rng.integers(0, 40, (n, 2)), rng.integers(8, 30, (n, 2))
        return np.hstack([corners, corners + sides]).astype(np.float32)

    known, found = [], []
    for i in range(6):
        faces, crowds = boxes(rng.integers(1, 4)), boxes(rng.integers(0, 3))
        expand = (0.1, 0.2, -0.1, 0.0) if i % 2 else (0.0,) * 4
        known.append(picture(*faces, ignored=crowds, complete=i != 3, expand=expand))
        about = np.repeat(np.vstack([faces, crowds]), 4, 0)
        about += rng.integers(-3, 4, about.shape)
        every = np.vstack([about, boxes(6)])
        # Few values, so that many are equal.
        found.append((every, (rng.integers(1, 10, len(every)) / 10).astype(np.float32)))
    expected = slowly(known, found, false_positives)
    # Compared a few at a time as well as all at once.
    for pairs in (1 << 20, 7):
        monkeypatch.setattr("mtcnn_fast.boxes._PAIRS", pairs)
        result = recall(finder(*found), known, false_positives)
        assert (result.recall, result.false_positives) == pytest.approx(expected)


def test_a_case_by_hand(picture: MakePicture) -> None:
    known = [picture((0, 0, 10, 10), (20, 0, 30, 10)), picture((0, 0, 10, 10))]
    found = (
        windows((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.8), (20, 0, 30, 10, 0.7), (70, 70, 80, 80, 0.6)),
        windows((0, 0, 10, 5, 0.5), (90, 90, 99, 99, 0.4)),  # the first has an IoU of exactly 0.5
    )
    for false_positives, wanted in (
        (0, (1 / 3, 0.8, 0.0)),
        (0.5, (2 / 3, 0.6, 0.5)),
        (0.99, (2 / 3, 0.6, 0.5)),
        (1, (1, 0.4, 1.0)),
        (1.5, (1, 0, 1.5)),
        (9, (1, 0, 1.5)),  # there are fewer false positives than allowed
    ):
        result = recall(finder(*found), known, false_positives)
        assert (result.recall, result.threshold, result.false_positives) == pytest.approx(wanted)


def test_equal_scores_go_together(picture: MakePicture) -> None:
    found = windows((0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.5), (70, 70, 80, 80, 0.5))
    # One false positive is allowed, and at 0.5 there would be two.
    assert recall(finder(found), [picture((0, 0, 10, 10))], 1) == Recall(0, 0.5, 0)


def test_the_number_allowed_is_exact(picture: MakePicture) -> None:
    known = [picture((0, 0, 10, 10)) for _ in range(100)]
    found = [windows((0, 0, 10, 10, 0.9), (50, 50, 60, 60, (i + 1) / 200)) for i in range(100)]
    assert 0.29 * 100 < 29
    assert recall(finder(*found), known, 0.29).false_positives == 0.29


def test_ignored_faces_are_neither_to_be_found_nor_false(picture: MakePicture) -> None:
    known = [picture((0, 0, 10, 10), ignored=[(40, 40, 60, 60)])]
    on_it, inside, half, less = (
        (40, 40, 60, 60, 0.9),
        (45, 45, 50, 50, 0.9),
        (50, 40, 70, 60, 0.9),
        (51, 40, 71, 60, 0.9),
    )
    face = (0, 0, 10, 10, 0.5)
    assert recall(finder(windows(on_it, inside, half, face)), known, 0) == Recall(1, 0, 0)
    assert recall(finder(windows(less, face)), known, 0).recall == 0
    assert recall(finder(windows(on_it)), known, 0).recall == 0
    only = [picture(ignored=[(0, 0, 10, 10)])]
    assert math.isnan(recall(finder(windows(), windows((0, 0, 10, 10, 0.5))), only, 0).recall)


def test_a_window_without_area_is_false(picture: MakePicture) -> None:
    for ignored in ([], [(0, 0, 90, 90)]):
        known = [picture((0, 0, 10, 10), ignored=ignored)]
        found = [windows()] * (known[0].annotation.path.stem == "2") + [windows((50, 50, 50, 60, 0.9))]
        assert recall(finder(*found), known, 5).false_positives == 1


def test_incomplete_pictures_have_faces_but_nothing_false(picture: MakePicture) -> None:
    known = [picture((0, 0, 10, 10), complete=False), picture((0, 0, 10, 10))]
    found = (
        windows((0, 0, 10, 10, 0.5), *[(50, 50, 60, 60, 0.9)] * 9),
        windows((0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.4)),
    )
    result = recall(finder(*found), known, 1)
    assert (result.recall, result.threshold, result.false_positives) == (1, 0, 1)
    result = recall(finder(found[0]), known[:1], 1)
    assert (result.recall, result.threshold) == (1, 0)
    assert math.isnan(result.false_positives)


def test_a_picture_that_has_lost_a_label_has_nothing_false(picture: MakePicture) -> None:
    whole = picture((0, 0, 10, 10))
    lost = replace(whole, annotation=replace(whole.annotation, complete=False))
    assert (whole.complete, lost.complete) == (True, False)
    assert pictures_digest([lost]) == pictures_digest([replace(whole, complete=False)])
    result = recall(finder(windows((0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.9))), [lost], 0)
    assert result.recall == 1
    assert math.isnan(result.false_positives)


def test_boxes_are_expanded(picture: MakePicture) -> None:
    # 10 x 10 becomes 20 x 20.
    moved = picture((10, 10, 20, 20), expand=(0.2, 0.3, 0.8, 0.7))
    np.testing.assert_allclose(moved.boxes, [(8, 7, 28, 27)])
    found = windows((8, 7, 28, 27, 0.9), (10, 10, 20, 20, 0.5))
    assert recall(finder(found), [moved], 0) == Recall(1, 0.5, 0)


def test_pictures_that_cannot_be_used(picture: MakePicture, tmp_path: Path) -> None:
    known = [picture((0, 0, 10, 10)) for _ in range(6)]
    known[0].annotation.path.unlink()
    known[1].annotation.path.write_bytes(b"no picture")
    found = windows((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.8))
    problems = Problems()
    detector = finder(found, found, ValueError("image is too large"), found, MemoryError(), RuntimeError("no\nluck"))
    # What they lack counts in nothing: not among the faces, nor among the pictures.
    assert measure_recall(detector, "pnet", known, 1, problems) == Recall(1, 0, 1)
    listed = list(problems)
    assert problems.count == 5
    assert listed[0] == f"{tmp_path / '1.png'}: No such file or directory"
    assert listed[1].startswith(f"{tmp_path / '2.png'}: not a picture")
    assert listed[2] == f"{tmp_path / '3.png'}: image is too large"
    assert listed[3] == f"{tmp_path / '5.png'}: not enough memory"
    assert listed[4] == f"{tmp_path / '6.png'}: no luck"


def test_damaged_pictures_are_not_measured(picture: MakePicture) -> None:
    pytest.importorskip("simplejpeg")
    known = [picture((0, 0, 10, 10)) for _ in range(2)]
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)).save(content, "jpeg")
    known[0].annotation.path.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    problems = Problems()
    found = windows((0, 0, 10, 10, 0.9))
    assert measure_recall(finder(found, found), "pnet", known, 1, problems) == Recall(1, 0, 0)
    (line,) = problems
    assert line.startswith(f"{known[0].annotation.path}: damaged: ")


def test_nothing_to_measure(picture: MakePicture) -> None:
    for known in ([], [picture()]):
        found = windows((0, 0, 10, 10, 0.9))
        result = recall(finder(found), known, 1)
        assert math.isnan(result.recall)
        assert math.isnan(result.false_positives) == (not known)
    assert recall(finder(windows(), windows()), [picture((0, 0, 10, 10))], 1) == Recall(0, 0, 0)


def test_each_stage_asks_for_its_own_windows(picture: MakePicture) -> None:
    known = [picture((0, 0, 10, 10))]
    detector = Finder(windows((0, 0, 10, 10, 0.9)))
    for stage in STAGES:
        assert recall(cast(MTCNN, detector), known, 1, stage).recall == 1
    assert detector.asked == ["rnet", "onet", "detections"]
    with pytest.raises(ValueError, match="stage is 'qnet'; wanted one of pnet, rnet, onet"):
        recall(cast(MTCNN, detector), known, 1, "qnet")


@pytest.mark.parametrize("stage", STAGES)
def test_the_embedded_networks(stage: str, astronaut_path: Path) -> None:
    detector = MTCNN(device="cpu", min_face_size=40, thresholds=(0.1, 0.1, 0.1), num_threads=1)
    image = load(astronaut_path)
    face = detector.detect(image)[0].box
    labelled = np.array([face, face + 300], np.float32)  # and one where there is none
    landmarks = np.full((2, 5, 2), np.nan, np.float32)
    known = [ValidationPicture(Annotation("astronaut", astronaut_path, labelled, landmarks, np.zeros(2, np.bool_)))]
    if stage == "onet":
        faces = detector.detect(image)
        found = (faces.boxes, faces.scores)
    else:
        found = detector.windows(image, FOLLOWING[stage])
    for false_positives in (0, 1, 3, 10**6):
        result = recall(detector, known, false_positives, stage)
        assert (result.recall, result.false_positives) == slowly(known, [found], false_positives)
    assert result.recall == 0.5
    assert result.false_positives > 1


def test_digest(picture: MakePicture) -> None:
    one = picture((0, 0, 10, 10), ignored=[(40, 40, 60, 60)])
    known = one.annotation
    moved = replace(one, annotation=replace(known, path=Path("elsewhere") / known.name))
    assert pictures_digest([one]) == pictures_digest([moved])
    others = [
        replace(one, complete=False),
        replace(one, expand=(0, 0, 0, 0.1)),
        replace(one, annotation=replace(known, name="other")),
        replace(one, annotation=replace(known, boxes=known.boxes + 1)),
        replace(one, annotation=replace(known, ignored=~known.ignored)),
    ]
    assert len({pictures_digest(pictures) for pictures in ([], [one], [one, one], *([other] for other in others))}) == 8
