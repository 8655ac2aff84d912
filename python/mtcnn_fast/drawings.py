"""Files of drawings, which are copies of pictures with their faces drawn: choosing their names and writing them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mtcnn_fast.drawing import draw
from mtcnn_fast.extra import require
from mtcnn_fast.writing import check_folder, is_folder, make_folder, naming, replacing

if TYPE_CHECKING:
    from mtcnn_fast.detections import Detections
    from mtcnn_fast.reading import Picture

# Suffixes of formats that hold one picture in full colour. A drawing of any other picture is a PNG.
_KEPT = frozenset((".avif", ".bmp", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
_QUALITY = 95


class Drawings:
    """Writes a drawing of each picture. No two get the same name, and none replaces a picture that is read.

    folder: the folder of the drawings; it is made, and writing into it is tried. arguments: the files and folders that
    pictures are read from. Raises ImportError without OpenCV, OSError for a folder that cannot be written into.
    """

    def __init__(self, folder: str, arguments: Iterable[str]) -> None:
        require("cv2", "drawing faces")
        self.folder = check_folder(folder)
        place = os.path.realpath(folder)
        read = [Path(os.path.realpath(argument)) for argument in arguments]
        folders = {path for path in read if is_folder(path)}
        self._files = {str(path) for path in read if path not in folders}
        # If the drawings go below a folder that is searched, the search leaves their folder out.
        self._searched = [path for path in folders if path not in Path(place).parents]
        # Hashes, which take a fifth of the paths' memory.
        self._taken: set[int] = set()

    def spare(self, paths: Iterable[str]) -> None:
        """Notes the pictures that will be read, because links may lead to pictures in the folder of the drawings."""
        if not any(self.folder.iterdir()):
            return
        below = os.path.realpath(self.folder) + os.sep
        self._files.update(real for path in paths if (real := os.path.realpath(path)).startswith(below))

    def write(self, picture: Picture, faces: Detections, below: str) -> str:
        """Writes the drawing of a picture and returns its path. Raises OSError that names it.

        below: the picture's path below its argument; the drawing gets the same path below the folder of drawings.
        """
        path = self._choose(Path(below), picture.page if picture.pages > 1 else None)
        image = require("PIL.Image", "writing pictures")
        with naming(path):
            make_folder(path.parent)
        kind = image.registered_extensions()[path.suffix.lower()]
        with replacing(path) as file:
            image.fromarray(draw(picture.pixels, faces)).save(file, format=kind, quality=_QUALITY)
        self.keep(str(path))
        return str(path)

    def keep(self, drawing: str) -> None:
        """Notes a drawing that must not be replaced, such as one of the earlier run that this run continues."""
        self._taken.add(hash(os.path.realpath(drawing)))

    def _choose(self, below: Path, page: int | None) -> Path:
        suffix = below.suffix if below.suffix.lower() in _KEPT else ".png"
        stem = below.stem if page is None else f"{below.stem}-page{page}"
        path, count = self.folder / below.with_name(f"{stem}{suffix}"), 1
        while not self._is_free(path):
            count += 1
            path = self.folder / below.with_name(f"{stem}-{count}{suffix}")
        return path

    def _is_free(self, path: Path) -> bool:
        real = os.path.realpath(path)
        if hash(real) in self._taken or real in self._files:
            return False
        return not (path.exists() and any(folder in Path(real).parents for folder in self._searched))
