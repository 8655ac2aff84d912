"""Work that runs ahead in other threads and comes back in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pytest

from mtcnn_fast.prefetch import prefetch


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_results_come_in_order(depth: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    with ThreadPoolExecutor(4) as pool:
        assert list(prefetch(lambda item: pool.submit(work, item), range(20), depth)) == [(i, i * i) for i in range(20)]
        assert list(prefetch(lambda item: pool.submit(work, item), [], depth)) == []


def test_no_more_items_are_taken_than_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as pool:
        for item, _ in prefetch(lambda item: pool.submit(int, item), items(), 3):
            assert taken == list(range(min(item + 3, 10)))


def test_an_error_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise OSError("gone")
        return item

    with ThreadPoolExecutor(2) as pool:
        results = prefetch(lambda item: pool.submit(work, item), range(5), 4)
        assert [next(results), next(results)] == [(0, 0), (1, 1)]
        with pytest.raises(OSError, match="gone"):
            next(results)


def test_work_that_has_not_begun_is_cancelled() -> None:
    release = threading.Event()
    futures: list[Future[bool]] = []

    def submit(item: int) -> Future[bool]:
        futures.append(pool.submit(release.wait, 10 if item else 0))
        return futures[-1]

    with ThreadPoolExecutor(1) as pool:
        with closing(prefetch(submit, range(9), 5)) as results:
            assert next(results) == (0, False)
        assert [future.cancelled() for future in futures[2:]] == [True] * 3
        release.set()
