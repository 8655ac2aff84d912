"""Work on sources that runs ahead in threads and comes back in order, within a limit of memory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

S = TypeVar("S")
R = TypeVar("R")


def read_ahead(
    sources: Iterable[S],
    load: Callable[[S], R],
    *,
    ahead: Callable[[S], bool] = lambda _: True,
    pixels: Callable[[R], int] = lambda _: 0,
    readers: int,
    most_sources: int,
    most_pixels: int = sys.maxsize,
) -> Generator[tuple[S, R], None, None]:
    """Each source with what `load` makes of it, in the order of the sources.

    ahead: whether one of the `readers`, which are threads, loads a source. The caller's thread loads any other in its
    turn, and takes no source beyond it: a camera's frame does not wait for the next one. By default all are read ahead.
    pixels: of what was loaded; by default none, and memory is limited by `most_sources` alone.
    most_sources: the most that are at work or wait to be taken.
    most_pixels: no loading begins while so many wait to be taken.

    Raises what `load` and the iteration of the sources raise, after what came before. The threads end with the
    iteration.
    """
    rest = iter(sources)
    waiting: deque[tuple[S, Callable[[], R]]] = deque()
    failure: Exception | None = None
    ended = last_is_ahead = False
    with _Readers(load, pixels, readers, most_pixels) as pool:
        while True:
            while not ended and (not waiting or (last_is_ahead and len(waiting) < most_sources)):
                try:
                    source = next(rest)
                except StopIteration:
                    ended = True
                except Exception as error:
                    ended, failure = True, error
                else:
                    last_is_ahead = ahead(source)
                    waiting.append((source, pool.submit(source) if last_is_ahead else partial(load, source)))
            if not waiting:
                break
            source, result = waiting.popleft()
            yield source, result()
    if failure is not None:
        raise failure


class _Readers(Generic[S, R]):
    """A pool of threads that stop taking work while the results that nobody has taken are large."""

    def __init__(self, load: Callable[[S], R], pixels: Callable[[R], int], readers: int, most_pixels: int) -> None:
        self._load, self._pixels = load, pixels
        self._readers, self._most_pixels = readers, most_pixels
        self._pool = ThreadPoolExecutor(readers, "mtcnn_fast-reader")
        self._lock = Lock()
        self._work: deque[tuple[S, Future[R]]] = deque()
        self._running = 0
        self._held = 0

    def __enter__(self) -> _Readers[S, R]:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._work.clear()
        self._pool.shutdown()

    def submit(self, source: S) -> Callable[[], R]:
        """Begins to load a source. To be called once in the order of the submissions: waits and returns the result."""
        future: Future[R] = Future()
        with self._lock:
            self._work.append((source, future))
            self._start()

        def take() -> R:
            result = future.result()
            with self._lock:
                self._held -= self._pixels(result)
                self._start()
            return result

        return take

    def _start(self) -> None:
        # A thread that waits for room would keep the interpreter from exiting: threads begin only where there is room.
        # They take the work in order, so what is held came before the work that waits, and taking it makes room.
        if self._held < self._most_pixels:
            for _ in range(min(len(self._work), self._readers) - self._running):
                self._running += 1
                self._pool.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._work or self._held >= self._most_pixels:
                    self._running -= 1
                    return
                source, future = self._work.popleft()
            try:
                result = self._load(source)
            except BaseException as error:
                future.set_exception(error)
            else:
                with self._lock:
                    self._held += self._pixels(result)
                future.set_result(result)
                del result
            del source, future
