"""What a warp issues for one item of work, and how long it takes alone: a trace of machine code with given trips.

A loop's body stands in the trace as often as it is passed. `latency` runs the trace in order, as a warp that has the
multiprocessor to itself: an instruction is issued when the stall of the one before has passed and the scoreboards that
it waits for are free.
"""

from __future__ import annotations

from collections.abc import Callable

from cuda_code import Instruction, Kernel, Loop

# An H200's multiprocessors, the schedulers of each, and cycles per microsecond at the highest clock, as NVIDIA gives
# them. gpu.py notes the first and the last as found.
PROCESSORS, SCHEDULERS, CLOCK = 132, 4, 1980.0
# Cycles from issue to result: shared memory, first and second level of the cache. Estimated, of the order that
# published microbenchmarks of Hopper give (arXiv 2402.13499); units that schedulers share, and atomics, are guesses.
SHARED, FIRST_LEVEL, SECOND_LEVEL, OTHER_UNITS, ATOMIC = 30, 40, 270, 25, 400
BARRIER = 30  # from the last warp's arrival on; estimated

Trips = Callable[[Loop], float]


def is_seldom(instruction: Instruction) -> bool:
    """Whether it shows that a branch seldom leads here: counting what passed, or loading a row's odd last value."""
    return instruction.plain in ("ATOMG", "ATOM", "RED", "REDG") or ".U16" in instruction.opcode


def rare(instructions: list[Instruction]) -> set[int]:
    """Addresses of what a conditional forward branch skips and is seldom run."""
    skipped: set[int] = set()
    for k, branch in enumerate(instructions):
        if branch.plain != "BRA" or not branch.predicate or branch.target is None or branch.target <= branch.address:
            continue
        region = [each for each in instructions[k + 1 :] if each.address < branch.target]
        if any(map(is_seldom, region)):
            skipped |= {each.address for each in region}
    return skipped


def trace(loop: Loop, inner: list[Loop], trips: Trips) -> list[Instruction]:
    """One pass of `loop`, in whose body each of the `inner` loops is passed as often as `trips` says, rounded."""
    out: list[Instruction] = []
    left = rare(loop.instructions)
    children = [each for each in inner if each is not loop and loop.first <= each.first and each.last <= loop.last]
    k = 0
    while k < len(loop.instructions):
        here = loop.instructions[k]
        child = max((each for each in children if each.first == here.address), key=lambda each: each.last, default=None)
        if child is None:
            if here.address not in left:
                out.append(here)
            k += 1
            continue
        body = trace(child, [each for each in children if each is not child], trips)
        out += body * max(0, round(trips(child)))
        k += len(child.instructions)
    return out


def item(kernel: Kernel, trips: Trips) -> list[Instruction]:
    """What a warp issues for one item: a pass of the kernel's largest loop."""
    loops = kernel.loops
    return trace(max(loops, key=lambda each: len(each.instructions)), loops, trips)


def result_after(instruction: Instruction, loads: int) -> int:
    plain = instruction.plain
    if plain in ("LDG", "LD"):
        return loads
    if plain in ("ATOMG", "ATOM", "ATOMS"):
        return ATOMIC
    return SHARED if plain in ("LDS", "LDSM", "SHFL", "LDC", "ULDC") else OTHER_UNITS


def second_level(instruction: Instruction) -> int:
    return result_after(instruction, SECOND_LEVEL)


def latency(instructions: list[Instruction], after: Callable[[Instruction], int]) -> float:
    """Cycles of a trace, of a warp alone. after: cycles from an instruction's issue to its result."""
    now = 0.0
    ready = [0.0] * 6
    for each in instructions:
        for scoreboard in range(6):
            if each.waits >> scoreboard & 1:
                now = max(now, ready[scoreboard])
        if each.sets is not None:
            ready[each.sets] = max(ready[each.sets], now + after(each))
        now += max(1, each.stall)
        if each.plain == "BAR":
            now += BARRIER
    return max(now, *ready)
