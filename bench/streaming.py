#!/usr/bin/env python3
"""Measures the growth of resident memory over long runs of detection, evaluation and mining, and interrupts runs.

The script makes a few small pictures, many links to them, and an annotation file of the links. It detects on all of
them into a file of detections, evaluates that file, and mines training samples. It prints the largest resident memory
early in each part and at its end. `mtcnn-fast detect --json` also goes through the folder of links: once undisturbed,
and once killed at random times and resumed. Mining is interrupted half way and then continued. Both must end with the
bytes of an uninterrupted run. The exit status is 1 if memory grew by more than --limit, or bytes differ.

    python bench/streaming.py --entries 100000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mtcnn_fast import MTCNN
from mtcnn_fast.datasets import Annotation, read
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.evaluate import detect_to_file, precision_recall, read_detections
from mtcnn_fast.train.mining import Limits, mine
from mtcnn_fast.train.samples import SampleStore
from mtcnn_fast.train.windows import Recipe

# The pictures after which buffers, threads and a full batch exist.
_WARM = 1000

# The unit of ru_maxrss, in bytes.
UNIT = 1 if sys.platform == "darwin" else 1024


def peak() -> float:
    """The largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / 1e6


def write_set(folder: Path, entries: int, pictures: int = 10, side: int = 64) -> Path:
    """A folder of links to pictures of noise, and a CNN_FacePoint list of them."""
    generator = np.random.default_rng(0)
    for i in range(pictures):
        noise = generator.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    path = folder / "links" / "list.txt"
    path.parent.mkdir()
    with path.open("w") as file:
        for i in range(entries):
            name = f"{i:07}.png"
            (path.parent / name).symlink_to(folder / f"{i % pictures}.png")
            file.write(f"{name} 10 50 10 50 20 20 40 20 30 30 22 40 38 40\n")
    return path


def command(links: Path, output: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "mtcnn_fast",
        "detect",
        "--device",
        "cpu",
        str(links),
        "--json",
        str(output),
        *options,
    ]


def memory_of(arguments: list[str]) -> float:
    """The largest resident memory of a command, in MB. A small process runs it, because a child's peak begins with the
    memory of its parent."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    printed = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True).stdout
    return int(printed) * UNIT / 1e6


def kills_survived(arguments: list[str]) -> int:
    """Kills a command at random times and runs it again until it ends by itself. Returns the number of kills."""
    generator, kills = random.Random(0), 0
    while True:
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                status = process.wait(generator.uniform(1, 8))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                continue
        assert status == 0
        return kills


class CutOff(Exception):
    """Represents the end of a process by a signal."""


class Watched:
    """Counts the pictures that pass, and records the memory of the first `_WARM`."""

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
    """Mines R-Net's samples of all rows. P-Net's threshold is so low that it finds faces in noise."""
    detector = MTCNN(device="cpu", thresholds=(0.02, 0.1, 0.1), num_threads=1)
    source = AnnotatedSet(watched.over(read(annotations), cut_off_at))
    recipe = Recipe(background=0, near=1, about=1, landmarks=1, rotated=0)
    mine(
        [source],
        folder,
        size=24,
        detector=detector,
        network="rnet",
        recipe=recipe,
        limits=Limits(negative=2, positive=1, part=1),
    )


def digest(folder: Path) -> str:
    """SHA-256 of all files of a folder, with their names."""
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
        detector = MTCNN(device="cpu")
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
        one = memory_of(command(next(annotations.parent.glob("*.png")), folder / "one.json"))
        every = memory_of(command(annotations.parent, folder / "all.json"))
        growths.append(("mtcnn-fast detect", arguments.entries, one, every))
        kills = kills_survived(command(annotations.parent, folder / "killed.json", "--resume"))
        unchanged = (folder / "killed.json").read_bytes() == (folder / "all.json").read_bytes()
    for part, count, early, late in growths:
        print(f"{part}: {count} entries, {early:.1f} MB early, {late:.1f} MB at the end: grew by {late - early:.1f} MB")
    print(f"mining interrupted half way and continued: {'the same' if same else 'other'} bytes, {samples} samples")
    print(f"mtcnn-fast detect killed {kills} times and resumed: {'the same' if unchanged else 'other'} bytes")
    sys.exit(not same or not unchanged or any(late - early > arguments.limit for _, _, early, late in growths))


if __name__ == "__main__":
    main()
