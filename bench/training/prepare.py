#!/usr/bin/env python3
"""Write the files of the training runs of docs/training.md: a configuration per run, and the lists of pictures.

The pictures are those of tests and benchmarks. The runs learn from the `train.txt` lists of net_7876, facemask and
wider_val_416, and from the object photographs of `negatives` that show no people (`backgrounds.txt`, screened by eye)
and are not kept out (`objects_kept_out.sha256`). Every fifth picture of facemask and wider_val_416, and every tenth of
the others, is not learned: epochs and settings are compared on these. The `test.txt` lists are not used. Faces that the
labels lack (`ignored/`) are ignored.

    python bench/training/prepare.py $DATA runs
    mtcnn-fast train all --config runs/scratch.toml --output runs/scratch
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path, PurePath
from typing import Any

from arguments import path

from mtcnn_fast import text_files
from mtcnn_fast.writing import check_folder, write_whole

HERE = Path(__file__).parent
KEPT_OUT = HERE / "objects_kept_out.sha256"

# Pictures of the sets that are also in a test list, under another name (`compare_pictures.py`).
IN_TEST_LISTS = {"333_0_0", "maksssksksss327", "maksssksksss662", "maksssksksss680"}

# Of these sets, whose faces decide, there are few pictures.
ONE_IN = {"facemask": 5, "wider_val_416": 5}
ONE_IN_OTHERS = 10

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


def objects_kept_out(data: Path) -> list[str]:
    """The names of the object photographs that no network learns. Raises ValueError if a file is another one."""
    names = []
    for _, line in text_files.lines(KEPT_OUT):
        digest, name = line.split(maxsplit=1)
        file = data / "negatives" / name
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{file} is not the file that {KEPT_OUT.name} names: its SHA-256 differs")
        names.append(name)
    return names


def chosen_pictures(data: Path, name: str) -> dict[str, list[str]]:
    """The names of a set's pictures that may be learned, divided into "sources" and "validation"."""
    place = HERE / "backgrounds.txt" if name == "negatives" else data / name / "train.txt"
    pictures = [line.split(" ")[0] if name == "net_7876" else line for _, line in text_files.lines(place)]
    left_out = IN_TEST_LISTS | {PurePath(kept).stem for kept in objects_kept_out(data) if name == "negatives"}
    pictures = [picture for picture in pictures if PurePath(text_files.portable(picture)).stem not in left_out]
    one_in = ONE_IN.get(name, ONE_IN_OTHERS)
    return {
        "sources": [picture for i, picture in enumerate(pictures) if i % one_in],
        "validation": pictures[::one_in],
    }


def ignored_boxes(name: str, doubtful: bool) -> dict[str, list[list[float]]]:
    """The faces that the labels of a set lack, by picture. doubtful: with those that may be faces."""
    boxes: dict[str, list[list[float]]] = {}
    for suffix in ("", "_doubtful") if doubtful else ("",):
        file = HERE / "ignored" / f"{name}{suffix}.json"
        if file.exists():
            for picture, more in json.loads(file.read_text()).items():
                boxes.setdefault(picture, []).extend(more)
    return boxes


def tables(data: Path, folder: Path) -> str:
    """The sources and the validation sets in TOML. Writes the lists and the ignored boxes that they name."""
    parts = []
    for name, settings in SETS.items():
        for table, chosen in chosen_pictures(data, name).items():
            listing = folder / f"{name}-{table}.txt"
            write_text(listing, "\n".join(chosen) + "\n")
            keys = settings | {"annotations": str((data / settings["annotations"]).resolve()), "only": listing.name}
            # What may be a face is not learned as background, but the measure counts it, as on the test lists.
            if ignored := ignored_boxes(name, doubtful=table == "sources"):
                file = folder / f"{name}-{table}-ignored.json"
                write_text(file, json.dumps(ignored))
                keys["ignored"] = file.name
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
