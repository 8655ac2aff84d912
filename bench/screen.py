#!/usr/bin/env python3
"""Checks that the screen changes nothing: with and without it (MTCNN_FAST_SCREEN=0), detections are equal to the bit.

The screen is the pass in bfloat16 that comes first. The images are all photographs, and images generated from them:
crops and mosaics, rescaled, mirrored, blurred, noisy, brighter or darker. Each has a seed of its own, so that one that
differs can be made again (--first SEED --images 1). The script also prints how much of the networks' work the screen
left to fp32. A difference makes the exit status 1.

    python bench/screen.py --images 10000 --threads 1
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from photographs import DATA, SETS, load

import mtcnn_fast

SCREEN = "MTCNN_FAST_SCREEN"
SIDES = (200, 400)  # of generated images, pixels
# The most photographs to keep decoded, and the most pixels on the longer side of each.
KEPT, LONGEST = 1000, 1024
REPORT_SECONDS = 10
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


def images(sets: list[list[Path]], first: int | None, count: int) -> Iterator[tuple[str, Image]]:
    """Images, and names from which they can be made again. Without a first seed, the photographs themselves too."""
    if first is None:
        for path in itertools.chain.from_iterable(sets):
            yield str(path), mtcnn_fast.read(path)
    for seed in range(first or 0, (first or 0) + count):
        yield f"seed {seed}", generated(seed, sets)


def detector(screened: bool, min_face_size: float, threads: int) -> mtcnn_fast.MTCNN:
    """A detector with or without the screen. It reads the variable when it is made."""
    os.environ.pop(SCREEN, None)
    if not screened:
        os.environ[SCREEN] = "0"
    return mtcnn_fast.MTCNN(min_face_size=min_face_size, num_threads=threads, device="cpu")


def equal(a: mtcnn_fast.Detections, b: mtcnn_fast.Detections) -> bool:
    """Whether detections are equal to the bit. Zeros of other sign differ, and a NaN equals the same NaN."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(a.astuple(), b.astuple(), strict=True))


def add_spared(totals: Counter[str], inspection: dict[str, Any]) -> None:
    """Adds the windows that the networks have to decide, and those that the screen left."""
    totals["windows"] += sum(level["windows"] for level in inspection["levels"])
    for name in ("rnet", "onet"):
        totals[name] += inspection["candidates"][name]
    for name, left in inspection["confirmed"].items():
        totals[f"{name} left"] += left


def spared_text(totals: Counter[str]) -> str:
    parts = []
    for name, said in (("windows", "P-Net windows"), ("rnet", "R-Net crops"), ("onet", "O-Net crops")):
        left, total = totals[f"{name} left"], totals[name]
        parts.append(f"{said} spared {1 - left / max(1, total):.2%} ({left:,} of {total:,} left)")
    return "; ".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets of photographs (all)")
    parser.add_argument("--images", type=int, default=10000, help="images to generate (%(default)s)")
    parser.add_argument("--first", type=int, help="first seed, without the photographs (default: 0, with them)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--inspect-every", type=int, default=10, help="count the work of every Nth image (%(default)s)")
    arguments = parser.parse_args()

    cv2.setNumThreads(arguments.threads)
    sets = [[item.path for item in load(arguments.data, name)] for name in arguments.sets]
    screened, plain = (detector(screen, arguments.min_face_size, arguments.threads) for screen in (True, False))
    print(f"{screened.isa}, {sum(map(len, sets))} photographs, {arguments.images} generated images", flush=True)
    totals: Counter[str] = Counter()
    done = faces = differing = 0
    start = reported = time.monotonic()
    for name, image in images(sets, arguments.first, arguments.images):
        found = screened.detect(image)
        if not equal(found, plain.detect(image)):
            differing += 1
            print(f"differs: {name}", flush=True)
        if done % arguments.inspect_every == 0:
            add_spared(totals, screened.inspect(image))
        done += 1
        faces += len(found)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            print(f"{done} images, {faces} faces, {differing} differ, {reported - start:.0f} s", flush=True)
    print(f"{done} images, {faces} faces, {differing} differ, {time.monotonic() - start:.0f} s")
    print(spared_text(totals))
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
