"""The images that speed is measured on: frames of common sizes made of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Workload:
    """A frame, and the names (the ends of file names without suffix) of the photographs for its tiles.

    Without names, it is made of the given photographs, beginning with number `first`.
    """

    width: int
    height: int
    photographs: tuple[str, ...] = ()
    first: int = 0


# The frames of named photographs have about as many crops as frames for which times of cascades on other engines are
# known.
WORKLOADS = {
    "640x480": Workload(640, 480, first=0),
    "1280x720": Workload(1280, 720, first=1),
    "1920x1080": Workload(1920, 1080, first=2),
    "3840x2160": Workload(3840, 2160, first=0),
    "640x480 few": Workload(640, 480, ("office3",)),
    "1280x720 group": Workload(1280, 720, ("insightface_t1",)),
    "1920x1080 few": Workload(1920, 1080, ("office3",)),
    "1920x1080 crowd": Workload(1920, 1080, ("office1",)),
    "3840x2160 mosaic": Workload(3840, 2160, ("office4", "office5", "office3", "kpzhang93_test1")),
}


def order(name: str) -> tuple[int, bool]:
    """A sort key for frames: by area, and for one area those of named photographs first."""
    workload = WORKLOADS[name]
    return workload.width * workload.height, not workload.photographs


def tiled(photos: list[Image], width: int, height: int) -> Image:
    """The photographs as tiles of at most 1920 x 1080, each scaled to cover its tile."""
    columns, rows = -(-width // 1920), -(-height // 1080)
    tile_width, tile_height = width // columns, height // rows
    canvas = np.zeros((height, width, 3), np.uint8)
    for k in range(columns * rows):
        photo = photos[k % len(photos)]
        scale = max(tile_width / photo.shape[1], tile_height / photo.shape[0])
        shown = cv2.resize(
            photo,
            (max(tile_width, round(photo.shape[1] * scale)), max(tile_height, round(photo.shape[0] * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        top, left = (shown.shape[0] - tile_height) // 2, (shown.shape[1] - tile_width) // 2
        y, x = k // columns * tile_height, k % columns * tile_width
        canvas[y : y + tile_height, x : x + tile_width] = shown[top : top + tile_height, left : left + tile_width]
    return canvas


def make(name: str, photographs: dict[Path, Image]) -> Image | None:
    """The frame of that name; None if one of its photographs is not among those given."""
    workload = WORKLOADS[name]
    if workload.photographs:
        by_end = {
            end: image for end in workload.photographs for path, image in photographs.items() if path.stem.endswith(end)
        }
        if len(by_end) < len(set(workload.photographs)):
            return None
        images = [by_end[end] for end in workload.photographs]
    else:
        given = list(photographs.values())
        first = workload.first % len(given)
        images = given[first:] + given[:first]
    return tiled(images, workload.width, workload.height)
