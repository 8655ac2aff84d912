"""The folder and the names of a data set's pictures."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from mtcnn_fast.datasets.fields import quoted
from mtcnn_fast.text_files import portable

# The most bytes that Linux and macOS allow for a name, and those that Linux allows for a path.
_LONGEST_PART = 255
_LONGEST_NAME = 4095


def picture_name(name: str) -> str:
    """The name of a picture with `/` between its folders, without empty steps such as `./`.

    Raises ValueError for a text that cannot be the name of a file.
    """
    if "\0" in name:
        raise ValueError(f"the name has a NUL: {quoted(name)}")
    parts = portable(name).split("/")
    if parts[-1] in ("", ".", ".."):
        raise ValueError(f"{quoted(name)} is not the name of a file")
    plain = "/".join(part for part in parts if part not in ("", "."))
    try:
        lengths = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise ValueError(f"the name has a character that names cannot have: {quoted(name)}") from None
    if max(lengths) > _LONGEST_PART or sum(lengths) + len(lengths) > _LONGEST_NAME:
        raise ValueError(f"the name is too long: {quoted(name)}")
    return f"/{plain}" if posixpath.isabs(portable(name)) else plain


def leads_out(name: str, folder: Path | None = None) -> bool:
    """Whether a name, with `/` between folders, leads out of the folder that it is relative to.

    folder: the folder in which absolute names may lie; None: every absolute name leads out. Links are not followed:
    they are the user's own.
    """
    plain = posixpath.normpath(name)
    if posixpath.isabs(plain):
        places = () if folder is None else {os.path.abspath(folder), os.path.realpath(folder)}  # noqa: PTH100
        return not any(Path(plain).is_relative_to(place) for place in places)
    return plain.partition("/")[0] == ".."


def without_outside(name: str, place: str) -> str:
    """The message for a name that leads out of a place, where that is not allowed."""
    return f"{quoted(name)} leads out of {place}; it is taken with --outside (outside=True in Python, true in TOML)"


@dataclass(frozen=True, slots=True)
class Pictures:
    """The folder of a data set's pictures."""

    folder: Path
    outside: bool
    """Whether pictures may lie elsewhere."""

    def name(self, text: str) -> str:
        """The name of a picture, as `picture_name`. Raises ValueError, too, for one that leads out of the folder."""
        plain = picture_name(text)
        if not self.outside and leads_out(plain, self.folder):
            raise ValueError(without_outside(plain, os.fspath(self.folder)))
        return plain

    def path(self, name: str) -> Path:
        """The path of a picture, by its name."""
        return self.folder / name


def picture_folder(images: Path | None, outside: bool, *usual: Path) -> Pictures:
    """The folder of a data set's pictures: `images`, or else the first of the `usual` folders that exists, or the last.

    Raises NotADirectoryError if `images` is not a folder.
    """
    if images is None:
        return Pictures(next((folder for folder in usual if folder.is_dir()), usual[-1]), outside)
    if not images.is_dir():
        raise NotADirectoryError(f"there is no folder of pictures {images}")
    return Pictures(images, outside)
