"""Predicted times of the CUDA backend, which gpu_speed.py prints beside what it measures. Not run on a GPU.

predictions.json holds them; tools/predict_cuda.py computes it from machine code and counts.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("predictions.json")


@dataclass(frozen=True)
class Prediction:
    """Of one frame on the device, for these counts of candidates."""

    width: int
    height: int
    min_face_size: float
    precision: str
    rnet: int
    onet: int
    steps: dict[str, float]  # microseconds of each step, with the gaps before its kernels, as bench_cuda measures it
    call: float  # microseconds of a whole call with the faces on the host
    frames_a_second: float  # in batches of 32

    def distance(self, rnet: int, onet: int) -> float:
        """How far these counts are from the prediction's, in logarithms."""
        pairs = ((rnet, self.rnet), (onet, self.onet))
        return sum(abs(math.log((here + 1) / (there + 1))) for here, there in pairs)


def load(path: Path = TABLE) -> list[Prediction]:
    return [Prediction(**row) for row in json.loads(path.read_text())["predictions"]]


def assumed(path: Path = TABLE) -> dict[str, float]:
    """What the predictions assume of the card, by the name of bench_cuda's measurement of it."""
    return {name: float(value) for name, value in json.loads(path.read_text())["assumed"].items()}


def nearest(predictions: list[Prediction], row: dict[str, Any]) -> Prediction | None:
    """The prediction for a row of bench_cuda: of its frame, size and precision, with the counts nearest to its own."""
    fitting = [
        each
        for each in predictions
        if (each.width, each.height, each.min_face_size, each.precision)
        == (row["width"], row["height"], row["min_face_size"], row["precision"])
    ]
    counts = row["candidates"]
    return min(fitting, key=lambda each: each.distance(counts["rnet"], counts["onet"]), default=None)
