"""Checks of the CUDA backend on the GPU at hand: agreement with the CPU and with the definition (tests/reference.py),
the same bits in every run, no growth of memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from precision import compared, run

import mtcnn_fast
from mtcnn_fast.datasets import Annotation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

Image = NDArray[np.uint8]
Row = dict[str, Any]

# The most growth of memory over all calls, after every size of image has been seen.
MOST_GROWTH_MB = 4.0


def detectors(min_face_size: float) -> dict[str, mtcnn_fast.MTCNN]:
    """The detectors to compare: on the CPU, and on the GPU in both precisions."""
    options: dict[str, Any] = {"min_face_size": min_face_size}
    return {
        "cpu": mtcnn_fast.MTCNN(device="cpu", **options),
        "fp32": mtcnn_fast.MTCNN(device="cuda:0", **options),
        "fast": mtcnn_fast.MTCNN(device="cuda:0", precision="fast", **options),
    }


def as_result(faces: mtcnn_fast.Detections) -> reference.Result:
    """Faces as a result of the definition, without any decision that rounding may turn."""
    return reference.Result(*(array.astype(np.float64) for array in faces.astuple()))


def differences(found: mtcnn_fast.Detections, expected: reference.Result) -> tuple[str, str]:
    """The verdict of reference.assert_agrees, "exact", "explained" or "unexplained", and a text about it."""
    try:
        decisions = reference.assert_agrees(expected, *found.astuple())
    except AssertionError as error:
        return "unexplained", str(error)
    return ("explained" if decisions else "exact"), "".join(f"\n  {decision}" for decision in decisions)


def agreement(name: str, photographs: list[Annotation], min_face_size: float, until: float) -> Row:
    """Compares CUDA in float32 with the CPU: same faces, boxes within 0.01 px, scores within 1e-4.

    For a picture on which they differ, the definition says whether a decision that rounding may turn explains the
    difference. No picture is begun after `until`, a time of `time.monotonic`.
    """
    made = detectors(min_face_size)
    row: Row = {"set": name, "photographs": 0, "faces": 0, "exact": 0, "explained": 0, "unexplained": 0, "said": []}
    for photograph in photographs:
        if time.monotonic() > until:
            break
        image = mtcnn_fast.read(photograph.path)
        expected, found = made["cpu"].detect(image), made["fp32"].detect(image)
        verdict, said = differences(found, as_result(expected))
        if verdict != "exact":
            verdict, explanation = differences(found, reference.detect(image, min_face_size=min_face_size))
            row["said"].append(
                f"{photograph.path.name}: {verdict}: {said}\nBy the definition: {explanation or 'exact'}"
            )
            # If CUDA agrees exactly with the definition, the CPU decided otherwise, within its rounding.
            verdict = "explained" if verdict == "exact" else verdict
        row["photographs"] += 1
        row["faces"] += len(expected)
        row[verdict] += 1
    row["skipped"] = len(photographs) - row["photographs"]
    return row


def fast_agreement(name: str, photographs: list[Annotation], min_face_size: float) -> Row:
    """precision="fast" beside "fp32", both on the GPU: bench/precision.py's row."""
    made = detectors(min_face_size)
    full, fast = run([made["fp32"], made["fast"]], photographs, repeats=1)
    return compared(name, photographs, full, fast)


def bits(faces: mtcnn_fast.Detections) -> bytes:
    return b"".join(array.tobytes() for array in faces.astuple())


def repeated(frames: dict[str, Image], min_face_size: float, runs: int) -> list[Row]:
    """Compares the bits of `runs` runs, and of a batch of mixed sizes, with those of the first run."""
    rows = []
    made = detectors(min_face_size)
    for precision in ("fp32", "fast"):
        detector = made[precision]
        first = {name: bits(detector.detect(image)) for name, image in frames.items()}
        other = {
            name: sum(bits(detector.detect(image)) != first[name] for _ in range(runs))
            for name, image in frames.items()
        }
        batch = detector.detect_batch(list(frames.values()))
        equal = all(bits(faces) == expected for faces, expected in zip(batch, first.values(), strict=True))
        rows.append({"precision": precision, "runs": runs, "other_bits": other, "batch_equal": equal})
    return rows


def resident_mb() -> float:
    """The resident memory of this process on the host."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def query_card(fields: list[str]) -> dict[str, str] | None:
    """Values of the first GPU from nvidia-smi, by its names of fields; None without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--id=0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    run = subprocess.run(command, capture_output=True, text=True)
    values = [value.strip() for value in run.stdout.strip().split(",")]
    return dict(zip(fields, values, strict=True)) if run.returncode == 0 and len(values) == len(fields) else None


def device_mb() -> float | None:
    """The memory in use on the GPU, by all processes; None if it is not known."""
    used = query_card(["memory.used"])
    return float(used["memory.used"]) if used else None


def growth(frame: Image, calls: int, sizes: int = 50, seconds: float = 60) -> Row:
    """The growth of memory on host and GPU over `calls` calls, or those that `seconds` allow.

    The images have `sizes` different sizes, and the detector has seen each of them before. A driver's own memory may
    grow once. So growth beyond the limit is believed only if twice the calls after it grow beyond the limit again.
    """
    generator = np.random.default_rng(4)
    height, width = frame.shape[:2]
    least = min(24, height, width)
    shapes = [(generator.integers(least, height + 1), generator.integers(least, width + 1)) for _ in range(sizes)]
    images = [np.ascontiguousarray(frame[:h, :w]) for h, w in shapes]
    detector = detectors(20)["fp32"]
    for image in images * 2:
        detector.detect(image)
    start = time.monotonic()
    done = 0
    grown = []
    for part in (1 / 3, 1):
        before, device_before = resident_mb(), device_mb()
        while done < calls * part and time.monotonic() < start + seconds * part:
            detector.detect(images[generator.integers(len(images))])
            done += 1
        device_after = device_mb()
        device = None if device_before is None or device_after is None else device_after - device_before
        grown.append((resident_mb() - before, device))
    row: Row = {"calls": done, "sizes": sizes, "host_mb": sum(host for host, _ in grown), "device_mb": None}
    if all(device is not None for _, device in grown):
        row["device_mb"] = sum(device or 0 for _, device in grown)
    row["holds"] = any(host <= MOST_GROWTH_MB and (device or 0) <= MOST_GROWTH_MB for host, device in grown)
    return row
