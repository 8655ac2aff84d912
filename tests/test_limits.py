"""What is refused or limited, before it takes memory and time: sizes, arrays that lie, weights of any values."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from lying import Lying
from mtcnn_fast import MTCNN, _core, ops
from mtcnn_fast.protocols import read_on_gpu
from mtcnn_fast.weights import embedded_weights
from reference import CONVENTIONS

F32 = np.float32
LANDMARKS = F32([[[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]]])


@contextmanager
def at_once() -> Iterator[None]:
    """Neither a second nor a tenth of a gigabyte, of Python's or of the core's."""
    resource = pytest.importorskip("resource")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    tracemalloc.start()
    try:
        yield
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 1
    assert traced < 100e6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


# --- Images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeated", [False, True])
def test_an_image_without_a_level_is_not_copied(detector: MTCNN, repeated: bool) -> None:
    image = np.broadcast_to(np.uint8(7), (11, 10**8)) if repeated else np.zeros((11, 10**8), np.uint8)
    with at_once():
        assert len(detector.detect(image)) == 0
        assert [len(faces) for faces in detector.detect_batch([image, image])] == [0, 0]
        assert detector.inspect(image)["levels"] == []
        assert ops.pyramid(image) == []
        assert len(MTCNN(device="cpu").windows(image)[0]) == 0


def test_an_image_that_is_refused_is_not_copied(detector: MTCNN) -> None:
    large = np.broadcast_to(np.uint8(7), (10**6, 10**6))
    with at_once():
        for call in (detector.detect, detector.inspect, MTCNN(device="cpu").windows, ops.pyramid):
            with pytest.raises(ValueError, match=r"an image of 1000000x1000000 a pyramid of more than 2\^31 pixels"):
                call(large)
        for cut, faces in ((detector.crop, F32([[0, 0, 9, 9]])), (detector.align, LANDMARKS)):
            with pytest.raises(ValueError, match=r"image repeats rows or columns.* \(1000000, 1000000\).* too many"):
                cut(large, faces)
        with pytest.raises(ValueError, match="image repeats rows or columns"):
            ops.resize(large, (5, 5))
        patient = MTCNN(device="cpu", min_face_size=10**6)
        with pytest.raises(ValueError, match="image 1 repeats rows or columns"):
            patient.detect_batch([large[:20, :20].copy(), large])


def test_a_file_that_is_refused_is_not_read() -> None:
    Image: Any = pytest.importorskip("PIL.Image")

    class Unread:
        mode, size = "L", (10**6, 10**6)
        getbands = Image.Image.getbands

        @property
        def __array_interface__(self) -> dict[str, Any]:
            raise AssertionError("it is read")

    words = r"^image 1: min_face_size .* an image of 1000000x1000000 a pyramid of more than 2\^31 pixels"
    with pytest.raises(ValueError, match=words):
        MTCNN(device="cpu").detect_batch([np.zeros((20, 20), np.uint8), Unread()])


def test_batches_of_too_many_images(face: NDArray[np.uint8]) -> None:
    with at_once(), pytest.raises(ValueError, match="images is an array of 1000000000 images; wanted at most"):
        MTCNN(device="cpu").detect_batch(np.broadcast_to(face, (10**9, *face.shape)))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((8_400_000, 2048), r"a size of 2048x8400000 has more than 2\^30 pixels"),
        ((2**31 - 1, 2**31 - 1), r"a size of 2147483647x2147483647 pixels has a side of more than 2\^28"),
        ((1, 2**28 + 1), r"a size of 268435457x1 pixels has a side of more than 2\^28"),
    ],
)
def test_sizes_that_kernels_do_not_reach(backend: str, size: tuple[int, int], words: str) -> None:
    """By pybind11's and the kernels' int: 8.4 million rows of 2048 are 2^31 tasks on a GPU."""
    with at_once(), pytest.raises(ValueError, match=words):
        ops.resize(np.zeros((4, 4), np.uint8), size, device=backend)


def test_rows_that_kernels_do_not_reach() -> None:
    wide = np.lib.stride_tricks.as_strided(np.zeros(2**29, np.uint8), (24, 2**28 + 1), (1, 1))
    with at_once():
        with pytest.raises(ValueError, match=r"an image of 268435457x24 pixels has a side of more than 2\^28"):
            MTCNN(device="cpu", min_face_size=24, max_face_size=25).detect(wide)
        with pytest.raises(ValueError, match=r"an image of 268435457x24 pixels has a side of more than 2\^28"):
            ops.resize(wide, (5, 5))


# --- Cuts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2**14 + 1, 10**6, 2**31 - 1])
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_sizes_of_cuts(face: NDArray[np.uint8], size: int, n: int) -> None:
    detector = MTCNN(device="cpu")
    with at_once():
        for cut, faces in (
            (detector.crop, F32([[0, 0, 9, 9]] * n).reshape(n, 4)),
            (detector.align, np.repeat(LANDMARKS, n, axis=0)),
        ):
            with pytest.raises(ValueError, match=f"^size is {size}; it must be at least 1 and at most 16384$"):
                cut(face, faces, size=size)


def test_cuts_of_too_many_faces(face: NDArray[np.uint8]) -> None:
    boxes = np.broadcast_to(F32([0, 0, 9, 9]), (10**6, 4))
    with at_once(), pytest.raises(ValueError, match=r"^size is 160, of 1000000 faces: .* more than 16 GiB"):
        MTCNN(device="cpu").crop(face, boxes)


# --- Weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", CONVENTIONS)
@pytest.mark.parametrize("precision", ["fp32", "fast"])
@pytest.mark.parametrize("layer", ["pnet.box", "rnet.box", "onet.box", "onet.landmarks"])
@pytest.mark.parametrize("value", [40.0, -1e9, 3.4e38])
def test_faces_are_finite_whatever_the_weights(
    face: NDArray[np.uint8], profile: str, precision: str, layer: str, value: float
) -> None:
    weights = embedded_weights()
    weights[f"{layer}.bias"][1:] = value
    options: dict[str, Any] = {"weights": weights, "profile": profile, "precision": precision}
    detector = MTCNN(device="cpu", thresholds=(0.6, 0.01, 0.01), **options)
    mirrored = MTCNN(device="cpu", thresholds=(0.6, 0.01, 0.01), landmarks="mirrored", **options)
    faces = detector.detect(face)
    if layer in ("onet.box", "onet.landmarks"):
        assert len(faces) > 0
    for values in (*faces.astuple(), mirrored.detect(face).landmarks):
        assert np.isfinite(values).all()
        assert np.abs(values).max(initial=0) <= 528 * 120 + 32
    for network in ("rnet", "onet"):
        boxes, scores = detector.windows(face, network)
        assert np.isfinite(scores).all()
        assert np.abs(boxes).max(initial=0) <= 16 * 120 + 1
    json.dumps([values.tolist() for values in faces.astuple()], allow_nan=False)
    json.dumps(detector.inspect(face), allow_nan=False)


def test_offsets_count_up_to_16(face: NDArray[np.uint8]) -> None:
    """What is more counts as 16, to the bit."""
    found = []
    for value in (16.0, 17.0, 3e38):
        weights = embedded_weights()
        for layer in ("onet.box", "onet.landmarks"):
            weights[f"{layer}.weight"][:] = 0
            weights[f"{layer}.bias"][:] = value
        found.append(MTCNN(device="cpu", weights=weights, nms_thresholds=(0.5, 0.7, 0.7, 1)).detect(face))
    assert len(found[0]) > 0
    assert found[0] == found[1] == found[2]


def test_wild_weights_against_the_oracle(
    reference: Any, face: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = embedded_weights()
    weights["rnet.box.bias"] += F32([-20, 0.5, 17, 0])
    weights["onet.box.bias"] += F32([3, -40, 5, 18])
    weights["onet.landmarks.bias"] += F32([20, -20, 3, 0, 0, 15, -15.5, 16.2, 0, 1])
    monkeypatch.setattr(reference, "_networks", lambda: weights)
    reference.weight.cache_clear()
    try:
        for profile in CONVENTIONS:
            options: dict[str, Any] = {"thresholds": (0.6, 0.1, 0.01), "profile": profile}
            faces = MTCNN(device="cpu", weights=weights, **options).detect(face)
            expected = reference.detect(face, **options)
            # Coordinates of tens of thousands of pixels, in float32.
            reference.assert_agrees(expected, *faces.astuple(), box_tolerance=0.5, landmark_tolerance=0.5)
    finally:
        reference.weight.cache_clear()


# --- Arrays that lie --------------------------------------------------------------------------------------------------


def lying(version: int | None = None) -> Lying:
    return Lying(np.zeros((20, 20, 3), np.uint8), version)


@pytest.mark.parametrize("dimensions", [-1, -(2**31), 33, 10**9, 2**31 - 1])
def test_capsules_of_absurd_dimensions(dimensions: int) -> None:
    lie = lying()
    lie.tensor.dimensions = dimensions
    with pytest.raises(ValueError, match=f"^image: the capsule has {dimensions} dimensions; wanted 0 to 32$"):
        MTCNN(device="cpu").detect(lie)


def test_capsules_of_null_pointers() -> None:
    lie = lying()
    lie.tensor.strides = None  # dense
    assert len(MTCNN(device="cpu").detect(lie)) == 0
    lie.tensor.shape = None
    with pytest.raises(ValueError, match=r"^image 0: the capsule has 3 dimensions and no shape$"):
        MTCNN(device="cpu").detect_batch([lie])
    lie = lying()
    lie.tensor.data = None
    with pytest.raises(ValueError, match=r"^image is at address 0, which is none$"):
        MTCNN(device="cpu").detect(lie)


@pytest.mark.parametrize(
    ("sides", "steps", "offset", "words"),
    [
        ((2**62, 2**62, 3), (1, 1, 1), 0, "does not fit into memory"),
        ((20, 20, 3), (2**62, 3, 1), 0, "does not fit into memory"),
        ((20, 20, 3), (-(2**62), 3, 1), 0, "does not fit into memory"),
        ((20, 20, 3), (-(2**63), 3, 1), 0, "beyond 64 bits"),
        ((2**40, 2**40, 3), (0, 0, 1), 0, "does not fit into memory"),
        ((-20, 20, 3), (60, 3, 1), 0, "wanted sides of at least 0"),
        ((20, 20, 3), (60, 3, 1), 2**64 - 1, "an offset of 18446744073709551615 bytes, beyond the end of memory"),
        ((20, 20, 0), (60, 3, 1), 0, "a side is zero"),
    ],
)
def test_capsules_of_absurd_layouts(sides: Any, steps: Any, offset: int, words: str) -> None:
    lie = lying()
    lie.sides[:], lie.steps[:], lie.tensor.byte_offset = sides, steps, offset
    with pytest.raises(ValueError, match=rf"^image.*{words}"):
        MTCNN(device="cpu").detect(lie)


@pytest.mark.parametrize(
    ("name", "version", "error", "words"),
    [
        (b"", None, TypeError, "the capsule is named ''; wanted one of DLPack that nobody has used yet"),
        (b"\xff\xfe tensor", None, TypeError, "the capsule is named '[?][?] tensor'"),
        (b"x" * 10_000, None, TypeError, "the capsule is named 'x{40}'"),
        (b"used_dltensor", None, TypeError, "the capsule is named 'used_dltensor'"),
        (b"dltensor_versioned", 2, ValueError, "the capsule is of DLPack 2; wanted 1"),
    ],
)
def test_capsules_of_other_names(name: bytes, version: int | None, error: type[Exception], words: str) -> None:
    lie = lying(version)
    lie.name = name
    with pytest.raises(error, match=f"^image: {words}"):
        MTCNN(device="cpu").detect(lie)


def test_what_only_looks_like_a_capsule() -> None:
    PyCapsule = type("PyCapsule", (), {})
    lie = SimpleNamespace(__dlpack_device__=lambda: (1, 0), __dlpack__=lambda **_: PyCapsule())
    with pytest.raises(TypeError, match=r"^image: .*no capsule"):
        MTCNN(device="cpu").detect(lie)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("typestr", "S99999999999", TypeError),
        ("shape", (True, 20, 3), TypeError),
        ("data", (True, False), TypeError),
        ("stream", True, TypeError),
        ("stream", -1, ValueError),
        ("stream", 2**64, ValueError),
        ("shape", (2**62, 2**62, 3), ValueError),
        ("strides", (2**62, 3, 1), ValueError),
        ("data", (2**64 - 1, False), ValueError),
    ],
)
def test_interfaces_that_are_impossible(field: str, value: Any, error: type[Exception]) -> None:
    interface = {"shape": (20, 20, 3), "typestr": "|u1", "data": (4096, False), "version": 3, field: value}
    on_gpu = cast(_core.Detector, SimpleNamespace(device="cuda:0"))
    with pytest.raises(error, match=r"^image"):
        read_on_gpu(on_gpu, SimpleNamespace(__cuda_array_interface__=interface), "image", 0)


def test_text_of_half_a_character() -> None:
    for option in ("device", "profile", "precision", "landmarks", "channel_order"):
        with pytest.raises(ValueError, match=rf"^{option} is '\\ud800', which is no text"):
            MTCNN(**{option: "\ud800"})
