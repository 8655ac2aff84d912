#!/usr/bin/env python3
"""Programs for other packages beside the same programs on mtcnn_fast, by `mtcnn_fast.compat.install`: faces and speed.

The programs in bench/users/ are not changed. Each runs twice, in a process of its own: with the package that it
imports, and after `install`. The rounds are interleaved: each process is asked for one picture in turn. Medians are
compared, of the time and of the processor's time, because other programs may run on the machine.

    python bench/drop_in.py --json out.json PHOTO ...

Packages that are not installed are left out. The exit status is 1 if a face differs from the package's.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import contestants
import frames
import numpy as np
from photographs import pairs
from work import cpu_model

import mtcnn_fast
import mtcnn_fast.compat

PROGRAMS = {path.stem.removeprefix("with_"): path for path in sorted(Path(__file__).parent.glob("users/with_*.py"))}
# The promise of the profiles (docs/numerics.md).
LEAST_IOU, SCORE_TOLERANCE = 0.98, 0.005


class Program:
    """The asking end of the pipes to a user's program, with its package or on mtcnn_fast."""

    def __init__(self, peer: str, installed: bool, threads: int) -> None:
        self.milliseconds: list[float] = []
        self.processor_milliseconds: list[float] = []
        names = ("OPENCV_FOR_THREADS_NUM", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        threads_of = contestants.CONTESTANTS[contestants.OWN].environment_for(threads)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", peer, *["--install"] * installed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads_of, **dict.fromkeys(names, str(threads))},
        )

    def ask(self, image: Path) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{image}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "null")
        if answer is None:
            raise RuntimeError(f"the program ended with status {self._process.wait()}")
        return answer

    def close(self) -> None:
        self._process.communicate()


def serve(peer: str, install: bool) -> None:
    """The answering end: faces and times of one picture per line of stdin."""
    from PIL import Image

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where programs print
    if install:
        mtcnn_fast.compat.install(peer)
    elif peer == "facenet_pytorch":
        contestants.provide_torchvision_nms()
    find = runpy.run_path(str(PROGRAMS[peer]))["find"]
    for line in sys.stdin:
        image = Image.fromarray(np.load(line.rstrip("\n")))
        find(image)
        start, processor_start = time.perf_counter(), time.process_time()
        faces = find(image)
        times = time.perf_counter() - start, time.process_time() - processor_start
        answer = {"milliseconds": times[0] * 1e3, "processor_milliseconds": times[1] * 1e3, "faces": faces.tolist()}
        print(json.dumps(answer), file=answers, flush=True)


def equal_faces(theirs: list[list[float]], ours: list[list[float]]) -> int:
    """The number of faces in both that the promise of the profiles calls the same."""
    a, b = (np.array(rows, np.float32).reshape(-1, 15) for rows in (theirs, ours))
    mine, others = pairs(a[:, :4], a[:, 4], b[:, :4], LEAST_IOU)
    return int((np.abs(a[mine, 4] - b[others, 4]) <= SCORE_TOLERANCE).sum())


def measure(peer: str, frame: str, image: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    both = {"package": Program(peer, False, arguments.threads), "mtcnn_fast": Program(peer, True, arguments.threads)}
    faces: dict[str, list[list[float]]] = {}
    row: dict[str, Any] = {"package": peer, "frame": frame, "threads": arguments.threads}
    for _ in range(arguments.rounds):
        for name, program in both.items():
            answer = program.ask(image)
            faces[name] = answer["faces"]
            program.milliseconds.append(answer["milliseconds"])
            program.processor_milliseconds.append(answer["processor_milliseconds"])
    for unit in ("milliseconds", "processor_milliseconds"):
        times = {name: statistics.median(getattr(program, unit)) for name, program in both.items()}
        times["ratio"] = times["package"] / times["mtcnn_fast"]
        row[unit] = {name: round(value, 2) for name, value in times.items()}
    for program in both.values():
        program.close()
    row["faces"] = {name: len(found) for name, found in faces.items()}
    row["equal"] = equal_faces(faces["package"], faces["mtcnn_fast"])
    return row


def text(row: dict[str, Any]) -> str:
    cells = [row["package"], row["frame"], str(row["threads"])]
    for unit in ("milliseconds", "processor_milliseconds"):
        times = row[unit]
        cells.append(f"{times['package']:.1f} / {times['mtcnn_fast']:.1f} = {times['ratio']:.1f}")
    cells.append(f"{row['faces']['package']} / {row['faces']['mtcnn_fast']} / {row['equal']}")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "tests" / "data" / "astronaut.jpg"
    parser.add_argument("photos", nargs="*", type=Path, default=[default], help=f"photographs (default {default.name})")
    parser.add_argument("--packages", nargs="+", choices=PROGRAMS, default=[*PROGRAMS], help="(default all)")
    parser.add_argument("--frames", nargs="+", choices=frames.WORKLOADS, default=["640x480"], help="(default 640x480)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each program (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default 9)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--serve", choices=PROGRAMS, help=argparse.SUPPRESS)  # be the process of a program
    parser.add_argument("--install", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.install)
        return 0
    photographs = {path: mtcnn_fast.read(path) for path in arguments.photos}
    rows = []
    print("| package | frame | threads | time, ms: package / mtcnn_fast = ratio | processor time, ms | faces / equal |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for peer in arguments.packages:
            if importlib.util.find_spec(peer) is None:
                print(f"left out: {peer} is not installed", file=sys.stderr)
                continue
            for frame in arguments.frames:
                image = Path(folder) / f"{frame}.npy"
                pixels = frames.make(frame, photographs)
                if pixels is None:
                    print(f"left out: {frame}: one of its photographs is not given", file=sys.stderr)
                    continue
                np.save(image, pixels)
                rows.append(measure(peer, frame, image, arguments))
                print(text(rows[-1]), flush=True)
    if arguments.json:
        found = {"date": datetime.date.today().isoformat(), "processor": cpu_model(), "rounds": arguments.rounds}
        arguments.json.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n")
    return int(any(row["faces"] != {"package": row["equal"], "mtcnn_fast": row["equal"]} for row in rows))


if __name__ == "__main__":
    sys.exit(main())
