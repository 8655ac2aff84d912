#!/usr/bin/env python3
"""Checks that the screen changes nothing: with and without it (MTCNN_FAST_SCREEN=0), detections are equal to the bit.

The screen is the pass in bfloat16 that comes first. The images are all photographs, and images generated from them
(generated.py). Each of these has a seed of its own, so that one that differs can be made again (--first SEED
--images 1). The script also prints how much of the networks' work the screen left to fp32.

Exit status: 0: all equal; 1: a difference; 2: wrong arguments; 3: no screen here, because the detector's instruction
set is not "amx", the only one that has it. Then nothing is compared.

    python bench/screen.py --images 10000 --threads 1
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
from generated import Image, equal, generated
from photographs import DATA, SETS, load

import mtcnn_fast

SCREEN = "MTCNN_FAST_SCREEN"
SCREENED_ISA = "amx"
REPORT_SECONDS = 10
NO_SCREEN_STATUS = 3


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

    screened, plain = (detector(screen, arguments.min_face_size, arguments.threads) for screen in (True, False))
    if screened.isa != SCREENED_ISA:
        print(f"no screen here: the instruction set is {screened.isa}, and only {SCREENED_ISA} has a screen")
        return NO_SCREEN_STATUS
    cv2.setNumThreads(arguments.threads)
    sets = [[item.path for item in load(arguments.data, name)] for name in arguments.sets]
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
