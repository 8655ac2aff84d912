"""The CUDA backend's networks as items of work: each kernel's layer, how its loops are passed, and what that costs.

The shapes are those of cuda/refine.h, cuda/refine_fp16.h, cuda/pnet_fp16.cu and cuda/pnet_cells.cu.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import warp_trace
from cuda_code import Instruction, Kernel, Loop
from warp_trace import PROCESSORS, SCHEDULERS


@dataclass(frozen=True)
class Item:
    """One item of a kernel's work. returns: cycles of the path from shared memory and the first level, all warps."""

    warps: int
    issued: float  # instructions of a warp, on average
    alone: float  # cycles of a warp that is alone
    returns: float = 0.0

    @property
    def throughput(self) -> float:
        """Cycles of a multiprocessor that has many."""
        return max(self.warps * self.issued / SCHEDULERS, self.returns)


def cycles(item: Item, items: float, blocks: int) -> float:
    """Of a kernel with so many blocks a multiprocessor, which take items until there are none."""
    if items <= 0:
        return 0.0
    of_one = math.ceil(items / PROCESSORS)
    rounds = math.ceil(items / (PROCESSORS * blocks))
    return max(of_one * item.throughput, rounds * item.alone)


def is_math(loop: Loop) -> bool:
    return loop.count("FFMA") >= 16 or loop.count("HMMA") >= 8


class Code:
    """A kernel's loops, and what they are for."""

    def __init__(self, name: str, kernel: Kernel) -> None:
        self.name, self.kernel = name, kernel
        self.loops = kernel.loops
        self.whole = max(self.loops, key=lambda loop: len(loop.instructions))
        self.math = [loop for loop in self.loops if is_math(loop) and not self.within(loop, is_math)]

    def math_loops(self, wanted: int) -> list[Loop]:
        """The innermost loops of multiply-adds, of which the model of the kernel has so many."""
        if len(self.math) != wanted:
            raise SystemExit(
                f"{self.name} has {len(self.math)} loops of multiply-adds, and its model in tools/cuda_layers.py has "
                f"{wanted}: has the kernel changed?"
            )
        return self.math

    def within(self, loop: Loop, test: Callable[[Loop], bool]) -> bool:
        """Whether the loop contains another that passes the test."""
        return any(
            other is not loop and loop.first <= other.first and other.last <= loop.last and test(other)
            for other in self.loops
        )

    def around(self, loop: Loop) -> list[Loop]:
        """The loops around one, but for the items' own; the outermost first."""
        return [
            other
            for other in self.loops
            if other not in (loop, self.whole) and other.first <= loop.first and loop.last <= other.last
        ]

    def item(self, warps: int, trips: Callable[[Loop], float], near: bool, returned: Callable[[Loop], float]) -> Item:
        """near: whether loads in the loops of multiply-adds are of the first level. returned: for a pass of such a
        loop, cycles of the return path."""
        instructions = warp_trace.item(self.kernel, trips)
        addresses = {each.address for loop in self.math for each in loop.instructions} if near else set()

        def after(each: Instruction) -> int:
            return warp_trace.result_after(
                each, warp_trace.FIRST_LEVEL if each.address in addresses else warp_trace.SECOND_LEVEL
            )

        passes = {loop.first: sum(each.address == loop.first for each in instructions) for loop in self.math}
        returns = warps * sum(returned(loop) * passes[loop.first] for loop in self.math)
        return Item(warps, len(instructions), warp_trace.latency(instructions, after), returns)


def stores_shared(loop: Loop) -> int:
    return loop.count("STS")


@dataclass(frozen=True)
class Conv:
    """A layer of cuda/refine.h, struct Conv."""

    side: int
    inputs: int
    outputs: int
    kernel: int
    pool: int
    windows: int
    rows: int
    pixels: int
    maps: int
    groups: int
    planes: int

    @property
    def plane_maps(self) -> int:
        return 3 if self.inputs == 3 else 4

    @property
    def conv_side(self) -> int:
        return self.side - self.kernel + 1

    @property
    def pooled(self) -> int:
        return (self.conv_side - self.pool + 1) // 2 + 1

    @property
    def conv_rows(self) -> int:
        return min(2 * (self.rows - 1) + self.pool, self.conv_side)

    @property
    def warps(self) -> int:
        lines = self.windows * self.conv_rows * math.ceil(self.conv_side / self.pixels)
        return math.ceil(lines / 32) * self.groups

    def items(self, windows: int) -> int:
        bands = math.ceil(self.pooled / self.rows)
        return math.ceil(windows / self.windows) * bands * (self.outputs // (self.maps * self.groups))

    def item(self, code: Code) -> Item:
        (inner,) = code.math_loops(1)
        steps = self.inputs // (self.plane_maps * self.planes)
        around = code.around(inner)
        # Over the planes, with barriers; within, over those in shared memory. The inner loop may be either itself.
        of_outer = {loop.first: steps if loop.count("BAR") else self.planes for loop in around}
        multiplied = self.pixels * self.maps * self.kernel**2 * self.inputs
        passes = multiplied / inner.count("FFMA") / math.prod(of_outer.values())
        threads = 32 * self.warps
        rows = self.conv_rows + self.kernel - 1
        vectors = self.planes * self.windows * rows * self.side * self.plane_maps // 4
        pooled = self.windows * self.rows * self.pooled * self.maps * self.groups // 4

        def trips(loop: Loop) -> float:
            if loop is inner:
                return passes
            if loop.first in of_outer:
                return of_outer[loop.first]
            if loop.count("STG"):
                return math.ceil(pooled / threads)
            if stores_shared(loop):
                return math.ceil(vectors / threads) / stores_shared(loop)
            return self.pool if code.within(loop, lambda _: True) else 0  # rows of a window; four columns at a time

        # Weights are the same in all lanes and come back in two cycles, pixels in four.
        weights = inner.count("FFMA") / (4 * self.pixels)
        return code.item(self.warps, trips, True, lambda loop: 2 * weights + 4 * loop.count("LDS.128"))


@dataclass(frozen=True)
class Product:
    """A layer of cuda/refine.h, struct Product."""

    inputs: int
    outputs: int
    rows: int
    tile_rows: int
    warps = 8

    def items(self, windows: int) -> int:
        return math.ceil(windows * self.rows / (4 * self.tile_rows)) * (self.outputs // 32)

    def item(self, code: Code) -> Item:
        (inner,) = code.math_loops(1)
        passes = self.inputs / self.warps * self.tile_rows * 4 / inner.count("FFMA")

        def trips(loop: Loop) -> float:
            return passes if loop is inner else 4 * self.tile_rows * 32 / 256

        # A row's values are the same in eight lanes, a column's in four.
        return code.item(self.warps, trips, False, lambda loop: 2 * self.tile_rows + 4 * 4)


@dataclass(frozen=True)
class FirstConvFp16:
    """A layer of cuda/refine_fp16.h, struct FirstConvFp16."""

    side: int
    outputs: int
    rows: int
    warps: int

    def items(self, windows: int) -> int:
        return windows * math.ceil(((self.side - 4) // 2 + 1) / self.rows)

    def item(self, code: Code) -> Item:
        (inner,) = code.math_loops(1)
        conv_side, pooled = self.side - 2, (self.side - 4) // 2 + 1
        rows = min(2 * (self.rows - 1) + 3, conv_side)
        tiles = math.ceil(rows * conv_side / 2 / 16)
        threads = 32 * self.warps

        def trips(loop: Loop) -> float:
            if loop is inner:
                return math.ceil(tiles / self.warps)
            if loop in code.around(inner):
                return 2
            if loop.count("STG"):
                return math.ceil(self.rows * pooled * self.outputs / 8 / threads)
            if stores_shared(loop):
                return math.ceil((rows + 2) * 3 * self.side / 8 / threads) / stores_shared(loop)
            return 3 if code.within(loop, lambda _: True) else 0

        return code.item(self.warps, trips, True, lambda loop: loop.count("LDS") + loop.count("STS"))


@dataclass(frozen=True)
class ConvFp16:
    """A layer of cuda/refine_fp16.h, struct ConvFp16."""

    side: int
    inputs: int
    outputs: int
    kernel: int
    pool: int
    windows: int
    tiles: int
    columns: int
    groups: int

    @property
    def conv_side(self) -> int:
        return self.side - self.kernel + 1

    @property
    def warps(self) -> int:
        return math.ceil(self.windows * self.conv_side**2 / (16 * self.tiles)) * self.groups

    def items(self, windows: int) -> int:
        return math.ceil(windows / self.windows) * (self.outputs // (8 * self.columns * self.groups))

    def item(self, code: Code) -> Item:
        (inner,) = code.math_loops(1)
        products = self.kernel**2 * self.inputs / 16 * self.tiles * self.columns
        threads = 32 * self.warps
        pooled = (self.conv_side - self.pool + 1) // 2 + 1
        vectors = self.windows * self.side**2 * self.inputs / 8

        def trips(loop: Loop) -> float:
            if loop is inner:
                return products / inner.count("HMMA")
            if loop.count("STG"):
                return math.ceil(self.windows * pooled**2 * self.columns * self.groups / threads)
            if stores_shared(loop):
                return math.ceil(vectors / threads) / stores_shared(loop)
            return self.pool if code.within(loop, lambda _: True) else 0

        return code.item(self.warps, trips, True, lambda loop: 4 * loop.count("LDSM") + 2 * loop.count("LDG"))


@dataclass(frozen=True)
class ProductFp16:
    """A layer of cuda/refine_fp16.h, struct ProductFp16."""

    inputs: int
    outputs: int
    rows: int
    warps: int
    tiles: int

    def items(self, windows: int) -> int:
        return math.ceil(windows * self.rows / (16 * self.tiles)) * (self.outputs // 32)

    def item(self, code: Code) -> Item:
        def trips(loop: Loop) -> float:
            return math.ceil(16 * self.tiles * 32 / (32 * self.warps))

        return code.item(self.warps, trips, False, lambda loop: 0)


Layer = Conv | Product | FirstConvFp16 | ConvFp16 | ProductFp16
# By precision and network: kernel, layer, blocks that a multiprocessor holds.
LAYERS: dict[str, list[tuple[str, Layer, int]]] = {
    "rnet fp32": [
        ("conv_kernel<Rnet::Conv1>", Conv(24, 3, 28, 3, 3, 2, 11, 4, 4, 1, 1), 2),
        ("conv_kernel<Rnet::Conv2>", Conv(11, 28, 48, 3, 3, 7, 4, 9, 4, 2, 1), 4),
        ("product_kernel<Rnet::Conv3>", Product(192, 64, 9, 8), 2),
        ("product_kernel<Rnet::Dense>", Product(576, 128, 1, 4), 2),
    ],
    "onet fp32": [
        ("conv_kernel<Onet::Conv1>", Conv(48, 3, 32, 3, 3, 1, 8, 4, 8, 1, 1), 2),
        ("conv_kernel<Onet::Conv2>", Conv(23, 32, 64, 3, 3, 1, 10, 7, 4, 2, 2), 4),
        ("conv_kernel<Onet::Conv3>", Conv(10, 64, 64, 3, 2, 1, 4, 2, 4, 4, 4), 4),
        ("product_kernel<Onet::Conv4>", Product(256, 128, 9, 8), 2),
        ("product_kernel<Onet::Dense>", Product(1152, 256, 1, 4), 2),
    ],
    "rnet fast": [
        ("first_kernel<RnetFp16::Conv1, __half>", FirstConvFp16(24, 32, 11, 8), 3),
        ("conv_fp16_kernel<RnetFp16::Conv2>", ConvFp16(11, 32, 48, 3, 3, 3, 4, 3, 2), 2),
        ("product_fp16_kernel<RnetFp16::Conv3, __half>", ProductFp16(192, 64, 9, 6, 2), 4),
        ("product_fp16_kernel<RnetFp16::Dense, float>", ProductFp16(576, 128, 1, 6, 1), 4),
    ],
    "onet fast": [
        ("first_kernel<OnetFp16::Conv1, __half>", FirstConvFp16(48, 32, 4, 7), 4),
        ("conv_fp16_kernel<OnetFp16::Conv2>", ConvFp16(23, 32, 64, 3, 3, 1, 4, 4, 1), 2),
        ("conv_fp16_kernel<OnetFp16::Conv3>", ConvFp16(10, 64, 64, 3, 2, 1, 2, 4, 2), 4),
        ("product_fp16_kernel<OnetFp16::Conv4, __half>", ProductFp16(256, 128, 9, 8, 2), 2),
        ("product_fp16_kernel<OnetFp16::Dense, float>", ProductFp16(1152, 256, 1, 12, 1), 2),
    ],
}
# R-Net's screen is as in "fast", but for what crops are made of.
LAYERS["rnet screen"] = [
    (name.replace("Conv1, __half", "Conv1, float"), layer, blocks) for name, layer, blocks in LAYERS["rnet fast"]
]
HEADS = {
    "rnet": "heads_kernel<Rnet::Output, KeepHeads>",
    "rnet screen": "heads_kernel<Rnet::Output, ScreenHeads>",
    "onet": "heads_kernel<Onet::Output, KeepHeads>",
}
HEAD_WARPS = 8  # windows of a block at a time


def body(code: Code, loop: Loop, trips: Callable[[Loop], float]) -> int:
    """Instructions of one pass of a loop."""
    return len(warp_trace.trace(loop, code.loops, trips))


def pnet_fp16_item(code: Code) -> Item:
    """A tile of 16 x 32 cells: the three convolutions, in the order of the code; eight warps share the products."""
    shares = (20 * 36 / 16, math.ceil(18 * 34 / 16), 16 * 32 / 16)
    products = dict(zip((loop.first for loop in code.math_loops(3)), shares, strict=True))

    def trips(loop: Loop) -> float:
        if loop.first in products:
            return products[loop.first] / 8
        if not stores_shared(loop):  # the search for the level
            return 1
        return math.ceil(42 / 8) * math.ceil(111 / 32) / stores_shared(loop)  # a warp's rows of pixels, in pairs

    return code.item(8, trips, True, lambda _: 0)


CELLS_TOGETHER = 8  # of cuda/pnet_cells.cu


def pnet_cells_item(code: Code) -> Item:
    """Eight cells, computed one by one: of eight warps, 25 of 32 parts have work of the first convolution, and 16 of
    the second and of the third."""
    warps = 8
    loops = code.math_loops(3)
    multiplied = (3 * 9 * 4 * 10, 10 * 9 * 9, 16 * 9 * 2)  # of a thread
    passes = {loop.first: all_ / loop.count("FFMA") for loop, all_ in zip(loops, multiplied, strict=True)}
    busy = dict(zip((loop.first for loop in loops), (math.ceil(25 / 4) / warps, 16 / 32, 16 / 32), strict=True))

    def trips(loop: Loop) -> float:
        return passes.get(loop.first, 1)

    def returned(loop: Loop) -> float:
        # 16 bytes that many lanes share come back in two cycles.
        return busy[loop.first] * (loop.count("LDS") + loop.count("LDS.128"))

    item = code.item(warps, trips, True, returned)
    idle = sum((1 - busy[loop.first]) * passes[loop.first] * body(code, loop, trips) for loop in loops)
    return Item(warps, item.issued - idle, item.alone, item.returns)
