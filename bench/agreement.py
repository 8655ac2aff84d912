#!/usr/bin/env python3
"""Agreement of every instruction set with the oracle (tests/reference.py) on photographs.

An image is exact if it has the same faces within rounding. It is explained if each of its differences comes from a
decision that float32 may take either way. Any other difference is an error, and makes the exit status 1.

    python bench/agreement.py --limit 50 --profiles reference --json agreement.json
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from photographs import DATA, SETS, load

import mtcnn_fast

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

Outcome = tuple[str, str, str]  # instruction set, "exact", "explained" or "unexplained", and a text about it


@functools.cache
def detector(isa: str, profile: str, min_face_size: float) -> mtcnn_fast.MTCNN:
    os.environ["MTCNN_FAST_ISA"] = isa
    return mtcnn_fast.MTCNN(profile=profile, min_face_size=min_face_size, device="cpu", num_threads=1)


def compare(job: tuple[Path, str, float, tuple[str, ...]]) -> list[Outcome]:
    path, profile, min_face_size, isas = job
    image = mtcnn_fast.read(path)
    result = reference.detect(image, profile=profile, min_face_size=min_face_size)
    outcomes = []
    for isa in isas:
        faces = detector(isa, profile, min_face_size).detect(image)
        try:
            explanations = reference.assert_agrees(result, *faces.astuple())
        except AssertionError as error:
            outcomes.append((isa, "unexplained", f"{path.name}, {isa}: {error}"))
            continue
        said = "".join(f"\n  {decision}" for decision in explanations)
        outcomes.append((isa, "explained" if explanations else "exact", f"{path.name}, {isa}:{said}"))
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets of photographs (all)")
    parser.add_argument("--limit", type=int, help="most photographs per set (all)")
    parser.add_argument("--profiles", nargs="+", choices=list(reference.CONVENTIONS), default=["reference"])
    here = mtcnn_fast.available_isas()
    parser.add_argument("--isas", nargs="+", choices=here, default=here, help="instruction sets (all)")
    parser.add_argument("--min-face-size", type=float, default=20, help="pixels (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="images at a time (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="also print the decisions that explain differences")
    parser.add_argument("--json", type=Path, help="file to write the counts to")
    arguments = parser.parse_args()

    # NumPy's threads would compete with the processes.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    rows: list[dict[str, Any]] = []
    print("| profile | photographs | instruction set | images | exact | explained | unexplained |")
    print("|---|---|---|---:|---:|---:|---:|")
    details = []
    # The processes are spawned, so that NumPy reads the variables above.
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for profile in arguments.profiles:
            for name in arguments.sets:
                photographs = load(arguments.data, name, arguments.limit)
                isas = tuple(arguments.isas)
                jobs = [(photograph.path, profile, arguments.min_face_size, isas) for photograph in photographs]
                counts: Counter[tuple[str, str]] = Counter()
                for isa, verdict, said in (outcome for part in pool.imap(compare, jobs) for outcome in part):
                    counts[isa, verdict] += 1
                    if verdict == "unexplained" or (arguments.verbose and verdict == "explained"):
                        details.append(said)
                for isa in isas:
                    row = {verdict: counts[isa, verdict] for verdict in ("exact", "explained", "unexplained")}
                    numbers = " | ".join(str(count) for count in row.values())
                    print(f"| {profile} | {name} | {isa} | {len(jobs)} | {numbers} |", flush=True)
                    rows.append({"profile": profile, "set": name, "isa": isa, "images": len(jobs), **row})
    print("\n" + "\n".join(details))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["unexplained"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
