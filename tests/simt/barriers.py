"""Whether the tests need every barrier of the kernels: runs them with one barrier left out after another (mutation.h).

    barriers.py KERNELS SIMT_TESTS [SIMT_RACES]

A barrier is caught where a group of tests that reaches it fails, crashes or does not end: in simt_tests, where one
thread runs at a time, by one of several schedules, or else in simt_races, where ThreadSanitizer sees a race. What
neither catches must say why it is there: in its line or in the comment above it, "No serial order shows". Writes a
table, and fails unless that holds for every barrier.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

GROUPS = ("suppress", "pnet", "resize", "refine")
SCHEDULES = ("index", "reverse", "random:1")
BARRIER = re.compile(r"\b__sync(threads(_or|_and|_count)?|warp)\(")
EXCUSE = "No serial order shows"


@dataclass
class Barrier:
    """One line of a kernel that has barriers in it."""

    site: str  # file:line
    source: str
    excused: bool
    groups: dict[str, float] = field(default_factory=dict)  # that reach it, and the seconds that they take
    caught: str = ""


def barriers_of(folder: Path) -> list[Barrier]:
    found = []
    for path in sorted([*folder.glob("*.cu"), *folder.glob("*.cuh"), *folder.glob("*.h")]):
        lines = path.read_text().splitlines()
        for index, line in enumerate(lines):
            code, _, comment = line.partition("//")
            if not BARRIER.search(code):
                continue
            above = index
            while above > 0 and lines[above - 1].lstrip().startswith("//"):
                above -= 1
            said = " ".join(part.strip().lstrip("/ ") for part in [*lines[above:index], comment])
            found.append(Barrier(f"{path.name}:{index + 1}", code.strip(), EXCUSE in said))
    return found


def run(program: Path, group: str, timeout: float, **variables: str) -> str:
    """How the first test of a group failed that did, or an empty string."""
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", **variables}
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen([program, group], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        assert process.stdout is not None
        failed = any(line.startswith("FAIL") for line in process.stdout)
        if failed:
            process.kill()  # the other tests do not matter
        status = process.wait()
        in_time = timer.is_alive()
        timer.cancel()
        errors.seek(0)
        said = errors.read()
    if not in_time:
        return "did not end"
    if "ThreadSanitizer: data race" in said:
        return "race"
    if message := re.search(r"^simt: (?:\S*: block \(.*?\), thread \(.*?\): )?(.*)", said, re.MULTILINE):
        return message[1][:50]
    if failed:
        return "wrong result"
    return "" if status == 0 else f"status {status}"


def list_barriers(program: Path, barriers: list[Barrier]) -> bool:
    """Which groups reach which barriers, in how many seconds. Whether all groups pass."""
    by_site = {barrier.site: barrier for barrier in barriers}
    passed = True
    for group in GROUPS:
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as reached:
            start = time.monotonic()
            failure = run(program, group, 1800, SIMT_LIST_BARRIERS=reached.name)
            seconds = time.monotonic() - start
            if failure:
                print(f"{group}, with every barrier in place: {failure}")
                passed = False
            for line in reached:
                site = line.split()[0]
                if site in by_site:
                    by_site[site].groups[group] = seconds
    return passed


def catch(barrier: Barrier, serial: Path, races: Path | None) -> None:
    """The quickest group first."""
    groups = sorted(barrier.groups, key=lambda group: barrier.groups[group])
    for schedule in SCHEDULES:
        for group in groups:
            # Ten times as long as with the barrier in place, on a busy machine: it will not end.
            timeout = 30 + 10 * barrier.groups[group]
            failure = run(serial, group, timeout, SIMT_SCHEDULE=schedule, SIMT_DROP_BARRIER=barrier.site)
            if failure:
                barrier.caught = f"{group}, {schedule}: {failure}"
                return
    if not races:
        return
    for group in groups:
        failure = run(races, group, 300 + 50 * barrier.groups[group], SIMT_DROP_BARRIER=barrier.site)
        if failure:
            barrier.caught = f"{group}, threads: {failure}"
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", type=Path, help="folder of the kernels' sources")
    parser.add_argument("serial", type=Path, metavar="simt_tests")
    parser.add_argument("races", type=Path, metavar="simt_races", nargs="?")
    parser.add_argument("--only", default="", help="barriers of files whose names begin so")
    arguments = parser.parse_args()
    barriers = [barrier for barrier in barriers_of(arguments.kernels) if barrier.site.startswith(arguments.only)]
    if not barriers:
        parser.error(f"no barriers in {arguments.kernels}/{arguments.only}*")
    if not list_barriers(arguments.serial, barriers):
        return 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda barrier: catch(barrier, arguments.serial, arguments.races), barriers))
    failed = 0
    for barrier in barriers:
        verdict = barrier.caught or (
            "excused" if barrier.excused else "NOT CAUGHT" if barrier.groups else "NOT REACHED"
        )
        failed += verdict.startswith("NOT")
        print(f"{barrier.site:24} {barrier.source[:40]:40} {verdict}")
    print(f"{len(barriers)} barriers, {failed} that no test needs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
