"""Runs a detector over any number of pictures in constant memory: reads ahead, detects in batches, keeps the order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from mtcnn_fast import reading
from mtcnn_fast.detections import Detections
from mtcnn_fast.prefetch import prefetch
from mtcnn_fast.reading import Picture
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Find: TypeAlias = Callable[[list[NDArray[np.uint8]]], list[Detections]]
    """The faces of RGB images."""

K = TypeVar("K")

# A few readers keep ahead of the fastest detector; each picture read ahead takes memory.
READERS = 4
BATCH_SIZE = 32
_BATCH_BYTES = 2**28

FAILURES = (MemoryError, OSError, RuntimeError, ValueError)
"""The exceptions of reading or searching one picture that do not end the run. A GPU's driver raises RuntimeError."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Generic[K]):
    """The faces found in a picture, or in a page of it, or the reason why it could not be searched."""

    key: K
    """The key that came with the file."""
    picture: Picture | None
    """The picture; None: it could not be read."""
    faces: Detections | None = None
    """The faces; None: `error` says why there are none."""
    error: str | None = None
    """The reason why there are no faces, from the reader or from the detector; None: there are faces."""
    page: int = 0
    pages: int = 1
    """As in `Picture`. A page that cannot be read has them too."""

    @property
    def remark(self) -> str | None:
        """`reading.remark` of the picture; None: there is none."""
        return None if self.picture is None else reading.remark(self.picture)


_Read: TypeAlias = "tuple[Picture, Iterator[Picture]] | Exception"


def detect_each(
    find: Find,
    files: Iterable[tuple[K, str | os.PathLike[str]]],
    *,
    batch_size: int = BATCH_SIZE,
    first_page_only: bool = False,
    pipes: bool = False,
) -> Iterator[Outcome[K]]:
    """Detects faces in files, which are pairs of key and path, in every page unless `first_page_only`.

    find: a function as `MTCNN.detect_batch` of a detector with channel order "rgb". If it raises one of `FAILURES` for
    a batch, it gets the pictures one by one, so that only the picture at fault has no faces.
    pipes: whether to read pipes and STANDARD_INPUT to their ends, which suits a user who names them; else they fail.
    """
    waiting: list[Outcome[K]] = []
    size = 0
    for outcome in _pictures(files, first_page_only, pipes):
        waiting.append(outcome)
        size += 0 if outcome.picture is None else outcome.picture.pixels.nbytes
        if len(waiting) >= batch_size or size >= _BATCH_BYTES:
            yield from _searched(find, waiting)
            waiting, size = [], 0
    yield from _searched(find, waiting)


def _searched(find: Find, batch: list[Outcome[K]]) -> Iterator[Outcome[K]]:
    results = iter(_find(find, [outcome.picture.pixels for outcome in batch if outcome.picture is not None]))
    for outcome in batch:
        if outcome.picture is None:
            yield outcome
            continue
        faces = next(results)
        if isinstance(faces, Detections):
            yield replace(outcome, faces=faces)
        else:
            yield replace(outcome, error=reason(faces))


def _find(find: Find, images: list[NDArray[np.uint8]]) -> Sequence[Detections | Exception]:
    if not images:
        return []
    try:
        return list(find(images))
    except FAILURES as error:
        return [error] if len(images) == 1 else [outcome for image in images for outcome in _find(find, [image])]


def _pictures(
    files: Iterable[tuple[K, str | os.PathLike[str]]], first_page_only: bool, pipes: bool
) -> Iterator[Outcome[K]]:
    """Every page, not searched yet. Pages beyond a file's first are read when it is their turn."""
    with ThreadPoolExecutor(READERS) as pool:

        def submit(file: tuple[K, str | os.PathLike[str]]) -> Future[_Read]:
            path = file[1]
            if not reading.is_pipe(path):
                return pool.submit(_read, path, first_page_only)
            done: Future[_Read] = Future()  # a pipe is waited for in this thread, where Ctrl-C can end it
            done.set_result(_read(path, first_page_only) if pipes else OSError(reading.PIPE))
            return done

        with closing(prefetch(submit, files, 2 * READERS)) as opened:
            for (key, _), content in opened:
                yield from _pages(key, content)


def _pages(key: K, content: _Read) -> Iterator[Outcome[K]]:
    if isinstance(content, Exception):
        yield Outcome(key, None, error=reason(content))
        return
    first, rest = content
    yield Outcome(key, first, pages=first.pages)
    last = first
    try:
        for last in rest:
            yield Outcome(key, last, page=last.page, pages=last.pages)
    except FAILURES as error:
        yield Outcome(key, None, error=reason(error), page=last.page + 1, pages=last.pages)


def _read(path: str | os.PathLike[str], first_page_only: bool) -> _Read:
    try:
        pages = reading.pages(path, first_page_only)
        return next(pages), pages
    except FAILURES as error:
        return error
