"""Records as rows of a table, and back: the columns of CSV and of Parquet files.

A face has a row, with the columns of its picture repeated. A picture without faces has one row, in which the columns of
a face have no value. So a table tells of every picture, and why one failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mtcnn_fast.detections import FACE_COLUMNS, LANDMARKS
from mtcnn_fast.records import Record, name_of

Value = str | int | float | None
Row = Mapping[str, Value]

COLUMNS: dict[str, type] = {
    "path": str,
    "page": int,
    "pages": int,
    "width": int,
    "height": int,
    "face": int,
    **dict.fromkeys(FACE_COLUMNS, float),
    "drawing": str,
    "crop": str,
    "damaged": str,
    "error": str,
}
"""The columns in their order, with the types of their values. `page` and `face` count from 0."""

_BOX = FACE_COLUMNS[:4]
# The keys of a record that have one value per picture, apart from its path and its pages.
_PICTURE = ("width", "height", "drawing", "damaged", "error")


def rows_of(record: Record) -> Iterator[tuple[Value, ...]]:
    """The rows of a record: values in the order of `COLUMNS`."""
    picture = (name_of(record), record.get("page", 0), record.get("pages", 1))
    width, height, drawing, damaged, error = map(record.get, _PICTURE)
    crops = record.get("crops", [])
    faces: list[tuple[Value, ...]] = [
        (index, *face["box"], face["score"], *(value for name in LANDMARKS for value in face["landmarks"][name]))
        for index, face in enumerate(record["faces"])
    ]
    for index, face in enumerate(faces or [(None,) * (1 + len(FACE_COLUMNS))]):
        crop = crops[index] if index < len(crops) else None
        yield (*picture, width, height, *face, drawing, crop, damaged, error)


def records_of(rows: Iterable[tuple[int, Row]], most_faces: int | None = None) -> Iterator[tuple[int, Record]]:
    """The records of numbered rows, each with the number of its first row.

    A row continues the record before it if its `face` is above 0. In a table without this column it does so if it has
    the same path and page. most_faces: faces of a record beyond these are dropped.
    """
    begun, record, before = 0, None, None
    for number, row in rows:
        place = row.get("path"), row.get("page")
        if record is None or place != before or (row["face"] in (None, 0) if "face" in row else not _has_face(row)):
            if record is not None:
                yield begun, record
            begun, record, before = number, _picture_of(row), place
        if _has_face(row) and (most_faces is None or len(record["faces"]) < most_faces):
            record["faces"].append(_face_of(row))
            if row.get("crop") is not None:
                record.setdefault("crops", []).append(row["crop"])
    if record is not None:
        yield begun, record


def _picture_of(row: Row) -> Record:
    record: Record = {"path": row.get("path")}
    page, pages = row.get("page"), row.get("pages")
    if page or pages not in (None, 1):
        record |= {"page": page, "pages": pages}
    record |= {key: row[key] for key in _PICTURE if row.get(key) is not None}
    # Crops of no faces are none: such a picture needs none to be written.
    return record | {"faces": []} | ({} if _has_face(row) or row.get("error") is not None else {"crops": []})


def _has_face(row: Row) -> bool:
    return any(row.get(column) is not None for column in ("face", *FACE_COLUMNS))


def _face_of(row: Row) -> Record:
    points = {name: [row.get(f"{name}_x"), row.get(f"{name}_y")] for name in LANDMARKS}
    known = {name: None if point == [None, None] else point for name, point in points.items()}
    face = {"box": [row.get(column) for column in _BOX], "score": row.get("score")}
    return face | ({"landmarks": known} if any(known.values()) else {})
