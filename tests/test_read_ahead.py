"""Work that runs ahead in other threads and comes back in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from mtcnn_fast.read_ahead import read_ahead


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_results_come_in_order(depth: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(read_ahead(range(20), work, readers=4, most_sources=depth)) == [(i, i * i) for i in range(20)]
    assert list(read_ahead([], work, readers=4, most_sources=depth)) == []


def test_no_more_items_are_taken_than_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    for item, _ in read_ahead(items(), int, readers=2, most_sources=3):
        assert taken == list(range(min(item + 3, 10)))


def test_an_error_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise OSError("gone")
        return item

    results = read_ahead(range(5), work, readers=2, most_sources=4)
    assert [next(results), next(results)] == [(0, 0), (1, 1)]
    with pytest.raises(OSError, match="gone"):
        next(results)


def test_work_that_has_not_begun_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    second_begins, release = threading.Event(), threading.Event()
    begun = []

    def work(item: int) -> bool:
        begun.append(item)
        if item:
            second_begins.set()
        return release.wait(10 if item else 0)

    def shutdown(pool: ThreadPoolExecutor) -> None:
        release.set()
        original(pool)

    original = ThreadPoolExecutor.shutdown
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown)
    with closing(read_ahead(range(9), work, readers=1, most_sources=5)) as results:
        assert next(results) == (0, False)
        assert second_begins.wait(10)
    assert begun == [0, 1]
