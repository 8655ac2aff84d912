"""Selects the pictures of a data set to read, and joins the entries of a picture so that it comes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from posixpath import basename, splitext

from mtcnn_fast.datasets.base import Annotation, Part, Parts, Problems, Reading
from mtcnn_fast.datasets.fields import quoted
from mtcnn_fast.datasets.limits import lines
from mtcnn_fast.datasets.pictures import picture_name


def names(parts: Parts) -> Counter[str]:
    """The names of a data set's pictures, and how often each comes. Its problems are reported when it is read."""
    counts: Counter[str] = Counter()

    def note(name: str) -> bool:
        counts[name] += 1
        return False

    for _ in parts(Reading(Problems(limit=0), note)):
        raise AssertionError("a reader gives a part that is not wanted")
    return counts


def gathered(parts: Iterator[Part], times: Mapping[str, int], problems: Problems | None) -> Iterator[Annotation]:
    """The pictures, each at the place of its last part, with the faces of all its parts.

    times: by name, the number of parts of each picture to gather. problems: receives pictures that have several parts;
    None: that is no problem.
    """
    begun: dict[str, Part] = {}
    remaining = dict(times)
    for part in parts:
        if part.name in remaining:
            remaining[part.name] -= 1
            first = begun.setdefault(part.name, part)
            if first is not part:
                _merge(first, part, problems)
            if remaining[part.name]:
                continue
            part = begun.pop(part.name)  # the first part, which has the faces of all
        yield part.faces.annotation(part.name, part.path)
    # Pictures whose data changed since their parts were counted.
    for part in begun.values():
        yield part.faces.annotation(part.name, part.path)


def _merge(first: Part, part: Part, problems: Problems | None) -> None:
    same = first.faces.merge(part.faces)
    if problems is None:
        return
    if same:
        problems.add(part.file, f"{quoted(part.name)} comes again, with the same faces: they are taken once", part.line)
    else:
        # The data do not say whether these are further faces, or the same faces labelled in another way.
        first.faces.lose()
        problems.add(part.file, f"{quoted(part.name)} comes again, with other faces: all are taken", part.line)


class Listed:
    """The pictures that a text file lists."""

    def __init__(self, path: Path, known: Collection[str], problems: Problems) -> None:
        """Chooses from the names of a data set, `known`. Raises ValueError for a line that can be several of them."""
        self._path = path
        self._lines: dict[str, int] = {}
        for number, line in lines(path):
            try:
                self._lines.setdefault(picture_name(line), number)
            except ValueError as error:
                problems.add(path, str(error), number)
        self._name_of = self._choose(known)

    @property
    def chosen(self) -> frozenset[str]:
        """The names of the pictures to take."""
        return frozenset(self._name_of.values())

    def tell_missing(self, problems: Problems) -> None:
        """Adds the lines that select nothing to `problems`."""
        for line, number in self._lines.items():
            if line not in self._name_of:
                problems.add(self._path, f"there are no annotations of {line}", number)

    def _choose(self, known: Collection[str]) -> dict[str, str]:
        """By line, the name that it selects: the one that fits it best."""
        name_of: dict[str, str] = {}
        for spelled in _SPELLINGS:
            fitting: dict[str, str] = {}
            for name in known:
                line = spelled(name)
                if line in self._lines and line not in name_of:
                    other = fitting.setdefault(line, name)
                    if other != name:
                        raise ValueError(
                            f"{self._path}:{self._lines[line]}: {quoted(line)} can be {quoted(other)} or {quoted(name)}"
                        )
            name_of |= fitting
        return name_of


def _stem(name: str) -> str:
    return splitext(name)[0]


_SPELLINGS: tuple[Callable[[str], str], ...] = (str, _stem, basename, lambda name: _stem(basename(name)))
"""The ways in which a list may write a name, the best first."""
