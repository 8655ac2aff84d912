"""Times on a GPU that bench_cuda (bench_cuda.cpp) measures without Python, and their targets."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from compare import table_head, table_line
from numpy.typing import NDArray
from predictions import assumed as card_as_assumed
from predictions import load, nearest
from work import ONET_MMAC, RNET_MMAC, Work

Image = NDArray[np.uint8]
Row = dict[str, Any]

# The side of a crop for R-Net and O-Net in pixels, and the bytes per value of the pyramid or a crop.
SIDES = {"rnet_crops": 24, "onet_crops": 48}
VALUE_BYTES = {"fp32": 4, "fast": 2}


@dataclass(frozen=True)
class Target:
    """A target for one H100, with images on the device, faces on the host, and these counts of candidates.

    For a frame with other counts it scales with the multiply-adds of the three networks, that is with their floor.
    """

    rnet: int
    onet: int
    microseconds: dict[str, float]  # per frame in single calls, by precision
    frames_a_second: dict[str, float]  # in batches of BATCH

    BATCH = 32

    def times_as_much(self, work: Work) -> float:
        """The multiply-adds of `work` beside those of the same levels with the target's counts."""
        return work.mmac() / replace(work, rnet=self.rnet, onet=self.onet).mmac()


TARGETS = {
    (640, 480, 20): Target(515, 59, {"fp32": 160, "fast": 80}, {"fp32": 9500, "fast": 30000}),
    (640, 480, 40): Target(242, 39, {"fp32": 100, "fast": 60}, {"fp32": 18000, "fast": 60000}),
    (1920, 1080, 20): Target(1207, 60, {"fp32": 370, "fast": 140}, {"fp32": 3400, "fast": 12000}),
    (1920, 1080, 40): Target(633, 48, {"fp32": 190, "fast": 85}, {"fp32": 8000, "fast": 20000}),
}


def run_native(
    program: Path, images: dict[str, Path], args: list[str], seconds: float | None = None
) -> tuple[dict[str, list[Row]], str | None]:
    """The rows that bench_cuda prints, by "kind": "device", "peaks" (rates), "small" (what predictions assume), "call"
    (times of whole calls) and "cascade" (times of steps); and how the program failed, or None.

    images: PPM files. seconds: the time after which it is stopped. The rows that it prints until it stops or fails are
    kept.
    """
    failure = None
    command = [str(program), *args, *(str(path) for path in images.values())]
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds)
        output = run.stdout
        if run.returncode:
            failure = f"{program.name} ended with status {run.returncode}: rows are missing"
    except subprocess.TimeoutExpired as stopped:
        output = stopped.stdout.decode() if isinstance(stopped.stdout, bytes) else stopped.stdout or ""
        print(f"{program.name} was stopped after {seconds:.0f} s: rows are missing", file=sys.stderr)
    rows: dict[str, list[Row]] = {}
    for line in output[: output.rfind("\n") + 1].splitlines():  # not a line that it was stopped in
        row = json.loads(line)
        rows.setdefault(row.pop("kind"), []).append(row)
    return rows, failure


def write_ppm(path: Path, image: Image) -> None:
    path.write_bytes(b"P6 %d %d 255\n" % (image.shape[1], image.shape[0]) + image.tobytes())


def work_of(row: Row) -> Work:
    return Work.from_json({**row["candidates"], "levels": row["levels"]})


def peak_flops(peaks: Row, precision: str) -> float:
    return float(peaks.get("ffma_flops" if precision == "fp32" else "tensor_flops", 0))


def floor_microseconds(row: Row, peaks: Row) -> float:
    """The floor of one image: the time of all counted multiply-adds at the peak of the row's precision."""
    flops = peak_flops(peaks, row["precision"])
    return 2e12 * work_of(row).mmac() / flops if flops else float("nan")


def share_of_peak(step: str, microseconds: float, row: Row, peaks: Row) -> float | None:
    """The share of the peak that a step of the cascade reaches; None for a step without a peak.

    A network has the arithmetic peak of its precision. A step that moves pixels has the peak of copying.
    """
    work, images = work_of(row), row["images"]
    value, copy = VALUE_BYTES[row["precision"]], peaks.get("copy_bytes", 0)
    mmac = {"pnet": work.pnet_mmac(), "rnet": work.rnet * RNET_MMAC, "onet": work.onet * ONET_MMAC}.get(step)
    if mmac is not None:
        amount, peak = 2e6 * mmac, peak_flops(peaks, row["precision"])
    elif step == "pyramid":  # each level reads the whole frame
        levels = sum(height * width for height, width in work.levels)
        amount = 3.0 * (row["width"] * row["height"] * len(work.levels) + levels * value)
        peak = copy
    elif step in SIDES:  # the windows' own pixels, which overlap, are not counted
        crops = work.rnet if step == "rnet_crops" else work.onet
        amount, peak = 3.0 * crops * SIDES[step] ** 2 * value, copy
    else:
        return None
    return images * amount / (microseconds * 1e-6) / peak if microseconds > 0 and peak else None


def print_peaks(peaks: Row) -> None:
    print(
        f"Measured peaks: FFMA {peaks['ffma_flops'] / 1e12:.1f} TFLOP/s, mma.sync fp16 "
        f"{peaks['tensor_flops'] / 1e12:.0f} TFLOP/s, copy {peaks['copy_bytes'] / 1e9:.0f} GB/s (read and written); "
        f"upload {peaks['upload_pinned'] / 1e9:.1f} GB/s pinned, {peaks['upload_pageable'] / 1e9:.1f} pageable\n"
    )


def print_small(rows: list[Row]) -> None:
    """Prints the small measurements of bench_cuda beside what the predictions assume."""
    print(table_head(["measured alone", "here", "assumed", "unit"]))
    for row in rows:
        assumed = "-" if row["assumed"] is None else f"{row['assumed']:.4g}"
        print(table_line([row["name"], f"{row['value']:.4g}", assumed, row["unit"]]))
    print()


def workload(row: Row) -> str:
    return f"{row['frame']}, {row['min_face_size']:g} px"


def counts_text(candidates: dict[str, int]) -> str:
    return " / ".join(str(candidates[name]) for name in ("cells", "rnet", "onet", "faces"))


def print_cascades(rows: list[Row], peaks: Row) -> None:
    """Prints microseconds, share of the peak and, below a row, the predicted microseconds; one step per column."""
    names = [step["name"] for step in rows[0]["steps"]]
    print(
        table_head(["on the device, us (share of peak)", "precision", "images", "cells / R / O / faces", "all", *names])
    )
    for row in rows:
        predicted = row.get("predicted")
        cells = [workload(row), row["precision"], str(row["images"]), counts_text(row["candidates"])]
        cells.append(f"{row['microseconds']:.1f}")
        for step in row["steps"]:
            share = share_of_peak(step["name"], step["microseconds"], row, peaks)
            cells.append(f"{step['microseconds']:.1f}" + ("" if share is None else f" ({share:.0%})"))
        print(table_line(cells))
        if predicted:
            steps = [f"{predicted['steps'][name]:.1f}" if name in predicted["steps"] else "-" for name in names]
            counts = f"- / {predicted['rnet']} / {predicted['onet']} / -"
            total = sum(predicted["steps"].values())
            print(table_line(["predicted", row["precision"], "1", counts, f"{total:.1f}", *steps]))
    print()


def print_calls(rows: list[Row], peaks: Row) -> None:
    """Prints the times of whole calls of the C++ library."""
    columns = ["whole calls, C++", "precision", "memory", "batch", "cells / R / O / faces", "us per image", "floors"]
    print(table_head([*columns, "images/s"]))
    for row in rows:
        each = 1e3 * row["milliseconds"] / row["batch"]
        cells = [workload(row), row["precision"], row["memory"], str(row["batch"]), counts_text(row["candidates"])]
        cells += [f"{each:.1f}", f"{each / floor_microseconds(row, peaks):.2f}", f"{1e6 / each:.0f}"]
        print(table_line(cells))
    print()


def add_predictions(cascades: list[Row], small: list[Row]) -> None:
    """Puts the predictions into rows of bench_cuda as "predicted", and what they assume of the card as "assumed"."""
    predictions, assumed = load(), card_as_assumed()
    for row in cascades:
        prediction = nearest(predictions, row)
        if row["images"] == 1 and prediction is not None:
            row["predicted"] = {key: getattr(prediction, key) for key in ("rnet", "onet", "steps", "call")}
    for row in small:
        row["assumed"] = assumed.get(row["name"])


def targets(rows: list[Row]) -> list[Row]:
    """The calls that have a target, with the target for the frame's own counts and whether it holds."""
    predictions = load()
    judged = []
    for row in rows:
        target = TARGETS.get((row["width"], row["height"], row["min_face_size"]))
        if target is None or row["memory"] != "device" or row["batch"] not in (1, Target.BATCH):
            continue
        common = {key: row[key] for key in ("frame", "min_face_size", "precision", "batch", "candidates")}
        common |= {"assumed_rnet": target.rnet, "assumed_onet": target.onet}
        times = target.times_as_much(work_of(row))
        prediction = nearest(predictions, row)
        if prediction is not None:
            common["predicted"] = prediction.call if row["batch"] == 1 else prediction.frames_a_second
        if row["batch"] == 1:
            assumed, measured = target.microseconds[row["precision"]], 1e3 * row["milliseconds"]
            scaled = assumed * times
            verdict = {"unit": "us", "target": scaled, "measured": measured, "holds": measured <= scaled}
        else:
            assumed, measured = target.frames_a_second[row["precision"]], 1e3 * row["batch"] / row["milliseconds"]
            scaled = assumed / times
            verdict = {"unit": "frames/s", "target": scaled, "measured": measured, "holds": measured >= scaled}
        judged.append({**common, "assumed_target": assumed, **verdict})
    return judged


def print_targets(rows: list[Row], device: str) -> None:
    print(f"The targets are for an H100; this is {device}. They scale with the networks' multiply-adds.\n")
    columns = ["target", "precision", "batch", "R / O assumed", "target", "R / O here", "target here", "predicted"]
    print(table_head([*columns, "measured", "holds"]))
    for row in rows:
        cells = [workload(row), row["precision"], str(row["batch"]), f"{row['assumed_rnet']} / {row['assumed_onet']}"]
        cells += [f"{row['assumed_target']:g} {row['unit']}"]
        cells += [f"{row['candidates']['rnet']} / {row['candidates']['onet']}", f"{row['target']:.0f} {row['unit']}"]
        cells.append(f"{row['predicted']:.0f}" if "predicted" in row else "-")
        print(table_line([*cells, f"{row['measured']:.0f}", "yes" if row["holds"] else "NO"]))
    print()
