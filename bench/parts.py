#!/usr/bin/env python3
"""A search in parts (`detect(image, part=(k, n))`) beside one search: faces found, and processor time on one thread.

Found: of the faces of the search, those that some part finds (IoU 0.5). Times are the least of several runs, of the
photographs scaled to 640x480, over the time of the search.

    python bench/parts.py --parts 10 --limit 30
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from photographs import DATA, SETS, load, matched

from mtcnn_fast import MTCNN, read

Image = NDArray[np.uint8]


def seconds(detector: MTCNN, image: Image, part: tuple[int, int], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        detector.detect(image, part=part)
        times.append(time.process_time() - start)
    return min(times)


def measure(detector: MTCNN, images: list[Image], n: int, runs: int) -> dict[str, Any]:
    """The figures of n parts."""
    faces = found = by_parts = 0
    shares = []
    for image in images:
        whole = detector.detect(image).boxes.tolist()
        of_parts = [detector.detect(image, part=(k, n)).boxes.tolist() for k in range(n)]
        faces += len(whole)
        found += matched([box for boxes in of_parts for box in boxes], whole)
        by_parts += sum(matched(boxes, whole) for boxes in of_parts)
        scaled = cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA)
        search = seconds(detector, scaled, (0, 1), runs)
        shares.append([seconds(detector, scaled, (k, n), runs) / search for k in range(n)])
    times = np.array(shares)
    return {
        "parts": n,
        "images": len(images),
        "faces": faces,
        "found": found / max(1, faces),
        "parts_per_face": by_parts / max(1, faces),
        "median": float(np.median(times)),
        "percentile_95": float(np.quantile(times, 0.95)),
        "greatest": float(times.max()),
        "together": float(times.sum(axis=1).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["facemask", "wider_val_416"], help="(%(default)s)")
    parser.add_argument("--limit", type=int, default=30, help="most photographs per set (%(default)s)")
    parser.add_argument("--parts", type=int, nargs="+", default=[2, 5, 10], help="numbers of parts (%(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs per time (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    arguments = parser.parse_args()
    detector = MTCNN(device="cpu", num_threads=1)
    images = [
        read(photograph.path) for name in arguments.sets for photograph in load(arguments.data, name, arguments.limit)
    ]
    rows = [measure(detector, images, n, arguments.runs) for n in arguments.parts]
    for row in rows:
        print(
            f"{row['parts']} parts: {row['found']:.4f} of {row['faces']} faces in {row['images']} photographs, each by "
            f"{row['parts_per_face']:.2f} parts; of the time of a search, a part takes {row['median']:.3f} in the "
            f"median, {row['percentile_95']:.3f} at 95 %, {row['greatest']:.3f} at most, all {row['together']:.3f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"isa": detector.isa, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
