"""Text files of WIDER FACE and FDDB: for each picture a name, a count and as many rows."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mtcnn_fast.datasets.base import Problems, Wanted
from mtcnn_fast.datasets.fields import numbers, quoted
from mtcnn_fast.datasets.limits import MAX_FACES

Line = tuple[int, str]
"""A line of a file: its number, from 1, and its text, stripped and not blank."""

Lines = Iterable[Line]

_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a file about a picture."""

    name: str
    line: int
    """The line of the name."""
    rows: list[Line]
    complete: bool
    """Whether there are as many rows as the file says."""

    def __iter__(self) -> Iterator[Any]:
        """The name, its line and the rows."""
        return iter((self.name, self.line, self.rows))


def entries(rows: Lines, file: Path, problems: Problems, wanted: Wanted = lambda _: True) -> Iterator[Entry]:
    """The entries of the wanted pictures, in the order of the file.

    problems: receives missing and surplus rows, as problems of `file`. They affect no other picture, because a line
    with a count behind it is always a name. Surplus rows make the picture before them incomplete, even if they belong
    to another picture whose name is lost. After a count of 0 there may be a row of zeros, as in WIDER FACE's own lists.
    """
    ahead = _Ahead(rows)
    for line in _before_a_name(ahead):
        _refuse(line, file, problems)
    while ahead.peek() is not None:
        at, name = ahead.take()
        count = int(ahead.take()[1])
        if count == 0 and _is_zeros(ahead.peek()) and not _is_count(ahead.peek(1)):
            ahead.take()
        take = wanted(name)
        kept: list[Line] = []
        surplus = False
        remaining = count
        for line in _before_a_name(ahead):
            if remaining:
                remaining -= 1
                if take and len(kept) < MAX_FACES:
                    kept.append(line)
            elif take:
                surplus = True
                _refuse(line, file, problems)
        if not take:
            continue
        surplus |= count - remaining > MAX_FACES
        if count - remaining > MAX_FACES:
            problems.add(file, f"{quoted(name)} has more than {MAX_FACES} rows, which is the limit", at)
        if remaining:
            problems.add(file, f"{remaining} of the {count} rows of {quoted(name)} are missing", at)
        yield Entry(name, at, kept, not remaining and not surplus)


def _before_a_name(ahead: _Ahead) -> Iterator[Line]:
    while ahead.peek() is not None and not _is_count(ahead.peek(1)):
        yield ahead.take()


def _refuse(line: Line, file: Path, problems: Problems) -> None:
    at, text = line
    problems.add(
        file, f"{quoted(text)} is neither the name of a picture, with a count after it, nor one of its rows", at
    )


def fields(row: str, names: str) -> list[float]:
    """The numbers of a row. Raises ValueError unless there is one per name; `names` has spaces between names."""
    values = numbers(row.split())
    if len(values) != len(names.split()):
        raise ValueError(f"the row has {len(values)} numbers; wanted {names}")
    return values


class _Ahead:
    """Lines that can be looked at before they are taken."""

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


def _is_zeros(text: str | None) -> bool:
    return text is not None and not text.strip("0. \t")
