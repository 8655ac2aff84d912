#!/usr/bin/env python3
"""Run facenet-pytorch over pictures made of tests/data/astronaut.jpg, and write tests/golden/facenet_pytorch.npz.

Needs the environment that tools/make_golden.py names. The file holds arrays by the names PICTURE/KIND/RESULT: what
`detect` and a call with `return_prob` return, per picture and per kind of input, and crops as uint8. tests/
test_compat_facenet_pytorch.py makes the same pictures by `pictures` and the same calls by `SELECTIONS`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
SIZE, MARGIN = 48, 10
SELECTIONS = ("probability", "largest", "largest_over_threshold", "center_weighted_size")


def pictures(astronaut: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """One face, three faces of two sizes, and none. Made by slices alone, so that no version of a resize matters."""
    small = astronaut[::2, ::2]
    column = np.vstack([small, small[:, ::-1]])
    return {"one": astronaut, "three": np.hstack([column, astronaut]), "none": np.zeros_like(astronaut)}


def as_kind(image: NDArray[np.uint8], kind: str) -> Any:
    """The picture as one of the inputs of facenet-pytorch: "pil", "array" or "tensor"."""
    if kind == "array":
        return image
    if kind == "tensor":
        import torch

        return torch.from_numpy(image.copy())
    from PIL import Image

    return Image.fromarray(image)


def provide_to_tensor() -> None:
    """extract_face takes to_tensor of torchvision, for which tools/make_golden.py has no substitute."""
    import torch

    def to_tensor(pixels: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    vars(sys.modules["torchvision.transforms.functional"]).setdefault("to_tensor", to_tensor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    golden = ROOT / "tests" / "golden" / "facenet_pytorch.npz"
    parser.add_argument("--output", type=Path, default=golden, help="file to write")
    arguments = parser.parse_args()

    from make_golden import provide_torchvision
    from PIL import Image

    provide_torchvision()
    provide_to_tensor()
    from facenet_pytorch import MTCNN  # type: ignore[import-untyped]

    with Image.open(ROOT / "tests" / "data" / "astronaut.jpg") as file:
        made = pictures(np.asarray(file.convert("RGB")))
    arrays: dict[str, NDArray[Any]] = {}
    for name, image in made.items():
        if name == "none":
            continue
        for kind in ("pil", "array", "tensor"):
            detector = MTCNN(image_size=SIZE, margin=MARGIN, post_process=False, keep_all=True)
            boxes, probs, points = detector.detect(as_kind(image, kind), landmarks=True)
            crops = detector(as_kind(image, kind))
            arrays[f"{name}/{kind}/boxes"] = boxes.astype(np.float32)
            arrays[f"{name}/{kind}/probs"] = probs.astype(np.float32)
            arrays[f"{name}/{kind}/points"] = points.astype(np.float32)
            arrays[f"{name}/{kind}/crops"] = crops.numpy().astype(np.uint8)
        for method in SELECTIONS:
            detector = MTCNN(image_size=SIZE, selection_method=method)
            found = detector.detect(as_kind(image, "pil"), landmarks=True)
            box, prob, _ = detector.select_boxes(*found, as_kind(image, "pil"), method=method)
            arrays[f"{name}/{method}/box"] = box.astype(np.float32)
            arrays[f"{name}/{method}/prob"] = np.float32(prob)
    np.savez_compressed(arguments.output, **arrays)
    print(f"{len(arrays)} arrays, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
