"""Reading the labelled pictures of face detection's data sets, one at a time, with `read`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from mtcnn_fast.checks import described, flag
from mtcnn_fast.datasets import backgrounds, celeba, coco, facepoint, retinaface, voc, wider, yolo, yolo_folders
from mtcnn_fast.datasets.base import Annotation, Problems, Reading, Wanted, warning_instead
from mtcnn_fast.datasets.ignored import IgnoredBoxes
from mtcnn_fast.datasets.limits import lines
from mtcnn_fast.datasets.selection import Listed, gathered, names
from mtcnn_fast.finding import PassedOver, find

__all__ = ["FORMATS", "Annotation", "Problems", "read"]

_READERS = {
    "wider": wider.read,
    "voc": voc.read,
    "celeba": celeba.read,
    "facepoint": facepoint.read,
    "retinaface": retinaface.read,
    "coco": coco.read,
    "yolo": yolo.read,
    "backgrounds": backgrounds.read,
}
FORMATS: tuple[str, ...] = tuple(_READERS)
_BY_SUFFIX = {".mat": "wider", ".json": "coco", voc.SUFFIX: "voc", **dict.fromkeys(yolo_folders.SUFFIXES, "yolo")}


def read(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
    only: str | os.PathLike[str] | None = None,
    ignored: str | os.PathLike[str] | None = None,
    problems: Problems | None = None,
    passed_over: PassedOver | None = None,
    outside: bool = False,
) -> Iterator[Annotation]:
    """The labelled pictures of a data set, in its order. Each is read when the caller asks for it.

    * path: the annotation file; for "voc" the folder of XML files, for "yolo" the folder with the folders of pictures
      and labels, or the YAML file, for "backgrounds" the folder of pictures.
    * format: one of FORMATS; None: detected from the path, and from the first lines of a text file. "backgrounds" is
      never detected, because any folder of pictures looks like one.
    * images: the folder of the pictures; None: where the data set keeps it.
    * only: a text file that lists the pictures to take. Each line is a name or a stem, with its folders or without. A
      line that is a whole name selects that picture alone.
    * ignored: a JSON file of boxes to add to the labels as ignored ones, `{"picture": [[x1, y1, x2, y2], ...]}`: faces
      that the data set does not label. The boxes are in pixels, 0-based and half-open. A picture's name may have more
      folders before it.
    * problems: receives every row, file and attribute that cannot be used, every line of `only` that selects nothing,
      and every name in `ignored` that no picture has; None: a warning says how many there were.
    * passed_over: counts, for "backgrounds" and "yolo", the files among the pictures that are no pictures.
    * outside: take pictures whose names lead out of the folder of the pictures: absolute names, and `../`. Otherwise
      their rows cannot be used. Names that lead back into the folder are always taken.

    A label that cannot be used makes its picture incomplete. A mark or landmarks that cannot be used do not cost the
    box. A picture that has several entries comes once, with the faces of all of them. Equal entries give their faces
    once; if entries differ, `problems` receives that, and the picture is incomplete. In "facepoint" each face has a
    row: different rows of a picture make one picture, and a picture whose rows are all equal comes once per row. For
    this the reader reads all names first and keeps them in memory.

    Raises ValueError for an empty path, for a format that is not known or does not fit the file, for a line of `only`
    that selects several pictures, for a file `ignored` that is no JSON object or has a picture under two names, and for
    a line beyond `limits.MAX_LINE`; OSError for a file that cannot be read;
    ImportError for a MATLAB file without SciPy, and for a YAML file without PyYAML.
    """
    for what, value in (("path", path), ("images", images), ("only", only), ("ignored", ignored)):
        if value is not None and not os.fspath(value):
            raise ValueError(f"{what} is empty; wanted a path")
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"there are no annotations at {source}")
    if not source.is_file() and not source.is_dir():
        raise ValueError(f"{source} is a pipe or a device; wanted a file, which is read twice, or a folder")
    if format is None:
        format = _format_of(source)
    elif format not in _READERS:
        raise ValueError(f"format is {described(format)}; wanted one of {', '.join(FORMATS)}")
    return _read(
        source,
        format,
        None if images is None else Path(images),
        None if only is None else Path(only),
        None if ignored is None else Path(ignored),
        problems,
        PassedOver() if passed_over is None else passed_over,
        flag("outside", outside),
    )


def _read(
    path: Path,
    format: str,
    images: Path | None,
    only: Path | None,
    ignored: Path | None,
    problems: Problems | None,
    passed_over: PassedOver,
    outside: bool,
) -> Iterator[Annotation]:
    with warning_instead(problems, f"rows or files of {path}") as unusable:
        with _naming(path):
            parts = _READERS[format](path, images, outside)
            # Names in a folder are distinct. The names of "facepoint" need not be.
            distinct = format in ("backgrounds", "facepoint", "yolo")
            known = Counter() if distinct and only is None and ignored is None else names(parts)
        wanted: Wanted = _all
        if only is not None:
            with _naming(only):
                listed = Listed(only, known, unusable)
            wanted = listed.chosen.__contains__
        boxes = None if ignored is None else IgnoredBoxes(ignored, known, unusable)
        with _naming(path):
            if format == "facepoint":  # each face has a row
                times, repetitions = facepoint.several(path), None
            else:
                times, repetitions = Counter({name: n for name, n in known.items() if n > 1}), unusable
            del known
            pictures = gathered(parts(Reading(unusable, wanted, passed_over)), times, repetitions)
            yield from pictures if boxes is None else map(boxes.added_to, pictures)
        if only is not None:
            listed.tell_missing(unusable)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be decoded: {error}") from error


def _all(_: str) -> bool:
    return True


def _format_of(path: Path) -> str:
    """The format of a file or a folder. Raises ValueError if it cannot be detected."""
    if path.is_dir():
        if (path / celeba.BOXES).is_file():
            return "celeba"
        files = find([str(path)], (voc.SUFFIX,), report=lambda _: None, passed_over=PassedOver())
        if next(files, None) is not None:
            return "voc"
        if yolo_folders.is_set(path):
            return "yolo"
    elif path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    else:
        with _naming(path):
            first, second = ([line for _, line in islice(lines(path), 2)] + ["", ""])[:2]
        if second.isdecimal():
            return "wider"
        if first.isdecimal() and second.startswith("image_id"):
            return "celeba"
        if retinaface.is_list(first, second):
            return "retinaface"
        if facepoint.is_row(first):
            return "facepoint"
    raise ValueError(f"the format of {path} cannot be detected; wanted format, one of {', '.join(FORMATS)}")
