"""The learning rate, and which samples make a batch: functions of the step alone, so that a run can be resumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.train.config import Training


def learning_rate(training: Training, step: int) -> float:
    """Of a step, counted from 0, of `training.epochs * training.batches`."""
    steps = training.epochs * training.batches
    rising = min(1.0, (step + 1) / max(1.0, training.warmup * training.batches))
    if training.schedule == "cosine":
        return training.learning_rate * rising * (1 + math.cos(math.pi * step / steps)) / 2
    passed = sum(step >= milestone * steps for milestone in training.milestones)
    return training.learning_rate * rising * training.decay**passed


def apportion(shares: Sequence[float], batch_size: int) -> NDArray[np.intp]:
    """Samples of each kind in a batch, by the largest remainders of its shares.

    Raises ValueError for shares of which none is above 0, and for a batch too small for one of each that is.
    """
    wanted = np.array(shares, np.float64)
    if not wanted.any():
        raise ValueError(f"the shares of a batch are {shares}; wanted one above 0 at least")
    exact = wanted / wanted.sum() * batch_size
    counts: NDArray[np.intp] = np.floor(exact).astype(np.intp)
    counts[np.argsort(counts - exact, kind="stable")[: batch_size - counts.sum()]] += 1
    if (counts[wanted > 0] == 0).any():
        raise ValueError(f"a batch of {batch_size} has no room for one sample of each kind in shares of {shares}")
    return counts


class Mix:
    """Batches of samples of each kind in given shares. Each kind's samples are taken in a random order, all of them
    before one comes again.

    kinds: (n,), of the samples; eligible: (n,), bool, which of them are taken; shares: of kinds 0, 1, ... in a batch.
    A kind of which there is no sample leaves its room to the others. Raises ValueError if no sample is left, and for a
    batch too small to hold one of each kind that there is.
    """

    def __init__(
        self,
        kinds: NDArray[np.int8],
        eligible: NDArray[np.bool_],
        shares: tuple[float, ...],
        batch_size: int,
        seed: int,
    ) -> None:
        members = [np.flatnonzero((kinds == kind) & eligible) for kind in range(len(shares))]
        present = [share if len(group) else 0 for share, group in zip(shares, members, strict=True)]
        if not any(present):
            raise ValueError("there are no samples of the kinds that a batch is mixed of")
        counts = apportion(present, batch_size)
        self._groups = [(kind, group, int(n)) for kind, (group, n) in enumerate(zip(members, counts, strict=True)) if n]
        self._seed = seed
        self._orders: dict[tuple[int, int], NDArray[np.intp]] = {}

    @property
    def counts(self) -> dict[int, int]:
        """Samples of each kind in a batch."""
        return {kind: n for kind, _, n in self._groups}

    def batch(self, step: int) -> NDArray[np.intp]:
        """(batch_size,): the samples of a step, counted from 0."""
        return np.concatenate([self._take(kind, group, step * n, n) for kind, group, n in self._groups])

    def _take(self, kind: int, group: NDArray[np.intp], first: int, n: int) -> NDArray[np.intp]:
        taken = np.arange(first, first + n)
        passes, places = np.divmod(taken, len(group))
        order = np.concatenate([self._order(kind, p, len(group))[places[passes == p]] for p in np.unique(passes)])
        chosen: NDArray[np.intp] = group[order]
        return chosen

    def _order(self, kind: int, number: int, n: int) -> NDArray[np.intp]:
        """The order of a kind's samples when they are gone through for that time."""
        key = (kind, number)
        if key not in self._orders:
            # Small groups pass often: what has passed is not needed again.
            self._orders = {other: order for other, order in self._orders.items() if other[0] != kind}
            self._orders[key] = np.random.default_rng([self._seed, kind, number]).permutation(n)
        return self._orders[key]
