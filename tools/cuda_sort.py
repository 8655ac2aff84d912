"""The time that one block takes to sort keys in shared memory (cuda/sort.h), from the kernel's machine code."""

from __future__ import annotations

import math

import warp_trace
from cuda_code import Loop
from cuda_layers import Code

THREADS = 512
RUN = 64  # keys that a warp orders in its registers
LENGTHS = 5  # of bitonic sequences in registers, 2 to 32, each ordered at 0 to 4 distances behind its first step
STEP_ENDS = 2 * warp_trace.SHARED + warp_trace.BARRIER + 40  # of a step with a barrier: what is not a pass over pairs


def of_block(code: Code, loop: Loop, keys: int, keys_of_thread: int) -> float:
    """Cycles of a loop whose threads take so many keys at a time."""
    lengths = [each for each in inner_loops(code, loop) if inner_loops(code, each)]

    def trips(each: Loop) -> float:
        of_lengths = any(each in inner_loops(code, outer) for outer in lengths)
        return (LENGTHS - 1) / 2 if of_lengths else LENGTHS

    instructions = warp_trace.trace(loop, code.loops, trips)
    warps = min(THREADS, math.ceil(keys / keys_of_thread)) / 32
    issued = len(instructions) * warps / warp_trace.SCHEDULERS
    alone = warp_trace.latency(instructions, warp_trace.second_level)
    return math.ceil(keys / keys_of_thread / THREADS) * max(alone, issued)


def inner_loops(code: Code, loop: Loop) -> list[Loop]:
    return [each for each in code.loops if each is not loop and loop.first <= each.first and each.last <= loop.last]


def sort_cycles(code: Code, keys: int) -> float:
    """Of the first sort in a kernel: runs of 64 keys in registers, then for each greater length a step that orders
    halves, steps at distances down to 64, and six steps in registers behind one barrier."""
    sorts = [loop for loop in code.loops if loop is not code.whole and loop.count("BAR") and loop.count("SHFL")]
    inside = [loop for loop in inner_loops(code, sorts[0]) if not loop.count("BAR")]
    (take,) = (loop for loop in inside if loop.count("LDG"))
    (bring,) = (loop for loop in inside if loop.count("STG"))
    halves, apart = (loop for loop in inside if loop.count("LDS") == loop.count("STS") == 2 and not loop.count("SHFL"))
    unordered, bitonic = sorted(
        (loop for loop in inside if loop.count("LDS") and loop.count("SHFL")), key=lambda loop: -loop.count("SHFL")
    )
    lengths = max(0, math.ceil(math.log2(max(keys, 1) / RUN)))
    steps = [(take, 1, 1), (unordered, 2, 1), (bring, 1, 1)]
    steps += [(halves, 2, lengths), (apart, 2, lengths * (lengths - 1) // 2), (bitonic, 2, lengths)]
    return sum(times * (of_block(code, loop, keys, at_a_time) + STEP_ENDS) for loop, at_a_time, times in steps)
