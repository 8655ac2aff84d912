"""Draws the measurements of bench/compare.py: milliseconds per image, with a group of bars per frame.

python bench/plot.py results.json times.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

OWN_COLOURS = ("#0b5394", "#6fa8dc", "#134f5c", "#76a5af", "#9fc5e8")
PEER_COLOURS = ("#cc4125", "#e69138", "#f1c232", "#a64d79", "#e06666", "#d5a6bd")
ENGINE_COLOURS = ("#434343", "#666666", "#999999", "#cccccc")


def colours(names: list[str]) -> dict[str, str]:
    """A colour per contestant: blue for mtcnn_fast, grey for networks without a cascade, warm colours for the rest."""
    from contestants import CONTESTANTS, OWN

    palettes = {"own": iter(OWN_COLOURS), "engine": iter(ENGINE_COLOURS), "peer": iter(PEER_COLOURS)}

    def family(name: str) -> str:
        return "own" if name.startswith(OWN) else "engine" if CONTESTANTS[name].networks_only else "peer"

    return {name: next(palettes[family(name)]) for name in names}


def shown_rows(result: dict[str, Any], threads: int, min_face_size: float) -> list[dict[str, Any]]:
    """The rows of frames that are made of named photographs, if there are any; else the rows of all frames."""
    rows = [row for row in result["rows"] if row["threads"] == threads and row["min_face_size"] == min_face_size]
    return [row for row in rows if " " in row["frame"]] or rows


def label(row: dict[str, Any]) -> str:
    counts = row["candidates"]
    return f"{row['frame'].replace(' ', ', ')}\n{counts['rnet']} / {counts['onet']} crops"


def rounded(value: float) -> str:
    """The value with three figures, or with all figures before the point."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}"


def draw(result: dict[str, Any], path: Path, threads: int | None = None, min_face_size: float | None = None) -> None:
    """Writes a PNG file. threads, min_face_size: those of the rows to draw; None: those of the first row."""
    import matplotlib

    matplotlib.use("Agg")
    from contestants import CONTESTANTS, OWN
    from matplotlib import pyplot
    from work import vectors

    threads = threads or result["rows"][0]["threads"]
    min_face_size = min_face_size or result["rows"][0]["min_face_size"]
    rows = shown_rows(result, threads, min_face_size)
    if not rows:
        raise ValueError(f"no rows of {threads} threads and a min_face_size of {min_face_size:g} were measured")
    names = list(rows[0]["contestants"])
    # The order: mtcnn_fast, other detectors, networks without a cascade.
    names.sort(key=lambda name: (CONTESTANTS[name].networks_only, not name.startswith(OWN)))
    palette = colours(names)
    width = 0.86 / len(names)
    figure, axes = pyplot.subplots(figsize=(11, 4.6), layout="constrained")
    for k, name in enumerate(names):
        places = [i - 0.43 + (k + 0.5) * width for i in range(len(rows))]
        times = [row["contestants"][name]["milliseconds"] for row in rows]
        title = f"{name}: networks only" if CONTESTANTS[name].networks_only else name
        bars = axes.bar(places, times, width * 0.92, color=palette[name], label=title)
        axes.bar_label(
            bars,
            list(map(rounded, times)),
            padding=2,
            fontsize=7,
            rotation=90,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            zorder=3,
        )
    floors = [row["contestants"][OWN].get("floor_milliseconds") for row in rows]
    if all(floors):
        axes.hlines(
            floors,
            [i - 0.45 for i in range(len(rows))],
            [i + 0.45 for i in range(len(rows))],
            colors="black",
            linestyles="dotted",
            label=f"fp32 floor, {vectors(result['isa'])}",
        )
    axes.set_yscale("log")
    axes.set_ylim(top=axes.get_ylim()[1] * 3)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xticks(range(len(rows)), [label(row) for row in rows])
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("ms per image (logarithmic)")
    plural = "s" if threads > 1 else ""
    axes.set_title(
        f"Image to faces, min_face_size {min_face_size:g}, {threads} thread{plural}: {result['processor']}", fontsize=10
    )
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the JSON file of bench/compare.py")
    parser.add_argument("picture", type=Path, help="the PNG file to write")
    parser.add_argument("--threads", type=int, help="threads of the rows to draw (default: the first row's)")
    parser.add_argument("--min-face-size", type=float, help="pixels (default: the first row's)")
    arguments = parser.parse_args()
    result = json.loads(arguments.results.read_text())
    draw(result, arguments.picture, arguments.threads, arguments.min_face_size)


if __name__ == "__main__":
    main()
