"""Whether the tests need every barrier, atomic and wait of the kernels: runs them with one less after another.

    barriers.py KERNELS SIMT_TESTS [SIMT_RACES]

A barrier is left out, and so is a wait for earlier kernels; an atomic becomes a load and a store, between which other
threads and blocks run (mutation.h). Each is caught where a test that reaches it fails, crashes or does not end: in
simt_tests, where one thread runs at a time, by one of several schedules, or else in simt_races, where ThreadSanitizer
sees a race. What neither can catch says why it is there: in its line or in the comment above it, "No serial order
shows"; simt_tests does not try it. Writes a table, and fails unless that holds for every one of them.
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

# Of tests, and of them the one in which kernels begin before earlier ones have ended, which simt_races has not.
GROUPS = ("suppress", "pnet", "resize", "refine")
EARLY = "host.kernels_begin_early_and_wait"
SCHEDULES = ("index", "reverse", "random:1")
# By the variable that leaves them out.
KINDS = {
    "SIMT_DROP_BARRIER": re.compile(r"\b__sync(threads(_or|_and|_count)?|warp)\("),
    "SIMT_DROP_ATOMIC": re.compile(r"\batomic[A-Z]\w+\("),
    "SIMT_DROP_WAIT": re.compile(r"^\s*wait_for_earlier_kernels\("),
}
EXCUSE = "No serial order shows"


@dataclass
class Needed:
    """One line of a kernel that has barriers in it, or atomics, or a wait."""

    site: str  # file:line
    variable: str
    source: str
    excused: bool
    tests: dict[str, float] = field(default_factory=dict)  # that reach it, and the seconds that they take
    caught: str = ""


def needed_by(folder: Path) -> list[Needed]:
    found = []
    for path in sorted([*folder.glob("*.cu"), *folder.glob("*.cuh"), *folder.glob("*.h")]):
        lines = path.read_text().splitlines()
        for index, line in enumerate(lines):
            code, _, comment = line.partition("//")
            variables = [variable for variable, kind in KINDS.items() if kind.search(code)]
            if not variables:
                continue
            above = index
            while above > 0 and lines[above - 1].lstrip().startswith("//"):
                above -= 1
            said = " ".join(part.strip().lstrip("/ ") for part in [*lines[above:index], comment])
            site = f"{path.name}:{index + 1}"
            found.extend(Needed(site, variable, code.strip(), EXCUSE in said) for variable in variables)
    return found


def run(program: Path, test: str, timeout: float, **variables: str) -> str:
    """How a test failed, or an empty string."""
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", **variables}
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen([program, test], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        assert process.stdout is not None
        failed = any(line.startswith("FAIL") for line in process.stdout)
        if failed:
            process.kill()
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


def list_tests(program: Path, all_needed: list[Needed]) -> bool:
    """Which tests reach which of them, in how many seconds. Whether all tests pass."""
    sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("test_*.cpp")))
    tests = [f"{group}.{name}" for group, name in re.findall(r"^TEST\((\w+), (\w+)\)", sources, re.MULTILINE)]
    passed = True
    for test in tests:
        if test.split(".")[0] not in GROUPS and test != EARLY:
            continue
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as reached:
            start = time.monotonic()
            failure = run(program, test, 1800, SIMT_LIST_SITES=reached.name)
            seconds = time.monotonic() - start
            if failure:
                print(f"{test}, with everything in place: {failure}")
                passed = False
            sites = {line.split()[0] for line in reached}
            for needed in all_needed:
                if needed.site in sites:
                    needed.tests[test] = seconds
    return passed


def catch(needed: Needed, serial: Path, races: Path | None) -> None:
    """The quickest test first."""
    tests = sorted(needed.tests, key=lambda test: needed.tests[test])
    for schedule in () if needed.excused else SCHEDULES:
        for test in tests:
            # Ten times as long as with it in place, on a busy machine: it will not end.
            timeout = 30 + 10 * needed.tests[test]
            failure = run(serial, test, timeout, **{"SIMT_SCHEDULE": schedule, needed.variable: needed.site})
            if failure:
                needed.caught = f"{test}, {schedule}: {failure}"
                return
    if not races:
        return
    for test in tests:
        if test == EARLY:
            continue
        failure = run(races, test, 300 + 50 * needed.tests[test], **{needed.variable: needed.site})
        if failure:
            needed.caught = f"{test}, threads: {failure}"
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", type=Path, help="folder of the kernels' sources")
    parser.add_argument("serial", type=Path, metavar="simt_tests")
    parser.add_argument("races", type=Path, metavar="simt_races", nargs="?")
    parser.add_argument("--only", default="", help="those of files whose names begin so")
    arguments = parser.parse_args()
    all_needed = [needed for needed in needed_by(arguments.kernels) if needed.site.startswith(arguments.only)]
    if not all_needed:
        parser.error(f"no barriers, atomics or waits in {arguments.kernels}/{arguments.only}*")
    if not list_tests(arguments.serial, all_needed):
        return 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda needed: catch(needed, arguments.serial, arguments.races), all_needed))
    failed = 0
    for needed in all_needed:
        verdict = needed.caught or ("excused" if needed.excused else "NOT CAUGHT" if needed.tests else "NOT REACHED")
        failed += verdict.startswith("NOT")
        print(f"{needed.site:24} {needed.source[:40]:40} {verdict}")
    print(f"{len(all_needed)} barriers, atomics and waits, {failed} that no test needs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
