#!/usr/bin/env python3
"""Compare every picture that is learned with the test lists and the object photographs that are kept out.

No photograph may be in both, in whatever size:

    python bench/training/prepare.py $DATA runs
    python bench/training/compare_pictures.py $DATA runs/scratch.toml $DATA/more_training/lfw

A difference hash stands for a picture: of the grey picture in 17 x 16 pixels, whether each pixel is darker than the one
to its right, 256 bits. Pictures whose hashes differ in at most 40 bits are the same. Other crops of a photograph go
unnoticed. The exit status is 1 if a picture is in both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from arguments import path
from lists import SETS, objects_kept_out
from PIL import Image

from mtcnn_fast.datasets import Problems, read
from mtcnn_fast.train.rounds import read_rounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 16
SAME = 40
TESTED = ("facemask", "wider_val_416", "net_7876")

# Pictures compared at a time.
CHUNK = 2048


def difference_hash(file: Path) -> NDArray[np.float32]:
    """(256,): 1 where a pixel is darker than the one to its right, else -1."""
    with Image.open(file) as picture:
        grey = np.asarray(picture.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS))
    return np.where(grey[:, :-1] < grey[:, 1:], np.float32(1), np.float32(-1)).ravel()


def hashes(files: Iterable[Path]) -> tuple[list[Path], NDArray[np.float32]]:
    """The files, and a hash per file (N, 256). Raises OSError for a picture that cannot be read."""
    listed = sorted(set(files))
    return listed, np.array([difference_hash(file) for file in listed]).reshape(-1, SIDE * SIDE)


def test_pictures(data: Path) -> Iterator[Path]:
    """The pictures of the test lists, and the object photographs that are kept out."""
    for name in TESTED:
        place = data / name / "test.txt"
        annotations = place if name == "net_7876" else data / SETS[name]["annotations"]
        for annotation in read(annotations, only=None if annotations == place else place):
            yield annotation.path
    yield from (data / "negatives" / name for name in objects_kept_out(data))


def sources(place: Path) -> Iterator[tuple[str, list[Path]]]:
    """The pictures of each source: of the tables of a configuration, or of a folder."""
    if place.is_dir():
        yield str(place), [annotation.path for annotation in read(place, "backgrounds")]
        return
    config = read_rounds(place)[0].config  # rounds share their pictures
    for kind, tables in (("learned", config.sources), ("validation", config.validation)):
        for table in tables:
            annotated = table.annotated_set()
            problems = Problems()
            yield f"{annotated.name}, {kind}", [annotation.path for annotation in annotated.read(problems)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=path, help="folder of the photographs")
    parser.add_argument(
        "sources", nargs="+", type=path, metavar="SOURCE", help="configuration of a run, or folder of pictures"
    )
    arguments = parser.parse_args()
    tested, bits = hashes(test_pictures(arguments.data))
    print(f"{len(tested)} pictures of the test lists")
    same = 0
    for place in arguments.sources:
        for name, files in sources(place):
            listed, others = hashes(files)
            found = []
            for start in range(0, len(listed), CHUNK):
                # Of a product of 1 and -1, bits that differ lower the sum by 2.
                distances = (SIDE * SIDE - others[start : start + CHUNK] @ bits.T) / 2
                found += [(start + i, j, int(distances[i, j])) for i, j in np.argwhere(distances <= SAME)]
            print(f"{name}: {len(listed)} pictures, in a test list: {len({i for i, _, _ in found})}")
            for i, j, distance in found:
                print(f"  {listed[i]} is {tested[j]}: {distance} bits apart")
            same += len(found)
    sys.exit(bool(same))


if __name__ == "__main__":
    main()
