"""Pairs detections with labelled pictures by name, in whatever order the two come."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from posixpath import splitext
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.int64]
    Indices = NDArray[np.intp]

L = TypeVar("L")
D = TypeVar("D")

# Objects that wait take at most so many bytes of memory. Beyond that they are in a temporary file.
_IN_MEMORY = 2**23

# Pictures whose names are compared at a time.
_CHUNK = 1000

_MOST_NAMED = 3


def stem(name: str) -> str:
    """A picture's name without its suffix. The name of a page of a file (`a.tif#page=1`) stays whole."""
    front, suffix = splitext(name)
    return name if "#" in suffix else front


class Pairing(Generic[L, D]):
    """Iterates over labelled pictures, with the detections of each, or None if it has none.

    Detections belong to the labelled picture of the same name; else to the one whose name differs only by a suffix that
    one of the two lacks; else to the one whose name, compared in these ways, is the end of theirs, behind a `/`. The
    earlier of these rules wins. `unknown` receives the names of detections without a picture. If a name comes several
    times, detections are taken in turn, and the remaining pictures have none.

    Raises ValueError, at the end, for detections that fit two labelled pictures, for a labelled picture that detections
    of two names fit, and for more detections of a name than labelled pictures. The order in which they come never
    decides.

    Detections in the order of the labelled pictures are read as they are needed. A pair of equal names comes as soon as
    it is found. All others wait, in a temporary file, until all names are known, and come last. Memory holds hashes of
    the names: 8 bytes per pair of equal names, 48 bytes per other picture, and a few times that during the comparison.
    """

    def __init__(
        self,
        labelled: Iterable[tuple[str, L]],
        detected: Iterable[tuple[str, D]],
        unknown: Callable[[str], object],
    ) -> None:
        self._labelled = labelled
        self._detected = iter(detected)
        self._unknown = unknown
        self._store = _Store()
        self._waiting = _Waiting()
        # Hashes of the names of the pairs that have come.
        self._paired = array("q")
        self._unpaired_labelled = _Unpaired()
        self._unpaired_detected = _Unpaired()

    def __iter__(self) -> Iterator[tuple[L, D | None]]:
        with self._store:
            for name, item in self._labelled:
                detected, may_follow = self._take(name)
                if detected is not None:
                    self._paired.append(hash(name))
                    yield item, detected[0]
                elif may_follow or len(self._unpaired_detected):
                    self._unpaired_labelled.add(name, self._store.add((name, item)))
                else:
                    yield item, None
            for name, detections in self._detected:
                self._waiting.add(name, self._store.add((name, detections)))
            for name, position in self._waiting:
                self._unpaired_detected.add(name, position)
            yield from self._resolved()

    def _take(self, name: str) -> tuple[tuple[D] | None, bool]:
        """The detections of exactly that name, or None; then whether some of a name like it were set aside."""
        position = self._waiting.take(name)
        if position is not None:
            return (self._store.get(position)[1],), False
        like = self._waiting.take_like(name)
        if like is not None:
            self._unpaired_detected.add(*like)
            return None, True
        for other, detections in self._detected:
            if other == name:
                return (detections,), False
            position = self._store.add((other, detections))
            if _alike(name, other):
                self._unpaired_detected.add(other, position)
                return None, True
            self._waiting.add(other, position)
        return None, False

    def _resolved(self) -> Iterator[tuple[L, D | None]]:
        labelled, detected = self._unpaired_labelled.arrays(), self._unpaired_detected.arrays()
        match = _Match(labelled, detected, np.unique(np.frombuffer(self._paired, np.int64)), self._name)
        match.by_name()
        match.by_suffix()
        match.by_end()
        for position, index in zip(labelled.positions, match.detected_of, strict=True):
            detections = None if index < 0 else self._store.get(int(detected.positions[index]))[1]
            yield self._store.get(int(position))[1], detections
        for position in detected.positions[match.free_detected]:
            self._unknown(self._name(int(position)))

    def _name(self, position: int) -> str:
        name: str = self._store.get(position)[0]
        return name


class _Store:
    """Stores any objects. `add` returns an object's position, and `get` takes it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 # `__exit__` closes it

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, item: object) -> int:
        with _in_the_temporary_folder():
            self._file.seek(0, os.SEEK_END)
            position = self._file.tell()
            pickle.dump(item, self._file, pickle.HIGHEST_PROTOCOL)
        return position

    def get(self, position: int) -> Any:
        with _in_the_temporary_folder():
            self._file.seek(position)
            return pickle.load(self._file)


@contextmanager
def _in_the_temporary_folder() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error


class _Waiting:
    """Detections that were read and whose picture has not come: name, and position in the store."""

    def __init__(self) -> None:
        # A name with one position has no container, because containers would take most of the memory.
        self._by_name: dict[str, int | deque[int]] = {}
        self._like: dict[str, str | dict[str, None]] = {}

    def add(self, name: str, position: int) -> None:
        others = self._by_name.get(name)
        if others is None:
            self._by_name[name] = position
            key = _common(name)
            like = self._like.setdefault(key, name)
            if isinstance(like, dict):
                like[name] = None
            elif like != name:
                self._like[key] = dict.fromkeys((like, name))
        elif isinstance(others, int):
            self._by_name[name] = deque((others, position))
        else:
            others.append(position)

    def take(self, name: str) -> int | None:
        positions = self._by_name.get(name)
        if isinstance(positions, deque):
            position = positions.popleft()
            if positions:
                return position
        elif positions is None:
            return None
        else:
            position = positions
        del self._by_name[name]
        key = _common(name)
        like = self._like[key]
        if isinstance(like, dict):
            del like[name]
        if not isinstance(like, dict) or not like:
            del self._like[key]
        return position

    def take_like(self, name: str) -> tuple[str, int] | None:
        like = self._like.get(_common(name), ())
        for other in (like,) if isinstance(like, str) else like:
            if _alike(name, other):
                position = self.take(other)
                return None if position is None else (other, position)
        return None

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for name, positions in self._by_name.items():
            for position in (positions,) if isinstance(positions, int) else positions:
                yield name, position


def _alike(labelled: str, detected: str) -> bool:
    """Whether detections can belong to a labelled picture by the rules of `Pairing`."""
    return f"/{detected}".endswith((f"/{labelled}", f"/{stem(labelled)}")) or f"/{stem(detected)}".endswith(
        f"/{labelled}"
    )


def _common(name: str) -> str:
    """A part of the name that all names like it share."""
    return name.rpartition("/")[2].partition(".")[0]


def _ends(name: str) -> Iterator[str]:
    """The parts of a name behind each of its `/`."""
    at = name.find("/")
    while at >= 0:
        yield name[at + 1 :]
        at = name.find("/", at + 1)


class _Unpaired:
    """Pictures that are not paired until all names are known."""

    def __init__(self) -> None:
        self._names = array("q")
        self._stems = array("q")
        self._positions = array("q")

    def add(self, name: str, position: int) -> None:
        self._names.append(hash(name))
        self._stems.append(hash(stem(name)))
        self._positions.append(position)

    def __len__(self) -> int:
        return len(self._names)

    def arrays(self) -> _Arrays:
        """The pictures in the order in which they came."""
        names, stems, positions = (
            np.frombuffer(part, np.int64) for part in (self._names, self._stems, self._positions)
        )
        if (positions[1:] > positions[:-1]).all():
            return _Arrays(names, stems, positions)
        order = np.argsort(positions)
        return _Arrays(names[order], stems[order], positions[order])


class _Arrays(NamedTuple):
    """Hashes of pictures' names, hashes of the names without suffix, and positions in the store; (N,) each."""

    names: Hashes
    stems: Hashes
    positions: NDArray[np.int64]


class _Match:
    """Assigns detections to labelled pictures, rule by rule, the best first."""

    def __init__(self, labelled: _Arrays, detected: _Arrays, paired: Hashes, name_at: Callable[[int], str]) -> None:
        self._labelled = labelled
        self._detected = detected
        self._paired = paired
        self._name_at = name_at
        self._free_labelled = np.ones(len(labelled.names), np.bool_)
        self.free_detected = np.ones(len(detected.names), np.bool_)
        """(M,): which detections have no picture yet."""
        self.detected_of = np.full(len(labelled.names), -1, np.intp)
        """(N,): for each labelled picture the index of its detections; -1: none."""

    def by_name(self) -> None:
        labelled, detected = self._labelled.names, self._detected.names
        claims = np.flatnonzero(np.isin(detected, np.concatenate((labelled, self._paired))))
        self._assign(claims, detected[claims])
        self._free_labelled &= ~np.isin(labelled, self._paired)

    def by_suffix(self) -> None:
        detected, free = self._detected, np.flatnonzero(self.free_detected)
        without, whole = self._tables()
        claims = [_claims(without, free, detected.names[free]), _claims(whole, free, detected.stems[free])]
        self._settle(*_joined(claims))

    def by_end(self) -> None:
        without, whole = self._tables()
        claims = [(np.empty(0, np.intp), np.empty(0, np.int64))]
        free = np.flatnonzero(self.free_detected) if len(whole.keys) else np.empty(0, np.intp)
        for start in range(0, len(free), _CHUNK):
            chunk = free[start : start + _CHUNK].tolist()
            ends = [
                (index, end) for index in chunk for end in _ends(self._name_at(int(self._detected.positions[index])))
            ]
            owners = np.array([index for index, _ in ends], np.intp)
            names = np.array([hash(end) for _, end in ends], np.int64)
            stems = np.array([hash(stem(end)) for _, end in ends], np.int64)
            claims += [
                _claims(table, owners, keys) for table, keys in ((whole, names), (without, names), (whole, stems))
            ]
        self._settle(*_joined(claims))

    def _tables(self) -> tuple[_Table, _Table]:
        """Two tables of the free labelled pictures' names: by the name without suffix, and by the name."""
        names, stems = self._labelled.names[self._free_labelled], self._labelled.stems[self._free_labelled]
        return _Table(stems, names), _Table(names, names)

    def _settle(self, claims: Indices, wanted: Hashes) -> None:
        """Assigns detections to the labelled pictures of the names that they want."""
        pairs = _distinct(self._detected.names[claims], wanted)
        for column, other, complaint in (
            (0, 1, "{} of the detections can be each of the labelled pictures {}"),
            (1, 0, "{} is one labelled picture, to which the detections of each of {} can belong"),
        ):
            names, counts = np.unique(pairs[column], return_counts=True)
            if (counts > 1).any():
                sides = (self._detected, self._labelled)
                one = min(self._named(sides[column], name) for name in names[counts > 1])
                of = pairs[other][pairs[column] == hash(one)]
                raise ValueError(complaint.format(repr(one), _listed(self._named(sides[other], name) for name in of)))
        claims, first = np.unique(claims, return_index=True)
        self._assign(claims, wanted[first])

    def _assign(self, claims: Indices, wanted: Hashes) -> None:
        """As `_settle`, for claims without conflicts. Those of one name are assigned in turn."""
        labelled = np.flatnonzero(self._free_labelled)
        labelled = labelled[np.argsort(self._labelled.names[labelled], kind="stable")]
        order = np.argsort(wanted, kind="stable")
        claims, wanted = claims[order], wanted[order]
        turn = np.arange(len(wanted)) - np.searchsorted(wanted, wanted, "left")
        names = self._labelled.names[labelled]
        place = np.searchsorted(names, wanted, "left") + turn
        surplus = place >= np.searchsorted(names, wanted, "right")
        if surplus.any():
            name = min(self._name_at(int(self._detected.positions[index])) for index in claims[surplus])
            raise ValueError(f"the detections have {name!r} more often than it is labelled")
        self.detected_of[labelled[place]] = claims
        self.free_detected[claims] = False
        self._free_labelled &= ~np.isin(self._labelled.names, wanted)

    def _named(self, side: _Arrays, name: int) -> str:
        return self._name_at(int(side.positions[np.flatnonzero(side.names == name)[0]]))


class _Table:
    """A table of values by key; a key may have several values."""

    def __init__(self, keys: Hashes, values: Hashes) -> None:
        self.keys, self.values = _distinct(keys, values)


def _distinct(keys: Hashes, values: Hashes) -> tuple[Hashes, Hashes]:
    """The distinct pairs, ascending. NumPy's `unique` over rows takes several times the memory."""
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    kept = np.ones(len(keys), np.bool_)
    kept[1:] = (keys[1:] != keys[:-1]) | (values[1:] != values[:-1])
    return keys[kept], values[kept]


def _claims(table: _Table, owners: Indices, keys: Hashes) -> tuple[Indices, Hashes]:
    """Each owner with each value that the table has for the owner's key."""
    low, high = (np.searchsorted(table.keys, keys, side) for side in ("left", "right"))
    counts = high - low
    first = np.repeat(low - (np.cumsum(counts) - counts), counts)
    return np.repeat(owners, counts), table.values[first + np.arange(len(first))]


def _joined(claims: Sequence[tuple[Indices, Hashes]]) -> tuple[Indices, Hashes]:
    return np.concatenate([owners for owners, _ in claims]), np.concatenate([values for _, values in claims])


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    shown = ", ".join(map(repr, ordered[:_MOST_NAMED]))
    return shown if len(ordered) <= _MOST_NAMED else f"{shown}, ... ({len(ordered)} in all)"
