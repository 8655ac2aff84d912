"""Pascal VOC: a folder of XML files, one a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mtcnn_fast.annotations.base import Annotation, Faces, Problems, Wanted, numbers, picture_folder

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """A folder of `.xml` files, in the order of their names, or one such file. Every object is a face."""
    inside = path if path.is_dir() else path.parent
    folder = picture_folder(images, inside.parent / "images", inside.parent / "JPEGImages", inside / "images", inside)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".xml") if path.is_dir() else [path]
    for file in files:
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            problems.add(file, f"not XML: {error}", error.position[0])
            continue
        except (OSError, LookupError, ValueError) as error:  # the latter two for encodings that there are not
            problems.add(file, str(error))
            continue
        name = (root.findtext("filename") or "").strip()
        if not name:
            problems.add(file, "no <filename> of the picture")
            continue
        if not wanted(name):
            continue
        faces = Faces()
        for position, item in enumerate(root.iter("object"), 1):
            try:
                x1, y1, x2, y2 = numbers(item.findtext(f"bndbox/{corner}") or "" for corner in _CORNERS)
                # VOC counts pixels from 1, and a box's last pixel is in it.
                faces.add(x1 - 1, y1 - 1, x2, y2, ignored=(item.findtext("difficult") or "").strip() == "1")
            except ValueError as error:
                problems.add(file, f"object {position}: {error}")
        yield faces.annotation(name, folder / name)
