"""Limits on the content of files. They are far beyond any data set, and keep a hostile file from filling the memory.

For comparison: the fullest picture of WIDER FACE has 1,968 faces. Detectors that keep everything write a few thousand
rows per picture, with about 50 bytes per row in text and 400 in JSON with landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mtcnn_fast import text_files

MAX_FACES = 100_000
"""The faces of one picture."""

MAX_TEXT = 2**24
"""The bytes of a file or an archive's member that is about one picture: 100,000 rows of 160 bytes."""

MAX_LINE = 2**26
"""The bytes of a line. One line may have all faces of a picture as JSON."""

MAX_ARCHIVE = 2**33
"""The bytes that an archive unpacks to: 16,000 pictures, as WIDER FACE's training set has, of 10,000 rows each."""

_PIECE = 2**20


def check_room(count: int) -> None:
    """Raises ValueError if a picture that has `count` faces can have no more."""
    if count >= MAX_FACES:
        raise ValueError(f"the picture has more than {MAX_FACES} faces, which is the limit")


def read_bounded(file: BinaryIO, most: int) -> bytes:
    """The rest of a file. Raises ValueError if it has more than `most` bytes, and then stops reading."""
    content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(more_than(most))
    return content


def more_than(most: int) -> str:
    """The message for a content of more than `most` bytes."""
    return f"it has more than {most} bytes, which is the limit"


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, as `text_files.lines`. Also raises ValueError for a line of more than MAX_LINE bytes."""
    check_lines(path)
    yield from text_files.lines(path)


def check_lines(path: Path) -> None:
    """Raises ValueError for a line of more than MAX_LINE bytes."""
    with path.open("rb") as file:
        number, begun = 1, 0
        while piece := file.read(_PIECE):
            # A CR alone ends a line too, and so does the LF of UTF-16.
            end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            begun = begun + len(piece) if end < 0 else len(piece) - end - 1
            if begun > MAX_LINE:
                number += piece.count(b"\n")
                raise ValueError(f"{path}:{number}: the line has more than {MAX_LINE} bytes, which is the limit")
            number += piece.count(b"\n")
