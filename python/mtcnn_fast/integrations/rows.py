"""Rows of a table: names and types of the columns, and the rows of an outcome."""

from __future__ import annotations

from typing import Any

from mtcnn_fast.detections import FACE_COLUMNS
from mtcnn_fast.extra import require
from mtcnn_fast.streaming import Outcome

# Arrow's and Spark's names of the types.
_INTEGER, _FLOAT, _TEXT = ("int32", "int"), ("float", "float"), ("string", "string")

_TYPES = {
    "page": _INTEGER,
    "pages": _INTEGER,
    "width": _INTEGER,
    "height": _INTEGER,
    "face": _INTEGER,
    **dict.fromkeys(FACE_COLUMNS, _FLOAT),
    "damaged": _TEXT,
    "error": _TEXT,
}

COLUMNS = tuple(_TYPES)
"""The columns of a row. A missing value is None.

* page, pages: the number of the page in the file, from 0, and how many there are.
* width, height: of the picture, in pixels.
* face: the number of the face in the picture, by score, from 0.
* x1 to mouth_right_y: the face as `Detections.to_rows` has it.
* damaged: what the decoder had to make up for.
* error: why the picture could not be searched.
"""

SPARK_SCHEMA = ", ".join(f"{name} {spark}" for name, (_, spark) in _TYPES.items())
"""The columns and their types, as Spark's `mapInPandas` and `mapInArrow` take them."""

Row = tuple[Any, ...]
"""The values of COLUMNS."""


def arrow_schema() -> Any:
    """The columns and their types, as a pyarrow.Schema. Raises ImportError without pyarrow."""
    pyarrow = require("pyarrow", "a table", remedy="pip install pyarrow")
    return pyarrow.schema([(name, arrow) for name, (arrow, _) in _TYPES.items()])


def rows_of(outcome: Outcome[Any]) -> list[Row]:
    """The rows of a picture: one per face; without faces one, in which the columns of a face have no value."""
    picture = outcome.picture
    height, width = (None, None) if picture is None else picture.pixels.shape[:2]
    damage = None if picture is None else picture.damage
    faces: list[Row] = [] if outcome.faces is None else list(map(tuple, outcome.faces.to_rows().tolist()))
    numbered = [(number, *face) for number, face in enumerate(faces)] or [(None,) * (1 + len(FACE_COLUMNS))]
    return [(outcome.page, outcome.pages, width, height, *face, damage, outcome.error) for face in numbered]
