"""RetinaFace's lists: the pictures and boxes of WIDER FACE, with five points per face (Deng et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtcnn_fast.datasets.base import Faces, Part, Parts, Problems, Reading
from mtcnn_fast.datasets.fields import UNKNOWN, Points, numbers, point, quoted
from mtcnn_fast.datasets.limits import lines
from mtcnn_fast.datasets.pictures import Pictures, picture_folder
from mtcnn_fast.writing import reason

_MARK = "#"
_BOX = 4
# x, y and a mark of each of five points. The mark says that a point is hidden; its place is known all the same.
_LANDMARKS = 15
# A score of the face's sharpness may be last. The lists of the validation pictures have boxes only.
_COUNTS = (_BOX, _BOX + _LANDMARKS, _BOX + _LANDMARKS + 1)
_MISSING = -1.0
_WANTED = "wanted x y w h and, optionally, five points x y mark, and a score"


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """Lines `# NAME`, and after each a row per face: `x y w h` and, optionally, five points `x y mark` and a score."""
    pictures = picture_folder(images, outside, path.parent / "images", path.parent)
    return lambda reading: _parts(path, pictures, reading)


def is_list(first: str, second: str) -> bool:
    """Whether a file can be such a list, by its first two lines. The second is empty if there is none."""
    if not first.startswith(_MARK) or not first.removeprefix(_MARK).strip():
        return False
    try:
        return not second or second.startswith(_MARK) or len(numbers(second.split())) in _COUNTS
    except ValueError:
        return False


def _parts(path: Path, pictures: Pictures, reading: Reading) -> Iterator[Part]:
    part: Part | None = None
    # Rows after a name that cannot be used, or is not wanted, belong to no part.
    named = False
    for number, line in lines(path):
        if line.startswith(_MARK):
            if part is not None:
                yield part
            part, named = None, True
            try:
                name = pictures.name(line.removeprefix(_MARK).strip())
            except ValueError as error:
                reading.problems.add(path, reason(error), number)
                continue
            if reading.wanted(name):
                part = Part(name, pictures.path(name), Faces(), path, number)
        elif part is not None:
            _add(part.faces, line.split(), path, number, reading.problems)
        elif not named:
            reading.problems.add(path, f"{quoted(line)} comes before the first name, which begins with #", number)
    if part is not None:
        yield part


def _add(faces: Faces, fields: list[str], path: Path, line: int, problems: Problems) -> None:
    def box() -> list[float]:
        if len(fields) < _BOX:
            raise ValueError(f"{len(fields)} numbers; {_WANTED}")
        x, y, w, h = numbers(fields[:_BOX])
        return [x, y, x + w, y + h]

    def landmarks() -> Points | None:
        if len(fields) not in _COUNTS:
            raise ValueError(f"{len(fields)} numbers; {_WANTED}")
        return _points(numbers(fields[_BOX : _BOX + _LANDMARKS])) if len(fields) > _BOX else None

    if (lost := faces.add_row(box, landmarks)) is not None:
        problems.add(path, lost, line)


def _points(values: list[float]) -> Points:
    pairs = [values[i : i + 2] for i in range(0, _LANDMARKS, 3)]
    return [UNKNOWN if pair == [_MISSING, _MISSING] else point(*pair) for pair in pairs]
