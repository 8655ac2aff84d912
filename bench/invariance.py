#!/usr/bin/env python3
"""Checks that bands, batches and threads change nothing: detections of generated images are equal to the bit.

Each image (generated.py) is searched alone on one thread, where a task is a whole level, and alone on several threads,
where the tasks are bands of levels. Then it is searched within a batch of images of differing sizes, on each number of
threads. There, bands are cut elsewhere, and crops of several images share R-Net's and O-Net's batches. Each instruction
set is held against itself: between two of them, results differ by rounding (agreement.py).

Each image has a seed of its own, so that one that differs can be made again with its batch (--first SEED --images N).
A difference makes the exit status 1.

    python bench/invariance.py --images 10000 --json invariance.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from generated import Image, equal, generated
from photographs import DATA, SETS, load

import mtcnn_fast

REPORT_SECONDS = 10


@dataclass
class Tally:
    """The counts of an instruction set."""

    isa: str
    images: int = 0
    faces: int = 0
    comparisons: int = 0
    differing: int = 0


def detectors(isa: str, thread_counts: list[int], min_face_size: float) -> dict[int, mtcnn_fast.MTCNN]:
    """By number of threads. They read the instruction set from the environment when they are made."""
    os.environ["MTCNN_FAST_ISA"] = isa
    return {
        threads: mtcnn_fast.MTCNN(min_face_size=min_face_size, num_threads=threads, device="cpu")
        for threads in thread_counts
    }


def compare(images: list[Image], first: int, by_threads: dict[int, mtcnn_fast.MTCNN], tally: Tally) -> None:
    """Searches a batch, whose first image has the seed `first`, in every way, and prints what differs."""
    single = by_threads[min(by_threads)]
    expected = [single.detect(image) for image in images]
    ways = {f"alone, threads: {n}": [d.detect(image) for image in images] for n, d in by_threads.items() if d != single}
    ways |= {f"in a batch, threads: {n}": d.detect_batch(images) for n, d in by_threads.items()}
    for way, found in ways.items():
        for k, (faces, wanted) in enumerate(zip(found, expected, strict=True)):
            tally.comparisons += 1
            if not equal(faces, wanted):
                tally.differing += 1
                seeds = f"batch: seeds {first} to {first + len(images) - 1}"
                print(f"differs: seed {first + k}, {tally.isa}, {way} ({seeds})", flush=True)
    tally.images += len(images)
    tally.faces += sum(map(len, expected))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    threads = max(2, mtcnn_fast.MTCNN(device="cpu").num_threads)
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets of photographs (all)")
    parser.add_argument("--images", type=int, default=10000, help="images to generate (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="first seed (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="images per batch (%(default)s)")
    here = mtcnn_fast.available_isas()
    parser.add_argument("--isas", nargs="+", choices=here, default=here, help="instruction sets (all)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--thread-counts", nargs="+", type=int, default=[1, threads], help="(default %(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the counts to")
    arguments = parser.parse_args()
    for option in ("images", "batch"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option} is {getattr(arguments, option)}, wanted at least 1")

    cv2.setNumThreads(1)
    sets = [[item.path for item in load(arguments.data, name)] for name in arguments.sets]
    tallies = [Tally(isa) for isa in arguments.isas]
    made = [detectors(isa, arguments.thread_counts, arguments.min_face_size) for isa in arguments.isas]
    print(f"{sum(map(len, sets))} photographs, {arguments.images} generated images", flush=True)
    start = reported = time.monotonic()
    seeds = iter(range(arguments.first, arguments.first + arguments.images))
    while batch := list(itertools.islice(seeds, arguments.batch)):
        images = [generated(seed, sets) for seed in batch]
        for by_threads, tally in zip(made, tallies, strict=True):
            compare(images, batch[0], by_threads, tally)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            differing = sum(tally.differing for tally in tallies)
            print(f"{batch[-1] + 1 - arguments.first} images, {differing} differ, {reported - start:.0f} s", flush=True)
    print("\n| instruction set | images | faces | comparisons | differing |\n|---|---:|---:|---:|---:|")
    for tally in tallies:
        print(f"| {tally.isa} | {tally.images} | {tally.faces} | {tally.comparisons} | {tally.differing} |")
    if arguments.json:
        about = {"first": arguments.first, "batch": arguments.batch, "thread_counts": arguments.thread_counts}
        about |= {"min_face_size": arguments.min_face_size, "sets": arguments.sets}
        arguments.json.write_text(json.dumps({**about, "rows": [asdict(tally) for tally in tallies]}, indent=1) + "\n")
    return int(any(tally.differing for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
