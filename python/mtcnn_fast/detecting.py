"""A detector through files: a line, a drawing and a record of each picture. One way for every command."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtcnn_fast import __version__
from mtcnn_fast.checks import shown
from mtcnn_fast.datasets import Problems
from mtcnn_fast.results import File, Record, Stream, failed, record_of
from mtcnn_fast.streaming import BATCH_SIZE, Outcome, detect_each
from mtcnn_fast.weights import weights_digest
from mtcnn_fast.writing import line_of

if TYPE_CHECKING:
    from mtcnn_fast import MTCNN
    from mtcnn_fast.drawings import Drawings
    from mtcnn_fast.streaming import Find


class Item(NamedTuple):
    """A file to search."""

    name: str
    """In records and lines."""
    path: str
    below: str
    """Where its drawing goes, below the folder of drawings."""


@dataclass(slots=True)
class Tally:
    """What was done so far."""

    pictures: int = 0
    """Pages count each. Those of an earlier run are among them."""
    earlier: int = 0
    """Of an earlier run, that needed nothing more."""
    faces: int = 0
    failed: int = 0
    """Pictures that could not be searched."""
    damaged: int = 0
    """Pictures that were searched, of which the decoder had to make something up."""
    not_drawn: int = 0

    @property
    def all_well(self) -> bool:
        """Whether nothing is to be done again."""
        return not self.failed and not self.not_drawn

    def __str__(self) -> str:
        parts = [_plural(self.pictures, "picture"), _plural(self.faces, "face")]
        parts += [f"{self.earlier} from an earlier run"] * bool(self.earlier)
        parts += [f"{self.failed} failed"] * bool(self.failed)
        parts += [f"{self.damaged} damaged"] * bool(self.damaged)
        parts += [f"{self.not_drawn} not drawn"] * bool(self.not_drawn)
        return ", ".join(parts)


def finder(detector: MTCNN, max_faces: int | None, clip: bool = False) -> Find:
    """What `detect_each` takes. Raises as `MTCNN.detect_batch` does for its options."""
    detector.detect_batch([], max_faces=max_faces, clip=clip)
    return lambda images: detector.detect_batch(images, max_faces=max_faces, clip=clip)


def settings_of(detector: MTCNN, **others: Any) -> Record:
    """All that results depend on: not the number of threads, nor which of several GPUs."""
    options = {key: value for key, value in detector.options.items() if key not in ("num_threads", "channel_order")}
    options |= {"device": detector.device.partition(":")[0], "precision": detector.precision, **others}
    options["weights"] = weights_digest(options["weights"])
    return {"version": __version__, **options}


def to_do_again(drawings: Drawings | None) -> Callable[[list[Record]], bool]:
    """Whether a picture of an earlier run is searched again: if it failed, or should have a drawing and has none."""

    def again(records: list[Record]) -> bool:
        return failed(records) or (drawings is not None and not all("drawing" in record for record in records))

    return again


def detect_files(
    find: Find,
    items: Iterable[Item],
    tally: Tally,
    *,
    results: File[Item] | Stream | None = None,
    drawings: Drawings | None = None,
    say: Callable[[str], object] = lambda _: None,
    complain: Callable[[str, str], object],
    batch_size: int = BATCH_SIZE,
    first_page_only: bool = False,
    pipes: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> Generator[None, None, None]:
    """Searches the items, and yields after each picture: its record is written then, and `tally` counts it.

    say: is given a line a picture. complain: is given the name and the reason of what failed or is damaged. progress:
    is told of the number of files done since it was last told. A drawing that fails costs neither the record nor the
    line. Raises OSError if a record cannot be written, and as `results` does.
    """

    def done(records: list[Record]) -> None:
        tally.pictures += len(records)
        tally.earlier += len(records)
        for record in records:
            tally.faces += len(record["faces"])
            tally.damaged += "damaged" in record
            if drawings is not None:
                drawings.keep(record["drawing"])
        progress(1)

    todo: Iterator[tuple[Item, int | None]]
    if isinstance(results, File):
        todo = ((item, again) for _, item, again in results.remaining(((item.name, item) for item in items), done))
    else:
        todo = ((item, None) for item in items)
    files = (((item, again), item.path) for item, again in todo)
    for outcome in detect_each(find, files, batch_size=batch_size, first_page_only=first_page_only, pipes=pipes):
        item, again = outcome.key
        name = item.name if outcome.pages == 1 else f"{item.name} (page {outcome.page} of {outcome.pages})"
        tally.pictures += 1
        drawing = None
        if outcome.error is not None:
            tally.failed += 1
            complain(name, outcome.error)
        elif drawings is not None:
            try:
                drawing = _draw(drawings, outcome, item)
            except Exception as error:  # encoders raise what they like
                tally.not_drawn += 1
                complain(name, f"not drawn: {line_of(error)}")
        if outcome.picture is not None and outcome.picture.damage is not None:
            tally.damaged += 1
            complain(name, f"damaged: {outcome.picture.damage}")
        if results is not None:
            results.add(record_of(outcome, item.name, drawing), *([again] if isinstance(results, File) else []))
        if outcome.faces is not None and outcome.picture is not None:
            tally.faces += len(outcome.faces)
            height, width = outcome.picture.pixels.shape[:2]
            say(f"{shown(name)}: {_plural(len(outcome.faces), 'face')} ({width}x{height})")
        if outcome.error is not None or outcome.page == outcome.pages - 1 or first_page_only:
            progress(1)
        yield


def _draw(drawings: Drawings, outcome: Outcome[Any], item: Item) -> str | None:
    if outcome.picture is None or outcome.faces is None:
        return None
    return drawings.write(outcome.picture, outcome.faces, item.below)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def detect_to_file(
    detector: MTCNN,
    files: Iterable[tuple[str, str | os.PathLike[str]]],
    output: str | os.PathLike[str],
    *,
    max_faces: int | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], object] = lambda _: None,
) -> Problems:
    """Finds the faces of any number of files, given with a name each, and writes a line of JSON a picture.

    `{"path", "width", "height", "faces"}`, faces as `Detections.to_dicts` has them; for a file that cannot be read
    `{"path", "error", "faces": []}`. Of a file with pages the first is searched. If `output` is there, the run goes on
    with it, what failed is tried again, and the file ends as if it had never stopped. The settings of the run are kept
    beside it, in `output` + ".settings".

    detector: of channel order "rgb". progress: is told of the number of files done since it was last told.

    Returns the files that failed or are damaged. Raises ValueError if `output` was begun with other settings or other
    pictures, OSError if it cannot be written.
    """
    if detector.options["channel_order"] != "rgb":
        raise ValueError("the detector takes images in BGR order, and pictures are read in RGB order")
    problems, tally = Problems(), Tally()
    results: File[Item] = File(
        Path(output),
        "jsonl",
        settings_of(detector, max_faces=max_faces, clip=False, pages="first"),
        resume=True,
        first_page_only=True,
        to_do_again=to_do_again(None),
    )
    complete = False
    try:
        for _ in detect_files(
            finder(detector, max_faces),
            (Item(name, os.fspath(path), name) for name, path in files),
            tally,
            results=results,
            complain=problems.add,
            batch_size=batch_size,
            first_page_only=True,
            progress=progress,
        ):
            pass
        complete = True
    finally:
        results.close(complete, tally.all_well)
    return problems
