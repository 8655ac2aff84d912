"""Annotated pictures to training samples: random windows by a recipe, and the machinery that mining shares."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import MTCNN
from mtcnn_fast.checks import flag, integer
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.extra import require
from mtcnn_fast.train.photographs import FAILURES, name_bytes, pixels_to_learn
from mtcnn_fast.train.rotate import rotated_crop, rotation
from mtcnn_fast.train.samples import LABELS, LANDMARK, PART, POSITIVE, OtherSamplesError, SampleStore, SampleWriter
from mtcnn_fast.train.windows import LabelledFaces, Recipe, Windows, box_targets, centres, draw, landmark_targets
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1024

# (index of the picture in the run, its pixels in RGB order, its faces) to the windows that become samples.
Choose = Callable[[int, "NDArray[np.uint8]", LabelledFaces], Windows]

# The samples of a picture, None if it cannot be used, and what is to be said of it.
Result = tuple["tuple[NDArray[np.uint8], NDArray[Any]] | None", "str | None"]


def generate(
    sources: Sequence[AnnotatedSet],
    folder: str | os.PathLike[str],
    size: int,
    recipe: Recipe | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
    *,
    problems: Problems | None = None,
    block: int = BLOCK,
    retry: bool = True,
) -> SampleStore:
    """Makes the samples of random windows, or goes on where a run that was cut off stopped.

    The samples depend on the pictures, annotations, size, recipe (None: `Recipe()`) and seed alone, not on the number
    of workers (threads; None: the processors that this process may use) or on interruptions. The memory needed does
    not depend on the number of pictures. Pictures that cannot be read, or are damaged, are left out, counted in the
    store and added to `problems`, as is what is to be said of others. progress: show a bar on stderr (needs tqdm).
    block: pictures a shard. retry: make a finished shard anew if a picture that it lacks can be used by now, where a
    share was away; False: leave the store as it is.

    Raises OtherSamplesError for a folder with samples of other settings or annotations, ValueError for one with
    anything else in it, OSError for one that cannot be written to; changes of the picture files go unnoticed.
    """
    recipe, seed = recipe or Recipe(), _at_least(0, "seed", seed)

    def choose(index: int, image: NDArray[np.uint8], faces: LabelledFaces) -> Windows:
        return draw(faces, image.shape[0], image.shape[1], recipe, generator(seed, index))

    settings = {"made_by": "generate", "seed": seed, "recipe": asdict(recipe)}
    return produce(
        sources,
        folder,
        size,
        recipe,
        settings,
        choose,
        workers=workers,
        progress=progress,
        problems=problems,
        block=block,
        retry=retry,
    )


def generator(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one picture: its own, whoever works on it and when."""
    return np.random.default_rng([seed, index])


def produce(
    sources: Sequence[AnnotatedSet],
    folder: str | os.PathLike[str],
    size: int,
    recipe: Recipe,
    settings: dict[str, Any],
    choose: Choose,
    *,
    workers: int | None,
    progress: bool,
    problems: Problems | None,
    block: int,
    retry: bool,
) -> SampleStore:
    """Makes a store of the windows that `choose` gives for each picture; settings are what it depends on."""
    engine = MTCNN(device="cpu")
    size, block = _at_least(1, "size", size), _at_least(1, "block", block)
    workers = engine.num_threads if workers is None else _at_least(1, "workers", workers)
    problems = Problems() if problems is None else problems
    pictures = [source.read(problems, problems) for source in sources]

    def work(entry: _Entry) -> Result:
        try:
            image, note = pixels_to_learn(entry.annotation.path)
            faces = entry.faces(recipe)
            return _cut(engine.crop, image, choose(entry.index, image, faces), faces, size, entry.index), note
        # A picture beyond the engine's limits and a box that is none are ValueErrors.
        except FAILURES as error:
            return None, reason(error)

    def is_to_be_kept(finished: dict[str, Any], entries: list[_Entry]) -> bool:
        """Whether none of the pictures that a shard lacks can be used by now."""
        return not retry or all(work(entries[place])[0] is None for place, _ in finished["unreadable"])

    described = [{"complete": bool(source.complete), "expand": list(map(float, source.expand))} for source in sources]
    writer = SampleWriter(folder, {"size": size, **settings, "sources": described}, block)
    number = 0
    with _bar(progress, pictures) as bar, ThreadPoolExecutor(workers) as pool:
        for number, entries in enumerate(_blocks(_entries(sources, pictures), block), 1):
            digest = _annotations_digest(entries)
            finished = writer.finished(number - 1)
            if finished is not None:
                if finished["annotations"] != digest:
                    raise OtherSamplesError(f"shard {number - 1} in {folder} was made from other annotations")
                if is_to_be_kept(finished, entries):
                    for place, told in sorted([*finished["unreadable"], *finished.get("notes", [])]):
                        problems.add(entries[place].annotation.path, told)
                    bar.update(len(entries))
                    continue
            with writer.shard(number - 1, digest) as shard:
                for entry, (samples, told) in _ordered(pool, work, entries, 2 * workers):
                    if told is not None:
                        problems.add(entry.annotation.path, told)
                    if samples is None:
                        shard.skip(told or "it cannot be used")
                    else:
                        shard.add(*samples, told)
                    bar.update()
    writer.finish(number)
    return SampleStore(folder)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    index: int
    annotation: Annotation
    source: AnnotatedSet
    source_number: int

    def faces(self, recipe: Recipe) -> LabelledFaces:
        known = self.annotation
        return LabelledFaces.of(
            known.boxes,
            known.landmarks,
            known.ignored,
            recipe,
            complete=self.source.complete and known.complete,
            expand=self.source.expand,
        )


def _entries(sources: Sequence[AnnotatedSet], pictures: Sequence[Iterable[Annotation]]) -> Iterator[_Entry]:
    index = count()
    for number, (source, opened) in enumerate(zip(sources, pictures, strict=True)):
        for annotation in opened:
            yield _Entry(next(index), annotation, source, number)


def _blocks(entries: Iterator[_Entry], length: int) -> Iterator[list[_Entry]]:
    while block := list(islice(entries, length)):
        yield block


def _annotations_digest(entries: list[_Entry]) -> str:
    """What the samples depend on but for settings and pixels. Names, not paths: a data set may move."""
    digest = hashlib.sha256()
    for entry in entries:
        known = entry.annotation
        digest.update(name_bytes(f"{entry.source_number} {len(known.boxes)} {known.name}\0"))
        for array, dtype in ((known.boxes, "<f4"), (known.landmarks, "<f4"), (known.ignored, "?")):
            digest.update(array.astype(dtype).tobytes())
        if not known.complete:
            digest.update(b"incomplete")
    return digest.hexdigest()


def _ordered(
    pool: ThreadPoolExecutor, work: Callable[[_Entry], Result], entries: list[_Entry], ahead: int
) -> Iterator[tuple[_Entry, Result]]:
    """Entries with their results, in order, at most `ahead` of which are at work or wait to be taken."""
    waiting: deque[tuple[_Entry, Future[Result]]] = deque()
    try:
        for entry in entries:
            if len(waiting) == ahead:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((entry, pool.submit(work, entry)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _cut(
    crop: Callable[..., NDArray[np.uint8]],
    image: NDArray[np.uint8],
    windows: Windows,
    faces: LabelledFaces,
    size: int,
    index: int,
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The crops and the labels of the windows of a picture, both in RGB order."""
    images = crop(image, windows.boxes.astype(np.float32), size)
    labels = np.zeros(len(images), LABELS)
    labels["kind"], labels["source"] = windows.kinds, index
    labels["box"], labels["landmarks"] = np.nan, np.nan
    with_box = np.isin(windows.kinds, (POSITIVE, PART))
    labels["box"][with_box] = box_targets(windows.boxes[with_box], faces.boxes[windows.faces[with_box]])
    for i in np.flatnonzero(windows.kinds == LANDMARK):
        points, window = faces.landmarks[windows.faces[i]], windows.boxes[i]
        if windows.angles[i] != 0:
            matrix = rotation(centres(faces.boxes)[windows.faces[i]], windows.angles[i])
            images[i] = rotated_crop(crop, image, window, matrix, size)
            points = points @ matrix[:, :2].T + matrix[:, 2]
        labels["landmarks"][i] = landmark_targets(window[None], points[None])[0]
    return images, labels


def _bar(progress: object, pictures: Sequence[Iterable[Annotation]]) -> Any:
    if not flag("progress", progress):
        return nullcontext(_NoBar())
    known = [len(opened) for opened in pictures if isinstance(opened, Sized)]
    total = sum(known) if len(known) == len(pictures) else None
    return require("tqdm", "progress=True", extra="train").tqdm(total=total, unit="picture")


class _NoBar:
    def update(self, n: int = 1) -> None:
        pass


def _at_least(least: int, name: str, value: object) -> int:
    found = integer(name, value)
    if found < least:
        raise ValueError(f"{name} is {found}; wanted at least {least}")
    return found
