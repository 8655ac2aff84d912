"""Reading regular files whole or by lines, with errors that name the file."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtcnn_fast import text_files
from mtcnn_fast.datasets import limits
from mtcnn_fast.writing import reason

DEEP = "it is JSON that nests too deep"


def content(path: Path) -> bytes:
    """The bytes of a file. Raises OSError for one that cannot be read, and for a pipe or a device."""
    check_regular(path)
    with _enough_memory(path):
        return path.read_bytes()


def text(path: Path) -> str:
    """The text of a file, of any encoding that `text_files` knows, with LF at the ends of lines."""
    encoded = content(path)
    try:
        with _enough_memory(path):
            return text_files.decode(encoded).replace("\r\n", "\n").replace("\r", "\n")
    except ValueError as error:
        raise ValueError(f"{path} is no text: {reason(error)}") from error


def json_document(path: Path) -> Any:
    """The value in a JSON file. Raises ValueError for another file, and OSError as `content` does."""
    decoded = text(path)
    try:
        with _enough_memory(path):
            return json.loads(decoded)
    except RecursionError as error:
        raise ValueError(f"{path}: {DEEP}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {reason(error)}") from error


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, as `limits.lines` gives them, read while the caller iterates."""
    check_regular(path)
    try:
        yield from limits.lines(path)
    except UnicodeError as error:
        raise ValueError(f"{path} is no text: {reason(error)}") from error


def check_regular(path: Path) -> None:
    """Raises OSError for a pipe or a device: its content can be read only once, and may never come."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{path} is a pipe or a device; wanted a file")


@contextmanager
def _enough_memory(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise OSError(errno.ENOMEM, reason(error), str(path)) from error
