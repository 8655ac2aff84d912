"""Rows of a table for the workers of other frameworks: the columns of `mtcnn_fast.rows` that concern them."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from mtcnn_fast import rows, tables
from mtcnn_fast.records import record_of
from mtcnn_fast.streaming import Outcome

# Workers write no drawings and crops. The path is a column of the user's.
COLUMNS = tuple(name for name in rows.COLUMNS if name not in ("path", "drawing", "crop"))
"""The columns of a row. A missing value is None.

* page, pages: the number of the page in the file, from 0, and how many there are.
* width, height: of the picture, in pixels.
* face: the number of the face in the picture, by score, from 0.
* x1 to mouth_right_y: the face as `Detections.to_rows` has it.
* damaged: what the decoder had to make up for.
* error: why the picture could not be searched.
"""

_SPARK_TYPES = {int: "int", float: "float", str: "string"}

SPARK_SCHEMA = ", ".join(f"{name} {_SPARK_TYPES[rows.COLUMNS[name]]}" for name in COLUMNS)
"""The columns and their types, as Spark's `mapInPandas` and `mapInArrow` take them."""

_picked = itemgetter(*(list(rows.COLUMNS).index(name) for name in COLUMNS))


def arrow_schema() -> Any:
    """The columns and their types, as a pyarrow.Schema. Raises ImportError without pyarrow."""
    return tables.arrow_schema(COLUMNS)


def rows_of(outcome: Outcome[Any]) -> list[tuple[rows.Value, ...]]:
    """The rows of a picture: one per face; without faces one, in which the columns of a face have no value."""
    return [
        tuple(tables.as_unicode(value) if isinstance(value, str) else value for value in _picked(row))
        for row in rows.rows_of(record_of(outcome, ""))
    ]
