"""Times on a GPU: those that bench_cuda (bench_cuda.cpp) measures without Python, calls from Python, and targets."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contestants
import numpy as np
from compare import table_head, table_line
from numpy.typing import NDArray
from work import ONET_MMAC, RNET_MMAC, Work

import mtcnn_fast

Image = NDArray[np.uint8]
Row = dict[str, Any]

PRECISIONS = ("fp32", "fast")
FACENET = "facenet-pytorch"
# The side of a crop for R-Net and O-Net in pixels, and the bytes per value of the pyramid or a crop.
SIDES = {"rnet_crops": 24, "onet_crops": 48}
VALUE_BYTES = {"fp32": 4, "fast": 2}


@dataclass(frozen=True)
class Target:
    """A target for one H100, with images on the device, faces on the host, and these counts of candidates."""

    rnet: int
    onet: int
    microseconds: dict[str, float]  # per frame in single calls, by precision
    frames_a_second: dict[str, float]  # in batches of BATCH

    BATCH = 32


TARGETS = {
    (640, 480, 20): Target(515, 59, {"fp32": 160, "fast": 80}, {"fp32": 9500, "fast": 30000}),
    (640, 480, 40): Target(242, 39, {"fp32": 100, "fast": 60}, {"fp32": 18000, "fast": 60000}),
    (1920, 1080, 20): Target(1207, 60, {"fp32": 370, "fast": 140}, {"fp32": 3400, "fast": 12000}),
    (1920, 1080, 40): Target(633, 48, {"fp32": 190, "fast": 85}, {"fp32": 8000, "fast": 20000}),
}


def run_native(
    program: Path, images: dict[str, Path], args: list[str], seconds: float | None = None
) -> dict[str, list[Row]]:
    """The rows that bench_cuda prints, by "kind": "device", "peaks", "call" (times of whole calls) and "cascade" (times
    of steps).

    images: PPM files. seconds: the time after which it is stopped; the rows that it has printed until then are kept.
    """
    command = [str(program), *args, *(str(path) for path in images.values())]
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds)
        output = run.stdout
        if run.returncode:
            raise RuntimeError(f"{program.name} ended with status {run.returncode}")
    except subprocess.TimeoutExpired as stopped:
        output = stopped.stdout.decode() if isinstance(stopped.stdout, bytes) else stopped.stdout or ""
        print(f"{program.name} was stopped after {seconds:.0f} s: rows are missing", file=sys.stderr)
        output = output[: output.rfind("\n") + 1]
    rows: dict[str, list[Row]] = {}
    for line in output.splitlines():
        row = json.loads(line)
        rows.setdefault(row.pop("kind"), []).append(row)
    return rows


def write_ppm(path: Path, image: Image) -> None:
    path.write_bytes(b"P6 %d %d 255\n" % (image.shape[1], image.shape[0]) + image.tobytes())


def work_of(row: Row) -> Work:
    return Work.from_json({**row["candidates"], "levels": row["levels"]})


def peak_flops(peaks: Row, precision: str) -> float:
    return float(peaks["ffma_flops" if precision == "fp32" else "tensor_flops"])


def floor_microseconds(row: Row, peaks: Row) -> float:
    """The floor of one image: the time of all counted multiply-adds at the peak of the row's precision."""
    flops = peak_flops(peaks, row["precision"])
    return 2e12 * work_of(row).mmac() / flops if flops else float("nan")


def share_of_peak(step: str, microseconds: float, row: Row, peaks: Row) -> float | None:
    """The share of the peak that a step of the cascade reaches; None for a step without a peak.

    A network has the arithmetic peak of its precision. A step that moves pixels has the peak of copying.
    """
    work, images = work_of(row), row["images"]
    value = VALUE_BYTES[row["precision"]]
    mmac = {"pnet": work.pnet_mmac(), "rnet": work.rnet * RNET_MMAC, "onet": work.onet * ONET_MMAC}.get(step)
    if mmac is not None:
        amount, peak = 2e6 * mmac, peak_flops(peaks, row["precision"])
    elif step == "pyramid":  # each level reads the whole frame
        levels = sum(height * width for height, width in work.levels)
        amount = 3.0 * (row["width"] * row["height"] * len(work.levels) + levels * value)
        peak = peaks["copy_bytes"]
    elif step in SIDES:  # the windows' own pixels, which overlap, are not counted
        crops = work.rnet if step == "rnet_crops" else work.onet
        amount, peak = 3.0 * crops * SIDES[step] ** 2 * value, peaks["copy_bytes"]
    else:
        return None
    return images * amount / (microseconds * 1e-6) / peak if microseconds > 0 and peak else None


def print_peaks(peaks: Row) -> None:
    print(
        f"Measured peaks: FFMA {peaks['ffma_flops'] / 1e12:.1f} TFLOP/s, mma.sync fp16 "
        f"{peaks['tensor_flops'] / 1e12:.0f} TFLOP/s, copy {peaks['copy_bytes'] / 1e9:.0f} GB/s (read and written); "
        f"upload {peaks['upload_pinned'] / 1e9:.1f} GB/s pinned, {peaks['upload_pageable'] / 1e9:.1f} pageable\n"
    )


def workload(row: Row) -> str:
    return f"{row['frame']}, {row['min_face_size']:g} px"


def counts_text(candidates: dict[str, int]) -> str:
    return " / ".join(str(candidates[name]) for name in ("cells", "rnet", "onet", "faces"))


def print_cascades(rows: list[Row], peaks: Row) -> None:
    """Prints microseconds and share of the peak, one step per column."""
    names = [step["name"] for step in rows[0]["steps"]]
    print(
        table_head(["on the device, us (share of peak)", "precision", "images", "cells / R / O / faces", "all", *names])
    )
    for row in rows:
        cells = [workload(row), row["precision"], str(row["images"]), counts_text(row["candidates"])]
        cells.append(f"{row['microseconds']:.1f}")
        for step in row["steps"]:
            share = share_of_peak(step["name"], step["microseconds"], row, peaks)
            cells.append(f"{step['microseconds']:.1f}" + ("" if share is None else f" ({share:.0%})"))
        print(table_line(cells))
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


def targets(rows: list[Row]) -> list[Row]:
    """The calls that have a target, with the target and whether it holds."""
    judged = []
    for row in rows:
        target = TARGETS.get((row["width"], row["height"], row["min_face_size"]))
        if target is None or row["memory"] != "device":
            continue
        common = {key: row[key] for key in ("frame", "min_face_size", "precision", "batch", "candidates")}
        common |= {"assumed_rnet": target.rnet, "assumed_onet": target.onet}
        if row["batch"] == 1:
            wanted, measured = target.microseconds[row["precision"]], 1e3 * row["milliseconds"]
            judged.append({**common, "unit": "us", "target": wanted, "measured": measured, "holds": measured <= wanted})
        elif row["batch"] == Target.BATCH:
            wanted, measured = target.frames_a_second[row["precision"]], 1e3 * row["batch"] / row["milliseconds"]
            judged.append(
                {**common, "unit": "frames/s", "target": wanted, "measured": measured, "holds": measured >= wanted}
            )
    return judged


def print_targets(rows: list[Row], device: str) -> None:
    print(f"The targets are for an H100; this is {device}.\n")
    print(table_head(["target", "precision", "batch", "R / O assumed", "R / O here", "target", "measured", "holds"]))
    for row in rows:
        cells = [workload(row), row["precision"], str(row["batch"]), f"{row['assumed_rnet']} / {row['assumed_onet']}"]
        cells.append(f"{row['candidates']['rnet']} / {row['candidates']['onet']}")
        cells += [f"{row['target']:g} {row['unit']}", f"{row['measured']:.0f}", "yes" if row["holds"] else "NO"]
        print(table_line(cells))
    print()


def on_gpu_by_torch(images: list[Image]) -> list[Any] | None:
    """The images as PyTorch's arrays on the GPU; None if PyTorch or its GPU is missing."""
    if not importlib.util.find_spec("torch"):
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    arrays = [torch.from_numpy(image).to("cuda:0") for image in images]
    torch.cuda.synchronize()
    return arrays


def facenet_on_gpu(min_face_size: float) -> Callable[[list[Image]], Any] | str:
    """facenet-pytorch on the same GPU, for images of one size; or the reason why it cannot run."""
    if not importlib.util.find_spec("facenet_pytorch"):
        return "not installed"
    import torch

    if not torch.cuda.is_available():
        return "PyTorch has no GPU"
    detector = contestants.facenet_pytorch_detector(min_face_size, "cuda:0")
    return lambda images: detector.detect(images if len(images) > 1 else images[0])


def python_calls(
    frames: dict[str, Image], min_face_sizes: list[float], batches: list[int], rounds: int, without_facenet: bool
) -> list[Row]:
    """Times of calls from Python, each detector in turn: medians of interleaved rounds, after a round to warm up.

    facenet-pytorch takes part with batches of at most 8 images.
    """
    rows: list[Row] = []
    for min_face_size in min_face_sizes:
        detectors = {
            precision: mtcnn_fast.MTCNN(device="cuda:0", min_face_size=min_face_size, precision=precision)
            for precision in PRECISIONS
        }
        facenet = "left out" if without_facenet else facenet_on_gpu(min_face_size)
        if isinstance(facenet, str) and not without_facenet and min_face_size == min_face_sizes[0]:
            print(f"left out: {FACENET}: {facenet}", file=sys.stderr)
        for name, frame in frames.items():
            for batch in batches:
                images = [frame.copy() for _ in range(batch)]
                inputs: dict[str, list[Any] | None] = {"pageable": images, "device": on_gpu_by_torch(images)}
                calls: dict[tuple[str, str], Callable[[], Any]] = {}
                for precision, detector in detectors.items():
                    for memory, arrays in inputs.items():
                        if arrays is not None:
                            calls[precision, memory] = _call(detector, arrays)
                if not isinstance(facenet, str) and batch <= 8:
                    calls[FACENET, "pageable"] = lambda facenet=facenet, images=images: facenet(images)
                for (detector_name, memory), milliseconds in _interleaved(calls, rounds).items():
                    row = {"frame": name, "min_face_size": min_face_size, "detector": detector_name}
                    rows.append({**row, "memory": memory, "batch": batch, "milliseconds": milliseconds})
    return rows


def _call(detector: mtcnn_fast.MTCNN, images: list[Any]) -> Callable[[], Any]:
    if len(images) == 1:
        return lambda: detector.detect(images[0])
    return lambda: detector.detect_batch(images)


def _interleaved(calls: dict[tuple[str, str], Callable[[], Any]], rounds: int) -> dict[tuple[str, str], float]:
    """Median milliseconds of each call. In each turn it is called twice, and the first time is not counted."""
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for attempt in range(rounds + 1):
        for key, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            if attempt > 0:
                taken[key].append((time.perf_counter() - start) * 1e3)
    return {key: statistics.median(times) for key, times in taken.items()}


def print_python_calls(rows: list[Row]) -> None:
    print(
        table_head(["whole calls, Python", "detector", "memory", "batch", "us per image", "times fp32 from the host"])
    )
    base = {
        (workload(row), row["batch"]): row["milliseconds"]
        for row in rows
        if (row["detector"], row["memory"]) == ("fp32", "pageable")
    }
    for row in rows:
        times = row["milliseconds"] / base[workload(row), row["batch"]]
        cells = [workload(row), row["detector"], row["memory"], str(row["batch"])]
        print(table_line([*cells, f"{1e3 * row['milliseconds'] / row['batch']:.1f}", f"{times:.2f}"]))
    print()
