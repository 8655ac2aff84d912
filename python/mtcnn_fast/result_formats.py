"""The formats of files of results: which suffix means which, and how records are written and read back in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from mtcnn_fast.checks import each, number
from mtcnn_fast.records import Record, encoded, is_record, not_written, parsed
from mtcnn_fast.rows import COLUMNS, Row, Value, records_of, rows_of
from mtcnn_fast.tables import csv_text, parquet_package, read_csv, read_parquet, write_csv, write_parquet
from mtcnn_fast.writing import JSON, replacing

LINES = "jsonl"
"""The format of which a file can be added to. The file of another format is made when a run ends."""

_BY_SUFFIX = {".json": "json", ".jsonl": LINES, ".ndjson": LINES, ".csv": "csv", ".parquet": "parquet"}

FORMATS = tuple(dict.fromkeys(_BY_SUFFIX.values()))

BEGINNINGS = {"json": JSON, LINES: JSON, "csv": (next(iter(COLUMNS)).encode() + b",",), "parquet": (b"PAR1",)}
"""The first bytes that a file of each format may have."""


def format_of(file: str, name: str | None = None) -> str:
    """One of FORMATS: `name`; if that is None, the one that the file's suffix means. Raises ValueError for another."""
    if name is not None:
        return name
    suffix = PurePath(file).suffix
    if suffix.lower() not in _BY_SUFFIX:
        raise ValueError(f"{file} has the suffix {suffix!r}; wanted one of {', '.join(_BY_SUFFIX)}")
    return _BY_SUFFIX[suffix.lower()]


def check_packages(kind: str) -> None:
    """Raises ImportError if a package that the format needs is missing."""
    if kind == "parquet":
        parquet_package()


class Stream:
    """Results on stdout, or in a pipe or a device. They are written at once and never read back.

    Raises ValueError for a format that can only be written to a file.
    """

    def __init__(self, write: Callable[[str], object], kind: str) -> None:
        if kind not in ("json", LINES, "csv"):
            raise ValueError(f"{kind} cannot be written to stdout, a pipe or a device; wanted a file")
        self._write = write
        self._kind = kind
        self._count = 0
        if kind == "csv":
            csv_text([tuple(COLUMNS)], write)

    def add(self, record: Record) -> None:
        """Writes a record."""
        if self._kind == "csv":
            csv_text(rows_of(record), self._write)
        else:
            before = ("," if self._count else "[") + "\n" if self._kind == "json" else ""
            self._write(before + json.dumps(record) + ("" if self._kind == "json" else "\n"))
        self._count += 1

    def close(self) -> None:
        """Ends the document."""
        if self._kind == "json":
            self._write("\n]\n" if self._count else "[]\n")


def write(kind: str, lines: Path, file: Path) -> None:
    """Writes a file in a format other than LINES, of the records in a file of lines.

    Raises OSError that names the file, ValueError for lines of another tool.
    """
    with replacing(file) as out:
        if kind == "json":
            _write_document(lines, out)
        else:
            (write_csv if kind == "csv" else write_parquet)(_rows_of_lines(lines), out)


def write_lines(kind: str, file: Path, lines: Path) -> None:
    """Writes a file of lines, of the records in a file in another format. Raises ValueError for one of another kind.

    A document is read record by record if it has this module's layout, else with all of it in memory.
    """
    reads = [_records_by_line, _records] if kind == "json" else [_records_of_table]
    for read in reads:
        try:
            with replacing(lines) as out:
                for record in read(file, kind):
                    out.write(encoded(record))
            return
        except ValueError:
            if read is reads[-1]:
                raise


def _rows_of_lines(lines: Path) -> Iterator[Sequence[Value]]:
    with lines.open("rb") as file:
        for place, line in enumerate(file, 1):
            record = parsed(line, lines, place)
            try:
                yield from rows_of(record)
            except (KeyError, TypeError):  # a face that is another tool's
                raise not_written(lines, place) from None


def _write_document(lines: Path, document: BinaryIO) -> None:
    with lines.open("rb") as records:
        before = b"["
        for line in records:
            document.write(before + b"\n" + line.rstrip(b"\n"))
            before = b","
        document.write(b"[]\n" if before == b"[" else b"\n]\n")


def _records_by_line(document: Path, _: str) -> Iterator[Record]:
    with document.open("rb") as file:
        for place, line in enumerate(file, 1):
            text = line.strip().removesuffix(b",")
            if place == 1 and text not in (b"[", b"[]"):
                raise ValueError("not in the layout of this module")
            if text not in (b"[", b"]", b"[]", b""):
                yield parsed(text, document, place)


def _records(document: Path, _: str) -> Iterator[Record]:
    try:
        records = json.loads(document.read_bytes())
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{document} is not a JSON document to go on with: {error}") from error
    if not isinstance(records, list):
        raise ValueError(f"{document} is not a list of records to go on with")
    return (parsed(json.dumps(record).encode(), document, place) for place, record in enumerate(records, 1))


def _records_of_table(table: Path, kind: str) -> Iterator[Record]:
    def refuse(place: int, reason: str) -> None:
        raise not_written(table, place)

    rows: Iterator[tuple[int, Row]] = (
        read_csv(table, tuple(COLUMNS), refuse) if kind == "csv" else read_parquet(table, tuple(COLUMNS))
    )
    for place, record in records_of(rows):
        try:
            for face in record["faces"]:
                for name, values in (("box", face["box"]), *face["landmarks"].items()):
                    each(name, values, len(values), number)
                number("score", face["score"])
            if not is_record(record):
                raise TypeError
        except (AttributeError, KeyError, TypeError):
            refuse(place, "")
        yield record
