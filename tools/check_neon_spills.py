#!/usr/bin/env python3
"""Checks the machine code of the NEON kernels: vectors that go through the stack in the loops of the convolutions.

    python tools/check_neon_spills.py kernels.cpp.o --objdump aarch64-linux-gnu-objdump

A loop whose sums do not fit the 32 registers keeps some of them on the stack. It loads and stores them in every round,
and is slow. No test of its results would fail. The exit status is 1 if an innermost loop of multiply-adds moves more
vectors than its limit, or if there is no such loop.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The most vectors that one round may load from or store to the stack. A round of a transform makes a whole Winograd
# tile, between whose two axes stand up to 36 vectors: more than there are registers (GCC 12 moves 56). The transforms
# are a small part of the time; the loops that sum up have no vector on the stack.
LIMITS = {"TiledConv<": 6, "WinogradConv<": 56}
LEAST_MULTIPLY_ADDS = 8

FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$", re.MULTILINE)
INSTRUCTION = re.compile(r"^\s+([0-9a-f]+):\t(.*)$", re.MULTILINE)
BRANCH = re.compile(r"^(?:b|b\.\w+|cbn?z|tbn?z)\s.*?\b([0-9a-f]+) <")
STACK = re.compile(r"^(?:ldr|str|ldp|stp|ldur|stur)\s+q.*\[sp\b")


@dataclass(frozen=True)
class Loop:
    """An innermost loop of a function."""

    function: str
    multiply_adds: int
    spills: int


def loops(disassembly: str) -> Iterator[Loop]:
    """The innermost loops with multiply-adds in what `objdump -d -C --no-show-raw-insn` prints."""
    _, *parts = FUNCTION.split(disassembly)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        code = [(int(address, 16), text) for address, text in INSTRUCTION.findall(body)]
        index = {address: i for i, (address, _) in enumerate(code)}
        spans = []
        for end, (_, text) in enumerate(code):
            target = BRANCH.match(text)
            start = index.get(int(target[1], 16), end + 1) if target else end + 1
            if start <= end:
                spans.append((start, end))
        for start, end in spans:
            if any(start <= other[0] and other[1] <= end for other in spans if other != (start, end)):
                continue
            lines = [text for _, text in code[start : end + 1]]
            multiply_adds = sum(text.startswith("fmla") for text in lines)
            if multiply_adds >= LEAST_MULTIPLY_ADDS:
                yield Loop(name, multiply_adds, sum(bool(STACK.match(text)) for text in lines))


def limit(function: str) -> int:
    return max((most for part, most in LIMITS.items() if part in function), default=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object", type=Path, help="the kernels' object file")
    parser.add_argument("--objdump", default="objdump", help="of binutils, for aarch64 (%(default)s)")
    arguments = parser.parse_args()
    command = [arguments.objdump, "-d", "-C", "--no-show-raw-insn", str(arguments.object)]
    found = list(loops(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    if not found:
        print(f"{arguments.object} has no loop of {LEAST_MULTIPLY_ADDS} multiply-adds or more", file=sys.stderr)
        return 1
    wrong = [loop for loop in found if loop.spills > limit(loop.function)]
    for loop in wrong:
        print(
            f"{loop.function}: {loop.spills} vectors through the stack for {loop.multiply_adds} multiply-adds, "
            f"wanted at most {limit(loop.function)}",
            file=sys.stderr,
        )
    print(f"{len(found)} loops, {sum(loop.spills > 0 for loop in found)} of them with vectors on the stack")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
