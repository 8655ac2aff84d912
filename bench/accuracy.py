#!/usr/bin/env python3
"""Recall and precision of mtcnn_fast and facenet-pytorch, side by side, on photographs with ground truth.

A face is found if a detection overlaps its box by the stated IoU, one to one, the highest scores first. On photos,
which have no ground truth, the table gives the share of facenet-pytorch's faces that mtcnn_fast finds (recall) and the
share of mtcnn_fast's that facenet-pytorch finds (precision). net_7876 labels one face a picture, tightly: an IoU of
0.4, and no precision. The boxes of WIDER FACE that are marked invalid count neither way.

    python bench/accuracy.py --json accuracy.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from typing import Any

import numpy as np
from contestants import Detect, facenet_pytorch, mtcnn_fast
from photographs import ONE_FACE_LABELLED, Boxes, Photograph, add_arguments, load, pairs, read

IOU = {"photos": 0.5, "wider_val_416": 0.5, "facemask": 0.5, "net_7876": 0.4}


def count(photograph: Photograph, boxes: Boxes, least_iou: float) -> tuple[int, int, int]:
    """Faces that count, those of them that are found, and false detections; boxes highest score first."""
    right = pairs(boxes, photograph.faces, least_iou)
    found = sum(not photograph.ignored[face] for _, face in right)
    return int((~photograph.ignored).sum()), found, len(boxes) - len(right)


def totals(name: str, photographs: list[Photograph], boxes: list[Boxes]) -> tuple[int, int, int]:
    """count() summed up over a set."""
    counts = [count(photograph, found, IOU[name]) for photograph, found in zip(photographs, boxes, strict=True)]
    faces, right, false = (sum(part) for part in zip(*counts, strict=True))
    return faces, right, false


def run(detect: Detect, photographs: list[Photograph]) -> list[Boxes]:
    """Each photograph's boxes, highest score first."""
    results = []
    for photograph in photographs:
        boxes, scores = detect(read(photograph.path))
        results.append(boxes[np.argsort(-scores, kind="stable")].astype(np.float64))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, threads=2)
    arguments = parser.parse_args()

    detectors = {"mtcnn_fast": mtcnn_fast(arguments.threads, arguments.min_face_size)}
    if importlib.util.find_spec("facenet_pytorch"):
        detectors["facenet-pytorch"] = facenet_pytorch(arguments.threads, arguments.min_face_size)
    rows: list[dict[str, Any]] = []
    print("| photographs | IoU | detector | faces | recall | precision | false |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for name in arguments.sets:
        photographs = load(arguments.data, name, arguments.limit)
        results = {detector: run(detect, photographs) for detector, detect in detectors.items()}
        if name == "photos":
            if "facenet-pytorch" not in results:
                continue
            theirs = results.pop("facenet-pytorch")
            photographs = [
                Photograph(photograph.path, boxes, np.zeros(len(boxes), bool))
                for photograph, boxes in zip(photographs, theirs, strict=True)
            ]
        for detector, found in results.items():
            faces, right, false = totals(name, photographs, found)
            recall, precision = right / max(1, faces), right / max(1, right + false)
            labelled_in_full = name != ONE_FACE_LABELLED
            row = {"set": name, "iou": IOU[name], "detector": detector, "faces": faces, "recall": round(recall, 4)}
            if labelled_in_full:
                row |= {"precision": round(precision, 4), "false": false}
            rows.append(row)
            tail = f"{precision:.4f} | {false}" if labelled_in_full else "- | -"
            print(f"| {name} | {IOU[name]} | {detector} | {faces} | {recall:.4f} | {tail} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
