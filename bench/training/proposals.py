#!/usr/bin/env python3
"""Recall of P-Nets' windows on the test lists of facemask and wider_val_416, at numbers of false positives per picture.

The logs of runs give the recall at one such number, on the pictures that the epochs are compared on.

    python bench/training/proposals.py $DATA mined=runs/scratch/pnet.safetensors \
        all=runs/without_mining/pnet.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arguments import named_path, path
from lists import SETS

from mtcnn_fast import MTCNN
from mtcnn_fast.datasets import Problems, read
from mtcnn_fast.train.validation import ValidationPicture, judge
from mtcnn_fast.weights import embedded_weights, load_weights

FALSE_POSITIVES = (10, 20, 50, 100, 200, 400)
# The threshold of P-Net: low enough for the most false positives above.
THRESHOLD = 0.01


def recalls(weights: Path | None, pictures: list[ValidationPicture]) -> list[float]:
    """The recall of a P-Net at each of FALSE_POSITIVES. weights: None: the embedded P-Net."""
    detector = MTCNN(
        device="cpu",
        thresholds=(THRESHOLD, 0, 0),
        weights={**embedded_weights(), **(load_weights(weights) or {})},
    )
    problems = Problems()
    scores = judge(detector, "pnet", pictures, problems)
    if problems.count:
        raise OSError(f"{problems.count} pictures could not be read, such as {next(iter(problems))}")
    return [scores.recall_at(count).recall for count in FALSE_POSITIVES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=path, help="folder of the photographs")
    parser.add_argument("networks", nargs="+", type=named_path, metavar="NAME=FILE", help="weight files with a P-Net")
    arguments = parser.parse_args()
    pictures = [
        ValidationPicture(annotation)
        for name in ("facemask", "wider_val_416")
        for annotation in read(arguments.data / SETS[name]["annotations"], only=arguments.data / name / "test.txt")
    ]
    print("| P-Net |", " | ".join(map(str, FALSE_POSITIVES)), "|")
    print("|---|" + "---:|" * len(FALSE_POSITIVES))
    for name, file in [("embedded", None), *arguments.networks]:
        print(f"| {name} |", " | ".join(f"{recall:.4f}" for recall in recalls(file, pictures)), "|")


if __name__ == "__main__":
    main()
