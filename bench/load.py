"""Measures how much slower a detector gets while other programs compute: one image with and without busy processes.

Rounds without and with busy processes take turns. Each busy process is a loop that computes without end. A detector on
all processors loses far more than its share if its threads wait for each other by spinning.

    python bench/load.py --busy 2 PHOTO
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import frames
import numpy as np
from compare import PAUSE_SECONDS, chosen, table_head, table_line
from contestants import CONTESTANTS, OWN
from targets import BUSY, BUSY_TIMES_SLOWER
from work import Work, cpu_model
from workers import Worker

import mtcnn_fast

IMAGES_A_TURN = 5


class Busy:
    """Processes that compute only in the block of `running`."""

    def __init__(self, count: int) -> None:
        self._processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def turn(worker: Worker, image: Path, min_face_size: float, work: Work) -> list[float]:
    """Milliseconds of each of several images, one after another."""
    time.sleep(PAUSE_SECONDS)
    return [float(worker.ask(image, min_face_size, work)["milliseconds"]) for _ in range(IMAGES_A_TURN)]


def measure(
    names: list[str], image: Path, min_face_size: float, threads: int, busy: Busy, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each contestant, by "idle" and "busy"."""
    from mtcnn_fast import MTCNN

    work = Work.seen(MTCNN(min_face_size=min_face_size, device="cpu").inspect(np.load(image)))
    workers = [Worker(name, threads) for name in names]
    times: dict[str, dict[str, list[float]]] = {name: {"idle": [], "busy": []} for name in names}
    for worker in workers:
        turn(worker, image, min_face_size, work)
    for _ in range(rounds):
        for worker in workers:
            times[worker.name]["idle"] += turn(worker, image, min_face_size, work)
        with busy.running():
            for worker in workers:
                times[worker.name]["busy"] += turn(worker, image, min_face_size, work)
    for worker in workers:
        worker.close()
    return times


def summary(name: str, times: dict[str, list[float]], busy: int) -> dict[str, Any]:
    idle, loaded = (statistics.median(times[state]) for state in ("idle", "busy"))
    result: dict[str, Any] = {"idle": idle, "busy": loaded, "busy_worst": max(times["busy"]), "ratio": loaded / idle}
    if name.startswith(OWN) and busy == BUSY:
        result |= {"target": BUSY_TIMES_SLOWER, "holds": result["ratio"] <= BUSY_TIMES_SLOWER}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
    processors = len(os.sched_getaffinity(0))
    parser.add_argument("photos", nargs="*", type=Path, default=[default], help=f"photographs (default {default.name})")
    parser.add_argument("--busy", type=int, default=BUSY, help="busy processes (%(default)s)")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=[OWN], help=f"(default {OWN})")
    parser.add_argument("--frame", choices=frames.WORKLOADS, default="1280x720", help="(%(default)s)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--threads", type=int, default=processors, help="threads of each detector (all: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help=f"rounds of {IMAGES_A_TURN} images each (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    pixels = frames.make(args.frame, {path: mtcnn_fast.read(path) for path in args.photos})
    if pixels is None:
        parser.error(f"{args.frame} is made of photographs that are not given")
    busy = Busy(args.busy)
    try:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "frame.npy"
            np.save(image, pixels)
            times = measure(chosen(args.contestants), image, args.min_face_size, args.threads, busy, args.rounds)
    finally:
        busy.close()
    print(
        f"{cpu_model()}, {args.frame}, {args.min_face_size:g} px, {args.threads} threads, {args.busy} busy processes\n"
    )
    print(table_head(["detector", "idle, ms", "busy, ms", "worst, ms", "ratio", "target", "holds"]))
    results = {name: summary(name, mine, args.busy) for name, mine in times.items()}
    for name, r in results.items():
        numbers = [f"{r[key]:.1f}" for key in ("idle", "busy", "busy_worst")]
        verdict = [str(r["target"]), "yes" if r["holds"] else "NO"] if "holds" in r else ["-", "-"]
        print(table_line([name, *numbers, f"{r['ratio']:.2f}", *verdict]))
    if args.json:
        about = {"processor": cpu_model(), "frame": args.frame, "min_face_size": args.min_face_size}
        args.json.write_text(
            json.dumps({**about, "threads": args.threads, "busy": args.busy, "detectors": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
