"""Outputs of the commands of `evaluate`: figures as JSON, curves as a plot."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from mtcnn_fast.cli import plots
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.console import console
from mtcnn_fast.writing import JSON, PNG, check_destination, line_of, replacing, write_whole


def add_output_arguments(parser: argparse.ArgumentParser, curves: str, figures: str) -> None:
    """Adds --plot, for `curves`, and --json, for `figures`."""
    parser.add_argument("--plot", type=path, metavar="FILE.png", help=f"draw {curves} to this file (default: none)")
    parser.add_argument("--json", type=path, metavar="FILE", help=f"write {figures} to this file (default: none)")


class Outputs:
    """The files that the arguments above name. Writing them is tried before anything is read.

    inputs: the files that the command reads, which are not replaced; None: an argument that was not given. Raises
    OSError for a file that cannot or must not be written; ValueError if both are one file; ImportError for a plot
    without matplotlib.
    """

    def __init__(self, arguments: argparse.Namespace, inputs: Iterable[str | None]) -> None:
        sources = [each for each in inputs if each is not None]
        self._json = None if arguments.json is None else check_destination(arguments.json, JSON, sources)
        self._plot = None if arguments.plot is None else check_destination(arguments.plot, PNG, sources)
        if self._plot is not None:
            plots.check()
            if self._json is not None and os.path.realpath(self._json) == os.path.realpath(self._plot):
                raise ValueError(f"--json and --plot are both {arguments.plot}; wanted two files")

    def write(self, figures: object, draw: Callable[[BinaryIO], None]) -> bool:
        """Writes the figures and, by `draw`, the plot. Returns whether both succeeded.

        If one fails, stderr gets the error, and the other is still written.
        """
        wanted: list[tuple[Path | None, Callable[[Path], None]]] = [
            (self._json, lambda file: write_json(file, figures)),
            (self._plot, lambda file: _write_plot(file, draw)),
        ]
        well = True
        for file, write in wanted:
            if file is None:
                continue
            try:
                write(file)
            except Exception as error:  # matplotlib raises exceptions of any type
                named = isinstance(error, OSError) and error.filename is not None
                console.complain(line_of(error) if named else f"{file}: {line_of(error)}")
                well = False
        return well


def write_json(file: Path, figures: object) -> None:
    """Writes numbers, and lists and mappings of them, in a line. NaN and infinities, which JSON lacks, become null.

    Raises OSError that names the file.
    """
    write_whole(file, json.dumps(_finite(figures)).encode() + b"\n")


def _write_plot(file: Path, draw: Callable[[BinaryIO], None]) -> None:
    with replacing(file) as out:
        draw(out)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
