"""`mtcnn-fast detect`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NoReturn

from mtcnn_fast import reading
from mtcnn_fast.cli import detect_on_ray, searching
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.detecting import Item
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.result_formats import FORMATS
from mtcnn_fast.writing import is_special, reason


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `detect`."""
    parser.add_argument(
        "paths", nargs="*", type=path, metavar="PATH", help="picture, folder to search to any depth, or - for stdin"
    )
    parser.add_argument(
        "--draw",
        type=path,
        metavar="DIR",
        help="write a copy of each picture, upright and with its faces drawn, to this folder (default: none)",
    )
    parser.add_argument(
        "--crops",
        type=path,
        metavar="DIR",
        help="write each face as a PNG to this folder: its box, stretched to a square (default: none)",
    )
    parser.add_argument(
        "--aligned", action="store_true", help="make --crops upright by the landmarks, for a recognition network"
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="side of --crops (default: 160, with --aligned 112)",
    )
    searching.add_json(
        parser,
        "write the faces, in pixels of the upright pictures, to this file; - writes them to stdout, and the printed "
        "lines to stderr (default: none)",
    )
    parser.add_argument("--format", choices=FORMATS, help="format of --json (default: by the suffix; json for stdout)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the file that an earlier run with this --json FILE has written; pictures that failed are "
        "tried again",
    )
    parser.add_argument(
        "--pages",
        choices=searching.PAGES,
        default=searching.ALL,
        help="the pages to search, of TIFFs with several and of animations",
    )
    parser.add_argument("--clip", action="store_true", help="clip boxes to the picture")
    searching.add_arguments(parser)
    detect_on_ray.add_arguments(parser)


def items_of(paths: list[str], leave_out: Collection[str] = (), below: bool = False) -> searching.Items:
    """The pictures that paths name. They are named by their paths, or, with `below`, by the part below the argument."""

    def items(report: Callable[[str, str], object], passed_over: PassedOver) -> Iterator[Item]:
        files = find(
            paths,
            reading.suffixes(),
            leave_out=leave_out,
            report=lambda error: report(str(error.filename), reason(error)),
            passed_over=passed_over,
        )
        return (
            Item(
                file.below if below else file.path,
                file.path,
                "stdin" if file.path == reading.STANDARD_INPUT else file.below,
            )
            for file in files
        )

    return items


def lead_nowhere(paths: list[str]) -> bool:
    """Whether none of the paths exists. Then no file and no folder is made."""
    return not any(name == reading.STANDARD_INPUT or os.path.lexists(name) for name in paths)


def _same(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `detect`. Returns the exit status."""
    detect_on_ray.settle(arguments, error)
    if detect_on_ray.wanted(arguments):
        if lead_nowhere(arguments.paths):
            error(f"argument PATH: {arguments.paths[0]}: No such file or directory")
        return detect_on_ray.run(arguments, items_of(arguments.paths, [arguments.output]), error)
    if arguments.paths.count(reading.STANDARD_INPUT) > 1:
        error("argument PATH: - is given twice; stdin can be read once")
    to_stdout = arguments.json == searching.STANDARD_OUTPUT
    if arguments.json is None and arguments.format is not None:
        error("argument --format: it is the format of the file of --json; wanted --json FILE with it")
    if arguments.resume and arguments.json is not None and (to_stdout or is_special(Path(arguments.json))):
        error(f"argument --resume: {arguments.json} cannot be read; wanted --json with a file to go on with")
    if arguments.crops is None and (arguments.aligned or arguments.size is not None):
        error(
            f"argument --{'aligned' if arguments.aligned else 'size'}: it is about --crops; wanted --crops DIR with it"
        )
    if None not in (arguments.draw, arguments.crops) and _same(arguments.draw, arguments.crops):
        error(f"argument --crops: {arguments.crops} is the folder of --draw; wanted another")
    nowhere = lead_nowhere(arguments.paths)
    job = searching.Job(
        items=items_of(arguments.paths, [folder for folder in (arguments.draw, arguments.crops) if folder]),
        inputs=arguments.paths,
        output=None if nowhere and not to_stdout else arguments.json,
        kind=searching.kind_of(arguments.json, arguments.format, ", or --format with it", error),
        resume=arguments.resume and not nowhere,
        draw=None if nowhere else arguments.draw,
        crops=None if nowhere else arguments.crops,
        aligned=arguments.aligned,
        size=arguments.size,
        pages=arguments.pages,
        lines=True,
        counted=True,
    )
    return searching.run(arguments, job, error)
