"""Predicts the times of the CUDA backend on one GPU from its machine code and counts. Nothing here was run on a GPU.

    python tools/predict_cuda.py build/cuda/libmtcnn_fast_cuda.so --cuobjdump PATH [--write bench/predictions.json]

For each kernel: what a warp issues for one item and how long it takes alone (warp_trace.py), times the items that a
multiprocessor gets. A kernel takes the longest of three: the multiprocessor's four schedulers issue everything; its
shared memory and first-level cache return all operands; its blocks wait for their own instructions in turn. Suppression
is one block per level or image, whose waits are counted by hand. Before the first run on a card, the constants that are
called estimated are no more than that; bench_cuda measures those of ASSUMED.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import warp_trace
from cuda_code import Kernel, read_code
from cuda_layers import CELLS_TOGETHER, HEAD_WARPS, HEADS, LAYERS, Code, Item, cycles, pnet_cells_item, pnet_fp16_item
from cuda_resize import RESIZE_THREADS, SUM_WORDS, Resize, crops_times, inside, pyramid_times, without
from cuda_sort import THREADS, sort_cycles
from warp_trace import CLOCK, PROCESSORS, second_level

# --- The card: an H200, as in warp_trace.py ---------------------------------------------------------------------------

ARCHITECTURE = 90
# Microseconds. Estimated, and measured by bench_cuda: see ASSUMED.
GAP = 1.0  # between kernels of a graph
# The same where the second kernel begins before the first has ended (programmatic edges, from compute capability 9.0
# on). An assumption: NVIDIA's Programming Guide ("Programmatic Dependent Launch and Synchronization") says what
# overlaps, the launch and what stands before the wait, and no time. Blocks that fill a multiprocessor leave the next
# kernel's no place before they end, so that less than all of the gap goes.
EDGE = 0.5
COPY = 3.0  # a copy of some KB in front of the first kernel
START_AND_WAIT = 10.0  # from the host's launch to the first node, and from the last kernel to the host's return
# What bench_cuda measures, by its names, in its units, as the constants above have it.
ASSUMED = {
    "graph of 20 empty kernels": 20 * GAP + START_AND_WAIT / 2,
    "the same, programmatic edges": GAP + 19 * EDGE + START_AND_WAIT / 2,
    "the same behind a copy of 4 KB": 20 * GAP + COPY + START_AND_WAIT / 2,
    "empty graph, launch to wait": START_AND_WAIT,
    "FFMA, 28 a uniform 16-byte load": PROCESSORS * 128 * 2 * CLOCK * 1e-6,
}

# --- Counted by hand, and estimated ----------------------------------------------------------------------------------

CELLS_PER_WINDOW = 2.9  # cells that pass P-Net, for each window of R-Net
CELLS_LEFT = 1.19  # cells that P-Net's screen leaves, for each that passes
LARGEST_LEVEL = 0.3  # the share of them in one level, whose block ends last
NEIGHBOURS = 3  # that passed, around a cell that did
RIVALS = 1  # of them, in a later round
LATER_ROUND = 300  # cycles, beside its rivals: three loads that the first level has, two barriers, 70 instructions
ROUNDS = 4  # until every cell is decided
LEFT_BY_RNET = 2  # candidates after R-Net for each window of O-Net
WINDOWS_LEFT = 1.1  # windows that R-Net's screen leaves, for each of these
LEFT_BY_ONET = 0.7  # candidates after O-Net for each of its windows
KEYS_OF_LEVEL = warp_trace.ATOMIC + 3 * warp_trace.FIRST_LEVEL + 100  # cycles: places and keys of what is kept
REPORT = 2500  # cycles until the counts are in the host's memory: an atomic and two fences, and the way there
BLOCKS_OF_IMAGES = 16  # of a batch of 32: images whose suppression runs at the same time, less what others wait for

# --- Frames -----------------------------------------------------------------------------------------------------------

STEPS = {  # in the cascade's order: the kernels of each, in precision "fast"
    "pyramid": 1,
    "pnet": 1,
    "suppress_levels": 1,
    "suppress_cells": 1,
    "rnet_crops": 1,
    "rnet": 5,
    "suppress_rnet": 1,
    "onet_crops": 1,
    "onet": 6,
    "suppress_onet": 1,
}
OF_THE_SCREEN = {"pnet": 1, "rnet": 5}  # kernels more in float32


def gaps(step: str, precision: str) -> float:
    """Microseconds between a step's kernels and those in front: only the first one of a call waits until they ended."""
    kernels = STEPS[step] + (0 if precision == "fast" else OF_THE_SCREEN.get(step, 0))
    return kernels * (GAP if step == "pyramid" else EDGE)


@dataclass(frozen=True)
class Frame:
    """What a prediction is for. rnet, onet: the windows of one image."""

    width: int
    height: int
    min_face_size: int
    rnet: int
    onet: int

    def levels(self) -> list[tuple[int, int]]:
        """Heights and widths, as the profile "reference" has them."""
        scale, sizes = 12 / self.min_face_size, []
        while min(self.height, self.width) * scale >= 12:
            sizes.append((math.ceil(self.height * scale), math.ceil(self.width * scale)))
            scale *= 0.709
        return sizes

    def tiles(self, height: int, width: int) -> int:
        return sum(
            math.ceil(((h - 12 + 1) // 2 + 1) / height) * math.ceil(((w - 12 + 1) // 2 + 1) / width)
            for h, w in self.levels()
        )


# The counts that the targets assume (bench/gpu_speed.py), and those of the frames that bench/gpu.py makes.
FRAMES = [
    Frame(640, 480, 20, 515, 59),
    Frame(640, 480, 40, 242, 39),
    Frame(1920, 1080, 20, 1207, 60),
    Frame(1920, 1080, 40, 633, 48),
    Frame(640, 480, 20, 357, 45),
    Frame(640, 480, 40, 164, 37),
    Frame(1920, 1080, 20, 599, 34),
    Frame(1920, 1080, 40, 360, 32),
]


def total(parts: list[Times]) -> Times:
    return Times(sum(each.alone for each in parts), sum(each.in_batch for each in parts))


# --- Steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Microseconds of a step: of one frame alone, and of a frame in a batch that fills the card."""

    alone: float
    in_batch: float


class Model:
    """The steps' times for any counts, from the kernels of one library."""

    def __init__(self, kernels: dict[tuple[str, int], Kernel]) -> None:
        self._codes = {
            name: Code(name, kernel) for (name, capability), kernel in kernels.items() if capability == ARCHITECTURE
        }
        self._items: dict[str, Item] = {}

    def code(self, name: str) -> Code:
        if name not in self._codes:
            raise SystemExit(f"no kernel {name} of compute capability {ARCHITECTURE}: has it another name?")
        return self._codes[name]

    def kept(self, name: str, make: Callable[[Code], Item]) -> Item:
        if name not in self._items:
            self._items[name] = make(self.code(name))
        return self._items[name]

    def of_items(self, item: Item, items: float, blocks: int) -> Times:
        return Times(cycles(item, items, blocks) / CLOCK, items * item.throughput / PROCESSORS / CLOCK)

    # Networks.

    def pnet(self, frame: Frame, fast: bool) -> Times:
        element = "__half" if fast else "float"
        first = self.of_items(self.kept(f"pnet_fp16_kernel<{element}>", pnet_fp16_item), frame.tiles(16, 32), 2)
        return first if fast else total([first, self.confirm_cells(CELLS_LEFT * CELLS_PER_WINDOW * frame.rnet)])

    def confirm_cells(self, cells: float) -> Times:
        name = "cells_kernel<float, Confirm>"
        groups = self.of_items(self.kept(name, pnet_cells_item), math.ceil(cells / CELLS_TOGETHER), 2)
        weights = self.code(name).loops[0]  # to shared memory, once: 26 KB, four times 16 bytes of a thread at a time
        begin = math.ceil(1632 / 256 / 4) * warp_trace.latency(weights.instructions, second_level) / CLOCK
        return Times(groups.alone + begin, groups.in_batch)

    def network(self, layers: str, heads: str, windows: int) -> Times:
        parts = [
            self.of_items(self.kept(name, layer.item), layer.items(windows), blocks)
            for name, layer, blocks in LAYERS[layers]
        ]
        last = self.kept(heads, lambda code: code.item(HEAD_WARPS, lambda _: 0, False, lambda _: 0))
        parts.append(self.of_items(last, math.ceil(windows / HEAD_WARPS), 3))
        return total(parts)

    # What lies between them.

    def resize(self, kernel: str, fast: bool) -> Resize:
        name = f"{kernel}_kernel<{'__half' if fast else 'float'}{', false' if kernel == 'pyramid' else ''}>"
        return Resize(self.code(name), RESIZE_THREADS[kernel], SUM_WORDS[kernel])

    def pyramid(self, frame: Frame, fast: bool) -> Times:
        return Times(*pyramid_times(self.resize("pyramid", fast), frame.height, frame.width, frame.levels()))

    def crops(self, windows: int, side: int, fast: bool) -> Times:
        return Times(*crops_times(self.resize("crops", fast), windows, side))

    def sort(self, keys: int) -> float:
        return sort_cycles(self.code("suppress_rnet_kernel"), keys)

    def suppress_level(self, passes: int) -> float:
        """Cycles of a level whose cells are so many times the block's threads."""
        code = self.code("suppress_levels_kernel")
        boxes = next(loop for loop in code.kernel.innermost() if loop.count("MUFU"))
        rounds = min((loop for loop in code.loops if loop.count("BAR") == 2), key=lambda loop: len(loop.instructions))
        # What is larger than the square of a reach of two comes first; it is not passed.
        inner = inside(code, rounds)
        rivals, test = sorted(inner, key=lambda loop: -loop.first)[:2]
        first = warp_trace.latency(without(rounds, inner), second_level)
        first += NEIGHBOURS * warp_trace.latency(test.instructions, second_level)
        of_rival = warp_trace.latency(
            rivals.instructions, lambda each: warp_trace.result_after(each, warp_trace.FIRST_LEVEL)
        )
        later = (ROUNDS - 1) * (LATER_ROUND + RIVALS * of_rival)
        begin = 3 * warp_trace.SECOND_LEVEL + passes * warp_trace.latency(boxes.instructions, second_level)
        # Most cells are decided in the first round: only there each pass takes its time.
        return begin + passes * first + later + passes * KEYS_OF_LEVEL

    def suppress(self, step: str, frame: Frame) -> Times:
        """One block per level or image. `keys` of the sort; how often memory is awaited in turn is counted by hand."""
        loads = warp_trace.SECOND_LEVEL
        if step == "suppress_levels":
            done = self.suppress_level(math.ceil(LARGEST_LEVEL * CELLS_PER_WINDOW * frame.rnet / THREADS))
        elif step == "suppress_cells":
            done = self.sort(frame.rnet) + (8 + 6 * math.ceil(frame.rnet / THREADS)) * loads
        elif step == "suppress_rnet":
            left = round(LEFT_BY_RNET * frame.onet)
            done = self.sort(left) + (14 + 2 * math.ceil(frame.rnet / THREADS)) * loads
        else:
            done = self.sort(round(LEFT_BY_ONET * frame.onet)) + 16 * loads + REPORT
        return Times(done / CLOCK, done / CLOCK / BLOCKS_OF_IMAGES)

    def step(self, step: str, frame: Frame, fast: bool) -> Times:
        if step == "pyramid":
            return self.pyramid(frame, fast)
        if step == "pnet":
            return self.pnet(frame, fast)
        if step in ("rnet", "onet"):
            windows = frame.rnet if step == "rnet" else frame.onet
            if fast or step == "onet":
                return self.network(f"{step} {'fast' if fast else 'fp32'}", HEADS[step], windows)
            left = min(windows, round(WINDOWS_LEFT * LEFT_BY_RNET * frame.onet))
            screen = self.network("rnet screen", HEADS["rnet screen"], windows)
            return total([screen, self.network("rnet fp32", HEADS["rnet"], left)])
        if step == "rnet_crops":
            return self.crops(frame.rnet, 24, fast)
        if step == "onet_crops":
            return self.crops(frame.onet, 48, fast)
        return self.suppress(step, frame)


@dataclass(frozen=True)
class Prediction:
    """A row of bench/predictions.json: see bench/predictions.py."""

    width: int
    height: int
    min_face_size: int
    precision: str
    rnet: int
    onet: int
    steps: dict[str, float]
    call: float
    frames_a_second: float


def predict(model: Model, frame: Frame, precision: str) -> Prediction:
    times = {step: model.step(step, frame, precision == "fast") for step in STEPS}
    # No copy: the device has the description of a call whose images lie where those before did, of the same size.
    call = sum(each.alone + gaps(step, precision) for step, each in times.items()) + START_AND_WAIT
    in_batch = sum(each.in_batch for each in times.values())
    # bench_cuda's steps have the gaps in front of their kernels.
    steps = {step: round(each.alone + gaps(step, precision), 1) for step, each in times.items()}
    counts = (frame.width, frame.height, frame.min_face_size, precision, frame.rnet, frame.onet)
    return Prediction(*counts, steps, round(call, 1), float(round(1e6 / in_batch, -2)))


def table(predictions: list[Prediction]) -> str:
    """Microseconds without the gaps, a column for each prediction."""
    names = [
        f"{each.width}x{each.height}/{each.min_face_size} {each.rnet}/{each.onet} {each.precision}"
        for each in predictions
    ]
    lines = [f"{'':18}" + "".join(f"{name:>28}" for name in names)]
    for step in STEPS:
        lines.append(
            f"{step:18}" + "".join(f"{each.steps[step] - gaps(step, each.precision):28.1f}" for each in predictions)
        )
    lines.append(f"{'whole call':18}" + "".join(f"{each.call:28.0f}" for each in predictions))
    lines.append(f"{'frames/s, batch 32':18}" + "".join(f"{each.frames_a_second:28.0f}" for each in predictions))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, help="the CUDA backend, with machine code of compute capability 9.0")
    parser.add_argument("--cuobjdump", default="cuobjdump", help="its path; nvdisasm must be beside it or on the PATH")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the predictions: bench/predictions.json")
    args = parser.parse_args()
    cuobjdump = shutil.which(args.cuobjdump)
    if cuobjdump is None:
        raise SystemExit(f"no {args.cuobjdump}: tools/cuda_toolkit.sh installs one")
    model = Model(read_code(cuobjdump, args.library)[0])
    assumed = ASSUMED | {f"sort of {keys} keys": round(model.sort(keys) / CLOCK, 2) for keys in (512, 1024)}
    predictions = [predict(model, frame, precision) for frame in FRAMES for precision in ("fp32", "fast")]
    print("Predicted, not run on a GPU. Microseconds of one frame, without the gaps between kernels; R / O windows.")
    for first in range(0, len(predictions), 4):
        print("\n" + table(predictions[first : first + 4]))
    if args.write:
        rows = [asdict(each) for each in predictions]
        args.write.write_text(json.dumps({"assumed": assumed, "predictions": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
