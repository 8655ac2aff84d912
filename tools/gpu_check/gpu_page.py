"""The last page of a run: the times of its steps, the GPU's beside their predictions, and what to read first."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpu_steps import Run

Row = dict[str, Any]

# A step of the cascade that takes this many times as long as predicted is looked at first.
OVER = 4 / 3
COLUMNS = 4  # of a table of the cascade's steps
WHERE_TO_LOOK = {
    "pyramid": "memory: wavefronts of L1 for each load of bytes",
    "pnet": "occupancy (three blocks a multiprocessor?), then conflicts in shared memory",
    "rnet": "stall reasons: long_scoreboard (loads not ahead) or mio_throttle (the return path of shared memory)",
    "onet": "stall reasons: long_scoreboard (loads not ahead) or mio_throttle (the return path of shared memory)",
    "rnet_crops": "stall reasons: barrier (windows are made by one warp) and long_scoreboard",
    "onet_crops": "stall reasons: barrier (windows are made by one warp) and long_scoreboard",
}
OTHERWISE = "stall reasons: barrier and long_scoreboard"


def read_json(path: Path) -> Row:
    """What a JSON file holds; nothing if there is none, or half of one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def columns(rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a table, each column as wide as its widest cell."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))] if cells else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def step_table(run: Run) -> list[str]:
    rows = [["step", "s", "limit", "", ""]]
    for outcome in run.outcomes:
        seconds = f"{outcome.seconds:.0f}" if outcome.limit else ""
        limit = f"{outcome.limit:.0f}" if outcome.limit else ""
        rows.append([outcome.step, seconds, limit, outcome.verdict, outcome.note])
    return columns(rows)


def cascade_rows(bench: Row) -> list[Row]:
    """The steps of single images."""
    return [row for row in bench.get("cascades", []) if row["images"] == 1]


def cascade_tables(bench: Row) -> list[str]:
    """Microseconds of each step, beside the prediction: a column for each frame, size of faces and precision."""
    rows = cascade_rows(bench)
    lines = []
    for first in range(0, len(rows), COLUMNS):
        lines += ["", *cascade_table(rows[first : first + COLUMNS])]
    return lines[1:] or ["no step of the cascade was measured"]


def cascade_table(rows: list[Row]) -> list[str]:
    head = ["us / predicted", *(f"{row['frame']} {row['min_face_size']:g} px {row['precision']}" for row in rows)]
    counts = ["R / O", *(f"{row['candidates']['rnet']} / {row['candidates']['onet']}" for row in rows)]
    assumed = ["predicted for R / O"]
    for row in rows:
        predicted = row.get("predicted")
        assumed.append(f"{predicted['rnet']} / {predicted['onet']}" if predicted else "-")
    table = [head, counts, assumed]
    for name in [step["name"] for step in rows[0]["steps"]]:
        cells = [name]
        for row in rows:
            measured = next(step["microseconds"] for step in row["steps"] if step["name"] == name)
            predicted = (row.get("predicted") or {}).get("steps", {}).get(name)
            cells.append(f"{measured:.1f} / {'-' if predicted is None else f'{predicted:.1f}'}")
        table.append(cells)
    return columns(table)


def call_table(bench: Row) -> list[str]:
    """Whole calls that have a target, beside it and the prediction."""
    rows = [["whole calls, images on the device", "batch", "measured", "predicted", "target here", ""]]
    for row in bench.get("targets", []):
        predicted = row.get("predicted")
        rows.append(
            [
                f"{row['frame']} {row['min_face_size']:g} px {row['precision']}",
                str(row["batch"]),
                f"{row['measured']:.0f} {row['unit']}",
                "-" if predicted is None else f"{predicted:.0f}",
                f"{row['target']:.0f}",
                "holds" if row["holds"] else "missed",
            ]
        )
    return columns(rows) if len(rows) > 1 else ["no call with a target was measured"]


def small_table(bench: Row) -> list[str]:
    """bench_cuda's small measurements, beside what the predictions assume."""
    rows = [["small measurements", "measured", "assumed", "unit"]]
    for row in bench.get("small", []):
        assumed = row.get("assumed")
        rows.append(
            [row["name"], f"{row['value']:.4g}", "-" if assumed is None else f"{assumed:.4g}", row.get("unit", "")]
        )
    return columns(rows) if len(rows) > 1 else []


def slow_steps(bench: Row) -> list[str]:
    """The steps that take longer than predicted, and where to look in the kernels' list; most over first."""
    found: dict[str, tuple[float, str]] = {}
    for row in cascade_rows(bench):
        for step in row["steps"]:
            predicted = (row.get("predicted") or {}).get("steps", {}).get(step["name"])
            if predicted and step["microseconds"] > OVER * predicted:
                times = step["microseconds"] / predicted
                case = f"{row['frame']} {row['min_face_size']:g} px {row['precision']}"
                if times > found.get(step["name"], (0.0, ""))[0]:
                    found[step["name"]] = (times, case)
    ordered = sorted(found.items(), key=lambda item: -item[1][0])
    lines = [
        f"{name} takes {times:.1f} times its prediction ({case}): {WHERE_TO_LOOK.get(name, OTHERWISE)}"
        for name, (times, case) in ordered
    ]
    return lines + gaps(bench)


def gaps(bench: Row) -> list[str]:
    """Calls whose steps add up to far less than the whole."""
    lines = []
    whole = {
        (row["frame"], row["min_face_size"], row["precision"]): 1e3 * row["milliseconds"]
        for row in bench.get("calls", [])
        if row["memory"] == "device" and row["batch"] == 1
    }
    for row in cascade_rows(bench):
        call = whole.get((row["frame"], row["min_face_size"], row["precision"]))
        if call is not None and row["microseconds"] < call / OVER:
            lines.append(
                f"the steps are {row['microseconds']:.0f} of {call:.0f} us ({row['frame']} {row['min_face_size']:g} px "
                f"{row['precision']}): start, copy and wait are the rest"
            )
    return lines


def first_failure(report: Path) -> str | None:
    """The first test that failed, of pytest's report in JUnit's format; None if none did or there is no report."""
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    for case in root.iter("testcase"):
        for kind in ("error", "failure"):
            problem = case.find(kind)
            if problem is not None:
                message = " ".join((problem.get("message") or "").split())
                return f"{case.get('classname')}::{case.get('name')}: {message[:200]}"
    return None


def sanitizer_summary(log: Path) -> str | None:
    """The last summary of compute-sanitizer's log, and its first error; None without a log."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    summary = [line for line in lines if "SUMMARY" in line]
    # "========= Invalid __global__ read of size 4 bytes": a line that begins a report and belongs to none.
    begins = re.compile(r"^=+ (?!COMPUTE-SANITIZER|.*SUMMARY|\s)(\S.*)")
    errors = [found[1] for line in lines if (found := begins.match(line))]
    said = summary[-1].strip("= ") if summary else "no summary: it did not end"
    return said + (f"; the first: {errors[0]}" if errors else "")


def kernel_count(table: Path) -> int:
    """The kernels in ncu's CSV files, which may stand one after the other."""
    try:
        with table.open(newline="", errors="replace") as file:
            return sum(1 for row in csv.reader(file) if row and row[0].isdecimal())
    except OSError:
        return 0


def read_first(run: Run, bench: Row, checks: Row, files: dict[str, Path]) -> list[str]:
    """What deserves to be read first: failures in the order of the run, then slow steps."""
    lines = [f"{outcome.step} {outcome.verdict}: {outcome.note}" for outcome in run.failures()]
    failure = first_failure(files["tests"])
    if failure:
        lines.append(f"the first test that failed (one sticky CUDA error fails the rest of its process): {failure}")
    for step in ("device_memcheck", "memcheck", "racecheck"):
        summary = sanitizer_summary(files[step])
        if summary and not re.search(r"\b0 (errors|hazards)", summary):
            lines.append(f"{step}: {summary}")
    lines += [f"bench_cuda: {text}" for text in bench.get("failed", [])]
    lines += [f"gpu.py: {text}" for text in checks.get("failed", [])]
    lines += slow_steps(bench)
    lines += [f"{outcome.step} {outcome.verdict}, which is not clean: {outcome.note}" for outcome in run.unfinished()]
    return lines or ["nothing failed, and no step is over its prediction by more than a third"]


def page(title: str, run: Run, files: dict[str, Path]) -> str:
    """The page. files: by step, where its results are, if it has made any."""
    bench, checks = read_json(files["bench_cuda"]), read_json(files["gpu"])
    lines = [title, f"{run.elapsed():.0f} s of {run.seconds:.0f}", "", *step_table(run)]
    lines += ["", *call_table(bench), "", *cascade_tables(bench)]
    small = small_table(bench)
    lines += ["", *small] if small else []
    kernels = kernel_count(files["kernels"])
    lines += ["", f"kernels that ncu describes: {kernels} ({files['kernels'].name})" if kernels else "ncu: nothing"]
    lines += ["", "READ FIRST"] + [
        f"{number}. {line}" for number, line in enumerate(read_first(run, bench, checks, files), 1)
    ]
    return "\n".join(lines) + "\n"
