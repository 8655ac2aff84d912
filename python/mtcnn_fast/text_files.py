"""Text files of several encodings: UTF-8, and the UTF-16 and UTF-32 that editors and shells of Windows write."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MARKS = (
    # UTF-32 first: its mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# Bytes that are enough to recognise UTF-16 without a mark, by its zeros.
_HEAD = 64


# A zero byte alone is damage of a line, which costs that line.
_ZEROS_OF_A_LINE = 1


def encoding(head: bytes) -> str:
    """The encoding of a text that begins with these bytes: by its byte order mark, else by its zeros, else UTF-8.

    Raises UnicodeDecodeError for UTF-16 and UTF-32 that cannot be recognised, and for files that are no text.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    # The first characters of a list, of JSON, TOML and XML are ASCII: every other byte of UTF-16 is zero.
    even, odd = head[:_HEAD:2], head[1:_HEAD:2]
    if odd and not any(odd) and all(even):
        return "utf-16-le"
    if odd and not any(even) and all(odd):
        return "utf-16-be"
    if head[:_HEAD].count(0) > _ZEROS_OF_A_LINE:
        first = head.index(0)
        why = "a zero byte; wanted UTF-8, or UTF-16 or UTF-32 with a byte order mark"
        raise UnicodeDecodeError("utf-8", head, first, first + 1, why)
    return "utf-8"


def decode(content: bytes) -> str:
    """The text of a file's bytes. Bytes that are not UTF-8 become surrogates, as in Python's file names.

    Raises UnicodeDecodeError for UTF-16 and UTF-32 that are not whole, and as `encoding` does.
    """
    return content.decode(encoding(content[:_HEAD]), errors=_errors(content[:_HEAD]))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank: number, from 1, and stripped text. Decoded as `decode` does.

    Lines end with LF, CR LF or CR. Raises OSError for a file that cannot be read, ValueError for one that cannot be
    decoded.
    """
    with path.open("rb") as file:
        yield from _numbered(file)


def lines_of(content: bytes) -> Iterator[tuple[int, str]]:
    """The same for a file's bytes."""
    return _numbered(io.BytesIO(content))


def portable(name: str) -> str:
    """A picture's name with `/` between its folders, also where Windows wrote it."""
    return name.replace("\\", "/")


def as_text(file: BinaryIO, newline: str | None = None) -> io.TextIOWrapper:
    """The text of an open file, decoded as `decode` does. newline: as for `open`. Raises as `encoding` does."""
    head = file.read(_HEAD)
    file.seek(0)
    return io.TextIOWrapper(file, encoding=encoding(head), errors=_errors(head), newline=newline)


def _numbered(file: BinaryIO) -> Iterator[tuple[int, str]]:
    with as_text(file) as text:
        for number, line in enumerate(text, 1):
            stripped = line.strip()
            if stripped:
                yield number, stripped


def _errors(head: bytes) -> str:
    return "surrogateescape" if encoding(head).startswith("utf-8") else "strict"
