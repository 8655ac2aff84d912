"""The exponential moving average of a network's weights over the steps of its training."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mtcnn_fast.train.networks import Network


class WeightAverage:
    """A second network, of averaged weights, beside one that learns.

    decay: the share of the average that a step keeps. It rises to that value as (1 + step) / (10 + step), because the
    average of the first steps would otherwise be the weights that the run starts from.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._learning, self._decay = network, decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 0."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for average, weights in zip(self.network.parameters(), self._learning.parameters(), strict=True):
            average.lerp_(weights, share)
