"""The class that workers of other frameworks call: batches of pictures in, rows of faces out."""

from __future__ import annotations

import functools
import os
import pickle
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from mtcnn_fast import reading
from mtcnn_fast.checks import at_least, described, text
from mtcnn_fast.detecting import finder
from mtcnn_fast.detector import MTCNN
from mtcnn_fast.extra import require
from mtcnn_fast.image import pixels
from mtcnn_fast.integrations.rows import COLUMNS, arrow_schema, rows_of
from mtcnn_fast.reading import Picture, Source
from mtcnn_fast.streaming import BATCH_SIZE, Outcome, detect_each, readers_for

PAGES = ("first", "all")


class DetectFaces:
    """Finds the faces in batches of pictures, as rows of a table: one per face.

    It can be pickled, with its weights. A worker, which is a process, makes one detector for all its batches, when the
    first one comes. All arguments but the first are keyword-only.

    * column: the column of the pictures. Its values are paths, the bytes of files, RGB images as `MTCNN.detect` takes
      them (arrays of one size may be one 4-D array), or PIL images.
    * keep: columns to repeat in every row of a picture.
    * pages: which pages of files to search: "first" or "all".
    * batch_size: the most pictures to search at a time, whatever the size of the framework's batches.
    * num_threads: threads of a worker's detector. Frameworks start a worker per processor: so it is 1.
    * device: as of `MTCNN`. It is looked for in the worker.
    * max_faces, clip: as of `MTCNN.detect`.
    * options: the other options of `MTCNN`, without `channel_order`.

    The columns of a row are those of `keep` and those of `mtcnn_fast.integrations.COLUMNS`. A picture without faces has
    one row, in which the columns of a face have no value. One that could not be searched has such a row with its
    "error".

    Raises errors as `MTCNN` does for the options, ImportError for paths and bytes without Pillow (extra `cli`).
    """

    def __init__(
        self,
        column: str = "path",
        *,
        keep: Sequence[str] = ("path",),
        pages: str = "first",
        batch_size: int = BATCH_SIZE,
        num_threads: int = 1,
        device: str = "auto",
        max_faces: int | None = None,
        clip: bool = False,
        **options: Any,
    ) -> None:
        self.column = text("column", column)
        if isinstance(keep, str):
            raise TypeError(f"keep is {described(keep)}; wanted a list of columns, such as [{keep!r}]")
        self.keep = tuple(text(f"keep[{i}]", name) for i, name in enumerate(keep))
        for name in self.keep:
            if name in COLUMNS:
                raise ValueError(f"keep has {name!r}, which is a column of the rows; rename yours")
        if pages not in PAGES:
            raise ValueError(f"pages is {pages!r}; wanted one of {PAGES}")
        self._pages = pages
        self._batch_size = at_least("batch_size", batch_size, 1)
        self._max_faces, self._clip = max_faces, clip
        # The options are checked here, by a detector on the CPU: the device is the worker's.
        detector = MTCNN(num_threads=num_threads, device="cpu", **options)
        finder(detector, max_faces, clip)
        if detector.options["channel_order"] != "rgb":
            raise ValueError("channel_order is 'bgr'; wanted 'rgb', which is the order of the files that are read")
        # The options hold the weights, so that a worker on another machine needs no file.
        self.options = {**detector.options, "device": text("device", device)}

    def __call__(self, batch: Any) -> Any:
        """The rows of a batch.

        batch: a mapping of names to columns (Ray Data, Hugging Face datasets), a pandas.DataFrame, a pyarrow.Table or a
        pyarrow.RecordBatch. The rows come as a pandas.DataFrame for a DataFrame, as a RecordBatch for a RecordBatch,
        else as a pyarrow.Table. Integers that are missing make a DataFrame's column float, with NaN.

        Raises KeyError for a column that the batch lacks, TypeError for another batch, ImportError without pyarrow.
        """
        pyarrow = require("pyarrow", "DetectFaces", "parquet")
        kind = _kind(batch)
        names = list(batch) if kind in ("mapping", "pandas") else batch.schema.names
        for name in (self.column, *self.keep):
            if name not in names:
                raise KeyError(f"the batch has the columns {list(names)}, without {name!r}: wanted `column` and `keep`")
        found = [
            (outcome.key, row)
            for outcome in self.outcomes(_values(batch, self.column, kind))
            for row in rows_of(outcome)
        ]
        pictures = pyarrow.array([picture for picture, _ in found], "int64")
        kept = [_arrow(batch, name, kind).take(pictures) for name in self.keep]
        schema = arrow_schema()
        columns = zip(*(row for _, row in found), strict=True) if found else [()] * len(schema)
        arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        made = pyarrow.RecordBatch if kind == "record batch" else pyarrow.Table
        rows = made.from_arrays([*kept, *arrays], [*self.keep, *schema.names])
        return rows.to_pandas() if kind == "pandas" else rows

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The rows of each batch: what Spark's `mapInPandas` and `mapInArrow` take."""
        return map(self, batches)

    def lists(self, pictures: Iterable[Any]) -> list[list[dict[str, Any]]]:
        """The rows of each picture, in their order, as dicts: for frameworks that want as many values as there came.

        pictures: the values of a column. The columns of `keep` are not among the rows. pyarrow is not needed.
        """
        values = list(pictures)
        found: list[list[dict[str, Any]]] = [[] for _ in values]
        for outcome in self.outcomes(values):
            found[outcome.key] += [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(outcome)]
        return found

    def outcomes(self, pictures: Iterable[Any]) -> Iterator[Outcome[int]]:
        """What was found in each page of the pictures, in their order, by the number of the picture from 0."""
        detector = _detector(pickle.dumps(self.options))
        sources = enumerate(map(_source, pictures))
        with _pillow_is_set_up():
            yield from detect_each(
                finder(detector, self._max_faces, self._clip),
                sources,
                batch_size=self._batch_size,
                readers=readers_for(detector.num_threads),
                first_page_only=self._pages == "first",
            )


class _PillowSetUp:
    """`reading.as_a_command`, which is about the whole process, for as long as any of its threads searches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._searching = 0
        self._stack = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._searching == 0:
                self._stack.enter_context(reading.as_a_command())
            self._searching += 1
        try:
            yield
        finally:
            with self._lock:
                self._searching -= 1
                if self._searching == 0:
                    self._stack.close()


_pillow_is_set_up = _PillowSetUp()


@functools.lru_cache(maxsize=4)
def _detector(options: bytes) -> MTCNN:
    """The detector of this process with these options, which are pickled because a weights' mapping has no hash."""
    return MTCNN(**pickle.loads(options))


def _source(value: Any) -> Source | Picture | Exception:
    if isinstance(value, str | os.PathLike | bytes | bytearray | memoryview):
        return value
    if value is None:
        return TypeError("the picture is None; wanted a path, the bytes of a file, or an image")
    try:
        return Picture(pixels(value)[0])
    except Exception as error:  # an image of another package raises what it likes
        return error


def _kind(batch: Any) -> str:
    """Which of the kinds of `__call__` a batch is, told without importing the packages."""
    if isinstance(batch, Mapping):
        return "mapping"
    package, name = type(batch).__module__.partition(".")[0], type(batch).__name__
    kinds = {
        ("pandas", "DataFrame"): "pandas",
        ("pyarrow", "Table"): "table",
        ("pyarrow", "RecordBatch"): "record batch",
    }
    if (package, name) not in kinds:
        raise TypeError(
            f"batch is {described(batch)}; wanted a mapping of columns, a pandas.DataFrame, a pyarrow.Table or a "
            "pyarrow.RecordBatch"
        )
    return kinds[package, name]


def _values(batch: Any, name: str, kind: str) -> Iterable[Any]:
    if kind in ("mapping", "pandas"):
        values: Iterable[Any] = batch[name]
        return values
    values = batch.column(name).to_pylist()
    return values


def _arrow(batch: Any, name: str, kind: str) -> Any:
    """A column as an array of Arrow."""
    if kind in ("mapping", "pandas"):
        return require("pyarrow", "DetectFaces").array(list(batch[name]) if kind == "mapping" else batch[name])
    return batch.column(name)
