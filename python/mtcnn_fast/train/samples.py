"""Training samples on disk: crops of one size with their labels. They are made once and memory-mapped.

A store is a folder of

* `samples.json`: "format" (2), "settings" (size, seed, recipe and all else that the samples depend on), "block" (source
  pictures per shard), "complete" (false while the store is being made). Once complete, also "pictures" (source
  pictures, with the unreadable ones), "unreadable", "counts" (samples of each kind) and "annotations" (SHA-256);
* one shard per block of consecutive source pictures, for block k: `images-00000k.npy`, uint8 (n, s, s, 3) in RGB order;
  `labels-00000k.npy`, `LABELS` (n,); and, written last, `shard-00000k.json`: "pictures", "counts", "annotations"
  (SHA-256 of the block's), "unreadable" (a list of [place in the block, reason]) and, if there are any, "notes" (the
  same list of remarks on pictures that were used).

Every file gets its name once it is whole. So a run that is killed goes on after its last whole shard. A shard can be
made anew: its `shard-*.json` and the "complete" of `samples.json` are removed before its files are replaced.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mtcnn_fast.checks import described
from mtcnn_fast.run_settings import as_json, differences
from mtcnn_fast.writing import check_folder, reason, replacing, settle, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEGATIVE, POSITIVE, PART, LANDMARK = range(4)
KINDS = ("negative", "positive", "part", "landmark")

LABELS = np.dtype(
    [
        ("kind", "i1"),
        ("box", "<f4", (4,)),
        ("landmarks", "<f4", (5, 2)),
        ("verdict", "<f4"),
        ("source", "<u4"),
        ("set", "<u2"),
    ]
)
"""The kind of a sample, its targets, the index of its source picture, and the number of its set. Targets that the kind
does not have are NaN. The verdict is that of the teachers on the face: a probability, NaN if none was asked.
In a window (wx1, wy1, wx2, wy2) of width ww and height wh, the box is (x1 - wx1)/ww, (y1 - wy1)/wh, (x2 - wx2)/ww,
(y2 - wy2)/wh, and each landmark (x - wx1)/ww, (y - wy1)/wh."""

_FORMAT = 2
_HEADER_BYTES = 256


class OtherSamplesError(ValueError):
    """A folder holds samples of other annotations or settings than those of the run."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples in memory."""

    images: NDArray[np.uint8]
    """(n, s, s, 3), RGB."""
    kinds: NDArray[np.int8]
    """(n,): NEGATIVE, POSITIVE, PART or LANDMARK."""
    boxes: NDArray[np.float32]
    """(n, 4): offsets as in `LABELS`."""
    landmarks: NDArray[np.float32]
    """(n, 5, 2): places as in `LABELS`."""


class SampleStore:
    """The samples of one or more folders, one after another, memory-mapped. A pickle of it holds only the paths.

    Raises ValueError for a folder that is not a whole store and for folders of different sizes, OSError for a file
    that cannot be read.
    """

    def __init__(self, *folders: str | os.PathLike[str]) -> None:
        if not folders:
            raise ValueError("no folder of samples is given")
        self._folders = tuple(map(Path, folders))
        self._shards: list[tuple[NDArray[np.uint8], np.memmap[Any, Any]]] = []
        kinds = [np.empty(0, LABELS)["kind"]]
        self._unreadable = 0
        sizes = {folder: self._open(folder, kinds) for folder in self._folders}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"the stores hold crops of different sizes: {', '.join(f'{f}: {s}' for f, s in sizes.items())}"
            )
        self._size = sizes[self._folders[0]]
        self._starts = np.cumsum([0, *(len(labels) for _, labels in self._shards)])
        self._kinds = np.concatenate(kinds)
        self._kinds.flags.writeable = False

    @property
    def size(self) -> int:
        """Side of the crops: 12, 24 or 48."""
        return self._size

    @property
    def kinds(self) -> NDArray[np.int8]:
        """(N,): the kind of each sample, read-only."""
        return self._kinds

    @property
    def unreadable(self) -> int:
        """The number of source pictures that could not be used."""
        return self._unreadable

    def sources(self) -> NDArray[np.uint32]:
        """(N,): the index of each sample's picture in the run that made its folder, to hold whole pictures out."""
        return self._whole("source")

    def sets(self) -> NDArray[np.uint16]:
        """(N,): the number of each sample's set among the sources of the run."""
        return self._whole("set")

    def verdicts(self) -> NDArray[np.float32]:
        """(N,): the teachers' verdict on each sample's face; NaN without one."""
        return self._whole("verdict")

    def _whole(self, name: str) -> NDArray[Any]:
        """A column of all labels."""
        return np.concatenate([np.empty(0, LABELS)[name], *(_column(labels, name) for _, labels in self._shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def batch(self, indices: NDArray[np.integer[Any]]) -> Samples:
        """The samples at indices (n,), in that order, copied. Raises IndexError for one outside 0 to N - 1."""
        if not isinstance(indices, np.ndarray) or indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise TypeError(f"indices is {described(indices)}; wanted an array (n,) of integers")
        if indices.size and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"indices run from {indices.min()} to {indices.max()}; there are {len(self)} samples")
        images = np.empty((len(indices), self._size, self._size, 3), np.uint8)
        labels = np.empty(len(indices), LABELS)
        # In the order of the files, each page of memory and each shard is read once.
        order = np.argsort(indices, kind="stable")
        ordered = indices[order].astype(np.int64)
        ends = np.searchsorted(ordered, self._starts)
        for shard in np.flatnonzero(np.diff(ends)):
            chosen = slice(ends[shard], ends[shard + 1])
            rows = ordered[chosen] - self._starts[shard]
            images[order[chosen]], labels[order[chosen]] = (column[rows] for column in self._shards[shard])
        return Samples(images, *(np.ascontiguousarray(labels[name]) for name in ("kind", "box", "landmarks")))

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for n, name in zip(_counts(self._kinds), KINDS, strict=True))
        return f"<SampleStore of {len(self)} crops of {self._size} x {self._size}: {counts}>"

    def __reduce__(self) -> tuple[type[SampleStore], tuple[Path, ...]]:
        return SampleStore, self._folders

    def _open(self, folder: Path, kinds: list[NDArray[np.int8]]) -> int:
        """Opens the shards of a folder, and adds their kinds to `kinds`. Returns the size of the crops."""
        document = _read_document(folder)
        if not document["complete"]:
            raise ValueError(
                f"{folder} is not complete: its run was interrupted; start the same run again to complete it"
            )
        first = len(kinds)
        try:
            size = int(document["settings"]["size"])
            for number in range(-(-document["pictures"] // document["block"])):
                images, labels = _shard(folder, number, size)
                self._shards.append((images, labels))
                kinds.append(_column(labels, "kind"))
            counts = sum(map(_counts, kinds[first:]))
            if not np.array_equal(np.broadcast_to(counts, len(KINDS)), [document["counts"][kind] for kind in KINDS]):
                raise ValueError(f"it holds {counts} samples of {KINDS}, and should hold {document['counts']}")
            self._unreadable += int(document["unreadable"])
        except FileNotFoundError as error:
            lost = Path(error.filename).name
            raise ValueError(
                f"{folder} is damaged: {lost} is not there; remove {folder}, and it is made anew"
            ) from error
        except OSError:
            raise
        except Exception as error:  # values of a wrong type or out of range raise exceptions of many types
            said = repr(error) if isinstance(error, LookupError) else reason(error)
            raise ValueError(f"{folder} is damaged: {said}; remove {folder}, and it is made anew") from error
        return size


def mend(folder: Path) -> Iterator[tuple[Path, str]]:
    """Removes damaged shards from a store, so that the run which made it makes them anew. Gives each, and its damage.

    Changed pixels and targets go unnoticed. Raises OSError for a file that cannot be read or removed.
    """
    try:
        document = _read_document(folder)
        begun = {key: document[key] for key in ("format", "settings", "block")}
        size = int(document["settings"]["size"])
    except (KeyError, TypeError, ValueError):  # `SampleStore` reports it
        return
    for path in sorted(folder.glob("shard-*.json")):
        try:
            summary = _read_json(path)
            if not _is_summary(summary):
                raise ValueError("it is not the summary of a shard")
            _, labels = _shard(folder, int(path.stem.partition("-")[2]), size)
            if _counts(_column(labels, "kind")).tolist() != [summary["counts"][kind] for kind in KINDS]:
                raise ValueError("the shard holds other samples than its summary says")
        except (FileNotFoundError, ValueError) as error:
            # In this order, so that a run that is killed in between leaves no store that seems whole.
            write_whole(folder / "samples.json", _json({**begun, "complete": False}))
            path.unlink()
            yield path, reason(error).partition("; remove ")[0]


class SampleWriter:
    """Makes a store shard by shard, or goes on with an unfinished one.

    settings: all that the samples depend on, in JSON's types, with "size". Raises OtherSamplesError for a store of
    other settings, ValueError for a folder with anything else in it, OSError for one that cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any], block: int) -> None:
        self._folder = Path(folder)
        self._size = int(settings["size"])
        self._begun = as_json({"format": _FORMAT, "settings": dict(settings), "block": block})
        check_folder(self._folder)
        if (self._folder / "samples.json").exists():
            differing = differences(_read_document(self._folder), self._begun).values()
            if differing:
                raise OtherSamplesError(f"{self._folder} holds samples made otherwise ({', '.join(differing)})")
            for remnant in self._folder.glob("*.part"):
                remnant.unlink()
        elif not all(path.match("samples.json.*part") for path in self._folder.iterdir()):
            raise ValueError(f"{self._folder} is neither empty nor a store of samples: it has no samples.json")
        else:
            self._write("samples.json", {**self._begun, "complete": False})

    def summary(self, number: int) -> dict[str, Any] | None:
        """The content of `shard-*.json`, if an earlier run has finished the shard; else None."""
        path = self._folder / _shard_name(number)
        try:
            document = _read_json(path)
        except FileNotFoundError:
            return None
        if not _is_summary(document):
            raise ValueError(f"{path} is damaged; remove {self._folder}, and it is made anew")
        summary: dict[str, Any] = document
        return summary

    @contextmanager
    def shard(self, number: int, annotations: str) -> Iterator[ShardWriter]:
        """A new shard, or one in place of another. The store takes it if the `with` block ends without an exception.

        annotations: the digest of the block's annotations.
        """
        first, second = (self._folder / f"{name}-{number:06}.npy" for name in ("images", "labels"))
        with replacing(first) as images, replacing(second) as labels:
            writer = ShardWriter(images, labels, self._size)
            yield writer
            summary = writer.close()
            # Both files are replaced after this. A run that is killed between them leaves no finished shard.
            self._reopen(number)
        self._write(_shard_name(number), {"annotations": annotations, **summary})

    def _reopen(self, number: int) -> None:
        path = self._folder / _shard_name(number)
        if path.exists():
            self._write("samples.json", {**self._begun, "complete": False})
            path.unlink()

    def finish(self, shards: int) -> None:
        """Completes a store of so many shards. Raises OtherSamplesError if it has others."""
        summaries = [summary for number in range(shards) if (summary := self.summary(number)) is not None]
        if len(summaries) != shards or self.summary(shards) is not None:
            raise OtherSamplesError(f"{self._folder} has other shards than the {shards} that its sources give")
        self._write(
            "samples.json",
            {
                **self._begun,
                "complete": True,
                "pictures": sum(summary["pictures"] for summary in summaries),
                "unreadable": sum(len(summary["unreadable"]) for summary in summaries),
                "counts": {kind: sum(summary["counts"][kind] for summary in summaries) for kind in KINDS},
                "annotations": hashlib.sha256("".join(s["annotations"] for s in summaries).encode()).hexdigest(),
            },
        )

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        write_whole(self._folder / name, _json(document))


class ShardWriter:
    """The shard that `SampleWriter.shard` writes, picture by picture. Samples go to the disk as they come."""

    def __init__(self, images: BinaryIO, labels: BinaryIO, size: int) -> None:
        self._streams = ((images, np.dtype(np.uint8), (size, size, 3)), (labels, LABELS, ()))
        self._counts = np.zeros(len(KINDS), np.int64)
        self._pictures = 0
        self._unreadable: list[tuple[int, str]] = []
        self._notes: list[tuple[int, str]] = []
        for stream, dtype, shape in self._streams:
            stream.write(_npy_header(dtype, (0, *shape)))

    def add(self, images: NDArray[np.uint8], labels: NDArray[Any], note: str | None = None) -> None:
        """Writes the samples of one picture: images uint8 (n, s, s, 3), RGB; labels `LABELS` (n,).

        note: a remark on the picture. Raises TypeError for other arrays.
        """
        for (stream, dtype, shape), rows in zip(self._streams, (images, labels), strict=True):
            if rows.dtype != dtype or rows.shape != (len(labels), *shape):
                raise TypeError(f"a shard takes {dtype} {('n', *shape)}; this is {described(rows)}")
            stream.write(rows.tobytes())
        self._counts += _counts(labels["kind"])
        if note is not None:
            self._notes.append((self._pictures, note))
        self._pictures += 1

    def skip(self, reason: str) -> None:
        """Notes a picture that cannot be used."""
        self._unreadable.append((self._pictures, reason))
        self._pictures += 1

    def close(self) -> dict[str, Any]:
        """Writes the headers with the number of samples. Returns the content of `shard-*.json`."""
        for stream, dtype, shape in self._streams:
            stream.seek(0)
            stream.write(_npy_header(dtype, (int(self._counts.sum()), *shape)))
            settle(stream)
        counts = dict(zip(KINDS, self._counts.tolist(), strict=True))
        summary = {"pictures": self._pictures, "counts": counts, "unreadable": self._unreadable}
        return {**summary, "notes": self._notes} if self._notes else summary


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A .npy header of version 1.0. It has one length for all shapes, so that it can be rewritten in place."""
    stream = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    preamble, text = stream.getvalue()[:8], stream.getvalue()[10:].rstrip()
    length = _HEADER_BYTES - len(preamble) - 2
    return preamble + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / "samples.json"
    try:
        document = _read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} is not a store of samples: it has no samples.json") from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT or "complete" not in document:
        raise ValueError(f"{path} is not of a store of samples of format {_FORMAT}")
    return document


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {reason(error)}; remove {path.parent}, and it is made anew") from error


def _is_summary(document: Any) -> bool:
    """Whether a document is the content of a `shard-*.json`."""
    try:
        notes = [*document["unreadable"], *document.get("notes", [])]
        numbers = [document["pictures"], *(document["counts"][kind] for kind in KINDS)]
        texts = [document["annotations"], *(text for _, text in notes)]
        return (
            all(isinstance(number, int) for number in numbers)
            and all(isinstance(text, str) for text in texts)
            and all(place in range(document["pictures"]) for place, _ in notes)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _memory_map(path: Path) -> np.memmap[Any, Any]:
    """The array of a .npy file, memory-mapped. Raises OSError, or ValueError for a file of another kind."""
    try:
        # Unlike np.load, it closes a file of another kind.
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # for a damaged header, NumPy's parser raises exceptions of many types
        raise ValueError(f"{path.name} is not a whole .npy file: {reason(error)}") from error


def _column(labels: np.memmap[Any, Any], name: str) -> NDArray[Any]:
    """A column of a shard's labels, read into memory: a mapping would keep the pages of all columns resident."""
    column: NDArray[Any] = np.load(str(labels.filename))[name].copy()
    return column


def _shard(folder: Path, number: int, size: int) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    """The images and labels of a shard. Raises FileNotFoundError, or ValueError for files that are damaged."""
    images, labels = (_memory_map(folder / f"{name}-{number:06}.npy") for name in ("images", "labels"))
    if images.dtype != np.uint8 or images.shape != (len(labels), size, size, 3) or labels.dtype != LABELS:
        raise ValueError(f"shard {number} has images {images.dtype} {images.shape}, labels {labels.dtype}")
    return images, labels


def _shard_name(number: int) -> str:
    return f"shard-{number:06}.json"


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def _counts(kinds: NDArray[np.int8]) -> NDArray[np.int64]:
    return np.bincount(kinds, minlength=len(KINDS)).astype(np.int64)
