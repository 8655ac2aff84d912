#!/usr/bin/env python3
"""Measures what a job on Ray costs beside one process: `mtcnn-fast detect --ray local` and `mtcnn-fast detect`.

Both search the same folder of links to a few photographs, on as many processors: Ray with a worker per processor, the
process with a thread per processor. Rounds of the two take turns. Other programs may share the processors, so the
processor time of all processes is compared, Ray's own among them. The exit status is 1 if the faces differ.

    python bench/ray_jobs.py --pictures 20000 PHOTO ...
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
from work import cpu_model

from mtcnn_fast import rows

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS_BETWEEN_LOOKS = 0.5

# Fields of /proc/PID/stat behind the name of the command, and the ticks of their times.
_PARENT, _USER, _SYSTEM, _STARTED = 1, 11, 12, 19
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a command took, with every process that it started."""

    wall: float
    processor: float
    megabytes: float
    """The most memory that all its processes had of their own at one time."""


class Family:
    """Processor time and memory of the processes that descend from this one.

    The system does not add up their times: Ray's server of a machine ignores the ends of its workers. So the processes
    are looked at from time to time. What one does between the last look and its end is missed.
    """

    def __init__(self) -> None:
        self._ticks: dict[tuple[int, int], int] = {}
        self._most = 0

    @property
    def processor(self) -> float:
        """Seconds so far."""
        return sum(self._ticks.values()) / _TICKS

    @property
    def megabytes(self) -> float:
        """The most memory so far."""
        return self._most / 1e3

    def look(self) -> None:
        stats: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    stats[int(entry.name)] = [0, *map(int, fields[1:])]
        own = os.getpid()
        memory = 0
        for process, fields in stats.items():
            ancestor = fields[_PARENT]
            while ancestor not in (0, own):
                ancestor = stats[ancestor][_PARENT] if ancestor in stats else 0
            if ancestor == own:
                self._ticks[process, fields[_STARTED]] = fields[_USER] + fields[_SYSTEM]
                with contextlib.suppress(OSError, StopIteration):
                    lines = (Path("/proc") / str(process) / "status").read_text().splitlines()
                    memory += int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
        self._most = max(self._most, memory)


def adopt_orphans() -> None:
    """Makes this process the parent of its descendants whose parents have ended, as Ray's servers do, to count them."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this system cannot count the processor time of orphans; wanted Linux")


def cost_of(arguments: list[str]) -> Cost:
    """Runs `mtcnn-fast detect` and waits for every process that it started."""
    family, began = Family(), time.monotonic()
    command = [sys.executable, "-m", "mtcnn_fast", "detect", "--device", "cpu", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            family.look()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    wall = time.monotonic() - began
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with status {process.returncode}")
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return Cost(wall, family.processor, family.megabytes)


def make_links(folder: Path, photographs: list[Path], count: int) -> None:
    folder.mkdir()
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        (folder / f"{i:07}{photograph.suffix}").symlink_to(photograph.resolve())


def same_faces(lines: Path, job: Path) -> bool:
    """Whether the process and the job have found the same faces, to the bit."""
    table = pyarrow.parquet.read_table(job / "faces")
    columns = table.column_names
    wanted = [list(rows.COLUMNS).index(name) for name in columns]
    with lines.open() as file:
        records: Iterable[tuple[rows.Value, ...]] = (row for line in file for row in rows.rows_of(json.loads(line)))
        found = sorted(tuple(row[i] for i in wanted) for row in records)
    return found == sorted(tuple(row.values()) for row in table.to_pylist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
    parser.add_argument("photos", nargs="*", type=Path, default=[default], help=f"photographs (default {default.name})")
    parser.add_argument("--pictures", type=int, default=20_000, help="links to them (%(default)s)")
    parser.add_argument("--min-face-size", type=float, default=40, help="pixels (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="of both (%(default)s)")
    arguments = parser.parse_args()

    adopt_orphans()
    processors = len(os.sched_getaffinity(0))
    print(f"{cpu_model()}, {processors} processors, {arguments.pictures} pictures, {arguments.min_face_size:g} px")
    costs: dict[str, list[Cost]] = {"one process": [], "Ray": []}
    same = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_links(folder / "links", arguments.photos, arguments.pictures)
        shared = [str(folder / "links"), "--min-face-size", str(arguments.min_face_size)]
        for i in range(arguments.rounds):
            lines, job = folder / f"{i}.jsonl", folder / f"job{i}"
            for kind, options in (
                ("one process", ["--json", str(lines), "--num-threads", str(processors)]),
                ("Ray", ["--ray", "local", "--output", str(job)]),
            ):
                cost = cost_of([*shared, *options])
                costs[kind].append(cost)
                print(
                    f"{kind}: {cost.wall:.1f} s, {cost.processor:.1f} s of processor time, "
                    f"{1000 * cost.processor / arguments.pictures:.2f} ms per picture, "
                    f"{cost.megabytes:.0f} MB",
                    flush=True,
                )
            same = same and same_faces(lines, job)
    totals = {kind: sum(cost.processor for cost in each) for kind, each in costs.items()}
    print(f"Ray takes {totals['Ray'] / totals['one process']:.3f} of the processor time of one process")
    print(f"faces: {'the same' if same else 'OTHER'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
