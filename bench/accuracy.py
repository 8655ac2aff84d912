#!/usr/bin/env python3
"""Recall and precision of mtcnn_fast and facenet-pytorch, side by side, on photographs with ground truth.

A face is found if a detection overlaps its box by at least the stated IoU. Faces and detections match one to one, the
highest scores first, as in `mtcnn-fast evaluate faces`. The set "photos" has no ground truth. There the table gives the
share of facenet-pytorch's faces that mtcnn_fast finds (recall) and the share of mtcnn_fast's faces that facenet-pytorch
finds (precision). net_7876 labels one face per picture, with a tight box, so its IoU is 0.4 and it has no precision.
The boxes of WIDER FACE that are marked invalid count neither way.

    python bench/accuracy.py --json accuracy.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from contestants import provide_torchvision_nms
from photographs import SETS, add_arguments, load

from mtcnn_fast import Detections, read
from mtcnn_fast.datasets import Annotation
from mtcnn_fast.evaluate import PrecisionRecall, PrecisionRecallTally
from mtcnn_fast.evaluate.detectors import EMBEDDED, FACENET_PYTORCH, make_detector
from mtcnn_fast.evaluate.sets import MeasuredSet

OWN = "mtcnn_fast"
COLUMNS = ["set", "iou", "detector", "faces", "recall", "precision", "false"]


def measured(photographs: Iterable[Annotation], found: Iterable[Detections], iou: float) -> PrecisionRecall:
    """Precision and recall of the faces that were found in each photograph."""
    tally = PrecisionRecallTally(iou)
    for photograph, faces in zip(photographs, found, strict=True):
        tally.update(photograph, faces)
    return tally.compute()


def shares(result: PrecisionRecall, chosen: MeasuredSet) -> dict[str, float]:
    """Recall, and precision if every face is labelled. A share whose divisor is 0 is left out."""
    if not result.faces:
        return {}
    precise = chosen.annotated.complete and len(result.scores)
    return {"recall": result.recall} | ({"precision": result.precision} if precise else {})


def labelled_by(photograph: Annotation, faces: Detections) -> Annotation:
    """The photograph with those faces as its labels."""
    return replace(photograph, boxes=faces.boxes, landmarks=faces.landmarks, ignored=np.zeros(len(faces), np.bool_))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, threads=2)
    arguments = parser.parse_args()

    options = {"min_face_size": arguments.min_face_size, "scale_factor": 0.709, "thresholds": (0.6, 0.7, 0.7)}
    own_options = {**options, "num_threads": arguments.threads, "device": "cpu"}
    detectors = {OWN: make_detector(EMBEDDED, own_options)}
    if importlib.util.find_spec("facenet_pytorch"):
        provide_torchvision_nms()
        import torch

        torch.set_num_threads(arguments.threads)
        detectors[FACENET_PYTORCH] = make_detector(FACENET_PYTORCH, options)
    rows: list[dict[str, Any]] = []
    print(f"| {' | '.join(COLUMNS)} |\n|---|---:|---|---:|---:|---:|---:|")
    for name in arguments.sets:
        chosen = SETS[name]
        photographs = load(arguments.data, name, arguments.limit)
        results = {
            detector: [find([read(photograph.path)])[0] for photograph in photographs]
            for detector, find in detectors.items()
        }
        if name == "photos":
            if FACENET_PYTORCH not in results:
                continue
            photographs = list(map(labelled_by, photographs, results.pop(FACENET_PYTORCH)))
        for detector, found in results.items():
            result = measured(photographs, found, chosen.rule.iou)
            row = {"set": name, "iou": result.iou, "detector": detector, "faces": result.faces}
            row |= {key: round(value, 4) for key, value in shares(result, chosen).items()}
            if chosen.annotated.complete:
                row["false"] = result.false_positives
            rows.append(row)
            print(f"| {' | '.join(str(row.get(column, '-')) for column in COLUMNS)} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({**options, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
