"""MTCNN.detect_each: any sources, in order, with little in memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast
from mtcnn_fast import MTCNN, Detections, ImageResult, reading, streaming
from mtcnn_fast.read_ahead import read_ahead

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def detector() -> MTCNN:
    return MTCNN(device="cpu", min_face_size=40)


@pytest.fixture
def folder(tmp_path: Path, astronaut: Pixels) -> Path:
    """Twelve pictures of the astronaut at several sizes."""
    for number in range(12):
        side = 120 + 10 * number
        Image.fromarray(astronaut).resize((side, side)).save(tmp_path / f"{number:02}.png")
    return tmp_path


def same(a: Detections | None, b: Detections | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(np.array_equal(x, y) for x, y in zip(a.astuple(), b.astuple(), strict=True))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("mtcnn_fast-reader")]


@pytest.fixture
def batches(detector: MTCNN, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each batch has."""
    found: list[int] = []
    find = streaming._find

    def noted(find_: Any, images: list[Any]) -> Any:
        found.append(len(images))
        return find(find_, images)

    monkeypatch.setattr(streaming, "_find", noted)
    return found


@pytest.mark.parametrize(("batch_size", "threads"), [(1, 1), (5, 2), (32, 4)])
def test_files_come_in_order_and_as_detect_finds_them(
    detector: MTCNN, folder: Path, batch_size: int, threads: int
) -> None:
    paths = sorted(folder.iterdir())
    results = list(detector.detect_each(paths, batch_size=batch_size, readers=threads))
    assert [result.key for result in results] == paths
    for path, (key, image, faces, error) in zip(paths, results, strict=True):
        assert key == path
        assert error is None
        assert np.array_equal(image, mtcnn_fast.read(path))
        assert same(faces, detector.detect(image))
    assert sum(len(result.faces or ()) for result in results) >= 10
    assert not readers()


def test_sources_of_every_kind(detector: MTCNN, folder: Path, astronaut: Pixels) -> None:
    picture = Image.fromarray(astronaut)
    path = folder / "03.png"
    sources = [astronaut, path, ("mine", astronaut[:, ::-1]), str(path), (("a", 1), path), picture, astronaut[..., 0]]
    results = list(detector.detect_each(iter(sources), batch_size=3))
    assert [result.key for result in results] == [0, path, "mine", str(path), ("a", 1), 5, 6]
    assert results[0].image is astronaut
    assert results[5].image is picture
    for source, result in zip(sources, results, strict=True):
        given = source[1] if isinstance(source, tuple) else source
        image = mtcnn_fast.read(given) if isinstance(given, str | Path) else given
        assert result.error is None
        assert same(result.faces, detector.detect(image))


def test_each_backend(backend: str, face: Pixels, tmp_path: Path) -> None:
    detector = MTCNN(device=backend)
    Image.fromarray(face).save(tmp_path / "a.png")
    results = list(detector.detect_each([face, tmp_path / "a.png", face[:, ::-1], tmp_path / "b.png"]))
    assert [result.error is None for result in results] == [True, True, True, False]
    for result, image in zip(results, (face, face, face[:, ::-1]), strict=False):
        assert same(result.faces, detector.detect(image))


def test_images_of_dlpack(detector: MTCNN, astronaut: Pixels) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(astronaut.copy())
    results = list(detector.detect_each(torch.stack([tensor, tensor])))
    assert [result.key for result in results] == [0, 1]
    assert all(same(result.faces, detector.detect(astronaut)) for result in results)


def test_options(detector: MTCNN, astronaut: Pixels) -> None:
    image = np.concatenate([astronaut[:, 150:], astronaut], axis=1)
    (result,) = detector.detect_each([image], max_faces=1, clip=True)
    assert same(result.faces, detector.detect(image, max_faces=1, clip=True))


def test_an_error_is_a_result(detector: MTCNN, folder: Path, astronaut: Pixels) -> None:
    (folder / "text.jpg").write_text("no picture")
    sources = [
        folder / "00.png",
        folder / "missing.jpg",
        folder / "text.jpg",
        folder,
        "-",
        astronaut.astype(np.float32),
        ("bytes", b"GIF89a"),
        np.zeros((0, 5, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (2**16, 2**16, 3)),
        None,
        astronaut,
    ]
    results = list(detector.detect_each(sources, batch_size=4))
    assert len(results) == len(sources)
    words = [
        None,
        "No such file",
        "not a picture",
        "directory",
        "pipe",
        "float32",
        "mtcnn_fast.read(data)",
        "a side is zero",
        "repeats rows",
        "cv2.imread",
        None,
    ]
    for result, word in zip(results, words, strict=True):
        if word is None:
            assert result.error is None
            assert result.faces is not None
        else:
            assert word in (result.error or "")
            assert result.faces is None
    assert results[1].image is None
    assert results[5].image is sources[5]


def test_an_image_that_is_too_large_fails_alone(astronaut: Pixels) -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(10**5, np.uint8), (40_000, 40_000, 3), (1, 1, 1))
    detector = MTCNN(device="cpu", min_face_size=4, max_face_size=8)
    large, small = detector.detect_each([huge, astronaut[:100, :100]])
    assert large.error is not None
    assert "2^31 pixels" in large.error
    assert small.error is None


def test_an_image_that_fails_costs_no_other(
    detector: MTCNN, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = MTCNN._find

    def failing(self: MTCNN, views: list[Any], *rest: Any) -> Any:
        if any(view[0].shape[0] == 200 for view in views):
            raise RuntimeError("the driver  says no")
        return find(self, views, *rest)

    monkeypatch.setattr(MTCNN, "_find", failing)
    results = list(detector.detect_each([astronaut[:side] for side in (150, 200, 250)]))
    assert [result.error for result in results] == [None, "the driver says no", None]


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_files_are_read_in_the_detectors_order(astronaut: Pixels, tmp_path: Path, order: str) -> None:
    # Red and blue differ so much that a face is another one where they are exchanged.
    tinted = astronaut * np.array([1, 0.7, 0.4])
    Image.fromarray(tinted.astype(np.uint8)).save(tmp_path / "a.png")
    detector = MTCNN(device="cpu", min_face_size=40, channel_order=order)
    image = mtcnn_fast.read(tmp_path / "a.png")
    in_order = image if order == "rgb" else image[..., ::-1]
    file, array = detector.detect_each([tmp_path / "a.png", in_order])
    assert np.array_equal(file.image, in_order)
    assert file.image.flags.c_contiguous
    assert file.image.flags.writeable
    assert same(file.faces, array.faces)
    assert same(file.faces, MTCNN(device="cpu", min_face_size=40).detect(image))


def test_a_camera_is_not_waited_for(detector: MTCNN, face: Pixels) -> None:
    asked = 0

    def camera() -> Iterator[Pixels]:
        nonlocal asked
        for asked in itertools.count(1):  # noqa: B007
            yield face

    results = detector.detect_each(camera(), batch_size=1)
    for number in range(5):
        assert next(results).key == number
        assert asked == number + 1
    results = detector.detect_each(camera(), batch_size=4)
    for number in range(9):
        assert next(results).key == number
    assert asked == 12


def test_endless_files_are_read_little_ahead(detector: MTCNN, folder: Path) -> None:
    asked = 0

    def files() -> Iterator[Path]:
        nonlocal asked
        for asked in itertools.count(1):
            yield folder / f"{asked % 12:02}.png"

    results = detector.detect_each(files(), batch_size=4, readers=2)
    for _ in range(10):
        next(results)
    assert asked <= 12 + 4
    results.close()
    assert not readers()


def test_nothing_is_done_before_the_first_result_is_asked_for(detector: MTCNN) -> None:
    def sources() -> Iterator[Pixels]:
        raise AssertionError("asked")
        yield

    detector.detect_each(sources()).close()


@pytest.mark.parametrize("end", [lambda results: results.close(), lambda results: results.throw(KeyboardInterrupt)])
def test_an_early_end_leaves_no_thread(detector: MTCNN, folder: Path, end: Callable[[Any], object]) -> None:
    results = detector.detect_each(sorted(folder.iterdir()) * 5, batch_size=2, readers=3)
    next(results)
    assert readers()
    with suppress(KeyboardInterrupt):
        end(results)
    assert not readers()


def test_a_loop_that_is_left_leaves_no_thread(detector: MTCNN, folder: Path) -> None:
    for _ in detector.detect_each(sorted(folder.iterdir()) * 5, batch_size=2):
        break
    assert not readers()


def test_a_program_may_end_amid_an_iteration(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mtcnn_fast import MTCNN\n"
        "results = MTCNN(device='cpu').detect_each(sorted(Path(sys.argv[1]).iterdir()) * 100, batch_size=2)\n"
        "print(next(results).error)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "None\n", "")


def test_what_the_sources_raise_comes_in_its_turn(detector: MTCNN, folder: Path) -> None:
    class Unplugged(Exception):
        pass

    def sources() -> Iterator[Path]:
        yield from sorted(folder.iterdir())[:7]
        raise Unplugged

    results = detector.detect_each(sources(), batch_size=4, readers=2)
    assert [next(results).key.name for _ in range(7)] == [f"{number:02}.png" for number in range(7)]
    with pytest.raises(Unplugged):
        next(results)
    assert not readers()


def test_batches_are_of_few_pixels(detector: MTCNN, batches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_BATCH_PIXELS", 10_000)
    sides = [60, 60, 60, 100, 50, 50, 50, 50, 50, 120, 20]
    images = [np.zeros((side, side, 3), np.uint8) for side in sides]
    assert len(list(detector.detect_each(images))) == len(sides)
    assert batches == [2, 1, 1, 4, 1, 1, 1]
    batches.clear()
    assert len(list(detector.detect_each(images, batch_size=2))) == len(sides)
    assert batches == [2, 1, 1, 2, 2, 1, 1, 1]


def test_no_file_is_read_while_many_pixels_wait() -> None:
    held = most = 0
    lock = threading.Lock()

    def load(source: int) -> int:
        nonlocal held, most
        with lock:
            held += 10
            most = max(most, held)
        time.sleep(0.001)
        return source

    results = read_ahead(
        range(200), load, ahead=lambda _: True, pixels=lambda _: 10, readers=3, most_sources=50, most_pixels=60
    )
    for number, (source, result) in enumerate(results):
        assert source == result == number
        time.sleep(0.002 if number % 7 else 0.02)
        with lock:
            held -= 10
    assert most <= 60 + 3 * 10 + 10  # those that were begun before the last came, and the one at hand


def test_memory_is_bounded(detector: MTCNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = 500 * 500
    Image.fromarray(np.zeros((500, 500, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(streaming, "_BATCH_PIXELS", 4 * pixels)
    monkeypatch.setattr(MTCNN, "_find", lambda self, views, *_: [_none() for _ in views])
    tracemalloc.start()
    for number, _ in enumerate(detector.detect_each(itertools.repeat(tmp_path / "a.png", 200), readers=2)):
        if number == 20:
            early = tracemalloc.get_traced_memory()[1]
    late = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert late <= 3 * pixels * (4 + 4 + 2 * 3 + 2)
    assert late <= early + 3 * pixels * 6


def _none() -> Detections:
    return Detections(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))


def test_what_is_to_be_said_of_a_file_is_a_warning(detector: MTCNN, tmp_path: Path, astronaut: Pixels) -> None:
    picture = Image.fromarray(astronaut)
    picture.save(tmp_path / "two.tif", save_all=True, append_images=[picture])
    picture.save(tmp_path / "one.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = list(detector.detect_each([tmp_path / "one.png", tmp_path / "two.tif"]))
    assert [str(warning.message) for warning in caught] == [
        f"'{tmp_path / 'two.tif'}': the first of 2 pages is taken",
    ]
    assert caught[0].filename == __file__
    assert [len(result.faces or ()) for result in results] == [1, 1]


def test_a_turned_image_is_warned_of_by_its_key(detector: MTCNN, astronaut: Pixels) -> None:
    picture = Image.fromarray(astronaut)
    picture.getexif()[274] = 6
    with pytest.warns(UserWarning, match="image mine has EXIF orientation 6") as caught:
        list(detector.detect_each([("mine", picture)]))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("sources", "hint"),
    [
        ("folder", "rglob"),
        (Path("folder"), "rglob"),
        (b"GIF", "path"),
        ({"a": "a.png"}, "items"),
        (np.zeros((9, 9, 3), np.uint8), r"\[image\]"),
        (np.zeros((9, 9), np.uint8), r"\[image\]"),
        (Image.new("RGB", (9, 9)), r"\[image\]"),
        (3, "iterable"),
        (None, "iterable"),
    ],
)
def test_sources_that_are_none(detector: MTCNN, sources: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=f"sources is .*{hint}"):
        detector.detect_each(sources)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 1.5}, TypeError),
        ({"readers": 0}, ValueError),
        ({"readers": "2"}, TypeError),
        ({"max_faces": -1}, ValueError),
        ({"clip": 1}, TypeError),
    ],
)
def test_options_are_checked_at_once(detector: MTCNN, options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match=next(iter(options))):
        detector.detect_each([], **options)


def test_without_pillow_files_cannot_be_read(
    detector: MTCNN, folder: Path, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise ImportError("reading pictures needs Pillow")

    monkeypatch.setattr(reading, "_pillow", missing)
    results = detector.detect_each([astronaut, folder / "00.png"])
    assert isinstance(next(results), ImageResult)
    with pytest.raises(ImportError, match="Pillow"):
        next(results)


def test_no_sources(detector: MTCNN) -> None:
    assert list(detector.detect_each([])) == []
