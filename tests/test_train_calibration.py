"""Maps of logits that give a network the false positives of another, and their place in the face head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch

from mtcnn_fast.train import networks
from mtcnn_fast.train.calibration import LOWER_THRESHOLD, calibration, fold


def scores(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def passing(values: NDArray[np.floating[Any]], threshold: float) -> int:
    return int((values >= threshold).sum())


LOGITS = np.random.default_rng(1).normal(-1, 2, 400)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.5])
def test_the_map_is_found(scale: float, shift: float) -> None:
    """The scores are those of the embedded network after the inverse map."""
    embedded = scores(LOGITS)
    found = calibration(scores((LOGITS - shift) / scale), embedded, 0.7)
    # Between two scores the place of a threshold is not known: 400 windows are some hundredths of a logit apart.
    assert found.scale == pytest.approx(scale, rel=0.05)
    assert found.shift == pytest.approx(shift, abs=0.1)
    assert found.wanted == (passing(embedded, 0.7), passing(embedded, LOWER_THRESHOLD))


@pytest.mark.parametrize(
    ("own", "embedded"),
    [
        (LOGITS * 0.05, LOGITS),  # a slope beyond the limits
        (LOGITS, np.array([5.0])),  # one count for both thresholds: no slope
        (LOGITS, np.array([-5.0])),  # none may pass
        (LOGITS, np.zeros(0)),
    ],
)
def test_the_count_at_the_default_threshold_is_kept(own: NDArray[np.float64], embedded: NDArray[np.float64]) -> None:
    found = calibration(scores(own), scores(embedded), 0.7)
    assert 0.25 <= found.scale <= 4
    mapped = scores(found.scale * own + found.shift)
    assert passing(mapped, 0.7 - 1e-6) == passing(scores(embedded), 0.7)


@pytest.mark.parametrize(
    ("own", "embedded"),
    [
        (np.zeros(0), LOGITS),
        (LOGITS[:5], LOGITS),  # fewer windows than the embedded network lets through
        (np.array([-9.0, -11.0]), np.array([-5.0])),  # none may pass, and none does
        (np.array([-9.0, -11.0]), np.zeros(0)),
    ],
)
def test_logits_do_not_rise_without_a_count(own: NDArray[np.float64], embedded: NDArray[np.float64]) -> None:
    found = calibration(scores(own), scores(embedded), 0.7)
    assert (found.scale, found.shift) == (1, 0)
    assert found.had[0] == passing(scores(own), 0.7)


@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_the_head_gives_the_mapped_logit(name: str) -> None:
    network = networks.network(name, 3)
    crops = torch.randn((5, 3, network.size, network.size), generator=torch.Generator().manual_seed(1))
    before = network(crops)
    fold(network, 0.6, -1.25)
    after = network(crops)
    torch.testing.assert_close(
        after.face[:, 1] - after.face[:, 0], 0.6 * (before.face[:, 1] - before.face[:, 0]) - 1.25
    )
    assert torch.equal(after.box, before.box)
    assert torch.equal(after.landmarks, before.landmarks)


def test_a_map_that_exchanges_faces_and_background_is_refused() -> None:
    with pytest.raises(ValueError, match="scale is -1; wanted more than 0"):
        fold(networks.network("rnet"), -1, 0)
