"""The times of the pyramid and of the crops (cuda/resize.cu), from their kernels' machine code and their pixels.

Only the way by words is modelled, of images whose rows begin at whole words: packed pictures of usual widths are such.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import warp_trace
from cuda_code import Instruction, Loop
from cuda_layers import Code
from warp_trace import CLOCK, PROCESSORS, SCHEDULERS, SECOND_LEVEL, second_level

L2_BYTES = 5.5e6 / CLOCK  # per cycle, of all multiprocessors; estimated
LINE_LOADS = 2  # lines of 128 bytes that a warp's words touch, because they begin anywhere
SUM_STORES = 4  # cycles of shared memory that a warp takes for 16 bytes of each lane
CONFLICTS = 1.5  # cycles of a warp's load of sums, which lie as far apart as the outputs' pixels
PYRAMID_LOADS = 6  # awaited in turn: job, the search of the strip's level, level, image
TASK_LOADS = 2  # of a crop, awaited in turn: the image's number, the image
TASK_BOX = 250  # cycles: the window of its box, in float64
CROP_BLOCKS = 5  # a multiprocessor, by 96 registers and 128 threads
MOST_CROP_PARTS = 8
WINDOW = {24: 40, 48: 60}  # pixels of a window's side, by the crop's: assumed
STRIPS = {1: (16, 32), 8: (4, 16), 32: (1, 8)}  # rows and columns of outputs, by the lanes of one
SHUFFLES = {1: 0, 8: 9, 32: 15}  # of an output, by its lanes
RESIZE_THREADS = {"pyramid": 256, "crops": 128}
SUM_WORDS = {"pyramid": 1024, "crops": 768}
FLOAT64 = ("DFMA", "DMUL", "DADD", "DSETP")


@dataclass(frozen=True)
class Cost:
    """issued: instructions of all warps. alone: cycles of one warp. returns: cycles of the path from shared memory and
    the first level."""

    issued: float = 0.0
    alone: float = 0.0
    returns: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.issued + other.issued, self.alone + other.alone, self.returns + other.returns)

    @property
    def throughput(self) -> float:
        """Cycles of a multiprocessor that has many."""
        return max(self.issued / SCHEDULERS, self.returns)


def power_of_two(number: int) -> int:
    return 1 << max(0, math.ceil(math.log2(number)))


def lanes_of(down: float, across: float) -> int:
    return 1 if down * across < 36 else 8 if down * across < 300 else 32


def inside(code: Code, loop: Loop) -> list[Loop]:
    return [each for each in code.loops if each is not loop and loop.first <= each.first and each.last <= loop.last]


def without(loop: Loop, left_out: list[Loop]) -> list[Instruction]:
    return [
        each for each in loop.instructions if not any(other.first <= each.address <= other.last for other in left_out)
    ]


class Resize:
    """The parts of one kernel. Cycles are of a multiprocessor."""

    def __init__(self, code: Code, threads: int, most_words: int) -> None:
        self.threads, self.most_words = threads, most_words
        loops = [loop for loop in code.loops if loop is not code.whole]
        making = max(code.kernel.innermost(), key=lambda each: each.count(*FLOAT64))
        self.making = warp_trace.latency(making.instructions, second_level)
        self.making_issued = len(making.instructions)
        # The first of two: for rows that all begin at whole words.
        words = next(each for each in loops if each.count("STS.128") == 1 and each.count("LDG"))
        (self._rest,) = inside(code, words)
        self._word = without(words, [self._rest])
        self._outputs = {lanes: self._output_loops(code, loops, SHUFFLES[lanes]) for lanes in STRIPS}

    @staticmethod
    def _output_loops(
        code: Code, loops: list[Loop], shuffles: int
    ) -> tuple[list[Instruction], list[Instruction], list[Instruction]]:
        """Of the outputs that so many shuffles make: a column's instructions, an output's and a tap's."""
        by_words = [each for each in loops if each.count("STG") and each.count("LDS") and not each.count("LDG.E.U8")]
        by_words = [each for each in by_words if each.count("SHFL") == shuffles and not each.count("BAR")]
        column, output = sorted(by_words, key=lambda each: each.first)[:2]
        (taps,) = inside(code, output)
        return without(column, [output]), without(output, [taps]), taps.instructions

    def sums(self, rows: int, words: int, taps: float) -> Cost:
        """Of so many rows of outputs, of so many source rows each on average: four of them outside the loop."""
        loads = self._rest.count("LDG")
        rest = max(0.0, taps - 4)
        turns_of_rest = rest / loads + 0.5 if rest > 0 else 0.0
        turns, warps = math.ceil(rows * words / self.threads), math.ceil(rows * words / 32)
        word = warp_trace.latency(self._word, second_level)
        word += math.ceil(rest / loads) * warp_trace.latency(self._rest.instructions, second_level)
        issued = len(self._word) + turns_of_rest * len(self._rest.instructions)
        return Cost(warps * issued, turns * word, warps * (taps * LINE_LOADS + SUM_STORES))

    def outputs(self, rows: int, columns: int, lanes: int, taps: float) -> Cost:
        column, output, tap = self._outputs[lanes]
        places = self.threads // lanes
        at_a_time = min(places, max(32 // lanes, power_of_two(columns)))
        across, down = math.ceil(columns / at_a_time), math.ceil(rows / (places / at_a_time))
        # A thread's own output has its first and last column outside the loop.
        passes = math.ceil(taps) - 2 if lanes == 1 else math.ceil(taps / lanes)
        warps = math.ceil(columns * lanes / 32)
        of_output = warp_trace.latency(output, second_level) + passes * warp_trace.latency(tap, second_level)
        # Three stores of an output, or one of the lanes that share it.
        stores = 3 * LINE_LOADS if lanes == 1 else 1
        return Cost(
            warps * (len(column) + rows * (len(output) + passes * len(tap))),
            across * (warp_trace.latency(column, second_level) + down * of_output),
            rows * warps * (3 * CONFLICTS * math.ceil(taps / lanes) + stores),
        )

    def task(self, rows: int, columns: int, lanes: int, down: float, across: float) -> Cost:
        """Of a rectangle of outputs, made of `down` x `across` pixels each: their windows, sums and outputs."""
        words = math.ceil(3 * (columns * across + 1) / 4) + 1
        together = max(1, min(rows, self.most_words // words))
        groups = [together] * (rows // together) + [rows % together] * (rows % together > 0)
        warps = math.ceil((rows + columns) / 32)
        cost = Cost(warps * self.making_issued, self.making)
        for group in groups:
            cost += self.sums(group, words, down + 1) + self.outputs(group, columns, lanes, across + 1)
            cost += Cost(alone=2 * warp_trace.BARRIER)
        return cost


def pyramid_times(resize: Resize, height: int, width: int, levels: list[tuple[int, int]]) -> tuple[float, float]:
    """Microseconds of one frame alone, and in a batch. Each level reads the whole image through the second level."""
    all_ = Cost()
    longest = loaded = 0.0
    for level_height, level_width in levels:
        down, across = height / level_height, width / level_width
        lanes = lanes_of(down, across)
        strip_rows, strip_columns = STRIPS[lanes]
        in_column = [strip_rows] * (level_height // strip_rows) + [level_height % strip_rows]
        in_row = [strip_columns] * (level_width // strip_columns) + [level_width % strip_columns]
        for rows, columns in itertools.product(sorted(set(in_column) - {0}), sorted(set(in_row) - {0})):
            task = resize.task(rows, columns, lanes, down, across)
            number = in_column.count(rows) * in_row.count(columns)
            all_ += Cost(task.issued * number, 0, task.returns * number)
            longest = max(longest, task.alone)
        loaded += 3 * width * (height + height / (strip_rows * down))
    busy = max(all_.throughput / PROCESSORS, loaded / L2_BYTES)
    begin = PYRAMID_LOADS * SECOND_LEVEL
    return (begin + max(longest, resize.making + busy)) / CLOCK, busy / CLOCK


def crops_times(resize: Resize, windows: int, side: int) -> tuple[float, float]:
    """Microseconds of one frame alone, and in a batch, in which a window is one task."""
    slots = PROCESSORS * CROP_BLOCKS
    parts = 1
    while parts < MOST_CROP_PARTS and 2 * parts * windows <= slots:
        parts *= 2
    ratio = WINDOW[side] / side

    def times(parts: int) -> tuple[float, float]:
        task = resize.task(side // parts, side, 1, ratio, ratio)
        return TASK_LOADS * SECOND_LEVEL + TASK_BOX + task.alone, task.throughput

    alone, busy = times(parts)
    # A round that is not full ends with blocks that are free early: counted in halves.
    rounds = max(1, math.ceil(2 * windows * parts / slots) / 2)
    in_batch, busy_in_batch = times(1)
    return (
        max(rounds * alone, windows * parts * busy / PROCESSORS) / CLOCK,
        windows * max(in_batch / slots, busy_in_batch / PROCESSORS) / CLOCK,
    )
