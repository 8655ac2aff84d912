"""`mtcnn-fast detect --ray`: the pictures of a large job, searched by a cluster, into a folder of Parquet files."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from mtcnn_fast import MTCNN, __version__, reading
from mtcnn_fast.checks import at_least, shown
from mtcnn_fast.cli import detector_options, interrupts
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.console import console
from mtcnn_fast.detecting import Item, Tally
from mtcnn_fast.extra import require
from mtcnn_fast.finding import PassedOver
from mtcnn_fast.integrations import DetectFaces, ray_job
from mtcnn_fast.integrations.job_folder import Block, JobFolder
from mtcnn_fast.weights import weights_digest
from mtcnn_fast.writing import line_of

_PICTURES_IN_BLOCK = 128

_ONLY_ALONE = ("draw", "crops", "aligned", "size", "json", "format", "resume")
"""The options of `detect` that a job on Ray has not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --ray and the options that belong to it."""
    group = parser.add_argument_group("large jobs")
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="search on a Ray cluster: HOST:PORT, auto (the one that runs on this machine) or local (this machine's "
        "processors; default: the variable RAY_ADDRESS, else local). The same command goes on with a job that was "
        "interrupted, and tries pictures that failed again",
    )
    group.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help="folder of --ray for Parquet files, with a row per face (faces/) and per picture that failed (failed/)",
    )
    group.add_argument(
        "--block",
        type=int,
        metavar="N",
        help=f"pictures per task and per file of --ray (default: {_PICTURES_IN_BLOCK})",
    )


def settle(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> None:
    """Completes parsed arguments: an ADDRESS that is none was the first PATH. Reports what is missing or too much."""
    if arguments.ray is None:
        for name in ("output", "block"):
            if getattr(arguments, name) is not None:
                error(f"argument --{name}: it is about --ray; wanted --ray with it")
    elif arguments.ray and not ray_job.is_address(arguments.ray):
        if not os.path.lexists(arguments.ray):
            error(f"argument --ray: {arguments.ray} is neither an address (HOST:PORT, auto, local) nor a PATH")
        arguments.paths.insert(0, arguments.ray)
        arguments.ray = ""
    if not arguments.paths:
        error("the following arguments are required: PATH")
    if wanted(arguments):
        _check_options(arguments, error)


def _check_options(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> None:
    for name in _ONLY_ALONE:
        if getattr(arguments, name):
            remedy = "--ray goes on by itself" if name == "resume" else "--ray writes to --output"
            error(f"argument --{name}: it does not go with --ray; {remedy}")
    if arguments.output is None:
        error("argument --ray: wanted --output DIR with it")
    if reading.STANDARD_INPUT in arguments.paths:
        error("argument PATH: - is read by one process; wanted files or folders with --ray")


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether completed arguments are about a job on Ray."""
    return arguments.ray is not None


def run(
    arguments: argparse.Namespace,
    items: Callable[[Callable[[str, str], object], PassedOver], Iterator[Item]],
    error: Callable[[str], NoReturn],
) -> int:
    """Runs the job of parsed arguments on the items. Returns the exit status."""
    began = time.monotonic()
    tally, passed_over, listing = Tally(), PassedOver(), Tally()

    def not_listed(name: str, why: str) -> None:
        listing.failed += 1
        console.complain(f"{shown(name)}: {shown(why)}")

    folder = JobFolder(Path(arguments.output).absolute())
    with ExitStack() as stack:
        try:
            size = at_least("block", _PICTURES_IN_BLOCK if arguments.block is None else arguments.block, 1)
            detect = _detect(arguments)
            require("pyarrow.parquet", "--ray", "ray")
            stack.enter_context(
                ray_job.connected(
                    arguments.ray or os.environ.get("RAY_ADDRESS") or ray_job.LOCAL, MTCNN(device="cpu").num_threads
                )
            )
            on_gpus = ray_job.on_gpus(detect.options["device"])
            detect.options["device"] = "cuda" if on_gpus else "cpu"
            settings = _settings(detect, arguments, size)
            names = (item.name for item in items(not_listed, passed_over))
            stack.callback(folder.begin(settings, names).close)
            task = ray_job.Task(folder, detect, Path.cwd())
            ray_job.check_workers(task)
            blocks = _to_search(folder, size, tally)
        except (ImportError, OSError, RuntimeError, TypeError, ValueError) as reason:
            error(shown(line_of(reason)))
        ended = _search(task, blocks, on_gpus, tally)
        if ended is None:
            folder.end()
        else:
            if not isinstance(ended, KeyboardInterrupt):
                console.complain(shown(line_of(ended)))
            console.complain(shown(f"{arguments.output} has the blocks that are finished; the same command goes on"))
        console.complain(
            f"{tally}, {time.monotonic() - began:.1f} s" if tally.pictures or ended else "no pictures found"
        )
        if str(passed_over):
            console.complain(str(passed_over))
    if isinstance(ended, KeyboardInterrupt):
        raise ended
    return int(ended is not None or not tally.pictures or bool(tally.failed or tally.damaged or listing.failed))


def _search(task: ray_job.Task, blocks: list[Block], gpus: bool, tally: Tally) -> BaseException | None:
    """Searches the blocks, counts, and reports what failed. Returns what ended the search early."""
    by_number = {block.number: block for block in blocks}
    reports = ray_job.run(task, blocks, num_threads=task.detect.options["num_threads"], gpus=gpus)
    with _bar(tally, blocks) as bar:

        def complain(line: str) -> None:
            with nullcontext() if bar is None else bar.external_write_mode():
                console.complain(shown(line))

        try:
            for report in reports:
                interrupts.check()
                if report.error is not None:
                    return OSError(report.error)
                block = by_number[report.block]
                _count(report, block, tally)
                for name, why in zip(report.remarks[::2], report.remarks[1::2], strict=True):
                    complain(f"{name}: {why}")
                if report.lost:
                    names = task.folder.names(block)
                    complain(
                        f"{names[0]} to {names[-1]} ({len(names)} pictures): not searched: each worker died of them"
                    )
                if bar is not None:
                    bar.update(block.pictures)
        except (KeyboardInterrupt, OSError, RuntimeError) as reason:
            return reason
    return None


def _detect(arguments: argparse.Namespace) -> DetectFaces:
    options = detector_options.options_of(arguments)
    options["num_threads"] = 1 if options["num_threads"] is None else options["num_threads"]
    return DetectFaces(
        "source",
        pages=arguments.pages,
        batch_size=arguments.batch,
        max_faces=arguments.max_faces,
        clip=arguments.clip,
        **options,
    )


def _settings(detect: DetectFaces, arguments: argparse.Namespace, size: int) -> dict[str, Any]:
    """What the tables depend on."""
    options = {name: value for name, value in detect.options.items() if name not in ("num_threads", "channel_order")}
    return {
        "version": __version__,
        **options,
        "weights": weights_digest(options["weights"]),
        "max_faces": arguments.max_faces,
        "clip": arguments.clip,
        "pages": arguments.pages,
        "block": size,
    }


def _to_search(folder: JobFolder, size: int, tally: Tally) -> list[Block]:
    """The blocks that are not finished, or have pictures that failed. Counts the others."""
    blocks = []
    for block in folder.blocks(size):
        counts = folder.counts(block)
        if counts is None or counts.failed:
            blocks.append(block)
        else:
            tally.pictures += counts.pictures
            tally.earlier += counts.pictures
            tally.faces += counts.faces
            tally.damaged += counts.damaged
    return blocks


def _count(report: ray_job.Report, block: Block, tally: Tally) -> None:
    tally.pictures += block.pictures if report.lost else report.pictures
    tally.earlier += report.earlier
    tally.faces += report.faces
    tally.failed += block.pictures if report.lost else report.failed
    tally.damaged += report.damaged


def _bar(tally: Tally, blocks: list[Block]) -> Any:
    """A progress bar, or None, as a context."""
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    tqdm = require("tqdm", "a progress bar").tqdm
    total = tally.pictures + sum(block.pictures for block in blocks)
    return tqdm(total=total, initial=tally.pictures, unit="picture")
