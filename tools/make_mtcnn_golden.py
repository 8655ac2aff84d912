#!/usr/bin/env python3
"""Run mtcnn 0.1.1 itself over pictures, and write its faces to tests/golden/mtcnn.json.

The pictures are those of tools/make_compat_golden.py and, if a folder is named, the photographs of
tools/make_golden.py. These are not copied: only names and numbers are written. Needs an environment of its own:

    pip install tensorflow-cpu opencv-python-headless "setuptools<81"
    pip install --no-deps mtcnn==0.1.1

A face is a row: x, y, width, height, confidence, then x and y of the five points in the order of `POINTS`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
# Of the pictures that are in the repository. Photographs have the sizes of tools/make_golden.py.
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"min_face_size": 40, "steps_threshold": [0.5, 0.6, 0.9], "scale_factor": 0.8},
)


def row(face: dict[str, Any]) -> list[float]:
    """One face of `detect_faces` as numbers. Digits of the confidence beyond the sixth are noise."""
    points = [coordinate for name in POINTS for coordinate in face["keypoints"][name]]
    return [*face["box"], round(float(face["confidence"]), 6), *points]


def quiet(detector: Any) -> Any:
    """The detector without Keras' progress bars, which mtcnn 0.1.1 has no argument for."""
    for name in ("_pnet", "_rnet", "_onet"):
        network = getattr(detector, name)
        network.predict = lambda batch, predict=network.predict: predict(batch, verbose=0)
    return detector


def run(options: dict[str, Any], images: dict[str, NDArray[np.uint8] | Path]) -> dict[str, Any]:
    import cv2
    from mtcnn import MTCNN  # type: ignore[import-not-found]

    detector = quiet(MTCNN(**options))
    faces: dict[str, list[list[float]]] = {}
    for name, image in images.items():
        if isinstance(image, Path):
            picture = cv2.imread(str(image))
            assert picture is not None, f"{image} cannot be read"
            image = np.ascontiguousarray(picture[:, :, ::-1])
        faces[name] = [row(face) for face in detector.detect_faces(image)]
    print(f"{options}: {sum(map(len, faces.values()))} faces on {len(faces)} pictures")
    return {"options": options, "faces": faces}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("mtcnn", "tensorflow-cpu", "keras", "numpy", "opencv-python-headless", "opencv-python"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of docs/data.md; left out: no photographs")
    parser.add_argument("--output", type=Path, default=ROOT / "tests" / "golden" / "mtcnn.json", help="file to write")
    arguments = parser.parse_args()

    import cv2
    from make_compat_golden import pictures
    from make_golden import photographs

    astronaut = cv2.imread(str(ROOT / "tests" / "data" / "astronaut.jpg"))
    assert astronaut is not None
    made: dict[str, NDArray[np.uint8] | Path] = dict(pictures(np.ascontiguousarray(astronaut[:, :, ::-1])))
    document: dict[str, Any] = {"versions": versions()}
    document["pictures"] = [run(options, made) for options in OPTIONS]
    document["photographs"] = []
    if arguments.data is not None:
        chosen = photographs(arguments.data)
        for min_face_size in sorted({size for _, sizes in chosen for size in sizes}):
            images: dict[str, NDArray[np.uint8] | Path] = {
                name: arguments.data / name for name, sizes in chosen if min_face_size in sizes
            }
            document["photographs"].append(run({"min_face_size": min_face_size}, images))
    arguments.output.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
