"""Runs a detector over any number of pictures in constant memory: reads ahead, detects in batches, keeps the order."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from mtcnn_fast import reading
from mtcnn_fast.detections import Detections
from mtcnn_fast.image import warn_of_turned
from mtcnn_fast.read_ahead import read_ahead
from mtcnn_fast.reading import Picture, Source
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Find: TypeAlias = Callable[[list[NDArray[np.uint8]]], list[Detections]]
    """The faces of RGB images."""

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

BATCH_SIZE = 32

READERS = 4
"""Of files for a detector of another package, whose threads are not known."""

# Reading takes a fifth (min_face_size 20) to three fifths (80) of the processor time of both on AVX-512. Two readers
# per thread take as much processor time as one per thread, within 5 %, and finish in 0.90 of the time where other
# programs share the two cores. Each reader takes the memory of a picture.
_READERS_A_THREAD = 2
_MOST_READERS = 16

# Of a batch, and of the pictures that are read ahead for the next one: 96 MiB of pixels each.
_BATCH_PIXELS = 2**25

FAILURES = (MemoryError, OSError, RuntimeError, ValueError)
"""The exceptions of reading or searching one picture that do not end the run. A GPU's driver raises RuntimeError."""


class ImageResult(NamedTuple):
    """What `MTCNN.detect_each` gives for a source."""

    key: Any
    """The key of a pair; else a path as it was given, or the number of an image among the sources, from 0."""
    image: Any
    """As it was given; of a path what was read: uint8 (H, W, 3), upright by EXIF, in the detector's `channel_order`.
    None: the file could not be read."""
    faces: Detections | None
    """None: see `error`."""
    error: str | None
    """Why there are no faces; None: there was no error."""


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


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded(Generic[V]):
    """An image to search, or why there is none."""

    image: Any = None
    view: V | None = None
    """The image as the detector takes it."""
    pixels: int = 0
    error: str | None = None
    remark: str | None = None


_Read: TypeAlias = "tuple[Picture, Iterator[Picture]] | Exception"


def detect_each(
    find: Find,
    files: Iterable[tuple[K, Source | Picture | Exception]],
    *,
    batch_size: int = BATCH_SIZE,
    readers: int = READERS,
    first_page_only: bool = False,
    pipes: bool = False,
) -> Iterator[Outcome[K]]:
    """Detects faces in files, which are pairs of key and source, in every page unless `first_page_only`.

    A source may also be a picture that was read already, or the reason why there is none.

    find: a function as `MTCNN.detect_batch` of a detector with channel order "rgb". If it raises one of `FAILURES` for
    a batch, it gets the pictures one by one, so that only the picture at fault has no faces.
    pipes: whether to read pipes and STANDARD_INPUT to their ends, which suits a user who names them; else they fail.
    """

    def load(file: tuple[K, Source | Picture | Exception]) -> _Read:
        if isinstance(file[1], Exception):
            return file[1]
        if isinstance(file[1], Picture):
            return file[1], iter(())
        if not pipes and reading.is_pipe(file[1]):
            return OSError(reading.PIPE)
        try:
            pages = reading.pages(file[1], first_page_only)
            return next(pages), pages
        except FAILURES as error:
            return error

    with closing(
        read_ahead(
            files,
            load,
            # A pipe is waited for in this thread, where Ctrl-C can end it.
            ahead=lambda file: not reading.is_pipe(file[1]),
            pixels=lambda read: 0 if isinstance(read, Exception) else _view(read[0])[1],
            readers=readers,
            most_sources=_most_sources(batch_size, readers),
            most_pixels=_BATCH_PIXELS,
        )
    ) as opened:
        outcomes = chain.from_iterable(_pages(key, content) for (key, _), content in opened)
        entries = ((outcome, *_view(outcome.picture)) for outcome in outcomes)
        for outcome, found in _searched(find, entries, batch_size):
            if isinstance(found, Detections):
                yield replace(outcome, faces=found)
            else:
                yield outcome if found is None else replace(outcome, error=reason(found))


def detect_each_image(
    find: Callable[[list[V]], Sequence[Detections]],
    view: Callable[[Any], tuple[V, int]],
    sources: Iterable[Any],
    *,
    channel_order: str,
    batch_size: int,
    readers: int,
) -> Generator[ImageResult, None, None]:
    """As `MTCNN.detect_each`. view: an image as `find` takes it, and its pixels."""

    def load(source: tuple[Any, Any]) -> _Loaded[V]:
        key, image = source
        if not _is_path(image):
            warn_of_turned([(f"image {key}", image)])
            try:
                return _Loaded(image, *view(image))
            except Exception as error:  # an image of another package raises what it likes
                return _Loaded(image, error=reason(error))
        try:
            if reading.is_pipe(image):
                raise OSError(reading.PIPE)
            picture = next(reading.pages(image, first_only=True))
            # A copy, which the user may draw in, as of `reading.read`.
            pixels = np.array(picture.pixels if channel_order == "rgb" else picture.pixels[..., ::-1], order="C")
            remark = reading.remark(picture)
        except FAILURES as error:
            return _Loaded(error=reason(error))
        try:
            return _Loaded(pixels, *view(pixels), remark=remark)
        except FAILURES as error:
            return _Loaded(pixels, error=reason(error), remark=remark)

    with closing(
        read_ahead(
            (_keyed(number, source) for number, source in enumerate(sources)),
            load,
            ahead=lambda source: _is_path(source[1]),
            pixels=lambda loaded: loaded.pixels,
            readers=readers,
            most_sources=_most_sources(batch_size, readers),
            most_pixels=_BATCH_PIXELS,
        )
    ) as opened:
        entries = (((key, loaded), loaded.view, loaded.pixels) for (key, _), loaded in opened)
        for (key, loaded), found in _searched(find, entries, batch_size):
            if loaded.remark is not None:
                warnings.warn(f"{str(key)!r}: {loaded.remark}", stacklevel=2)
            if isinstance(found, Detections):
                yield ImageResult(key, loaded.image, found, None)
            else:
                yield ImageResult(key, loaded.image, None, loaded.error if found is None else reason(found))


def readers_for(threads: int) -> int:
    """How many readers serve a detector with so many threads."""
    return min(_READERS_A_THREAD * threads, _MOST_READERS)


def _keyed(number: int, source: Any) -> tuple[Any, Any]:
    if isinstance(source, tuple) and len(source) == 2:
        return source
    return source if _is_path(source) else number, source


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _most_sources(batch_size: int, readers: int) -> int:
    return max(batch_size, 2 * readers)


def _view(picture: Picture | None) -> tuple[NDArray[np.uint8] | None, int]:
    """What is searched of a picture, and how many pixels that is."""
    return (None, 0) if picture is None else (picture.pixels, picture.pixels.shape[0] * picture.pixels.shape[1])


def _searched(
    find: Callable[[list[V]], Sequence[Detections]], entries: Iterable[tuple[T, V | None, int]], batch_size: int
) -> Iterator[tuple[T, Detections | Exception | None]]:
    """Each entry's first with what is found in its second, of so many pixels as the third says; None of None."""
    for batch in _batches(entries, batch_size):
        results = iter(_find(find, [view for _, view, _ in batch if view is not None]))
        for item, view, _ in batch:
            yield item, None if view is None else next(results)


def _batches(entries: Iterable[tuple[T, V | None, int]], batch_size: int) -> Iterator[list[tuple[T, V | None, int]]]:
    batch: list[tuple[T, V | None, int]] = []
    size = 0
    try:
        for entry in entries:
            if batch and size + entry[2] > _BATCH_PIXELS:
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += entry[2]
            # A full batch is searched before another source is asked for: a camera takes its time.
            if len(batch) >= batch_size or size >= _BATCH_PIXELS:
                yield batch
                batch, size = [], 0
    except Exception:
        yield batch  # what came before the failure of the sources
        raise
    yield batch


def _find(find: Callable[[list[V]], Sequence[Detections]], images: list[V]) -> Sequence[Detections | Exception]:
    if not images:
        return []
    try:
        return list(find(images))
    except FAILURES as error:
        return [error] if len(images) == 1 else [outcome for image in images for outcome in _find(find, [image])]


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
