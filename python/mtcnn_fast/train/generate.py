"""Training samples of annotated pictures: random windows by a recipe, and the machinery that mining shares."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import MTCNN, ops
from mtcnn_fast.checks import at_least
from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.extra import require
from mtcnn_fast.read_ahead import read_ahead
from mtcnn_fast.train.jitter import jittered, rotated_boxes
from mtcnn_fast.train.photographs import FAILURES, name_bytes, pixels_to_learn
from mtcnn_fast.train.rotate import rotated_crop, rotation
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import LABELS, LANDMARK, PART, POSITIVE, OtherSamplesError, SampleStore, SampleWriter
from mtcnn_fast.train.teachers import TeacherDetections, Teachers, teachers_of
from mtcnn_fast.train.windows import LabelledFaces, Recipe, Windows, box_targets, draw, landmark_targets
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The pixels of a picture in RGB order, its faces, and random numbers of its own, to the windows that become samples.
Choose = Callable[["NDArray[np.uint8]", LabelledFaces, np.random.Generator], Windows]

# The samples of a picture, None if it cannot be used, and a remark on the picture.
Result = tuple["tuple[NDArray[np.uint8], NDArray[Any]] | None", "str | None"]


def generate(
    sources: Sequence[AnnotatedSet],
    folder: str | os.PathLike[str],
    *,
    size: int,
    recipe: Recipe | None = None,
    seed: int = 0,
    options: RunOptions | None = None,
) -> SampleStore:
    """Makes the samples of random windows, or goes on where an interrupted run stopped.

    size: side of the crops in pixels. recipe: None: `Recipe()`. options: None: `RunOptions()`.

    The samples depend on the pictures, the annotations, `size`, `recipe` and `seed` alone. The memory needed does not
    depend on the number of pictures. Pictures that cannot be read, or are damaged, are left out; the store counts them.

    Raises OtherSamplesError for a folder with samples of other settings or annotations, ValueError for one with
    anything else in it, OSError for one that cannot be written to. Changes of the picture files go unnoticed.
    """
    recipe = recipe or Recipe()

    def choose(image: NDArray[np.uint8], faces: LabelledFaces, rng: np.random.Generator) -> Windows:
        return draw(faces, image.shape[0], image.shape[1], recipe, rng)

    settings = {"size": size, "made_by": "generate", "seed": seed, "recipe": asdict(recipe)}
    return make_samples(sources, folder, settings=settings, recipe=recipe, choose=choose, options=options)


def make_samples(
    sources: Sequence[AnnotatedSet],
    folder: str | os.PathLike[str],
    *,
    settings: dict[str, Any],
    recipe: Recipe,
    choose: Choose,
    options: RunOptions | None,
) -> SampleStore:
    """Makes a store of the windows that `choose` gives for each picture.

    settings: all that the samples depend on beside the sources, in JSON's types, with "size" and "seed".
    """
    options = options or RunOptions()
    size, seed, problems = (
        at_least("size", settings["size"], 1),
        at_least("seed", settings["seed"], 0),
        options.problems,
    )
    engine = MTCNN(device="cpu")
    workers = engine.num_threads if options.workers is None else options.workers
    pictures = [source.read(problems, problems) for source in sources]

    def samples_of(
        entry: _Entry, copy: int, image: NDArray[np.uint8], faces: LabelledFaces
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        # Every copy of a picture has random numbers of its own, whichever thread works on it and when.
        rng = np.random.default_rng([seed, entry.index, copy])
        windows = choose(image, faces, rng)
        if any(recipe.jittered):
            height, width = image.shape[:2]
            windows = Windows.joined([windows, jittered(windows, faces, height, width, recipe, rng)])
        return _cut(engine.crop, image, windows, faces, size, entry)

    def work(entry: _Entry) -> Result:
        try:
            image, note = pixels_to_learn(entry.annotation.path)
            faces = entry.faces(recipe)
            copies = (_scaled(image, faces, scale, recipe) for scale in entry.source.scales)
            images, labels = zip(*(samples_of(entry, i, *copy) for i, copy in enumerate(copies)), strict=True)
            return (np.concatenate(images), np.concatenate(labels)), note
        # A picture beyond the limits of the engine, and a box without area, are ValueErrors.
        except FAILURES as error:
            return None, reason(error)

    def is_to_be_kept(summary: dict[str, Any], entries: list[_Entry]) -> bool:
        """Whether none of the pictures that a shard lacks can be used by now."""
        return not options.retry or all(work(entries[place])[0] is None for place, _ in summary["unreadable"])

    writer = SampleWriter(folder, {**settings, "sources": list(map(_labelling, sources))}, options.block)
    number = 0
    with _bar(options.progress, pictures) as bar:
        for number, entries in enumerate(_blocks(_entries(sources, pictures, problems), options.block), 1):
            digest = _annotations_digest(entries)
            summary = writer.summary(number - 1)
            if summary is not None:
                if summary["annotations"] != digest:
                    raise OtherSamplesError(f"shard {number - 1} in {folder} was made from other annotations")
                if is_to_be_kept(summary, entries):
                    for place, note in sorted([*summary["unreadable"], *summary.get("notes", [])]):
                        problems.add(entries[place].annotation.path, note)
                    bar.update(len(entries))
                    continue
            ahead = read_ahead(entries, work, readers=workers, most_sources=2 * workers)
            with writer.shard(number - 1, digest) as shard, closing(ahead) as results:
                for entry, (samples, note) in results:
                    if note is not None:
                        problems.add(entry.annotation.path, note)
                    if samples is None:
                        shard.skip(note or "it cannot be used")
                    else:
                        shard.add(*samples, note)
                    bar.update()
    writer.finish(number)
    return SampleStore(folder)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    index: int
    annotation: Annotation
    source: AnnotatedSet
    source_number: int
    teachers: Teachers | None
    found: TeacherDetections | None
    """The detections of the teachers; None if there are no teachers, or they have not looked at the picture."""

    def faces(self, recipe: Recipe) -> LabelledFaces:
        labels = self.annotation
        labelled = LabelledFaces.of(
            labels.boxes,
            labels.landmarks,
            labels.ignored,
            recipe,
            # Where the teachers have not looked, faces may be left that nothing withholds from the background.
            complete=self.source.complete and labels.complete and (self.teachers is None or self.found is not None),
            expand=self.source.expand,
        )
        if self.teachers is None or self.found is None:
            return labelled
        return self.teachers.judged(labelled, self.found, self.source.teacher_score)


def _entries(
    sources: Sequence[AnnotatedSet], pictures: Sequence[Iterable[Annotation]], problems: Problems
) -> Iterator[_Entry]:
    index = count()
    sets = zip(sources, pictures, teachers_of(sources), strict=True)
    for number, (source, of_source, teachers) in enumerate(sets):
        unseen = 0
        for annotation in of_source:
            found = None if teachers is None else teachers.of(annotation.path)
            unseen += teachers is not None and found is None
            yield _Entry(next(index), annotation, source, number, teachers, found)
        if source.teachers is not None and unseen:
            problems.add(source.teachers, f"{unseen} pictures of {source.name} are not in it, and count as incomplete")


def _labelling(source: AnnotatedSet) -> dict[str, Any]:
    """How a set's labels are taken, in JSON's types."""
    taken: dict[str, Any] = {"complete": bool(source.complete), "expand": list(map(float, source.expand))}
    if source.teachers is not None:
        taken["teacher_score"] = float(source.teacher_score)
    if tuple(source.scales) != (1,):
        taken["scales"] = list(map(float, source.scales))
    return taken


def _scaled(
    image: NDArray[np.uint8], faces: LabelledFaces, scale: float, recipe: Recipe
) -> tuple[NDArray[np.uint8], LabelledFaces]:
    """A picture at a scale, with its faces. Its pixels become means over areas, as in the levels of the pyramid."""
    if scale == 1:
        return image, faces
    height, width = image.shape[:2]
    rows, columns = (max(2, round(side * scale)) for side in (height, width))
    pixels = ops.resize(image, (rows, columns)).round().astype(np.uint8)
    return pixels, faces.scaled((columns / width, rows / height), recipe)


def _blocks(entries: Iterator[_Entry], length: int) -> Iterator[list[_Entry]]:
    while block := list(islice(entries, length)):
        yield block


def _annotations_digest(entries: list[_Entry]) -> str:
    """SHA-256 of the annotations and detections that the samples depend on. Of names, not paths, because a data set may
    move."""
    digest = hashlib.sha256()
    for entry in entries:
        labels = entry.annotation
        digest.update(name_bytes(f"{entry.source_number} {len(labels.boxes)} {labels.name}\0"))
        for array, dtype in ((labels.boxes, "<f4"), (labels.landmarks, "<f4"), (labels.ignored, "?")):
            digest.update(array.astype(dtype).tobytes())
        if not labels.complete:
            digest.update(b"incomplete")
        if entry.found is not None:
            digest.update(entry.found.boxes.tobytes() + entry.found.scores.tobytes() + entry.found.teachers.tobytes())
        elif entry.teachers is not None:
            digest.update(b"not looked at")
    return digest.hexdigest()


def _cut(
    crop: Callable[..., NDArray[np.uint8]],
    image: NDArray[np.uint8],
    windows: Windows,
    faces: LabelledFaces,
    size: int,
    entry: _Entry,
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The crops of a picture's windows, in RGB order, and their labels."""
    images = crop(image, windows.boxes.astype(np.float32), size)
    labels = np.zeros(len(images), LABELS)
    labels["kind"], labels["source"], labels["set"] = windows.kinds, entry.index, entry.source_number
    labels["box"], labels["landmarks"], labels["verdict"] = np.nan, np.nan, np.nan
    with_box = np.isin(windows.kinds, (POSITIVE, PART))
    rotated = windows.angles != 0
    boxes = faces.boxes[windows.faces[with_box]]
    turned = rotated_boxes(boxes, windows.pivots[with_box], windows.angles[with_box])
    boxes = np.where(rotated[with_box, None], turned, boxes)
    labels["box"][with_box] = box_targets(windows.boxes[with_box], boxes)
    labels["verdict"][with_box] = faces.verdicts[windows.faces[with_box]]
    for i in np.flatnonzero((windows.kinds == LANDMARK) | rotated):
        matrix = rotation(windows.pivots[i], windows.angles[i])
        if rotated[i]:
            images[i] = rotated_crop(crop, image, windows.boxes[i], matrix, size)
        if windows.kinds[i] == LANDMARK:
            points = faces.landmarks[windows.faces[i]] @ matrix[:, :2].T + matrix[:, 2]
            labels["landmarks"][i] = landmark_targets(windows.boxes[i, None], points[None])[0]
    return images, labels


def _bar(progress: bool, pictures: Sequence[Iterable[Annotation]]) -> Any:
    if not progress:
        return nullcontext(_NoBar())
    counts = [len(of_source) for of_source in pictures if isinstance(of_source, Sized)]
    total = sum(counts) if len(counts) == len(pictures) else None
    return require("tqdm", "progress=True", extra="train").tqdm(total=total, unit="picture")


class _NoBar:
    def update(self, n: int = 1) -> None:
        pass
