"""Files of detections, of this package and of any other detector."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.checks import described, each, flag, number, shown
from mtcnn_fast.datasets import Problems
from mtcnn_fast.datasets.base import warning_instead
from mtcnn_fast.datasets.fields import LARGEST, UNKNOWN, box_text, checked_box
from mtcnn_fast.datasets.limits import MAX_FACES, check_lines, check_room
from mtcnn_fast.datasets.listings import Lines, entries, fields
from mtcnn_fast.detections import FACE_COLUMNS, LANDMARKS
from mtcnn_fast.evaluate.archives import is_collection, members
from mtcnn_fast.evaluate.documents import DEEP, check_regular, json_document, lines
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.result_formats import BEGINNINGS
from mtcnn_fast.rows import Row, records_of
from mtcnn_fast.tables import read_csv, read_parquet
from mtcnn_fast.text_files import encoding, lines_of, portable
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The bytes that detect the format of a file: enough for the first entry of a list of results.
_HEAD = 2**16

_PARQUET = ".parquet"

# The columns that a table of detections has.
_TABLE = ("path", *FACE_COLUMNS[:5])


@dataclass(frozen=True, slots=True, eq=False)
class PictureDetections:
    """The faces that a detector found in one picture, in the order of the file."""

    name: str
    """The picture's name in the file, with `/` between folders. In the WIDER FACE layout EVENT/PICTURE."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 in pixels; if a file has width and height, x2 = x1 + width."""
    scores: NDArray[np.float64]
    """(N,): any finite numbers, the highest for the surest face. In float32 scores near each other could be equal."""
    landmarks: NDArray[np.float32]
    """(N, 5, 2): x, y in the order of `mtcnn_fast.detections.LANDMARKS`; NaN where unknown."""


def read_detections(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
    problems: Problems | None = None,
    notes: Problems | None = None,
    outside: bool = False,
) -> Iterator[PictureDetections]:
    """The detections of each picture of a file, in its order.

    JSON documents are read whole; other files are read while the caller iterates. Formats:

    * "wider": a folder, `.tar`, `.tar.gz` or `.zip` of EVENT/PICTURE.txt: a name, a count, rows `x y w h score`.
    * "fddb": one text file, in which each picture has a name, a count and rows `x y w h score`.
    * "jsonl": one line per picture, `{"path": ..., "faces": [{"box": [x1, y1, x2, y2], "score": s, "landmarks":
      {"left_eye": [x, y], ...}}, ...]}`, as this package's commands write it. The key may be "name" instead of "path";
      landmarks are optional. A page other than the first, `"page": n`, is a picture of its own: PATH#page=n.
    * "document": a list of the same in one JSON document.
    * "csv", "parquet": tables as this package's commands write them, with a row per face, and one row for a picture
      without faces. The columns path, x1, y1, x2, y2 and score are needed, others are optional. The rows of a picture
      come together. "parquet" needs pyarrow, and takes a folder of such files too.
    * "coco": COCO's list of results: image_id, bbox `[x, y, w, h]`, score and, optionally, keypoints `[x, y, v] * 5`.

    * format: one of these; None: detected from the content.
    * images: for "coco" the annotation document whose `images` give each image_id its file_name, and also the
      pictures without detections; None: the image_id is the picture's name.
    * problems: receives every row, file and member that cannot be used; None: a warning says how many there were.
    * notes: receives pictures that are damaged but have detections, and a count of files of other kinds; None: these
      are not reported.
    * outside: take members of an archive whose names lead out of it (absolute names, and `../`). Otherwise these are
      refused. Only the last two parts of such a name make the picture's name, and nothing is written to the disk.

    At most `limits.MAX_FACES` faces per picture are taken. `limits` also bounds an archive's members and a line.

    Raises ValueError for a format that is not known or does not fit the file, for an archive or a document that is
    damaged, and for two `images` with one id; OSError for a file that cannot be read; ImportError for "parquet" without
    pyarrow.
    """
    for what, value in (("path", path), ("images", images)):
        if value is not None and not os.fspath(value):
            raise ValueError(f"{what} is empty; wanted the path of a file")
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"there are no detections at {source}")
    check_regular(source)
    if format is None:
        format = _format_of(source)
    elif format not in _READERS:
        raise ValueError(f"format is {described(format)}; wanted one of {', '.join(FORMATS)}")
    if images is not None and format != "coco":
        raise ValueError(f"a document of images serves COCO's results; {source} has the format {format}")
    return _read(
        source,
        format,
        None if images is None else Path(images),
        problems,
        notes or Problems(limit=0),
        flag("outside", outside),
    )


def _read(
    path: Path, format: str, images: Path | None, problems: Problems | None, notes: Problems, outside: bool
) -> Iterator[PictureDetections]:
    with warning_instead(problems, f"entries of {path}") as unusable:
        if format == "coco":
            yield from _coco(path, unusable, notes, images)
        elif format == "wider":
            yield from _wider(path, unusable, notes, outside)
        else:
            yield from _READERS[format](path, unusable, notes)


def _format_of(path: Path) -> str:
    if path.is_dir() and next(path.glob(f"*{_PARQUET}"), None) is not None:
        return "parquet"
    if is_collection(path):
        return "wider"
    with path.open("rb") as file:
        start = file.read(_HEAD)
    if start.startswith(BEGINNINGS["parquet"]):
        return "parquet"
    try:
        head = start.decode(encoding(start), "ignore").lstrip()
    except UnicodeError as error:
        raise ValueError(f"{path} is no text: {reason(error)}") from error
    if head.startswith("{"):
        return "jsonl"
    if head.startswith("["):
        return "coco" if '"image_id"' in head else "document"
    if set(head.partition("\n")[0].strip().replace('"', "").split(",")).issuperset(_TABLE):
        return "csv"
    return "fddb"


class _Faces:
    """Collects the faces of one picture."""

    def __init__(self) -> None:
        self._boxes: list[Sequence[float]] = []
        self._scores: list[float] = []
        self._landmarks: list[Sequence[Sequence[float]]] = []

    def add(self, box: Sequence[float], score: float, landmarks: Sequence[Sequence[float]] | None = None) -> None:
        """Adds a face: x1, y1, x2, y2. Raises ValueError for numbers that are not finite and sides that are negative.

        A box without an area is taken, because it is a detection, though no face.
        """
        check_room(len(self._boxes))
        x1, y1, x2, y2 = checked_box(box)
        if x2 < x1 or y2 < y1:
            raise ValueError(f"{box_text(box)} has a negative side")
        if not math.isfinite(score):
            raise ValueError(f"score is {score:g}; wanted a finite number")
        if landmarks is not None and any(abs(value) > LARGEST for point in landmarks for value in point):
            raise ValueError("landmarks are infinite, or beyond 2^24 pixels")
        self._boxes.append(box)
        self._scores.append(score)
        self._landmarks.append((UNKNOWN,) * len(LANDMARKS) if landmarks is None else landmarks)

    def detections(self, name: str) -> PictureDetections:
        """The detections of a picture: the faces added so far."""
        return PictureDetections(
            portable(name),
            np.array(self._boxes, np.float32).reshape(-1, 4),
            np.array(self._scores, np.float64),
            np.array(self._landmarks, np.float32).reshape(-1, len(LANDMARKS), 2),
        )


def _wider(path: Path, problems: Problems, notes: Problems, outside: bool = False) -> Iterator[PictureDetections]:
    passed_over = PassedOver()

    def report(name: str, why: str) -> None:
        problems.add(path / name, why)

    for file, content in members(path, report, passed_over, outside=outside):
        try:
            # The second picture is an error already, so a third is not read.
            pictures = list(islice(_pictures(lines_of(content), path / file, problems), 2))
        except UnicodeError as error:
            problems.add(path / file, f"is no text: {reason(error)}")
            continue
        if len(pictures) != 1:
            count = f"{len(pictures)} pictures{' or more' if pictures else ''}"
            problems.add(path / file, f"has {count}; wanted one: a name, a count and rows")
            continue
        # As in the official reader, the file's name counts. Detectors write the name inside in different ways.
        name = "/".join(PurePosixPath(file).with_suffix("").parts[-2:])
        yield replace(pictures[0], name=name)
    if str(passed_over):
        notes.add(path, str(passed_over))


def _fddb(path: Path, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    return _pictures(lines(path), path, problems)


def _pictures(rows: Lines, file: Path, problems: Problems) -> Iterator[PictureDetections]:
    for name, _, rows_of_picture in entries(rows, file, problems):
        faces = _Faces()
        for at, row in rows_of_picture:
            try:
                x, y, w, h, score = fields(row, "x y w h score")
                faces.add((x, y, x + w, y + h), score)
            except ValueError as error:
                problems.add(file, str(error), at)
        yield faces.detections(name)


def _jsonl(path: Path, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    for at, line in lines(path):
        try:
            entry = json.loads(line)
        except RecursionError:
            problems.add(path, DEEP, at)
            continue
        except (MemoryError, ValueError) as error:
            problems.add(path, f"not JSON: {reason(error)}", at)
            continue
        yield from _pictures_of(entry, partial(problems.add, path, line=at), partial(notes.add, path, line=at))


def _document(path: Path, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    for index, entry in enumerate(_list(path)):
        place = f"{path}[{index}]"
        yield from _pictures_of(entry, partial(problems.add, place), partial(notes.add, place))


def _csv(path: Path, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    check_regular(path)
    check_lines(path)
    rows = read_csv(path, _TABLE, lambda at, why: problems.add(path, why, at))
    return _table(rows, path, problems, notes)


def _parquet(path: Path, problems: Problems, notes: Problems) -> Iterator[PictureDetections]:
    def report(error: OSError) -> None:
        problems.add(error.filename, reason(error))

    passed_over = PassedOver()
    for found in find([str(path)], (_PARQUET,), report=report, passed_over=passed_over):
        file = Path(found.path)
        yield from _table(read_parquet(file, _TABLE), file, problems, notes)
    if str(passed_over):
        notes.add(path, str(passed_over))


def _table(
    rows: Iterable[tuple[int, Row]], path: Path, problems: Problems, notes: Problems
) -> Iterator[PictureDetections]:
    # One face beyond the limit, so that the limit is told.
    for at, record in records_of(rows, most_faces=MAX_FACES + 1):
        if not isinstance(record["path"], str):
            problems.add(path, f"path is {described(record['path'])}; wanted the path of a picture", at)
            continue
        yield from _pictures_of(record, partial(problems.add, path, line=at), partial(notes.add, path, line=at))


def _list(path: Path) -> list[Any]:
    document = json_document(path)
    if not isinstance(document, list):
        kind = "an object" if isinstance(document, dict) else described(document)
        raise ValueError(f"{path} has {kind}; wanted a list of pictures or of COCO's results")
    return document


def _pictures_of(entry: object, report: Callable[[str], None], note: Callable[[str], None]) -> list[PictureDetections]:
    try:
        return list(_entry(entry, report, note))
    except RecursionError:  # the parser accepted the entry, but a message cannot show its depth
        report(DEEP)
        return []


def _entry(entry: object, report: Callable[[str], None], note: Callable[[str], None]) -> Iterator[PictureDetections]:
    """The picture of an object with a path and faces; nothing if it has none."""
    record = entry if isinstance(entry, dict) else {}
    name, listed, failure = record.get("path", record.get("name")), record.get("faces"), record.get("error")
    if listed is None and failure is not None:
        listed = []
    if not isinstance(name, str) or not isinstance(listed, list):
        report('not an object with a string "path" (or "name") and a list "faces"')
        return
    page = record.get("page", 0)
    if not isinstance(page, int) or isinstance(page, bool) or page < 0:
        report(f"{shown(name)}: page is {described(page)}; wanted 0 or more")
        return
    if page:
        name = f"{name}#page={page}"
    if failure is not None:
        report(f"{shown(name)}: the detector had no picture: {failure}")
    if record.get("damaged") is not None:
        note(f"{shown(name)}: the picture is damaged: {record['damaged']}")
    faces = _Faces()
    for index, face in enumerate(listed):
        try:
            box = each("box", _get(face, "box"), 4, number)
            points = face.get("landmarks")
            faces.add(box, number("score", face.get("score")), None if points is None else _named_points(points))
        except (TypeError, ValueError) as error:
            report(f"{shown(name)}: faces[{index}]: {error}")
    yield faces.detections(name)


def _get(entry: object, key: str) -> object:
    if not isinstance(entry, Mapping):
        raise TypeError(f"{described(entry)}; wanted an object")
    return entry.get(key)


def _named_points(points: object) -> list[Sequence[float]]:
    values = [(name, _get(points, name)) for name in LANDMARKS]
    return [UNKNOWN if point is None else each(name, point, 2, number) for name, point in values]


def _coco(path: Path, problems: Problems, notes: Problems, images: Path | None = None) -> Iterator[PictureDetections]:
    names = _coco_names(images, problems) if images is not None else {}
    by_picture: dict[object, _Faces] = {key: _Faces() for key in names}
    for index, entry in enumerate(_list(path)):
        try:
            key = _image_id(_get(entry, "image_id"))
            if images is not None and key not in names:
                raise ValueError(f"{images} has no image with the id {key!r}")
            x, y, w, h = each("bbox", entry.get("bbox"), 4, number)
            score, keypoints = number("score", entry.get("score")), entry.get("keypoints")
            points = _keypoints(keypoints) if keypoints else None
            by_picture.setdefault(key, _Faces()).add((x, y, x + w, y + h), score, points)
        except RecursionError:
            problems.add(f"{path}[{index}]", DEEP)
        except (TypeError, ValueError) as error:
            problems.add(f"{path}[{index}]", str(error))
    for picture, faces in by_picture.items():
        yield faces.detections(names.get(picture, str(picture)))


def _image_id(value: object, key: str = "image_id") -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{key} is {described(value)}; wanted an integer or a string")
    return value


def _keypoints(values: object) -> list[Sequence[float]]:
    triples = each("keypoints", values, 3 * len(LANDMARKS), number)
    return [triples[i : i + 2] if triples[i + 2] else UNKNOWN for i in range(0, len(triples), 3)]


def _coco_names(path: Path, problems: Problems) -> dict[object, str]:
    """The pictures' names by their ids. Raises ValueError for an id that several pictures have."""
    document = json_document(path)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise ValueError(f"{path} has no list `images` of objects with id and file_name")
    names: dict[object, str] = {}
    for index, entry in enumerate(images):
        try:
            key, name = _image_id(_get(entry, "id"), "id"), entry.get("file_name")
            if not isinstance(name, str):
                raise TypeError(f"file_name is {described(name)}; wanted a string")
        except (RecursionError, TypeError) as error:
            problems.add(path, f"images[{index}]: {DEEP if isinstance(error, RecursionError) else error}")
            continue
        if key in names:
            raise ValueError(f"{path} has two images with the id {key!r}: {names[key]!r} and {name!r}")
        names[key] = name
    return names


_READERS: dict[str, Callable[[Path, Problems, Problems], Iterator[PictureDetections]]] = {
    "wider": _wider,
    "fddb": _fddb,
    "jsonl": _jsonl,
    "document": _document,
    "csv": _csv,
    "parquet": _parquet,
    "coco": _coco,
}
FORMATS: tuple[str, ...] = tuple(_READERS)
