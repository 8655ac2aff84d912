"""The work of `detect` and `evaluate detect`: opening outputs, searching pictures, reporting, keeping results."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

from mtcnn_fast import MTCNN, Detections
from mtcnn_fast.checks import shown
from mtcnn_fast.cli import detector_options, interrupts
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.cli.progress import Progress
from mtcnn_fast.console import console
from mtcnn_fast.detecting import Item, Tally, detect_files, finder, settings_of, to_do_again
from mtcnn_fast.drawings import Crops, Cut, Drawings
from mtcnn_fast.extra import require
from mtcnn_fast.finding import PassedOver
from mtcnn_fast.reading import STANDARD_INPUT
from mtcnn_fast.records import Record
from mtcnn_fast.result_formats import BEGINNINGS, Stream, check_packages, format_of
from mtcnn_fast.results import File
from mtcnn_fast.streaming import BATCH_SIZE, readers_for
from mtcnn_fast.tables import as_bytes
from mtcnn_fast.writing import check_destination, is_folder, is_special, line_of, naming

STANDARD_OUTPUT = "-"
ALL, FIRST = PAGES = ("all", "first")

_NEEDS = dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif")


class Items(Protocol):
    """Gives the files to search. It can be called several times."""

    def __call__(self, report: Callable[[str, str], object], passed_over: PassedOver) -> Iterator[Item]: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """The pictures to search, and the outputs to write."""

    items: Items
    """The files to search. It reports rows and folders that cannot be used, by name and reason."""
    inputs: list[str]
    """The files that are read, which no output replaces, and folders."""
    output: str | None
    """The file of results, or STANDARD_OUTPUT; None: there is none."""
    kind: str
    """The format of results: one of `result_formats.FORMATS`."""
    resume: bool = True
    draw: str | None = None
    crops: str | None = None
    aligned: bool = False
    """Whether crops are made by `MTCNN.align`, not `crop`."""
    size: int | None = None
    """The side of crops, in pixels; None: the default of the method that makes them."""
    pages: str = FIRST
    pipes: bool = True
    """Whether to wait for items that are pipes, because the user has named them."""
    lines: bool = False
    """Whether to print one line per picture."""
    counted: bool = False
    """Whether items can be counted first, so that the progress bar has an end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of every command that searches."""
    parser.add_argument("--batch", type=int, default=BATCH_SIZE, metavar="N", help="pictures to search at a time")
    detector_options.add_max_faces(parser)
    detector_options.add_to(parser)


def add_json(parser: argparse.ArgumentParser, help: str, required: bool = False) -> None:
    """Adds --json, the file of results."""
    parser.add_argument(
        "--json",
        required=required,
        type=path,
        metavar="FILE",
        help=f"{help}. The suffix tells the format: .json, a document; .jsonl, a line per picture; .csv or .parquet, a "
        "row per face",
    )


def kind_of(file: str | None, format: str | None, remedy: str, error: Callable[[str], NoReturn]) -> str:
    """The format of the file of --json: `format`; if that is None, by the suffix. remedy: is added to an error."""
    if file is None or file == STANDARD_OUTPUT:
        return format or "json"
    try:
        return format_of(file, format)
    except ValueError as reason:
        # Pipes have no suffix. A folder is refused, whatever its name.
        if is_special(Path(file)) or is_folder(Path(file)):
            return "json"
        error(f"argument --json: {shown(reason)}{remedy}")


def run(arguments: argparse.Namespace, job: Job, error: Callable[[str], NoReturn]) -> int:
    """Does a job with the detector that the arguments describe. Returns the exit status."""
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            if arguments.batch < 1:
                raise ValueError(f"batch is {arguments.batch}; wanted 1 or more")
            detector = MTCNN(**detector_options.options_of(arguments))
            clip = getattr(arguments, "clip", False)
            find = finder(detector, arguments.max_faces, clip)
            require("PIL.Image", "reading pictures")
            drawings = None if job.draw is None else Drawings(job.draw, job.inputs)
            crops = None if job.crops is None else Crops(job.crops, job.inputs, _cut(detector, job))
            for folder in filter(None, (drawings, crops)):
                folder.spare(item.path for item in job.items(lambda name, reason: None, PassedOver()))
            settings = settings_of(detector, max_faces=arguments.max_faces, clip=clip, pages=job.pages)
            results = _results(job, settings, drawings, crops, stack)
            progress = Progress("picture", partial(_total, job), stack)
        except (ImportError, OSError, RuntimeError, TypeError, ValueError) as reason:
            error(shown(line_of(reason)))
        report = _Report(progress, job)
        tally, passed_over = Tally(), PassedOver()
        steps = detect_files(
            find,
            job.items(report.not_searched, passed_over),
            tally,
            results=results,
            drawings=drawings,
            crops=crops,
            say=report.say,
            complain=report.complain,
            batch_size=arguments.batch,
            readers=readers_for(detector.num_threads),
            first_page_only=job.pages == FIRST,
            pipes=job.pipes,
            progress=report.progress,
        )
        ended: BaseException | None = None
        try:
            for _ in steps:
                interrupts.check()
                if report.nobody_reads and drawings is None and crops is None:
                    return 1
        except (ImportError, KeyboardInterrupt, OSError, ValueError) as reason:
            ended = reason
            with suppress(KeyboardInterrupt):  # a second Ctrl-C does not wait for pictures that are being read
                steps.close()
        well = tally.all_well and not report.failures
        kept = results.lines if isinstance(results, File) else None
        try:
            if isinstance(results, File):
                kept = results.close(ended is None, well)
            elif results is not None and not isinstance(ended, OSError):
                results.close()
        except (KeyboardInterrupt, OSError, ValueError) as reason:
            ended = ended or reason
    if isinstance(ended, ImportError | ValueError):
        error(shown(ended))
    if isinstance(ended, OSError):
        console.complain(shown(line_of(ended)))
    _sum_up(tally, passed_over, time.monotonic() - began)
    if isinstance(results, File) and kept != results.file:
        earlier = f"{job.output} is from an earlier run; " if results.file.exists() else ""
        console.complain(shown(f"{earlier}the results of this run are in {kept} (--resume goes on)"))
    if isinstance(ended, KeyboardInterrupt):
        raise ended
    return int(
        not well
        or tally.damaged > 0
        or ended is not None
        or (not tally.pictures and (bool(str(passed_over)) or not job.counted))
    )


class _Report:
    """Prints lines about the search, above the progress bar if there is one."""

    def __init__(self, progress: Progress, job: Job) -> None:
        self._progress, self._job = progress, job
        self._to_stdout = job.output == STANDARD_OUTPUT
        self.failures = 0
        """The number of rows and folders that could not be used."""

    @property
    def nobody_reads(self) -> bool:
        """Whether the only output is a stdout that refuses more."""
        return console.refused and (self._to_stdout or self._job.output is None)

    def say(self, line: str) -> None:
        if self._job.lines:
            self._progress.print(console.complain if self._to_stdout else console.say, line)

    def complain(self, name: str, reason: str) -> None:
        self._progress.print(console.complain, f"{shown(name)}: {shown(reason)}")

    def not_searched(self, name: str, reason: str) -> None:
        self.failures += 1
        self.complain(name, reason)

    def progress(self, count: int) -> None:
        self._progress.update(count)


def _total(job: Job) -> int | None:
    return sum(1 for _ in job.items(lambda name, reason: None, PassedOver())) if job.counted else None


def _cut(detector: MTCNN, job: Job) -> Cut:
    options: dict[str, Any] = {} if job.size is None else {"size": job.size}
    cut: Cut = partial(detector.align if job.aligned else detector.crop, **options)
    # The size is checked before the work begins.
    cut(np.zeros((1, 1, 3), np.uint8), Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))))
    return cut


def _results(
    job: Job, settings: Record, drawings: Drawings | None, crops: Crops | None, stack: ExitStack
) -> File[Item] | Stream | None:
    if job.output is None:
        if job.resume:
            raise ValueError("--resume goes on with a file of results; wanted --json FILE with it")
        return None
    check_packages(job.kind)
    if job.output == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise OSError("stdout is closed; wanted it open, or a file for --json")
        return Stream(console.write, job.kind)
    place = check_destination(job.output, BEGINNINGS[job.kind], [name for name in job.inputs if name != STANDARD_INPUT])
    if is_special(place):
        with naming(place):
            # Unbuffered, so that closing the file does not write again what it has refused.
            file = stack.enter_context(place.open("wb", buffering=0))

        def write(text: str) -> None:
            with naming(place):
                file.write(as_bytes(text))

        return Stream(write, job.kind)
    return File(
        place,
        job.kind,
        settings,
        resume=job.resume,
        first_page_only=job.pages == FIRST,
        to_do_again=to_do_again(drawings, crops),
    )


def _sum_up(tally: Tally, passed_over: PassedOver, seconds: float) -> None:
    if tally.pictures:
        console.complain(f"{tally}, {seconds:.1f} s")
    else:
        console.complain("no pictures found")
    if str(passed_over):
        remedies = {_NEEDS[suffix] for suffix in passed_over.suffixes if suffix in _NEEDS}
        console.complain("; ".join([str(passed_over), *(f"HEIC: {remedy}" for remedy in remedies)]))
