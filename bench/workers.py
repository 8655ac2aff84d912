"""A contestant in a process of its own, which times one detection per request."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import contestants
import numpy as np
from work import Work

WARM_SECONDS = 0.05  # of untimed calls before a timed one


class Worker:
    """The asking end of the pipes to a contestant's process."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, __file__, name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **contestants.CONTESTANTS[name].environment_for(threads)},
        )

    def ask(self, image: Path, min_face_size: float, work: Work) -> dict[str, Any]:
        """{"milliseconds", "processor_milliseconds", "boxes": [[x1, y1, x2, y2], ...] or None, "memory_mb"}

        "memory_mb": the peak beyond NumPy's process.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"image": str(image), "min_face_size": min_face_size, "work": dataclasses.asdict(work)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:  # some contestants print messages of their own
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self._errors.seek(0)
        raise RuntimeError(f"{self.name} ended with status {self._process.wait()}:\n{self._errors.read()}")

    def close(self) -> None:
        self._process.communicate()


def peak_memory_mb() -> float:
    """The peak resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def forget_peak_memory() -> None:
    """Resets the peak to the memory that is resident at this moment."""
    Path("/proc/self/clear_refs").write_text("5")


def serve(name: str, threads: int) -> None:
    """The answering end: measures one contestant until the pipe is closed."""
    contestant = contestants.CONTESTANTS[name]
    before = peak_memory_mb()
    key, run = None, None
    path, image = None, np.zeros((0, 0, 3), np.uint8)
    for line in sys.stdin:
        request = json.loads(line)
        forget_peak_memory()
        if path != request["image"]:
            path, image = request["image"], np.load(request["image"])
        work = Work.from_json(request["work"])
        wanted = (request["min_face_size"], work if contestant.networks_only else None)
        if run is None or key != wanted:
            key, run = wanted, contestant.make(threads, request["min_face_size"], work)
        # Untimed calls, as in a stream of images: after the others' turns, caches hold their data and processors sleep.
        start = time.perf_counter()
        while time.perf_counter() - start < WARM_SECONDS:
            run(image)
        start, processor_start = time.perf_counter(), time.process_time()
        found = run(image)
        milliseconds = (time.perf_counter() - start) * 1e3
        processor_milliseconds = (time.process_time() - processor_start) * 1e3
        answer = {
            "milliseconds": milliseconds,
            "processor_milliseconds": processor_milliseconds,
            "boxes": None if found is None else np.asarray(found[0], float).tolist(),
            "memory_mb": peak_memory_mb() - before,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=contestants.CONTESTANTS)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    serve(arguments.name, arguments.threads)
