"""Images generated from photographs: crops and mosaics, rescaled, mirrored, blurred, noisy, brighter or darker.

Each has a seed of its own, from which it can be made again.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import mtcnn_fast

SIDES = (200, 400)  # of an image, pixels
# The most photographs to keep decoded, and the most pixels on the longer side of each.
KEPT, LONGEST = 1000, 1024
Image = NDArray[np.uint8]


@functools.lru_cache(maxsize=KEPT)
def photograph(path: Path) -> Image:
    image = mtcnn_fast.read(path)
    scale = LONGEST / max(image.shape[:2])
    return resized(image, scale) if scale < 1 else image


def resized(image: Image, scale: float) -> Image:
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return pixels(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def pixels(values: NDArray[Any]) -> Image:
    """The values, rounded and clipped to 0..255."""
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def crop(random: np.random.Generator, sets: list[list[Path]], height: int, width: int) -> Image:
    """A part of a random photograph, at a scale of 0.5 to 2, or larger if the photograph is too small for the part."""
    paths = sets[random.integers(len(sets))]
    image = photograph(paths[random.integers(len(paths))])
    scale = float(np.exp2(random.uniform(-1, 1)))
    scale = max(scale, height / image.shape[0], width / image.shape[1])
    image = resized(image, scale)
    top = random.integers(max(1, image.shape[0] - height + 1))
    left = random.integers(max(1, image.shape[1] - width + 1))
    part = image[top : top + height, left : left + width]
    return part[:, ::-1] if random.random() < 0.5 else part


def mosaic(random: np.random.Generator, sets: list[list[Path]], height: int, width: int) -> Image:
    """Four crops that meet at a point."""
    row, column = (int(random.integers(side // 4, 3 * side // 4)) for side in (height, width))
    parts = [[crop(random, sets, tall, wide) for wide in (column, width - column)] for tall in (row, height - row)]
    return np.vstack([np.hstack(part) for part in parts])


def altered(random: np.random.Generator, image: Image) -> Image:
    """The image with blur, gamma, contrast and noise, each with some chance."""
    values: NDArray[Any] = image.astype(np.float32)
    if random.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), random.uniform(0.4, 2.5))
    if random.random() < 0.4:
        values = 255 * (values / 255) ** float(np.exp2(random.uniform(-1.2, 1.2)))
    if random.random() < 0.2:
        values = (values - 127.5) * random.uniform(0.2, 1.5) + 127.5
    if random.random() < 0.3:
        values = values + random.normal(0, random.uniform(2, 25), values.shape)
    return pixels(values)


def generated(seed: int, sets: list[list[Path]]) -> Image:
    """The image of a seed. It is the same on every machine that has the same photographs and sets."""
    random = np.random.default_rng(seed)
    height, width = random.integers(*SIDES, 2, endpoint=True)
    make = mosaic if random.random() < 0.3 else crop
    return altered(random, make(random, sets, int(height), int(width)))


def equal(a: mtcnn_fast.Detections, b: mtcnn_fast.Detections) -> bool:
    """Whether detections are equal to the bit. Zeros of other sign differ, and a NaN equals the same NaN."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(a.astuple(), b.astuple(), strict=True))
