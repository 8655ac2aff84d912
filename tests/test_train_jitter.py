"""Windows moved, zoomed and rotated, and shrunken copies of pictures: samples and their targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn_fast.datasets import Annotation
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.train.generate import generate
from mtcnn_fast.train.jitter import jittered, rotated_boxes, rotated_faces
from mtcnn_fast.train.rotate import rotation
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import LANDMARK, NEGATIVE, PART, POSITIVE, OtherSamplesError, SampleStore
from mtcnn_fast.train.windows import LabelledFaces, Recipe, Windows, draw, label

FACES = np.array([[60, 50, 140, 150], [270, 150, 360, 250.0]])
SIZE = 48


def labelled(recipe: Recipe, boxes: Any = FACES, ignored: Any = None, complete: bool = True) -> LabelledFaces:
    flags = np.zeros(len(boxes), np.bool_) if ignored is None else np.array(ignored)
    return LabelledFaces.of(boxes, np.full((len(boxes), 5, 2), np.nan), flags, recipe, complete=complete)


@pytest.fixture
def ellipses(tmp_path: Path) -> Annotation:
    """A picture with a white ellipse in the place of each face."""
    y, x = np.mgrid[:300, :400] + 0.5
    white = np.zeros((300, 400), np.bool_)
    for x1, y1, x2, y2 in FACES:
        white |= ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 < 0.25
    path = tmp_path / "ellipses.png"
    Image.fromarray(np.repeat(white[..., None] * np.uint8(255), 3, 2)).save(path)
    landmarks = np.full((2, 5, 2), np.nan, np.float32)
    return Annotation(path.name, path, FACES.astype(np.float32), landmarks, np.zeros(2, np.bool_))


def offset_from_white(store: SampleStore, index: int) -> float:
    """The most, in pixels of the crop, by which a box differs from the bounds of what is white in the crop; NaN for a
    face that the crop cuts."""
    sample = store.batch(np.array([index]))
    x1, y1, x2, y2 = np.array([0, 0, SIZE, SIZE]) + sample.boxes[0] * SIZE
    if min(x1, y1) < 0 or max(x2, y2) > SIZE:
        return np.nan
    white = sample.images[0, :, :, 0] > 127
    columns, rows = (np.flatnonzero(white.any(axis)) for axis in (0, 1))
    return float(np.abs([x1 - columns[0], y1 - rows[0], x2 - columns[-1] - 1, y2 - rows[-1] - 1]).max())


@pytest.mark.parametrize("degrees", [0, 13, -20, 45, 90])
def test_the_box_of_a_turned_ellipse(degrees: float) -> None:
    pivot = np.array([30.0, 80])
    found = rotated_boxes(FACES, pivot, degrees)
    matrix = rotation(pivot, degrees)
    angles = np.linspace(0, 2 * np.pi, 3601)
    for (x1, y1, x2, y2), box in zip(FACES, found, strict=True):
        outline = np.stack([x1 + x2 + (x2 - x1) * np.cos(angles), y1 + y2 + (y2 - y1) * np.sin(angles)], 1) / 2
        turned = outline @ matrix[:, :2].T + matrix[:, 2]
        np.testing.assert_allclose(box, [*turned.min(0), *turned.max(0)], atol=1e-3)
    corners = np.array([[[x, y] for x in (x1, x2) for y in (y1, y2)] for x1, y1, x2, y2 in FACES])
    turned = corners @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(
        rotated_boxes(FACES, pivot, degrees, corners=True), np.hstack([turned.min(1), turned.max(1)]), atol=1e-9
    )


def test_ignored_faces_of_a_rotated_picture_lose_no_corner() -> None:
    faces = labelled(Recipe(), ignored=[False, True])
    pivot = np.array([100.0, 100])
    turned = rotated_faces(faces, pivot, 15)
    np.testing.assert_array_equal(turned.boxes[0], rotated_boxes(FACES, pivot, 15)[0])
    np.testing.assert_array_equal(turned.boxes[1], rotated_boxes(FACES, pivot, 15, corners=True)[1])
    np.testing.assert_array_equal(turned.compared, turned.boxes)


def test_narrow_faces_of_a_rotated_picture_are_compared_as_squares() -> None:
    faces = labelled(Recipe(), np.array([[50, 50, 80, 150.0]]))
    turned = rotated_faces(faces, np.zeros(2), 10)
    sides = turned.compared[:, 2:] - turned.compared[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1])
    np.testing.assert_allclose(sides[:, 0], (turned.boxes[:, 2:] - turned.boxes[:, :2]).max(1))


RECIPE = Recipe(background=30, near=5, about=20, jittered=(1, 3, 2), max_angle=20, outside=True)


def copies(recipe: Recipe, seed: int = 0, complete: bool = True) -> tuple[Windows, Windows, LabelledFaces]:
    faces = labelled(recipe, complete=complete)
    windows = draw(faces, 300, 400, recipe, np.random.default_rng(5))
    return windows, jittered(windows, faces, 300, 400, recipe, np.random.default_rng(seed)), faces


@pytest.mark.parametrize("complete", [True, False])
def test_copies_are_what_their_overlap_makes_of_them(complete: bool) -> None:
    windows, found, faces = copies(RECIPE, complete=complete)
    most = sum(n * (windows.kinds == kind).sum() for kind, n in ((NEGATIVE, 1), (POSITIVE, 3), (PART, 2)))
    assert 0.7 * most < len(found.boxes) <= most
    assert set(found.kinds) == {NEGATIVE, POSITIVE, PART}
    for i in range(len(found.boxes)):
        kind, face = label(found.boxes[i : i + 1], rotated_faces(faces, found.pivots[i], found.angles[i]))
        assert (kind, face) == (found.kinds[i], found.faces[i])


def test_copies_stay_within_their_ranges() -> None:
    windows = Windows.upright(
        np.tile([[100.0, 100, 200, 200]], (2000, 1)), np.full(2000, NEGATIVE, np.int8), np.zeros(2000, np.int64)
    )
    recipe = replace(RECIPE, jittered=(1, 0, 0), max_shift=0.1, max_zoom=1.5, max_angle=12)
    faces = labelled(recipe, np.empty((0, 4)))
    found = jittered(windows, faces, 300, 400, recipe, np.random.default_rng(0))
    assert len(found.boxes) == 2000
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    assert (sides[:, 0] == sides[:, 1]).all()
    assert (found.boxes == np.rint(found.boxes)).all()
    assert 66 <= sides.min() < 69 < 145 < sides.max() <= 151
    shifts = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - 150
    assert 9.5 < np.abs(shifts).max() <= 11  # rounded to whole pixels
    assert 11.9 < np.abs(found.angles).max() <= 12
    assert (found.pivots == 150).all()


def test_copies_of_what_no_copies_are_wanted() -> None:
    recipe = replace(RECIPE, jittered=(0, 0, 0), landmarks=5)
    assert len(copies(recipe)[1].boxes) == 0
    landmark = Windows.upright(FACES[:1], np.array([LANDMARK], np.int8), np.zeros(1, np.int64))
    faces = labelled(RECIPE)
    assert len(jittered(landmark, faces, 300, 400, RECIPE, np.random.default_rng(0)).boxes) == 0


def test_copies_stay_in_the_picture_if_they_must() -> None:
    boxes = copies(replace(RECIPE, outside=False))[1].boxes
    assert len(boxes) > 50
    assert (boxes >= 0).all()
    assert (boxes <= (400, 300, 400, 300)).all()


@pytest.mark.parametrize(("scales", "jitter"), [((1,), (0, 4, 4)), ((1, 0.7, 0.5), (0, 0, 0)), ((0.6,), (0, 2, 2))])
def test_boxes_lie_about_what_the_crop_shows(
    ellipses: Annotation, tmp_path: Path, scales: tuple[float, ...], jitter: tuple[int, int, int]
) -> None:
    recipe = Recipe(background=0, near=0, about=30, jittered=jitter, max_angle=20, outside=True)
    store = generated(ellipses, tmp_path / "out", scales, recipe)
    with_box = np.flatnonzero(np.isin(store.kinds, (POSITIVE, PART)))
    offsets = np.array([offset_from_white(store, index) for index in with_box])
    assert np.isfinite(offsets).sum() > 20
    assert np.nanmax(offsets) < 0.75


def generated(
    entry: Annotation, folder: Path, scales: tuple[float, ...], recipe: Recipe, **options: Any
) -> SampleStore:
    source = AnnotatedSet([entry, entry], scales=scales)
    return generate([source], folder, size=SIZE, recipe=recipe, options=RunOptions(**options))


def test_shrunken_copies(ellipses: Annotation, tmp_path: Path) -> None:
    """Each has windows of its own; all count as of one picture."""
    recipe = Recipe(background=10, near=2, about=10)
    one, both = (generated(ellipses, tmp_path / str(len(s)), s, recipe) for s in ((1,), (1, 0.5)))
    assert 1.5 * len(one) < len(both) < 2.5 * len(one)
    assert set(both.sources()) == {0, 1}
    first = [np.flatnonzero(store.sources() == 0) for store in (one, both)]
    alone, beside = one.batch(first[0]), both.batch(first[1][: len(first[0])])
    np.testing.assert_array_equal(alone.images, beside.images)
    assert len(np.unique(both.batch(first[1]).images, axis=0)) > 0.8 * len(first[1])


def test_faces_that_a_copy_makes_too_small_are_neither_learned_nor_background(
    ellipses: Annotation, tmp_path: Path
) -> None:
    recipe = Recipe(background=400, near=0, about=10, min_face=60)
    store = generated(ellipses, tmp_path / "out", (0.5,), recipe)
    assert set(store.kinds) == {NEGATIVE}
    white = (store.batch(np.arange(len(store))).images > 127).mean((1, 2, 3))
    assert white.max() < 0.3


def test_samples_depend_on_scales_and_not_on_workers(ellipses: Annotation, tmp_path: Path) -> None:
    recipe = Recipe(background=5, about=4, jittered=(1, 1, 1))
    contents = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        generated(ellipses, folder, (1, 0.6), recipe, workers=workers)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    with pytest.raises(OtherSamplesError, match="scales"):
        generated(ellipses, folder, (1, 0.5), recipe)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"jittered": (1, 2)}, ValueError, "jittered has 2 numbers; wanted 3"),
        ({"jittered": 2}, TypeError, "jittered is 2 .*; wanted 3 numbers"),
        ({"jittered": (1, -1, 0)}, ValueError, r"jittered\[1\] is -1; wanted at least 0"),
        ({"max_shift": 2}, ValueError, "max_shift is 2; wanted 0 to 1"),
        ({"max_zoom": 0.5}, ValueError, "max_zoom is 0.5; wanted 1 to 4"),
    ],
)
def test_bad_recipes(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Recipe(**change)


@pytest.mark.parametrize(
    ("scales", "error"),
    [((), ValueError), ((1, 0), ValueError), ((1.5,), ValueError), (0.5, TypeError), (("1",), TypeError)],
)
def test_bad_scales(scales: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="scales"):
        AnnotatedSet([], scales=scales)


def test_small_pictures(tmp_path: Path) -> None:
    """A copy of fewer than two pixels has two."""
    tiny: NDArray[np.uint8] = np.zeros((3, 5, 3), np.uint8)
    path = tmp_path / "tiny.png"
    Image.fromarray(tiny).save(path)
    entry = Annotation(
        path.name, path, np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.bool_)
    )
    store = generated(entry, tmp_path / "out", (1, 0.1), Recipe())
    assert (len(store), store.unreadable) == (0, 0)
