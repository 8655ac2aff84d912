"""Pascal VOC: a folder of XML files, one per picture."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from posixpath import basename, dirname, isabs, splitext
from xml.etree import ElementTree

from mtcnn_fast.datasets.base import Faces, Part, Parts, Problems, Reading
from mtcnn_fast.datasets.fields import IGNORING, is_set, numbers, quoted
from mtcnn_fast.datasets.limits import MAX_TEXT, read_bounded
from mtcnn_fast.datasets.pictures import Pictures, leads_out, picture_folder, picture_name, without_outside
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.reading import suffixes
from mtcnn_fast.text_files import decode
from mtcnn_fast.writing import reason

SUFFIX = ".xml"

_CORNERS = ("xmin", "ymin", "xmax", "ymax")

_DECLARED = re.compile(rb"\s*<\?xml[^>]*\sencoding\s*=\s*[\"']([\w.-]+)[\"']")


def read(path: Path, images: Path | None, outside: bool) -> Parts:
    """The `.xml` files of a folder, at any depth, in the order of their names, or one such file.

    Every object is a face. A picture's name is its <filename>, which need not have a suffix, or the XML file's name if
    there is none. If the XML file is in a folder below, the picture's name may begin with that folder's.
    """
    inside = path if path.is_dir() else path.parent
    pictures = picture_folder(images, outside, *_usual(inside))
    return lambda reading: _parts(path, _Pictures(inside, pictures, images is None), reading)


def _usual(inside: Path) -> Sequence[Path]:
    """The folders in which the pictures of a folder's XML files may be."""
    beside = [place / name for place in (inside.parent, inside) for name in ("images", "JPEGImages")]
    return [*beside, inside]


def _parts(path: Path, pictures: _Pictures, reading: Reading) -> Iterator[Part]:
    problems = reading.problems

    def report(error: OSError) -> None:
        problems.add(error.filename, reason(error))

    # Pictures and lists lie among annotations, so files that are passed over are not reported.
    for found in find([str(path)], (SUFFIX,), report=report, passed_over=PassedOver()):
        file = Path(found.path)
        try:
            with file.open("rb") as opened:
                root = _parsed(read_bounded(opened, MAX_TEXT))
            for element in root.iter():  # an <Object> that is not read would become background
                element.tag = element.tag.lower()
            # Other programs keep other XML beside pictures. Such a file must not become a picture without faces.
            if root.tag != "annotation":
                raise ValueError(f"its root is <{root.tag}>; wanted <annotation>")
            name, picture = pictures.find(root.findtext("filename") or "", found.below)
        except ElementTree.ParseError as error:
            problems.add(file, f"not XML: {error}", error.position[0])
            continue
        except (OSError, LookupError, ValueError, MemoryError, RecursionError) as error:
            problems.add(file, reason(error))
            continue
        if reading.wanted(name):
            yield Part(name, picture, _faces(root, file, problems), file)


def _parsed(content: bytes) -> ElementTree.Element:
    """The root element. If no encoding fits, raises the first parser's ParseError, LookupError or ValueError."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError):
        declared = _DECLARED.match(content)
        # Expat does not know all of Python's encodings. Nor need a declaration be true, if the file was converted.
        for encoding in (declared[1].decode() if declared else None, None):
            with suppress(ElementTree.ParseError, LookupError, ValueError):
                text = decode(content) if encoding is None else content.decode(encoding)
                return ElementTree.fromstring(text.lstrip("\ufeff \t\r\n"))
        raise


def _faces(root: ElementTree.Element, file: Path, problems: Problems) -> Faces:
    faces = Faces()
    for position, item in enumerate(root.iter("object"), 1):
        ignored, lost = False, []
        for mark in IGNORING:
            for mark_element in item.findall(mark):
                try:
                    ignored |= is_set(mark, mark_element.text)
                except ValueError as error:
                    lost.append(f"{error}; the box is kept")
        try:
            boxes = item.findall("bndbox")
            if len(boxes) != 1:
                raise ValueError(f"{len(boxes)} <bndbox>; wanted one")
            x1, y1, x2, y2 = numbers((boxes[0].findtext(corner) or "").strip() for corner in _CORNERS)
            # VOC counts pixels from 1, and a box includes its last pixel.
            faces.add(x1 - 1, y1 - 1, x2, y2, ignored=ignored)
        except ValueError as error:
            faces.lose()
            lost = [str(error)]
        for what in lost:
            problems.add(file, f"object {position}: {what}")
    return faces


class _Pictures:
    """Finds the picture of an XML file."""

    def __init__(self, inside: Path, pictures: Pictures, usual: bool) -> None:
        self._inside = inside
        self._folder, self._outside = pictures.folder, pictures.outside
        self._usual = usual
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, filename: str, xml: str) -> tuple[str, Path]:
        """The name and the path of a picture. Raises ValueError for a name that no file can have, and if two fit.

        filename: the text of <filename>, or an empty one. xml: the path of the XML file below the folder that is read.
        """
        below, own = dirname(xml), splitext(basename(xml))[0]
        wanted = picture_name(filename.strip() or own)
        likeliest, *_ = every = self._places(below)
        places = [place for place in every if self._is_allowed(_joined(place[0], wanted))]
        for before, place in places:
            if (place / wanted).is_file():
                return _joined(before, wanted), place / wanted
        # A name such as `img.001` has a suffix that no picture has.
        for stem in dict.fromkeys((wanted, _joined(dirname(wanted), own))):
            for before, place in places:
                fitting = self._fitting(place / stem)
                if not fitting:
                    continue
                if splitext(wanted)[1].lower() in suffixes():
                    break
                if len(fitting) > 1:
                    raise ValueError(f"its picture can be {' or '.join(map(quoted, fitting))}")
                name = _joined(dirname(stem), fitting[0])
                return _joined(before, name), place / name
        before, place = ("", self._folder) if below and wanted.startswith(f"{below}/") else likeliest
        if not self._is_allowed(_joined(before, wanted)):
            raise ValueError(without_outside(wanted, str(self._folder)))
        return _joined(before, wanted), place / wanted

    def _is_allowed(self, name: str) -> bool:
        return self._outside or not leads_out(name, self._folder)

    def _places(self, below: str) -> list[tuple[str, Path]]:
        """The folders in which a picture may be, likeliest first, each with the prefix of the picture's name there.

        below: the folder of its XML file, below the folder that is read.
        """
        if not below:
            return [("", self._folder)]
        places = [(below, self._folder / below), ("", self._folder)]
        if self._usual:
            # Such as `train/Annotations` beside `train/JPEGImages`.
            for place in _usual(self._inside / below):
                if place.is_relative_to(self._inside):
                    before = place.relative_to(self._inside).as_posix()
                    places.append(("" if before == "." else before, place))
        return places

    def _fitting(self, picture: Path) -> list[str]:
        """The pictures whose name without its suffix is that of `picture`."""
        folder = picture.parent
        if folder not in self._listed:
            listed = self._listed[folder] = defaultdict(list)
            with suppress(OSError):
                for file in sorted(folder.iterdir()):
                    listed[file.stem].append(file.name)
        names = self._listed[folder].get(picture.name, ())
        return [name for name in names if splitext(name)[1].lower() in suffixes()]


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and not isabs(name) else name
