"""Which windows become samples, and the store that keeps them."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast.train import windows
from mtcnn_fast.train.samples import KINDS, LABELS, LANDMARK, NEGATIVE, PART, POSITIVE, SampleStore, SampleWriter
from mtcnn_fast.train.windows import NO_SAMPLE, LabelledFaces, Recipe, Windows, draw, label

Floats = NDArray[np.float64]
RNG = np.random.default_rng


def faces(*boxes: tuple[float, float, float, float], **options: Any) -> LabelledFaces:
    """Labelled faces; `recipe`, `ignored`, `landmarks`, `complete` and `expand` as options."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = options.pop("landmarks", np.full((len(array), 5, 2), np.nan, np.float32))
    ignored = np.array(options.pop("ignored", [False] * len(array)), bool)
    return LabelledFaces.of(array, landmarks, ignored, options.pop("recipe", Recipe()), **options)


def kinds(found: LabelledFaces, *boxes: tuple[float, float, float, float]) -> list[int]:
    return [int(kind) for kind in label(np.array(boxes, np.float64), found)[0]]


def slow_iou(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / whole)


def slow_label(window: Any, boxes: Any, ignored: Any) -> tuple[int, int]:
    """For boxes that are not narrow and large enough, all labelled."""
    real = [(slow_iou(window, box), -i) for i, box in enumerate(boxes) if not ignored[i]]
    best, index = max(real, default=(0.0, 0))
    area = (window[2] - window[0]) * (window[3] - window[1])
    for box, is_ignored in zip(boxes, ignored, strict=True):
        if is_ignored:
            width, height = (
                min(window[2], box[2]) - max(window[0], box[0]),
                min(window[3], box[3]) - max(window[1], box[1]),
            )
            if best < 0.3 and max(width, 0) * max(height, 0) >= 0.3 * area:
                return NO_SAMPLE, -index
            if slow_iou(window, box) >= 0.3:
                return NO_SAMPLE, -index
    kind = NEGATIVE if best < 0.3 else POSITIVE if best > 0.65 else PART if best >= 0.4 else NO_SAMPLE
    return kind, -index


@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_labels_are_those_of_a_slow_formulation(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = RNG(count)
    corners = rng.uniform(0, 200, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(30, 60, (count, 1)) * rng.uniform(0.8, 1, (count, 2))])
    found = faces(*map(tuple, boxes), ignored=rng.random(count) < 0.3)
    low = np.floor(rng.uniform(-20, 220, (3000, 2)))
    tried = np.hstack([low, low + np.floor(rng.uniform(12, 80, (3000, 1)))])
    monkeypatch.setattr("mtcnn_fast.boxes._PAIRS", 5000)  # several pieces
    got, matched = label(tried, found)
    assert got.dtype == np.int8
    assert matched.dtype == np.int64
    ignored = ~found.usable
    expected = [slow_label(window, found.boxes, ignored) for window in tried]
    assert got.tolist() == [kind for kind, _ in expected]
    for kind, face, (_, own) in zip(got, matched, expected, strict=True):
        assert kind in (NEGATIVE, NO_SAMPLE) or face == own
    if 1 < count < 40:
        assert set(got) == {NEGATIVE, POSITIVE, PART, NO_SAMPLE}


def test_thresholds() -> None:
    found = faces((0, 0, 100, 100))
    # IoU 0.29, exactly 0.3, 0.4 and 0.65, and 0.66, of windows inside the face's columns.
    assert kinds(found, *[(0, 0, 100, side) for side in (29, 30, 40, 65, 66)]) == [
        NEGATIVE,
        NO_SAMPLE,
        PART,
        PART,
        POSITIVE,
    ]


def test_the_face_of_highest_overlap_labels() -> None:
    found = faces((0, 0, 40, 40), (10, 0, 50, 40), (100, 100, 140, 140))
    got, matched = label(np.array([[9.0, 0, 49, 40], [1, 0, 41, 40], [101, 99, 141, 139]]), found)
    assert got.tolist() == [POSITIVE] * 3
    assert matched.tolist() == [1, 0, 2]


def test_no_windows() -> None:
    got, matched = label(np.empty((0, 4)), faces((0, 0, 40, 40)))
    assert (got.shape, matched.shape) == ((0,), (0,))


def test_ignored_faces_are_neither_faces_nor_background() -> None:
    found = faces((0, 0, 40, 40), ignored=[True])
    assert kinds(found, (0, 0, 40, 40), (5, 0, 45, 40), (30, 30, 70, 70), (60, 0, 100, 40)) == [
        NO_SAMPLE,
        NO_SAMPLE,
        NEGATIVE,
        NEGATIVE,
    ]


def test_a_window_in_an_ignored_crowd_is_no_background() -> None:
    found = faces((0, 0, 1000, 200), (100, 50, 140, 90), ignored=[True, False])
    assert kinds(found, (500, 50, 540, 90), (100, 50, 140, 90), (500, 195, 540, 235)) == [NO_SAMPLE, POSITIVE, NEGATIVE]


def test_an_ignored_face_spoils_the_samples_of_its_neighbour() -> None:
    found = faces((0, 0, 40, 40), (15, 0, 55, 40), ignored=[False, True])
    assert kinds(found, (0, 0, 40, 40), (-8, 0, 32, 40)) == [NO_SAMPLE, POSITIVE]


def test_small_faces_are_as_ignored() -> None:
    found = faces((0, 0, 8, 11.9), (50, 0, 58, 12), recipe=Recipe(narrow_faces="keep"))
    assert found.usable.tolist() == [False, True]
    assert kinds(found, (0, 0, 11, 11), (-1, 0, 12, 12), (100, 0, 112, 12)) == [NO_SAMPLE, NO_SAMPLE, NEGATIVE]


@pytest.mark.parametrize("ratio", [0.61, 0.63])
def test_narrow_faces_are_those_of_which_no_square_is_positive(ratio: float) -> None:
    face = (0.0, 0.0, 1000.0, 1000 * ratio)
    side = 1000 * np.sqrt(ratio)  # the best square has the face's area
    window = (500 - side / 2, 500 * ratio - side / 2, 500 + side / 2, 500 * ratio + side / 2)
    kept = faces(face, recipe=Recipe(narrow_faces="keep"))
    assert (kinds(kept, window) == [POSITIVE]) is (ratio > 0.62)
    assert faces(face, recipe=Recipe(narrow_faces="skip")).usable.tolist() == [ratio > 0.62]
    squared = faces(face).compared[0].tolist()
    expected = face if ratio > 0.62 else (0.0, 500 * ratio - 500, 1000.0, 500 * ratio + 500)
    np.testing.assert_allclose(squared, expected, atol=1e-4)


def test_narrow_faces() -> None:
    face, square = (40.0, 0.0, 60.0, 100.0), (0.0, 0.0, 100.0, 100.0)
    assert kinds(faces(face), square) == [POSITIVE]
    assert kinds(faces(face, recipe=Recipe(narrow_faces="keep")), square) == [NEGATIVE]
    assert kinds(faces(face, recipe=Recipe(narrow_faces="skip")), square, (30, 0, 70, 40)) == [NEGATIVE, NO_SAMPLE]
    # What windows aim at is the face itself.
    assert faces(face).boxes.tolist() == [list(face)]


def test_incomplete_pictures_give_no_background() -> None:
    found = faces((100, 100, 200, 200), complete=False)
    background = [
        (x, y, x + s, y + s) for x in range(0, 400, 25) for y in range(0, 400, 25) for s in (12, 50, 100, 300)
    ]
    negative = [box for box, kind in zip(background, kinds(found, *background), strict=True) if kind == NEGATIVE]
    assert negative
    for box in negative:
        assert 0.05 <= slow_iou(box, (100, 100, 200, 200)) < 0.3
    # A crowd that is ignored may have an unlabelled face beside it, or in it.
    assert kinds(faces((100, 100, 200, 200), ignored=[True], complete=False), *negative) == [NO_SAMPLE] * len(negative)
    # A face of the same size that touches the labelled one is none, even if it covers it by a little.
    assert kinds(found, (160, 100, 260, 200), (100, 160, 200, 260), (160, 160, 240, 240)) == [NO_SAMPLE] * 3
    assert kinds(found, (100, 100, 140, 140), (50, 50, 300, 300), (100, 100, 110, 110)) == [
        NEGATIVE,
        NEGATIVE,
        NO_SAMPLE,
    ]
    assert kinds(faces(complete=False), (0, 0, 20, 20)) == [NO_SAMPLE]
    assert kinds(faces(), (0, 0, 20, 20)) == [NEGATIVE]


def test_expand() -> None:
    found = faces((100, 100, 200, 300), expand=(0.1, 0.2, 0.3, -0.1))
    np.testing.assert_allclose(found.boxes, [[90, 60, 230, 280]], rtol=1e-6)
    np.testing.assert_array_equal(found.compared, found.boxes)


@pytest.mark.parametrize("box", [(0, 0, 0, 10), (10, 0, 5, 10), (0, 0, np.nan, 10), (0, 0, np.inf, 10)])
def test_bad_boxes(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="empty or not finite"):
        faces(box)


def test_targets_lead_back_to_box_and_landmarks() -> None:
    rng = RNG(5)
    low = rng.integers(-50, 500, (100, 2))
    window = np.hstack([low, low + rng.integers(12, 300, (100, 1))]).astype(np.float64)
    boxes, points = rng.uniform(0, 500, (100, 4)), rng.uniform(0, 500, (100, 5, 2))
    offsets = windows.box_targets(window, boxes).astype(np.float32)
    places = windows.landmark_targets(window, points).astype(np.float32)
    side = window[:, 2:3] - window[:, 0:1]
    np.testing.assert_allclose(window + side * offsets, boxes, atol=1e-3)
    np.testing.assert_allclose(window[:, None, :2] + side[:, None] * places, points, atol=1e-3)
    # Two windows by hand.
    assert windows.box_targets(np.array([[10.0, 20, 30, 40]]), np.array([[12.0, 18, 30, 45]])).tolist() == [
        [0.1, -0.1, 0, 0.25]
    ]
    assert windows.landmark_targets(np.array([[10.0, 20, 30, 40]]), np.array([[[15.0, 40]] * 5]))[0, 0].tolist() == [
        0.25,
        1,
    ]


POINTS = np.array([[[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]])


def drawn(found: LabelledFaces, height: int, width: int, recipe: Recipe) -> Windows:
    chosen = draw(found, height, width, recipe, RNG([0, 0]))
    sides = chosen.boxes[:, 2:] - chosen.boxes[:, :2]
    assert (chosen.boxes == np.rint(chosen.boxes)).all()
    assert (sides[:, 0] == sides[:, 1]).all()
    assert recipe.outside or ((chosen.boxes >= 0).all() and (chosen.boxes <= (width, height, width, height)).all())
    assert len(chosen.kinds) == len(chosen.faces) == len(chosen.angles) == len(chosen.boxes)
    return chosen


def test_draw() -> None:
    landmarks = POINTS * 60 + [[[100, 100]], [[5, 150]]]
    landmarks[1, 3] = np.nan  # one point unknown: no landmark samples
    recipe = Recipe()
    found = faces((100, 100, 160, 160), (5, 150, 65, 210), landmarks=landmarks, recipe=recipe)
    chosen = drawn(found, 300, 400, recipe)
    counts = dict(zip(*np.unique(chosen.kinds, return_counts=True), strict=True))
    assert counts[NEGATIVE] == 50 + 2 * 5
    assert 10 <= counts[POSITIVE] + counts[PART] <= 40
    assert counts[POSITIVE] > 3
    assert counts[PART] > 3
    assert 0 < counts[LANDMARK] <= 15
    assert (chosen.faces[chosen.kinds == LANDMARK] == 0).all()
    rotated = chosen.angles != 0
    assert rotated.any()
    assert (chosen.kinds[rotated] == LANDMARK).all()
    assert np.abs(chosen.angles).max() <= 5
    for box, kind, face in zip(chosen.boxes, chosen.kinds, chosen.faces, strict=True):
        ious = [slow_iou(box, other) for other in found.boxes]
        if kind == NEGATIVE:
            assert max(ious) < 0.3
        else:
            assert int(np.argmax(ious)) == face
            assert 0.4 <= ious[face] <= 0.65 if kind == PART else ious[face] > 0.65
    near = chosen.boxes[50:60]
    assert all(max(slow_iou(box, other) for other in found.boxes) > 0 for box in near)


def test_landmark_windows_are_of_the_face_that_they_fit_best() -> None:
    landmarks = np.concatenate([POINTS * 60 + 100, POINTS * 60 + [[110, 100]]])
    recipe = Recipe(background=0, near=0, about=0, landmarks=100)
    found = faces((100, 100, 160, 160), (110, 100, 170, 160), landmarks=landmarks, recipe=recipe)
    chosen = drawn(found, 300, 400, recipe)
    assert set(chosen.faces.tolist()) == {0, 1}
    for box, face in zip(chosen.boxes, chosen.faces, strict=True):
        assert slow_iou(box, found.boxes[face]) >= slow_iou(box, found.boxes[1 - face])


def test_draw_nothing() -> None:
    nothing = Recipe(background=0, near=0, about=0, landmarks=0, rotated=0)
    assert len(drawn(faces((100, 100, 160, 160)), 300, 400, nothing).boxes) == 0
    assert len(drawn(faces(), 11, 400, Recipe()).boxes) == 0  # smaller than any window
    assert len(drawn(faces(complete=False), 300, 400, Recipe()).boxes) == 0
    # A face that fills the picture leaves room only for small windows, and the search for them ends.
    filled = drawn(faces((0, 0, 30, 30), ignored=[True]), 30, 30, Recipe())
    assert len(filled.boxes) == 0


def test_draw_without_faces() -> None:
    chosen = drawn(faces(), 12, 12, Recipe())
    assert chosen.boxes.tolist() == [[0, 0, 12, 12]] * 50
    assert (chosen.kinds == NEGATIVE).all()


def test_draw_outside() -> None:
    face = faces((-10, -10, 50, 50))
    assert (drawn(face, 300, 300, Recipe(background=0, near=0)).boxes >= 0).all()
    chosen = drawn(face, 300, 300, Recipe(background=0, near=0, outside=True))
    assert (chosen.boxes.min(1) < 0).sum() > 5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"background": -1}, ValueError),
        ({"about": 1.5}, TypeError),
        ({"max_angle": 90}, ValueError),
        ({"max_angle": np.nan}, ValueError),
        ({"min_face": 0}, ValueError),
        ({"min_face": "12"}, TypeError),
        ({"narrow_faces": "drop"}, ValueError),
    ],
)
def test_bad_recipes(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Recipe(**options)


def picture(rng: np.random.Generator, count: int, source: int, size: int = 12) -> tuple[NDArray[np.uint8], Any]:
    labels = np.zeros(count, LABELS)
    labels["kind"], labels["source"] = rng.integers(0, 4, count), source
    labels["box"], labels["landmarks"] = rng.normal(size=(count, 4)), rng.normal(size=(count, 5, 2))
    labels["set"], labels["verdict"] = source % 2, rng.uniform(size=count)
    return rng.integers(0, 256, (count, size, size, 3), np.uint8), labels


def write(folder: Path, counts: list[int], block: int = 3, size: int = 12, seed: int = 0) -> tuple[Any, Any]:
    """A store with so many random samples of each picture, and these samples."""
    rng = RNG(seed)
    writer = SampleWriter(folder, {"size": size, "seed": seed}, block)
    made = [picture(rng, count, i, size) for i, count in enumerate(counts)]
    shards = range(0, len(counts), block)
    for number, first in enumerate(shards):
        with writer.shard(number, f"digest {number}") as shard:
            for images, labels in made[first : first + block]:
                shard.add(images, labels)
    writer.finish(len(shards))
    return np.concatenate([m[0] for m in made]), np.concatenate([m[1] for m in made])


@pytest.mark.parametrize("counts", [[5], [3, 0, 7, 1, 0, 0, 0, 0, 0, 4, 9], [0, 0, 0, 0]])
def test_a_store_gives_back_what_was_written(tmp_path: Path, counts: list[int]) -> None:
    images, labels = write(tmp_path, counts)
    store = SampleStore(tmp_path)
    assert (store.size, len(store)) == (12, sum(counts))
    assert store.kinds.dtype == np.int8
    np.testing.assert_array_equal(store.kinds, labels["kind"])
    np.testing.assert_array_equal(store.sources(), labels["source"])
    np.testing.assert_array_equal(store.sets(), labels["set"])
    np.testing.assert_array_equal(store.verdicts(), labels["verdict"])
    indices = RNG(1).integers(0, max(1, len(store)), 100 * (len(store) > 0))
    batch = store.batch(indices)
    np.testing.assert_array_equal(batch.images, images[indices])
    np.testing.assert_array_equal(batch.kinds, labels["kind"][indices])
    np.testing.assert_array_equal(batch.boxes, labels["box"][indices])
    np.testing.assert_array_equal(batch.landmarks, labels["landmarks"][indices])
    assert [a.dtype for a in (batch.images, batch.kinds, batch.boxes, batch.landmarks)] == [
        np.uint8,
        np.int8,
        np.float32,
        np.float32,
    ]
    assert len(store.batch(np.empty(0, np.int64)).images) == 0
    document = json.loads((tmp_path / "samples.json").read_text())
    assert document["pictures"] == len(counts)
    assert document["counts"] == {kind: int((labels["kind"] == i).sum()) for i, kind in enumerate(KINDS)}


def test_shards_are_plain_npy_files(tmp_path: Path) -> None:
    images, labels = write(tmp_path, [4, 2])
    np.testing.assert_array_equal(np.load(tmp_path / "images-000000.npy"), images)
    np.testing.assert_array_equal(np.load(tmp_path / "labels-000000.npy", mmap_mode="r"), labels)


def test_several_folders_are_one_store(tmp_path: Path) -> None:
    first = write(tmp_path / "a", [3, 4, 5, 6], seed=1)
    second = write(tmp_path / "b", [2, 0, 9], seed=2)
    store = SampleStore(tmp_path / "a", str(tmp_path / "b"))
    everything = np.concatenate([first[0], second[0]])
    assert len(store) == 29
    for travelled in (store, pickle.loads(pickle.dumps(store))):
        batch = travelled.batch(np.arange(29)[::-1])
        np.testing.assert_array_equal(batch.images, everything[::-1])
    assert len(pickle.dumps(store)) < 1000
    assert "29 crops of 12 x 12" in repr(store)


@pytest.mark.parametrize("indices", [np.array([0, 12]), np.array([-1])])
def test_indices_beyond_the_samples(tmp_path: Path, indices: Any) -> None:
    write(tmp_path, [12])
    with pytest.raises(IndexError, match="12 samples"):
        SampleStore(tmp_path).batch(indices)


@pytest.mark.parametrize("indices", [[0, 1], np.zeros(3), np.zeros((2, 2), int), np.ones(12, bool), 3])
def test_what_are_no_indices(tmp_path: Path, indices: Any) -> None:
    write(tmp_path, [12])
    with pytest.raises(TypeError, match="integers"):
        SampleStore(tmp_path).batch(indices)


def test_stores_of_different_sizes(tmp_path: Path) -> None:
    write(tmp_path / "a", [1])
    write(tmp_path / "b", [1], size=24)
    with pytest.raises(ValueError, match="different sizes"):
        SampleStore(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ValueError, match="no folder"):
        SampleStore()


def archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, 3)
    return content.getvalue()


def spoil_header(path: Path, other: bytes) -> None:
    content = path.read_bytes()
    place = content.index(b"'shape': (") + len(b"'shape': (")
    path.write_bytes(content[:place] + other + content[place + len(other) :])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "samples.json").unlink(), "no samples.json"),
        (lambda f: (f / "samples.json").write_text("{"), "damaged"),
        (lambda f: (f / "samples.json").write_text('{"format": 7, "complete": true}'), "format 2"),
        (lambda f: (f / "samples.json").write_text("[]"), "format 2"),
        (lambda f: (f / "samples.json").write_text('{"format": 2, "complete": true}'), "damaged"),
        (lambda f: cut(f / "images-000001.npy"), "damaged"),
        (lambda f: cut(f / "labels-000000.npy"), "damaged"),
        (
            lambda f: (f / "labels-000001.npy").unlink(),
            "labels-000001.npy is not there; remove .*, and it is made anew",
        ),
        (lambda f: (f / "labels-000001.npy").write_bytes(b""), "damaged"),
        (lambda f: (f / "samples.json").write_bytes(b"\xff"), "samples.json is damaged: .*; remove"),
        (lambda f: (f / "samples.json").write_text("[" * 100_000), "samples.json is damaged: .*; remove"),
        (lambda f: (f / "images-000001.npy").write_bytes(b"PK\3\4" * 99), "damaged: images-000001.npy is not"),
        (lambda f: (f / "labels-000001.npy").write_bytes(archive()), "damaged: labels-000001.npy is not"),
        (lambda f: (f / "images-000001.npy").write_bytes(b"\x93NUMPY\1\0" + b"\0" * 99), "images-000001.npy is not"),
        (lambda f: spoil_header(f / "images-000000.npy", b"99999999999"), "images-000000.npy is not a whole"),
        (lambda f: spoil_header(f / "images-000000.npy", b"((((((((((("), "images-000000.npy is not a whole"),
        (lambda f: (f / "labels-000001.npy").write_bytes((f / "labels-000000.npy").read_bytes()), "damaged"),
        (
            lambda f: [
                (f / f"{n}-000001.npy").write_bytes((f / f"{n}-000000.npy").read_bytes()) for n in ("images", "labels")
            ],
            "damaged",
        ),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: Any, words: str) -> None:
    write(tmp_path, [1, 2, 3, 4])
    damage(tmp_path)
    with pytest.raises(ValueError, match=words) as raised:
        SampleStore(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_what_is_no_store(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match=r"no samples\.json"):
            SampleStore(path)


def test_a_store_that_is_not_complete(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path, {"size": 12}, 1)
    with writer.shard(0, "") as shard:
        shard.add(*picture(RNG(0), 2, 0))
    with pytest.raises(ValueError, match="not complete"):
        SampleStore(tmp_path)


def test_a_shard_that_fails_leaves_none(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path, {"size": 12}, 1)
    with pytest.raises(KeyboardInterrupt), writer.shard(0, "") as shard:  # noqa: PT012
        shard.add(*picture(RNG(0), 2, 0))
        raise KeyboardInterrupt
    assert writer.summary(0) is None
    with pytest.raises(ValueError, match="other shards"):
        writer.finish(1)
    SampleWriter(tmp_path, {"size": 12}, 1)  # clears away what was left
    assert [path.name for path in tmp_path.iterdir()] == ["samples.json"]


def test_a_shard_in_place_of_another(tmp_path: Path) -> None:
    expected = write(tmp_path / "a", [3, 4, 5])
    write(tmp_path / "b", [3, 0, 5])
    writer = SampleWriter(tmp_path / "b", {"size": 12, "seed": 0}, 3)
    rng = RNG(0)
    pictures = [picture(rng, count, i) for i, count in enumerate([3, 4, 5])]
    with pytest.raises(KeyboardInterrupt), writer.shard(0, "digest 0") as shard:  # noqa: PT012
        shard.add(*pictures[0])
        raise KeyboardInterrupt
    assert len(SampleStore(tmp_path / "b")) == 8  # what was there is kept until the other is whole
    with writer.shard(0, "digest 0") as shard:
        for images, labels in pictures:
            shard.add(images, labels)
    with pytest.raises(ValueError, match="not complete"):
        SampleStore(tmp_path / "b")
    writer.finish(1)
    for name in ("samples.json", "shard-000000.json", "images-000000.npy", "labels-000000.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    np.testing.assert_array_equal(SampleStore(tmp_path / "b").batch(np.arange(12)).images, expected[0])


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"pictures": 1, "counts": {}, "unreadable": [], "annotations": ""}',
        b'{"pictures": 3, "counts": {"negative": 1, "positive": 1, "part": 1, "landmark": 1}, "annotations": "",'
        b' "unreadable": [[7, "no"]]}',
    ],
)
def test_a_damaged_shard_is_named(tmp_path: Path, document: bytes) -> None:
    write(tmp_path, [3, 4, 5])
    (tmp_path / "shard-000000.json").write_bytes(document)
    with pytest.raises(ValueError, match=r"shard-000000\.json is damaged.*; remove .* and it is made anew"):
        SampleWriter(tmp_path, {"size": 12, "seed": 0}, 3).summary(0)


def test_a_shard_refuses_what_is_no_sample(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path, {"size": 12}, 1)
    images, labels = picture(RNG(0), 2, 0)
    for bad in (
        (images[:, :11], labels),
        (images.astype(np.float32), labels),
        (images[:1], labels),
        (images, labels["kind"]),
    ):
        with pytest.raises(TypeError, match="a shard takes"), writer.shard(0, "") as shard:
            shard.add(*bad)


def test_a_writer_spares_other_folders(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="neither empty nor"):
        SampleWriter(tmp_path, {"size": 12}, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
