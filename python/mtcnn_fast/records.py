"""Records: what a run tells of a picture, in JSON's types.

A record is `{"path", "width", "height", "faces"}`. It also has `"page"` and `"pages"` if the file has several pages,
`"damaged"` if the decoder had to replace something missing, `"drawing"` if a drawing was written, and `"crops"` if
crops were. The record of a picture that failed is `{"path", "error", "faces": []}`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtcnn_fast.streaming import Outcome

Record = dict[str, Any]


def record_of(outcome: Outcome[Any], path: str, drawing: str | None = None, crops: list[str] | None = None) -> Record:
    """The record of a picture or of a page.

    drawing: the path of its drawing; None: there is none. crops: the paths of its faces' crops; None: they were not
    written.
    """
    record: Record = {"path": path}
    if outcome.pages > 1 or outcome.page:
        record |= {"page": outcome.page, "pages": outcome.pages}
    if outcome.picture is not None:
        height, width = outcome.picture.pixels.shape[:2]
        record |= {"width": width, "height": height}
    if outcome.error is not None:
        record["error"] = outcome.error
    record["faces"] = [] if outcome.faces is None else outcome.faces.to_dicts()
    if outcome.picture is not None and outcome.picture.damage is not None:
        record["damaged"] = outcome.picture.damage
    if drawing is not None:
        record["drawing"] = drawing
    if crops is not None:
        record["crops"] = crops
    return record


def failed(records: list[Record]) -> bool:
    """Whether a picture, or a page of it, could not be searched."""
    return any("error" in record for record in records)


def name_of(record: Record) -> str:
    """The path of a record's picture. Earlier versions wrote it as its name."""
    return str(record.get("path", record.get("name")))


def encoded(record: Record) -> bytes:
    """The line of a record in a file."""
    return json.dumps(record).encode() + b"\n"


def parsed(line: bytes, file: Path, number: int) -> Record:
    """The record in a line of a file. Raises ValueError for another line."""
    with suppress(RecursionError, ValueError):
        record = json.loads(line)
        if is_record(record):
            return dict(record)
    raise not_written(file, number)


def not_written(file: Path, number: int) -> ValueError:
    """The error for a line, or a row, that is no record."""
    return ValueError(f"{file}:{number}: not a line that this command has written")


def is_record(value: Any) -> bool:
    """Whether a value has the keys and the types of a record, as far as going on with a run needs them."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("path", value.get("name")), str)
        and isinstance(value.get("faces"), list)
        and isinstance(value.get("drawing", ""), str)
        and isinstance(value.get("crops", []), list)
        and all(isinstance(crop, str) for crop in value.get("crops", []))
        and all(isinstance(value.get(key, 0), int) for key in ("page", "pages"))
    )
