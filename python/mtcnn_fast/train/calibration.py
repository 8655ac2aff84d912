"""Scores that keep their meaning: an affine map of a network's logits, folded into its face head.

A network that was trained further gives other scores to the same windows, and the thresholds that suit the embedded
networks do not suit it. The map gives it as many false positives at the default threshold as the embedded network has
on the same pictures. It changes no order, so that recall at a number of false positives stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.train.networks import Network

LOWER_THRESHOLD = 0.3
"""The second probability at which false positives are counted. It gives the map its slope."""

# A slope comes from two counts, which may be small. Beyond these it would say more of chance than of the network.
_SLOPES = (0.25, 4.0)
# Probabilities in float32 are 0 or 1 beyond these.
_LEAST, _MOST = 1e-7, 1 - 1e-7
# The distance of a threshold from the highest false positive, in logits, if none may pass.
_ABOVE = 0.1


@dataclass(frozen=True, slots=True)
class Calibration:
    """The map of a logit of face against no face to `scale` times the logit + `shift`, and what it comes from."""

    scale: float
    shift: float
    threshold: float
    """The default threshold of the network."""
    wanted: tuple[int, int]
    """False positives of the embedded network at the default threshold and at `LOWER_THRESHOLD`."""
    had: tuple[int, int]
    """Those of the network before the map."""

    def __str__(self) -> str:
        return (
            f"the logit becomes {self.scale:.4f} logit {self.shift:+.4f}: false positives at {self.threshold} and "
            f"{LOWER_THRESHOLD} were {self.had[0]} and {self.had[1]}, the embedded network's are {self.wanted[0]} and "
            f"{self.wanted[1]}"
        )


def calibration(own: NDArray[np.floating[Any]], embedded: NDArray[np.floating[Any]], threshold: float) -> Calibration:
    """The map after which a network has the false positives of the embedded one at `threshold`, and about those at
    `LOWER_THRESHOLD`.

    own, embedded: (N,), (M,): the scores of all false positives of both networks on the same pictures. The slope is 1
    if the counts do not give one. Nothing tells how far logits may rise if no false positive may pass the threshold, or
    if there are no more than may pass: then they do not rise.
    """
    thresholds = np.array([threshold, LOWER_THRESHOLD])
    wanted, had = ((scores[:, None] >= thresholds).sum(0).tolist() for scores in (embedded, own))
    scale, shift = 1.0, 0.0
    if len(own):
        logits = np.sort(_logit(own))[::-1]
        upper_wanted, lower_wanted = _logit(thresholds)
        upper = _exceeded_by(logits, wanted[0], upper_wanted)
        lower = _exceeded_by(logits, wanted[1], lower_wanted)
        if upper > lower and wanted[0] < wanted[1] < len(logits):
            scale = float(np.clip((upper_wanted - lower_wanted) / (upper - lower), *_SLOPES))
        shift = float(upper_wanted - scale * upper)
    return Calibration(scale, shift, threshold, tuple(wanted), tuple(had))


@torch.no_grad()
def fold(network: Network, scale: float, shift: float) -> None:
    """Changes the face head of a network, so that its logit of face against no face becomes scale logit + shift.

    Raises ValueError for a scale that is not above 0, because it would exchange faces and background.
    """
    if not scale > 0:
        raise ValueError(f"scale is {scale}; wanted more than 0")
    head = network.heads["face"]
    assert isinstance(head, torch.nn.Conv2d | torch.nn.Linear)
    assert head.bias is not None
    head.weight.mul_(scale)
    head.bias.mul_(scale)
    head.bias[1] += shift


def _logit(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    p = np.clip(probabilities.astype(np.float64), _LEAST, _MOST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _exceeded_by(logits: NDArray[np.float64], count: int, wanted: float) -> float:
    """A value that `count` of the logits, highest first, exceed: half-way between two of them.

    If they are too few it is `wanted`, the value that the count is of. If none may exceed it, it is not below that.
    """
    if count == 0:
        return max(float(logits[0]) + _ABOVE, wanted)
    if count >= len(logits):
        return wanted
    return float(logits[count - 1] + logits[count]) / 2
