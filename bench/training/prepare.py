#!/usr/bin/env python3
"""Write the files of the training runs of docs/training.md: a configuration per run, and the lists of pictures.

The pictures are those of tests and benchmarks. The runs learn from the `train.txt` lists of net_7876, facemask and
wider_val_416, and from the object photographs of `negatives` that show no people (`backgrounds.txt`, screened by eye)
and are not kept out (`objects_kept_out.sha256`). Every fifth picture of facemask and wider_val_416, and every tenth of
the others, is not learned: epochs and settings are compared on these. The `test.txt` lists are not used. Faces that the
labels lack (`ignored/`) are ignored.

The runs `tuned` and `scratch_more` learn from more: `recipe.py` makes their lists and annotations, if `$DATA` has the
folder `more_training`.

    python bench/training/prepare.py $DATA runs
    mtcnn-fast train all --config runs/scratch.toml --output runs/scratch
    mtcnn-fast train all --config runs/tuned.toml --output runs/tuned
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from arguments import path
from lists import HERE, SETS, chosen_pictures, ignored_boxes
from recipe import MORE, Recipe

from mtcnn_fast.writing import check_folder, write_whole

RUNS = ("scratch", "without_mining", "finetune")
RECIPE_RUNS = ("tuned", "scratch_more")


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
            parts.append(toml(table, keys))
    return "\n\n".join(parts)


def toml(name: str, keys: dict[str, Any]) -> str:
    """A table of an array, in TOML."""
    # JSON writes a string, a list of numbers and a flag as TOML does.
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}" for key, value in keys.items())
    return "\n".join([f"[[{name}]]", *lines])


def write_text(place: Path, text: str) -> None:
    write_whole(place, text.encode(errors="surrogateescape"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=path, help="folder of the photographs")
    parser.add_argument("folder", type=path, help="folder to write to")
    parser.add_argument("--short", action="store_true", help="two epochs of five batches, to try the commands")
    parser.add_argument(
        "--teachers",
        type=path,
        nargs="+",
        metavar="FILE",
        help="files of detections for the recipe, of which a later one completes an earlier one (default: "
        f"{MORE}/teachers.jsonl.gz in the data)",
    )
    arguments = parser.parse_args()
    data, folder = arguments.data, arguments.folder.resolve()
    check_folder(folder)
    runs = dict.fromkeys(RUNS, tables(data, folder))
    if (data / MORE).is_dir():
        recipe = Recipe(data, folder, arguments.teachers or [data / MORE / "teachers.jsonl.gz"])
        found = {"sources": recipe.sources(), "validation": recipe.validation()}
        text = "\n\n".join(toml(name, keys) for name, sets in found.items() for keys in sets)
        runs |= dict.fromkeys(RECIPE_RUNS, text)
    for run, common in runs.items():
        own = (HERE / f"{run}.toml").read_text()
        if arguments.short:
            own = re.sub(r"\bepochs = \d+", "epochs = 2", own)
            own = re.sub(r"\bbatches = \d+", "batches = 5", own)
        write_text(folder / f"{run}.toml", f"{own}\n{common}\n")
    print(f"{folder}: {', '.join(f'{run}.toml' for run in runs)}")


if __name__ == "__main__":
    main()
