"""Compares precision="fast" with precision="fp32" on sets of photographs: agreement, accuracy and speed.

Agreement: the share of both detectors' faces that have a partner in the other's (IoU 0.5 and 0.98, one to one), and the
largest differences of partners. Accuracy: recall and precision of both, where the faces are labelled. Speed: both
detectors take turns on every photograph, and the ratio is that of the sums; on one thread by default.

    python bench/precision.py --json precision.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from accuracy import measured, shares
from photographs import SETS, add_arguments, load, pairs
from work import cpu_model

import mtcnn_fast
from mtcnn_fast.datasets import Annotation

LOOSE, TIGHT = 0.5, 0.98
COLUMNS = ["photographs", "faces", f"matched, IoU {LOOSE} / {TIGHT}", "largest score difference"]
COLUMNS += ["box / landmark, px", "recall", "precision", "ms per image", "times faster"]
TABLE_HEAD = "| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS)


@dataclass
class Found:
    """The faces that one detector found, highest scores first, and the time that it took."""

    faces: list[mtcnn_fast.Detections] = field(default_factory=list)
    seconds: float = 0.0


def run(detectors: list[mtcnn_fast.MTCNN], photographs: list[Annotation], repeats: int) -> list[Found]:
    """Runs each detector on each photograph, in turn. The time is the shortest of the repeats."""
    results = [Found() for _ in detectors]
    for photograph in photographs:
        image = mtcnn_fast.read(photograph.path)
        best = [float("inf")] * len(detectors)
        for attempt in range(repeats):
            for k, detector in enumerate(detectors):
                start = time.perf_counter()
                faces = detector.detect(image)
                best[k] = min(best[k], time.perf_counter() - start)
                if attempt == 0:
                    results[k].faces.append(faces)
        for result, seconds in zip(results, best, strict=True):
            result.seconds += seconds
    return results


def agreement(full: Found, fast: Found) -> dict[str, Any]:
    """The share of all faces of both that have partners, and the largest differences of partners at an IoU of LOOSE."""
    faces = loose = tight = 0
    score = box = landmark = 0.0
    for a, b in zip(full.faces, fast.faces, strict=True):
        mine, theirs = pairs(a.boxes, a.scores, b.boxes, LOOSE)
        faces += len(a) + len(b)
        loose += 2 * len(mine)
        tight += 2 * len(pairs(a.boxes, a.scores, b.boxes, TIGHT)[0])
        if len(mine):
            score = max(score, float(np.abs(a.scores[mine] - b.scores[theirs]).max()))
            box = max(box, float(np.abs(a.boxes[mine] - b.boxes[theirs]).max()))
            landmark = max(landmark, float(np.abs(a.landmarks[mine] - b.landmarks[theirs]).max()))
    return {
        "faces": sum(map(len, full.faces)),
        "faces_fast": sum(map(len, fast.faces)),
        f"matched_{LOOSE}": loose / max(1, faces),
        f"matched_{TIGHT}": tight / max(1, faces),
        "largest_score_difference": score,
        "largest_box_difference": box,
        "largest_landmark_difference": landmark,
    }


def compared(name: str, photographs: list[Annotation], full: Found, fast: Found) -> dict[str, Any]:
    chosen = SETS[name]
    return {
        "set": name,
        "photographs": len(photographs),
        **agreement(full, fast),
        "accuracy": shares(measured(photographs, full.faces, chosen.rule.iou), chosen),
        "accuracy_fast": shares(measured(photographs, fast.faces, chosen.rule.iou), chosen),
        "milliseconds": full.seconds * 1e3 / len(photographs),
        "milliseconds_fast": fast.seconds * 1e3 / len(photographs),
        "times_faster": full.seconds / fast.seconds,
    }


def row_text(row: dict[str, Any]) -> str:
    def both(key: str) -> str:
        values = [row[side].get(key) for side in ("accuracy", "accuracy_fast")]
        return "-" if None in values else " / ".join(f"{value:.4f}" for value in values)

    cells = [
        row["set"],
        f"{row['faces']} / {row['faces_fast']}",
        f"{row[f'matched_{LOOSE}']:.4f} / {row[f'matched_{TIGHT}']:.4f}",
        f"{row['largest_score_difference']:.4f}",
        f"{row['largest_box_difference']:.2f} / {row['largest_landmark_difference']:.2f}",
        both("recall"),
        both("precision"),
        f"{row['milliseconds']:.1f} / {row['milliseconds_fast']:.1f}",
        f"{row['times_faster']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, threads=1)
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per photograph (%(default)s)")
    parser.add_argument("--precision", default="fast", help="precision to compare with fp32 (%(default)s)")
    arguments = parser.parse_args()
    options = {"min_face_size": arguments.min_face_size, "num_threads": arguments.threads, "device": "cpu"}
    try:
        detectors = [mtcnn_fast.MTCNN(precision=name, **options) for name in ("fp32", arguments.precision)]
    except ValueError as error:
        parser.error(str(error))
    print(f"{cpu_model()}, {detectors[0].isa}; fp32 / {arguments.precision}\n")
    print(TABLE_HEAD)
    rows = []
    for name in arguments.sets:
        photographs = load(arguments.data, name, arguments.limit)
        rows.append(compared(name, photographs, *run(detectors, photographs, arguments.repeats)))
        print(row_text(rows[-1]), flush=True)
    if arguments.json:
        about = {"processor": cpu_model(), "isa": detectors[0].isa, "min_face_size": arguments.min_face_size}
        arguments.json.write_text(json.dumps({**about, "threads": arguments.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
