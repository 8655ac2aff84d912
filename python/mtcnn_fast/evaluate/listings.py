"""Text files of WIDER FACE and FDDB: for each picture a name, a count and as many rows."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mtcnn_fast.annotations import Problems
from mtcnn_fast.annotations.base import numbers

Line = tuple[int, str]
"""Of a file: its number, from 1, and its text, stripped and not blank."""

Lines = Iterable[Line]

_COUNT = re.compile(r"[0-9]{1,9}")


def is_collection(path: Path) -> bool:
    """Whether `members` can read it: a folder, a tar or a zip archive."""
    return path.is_dir() or tarfile.is_tarfile(path) or zipfile.is_zipfile(path)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the text files of a folder or an archive.

    Raises ValueError for an archive that is damaged or another file, and if there are no text files.
    """
    try:
        found = _members(path)
        first = next(found, None)
        if first is None:
            raise ValueError(f"{path} has no .txt files")
        yield first
        yield from found
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole archive: {error}") from error


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.txt")):
            yield str(file.relative_to(path)), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".txt"):
                    yield entry.filename, archive.read(entry)
    else:
        with tarfile.open(path, "r|*") as stream:
            for member in stream:
                content = stream.extractfile(member) if member.name.endswith(".txt") else None
                if content is not None:
                    yield member.name, content.read()


def pictures(rows: Lines, file: Path, problems: Problems) -> Iterator[tuple[str, list[Line]]]:
    """The name of each picture and its rows, as they come.

    A row too few or too many is told to `problems`, as lying in `file`, and costs no other picture: a line that a
    count follows is a name.
    """
    ahead = _Ahead(rows)
    while ahead.peek() is not None:
        at, name = ahead.take()
        shown = repr(name if len(name) <= 80 else f"{name[:80]}...")
        if not _is_count(ahead.peek()):
            problems.add(
                file, f"{shown} is neither the name of a picture, with a count after it, nor one of its rows", at
            )
            continue
        count = int(ahead.take()[1])
        found: list[Line] = []
        while len(found) < count and ahead.peek() is not None and not _is_count(ahead.peek(1)):
            found.append(ahead.take())
        if len(found) < count:
            problems.add(file, f"{count - len(found)} of the {count} rows of {shown} are missing", at)
        yield name, found


def fields(row: str, names: str) -> list[float]:
    """The numbers of a row. Raises ValueError if they are not as many as the names, which are separated by spaces."""
    values = numbers(row.split())
    if len(values) != len(names.split()):
        raise ValueError(f"the row has {len(values)} numbers; wanted {names}")
    return values


class _Ahead:
    """Lines, with a look at those to come."""

    def __init__(self, rows: Lines) -> None:
        self._rows = iter(rows)
        self._ahead: deque[Line] = deque()

    def peek(self, index: int = 0) -> str | None:
        self._ahead.extend(islice(self._rows, max(0, index + 1 - len(self._ahead))))
        return self._ahead[index][1] if index < len(self._ahead) else None

    def take(self) -> Line:
        return self._ahead.popleft()


def _is_count(text: str | None) -> bool:
    return text is not None and _COUNT.fullmatch(text) is not None
