"""Files that are made of pictures: drawings, which are copies with the faces drawn, and crops of the faces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.checks import described, text
from mtcnn_fast.drawing import draw
from mtcnn_fast.extra import require
from mtcnn_fast.image import checked_channel_order
from mtcnn_fast.writing import check_folder, is_folder, make_folder, naming, replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.detections import Detections
    from mtcnn_fast.reading import Picture

# Suffixes of formats that hold one picture in full colour. A drawing of any other picture is a PNG.
_KEPT = frozenset((".avif", ".bmp", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
_QUALITY = 95


class OutputFolder:
    """A folder for files made of pictures. No two get the same name, and none replaces a picture that is read.

    folder: it is made, and writing into it is tried. arguments: the files and folders that pictures are read from.
    Raises OSError for a folder that cannot be written into.
    """

    def __init__(self, folder: str, arguments: Iterable[str]) -> None:
        self.folder = check_folder(folder)
        place = os.path.realpath(folder)
        read = [Path(os.path.realpath(argument)) for argument in arguments]
        folders = {path for path in read if is_folder(path)}
        self._files = {str(path) for path in read if path not in folders}
        # If the files go below a folder that is searched, the search leaves their folder out.
        self._searched = [path for path in folders if path not in Path(place).parents]
        # Hashes, which take a fifth of the paths' memory.
        self._taken: set[int] = set()

    def spare(self, paths: Iterable[str]) -> None:
        """Notes the pictures that will be read, because links may lead to pictures in this folder."""
        if not any(self.folder.iterdir()):
            return
        below = os.path.realpath(self.folder) + os.sep
        self._files.update(real for path in paths if (real := os.path.realpath(path)).startswith(below))

    def keep(self, file: str) -> None:
        """Notes a file that must not be replaced, such as one of the earlier run that this run continues."""
        self._taken.add(hash(os.path.realpath(file)))

    def save(self, image: NDArray[np.uint8], below: Path, stem: str, suffix: str) -> str:
        """Writes an image and returns its path. Raises OSError that names it.

        below: the path of the picture below its argument; the file gets the same folders. stem, suffix: its name, which
        gets a number if it is taken.
        """
        path = self._choose(below, stem, suffix)
        with naming(path):
            make_folder(path.parent)
        save_image(image, path)
        self.keep(str(path))
        return str(path)

    def _choose(self, below: Path, stem: str, suffix: str) -> Path:
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


class Drawings(OutputFolder):
    """Writes a drawing of each picture. Raises ImportError without OpenCV, and errors as `OutputFolder` does."""

    def __init__(self, folder: str, arguments: Iterable[str]) -> None:
        require("cv2", "drawing faces")
        super().__init__(folder, arguments)

    def write(self, picture: Picture, faces: Detections, below: str) -> str:
        """Writes the drawing of a picture and returns its path. Raises OSError that names it.

        below: the picture's path below its argument; the drawing gets the same path below the folder of drawings.
        """
        place = Path(below)
        suffix = place.suffix if place.suffix.lower() in _KEPT else ".png"
        return self.save(draw(picture.pixels, faces), place, _stem(place, picture), suffix)


Cut = Callable[["NDArray[np.uint8]", "Detections"], "NDArray[np.uint8]"]
"""Takes an image and its faces, and returns the crops (N, size, size, channels)."""


class Crops(OutputFolder):
    """Writes a PNG of each face. cut: makes the crops. Raises errors as `OutputFolder` does."""

    def __init__(self, folder: str, arguments: Iterable[str], cut: Cut) -> None:
        super().__init__(folder, arguments)
        self._cut = cut

    def write(self, picture: Picture, faces: Detections, below: str) -> list[str]:
        """Writes the crops of a picture and returns their paths, in the order of the faces.

        below: as in `Drawings.write`; a crop's name ends with -face and the index of the face. Raises OSError that
        names the crop.
        """
        place = Path(below)
        stem = _stem(place, picture)
        crops = self._cut(picture.pixels, faces)
        return [self.save(crop, place, f"{stem}-face{index}", ".png") for index, crop in enumerate(crops)]


def save_crops(
    crops: NDArray[np.uint8], folder: str | os.PathLike[str], stem: str = "", channel_order: str = "rgb"
) -> list[Path]:
    """Writes crops, as `MTCNN.crop` and `MTCNN.align` make them, as PNGs. Returns their paths, in the same order.

    crops: uint8 (N, height, width, 1, 3 or 4). folder: it is made if it is not there. stem: the files are
    `{stem}-face0.png` and so on, or `face0.png`; files of these names are replaced. channel_order: "rgb" or "bgr".

    Raises TypeError or ValueError for other arguments, OSError that names a file that cannot be written, ImportError
    without Pillow (extra `cli`).

    >>> save_crops(detector.align(image, faces), "people", "anna")  # people/anna-face0.png, ...
    """
    order = checked_channel_order(channel_order)
    if not isinstance(crops, np.ndarray) or crops.dtype != np.uint8:
        raise TypeError(f"crops is {described(crops)}; wanted a uint8 NumPy array (n, height, width, channels)")
    if crops.ndim != 4 or crops.shape[3] not in (1, 3, 4):
        raise ValueError(f"crops has shape {crops.shape}; wanted (n, height, width, 1, 3 or 4)")
    if {"/", "\\", "\0"} & set(text("stem", stem)):
        raise ValueError(f"stem is {stem!r}; wanted the beginning of a file's name, without folders")
    place = check_folder(folder)
    if order == "bgr":
        crops = crops[..., [2, 1, 0, 3][: crops.shape[3]] if crops.shape[3] > 1 else slice(None)]
    paths = [place / f"{stem}{'-' if stem else ''}face{index}.png" for index in range(len(crops))]
    for crop, path in zip(crops, paths, strict=True):
        save_image(crop, path)
    return paths


def save_image(image: NDArray[np.uint8], path: Path) -> None:
    """Writes an image in the format of its suffix, whole or not at all. Raises OSError that names it."""
    pillow = require("PIL.Image", "writing pictures")
    kind = pillow.registered_extensions()[path.suffix.lower()]
    array = np.ascontiguousarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    with replacing(path) as file:
        pillow.fromarray(array).save(file, format=kind, quality=_QUALITY)


def _stem(below: Path, picture: Picture) -> str:
    return below.stem if picture.pages == 1 else f"{below.stem}-page{picture.page}"
