"""Finding files in folders: one rule for pictures, annotations and detections."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

# macOS keeps such files beside others, under their names with this prefix. Its archives have them in that folder.
_SHADOW = "._"
_SHADOWS = "__MACOSX"

# Limits on the suffixes that are counted: a folder of a million numbered files has a million suffixes.
_MOST_KINDS = 1000
_MOST_SHOWN = 12
_LONGEST_SUFFIX = 12


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that `find` found."""

    path: str
    """Its path: the argument that led to it, and the path below that."""
    below: str
    """Its path below the argument, with `/` between folders; its own name if the argument is the file."""


class PassedOver:
    """Counts the files that a search passed over, by suffix."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, kind: str) -> None:
        known = kind in self._counts or len(self._counts) < _MOST_KINDS
        self._counts[kind if known else "others"] += 1

    def add_file(self, name: str) -> None:
        """Counts a file under its suffix. name: its path, or its name in an archive."""
        suffix = os.path.splitext(name)[1].lower()  # not by Path: the name may be that of an archive's member
        short = len(suffix) <= _LONGEST_SUFFIX
        self.add(suffix if suffix and short else "with no suffix" if not suffix else "others")

    @property
    def suffixes(self) -> frozenset[str]:
        """The suffixes that were passed over."""
        return frozenset(kind for kind in self._counts if kind.startswith("."))

    def __str__(self) -> str:
        """One line with the counts, the highest first; empty if nothing was passed over."""
        if not self._counts:
            return ""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count} {kind}" for kind, count in ordered[:_MOST_SHOWN]]
        rest = sum(count for _, count in ordered[_MOST_SHOWN:])
        return "passed over: " + ", ".join([*parts, *([f"{rest} of other kinds"] if rest else [])])


def is_shadow(name: str) -> bool:
    """Whether macOS made this file, folder or archive member to accompany a file of the same name."""
    parts = name.split("/")
    return any(part.startswith(_SHADOW) or part == _SHADOWS for part in parts)


def find(
    arguments: Collection[str],
    suffixes: Collection[str],
    *,
    leave_out: Collection[str] = (),
    report: Callable[[OSError], object],
    passed_over: PassedOver,
) -> Iterator[FoundFile]:
    """The files among the arguments, and those in the folders among them, at any depth, in the order of their names.

    In a folder it finds regular files, and links to such, with one of the suffixes (in lower case, with the dot). It
    follows links to folders, except those that lead back to a folder above them. Other files are counted in
    `passed_over`. An argument that is not a folder is taken without a check. Memory holds the names of one folder at a
    time.

    leave_out: folders that are not searched, because a command writes there. report: receives the error of each folder
    that cannot be read.
    """
    left_out = set()
    for folder in leave_out:
        with suppress(OSError):
            left_out.add(_place(folder))
    for argument in arguments:
        if not os.path.isdir(argument):  # a Path would merge the two slashes of a URL
            yield FoundFile(argument, os.path.basename(argument))
            continue
        yield from _search(argument, frozenset(suffixes), left_out, report, passed_over)


# Device and inode number of a folder. Comparing real paths would take time by the cube of the folders' depth.
_Place = tuple[int, int]

# The folders above one, as a linked list.
_Above = tuple[_Place, "_Above | None"]


def _place(folder: str) -> _Place:
    itself = os.stat(folder)
    return itself.st_dev, itself.st_ino


def _search(
    root: str,
    suffixes: frozenset[str],
    left_out: Collection[_Place],
    report: Callable[[OSError], object],
    passed_over: PassedOver,
) -> Iterator[FoundFile]:
    # A stack of the folders to search, the next one last. Recursion would fail at a thousand nested folders.
    waiting: list[tuple[str, str, _Above | None]] = [("", root, None)]
    while waiting:
        below, folder, above = waiting.pop()
        try:
            place = _place(folder)
            if below and place in left_out:
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
    """The sorted names of the files with one of the suffixes, and of the folders, in a folder."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_shadow(name):
                passed_over.add("of macOS (._*, __MACOSX)")
            elif _asks(entry.is_dir):
                folders.append(name)
            elif os.path.splitext(name)[1].lower() not in suffixes:
                passed_over.add_file(os.path.join(folder, name))
            elif _asks(entry.is_file):
                files.append(name)
            else:
                passed_over.add("special (pipes, devices, dead links)")
    return sorted(files), sorted(folders)


def _asks(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself
        return False


def _leads_back(place: _Place, above: _Above | None) -> bool:
    while above is not None:
        if above[0] == place:
            return True
        above = above[1]
    return False
