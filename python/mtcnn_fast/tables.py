"""CSV and Parquet files of rows. Both are written and read in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from mtcnn_fast.extra import require
from mtcnn_fast.rows import COLUMNS, Row, Value
from mtcnn_fast.text_files import as_text
from mtcnn_fast.writing import reason

# A group of rows of Parquet is in memory as a whole, with 700 bytes per row.
_ROWS_IN_GROUP = 2**15
_ROWS_READ = 2**12

Rows = Iterable[Sequence[Value]]


def parquet_package() -> Any:
    """pyarrow.parquet. Raises ImportError that says how to install it."""
    return require("pyarrow.parquet", "a Parquet file", "parquet")


def arrow_schema(names: Iterable[str]) -> Any:
    """Columns and their types, as a pyarrow.Schema: 32 bits for integers and floats. Raises ImportError without it."""
    arrow = require("pyarrow", "a table of Arrow", "parquet")
    types = {str: arrow.string(), int: arrow.int32(), float: arrow.float32()}
    return arrow.schema([(name, types[COLUMNS[name]]) for name in names])


def csv_text(rows: Rows, write: Callable[[str], object]) -> None:
    """Writes rows of values in the order of `COLUMNS`. A missing value is an empty cell. Numbers keep all digits."""
    csv.writer(_Sink(write), lineterminator="\n").writerows(rows)


def write_csv(rows: Rows, file: BinaryIO) -> None:
    """Writes the names of the columns and the rows, in the encoding of `as_bytes`."""

    def write(text: str) -> None:
        file.write(as_bytes(text))

    csv_text([tuple(COLUMNS)], write)
    csv_text(rows, write)


def write_parquet(rows: Rows, file: BinaryIO) -> None:
    """Writes rows in groups, in the types of `arrow_schema`. Text is as `as_unicode` gives it.

    Raises ImportError without pyarrow.
    """
    parquet = parquet_package()
    arrow = require("pyarrow", "a Parquet file", "parquet")
    schema = arrow_schema(COLUMNS)
    rest = iter(rows)
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(rest, _ROWS_IN_GROUP)):
            columns = [
                arrow.array([as_unicode(v) if isinstance(v, str) else v for v in values], type=field.type)
                for field, values in zip(schema, zip(*group, strict=True), strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def as_bytes(text: str) -> bytes:
    """A text in UTF-8. Bytes of Python's file names that are not UTF-8 stay as they are."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half a character in a name of Windows
        return as_unicode(text).encode()


def as_unicode(text: str) -> str:
    """A text with U+FFFD in place of the surrogates by which Python's file names stand for bytes of no character."""
    return text.encode(errors="surrogatepass").decode(errors="replace")


def read_csv(path: Path, wanted: Collection[str], report: Callable[[int, str], object]) -> Iterator[tuple[int, Row]]:
    """The rows of a file, each with the number of its last line. Columns that `COLUMNS` has not are left out.

    A cell that is not of its column's type stays a text. wanted: columns that the file must have. report: receives the
    lines that do not have a cell for every column, and why.

    Raises OSError for a file that cannot be read, ValueError for one that is not CSV or lacks a column.
    """
    at = 1
    try:
        with path.open("rb") as file, as_text(file, newline="") as text:
            lines = csv.reader(text)
            names = next(lines, [])
            _check_columns(path, names, wanted)
            for cells in lines:
                at = lines.line_num
                if len(cells) == len(names):
                    pairs = zip(names, cells, strict=True)
                    yield at, {name: _typed(name, cell) for name, cell in pairs if name in COLUMNS}
                elif cells:
                    report(at, f"{len(cells)} cells; wanted {len(names)}, as the first line has")
    except (csv.Error, UnicodeError) as error:
        raise ValueError(f"{path}:{at}: not CSV: {reason(error)}") from error


def read_parquet(path: Path, wanted: Collection[str]) -> Iterator[tuple[int, Row]]:
    """The rows of a file, numbered from 1, as `read_csv` gives them. Raises ImportError without pyarrow."""
    parquet = parquet_package()
    arrow = require("pyarrow", "a Parquet file", "parquet")
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, names, wanted)
            known = [name for name in names if name in COLUMNS]
            number = 0
            for batch in file.iter_batches(_ROWS_READ, columns=known):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: _typed(name, value) for name, value in row.items()}
    except (arrow.ArrowException, OSError, UnicodeError) as error:
        raise ValueError(f"{path} is not a Parquet file that can be read: {reason(error)}") from error


class _Sink:
    """What csv.writer writes to."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write


def _check_columns(path: Path, names: Collection[str], wanted: Collection[str]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}; wanted {', '.join(wanted)}")


def _typed(column: str, value: Any) -> Any:
    """A value as its column has it: numbers of text, integers of whole floats, None of an empty cell."""
    kind = COLUMNS[column]
    if value is None or value == "" or kind is str:
        return value or None
    try:
        if isinstance(value, str) and "_" in value:  # Python takes 1_000 as a number
            return value
        number = float(value)
        return int(number) if kind is int and number.is_integer() else number
    except (TypeError, ValueError):
        return value
