"""Frames that are pictures in a folder."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mtcnn_fast import reading
from mtcnn_fast.finding import PassedOver, find
from mtcnn_fast.video.source import Image, Source
from mtcnn_fast.writing import line_of, reason


class FolderSource(Source):
    """The pictures in a folder and the folders in it, in the order of their names; of each file the first page."""

    reader = "Pillow"
    threads = 4

    def __init__(self, folder: str) -> None:
        failures: list[OSError] = []
        found = find([folder], reading.suffixes(), report=failures.append, passed_over=PassedOver())
        self._files = [file.path for file in found]
        if failures:
            raise OSError(line_of(failures[0]))
        if not self._files:
            raise OSError("there are no pictures in the folder")
        self.frame_count = len(self._files)

    def items(self) -> Iterable[str]:
        return self._files

    def load(self, item: str) -> Image:
        try:
            picture = next(reading.pages(item, first_only=True))
        except OSError as error:
            raise OSError(f"{item}: {reason(error)}") from error
        if picture.damage is not None:
            raise OSError(f"{item}: damaged: {picture.damage}")
        return Image(np.array(picture.pixels), None)
