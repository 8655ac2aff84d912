"""What a folder holds: one rule for pictures, annotations and detections, whoever looks for them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

# Names that begin so are what macOS keeps beside a file, and that folder is where its archives keep them.
_SHADOW = "._"
_SHADOWS = "__MACOSX"

# Of suffixes that were passed over: a folder of a million numbered files has a million suffixes.
_MOST_KINDS = 1000
_MOST_SHOWN = 12
_LONGEST_SUFFIX = 12


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that was found."""

    path: str
    """The argument that led to it, with the way below it."""
    below: str
    """The way below the argument, with `/` between folders; the file's own name, if the argument is the file."""


class PassedOver:
    """Counts what was passed over, by suffix."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, kind: str) -> None:
        known = kind in self._counts or len(self._counts) < _MOST_KINDS
        self._counts[kind if known else "others"] += 1

    def add_file(self, name: str) -> None:
        """Counts a file under its suffix."""
        suffix = os.path.splitext(name)[1].lower()  # a name, of an archive's member too
        short = len(suffix) <= _LONGEST_SUFFIX
        self.add(suffix if suffix and short else "with no suffix" if not suffix else "others")

    @property
    def suffixes(self) -> frozenset[str]:
        """Those that were passed over."""
        return frozenset(kind for kind in self._counts if kind.startswith("."))

    def __str__(self) -> str:
        """One line, the most frequent first; empty if nothing was passed over."""
        if not self._counts:
            return ""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count} {kind}" for kind, count in ordered[:_MOST_SHOWN]]
        rest = sum(count for _, count in ordered[_MOST_SHOWN:])
        return "passed over: " + ", ".join([*parts, *([f"{rest} of other kinds"] if rest else [])])


def is_shadow(name: str) -> bool:
    """Whether a file, a folder or an archive's member is what macOS keeps beside files of the same names."""
    parts = name.split("/")
    return any(part.startswith(_SHADOW) or part == _SHADOWS for part in parts)


def find(
    arguments: Collection[str],
    suffixes: Collection[str],
    *,
    leave_out: str | None = None,
    report: Callable[[OSError], object],
    passed_over: PassedOver,
) -> Iterator[FoundFile]:
    """The files that arguments name, and those in folders that they name, at any depth, in the order of the names.

    Of a folder: regular files of those suffixes (in lower case, with the dot), whether they lie there or a link leads
    to them. Links to folders are followed, but for one that leads back to a folder above it. What is neither is counted
    in `passed_over`. A file named as an argument is taken as it is. In memory are the names of one folder at a time.

    leave_out: a folder that is not searched, where a command writes. report: is told of folders that cannot be read.
    """
    left_out = None
    if leave_out is not None:
        with suppress(OSError):
            left_out = _place(leave_out)
    for argument in arguments:
        if not os.path.isdir(argument):  # a Path would make one slash of two, as a URL has them
            yield FoundFile(argument, os.path.basename(argument))
            continue
        yield from _search(argument, frozenset(suffixes), left_out, report, passed_over)


# Of a folder: device and number. Paths, made real, would take the cube of the depth of nested folders.
_Place = tuple[int, int]

# A chain of the folders above one.
_Above = tuple[_Place, "_Above | None"]


def _place(folder: str) -> _Place:
    itself = os.stat(folder)
    return itself.st_dev, itself.st_ino


def _search(
    root: str,
    suffixes: frozenset[str],
    left_out: _Place | None,
    report: Callable[[OSError], object],
    passed_over: PassedOver,
) -> Iterator[FoundFile]:
    # Folders to come, the next one last: recursion would end at a thousand nested ones.
    waiting: list[tuple[str, str, _Above | None]] = [("", root, None)]
    while waiting:
        below, folder, above = waiting.pop()
        try:
            place = _place(folder)
            if below and place == left_out:
                continue
            if _leads_back(place, above):
                passed_over.add("looping (links to a folder above)")
                continue
            files, folders = _contents(folder, suffixes, passed_over)
        except OSError as error:
            report(error)
            continue
        for name in files:
            yield FoundFile(os.path.join(folder, name), f"{below}{name}")
        for name in reversed(folders):
            waiting.append((f"{below}{name}/", os.path.join(folder, name), (place, above)))


def _contents(folder: str, suffixes: frozenset[str], passed_over: PassedOver) -> tuple[list[str], list[str]]:
    """The files that count, and the folders, of a folder: names, sorted."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_shadow(name):
                passed_over.add("of macOS (._*, __MACOSX)")
            elif _asks(entry.is_dir):
                folders.append(name)
            elif os.path.splitext(name)[1].lower() not in suffixes:
                passed_over.add_file(name)
            elif _asks(entry.is_file):
                files.append(name)
            else:
                passed_over.add("special (pipes, devices, dead links)")
    return sorted(files), sorted(folders)


def _asks(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # of a link to itself
        return False


def _leads_back(place: _Place, above: _Above | None) -> bool:
    while above is not None:
        if above[0] == place:
            return True
        above = above[1]
    return False
