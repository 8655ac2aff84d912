#!/usr/bin/env python3
"""Draw the logs of training runs, one line per run: held-out accuracy and errors, and the recall on whole pictures.

python bench/training/curves.py mined=runs/scratch/pnet all=runs/without_mining/pnet --output pnet.png
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import matplotlib as mpl
from arguments import named_path, path

from mtcnn_fast.writing import PNG, check_destination, replacing

mpl.use("Agg")
from matplotlib import pyplot

COLUMNS = {
    "accuracy": "accuracy on held-out crops",
    "box_error": "box error, sides of the window",
    "landmark_error": "landmark error, sides of the window",
    "recall": "recall on whole pictures",
}


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", type=named_path, metavar="NAME=FOLDER", help="runs of one network, with their log.csv"
    )
    parser.add_argument("--output", type=path, required=True, help="PNG to write")
    arguments = parser.parse_args()
    check_destination(arguments.output, begins=PNG)
    runs = {name: rows(folder) for name, folder in arguments.runs}
    figure, axes = pyplot.subplots(1, len(COLUMNS), figsize=(4 * len(COLUMNS), 3.2), layout="constrained")
    for axis, (column, title) in zip(axes, COLUMNS.items(), strict=True):
        for name, log in runs.items():
            points = [(row["epoch"], row[column]) for row in log if not math.isnan(row[column])]
            if points:
                axis.plot(*zip(*points, strict=True), marker=".", label=name)
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
    axes[0].legend()
    with replacing(arguments.output) as file:
        figure.savefig(file, format="png", dpi=120)


if __name__ == "__main__":
    main()
