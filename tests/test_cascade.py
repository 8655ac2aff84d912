"""Every device and instruction set against the oracle, tests/reference.py: stage by stage, then whole detections."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast import MTCNN, ops
from reference import CONVENTIONS

PROFILES = tuple(CONVENTIONS)

# The oracle takes seconds a megapixel.
PHOTOS = ["TropComplique_office1", "TropComplique_office4", "TropComplique_office5", "ipazc_mtcnn_ivan"]
PHOTOS += ["ipazc_mtcnn_no-faces", "kpzhang93_test1", "kpzhang93_test2", "timesler_multiface"]

Image = NDArray[np.uint8]


@pytest.fixture(scope="session")
def oracle(reference: ModuleType) -> Any:
    """reference.detect, run once for each image and its options, which must be given as the same object again."""
    results: dict[Any, Any] = {}

    def detect(image: Image, **options: Any) -> Any:
        key = (id(image), tuple(sorted(options.items())))
        if key not in results:
            # The image is kept beside its result, so that no other can get its address.
            results[key] = image, reference.detect(image, **options)
        return results[key][1]

    return detect


@pytest.fixture(scope="session")
def portrait(astronaut: Image) -> Image:
    """200 x 220, one face."""
    return astronaut[40:240, 120:340]


@functools.cache
def noise(height: int, width: int) -> Image:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


SIZES = [((40, 50), (20, 25)), ((40, 50), (17, 31)), ((97, 61), (96, 60)), ((97, 61), (97, 61)), ((123, 321), (12, 13))]
SIZES += [((24, 24), (48, 48)), ((13, 90), (24, 24)), ((1, 1), (24, 24)), ((5, 3), (48, 48)), ((300, 20), (60, 40))]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_resize(
    device: str, reference: ModuleType, profile: str, source: tuple[int, int], target: tuple[int, int]
) -> None:
    image = noise(*source)
    found = ops.resize(image, target, device=device, profile=profile)
    expected = reference.resize(image, target, profile)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("options", [{}, {"min_face_size": 37.5}, {"min_face_size": 12, "scale_factor": 0.79}])
def test_pyramid(device: str, reference: ModuleType, astronaut: Image, profile: str, options: dict[str, float]) -> None:
    for image in (astronaut[100:230, 150:301], astronaut[:20, :33], astronaut[:37, :37], astronaut[:11]):
        found = ops.pyramid(image, device=device, profile=profile, **options)
        expected = reference.pyramid(image, profile=profile, **options)
        assert [level.shape for level in found] == [level.shape for level in expected]
        for level, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(level, other, atol=2e-5)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 29), (40, 41), (75, 130), (12, 260), (201, 12)])
def test_pnet(device: str, reference: ModuleType, height: int, width: int) -> None:
    level = reference.normalise(noise(height, width))
    probability, offsets = ops.pnet(level, device=device)
    logits, expected = reference.pnet(level)
    np.testing.assert_allclose(probability, reference.probability(logits), atol=1e-5)
    np.testing.assert_allclose(offsets, expected, atol=1e-4)


@pytest.mark.parametrize("network", ["rnet", "onet"])
@pytest.mark.parametrize("n", [1, 3, 33])
def test_refining_networks(device: str, reference: ModuleType, astronaut: Image, network: str, n: int) -> None:
    side = {"rnet": 24, "onet": 48}[network]
    corners = np.random.default_rng(n).integers(0, 512 - side, (n, 2))
    corners[0] = 100, 210  # in the face
    crops = reference.normalise(np.stack([astronaut[y : y + side, x : x + side] for y, x in corners]))
    probability, *others = getattr(ops, network)(crops, device=device)
    logits, *expected = getattr(reference, network)(crops)
    np.testing.assert_allclose(probability, reference.probability(logits), atol=1e-5)
    for found, other in zip(others, expected, strict=True):
        np.testing.assert_allclose(found, other, atol=1e-4)


@pytest.mark.parametrize("mode", ["union", "min"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms(device: str, reference: ModuleType, mode: str, threshold: float) -> None:
    random = np.random.default_rng(7)
    corners = random.uniform(0, 200, (400, 2))
    boxes = np.hstack([corners, corners + random.uniform(10, 60, (400, 2))])
    scores = random.uniform(0, 1, 400).astype(np.float32)
    np.testing.assert_array_equal(
        ops.nms(boxes, scores, threshold, mode, device=device), reference.nms(boxes, scores, threshold, mode)
    )


OPTIONS: list[dict[str, Any]] = [
    {},
    {"min_face_size": 12},
    {"min_face_size": 47, "scale_factor": 0.85},
    {"max_face_size": 100},
    {"thresholds": (0.3, 0.3, 0.3)},
    {"thresholds": (0.6, 0.05, 0.05), "nms_thresholds": (0.7, 0.3, 0.9, 1.0)},
    {"min_face_size": 60, "thresholds": (0, 0, 0)},
    {"thresholds": (1, 1, 1)},
    {"nms_thresholds": (0.9, 0.9, 0.9, 0.9)},
    {"nms_thresholds": (0, 0, 0, 0)},
    {"min_face_size": 5, "max_face_size": 8},
]
LIGHT = OPTIONS[2:3] + OPTIONS[7:8]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "options", [pytest.param(o, marks=[pytest.mark.heavy] * (o not in LIGHT), id=str(o)) for o in OPTIONS]
)
def test_options(
    device: str, reference: ModuleType, oracle: Any, portrait: Image, profile: str, options: dict[str, Any]
) -> None:
    faces = MTCNN(device=device, profile=profile, **options).detect(portrait)
    reference.assert_agrees(oracle(portrait, profile=profile, **options), *faces.astuple())


@pytest.mark.heavy
@pytest.mark.parametrize("name", PHOTOS)
def test_photographs(device: str, reference: ModuleType, oracle: Any, photos: dict[str, Image], name: str) -> None:
    faces = MTCNN(device=device).detect(photos[name])
    reference.assert_agrees(oracle(photos[name]), *faces.astuple())


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["TropComplique_office1", "TropComplique_office5"])
@pytest.mark.parametrize("profile", PROFILES[1:])
def test_photographs_in_other_profiles(
    device: str, reference: ModuleType, oracle: Any, photos: dict[str, Image], name: str, profile: str
) -> None:
    faces = MTCNN(device=device, profile=profile).detect(photos[name])
    reference.assert_agrees(oracle(photos[name], profile=profile), *faces.astuple())


@pytest.mark.parametrize("index", [0, 1, 30])
def test_of_several_images_the_one_that_is_refused_is_named(index: int) -> None:
    """Whose pyramid would have more than 2^31 pixels. The same of one image alone has no number."""
    detector = MTCNN(device="cpu", min_face_size=4, scale_factor=0.99, num_threads=1)
    images = [np.zeros((20, 30), np.uint8)] * 31
    images[index] = np.zeros((2500, 2500), np.uint8)
    words = r"min_face_size 4\.0.* image of 2500x2500 a pyramid of more than 2\^31 pixels"
    with pytest.raises(ValueError, match=rf"^image {index}: {words}"):
        detector.detect_batch(images)
    with pytest.raises(ValueError, match=f"^{words}"):
        detector.detect(images[index])
    # Whose rows are repeated in memory, and would be copied.
    images[index] = np.broadcast_to(images[index][:1, :1], (2500, 2500))
    with pytest.raises(ValueError, match=rf"^image {index}: {words}"):
        detector.detect_batch(images)
