"""The learning rate and the samples of each step. They are functions of the step alone, so that a run can go on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """The learning rate of each step of a run. It rises from 0, and then falls by steps or along half a cosine."""

    greatest: float
    steps: int
    """Steps of the whole run."""
    warmup: float
    """Steps in which the rate rises."""
    schedule: Literal["steps", "cosine"]
    milestones: tuple[float, ...] = ()
    """Shares of the run after which "steps" multiplies the rate by `decay`."""
    decay: float = 1

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / max(1.0, self.warmup))
        if self.schedule == "cosine":
            return self.greatest * rising * (1 + math.cos(math.pi * step / self.steps)) / 2
        passed = sum(step >= milestone * self.steps for milestone in self.milestones)
        return self.greatest * rising * self.decay**passed


def apportion(shares: Sequence[float], batch_size: int, of: str = "kind") -> NDArray[np.intp]:
    """The number of samples of each kind in a batch, by the largest remainders of its shares.

    of: what the shares are of, for messages. Raises ValueError if no share is above 0, and for a batch too small for
    one sample of each share above 0.
    """
    wanted = np.array(shares, np.float64)
    if not wanted.any():
        raise ValueError(f"the shares of a batch are {shares}; wanted one above 0 at least")
    exact = wanted / wanted.sum() * batch_size
    counts: NDArray[np.intp] = np.floor(exact).astype(np.intp)
    counts[np.argsort(counts - exact, kind="stable")[: batch_size - counts.sum()]] += 1
    if (counts[wanted > 0] == 0).any():
        raise ValueError(f"a batch of {batch_size} has no room for one sample of each {of} in shares of {shares}")
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """How often samples of several sets come."""

    sets: NDArray[np.integer[Any]]
    """(n,): the set of each sample."""
    shares: NDArray[np.float64]
    """(sets, kinds): of the samples of a kind, the shares of the sets. Sets without samples leave their room."""

    def allows(self, kinds: NDArray[np.int8]) -> NDArray[np.bool_]:
        """(n,): whether the set of each sample has a share of the samples of its kind (n,)."""
        return np.asarray(self.shares[self.sets, kinds] > 0)


class Mix:
    """Batches that mix the kinds of samples in given shares. The samples of a kind come in a random order, and none
    comes again before all have come.

    kinds: (n,), the kind of each sample; eligible: (n,), bool, whether a sample may come; shares: of kinds 0, 1, ... in
    a batch. A kind without samples leaves its room to the others. balance: of the samples of a kind, shares of the sets
    that they come from; None: samples come as often as others of their kind, whatever their set. Raises ValueError if
    no sample remains, and for a batch too small to hold one sample of each kind, or of a kind from each set.
    """

    def __init__(
        self,
        kinds: NDArray[np.int8],
        eligible: NDArray[np.bool_],
        shares: tuple[float, ...],
        batch_size: int,
        seed: int,
        balance: Balance | None = None,
    ) -> None:
        members = [np.flatnonzero((kinds == kind) & eligible) for kind in range(len(shares))]
        present = [share if len(group) else 0 for share, group in zip(shares, members, strict=True)]
        if not any(present):
            raise ValueError("there are no samples of the kinds that a batch is mixed of")
        counts = apportion(present, batch_size)
        self._groups = [
            group
            for kind, (samples, n) in enumerate(zip(members, counts, strict=True))
            if n
            for group in _by_set(kind, samples, int(n), balance)
        ]
        self._seed = seed
        self._orders: dict[tuple[tuple[int, ...], int], NDArray[np.intp]] = {}

    @property
    def counts(self) -> dict[int, int]:
        """Samples of each kind in a batch."""
        totals: Counter[int] = Counter()
        for group in self._groups:
            totals[group.key[0]] += group.in_batch
        return dict(totals)

    def batch(self, step: int) -> NDArray[np.intp]:
        """(batch_size,): the samples of a step, counted from 0."""
        return np.concatenate([self._take(group, step * group.in_batch) for group in self._groups])

    def _take(self, group: _Group, first: int) -> NDArray[np.intp]:
        size = len(group.samples)
        passes, places = np.divmod(np.arange(first, first + group.in_batch), size)
        order = np.concatenate([self._order(group.key, p, size)[places[passes == p]] for p in np.unique(passes)])
        chosen: NDArray[np.intp] = group.samples[order]
        return chosen

    def _order(self, group: tuple[int, ...], number: int, n: int) -> NDArray[np.intp]:
        """The order of a group's samples in pass `number`."""
        key = (group, number)
        if key not in self._orders:
            # Small groups have many passes. The order of an earlier pass is not needed again.
            self._orders = {other: order for other, order in self._orders.items() if other[0] != group}
            kind, *of_set = group
            self._orders[key] = np.random.default_rng([self._seed, kind, number, *of_set]).permutation(n)
        return self._orders[key]


class _Group(NamedTuple):
    """Samples that come equally often."""

    key: tuple[int, ...]
    """The kind, and the set if sets have shares."""
    samples: NDArray[np.intp]
    in_batch: int
    """How many come in a batch."""


def _by_set(kind: int, samples: NDArray[np.intp], count: int, balance: Balance | None) -> list[_Group]:
    if balance is None:
        return [_Group((kind,), samples, count)]
    sets = balance.sets[samples]
    present = np.unique(sets)
    counts = apportion(balance.shares[present, kind].tolist(), count, "source of a kind")
    return [_Group((kind, int(i)), samples[sets == i], int(n)) for i, n in zip(present, counts, strict=True) if n]
