"""Learning rates, and the order in which samples are learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")

from mtcnn_fast.train.config import Training
from mtcnn_fast.train.losses import TASK_WEIGHTS
from mtcnn_fast.train.schedule import Balance, Mix, apportion
from mtcnn_fast.train.windows import Recipe

KINDS = np.repeat(np.arange(4, dtype=np.int8), (100, 10, 20, 7))


def training(**options: Any) -> Training:
    return Training(task_weights=TASK_WEIGHTS["pnet"], false_positives=1, windows=Recipe(), **options)


def rates(**options: Any) -> list[float]:
    made = training(learning_rate=1.0, **options).learning_rates()
    return [made.at(step) for step in range(made.steps)]


def test_steps() -> None:
    found = rates(epochs=10, batches=10, warmup=0, milestones=(0.5, 0.9), decay=0.1)
    np.testing.assert_allclose(found, [1.0] * 50 + [0.1] * 40 + [0.01] * 10)


def test_warmup() -> None:
    found = rates(epochs=4, batches=10, warmup=2, milestones=())
    np.testing.assert_allclose(found, [*np.arange(1, 21) / 20, *[1.0] * 20])


def test_cosine() -> None:
    found = rates(epochs=2, batches=50, warmup=0, schedule="cosine")
    assert found[0] == 1
    assert found[50] == pytest.approx(0.5)
    assert 0 < found[-1] < 0.001
    assert sorted(found, reverse=True) == found
    warm = rates(epochs=2, batches=50, warmup=1, schedule="cosine")
    np.testing.assert_allclose(warm, [*(np.array(found[:50]) * np.arange(1, 51) / 50), *found[50:]])


def mix(shares: tuple[float, ...] = (3, 1, 1, 2), batch_size: int = 14, **options: Any) -> Mix:
    eligible, seed = options.pop("eligible", np.ones(len(KINDS), bool)), options.pop("seed", 1)
    return Mix(KINDS, eligible, shares, batch_size, seed, **options)


def test_shares() -> None:
    made = mix()
    assert made.counts == {0: 6, 1: 2, 2: 2, 3: 4}
    for step in range(30):
        np.testing.assert_array_equal(np.bincount(KINDS[made.batch(step)]), [6, 2, 2, 4])


@pytest.mark.parametrize(
    ("batch_size", "counts"),
    [(5, (2, 1, 1, 1)), (6, (2, 1, 1, 2)), (8, (4, 1, 1, 2)), (100, (43, 14, 14, 29))],
)
def test_shares_that_do_not_divide(batch_size: int, counts: tuple[int, ...]) -> None:
    made = mix(batch_size=batch_size)
    assert tuple(made.counts.values()) == counts
    np.testing.assert_array_equal(np.bincount(KINDS[made.batch(3)]), counts)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_a_batch_without_room(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"a batch of {batch_size} has no room for one sample of each kind"):
        mix(batch_size=batch_size)
    with pytest.raises(ValueError, match="wanted one above 0"):
        apportion((0, 0), 4)
    # Kinds that are not there need none.
    assert mix(batch_size=3, eligible=KINDS < 2).counts == {0: 2, 1: 1}


def test_every_sample_comes_before_one_comes_again() -> None:
    made = mix()
    for kind, step in ((0, 6), (1, 2), (2, 2), (3, 4)):
        members = np.flatnonzero(kind == KINDS)
        taken = np.concatenate([batch[KINDS[batch] == kind] for batch in map(made.batch, range(60))])
        assert len(taken) == 60 * step
        rounds = [taken[i : i + len(members)] for i in range(0, len(taken) - len(members), len(members))]
        for one in rounds:
            np.testing.assert_array_equal(np.sort(one), members)
        assert len({one.tobytes() for one in rounds}) == len(rounds)


def test_a_batch_does_not_depend_on_those_before() -> None:
    made = mix()
    expected = [made.batch(step) for step in range(40)]
    for step in (39, 3, 17, 0):
        np.testing.assert_array_equal(mix().batch(step), expected[step])
    assert not np.array_equal(mix(seed=2).batch(0), expected[0])


def test_what_is_held_out_and_what_is_missing() -> None:
    eligible = KINDS != 2
    eligible[:50] = False
    made = mix(eligible=eligible)
    assert 2 not in made.counts
    assert sum(made.counts.values()) == 14
    assert all(eligible[made.batch(step)].all() for step in range(50))
    with pytest.raises(ValueError, match="no samples of the kinds"):
        mix(shares=(0, 0, 1, 0), eligible=eligible)


def test_shares_of_sets() -> None:
    sets = np.arange(len(KINDS)) % 3
    shares = np.array([[1, 1, 1, 1], [3, 1, 0, 1], [0, 0, 1, 0]], float)
    balance = Balance(sets, shares)
    eligible = balance.allows(KINDS)
    np.testing.assert_array_equal(eligible, shares[sets, KINDS] > 0)
    made = mix(shares=(4, 2, 2, 2), batch_size=20, eligible=eligible, balance=balance)
    assert made.counts == {0: 8, 1: 4, 2: 4, 3: 4}
    taken = [made.batch(step) for step in range(40)]
    for batch in taken:
        counts = np.zeros((3, 4), int)
        np.add.at(counts, (sets[batch], KINDS[batch]), 1)
        np.testing.assert_array_equal(counts, [[2, 2, 2, 2], [6, 2, 0, 2], [0, 0, 2, 0]])
    # None of a set and a kind comes again before all have come.
    own = np.flatnonzero((KINDS == 0) & (sets == 1))
    first = np.concatenate(taken)[np.isin(np.concatenate(taken), own)][: len(own)]
    np.testing.assert_array_equal(np.sort(first), own)
    with pytest.raises(ValueError, match="a batch of 1 has no room for one sample of each source of a kind"):
        mix(shares=(0, 0, 0, 1), batch_size=1, eligible=eligible, balance=balance)
