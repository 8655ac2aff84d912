#!/usr/bin/env python3
"""Write the files of the training runs of docs/training.md: a configuration per run, and the lists of pictures.

The pictures are those of tests and benchmarks. The runs learn from the `train.txt` lists of net_7876, facemask and
wider_val_416, and from the object photographs of `negatives` that show no people (`backgrounds.txt`, screened by eye).
Every tenth picture of each list is not learned: the epochs are compared on these. The `test.txt` lists are not used.

    python bench/training/prepare.py $DATA runs
    mtcnn-fast train all --config runs/scratch.toml --output runs/scratch
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from arguments import path

from mtcnn_fast import text_files
from mtcnn_fast.writing import check_folder, write_whole

HERE = Path(__file__).parent
ONE_IN = 10

# The labels of net_7876 end at the eyebrows and the chin; those of the other sets at the hair and below the chin. The
# boxes of the embedded networks, which follow WIDER FACE, reach beyond the labels of net_7876 by these shares: medians
# over 975 of its training pictures.
EXPAND = (0.04, 0.30, 0.04, 0.11)

SETS: dict[str, dict[str, Any]] = {
    "net_7876": {"annotations": "net_7876/train.txt", "complete": False, "expand": EXPAND},
    "facemask": {"annotations": "facemask/annotations"},
    "wider_val_416": {"annotations": "wider_val_416/gt_416.txt"},
    "negatives": {"annotations": "negatives", "format": "backgrounds"},
}
RUNS = ("scratch", "without_mining", "finetune")


def pictures_to_learn(data: Path, name: str) -> list[str]:
    """The names of the pictures of a set that may be learned."""
    place = HERE / "backgrounds.txt" if name == "negatives" else data / name / "train.txt"
    return [line.split(" ")[0] if name == "net_7876" else line for _, line in text_files.lines(place)]


def tables(data: Path, folder: Path) -> str:
    """The sources and the validation sets in TOML. Writes the lists that they name."""
    parts = []
    for name, settings in SETS.items():
        pictures = pictures_to_learn(data, name)
        lists = {
            "sources": [picture for i, picture in enumerate(pictures) if i % ONE_IN],
            "validation": pictures[::ONE_IN],
        }
        for table, chosen in lists.items():
            listing = folder / f"{name}-{table}.txt"
            write_text(listing, "\n".join(chosen) + "\n")
            keys = settings | {"annotations": str((data / settings["annotations"]).resolve()), "only": listing.name}
            # JSON writes a string, a list of numbers and a flag as TOML does.
            lines = [
                f"[[{table}]]",
                *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()),
            ]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write_text(place: Path, text: str) -> None:
    write_whole(place, text.encode(errors="surrogateescape"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=path, help="folder of the photographs")
    parser.add_argument("folder", type=path, help="folder to write to")
    parser.add_argument("--short", action="store_true", help="two epochs of five batches, to try the commands")
    arguments = parser.parse_args()
    check_folder(arguments.folder)
    common = tables(arguments.data, arguments.folder)
    for run in RUNS:
        own = (HERE / f"{run}.toml").read_text()
        if arguments.short:
            own = re.sub(r"^epochs = .*$", "epochs = 2", own, flags=re.MULTILINE)
            own = re.sub(r"^batches = .*$", "batches = 5", own, flags=re.MULTILINE)
        write_text(arguments.folder / f"{run}.toml", f"{own}\n{common}\n")
    print(f"{arguments.folder}: {', '.join(f'{run}.toml' for run in RUNS)}")


if __name__ == "__main__":
    main()
