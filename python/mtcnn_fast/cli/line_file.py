"""A file of records that are written as they come, a line of JSON per record."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mtcnn_fast.cli.arguments import path
from mtcnn_fast.console import console
from mtcnn_fast.records import Record, encoded
from mtcnn_fast.result_formats import LINES, format_of
from mtcnn_fast.writing import JSON, check_destination, is_special, keep_permissions, naming, settle

STANDARD_OUTPUT = "-"


def json_lines(text: str) -> str:
    """An argument that is the path of a file of lines, or STANDARD_OUTPUT."""
    place = Path(path(text))
    if text != STANDARD_OUTPUT and not is_special(place) and not place.is_dir():
        kind = None
        with suppress(ValueError):
            kind = format_of(text)
        if kind != LINES:
            raise argparse.ArgumentTypeError(f"{text} has the suffix {place.suffix!r}; wanted .jsonl, a line per frame")
    return text


class LineFile:
    """Stdout, a pipe, a device, or a file: if there is an earlier one, the lines are beside it until they are whole.

    inputs: files that are read, which are not replaced. Raises OSError that names the file.
    """

    def __init__(self, name: str, inputs: Sequence[str]) -> None:
        self._name = name
        self._target = self._place = None
        if name == STANDARD_OUTPUT:
            return
        place = check_destination(name, JSON, inputs)
        if is_special(place):
            self._place = place
        else:
            self._target = Path(os.path.realpath(place))
            earlier = self._target.exists() and self._target.stat().st_size > 0
            self._place = self._target.with_name(f"{self._target.name}.part") if earlier else self._target
        with naming(name):
            # Unbuffered, so that each line is in the file when it is written, and closing writes nothing.
            self._file = self._place.open("wb", buffering=0)

    def write(self, record: Record) -> None:
        """Writes a line."""
        line = encoded(record)
        if self._place is None:
            console.write(line.decode())
        else:
            with naming(self._name):
                self._file.write(line)

    def close(self, whole: bool) -> str | None:
        """Ends the file and returns its name; None: of stdout, a pipe or a device, which keep nothing.

        whole: False: an earlier file stays, and the lines are beside it.
        """
        if self._place is None:
            return None
        with naming(self._name), self._file:
            if self._target is not None:
                settle(self._file)
        if self._target is None:
            return None
        if self._place == self._target:
            return self._name
        if not whole:
            return str(self._place)
        with naming(self._name):
            keep_permissions(self._target, self._place)
            self._place.replace(self._target)
        return self._name
