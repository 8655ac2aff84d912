"""End-to-end speed of mtcnn_fast beside other MTCNN packages and detectors, measured side by side.

Each contestant has a process of its own per thread count. The rounds are interleaved, one image per contestant in turn,
and medians are compared, so that a machine whose speed drifts is fair to all. The whole cascade runs for every image:
nothing is kept from one call to the next. ncnn and OpenVINO run only the three networks, on as many levels and crops as
mtcnn_fast has. Their times are lower bounds of any cascade on these engines.

Candidate counts are mtcnn_fast's own, from `MTCNN.inspect`. The multiply-adds follow from them. A floor is the time of
these multiply-adds on the cores' multiply-add units. The rate of these units is measured in the same rounds, for the
instruction set of the contestant. Other packages have the best one of this machine, unless they are held to AVX2.

    python bench/compare.py --json out.json --plot out.png PHOTO ...

Contestants that are not installed are left out; bench/README.md says how to install them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import frames
import numpy as np
from contestants import CONTESTANTS, OWN, YUNET_MODEL
from photographs import matched
from targets import IMPORT_SECONDS, MEMORY_IMAGES, MEMORY_MB, Verdict, verdicts
from work import Peaks, Work, cpu_model, floor_milliseconds, vectors
from workers import Worker

import mtcnn_fast

Row = dict[str, Any]

# Thread pools of other libraries spin for a while after their work, on processors that the next contestant needs.
PAUSE_SECONDS = 0.1
# A row whose peak is below this share of the run's best was disturbed by other programs.
DISTURBED = 0.9


@dataclass
class Taken:
    """The measurements of one contestant in the rounds of a row."""

    milliseconds: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    boxes: list[list[float]] | None = None


def import_seconds(name: str, repeats: int = 5) -> float:
    """The median time of importing a contestant after NumPy, in fresh processes."""
    timed = "import time, numpy; start = time.perf_counter(); {}; print(); print(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed.format(CONTESTANTS[name].imports)]
    here = Path(__file__).parent
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=here) for _ in range(repeats)]
    return statistics.median(float(run.stdout.split()[-1]) for run in runs)


def run_rounds(
    workers: list[Worker], image: Path, min_face_size: float, work: Work, rounds: int, peaks: Peaks
) -> dict[str, Taken]:
    """Asks every worker once per round, after a round to warm up."""
    taken = {worker.name: Taken() for worker in workers}
    for attempt in range(rounds + 1):
        peaks.measure()
        for worker in workers:
            time.sleep(PAUSE_SECONDS)
            answer = worker.ask(image, min_face_size, work)
            mine = taken[worker.name]
            mine.boxes, mine.memory_mb = answer["boxes"], max(mine.memory_mb, answer["memory_mb"])
            if attempt > 0:
                mine.milliseconds.append(answer["milliseconds"])
    return taken


def result_of(name: str, taken: dict[str, Taken], row: Row, isas: dict[str, str]) -> dict[str, Any]:
    """A contestant's part of a row."""
    mine, own = taken[name], taken[OWN]
    isa = isas[name]
    milliseconds = statistics.median(mine.milliseconds)
    result: dict[str, Any] = {"milliseconds": milliseconds, "isa": isa}
    if vectors(isa) in row["peak_gflops"]:
        floor = floor_milliseconds(row["mmac"], row["peak_gflops"][vectors(isa)], row["threads"])
        result |= {"floor_milliseconds": floor, "floors": milliseconds / floor}
    if name != OWN:
        result["times_slower"] = milliseconds / statistics.median(own.milliseconds)
    if mine.boxes is not None and own.boxes is not None:
        result |= {"faces": len(mine.boxes), "faces_matched": matched(own.boxes, mine.boxes)}
        result["memory_mb"] = round(mine.memory_mb, 1)
    return result


def measure_row(
    workers: list[Worker], frame: str, image: Path, min_face_size: float, args: argparse.Namespace, peaks: Peaks
) -> Row:
    from mtcnn_fast import MTCNN

    pixels = np.load(image)
    inspection = MTCNN(min_face_size=min_face_size, device="cpu").inspect(pixels)
    work = Work.seen(inspection)
    taken = run_rounds(workers, image, min_face_size, work, args.rounds, peaks)
    return {
        "frame": frame,
        "megapixels": pixels.size / 3e6,
        "image_mb": pixels.nbytes / 2**20,
        "min_face_size": min_face_size,
        "candidates": inspection["candidates"],
        "mmac": work.mmac(),
        "peak_gflops": peaks.take(),
        "taken": taken,
    }


def isas_of(names: list[str]) -> dict[str, str]:
    """For each contestant, its instruction set. Other packages compute with the best vectors, unless held to others."""
    best = {True: mtcnn_fast.MTCNN(device="cpu").isa, False: vectors(mtcnn_fast.available_isas()[0])}
    return {name: CONTESTANTS[name].isa or best[name.startswith(OWN)] for name in names}


def save_frames(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Files of the frames, smallest first, because the memory that a contestant keeps would count for later frames."""
    photographs = {path: mtcnn_fast.read(path) for path in args.photos}
    made: dict[str, frames.Image] = {}
    for frame in sorted(args.frames, key=frames.order):
        pixels = frames.make(frame, photographs)
        same = [name for name, other in made.items() if pixels is not None and np.array_equal(other, pixels)]
        if pixels is None:
            print(f"left out: {frame}: one of its photographs is not given", file=sys.stderr)
        elif same:
            print(f"left out: {frame}: the same as {same[0]}", file=sys.stderr)
        else:
            made[frame] = pixels
            np.save(folder / f"{frame}.npy", pixels)
    return {frame: folder / f"{frame}.npy" for frame in made}


def measure(args: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    isas = isas_of(names)
    peaks = Peaks(set(map(vectors, isas.values())))
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": cpu_model(),
        "isa": isas[OWN],
        "rounds": args.rounds,
        "import_seconds": {name: import_seconds(name) for name in names if CONTESTANTS[name].imports},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        images = save_frames(args, Path(folder))
        for threads in args.thread_counts:
            workers = [Worker(name, threads) for name in names]
            for frame, image in images.items():
                for min_face_size in args.min_face_sizes:
                    row = measure_row(workers, frame, image, min_face_size, args, peaks)
                    row["threads"] = threads
                    taken = row.pop("taken")
                    row["contestants"] = {name: result_of(name, taken, row, isas) for name in names}
                    result["rows"].append(row)
                    print(row_text(row), flush=True)
            for worker in workers:
                worker.close()
    peaks.close()
    result["verdicts"] = [asdict(verdict) for verdict in verdicts(result["rows"])]
    return result


def table_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table_head(columns: list[str]) -> str:
    return table_line(columns) + "\n|" + "---|" * len(columns)


def row_name(row: Row) -> str:
    return f"{row['frame']}, {row['min_face_size']:g} px"


def row_text(row: Row) -> str:
    counts = row["candidates"]
    cells = [row_name(row), str(row["threads"]), f"{counts['rnet']} / {counts['onet']} / {counts['faces']}"]
    cells.append(f"{row['contestants'][OWN].get('floor_milliseconds', float('nan')):.1f}")
    for result in row["contestants"].values():
        notes = [f"{result['floors']:.2f}"] if "floors" in result else []
        notes += [f"{result['times_slower']:.1f}x"] if "times_slower" in result else []
        cells.append(f"{result['milliseconds']:.1f} ({', '.join(notes)})")
    return table_line(cells)


def print_verdicts(found: list[Verdict]) -> None:
    """Prints the ratio and the verdict of every target, and once which targets cannot be judged."""
    print(table_head(["target on", "threads", "setting", "instruction set", "beside", "ratio", "wanted", "holds"]))
    for v in found:
        if v.measured is not None:
            cells = [f"{v.frame}, {v.min_face_size:g} px", str(v.threads), v.setting, v.isa, v.beside]
            print(table_line([*cells, f"{v.measured:.2f}", v.wanted, "yes" if v.holds else "NO"]))
    print(f"\n{sum(v.holds is True for v in found)} hold, {sum(v.holds is False for v in found)} do not")
    for setting, isa, beside in dict.fromkeys((v.setting, v.isa, v.beside) for v in found if v.measured is None):
        print(f"no verdict: {setting} beside {beside}, which this run did not measure with the vectors of {isa}")


def print_speed_ups(rows: list[Row]) -> None:
    """Prints how much faster mtcnn_fast is on more threads than on one."""
    single = {row_name(row): row for row in rows if row["threads"] == 1}
    several = [row for row in rows if row["threads"] > 1 and row_name(row) in single]
    if not several:
        return
    print("\n" + table_head(["threads", "frame", "setting", "times one thread"]))
    for row in several:
        for name, result in row["contestants"].items():
            if name.startswith(OWN):
                times = single[row_name(row)]["contestants"][name]["milliseconds"] / result["milliseconds"]
                print(table_line([str(row["threads"]), row_name(row), name, f"{times:.2f}"]))


def print_faces(rows: list[Row]) -> None:
    """Prints how many of each contestant's faces mtcnn_fast has (IoU 0.5), once per frame."""
    names = [name for name, result in rows[0]["contestants"].items() if "faces" in result]
    print("\n" + table_head(["faces matched", *names]))
    for row in rows:
        if row["threads"] == rows[0]["threads"]:
            found = [row["contestants"][name] for name in names]
            print(table_line([row_name(row), *(f"{r['faces_matched']} of {r['faces']}" for r in found)]))


def print_memory(rows: list[Row]) -> None:
    """Prints the peak resident memory beyond the interpreter's and NumPy's, the most over all thread counts."""
    names = [name for name, result in rows[0]["contestants"].items() if "memory_mb" in result]
    print("\n" + table_head(["memory beyond NumPy's, MB", f"target of {OWN}", "holds", *names]))
    for name in dict.fromkeys(row_name(row) for row in rows):
        same = [row for row in rows if row_name(row) == name]
        used = {who: max(row["contestants"][who]["memory_mb"] for row in same) for who in names}
        allowed = MEMORY_IMAGES * same[0]["image_mb"] + MEMORY_MB
        holds = "yes" if used[OWN] <= allowed else "NO"
        print(table_line([name, f"{allowed:.0f}", holds, *(f"{used[who]:.0f}" for who in names)]))


def print_summary(result: dict[str, Any]) -> None:
    rows = result["rows"]
    peaks = {isa: max(row["peak_gflops"][isa] for row in rows) for isa in rows[0]["peak_gflops"]}
    rates = ", ".join(f"{isa} {peak:.0f}" for isa, peak in peaks.items())
    print(f"\n{result['processor']}, {result['isa']}; fp32 peak of one core, GFLOP/s: {rates}")
    for row in rows:
        if any(row["peak_gflops"][isa] < DISTURBED * peak for isa, peak in peaks.items()):
            print(f"disturbed, measure again: {row_name(row)}, {row['threads']} threads: {row['peak_gflops']}")
    print()
    print_verdicts([Verdict(**verdict) for verdict in result["verdicts"]])
    print_speed_ups(rows)
    print_faces(rows)
    print_memory(rows)
    seconds = result["import_seconds"]
    print("\nImport beyond NumPy, s: " + ", ".join(f"{name} {value:.3f}" for name, value in seconds.items()))
    print(f"Target of {OWN}: {IMPORT_SECONDS} s: {'holds' if seconds[OWN] <= IMPORT_SECONDS else 'DOES NOT HOLD'}")


def chosen(wanted: list[str] | None) -> list[str]:
    """The contestants to measure, mtcnn_fast first. Prints which of the wanted ones cannot be measured."""
    names = [OWN]
    for name in wanted or [name for name, contestant in CONTESTANTS.items() if contestant.in_default]:
        reason = CONTESTANTS[name].unavailable()
        if reason:
            print(f"left out: {name}: {reason}", file=sys.stderr)
        elif name not in names:
            names.append(name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
    parser.add_argument("photos", nargs="*", type=Path, default=[default], help=f"photographs (default {default.name})")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, help="(default all that differ)")
    parser.add_argument("--frames", nargs="+", choices=frames.WORKLOADS, default=[*frames.WORKLOADS], help="(all)")
    parser.add_argument("--min-face-sizes", nargs="+", type=float, default=[20, 40], help="pixels (default 20 40)")
    parser.add_argument("--thread-counts", nargs="+", type=int, default=[1, 2], help="(default 1 2)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--yunet-model", type=Path, help="YuNet's ONNX file of opencv_zoo (default: leave YuNet out)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--plot", type=Path, help="draw the times to this PNG file (needs Matplotlib)")
    args = parser.parse_args()
    if args.yunet_model:
        if not args.yunet_model.is_file():
            parser.error(f"--yunet-model is {args.yunet_model}, wanted the path of an ONNX file")
        os.environ[YUNET_MODEL] = str(args.yunet_model.resolve())
    names = chosen(args.contestants)
    print(table_head(["frame, min_face_size", "threads", "R / O / faces", "floor, ms", *(f"{n}, ms" for n in names)]))
    result = measure(args, names)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print_summary(result)
    if args.plot:
        import plot

        plot.draw(result, args.plot)


if __name__ == "__main__":
    main()
