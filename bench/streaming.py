#!/usr/bin/env python3
"""Growth of resident memory over a long run of detection, evaluation and mining.

Writes a few small pictures and an annotation file that reaches them by many rows, detects on all rows into a file of
detections, evaluates that file, mines training samples of all rows, and prints the largest resident memory early in
each part and at its end. Mining is cut off half way and gone on with, and must end with the bytes of a run that was
not. Exit status 1 if memory grew by more than --limit, or the bytes differ.

    python bench/streaming.py --entries 100000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mtcnn_fast import MTCNN
from mtcnn_fast.annotations import Annotation, read
from mtcnn_fast.evaluate.detection_files import read_detections
from mtcnn_fast.evaluate.precision_recall import precision_recall
from mtcnn_fast.evaluate.run import detect_to_file
from mtcnn_fast.train.generate import Source
from mtcnn_fast.train.mining import Limits, mine
from mtcnn_fast.train.samples import SampleStore
from mtcnn_fast.train.windows import Recipe

# By then buffers, threads and a full batch are there.
_WARM = 1000


def peak() -> float:
    """The largest resident memory so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def write_set(folder: Path, entries: int, pictures: int = 10, side: int = 64) -> Path:
    """Pictures of noise, and a CNN_FacePoint list of them."""
    generator = np.random.default_rng(0)
    for i in range(pictures):
        noise = generator.integers(0, 256, (side, side, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), noise)
    path = folder / "list.txt"
    with path.open("w") as file:
        for i in range(entries):
            file.write(f"{i % pictures}.png 10 50 10 50 20 20 40 20 30 30 22 40 38 40\n")
    return path


class CutOff(Exception):
    """Stands for whatever kills a process."""


class Watched:
    """Counts what passes and notes the memory once it is warm."""

    def __init__(self) -> None:
        self.count = 0
        self.early = 0.0

    def note(self, count: int = 1) -> None:
        self.count += count
        if self.count <= _WARM:
            self.early = peak()

    def over(self, annotations: Iterator[Annotation], cut_off_at: int | None = None) -> Iterator[Annotation]:
        for annotation in annotations:
            if self.count == cut_off_at:
                raise CutOff
            self.note()
            yield annotation


def mined(annotations: Path, folder: Path, watched: Watched, cut_off_at: int | None = None) -> None:
    """R-Net's samples of all rows, from a P-Net with so low a threshold that it finds faces in noise."""
    detector = MTCNN(channel_order="bgr", device="cpu", thresholds=(0.02, 0.1, 0.1), num_threads=1)
    source = Source(watched.over(read(annotations), cut_off_at))
    recipe = Recipe(background=0, near=1, about=1, landmarks=1, rotated=0)
    mine([source], folder, 24, detector, "rnet", recipe, Limits(negative=2, positive=1, part=1))


def digest(folder: Path) -> str:
    """Of all files of a folder, with their names."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="rows of the annotation file (%(default)s)")
    parser.add_argument("--limit", type=float, default=50, help="most growth in MB (%(default)s)")
    arguments = parser.parse_args()

    growths = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        annotations = write_set(folder, arguments.entries)
        detector = MTCNN(channel_order="bgr", device="cpu")
        files = ((annotation.name, annotation.path) for annotation in read(annotations))
        detecting, evaluating = Watched(), Watched()
        detect_to_file(detector, files, folder / "found.jsonl", progress=detecting.note)
        growths.append(("detect", detecting.count, detecting.early, peak()))
        result = precision_recall(evaluating.over(read(annotations)), read_detections(folder / "found.jsonl"))
        growths.append(("evaluate", evaluating.count, evaluating.early, peak()))
        assert result.faces == arguments.entries
        mining = Watched()
        mined(annotations, folder / "whole", mining)
        growths.append(("mine", mining.count, mining.early, peak()))
        with contextlib.suppress(CutOff):
            mined(annotations, folder / "cut", Watched(), arguments.entries // 2)
        mined(annotations, folder / "cut", Watched())
        same = digest(folder / "whole") == digest(folder / "cut")
        samples = len(SampleStore(folder / "whole"))
    for part, count, early, late in growths:
        print(f"{part}: {count} entries, {early:.1f} MB early, {late:.1f} MB at the end: grew by {late - early:.1f} MB")
    print(f"mining cut off half way and gone on with: {'the same' if same else 'other'} bytes, {samples} samples")
    sys.exit(not same or any(late - early > arguments.limit for _, _, early, late in growths))


if __name__ == "__main__":
    main()
