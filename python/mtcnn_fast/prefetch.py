"""Work that runs ahead in other threads and comes back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(submit: Callable[[T], Future[R]], items: Iterable[T], depth: int) -> Generator[tuple[T, R], None, None]:
    """Each item with its result, in the order of the items.

    submit: starts the work on an item, for example in a pool of threads. depth: the most items that are in work or
    whose results wait. An exception from the work on an item is raised when it is that item's turn. If the iteration
    ends early, work that has not begun is cancelled.
    """
    rest = iter(items)
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        while True:
            for item in islice(rest, depth - len(waiting)):
                waiting.append((item, submit(item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
