"""What is computed in less than float32: precision="fast", and the screen that must not show."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast import MTCNN, Detections, ops
from reference import CONVENTIONS

Image = NDArray[np.uint8]

HAS_BF16 = MTCNN(device="cpu", precision="fast").precision == "bf16"


def made(monkeypatch: pytest.MonkeyPatch, screen: bool, device: str = "cpu", **options: object) -> MTCNN:
    monkeypatch.setenv("MTCNN_FAST_SCREEN", "1" if screen else "0")
    return MTCNN(device=device, **options)  # type: ignore[arg-type]


def assert_screen_is_not_seen(screened: MTCNN, plain: MTCNN, image: Image) -> None:
    assert_same(screened.detect(image), plain.detect(image))
    with_screen, without = screened.inspect(image), plain.inspect(image)
    assert with_screen["candidates"] == without["candidates"]
    for stage, confirmed in with_screen["confirmed"].items():
        everything = without["confirmed"][stage]
        assert with_screen["candidates"]["faces"] <= confirmed <= everything
        windows = sum(level["windows"] for level in without["levels"])
        assert everything == (windows if stage == "windows" else without["candidates"][stage])


def assert_same(faces: Detections, others: Detections) -> None:
    for array, other in zip(faces.astuple(), others.astuple(), strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("profile", CONVENTIONS)
@pytest.mark.parametrize("options", [{}, {"min_face_size": 12}, {"thresholds": (0.5, 0.5, 0.9)}, {"num_threads": 1}])
def test_the_screen_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, astronaut: Image, profile: str, options: dict[str, object]
) -> None:
    screened = made(monkeypatch, True, profile=profile, **options)
    plain = made(monkeypatch, False, profile=profile, **options)
    mosaic = np.concatenate([astronaut[::2, ::2], astronaut[::2, ::-2]], axis=1)
    for image in (astronaut, mosaic, 255 - astronaut, astronaut[13:313, 100:399], astronaut[:77]):
        assert_screen_is_not_seen(screened, plain, image)


@pytest.mark.parametrize("profile", CONVENTIONS)
def test_the_screen_changes_nothing_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, cuda: str, face: Image, profile: str
) -> None:
    # Small faces have many cells near the threshold.
    screened, plain = (made(monkeypatch, screen, device=cuda, profile=profile) for screen in (True, False))
    for image in (face, face[::-2, ::2], 255 - face[::2, ::2]):
        assert_screen_is_not_seen(screened, plain, image)
    confirmed, everything = (each.inspect(face)["confirmed"] for each in (screened, plain))
    assert confirmed["windows"] < 0.2 * everything["windows"]
    assert confirmed["rnet"] < everything["rnet"]


@pytest.mark.skipif(not HAS_BF16, reason="needs a processor with tiles for bf16, and kernels for it")
def test_the_screen_spares_work(monkeypatch: pytest.MonkeyPatch, astronaut: Image) -> None:
    confirmed = made(monkeypatch, True).inspect(astronaut)["confirmed"]
    everything = made(monkeypatch, False).inspect(astronaut)["confirmed"]
    assert confirmed["windows"] < 0.2 * everything["windows"]
    assert confirmed["rnet"] < everything["rnet"]


@pytest.mark.parametrize("thresholds", [(0.3, 0.3, 0.3), (0.95, 0.95, 0.95)])
def test_thresholds_that_the_margins_are_not_for_are_not_screened(
    astronaut: Image, thresholds: tuple[float, float, float]
) -> None:
    report = MTCNN(device="cpu", thresholds=thresholds).inspect(astronaut)
    assert report["confirmed"]["windows"] == sum(level["windows"] for level in report["levels"])
    assert report["confirmed"]["rnet"] == report["candidates"]["rnet"]


def test_a_wrong_screen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTCNN_FAST_SCREEN", "yes")
    with pytest.raises(ValueError, match=r"MTCNN_FAST_SCREEN is 'yes', wanted '0' or '1'"):
        MTCNN(device="cpu")


def test_fast_finds_the_face(backend: str, face: Image) -> None:
    exact, fast = MTCNN(device=backend), MTCNN(device=backend, precision="fast")
    assert exact.precision == "fp32"
    assert fast.precision in (("fp32", "bf16") if backend == "cpu" else ("fp16",))
    assert "precision='fast'" in repr(fast)
    faces, others = exact.detect(face), fast.detect(face)
    assert len(others) == len(faces) == 1
    np.testing.assert_allclose(others.boxes, faces.boxes, atol=2)
    np.testing.assert_allclose(others.landmarks, faces.landmarks, atol=2)
    if fast.precision != "fp32":
        assert fast.inspect(face)["confirmed"] == {"windows": 0, "rnet": 0, "onet": 0}
    else:
        assert_same(others, faces)


def test_fast_survives_pickling(backend: str, face: Image) -> None:
    fast = MTCNN(device=backend, precision="fast")
    restored = pickle.loads(pickle.dumps(fast))
    assert (restored.precision, repr(restored)) == (fast.precision, repr(fast))
    assert_same(restored.detect(face), fast.detect(face))


@pytest.mark.heavy
def test_fast_does_not_depend_on_threads_and_batches(backend: str, astronaut: Image) -> None:
    images = [astronaut, astronaut[50:350, 60:400], astronaut[::2, ::2]] * 3
    alone = MTCNN(device=backend, precision="fast", num_threads=1)
    one = [alone.detect(image) for image in images]
    for faces, others in zip(one, MTCNN(device=backend, precision="fast").detect_batch(images), strict=True):
        assert_same(faces, others)


def test_stages_in_fast_are_near(backend: str, astronaut: Image) -> None:
    level = ops.pyramid(astronaut, 40)[0]
    both = (ops.pnet(level, device=backend, precision=precision) for precision in ("fp32", "fast"))
    for exact, fast in zip(*both, strict=True):
        np.testing.assert_allclose(fast, exact, atol=0.08)
    for side, stage in ((24, ops.rnet), (48, ops.onet)):
        crops = (ops.resize(astronaut[50:200, 150:300], (side, side)) - 127.5) / 128
        exact_outputs = stage(crops[None], device=backend)
        for exact, fast in zip(exact_outputs, stage(crops[None], device=backend, precision="fast"), strict=True):
            np.testing.assert_allclose(fast, exact, atol=0.08)
