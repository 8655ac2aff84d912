"""Runs a detector over files, for every command: each picture gets a line, a drawing and a record."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtcnn_fast import __version__
from mtcnn_fast.checks import shown
from mtcnn_fast.datasets import Problems
from mtcnn_fast.records import Record, failed, record_of
from mtcnn_fast.result_formats import Stream, check_packages, format_of
from mtcnn_fast.results import File
from mtcnn_fast.streaming import BATCH_SIZE, READERS, detect_each, readers_for
from mtcnn_fast.weights import weights_digest
from mtcnn_fast.writing import line_of

if TYPE_CHECKING:
    from mtcnn_fast import MTCNN
    from mtcnn_fast.drawings import Crops, Drawings
    from mtcnn_fast.streaming import Find


class Item(NamedTuple):
    """A file to search."""

    name: str
    """Its name in records and lines."""
    path: str
    below: str
    """The path of its drawing below the folder of drawings."""


@dataclass(slots=True)
class Tally:
    """Counts of a run so far."""

    pictures: int = 0
    """Pictures, including those of an earlier run. Each page counts."""
    earlier: int = 0
    """Pictures of an earlier run that needed nothing more."""
    faces: int = 0
    failed: int = 0
    """Pictures that could not be searched."""
    damaged: int = 0
    """Pictures that were searched although their files are damaged."""
    not_drawn: int = 0
    not_cropped: int = 0

    @property
    def all_well(self) -> bool:
        """Whether no picture must be searched, drawn or cropped again."""
        return not self.failed and not self.not_drawn and not self.not_cropped

    def __str__(self) -> str:
        parts = [plural(self.pictures, "picture"), plural(self.faces, "face")]
        parts += [f"{self.earlier} from an earlier run"] * bool(self.earlier)
        parts += [f"{self.failed} failed"] * bool(self.failed)
        parts += [f"{self.damaged} damaged"] * bool(self.damaged)
        parts += [f"{self.not_drawn} not drawn"] * bool(self.not_drawn)
        parts += [f"{self.not_cropped} not cropped"] * bool(self.not_cropped)
        return ", ".join(parts)


def finder(detector: MTCNN, max_faces: int | None, clip: bool = False) -> Find:
    """A detector's function for `detect_each`. Raises errors as `MTCNN.detect_batch` does for its options."""
    detector.detect_batch([], max_faces=max_faces, clip=clip)
    return lambda images: detector.detect_batch(images, max_faces=max_faces, clip=clip)


def settings_of(detector: MTCNN, **others: Any) -> Record:
    """All settings that results depend on. The number of threads and the choice of one of several GPUs do not count."""
    options = {key: value for key, value in detector.options.items() if key not in ("num_threads", "channel_order")}
    options |= {"device": detector.device.partition(":")[0], "precision": detector.precision, **others}
    options["weights"] = weights_digest(options["weights"])
    return {"version": __version__, **options}


def to_do_again(drawings: Drawings | None, crops: Crops | None = None) -> Callable[[list[Record]], bool]:
    """A function that says whether to search a picture of an earlier run again, by its records.

    It says yes if the picture failed, or if it should have a drawing or crops and has none.
    """

    def again(records: list[Record]) -> bool:
        wanted = {"drawing": drawings, "crops": crops}
        return failed(records) or any(
            output is not None and not all(key in record for record in records) for key, output in wanted.items()
        )

    return again


def detect_files(
    find: Find,
    items: Iterable[Item],
    tally: Tally,
    *,
    results: File[Item] | Stream | None = None,
    drawings: Drawings | None = None,
    crops: Crops | None = None,
    say: Callable[[str], object] = lambda _: None,
    complain: Callable[[str, str], object],
    batch_size: int = BATCH_SIZE,
    readers: int = READERS,
    first_page_only: bool = False,
    pipes: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> Generator[None, None, None]:
    """Searches the items. It yields after each picture, when the record is written and `tally` has counted it.

    say: receives one line per picture. complain: receives the name and the reason of each failure and damage. progress:
    receives the number of files done since its last call. If a drawing or a crop fails, the record and the line still
    come. Raises OSError if a record cannot be written, and errors as `results` does.
    """

    def done(records: list[Record]) -> None:
        tally.pictures += len(records)
        tally.earlier += len(records)
        for record in records:
            tally.faces += len(record["faces"])
            tally.damaged += "damaged" in record
            if drawings is not None:
                drawings.keep(record["drawing"])
            if crops is not None:
                for crop in record["crops"]:
                    crops.keep(crop)
        progress(1)

    todo: Iterator[tuple[Item, int | None]]
    if isinstance(results, File):
        todo = ((item, again) for _, item, again in results.remaining(((item.name, item) for item in items), done))
    else:
        todo = ((item, None) for item in items)
    files = (((item, again), item.path) for item, again in todo)
    for outcome in detect_each(
        find, files, batch_size=batch_size, readers=readers, first_page_only=first_page_only, pipes=pipes
    ):
        item, again = outcome.key
        name = item.name if outcome.pages == 1 else f"{item.name} (page {outcome.page} of {outcome.pages})"
        tally.pictures += 1
        drawing, cropped = None, None
        if outcome.error is not None:
            tally.failed += 1
            complain(name, outcome.error)
        elif outcome.picture is not None and outcome.faces is not None:
            if drawings is not None:
                try:
                    drawing = drawings.write(outcome.picture, outcome.faces, item.below)
                except Exception as error:  # encoders raise exceptions of any type
                    tally.not_drawn += 1
                    complain(name, f"not drawn: {line_of(error)}")
            if crops is not None:
                try:
                    cropped = crops.write(outcome.picture, outcome.faces, item.below)
                except Exception as error:
                    tally.not_cropped += 1
                    complain(name, f"not cropped: {line_of(error)}")
        if outcome.picture is not None and outcome.picture.damage is not None:
            tally.damaged += 1
            complain(name, f"damaged: {outcome.picture.damage}")
        if results is not None:
            results.add(
                record_of(outcome, item.name, drawing, cropped), *([again] if isinstance(results, File) else [])
            )
        if outcome.faces is not None and outcome.picture is not None:
            tally.faces += len(outcome.faces)
            height, width = outcome.picture.pixels.shape[:2]
            say(f"{shown(name)}: {plural(len(outcome.faces), 'face')} ({width}x{height})")
        if outcome.error is not None or outcome.page == outcome.pages - 1 or first_page_only:
            progress(1)
        yield


def plural(count: int, noun: str) -> str:
    """A number and what it is of."""
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
    """Finds the faces in any number of files, which are pairs of name and path, and writes a file of results.

    The suffix of `output` tells its format. In a line of .jsonl and in the list of .json, the record of a file is
    `{"path", "width", "height", "faces"}`, with faces as `Detections.to_dicts` gives them, or, if it cannot be read,
    `{"path", "error", "faces": []}`. In .csv and .parquet, each face has a row. Only the first page of a file is
    searched. If `output` exists, the run continues it and tries failed files again, and the result is the same as that
    of one run. The settings of the run are kept beside it, in `output` + ".settings".

    detector: one with channel order "rgb". progress: receives the number of files done since its last call.

    Returns the files that failed or are damaged. Raises ValueError if `output` has another suffix, or was begun with
    other settings or other pictures, OSError if it cannot be written, ImportError for .parquet without pyarrow.
    """
    if detector.options["channel_order"] != "rgb":
        raise ValueError("the detector takes images in BGR order, and pictures are read in RGB order")
    kind = format_of(os.fspath(output))
    check_packages(kind)
    problems, tally = Problems(), Tally()
    results: File[Item] = File(
        Path(output),
        kind,
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
            readers=readers_for(detector.num_threads),
            first_page_only=True,
            progress=progress,
        ):
            pass
        complete = True
    finally:
        results.close(complete, tally.all_well)
    return problems
