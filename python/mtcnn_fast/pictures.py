"""Picture files for the command line: finding, reading and writing them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    )
)


def find(
    arguments: list[str], leave_out: Path | None, report: Callable[[OSError], None]
) -> Iterator[tuple[Path, Path]]:
    """The pictures that files and folders name, and the path of each below the argument that named it.

    Folders are searched to any depth and sorted, but for `leave_out`, where drawings of an earlier run may lie;
    `report` is told of those that cannot be read. Any other path is taken as it is.
    """
    for argument in map(Path, arguments):
        if not argument.is_dir():
            yield argument, Path(argument.name)
            continue
        for folder, below, files in os.walk(argument, onerror=report):
            below[:] = sorted(name for name in below if not _same(Path(folder, name), leave_out))
            for name in sorted(files):
                path = Path(folder, name)
                if path.suffix.lower() in _SUFFIXES:
                    yield path, path.relative_to(argument)


def read(path: Path) -> NDArray[np.uint8]:
    """The pixels in BGR order, upright by the EXIF orientation. Raises OSError saying why there are none."""
    cv2 = require("cv2", "reading pictures")
    # Not by cv2.imread, which on Windows knows no names outside the code page, and nowhere says why it failed.
    content = np.fromfile(path, np.uint8)
    try:
        image: NDArray[np.uint8] | None = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except cv2.error as error:
        raise OSError(f"OpenCV cannot decode it: {error.err}") from error
    if image is None:
        raise OSError("not a picture that OpenCV can decode")
    return image


def write(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes BGR pixels in the format of the path's suffix, making folders as needed."""
    cv2 = require("cv2", "writing pictures")
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, image)[1].tofile(path)


class Places:
    """Where to write a drawing of each picture: no two at one place, and none over a picture that is read."""

    def __init__(self, folder: Path, read: list[Path]) -> None:
        self._folder = folder
        self._taken = {path.resolve() for path in read}

    def choose(self, below: Path) -> Path:
        """A free path in the folder, for a picture at `below` under its argument; a second one gets `-2`."""
        cv2 = require("cv2", "writing pictures")
        suffix = below.suffix if cv2.haveImageWriter(f"x{below.suffix}") else ".png"
        path, count = self._folder / below.with_suffix(suffix), 1
        while path.resolve() in self._taken:
            count += 1
            path = self._folder / below.with_name(f"{below.stem}-{count}{suffix}")
        self._taken.add(path.resolve())
        return path


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()
