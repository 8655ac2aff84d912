"""A folder of pictures without faces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mtcnn_fast import pictures
from mtcnn_fast.annotations.base import Annotation, Faces, Problems, Wanted


def read(path: Path, images: Path | None, problems: Problems, wanted: Wanted) -> Iterator[Annotation]:
    """Every picture at any depth, in the order of the names; each is named by its path below the folder."""
    if images is not None:
        raise ValueError("the folder of backgrounds is the folder of their pictures: there is no other to give")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a folder of pictures")
    for picture, below in pictures.find([str(path)], None, lambda error: problems.add(error.filename, str(error))):
        name = below.as_posix()
        if wanted(name):
            yield Faces().annotation(name, picture)
