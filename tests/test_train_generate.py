"""Training samples made from annotated pictures: random windows and mined ones."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conftest import load
from mtcnn_fast import MTCNN, reading
from mtcnn_fast.boxes import intersections, overlaps
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.train.generate import generate
from mtcnn_fast.train.mining import MINING_RECIPE, Limits, mine
from mtcnn_fast.train.rotate import rotated_crop, rotation, transform
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import KINDS, LANDMARK, NEGATIVE, PART, POSITIVE, OtherSamplesError, SampleStore
from mtcnn_fast.train.windows import Recipe

Pixels = NDArray[np.uint8]

FEW = Recipe(background=4, near=2, about=6, landmarks=4, rotated=2, outside=True)
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def annotation(
    path: Path, boxes: Sequence[Sequence[float]] = (), ignored: Sequence[bool] | None = None, landmarks: bool = True
) -> Annotation:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    points = array[:, None, :2] + (array[:, 2:] - array[:, :2])[:, None] * POINTS
    if not landmarks:
        points = np.full_like(points, np.nan)
    flags = np.zeros(len(array), bool) if ignored is None else np.array(ignored, bool)
    return Annotation(path.name, path, array, points.astype(np.float32), flags)


def sampled(image: Pixels, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3): bilinear samples at places x, y (..., 2), from the corners of pixels.

    Black outside the image; from the centres of its outer pixels to its edge as at these centres.
    """
    height, width = image.shape[:2]
    inside = ((places >= 0) & (places < (width, height))).all(-1)
    low = np.clip(places - 0.5, 0, (width - 1, height - 1))
    first = np.minimum(np.floor(low).astype(int), (width - 2, height - 2))
    share = low - first
    total = np.zeros((*places.shape[:-1], 3))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.abs(1 - i - share[..., 1]) * np.abs(1 - j - share[..., 0])
        total += weight[..., None] * image[first[..., 1] + i, first[..., 0] + j]
    return np.where(inside[..., None], total, 0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def generated(
    sets: Sequence[AnnotatedSet],
    folder: Path,
    size: int = 12,
    recipe: Recipe | None = FEW,
    seed: int = 0,
    **options: Any,
) -> SampleStore:
    return generate(sets, folder, size=size, recipe=recipe, seed=seed, options=RunOptions(**options))


def mined(
    sets: Sequence[AnnotatedSet],
    folder: Path,
    size: int,
    detector: MTCNN,
    network: str = "rnet",
    recipe: Recipe = MINING_RECIPE,
    limits: Limits | None = None,
    **options: Any,
) -> SampleStore:
    return mine(
        sets,
        folder,
        size=size,
        detector=detector,
        network=network,
        recipe=recipe,
        limits=limits,
        options=RunOptions(**options),
    )


def made(folder: Path, count: int, size: int = 12, **options: Any) -> tuple[SampleStore, dict[str, bytes]]:
    options = {"recipe": FEW, "block": 4, **options}
    return generated([AnnotatedSet(entries(folder, count))], folder / "out", size, **options), contents(folder / "out")


def entries(folder: Path, count: int) -> list[Annotation]:
    """Small pictures of noise, made at need, with up to three faces each."""
    found = []
    for i in range(count):
        rng = np.random.default_rng([9, i])
        path = folder / f"{i}.png"
        noise = rng.integers(0, 256, (60 + i, 80, 3), np.uint8)
        if not path.exists():
            Image.fromarray(noise).save(path)
        corners = rng.uniform(0, 40, (i % 4, 2))
        boxes = np.hstack(
            [corners, corners + rng.uniform(14, 30, (len(corners), 1)) * rng.uniform(0.7, 1, corners.shape)]
        )
        found.append(annotation(path, boxes.tolist()))
    return found


@pytest.fixture
def pattern(tmp_path: Path) -> tuple[Path, Pixels]:
    """A picture, and its pixels in RGB order, that tells places and channels apart: smooth, and no two places alike."""
    y, x = np.mgrid[:200, :300]
    image = np.stack([20 + x * 0.7, 20 + y, 120 + 100 * np.sin(x / 15) * np.cos(y / 11)], 2).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "pattern.png")
    return tmp_path / "pattern.png", image


def test_crops_are_of_the_windows_that_targets_refer_to(tmp_path: Path, pattern: tuple[Path, Pixels]) -> None:
    """Without the windows: the box of the face, cut out of the picture, is where the target says in the crop."""
    path, _ = pattern
    face = (120.0, 60.0, 200.0, 140.0)
    recipe = Recipe(background=0, near=0, about=50, landmarks=50, rotated=50, max_angle=15)
    store = generated([AnnotatedSet([annotation(path, [face])])], tmp_path / "out", 48, recipe)
    batch = store.batch(np.arange(len(store)))
    assert {POSITIVE, PART, LANDMARK} == set(batch.kinds.tolist())
    regular = np.isin(batch.kinds, (POSITIVE, PART))
    np.testing.assert_array_equal(np.isnan(batch.boxes).all(1), ~regular)
    np.testing.assert_array_equal(np.isnan(batch.landmarks).all((1, 2)), regular)
    # Red and green are the place in the picture.
    for crop, offsets in zip(batch.images[regular], batch.boxes[regular], strict=True):
        sides = 80 / (1 + offsets[2:] - offsets[:2])
        assert sides[0] == pytest.approx(sides[1], abs=1e-3)
        corner = face[:2] - offsets[:2] * sides
        centre = crop[23:25, 23:25].mean((0, 1))
        middle = corner + sides / 2 - 0.5
        np.testing.assert_allclose(centre[:2], [20 + middle[0] * 0.7, 20 + middle[1]], atol=1.5)
    # A landmark's pixel has the colour of its place in the picture, whether the picture was rotated or not.
    points = np.array(face[:2]) + 80 * POINTS
    checked = 0
    for crop, places in zip(batch.images[~regular], batch.landmarks[~regular], strict=True):
        for point, place in zip(points, places * 48, strict=True):
            if (place > 1).all() and (place < 47).all():
                colour = sampled(crop, place[None])[0]
                assert abs(colour[0] - (20 + (point[0] - 0.5) * 0.7)) < 2
                assert abs(colour[1] - (20 + point[1] - 0.5)) < 2
                checked += 1
    assert checked > 200


@pytest.mark.parametrize("side", [12, 60, 151])
@pytest.mark.parametrize("degrees", [0, 4, -10, 90])
def test_rotated_crops_are_the_windows_of_a_rotated_picture(side: int, degrees: float) -> None:
    y, x = np.mgrid[:240, :320]
    image = np.dstack([127 + 120 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(3)]).astype(np.uint8)
    matrix = rotation(np.array([150.5, 110.25]), degrees)
    window = np.array([150 - side // 2, 110 - side // 2, 150 - side // 2 + side, 110 - side // 2 + side], np.float64)
    engine = MTCNN(device="cpu")
    places = np.dstack([x, y]) + 0.5
    turn = matrix[:, :2]
    whole = np.rint(sampled(image, (places - matrix[:, 2]) @ turn)).astype(np.uint8)
    expected = engine.crop(whole, window[None].astype(np.float32), 24)[0]
    got = rotated_crop(engine.crop, image, window, matrix, 24)
    assert got.shape == (24, 24, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).mean() < 1
    assert np.abs(got.astype(int) - expected).max() < 8


@pytest.mark.parametrize("degrees", [0, 3, -17, 90, 200])
@pytest.mark.parametrize("scale", [0.5, 1, 1.7])
def test_pictures_are_sampled_bilinearly(degrees: float, scale: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (41, 33, 3), np.uint8)
    matrix = rotation(np.array([16.2, 20.9]), degrees)
    matrix[:, :2] *= scale
    places = np.dstack(np.meshgrid(np.arange(40.0), np.arange(40.0))) + 0.5
    expected = sampled(image, places @ matrix[:, :2].T + matrix[:, 2])
    assert np.abs(transform(image, matrix, 40) - expected).max() <= 1


def test_rotation_keeps_its_centre_and_turns_x_to_y() -> None:
    matrix = rotation(np.array([3.0, 4.0]), 90)
    np.testing.assert_allclose(matrix @ [3, 4, 1], [3, 4], atol=1e-12)
    np.testing.assert_allclose(matrix @ [5, 4, 1], [3, 6], atol=1e-12)


def test_rotated_crops_are_black_outside() -> None:
    image = np.full((50, 50, 3), 255, np.uint8)
    crop = MTCNN(device="cpu").crop
    matrix = rotation(np.array([25.0, 25.0]), 5)
    assert (rotated_crop(crop, image, np.array([200.0, 0, 240, 40]), matrix, 12) == 0).all()
    half = rotated_crop(crop, image, np.array([-30.0, 0, 30, 60]), matrix, 12)
    assert half[:, 0].max() == 0
    assert half[5, 8].min() == 255


def test_samples_do_not_depend_on_workers(tmp_path: Path) -> None:
    store, one = made(tmp_path, 11, workers=1)
    assert set(store.kinds.tolist()) == {NEGATIVE, POSITIVE, PART, LANDMARK}
    for workers in (2, 7):
        (tmp_path / str(workers)).mkdir()
        again = generated([AnnotatedSet(entries(tmp_path, 11))], tmp_path / str(workers), workers=workers, block=4)
        assert contents(tmp_path / str(workers)) == one
        assert len(again) == len(store)
    other = generated([AnnotatedSet(entries(tmp_path, 11))], tmp_path / "seed", seed=1, block=4)
    assert not np.array_equal(other.batch(np.arange(9)).images, store.batch(np.arange(9)).images)


def test_a_picture_that_comes_twice_gives_other_windows(tmp_path: Path) -> None:
    (entry,) = entries(tmp_path, 1)
    store = generated([AnnotatedSet([entry, entry])], tmp_path / "out", 12, Recipe(background=20))
    batch = store.batch(np.arange(40))
    assert store.sources().tolist() == [0] * 20 + [1] * 20
    assert (batch.images[:20] != batch.images[20:]).any((1, 2, 3)).mean() > 0.9


def test_samples_depend_on_the_place_of_a_picture_alone(tmp_path: Path) -> None:
    """Not on how many there are, nor on how they are spread over sources and shards."""
    long, _ = made(tmp_path, 11)
    all_of_them = entries(tmp_path, 11)
    split = [AnnotatedSet(iter(all_of_them[:3])), AnnotatedSet(all_of_them[3:7])]
    short = generated(split, tmp_path / "split", block=2)
    first = np.arange(len(short))
    np.testing.assert_array_equal(short.batch(first).images, long.batch(first).images)
    np.testing.assert_array_equal(short.sources(), long.sources()[: len(short)])
    assert long.sources().max() <= 10


KILL = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from test_train_generate import made
from mtcnn_fast import reading

read, left = reading.first_page, int(sys.argv[3])
def dying(path):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return read(path)
reading.first_page = dying
made(pathlib.Path(sys.argv[2]), 11, workers=2)
"""


@pytest.mark.parametrize("pictures_read", [2, 7])
def test_a_killed_run_goes_on(tmp_path: Path, pictures_read: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    _, expected = made(tmp_path / "whole", 11)
    arguments = [sys.executable, "-c", KILL, str(Path(__file__).parent), str(tmp_path / "killed"), str(pictures_read)]
    assert subprocess.run(arguments, timeout=60).returncode == 9
    left = contents(tmp_path / "killed" / "out")
    assert not json.loads(left["samples.json"])["complete"]
    assert [name for name in left if name.startswith("shard")] == ["shard-000000.json"] * (pictures_read > 4)
    with pytest.raises(ValueError, match="not complete"):
        SampleStore(tmp_path / "killed" / "out")
    _, resumed = made(tmp_path / "killed", 11, workers=2)
    assert resumed == expected


def test_a_finished_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, before = made(tmp_path, 6)
    found = entries(tmp_path, 6)

    def read(path: Path) -> None:
        raise AssertionError

    monkeypatch.setattr("mtcnn_fast.reading.first_page", read)
    again = generated([AnnotatedSet(found)], tmp_path / "out", block=4)
    assert contents(tmp_path / "out") == before
    np.testing.assert_array_equal(again.kinds, store.kinds)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "settings"),
        ({"size": 24}, "settings"),
        ({"recipe": Recipe()}, "settings"),
        ({"block": 5}, "block"),
        ({"count": 7}, "other annotations"),
        ({"count": 4}, "other shards"),
    ],
)
def test_samples_of_another_run_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    _, before = made(tmp_path, 6)
    with pytest.raises(ValueError, match=words):
        made(tmp_path, **{"count": 6, **change})
    assert {**contents(tmp_path / "out"), "samples.json": before["samples.json"]} == before


def test_unreadable_pictures_are_survived_and_listed(tmp_path: Path) -> None:
    found = entries(tmp_path, 6)
    found[1].path.write_bytes(b"no picture")
    found[4].path.unlink()
    empty_box = annotation(found[0].path, [[5, 5, 5, 30]])
    problems = Problems()
    store = generated([AnnotatedSet([*found, empty_box])], tmp_path / "out", problems=problems, block=4)
    lines = list(problems)
    assert [line.partition(": ")[0] for line in lines] == [str(found[i].path) for i in (1, 4, 0)]
    assert "decode" in lines[0]
    assert "No such file" in lines[1]
    assert "empty" in lines[2]
    assert set(store.sources().tolist()) == {0, 2, 3, 5}
    document = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert (document["pictures"], document["unreadable"]) == (7, 3)
    # Another run, with nothing to do, says the same.
    again = Problems()
    generated([AnnotatedSet([*found, empty_box])], tmp_path / "out", problems=again, block=4)
    assert list(again) == lines


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    found = entries(tmp_path, 2)
    found[0].path.unlink()
    os.mkfifo(found[0].path)
    problems = Problems()
    store = generated([AnnotatedSet(found)], tmp_path / "out", problems=problems)
    assert (store.unreadable, list(problems)) == (1, [f"{found[0].path}: it is a pipe, not a picture"])


def test_damaged_pictures_are_not_learned(tmp_path: Path) -> None:
    """Half of one may be grey. One that is the first of several is, and that is said."""
    pytest.importorskip("simplejpeg")
    found = entries(tmp_path, 2)
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)).save(content, "jpeg")
    damaged, pages = tmp_path / "damaged.jpg", tmp_path / "pages.tif"
    damaged.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    first, second = (Image.fromarray(np.full((60, 60, 3), value, np.uint8)) for value in (40, 200))
    first.save(pages, save_all=True, append_images=[second])
    found += [annotation(damaged, [[5, 5, 30, 30]]), annotation(pages, [[5, 5, 30, 30]])]
    listed = []
    for _ in range(2):
        problems = Problems()
        store = generated([AnnotatedSet(found)], tmp_path / "out", problems=problems)
        assert set(store.sources().tolist()) == {0, 1, 3}
        assert store.unreadable == 1
        listed.append(list(problems))
    assert [line.partition(": ")[0] for line in listed[0]] == [str(damaged), str(pages)]
    assert ": damaged: " in listed[0][0]
    assert listed[0][1].endswith("the first of 2 pages is taken")
    assert listed[0] == listed[1]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("no\nluck"), RecursionError("deep"), ValueError("odd"), OSError(5, "gone")]
)
def test_no_picture_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    found, read = entries(tmp_path, 3), reading.first_page

    def failing(path: Path) -> Any:
        if path.name == "1.png":
            raise error
        return read(path)

    monkeypatch.setattr(reading, "first_page", failing)
    problems = Problems()
    store = generated([AnnotatedSet(found)], tmp_path / "out", problems=problems)
    assert set(store.sources().tolist()) == {0, 2}
    (line,) = problems
    said = {MemoryError: "not enough memory", RuntimeError: "no luck", OSError: "gone"}.get(type(error), str(error))
    assert line == f"{found[1].path}: {said}"


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png", chr(0xDCFF) + ".png", chr(0xD83D) + ".png"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    problems = Problems()
    (there,) = entries(tmp_path, 1)
    odd = replace(annotation(tmp_path / "x"), name=name, path=tmp_path / name)
    store = generated([AnnotatedSet([odd, there])], tmp_path / "out", problems=problems)
    assert set(store.sources().tolist()) == {1}
    assert problems.count == 1


def test_pictures_that_were_away_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    _, expected = made(tmp_path / "whole", 11)
    entries(tmp_path, 11)
    for i in (5, 6):
        (tmp_path / f"{i}.png").rename(tmp_path / f"{i}.away")
    problems = Problems()
    store, lacking = made_of(tmp_path, problems=problems)
    assert (store.unreadable, problems.count) == (2, 2)
    # While none is back, nothing is made anew.
    again, same = made_of(tmp_path, problems=problems)
    assert (again.unreadable, problems.count) == (2, 2)
    assert same == lacking
    (tmp_path / "5.away").rename(tmp_path / "5.png")
    store, same = made_of(tmp_path, retry=False)
    assert (store.unreadable, same) == (2, lacking)
    assert made_of(tmp_path)[0].unreadable == 1
    (tmp_path / "6.away").rename(tmp_path / "6.png")
    store, whole = made_of(tmp_path)
    assert (store.unreadable, whole) == (0, expected)


def made_of(folder: Path, **options: Any) -> tuple[SampleStore, dict[str, bytes]]:
    """As `made` of 11 pictures, without making those that are away."""
    found = [replace(entry, path=folder / entry.name) for entry in entries(folder / "whole", 11)]
    return generated([AnnotatedSet(found)], folder / "out", block=4, **options), contents(folder / "out")


LIMITED = """
import pathlib, resource, sys
sys.path.insert(0, sys.argv[1])
from test_train_generate import made
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    made(pathlib.Path(sys.argv[2]), 11, size=48)
except OSError as error:
    sys.exit(error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a file's size")
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", LIMITED, str(Path(__file__).parent), str(tmp_path)]
    ended = subprocess.run(arguments, timeout=60, capture_output=True, text=True)
    assert ended.stderr.strip() == str(tmp_path / "out" / "images-000000.npy")
    assert list(contents(tmp_path / "out")) == ["samples.json"]


def test_incomplete_pictures(tmp_path: Path) -> None:
    """Red background, a green face, a blue one that is not labelled: no negative is red or blue alone."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[..., 0] = 255
    image[60:120, 60:120] = (0, 255, 0)
    image[60:120, 125:185] = (0, 0, 255)
    Image.fromarray(image).save(tmp_path / "a.png")
    found = [annotation(tmp_path / "a.png", [[60, 60, 120, 120]])]
    for complete in (True, False):
        store = generated(
            [AnnotatedSet(found, complete=complete)], tmp_path / str(complete), 24, Recipe(background=500, near=100)
        )
        negatives = store.batch(np.flatnonzero(store.kinds == NEGATIVE)).images
        green = (negatives[..., 1] > 128).any((1, 2))
        of_blue = (negatives[..., 2] > 128).mean((1, 2)).max()
        assert len(negatives) > 50
        assert green.all() is np.bool_(not complete)
        assert (of_blue > 0.5) is np.bool_(complete)
    backgrounds = generated([AnnotatedSet([annotation(tmp_path / "a.png")], complete=False)], tmp_path / "none", 24)
    assert len(backgrounds) == 0
    # A picture of which a label was lost gives what one of an incomplete source does.
    lost = generated(
        [AnnotatedSet([replace(found[0], complete=False)])], tmp_path / "lost", 24, Recipe(background=500, near=100)
    )
    np.testing.assert_array_equal(lost.batch(np.arange(len(lost))).images, store.batch(np.arange(len(store))).images)
    with pytest.raises(OtherSamplesError, match="other annotations"):
        generated([AnnotatedSet(found)], tmp_path / "lost", 24, Recipe(background=500, near=100))


def test_ignored_faces(tmp_path: Path, pattern: tuple[Path, Pixels]) -> None:
    path, _ = pattern
    store = generated([AnnotatedSet([annotation(path, [[100, 50, 200, 150]], [True])])], tmp_path / "out", 12)
    assert set(store.kinds.tolist()) == {NEGATIVE}


def test_ignored_boxes_of_a_file(tmp_path: Path, pattern: tuple[Path, Pixels]) -> None:
    """They are as boxes that the annotations mark: no background is cut there."""
    (tmp_path / "pictures").mkdir()
    path = shutil.copy(pattern[0], tmp_path / "pictures" / "a.png")
    box = [100, 50, 200, 150]
    (tmp_path / "ignored.json").write_text(json.dumps({"a.png": [box]}))
    source = AnnotatedSet(path.parent, format="backgrounds", ignored=tmp_path / "ignored.json")
    recipe = Recipe(background=300)
    store = generated([source], tmp_path / "file", 12, recipe)
    marked = generated([AnnotatedSet([annotation(path, [box], [True], landmarks=False)])], tmp_path / "b", 12, recipe)
    assert len(store) == len(marked) > 0
    np.testing.assert_array_equal(store.batch(np.arange(300)).images, marked.batch(np.arange(300)).images)
    without = generated([replace(source, ignored=None)], tmp_path / "without", 12, recipe)
    assert (without.batch(np.arange(300)).images != store.batch(np.arange(300)).images).any()


def test_expanded_boxes(tmp_path: Path, pattern: tuple[Path, Pixels]) -> None:
    """By moving the box outward the same samples arise as of the outer box."""
    path, _ = pattern
    inner, outer = annotation(path, [[110, 80, 190, 150]]), annotation(path, [[100, 50, 200, 150]])
    recipe = Recipe(landmarks=0, rotated=0)
    a = generated([AnnotatedSet([inner], expand=(0.125, 30 / 70, 0.125, 0))], tmp_path / "a", 12, recipe)
    b = generated([AnnotatedSet([outer])], tmp_path / "b", 12, recipe)
    indices = np.arange(len(a))
    np.testing.assert_allclose(a.batch(indices).boxes, b.batch(indices).boxes, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"size": 0}, ValueError, "size"),
        ({"size": 12.0}, TypeError, "size"),
        ({"seed": -1}, ValueError, "seed"),
        ({"workers": 0}, ValueError, "workers"),
        ({"progress": 1}, TypeError, "progress"),
        ({"block": 0}, ValueError, "block"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        generated([AnnotatedSet([])], tmp_path / "out", **{"size": 12, **options})


@pytest.mark.parametrize(
    ("options", "error"),
    [({"complete": 1}, TypeError), ({"expand": (1, 2)}, ValueError), ({"expand": (0, 0, 0, np.nan)}, ValueError)],
)
def test_bad_sets(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        AnnotatedSet([], **options)


def test_no_pictures(tmp_path: Path) -> None:
    assert len(generated([], tmp_path / "a", 12)) == 0
    assert len(generated([AnnotatedSet([])], tmp_path / "b", 12)) == 0


def test_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    made(tmp_path, 5, progress=True)
    assert "5/5" in capsys.readouterr().err
    generated([AnnotatedSet(iter(entries(tmp_path, 5)))], tmp_path / "unknown", progress=True)
    assert "5picture" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    (entry,) = entries(tmp_path, 1)

    def stream(count: int) -> Iterator[Annotation]:
        return (entry for _ in range(count))

    peaks = []
    recipe = Recipe(background=8)
    for count in (50, 300):
        tracemalloc.start()
        generated([AnnotatedSet(stream(count))], tmp_path / str(count), 48, recipe, workers=2, block=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    samples = 8 * 250 * 48 * 48 * 3  # bytes that the longer run makes more
    assert peaks[1] - peaks[0] < samples / 50


@pytest.fixture(scope="module")
def detector() -> MTCNN:
    return MTCNN(device="cpu", thresholds=(0.3, 0.1, 0.1), num_threads=1)


FACE = (177.0, 76.0, 271.0, 200.0)
"""About what the detector says of the astronaut."""


def around(images: Pixels, image: Pixels, windows: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """The window of each crop, which some window must give to the bit."""
    crops = MTCNN(device="cpu").crop(image, windows, size)
    same = (images[:, None] == crops[None]).all((2, 3, 4))
    assert same.any(1).all()
    return np.asarray(same.argmax(1))


@pytest.mark.parametrize(("network", "size"), [("rnet", 24), ("onet", 48)])
def test_mined_samples(
    tmp_path: Path, detector: MTCNN, astronaut_path: Path, astronaut: Pixels, network: str, size: int
) -> None:
    source = AnnotatedSet([annotation(astronaut_path, [FACE])])
    nothing = Recipe(background=0, near=0, about=0, landmarks=0, rotated=0, narrow_faces="keep")
    store = mined([source], tmp_path / "all", size, detector, network, nothing, Limits(negative=10**6))
    image = load(astronaut_path)
    windows, scores = detector.windows(image, network)
    face = np.array([FACE])
    shared = intersections(windows.astype(np.float64), face)[:, 0]
    area = (windows[:, 2:] - windows[:, :2]).prod(1)
    overlap = shared / (area + (FACE[2] - FACE[0]) * (FACE[3] - FACE[1]) - shared)
    expected = [(overlap < 0.3).sum(), (overlap > 0.65).sum(), ((overlap >= 0.4) & (overlap <= 0.65)).sum(), 0]
    assert [int((store.kinds == kind).sum()) for kind in range(len(KINDS))] == expected
    assert min(expected[:3]) > 0

    batch = store.batch(np.arange(len(store)))
    which = around(batch.images, image, windows, size)
    regular = batch.kinds != NEGATIVE
    sides = (windows[:, 2:] - windows[:, :2])[which][regular]
    back = windows[which][regular] + np.tile(sides, 2) * batch.boxes[regular]
    np.testing.assert_allclose(back, np.broadcast_to(face, back.shape), atol=1e-3)

    few = mined([source], tmp_path / "few", size, detector, network, nothing, Limits(negative=5, positive=1, part=1))
    assert [int((few.kinds == kind).sum()) for kind in range(len(KINDS))] == [5, 1, 1, 0]
    hardest = np.sort(scores[overlap < 0.3])[::-1][:5]
    chosen = around(few.batch(np.flatnonzero(few.kinds == NEGATIVE)).images, image, windows, size)
    np.testing.assert_array_equal(np.sort(scores[chosen])[::-1], hardest)

    thin = mined([source], tmp_path / "thin", size, detector, network, nothing, Limits(negative=10**6, thin=0.2))
    chosen = around(thin.batch(np.flatnonzero(thin.kinds == NEGATIVE)).images, image, windows, size)
    shared_by = overlaps(windows, windows)
    kept: list[int] = []
    for index in sorted(np.flatnonzero(overlap < 0.3), key=lambda index: -scores[index]):
        if all(shared_by[index, other] <= 0.2 for other in kept):
            kept.append(index)
    assert 0 < len(kept) < expected[0]
    np.testing.assert_array_equal(np.sort(scores[chosen]), np.sort(scores[kept]))

    bgr = MTCNN(device="cpu", thresholds=(0.3, 0.1, 0.1), num_threads=1, channel_order="bgr")
    again = mined([source], tmp_path / "bgr", size, bgr, network, nothing, Limits(negative=10**6))
    np.testing.assert_array_equal(again.batch(np.arange(len(store))).images, batch.images)


def test_mining_adds_landmark_faces_and_random_ones(tmp_path: Path, detector: MTCNN, astronaut_path: Path) -> None:
    source = AnnotatedSet([annotation(astronaut_path, [FACE])])
    store = mined([source], tmp_path / "a", 24, detector)
    without = mined(
        [source], tmp_path / "b", 24, detector, recipe=Recipe(background=0, near=0, about=0, landmarks=0, rotated=0)
    )
    assert (store.kinds == LANDMARK).sum() > 3
    assert (without.kinds == LANDMARK).sum() == 0
    assert len(store) - len(without) <= MINING_RECIPE.about + MINING_RECIPE.landmarks + MINING_RECIPE.rotated
    assert (store.kinds == NEGATIVE).sum() == (without.kinds == NEGATIVE).sum() <= 60


@pytest.mark.parametrize("of_source", [True, False])
@pytest.mark.parametrize("ignored", [True, False])
def test_mining_in_incomplete_pictures(
    tmp_path: Path, detector: MTCNN, astronaut_path: Path, of_source: bool, ignored: bool
) -> None:
    """The face itself is not labelled, only a place beside it, or its label was lost."""
    labelled = annotation(astronaut_path, [(400.0, 300, 500, 400)], [ignored])
    for complete in (True, False):
        known = labelled if of_source else replace(labelled, complete=complete)
        store = mined(
            [AnnotatedSet([known], complete=complete or not of_source)], tmp_path / str(complete), 24, detector
        )
        assert bool((store.kinds == NEGATIVE).sum() > 20) is complete
    assert (store.kinds == NEGATIVE).sum() <= (not ignored)  # beside what is labelled a face


@pytest.mark.parametrize("interrupted", [False, True])
def test_mining_does_not_depend_on_workers_or_interruptions(
    tmp_path: Path, detector: MTCNN, astronaut_path: Path, interrupted: bool
) -> None:
    found = [annotation(astronaut_path, [FACE]), *entries(tmp_path, 4), annotation(astronaut_path)] * 2

    def run(folder: str, annotations: Callable[[], Iterator[Annotation]], workers: int) -> dict[str, bytes]:
        mined([AnnotatedSet(annotations())], tmp_path / folder, 24, detector, workers=workers, block=3)
        return contents(tmp_path / folder)

    def torn() -> Iterator[Annotation]:
        yield from found[:8]
        raise KeyboardInterrupt

    expected = run("one", lambda: iter(found), 1)
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            run("two", torn, 2)
    assert run("two", lambda: iter(found), 2) == expected


def test_mining_by_another_detector_is_another_run(tmp_path: Path, detector: MTCNN, astronaut_path: Path) -> None:
    source = AnnotatedSet([annotation(astronaut_path, [FACE])])
    mined([source], tmp_path / "out", 24, detector)
    same = MTCNN(device="cpu", thresholds=(0.3, 0.1, 0.1), num_threads=2)
    mined([source], tmp_path / "out", 24, same)
    embedded = {name: np.array(value) for name, value in weights().items()}
    for other in (
        MTCNN(device="cpu", thresholds=(0.4, 0.1, 0.1)),
        MTCNN(device="cpu", thresholds=(0.3, 0.1, 0.1), weights=embedded),
    ):
        with pytest.raises(ValueError, match="settings"):
            mined([source], tmp_path / "out", 24, other)
    with pytest.raises(ValueError, match="settings"):
        mined([source], tmp_path / "out", 24, detector, "onet")


def weights() -> dict[str, NDArray[np.float32]]:
    from mtcnn_fast.weights import embedded_weights

    return embedded_weights()


def test_pictures_beyond_the_detector_are_survived(tmp_path: Path, astronaut_path: Path) -> None:
    Image.new("L", (2500, 2500)).save(tmp_path / "large.png")
    small = MTCNN(device="cpu", min_face_size=4, scale_factor=0.99)
    problems = Problems()
    store = mined([AnnotatedSet([annotation(tmp_path / "large.png")])], tmp_path / "out", 24, small, problems=problems)
    assert len(store) == 0
    assert "pyramid" in next(iter(problems))


@pytest.mark.parametrize("network", ["pnet", "RNET", ""])
def test_bad_networks(tmp_path: Path, detector: MTCNN, network: str) -> None:
    with pytest.raises(ValueError, match="network"):
        mined([], tmp_path / "out", 24, detector, network)


@pytest.mark.parametrize(
    ("options", "error"), [({"negative": -1}, ValueError), ({"part": 1.5}, TypeError), ({"thin": 0}, ValueError)]
)
def test_bad_limits(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Limits(**options)
