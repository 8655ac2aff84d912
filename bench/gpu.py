#!/usr/bin/env python3
"""Checks and measures the CUDA backend on the GPU at hand, beside its targets and facenet-pytorch.

The checks decide the exit status. They are: agreement with the CPU in float32 on the photographs, or with the
definition where these differ; the same bits in every run; no growth of memory. The measurements are: peak rates of the
card (FFMA, mma.sync, copies); each step of the cascade; whole calls from C++, by the memory of the images, and from
Python; precision="fast" beside "fp32". Rounds are interleaved, and medians are compared. The script changes no setting
of the card.

    python bench/gpu.py FOLDER --native build/bench/bench/bench_cuda --json gpu.json

FOLDER has the layout that photographs.py reads. The script also runs on the emulator, which MTCNN_FAST_CUDA_LIBRARY
names, with `--brief`. That shows only that it works: its figures mean nothing, and it says so.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import frames
import gpu_checks
import gpu_python
import gpu_speed
import numpy as np
from compare import table_head, table_line
from photographs import DATA, SETS, load
from precision import TABLE_HEAD, row_text
from work import cpu_model

import mtcnn_fast

Row = dict[str, Any]
CARD = ["name", "driver_version", "pstate", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"]
CARD += ["power.limit", "temperature.gpu", "ecc.mode.current"]
# Plain frames are made of these first, in this order: then they have about as many crops as the targets assume.
FIRST_PHOTOGRAPHS = ("timesler_multiface", "insightface_t1", "TropComplique_office1")
ASTRONAUT = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
# In the order in which they run: speed is had even if a check does not end.
PARTS = {
    "native": "Measured from C++",
    "agreement": "Agreement with the CPU",
    "bits": "The same bits",
    "memory": "Memory",
    "python": "Measured from Python",
    "fast": 'precision="fast" beside "fp32"',
}
BRIEF = {"rounds": 1, "batches": [1, 2], "min_face_sizes": [40.0], "runs": 3, "calls": 20, "limit": 1}
BRIEF["sets"] = ("wider_val_416", "net_7876")  # their first pictures are small


def device_name() -> str | None:
    """The name of the detector's GPU, "emulator" for that of tests/simt; None if it cannot run there."""
    try:
        return str(mtcnn_fast.MTCNN(device="cuda:0")._core.device_name)
    except RuntimeError:
        return None


def make_frames(data: Path, names: list[str], brief: bool) -> dict[str, gpu_speed.Image]:
    """Frames made of the folder's photos, or of the tests' picture without them. brief: only the face in it."""
    if brief:
        return {"100x120": np.ascontiguousarray(mtcnn_fast.read(ASTRONAUT)[60:180, 170:270])}
    try:
        paths = [photograph.path for photograph in load(data, "photos")]
    except (OSError, ValueError) as error:
        print(f"no photographs: {error}", file=sys.stderr)
        paths = []
    if not paths:
        print(f"frames are made of {ASTRONAUT.name} alone, which has few candidates", file=sys.stderr)
        paths = [ASTRONAUT]
    paths.sort(key=lambda path: (path.stem not in FIRST_PHOTOGRAPHS, path.stem))
    paths.sort(key=lambda path: FIRST_PHOTOGRAPHS.index(path.stem) if path.stem in FIRST_PHOTOGRAPHS else len(paths))
    photographs = {path: mtcnn_fast.read(path) for path in paths}
    made = {name: frames.make(name, photographs) for name in names}
    return {name: image for name, image in made.items() if image is not None}


@contextlib.contextmanager
def part(result: Row, title: str, file: Path | None) -> Iterator[None]:
    """A part of the run. An error in it is recorded and ends only the part. Then `file` gets all results so far."""
    start = time.monotonic()
    print(f"\n## {title}\n", flush=True)
    try:
        yield
    except Exception as error:
        result["failed"].append(f"{title}: {type(error).__name__}: {error}")
        print(f"FAILED: {result['failed'][-1]}", flush=True)
    result["seconds"][title] = round(time.monotonic() - start, 1)
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n")


def check_agreement(args: argparse.Namespace, result: Row) -> None:
    columns = ["CUDA in float32 beside the CPU", "photographs", "faces", "exact", "explained", "unexplained", "skipped"]
    print(table_head(columns))
    until = time.monotonic() + args.agreement_seconds
    result["agreement"] = []
    for name in present_sets(args):
        row = gpu_checks.agreement(name, load(args.data, name, args.limit), args.min_face_sizes[0], until)
        result["agreement"].append(row)
        print(table_line([name, *(str(row[key]) for key in ("photographs", "faces", *columns[3:]))]), flush=True)
        if row["unexplained"]:
            result["failed"].append(f"agreement: {row['unexplained']} photographs of {name} differ, unexplained")
    print("\n" + "\n".join(said for row in result["agreement"] for said in row["said"]))


def check_fast(args: argparse.Namespace, result: Row) -> None:
    print(TABLE_HEAD)
    result["fast"] = []
    for name in present_sets(args):
        row = gpu_checks.fast_agreement(name, load(args.data, name, args.limit), args.min_face_sizes[0])
        result["fast"].append(row)
        print(row_text(row), flush=True)


def present_sets(args: argparse.Namespace) -> list[str]:
    """The sets that are in the folder. Prints the names of the others."""
    missing = [name for name in args.sets if not (args.data / name).is_dir()]
    if missing:
        print(f"left out: {', '.join(missing)}: not in {args.data}", file=sys.stderr)
    return [name for name in args.sets if name not in missing]


def check_repeated(args: argparse.Namespace, result: Row, images: dict[str, gpu_speed.Image]) -> None:
    result["repeated"] = gpu_checks.repeated(images, args.min_face_sizes[0], args.runs)
    print(table_head(["precision", "runs of each frame", "with other bits", "a batch equals one by one"]))
    for row in result["repeated"]:
        other = sum(row["other_bits"].values())
        print(table_line([row["precision"], str(row["runs"]), str(other), "yes" if row["batch_equal"] else "NO"]))
        if other or not row["batch_equal"]:
            result["failed"].append(f"not the same bits in every run: {row}")


def check_growth(args: argparse.Namespace, result: Row, frame: gpu_speed.Image) -> None:
    row = result["growth"] = gpu_checks.growth(frame, args.calls, seconds=args.growth_seconds)
    device = "not known" if row["device_mb"] is None else f"{row['device_mb']:.1f} MB"
    print(f"{row['calls']} calls of {row['sizes']} sizes: host {row['host_mb']:.1f} MB more, GPU {device} more")
    if not row["holds"]:
        result["failed"].append(f"memory grew by more than {gpu_checks.MOST_GROWTH_MB} MB: {row}")
    elif row["calls"] < args.calls:
        print(f"stopped after {args.growth_seconds:g} s; {args.calls} calls were wanted")


def measure_native(args: argparse.Namespace, result: Row, images: dict[str, gpu_speed.Image]) -> None:
    options = ["--rounds", str(args.rounds)] + (["--brief"] if args.brief else [])
    options += ["--min-face-sizes", ",".join(f"{size:g}" for size in args.min_face_sizes)]
    options += ["--batches", ",".join(map(str, args.batches))]
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.ppm" for name in images}
        for name, image in images.items():
            gpu_speed.write_ppm(files[name], image)
        rows, failure = gpu_speed.run_native(args.native, files, options, args.native_seconds)
    if failure:
        result["failed"].append(failure)
    result["failed"] += [row["text"] for row in rows.get("problem", [])]
    device, peaks = rows.get("device", [{"name": "not known"}])[0], rows.get("peaks", [{}])[0]
    result |= {"device": device, "peaks": peaks, "calls": rows.get("call", []), "cascades": rows.get("cascade", [])}
    result["small"] = rows.get("small", [])
    result["targets"] = gpu_speed.targets(result["calls"])
    gpu_speed.add_predictions(result["cascades"], result["small"])
    if peaks:
        gpu_speed.print_peaks(peaks)
    if result["small"]:
        gpu_speed.print_small(result["small"])
    if result["calls"]:
        gpu_speed.print_calls(result["calls"], peaks)
        gpu_speed.print_targets(result["targets"], device["name"])
    if result["cascades"]:
        gpu_speed.print_cascades(result["cascades"], peaks)


def measure_python(args: argparse.Namespace, result: Row, images: dict[str, gpu_speed.Image]) -> None:
    sizes, rounds = args.min_face_sizes, args.python_rounds
    result["python_calls"] = gpu_python.python_calls(images, sizes, args.batches, rounds, args.without_facenet)
    gpu_python.print_python_calls(result["python_calls"])


def about() -> Row:
    now = datetime.datetime.now().astimezone()
    return {
        "date": now.date().isoformat(),
        "emulated": device_name() == "emulator",
        "version": mtcnn_fast.__version__,
        "processor": cpu_model(),
        "card": gpu_checks.query_card(CARD),
        "failed": [],
        "seconds": {},
    }


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--native", type=Path, help="the program bench_cuda (default: leave out its measurements)")
    parser.add_argument("--frames", nargs="+", choices=frames.WORKLOADS, default=["640x480", "1920x1080"])
    parser.add_argument("--min-face-sizes", nargs="+", type=float, default=[20, 40], help="pixels (default 20 40)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32], help="images per call (default 1 8 32)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of bench_cuda (%(default)s)")
    parser.add_argument("--python-rounds", type=int, default=7, help="rounds of calls from Python (%(default)s)")
    parser.add_argument("--without-facenet", action="store_true", help="leave facenet-pytorch out")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="photographs to agree on (all)")
    parser.add_argument("--limit", type=int, help="most photographs per set (all)")
    parser.add_argument("--runs", type=int, default=100, help="runs that must give the same bits (%(default)s)")
    parser.add_argument("--calls", type=int, default=10_000, help="calls that must not let memory grow (%(default)s)")
    seconds = parser.add_argument_group("limits in seconds; the script says what it left out")
    seconds.add_argument("--agreement-seconds", type=float, default=60, help="(%(default)s)")
    seconds.add_argument("--growth-seconds", type=float, default=60, help="(%(default)s)")
    seconds.add_argument("--native-seconds", type=float, default=120, help="(%(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run (all)")
    parser.add_argument("--brief", action="store_true", help="as little work as shows that it runs: the emulator")
    parser.add_argument("--json", type=Path, help="file to write everything to")
    args = parser.parse_args(argv)
    if args.brief:
        vars(args).update(BRIEF, python_rounds=1, frames=[])
    if "native" in args.parts and not args.native:
        args.parts.remove("native")
        print('left out: the part "native": no --native given', file=sys.stderr)
    if args.parts != ["native"]:
        try:
            mtcnn_fast.MTCNN(device="cuda")
        except RuntimeError as error:
            parser.error(str(error))
    return args


def main() -> int:
    args = parse()
    result = about()
    if result["emulated"]:
        print("EMULATED: no GPU has been asked, and no time below means anything.")
    else:
        print(f"GPU, as found: {result['card'] or 'nvidia-smi is missing'}")
    images = make_frames(args.data, args.frames, args.brief)
    run: dict[str, Callable[[], None]] = {
        "native": lambda: measure_native(args, result, images),
        "agreement": lambda: check_agreement(args, result),
        "bits": lambda: check_repeated(args, result, images),
        "memory": lambda: check_growth(args, result, next(iter(images.values()))),
        "python": lambda: measure_python(args, result, images),
        "fast": lambda: check_fast(args, result),
    }
    for name, title in PARTS.items():
        if name in args.parts:
            with part(result, title, args.json):
                run[name]()
    result["card_afterwards"] = gpu_checks.query_card(CARD)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print("\n## Checks\n\n" + ("\n".join(f"FAILED: {line}" for line in result["failed"]) or "all hold"))
    return int(bool(result["failed"]))


if __name__ == "__main__":
    sys.exit(main())
