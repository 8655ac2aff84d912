"""Times of calls from Python on a GPU, beside facenet-pytorch."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import contestants
from compare import table_head, table_line
from gpu_speed import Image, Row, workload

import mtcnn_fast

PRECISIONS = ("fp32", "fast")
FACENET = "facenet-pytorch"


def on_gpu_by_torch(images: list[Image]) -> list[Any] | None:
    """The images as PyTorch's arrays on the GPU; None if PyTorch or its GPU is missing or does not work."""
    if not importlib.util.find_spec("torch"):
        return None
    try:
        import torch

        if not torch.cuda.is_available():
            return None
        arrays = [torch.from_numpy(image).to("cuda:0") for image in images]
        torch.cuda.synchronize()
    except Exception as error:  # whatever another package raises, the times without it are wanted
        print(f"left out: images on the device by PyTorch: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return arrays


def facenet_on_gpu(min_face_size: float, image: Image) -> Callable[[list[Image]], Any] | str:
    """facenet-pytorch on the same GPU, for images of one size; or the reason why it cannot run, on `image` for one."""
    if not importlib.util.find_spec("facenet_pytorch"):
        return "not installed"
    try:
        import torch

        if not torch.cuda.is_available():
            return "PyTorch has no GPU"
        detector = contestants.facenet_pytorch_detector(min_face_size, "cuda:0")
        detector.detect(image)
    except Exception as error:  # as above
        return f"{type(error).__name__}: {error}"
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
        facenet = "left out" if without_facenet else facenet_on_gpu(min_face_size, next(iter(frames.values())))
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
