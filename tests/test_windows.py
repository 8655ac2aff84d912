"""`MTCNN.windows`: what R-Net and O-Net would look at, against the oracle."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast import MTCNN
from mtcnn_fast.weights import embedded_weights
from reference import CONVENTIONS

NETWORKS = ("rnet", "onet")


@pytest.mark.parametrize("profile", CONVENTIONS)
def test_windows_are_the_crops_of_the_oracle(
    profile: str, reference: ModuleType, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    squares, seen = reference.squares, []

    def spy(*arguments: Any) -> Any:
        candidates, crops = squares(*arguments)
        seen.append((crops, reference.probability(candidates.logits)))
        return candidates, crops

    monkeypatch.setattr(reference, "squares", spy)
    reference.detect(astronaut, profile=profile)
    detector = MTCNN(device="cpu", profile=profile)
    for network, (crops, scores) in zip(NETWORKS, seen, strict=True):
        found, probabilities = detector.windows(astronaut, network)
        np.testing.assert_array_equal(found, crops - [1, 1, 0, 0])
        np.testing.assert_allclose(probabilities, scores, rtol=0, atol=1e-5)


def test_as_many_as_the_cascade_looks_at(astronaut: NDArray[np.uint8]) -> None:
    detector = MTCNN(device="cpu", min_face_size=30, thresholds=(0.3, 0.1, 0.7), num_threads=1)
    counts = detector.inspect(astronaut)["candidates"]
    for network in NETWORKS:
        boxes, scores = detector.windows(astronaut, network)
        assert len(boxes) == len(scores) == counts[network] > 0
        # Square before each corner is rounded.
        np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1], atol=1)


def test_nothing_to_look_at() -> None:
    for network in NETWORKS:
        boxes, scores = MTCNN(device="cpu").windows(np.zeros((40, 5, 3), np.uint8), network)
        assert (boxes.shape, boxes.dtype, scores.shape, scores.dtype) == ((0, 4), np.float32, (0,), np.float32)


def test_errors(astronaut: NDArray[np.uint8]) -> None:
    detector = MTCNN(device="cpu")
    with pytest.raises(ValueError, match="network is 'pnet'; wanted 'rnet' or 'onet'"):
        detector.windows(astronaut, "pnet")
    with pytest.raises(TypeError, match=r"network is 3 \(int\); wanted a string"):
        detector.windows(astronaut, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="image"):
        detector.windows("a path")


def test_embedded_weights_are_copies(reference: ModuleType, astronaut: NDArray[np.uint8]) -> None:
    tensors = embedded_weights()
    assert len(tensors) == len(reference.load_networks())
    assert MTCNN(weights=tensors).detect(astronaut) == MTCNN().detect(astronaut)
    tensors["pnet.face.bias"][:] = 0
    assert embedded_weights()["pnet.face.bias"].any()
