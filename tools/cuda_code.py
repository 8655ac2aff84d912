"""Machine code of CUDA kernels, as cuobjdump prints it: resources, instructions, loops."""

from __future__ import annotations

import collections
import functools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RESERVED_SHARED = 1024  # bytes per block that the driver takes from compute capability 9.0 on; cuobjdump counts them
INSTRUCTION = re.compile(
    r"\s*/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;\s*/\* 0x([0-9a-f]{16}) \*/"
)
SECOND_WORD = re.compile(r"\s*/\* 0x([0-9a-f]{16}) \*/")
TARGET = re.compile(r"`?\(?(0x[0-9a-f]+)\)?$")


@dataclass
class Instruction:
    """stall: cycles until the warp's next instruction may be issued. sets: the scoreboard that its result is awaited
    by, or None; waits: the scoreboards that it waits for, as bits."""

    address: int
    predicate: str
    opcode: str  # with its modifiers, such as LDG.E.128
    operands: str
    stall: int = 0
    sets: int | None = None
    waits: int = 0

    @property
    def plain(self) -> str:
        """The opcode without modifiers."""
        return self.opcode.partition(".")[0]

    @property
    def target(self) -> int | None:
        """Where a branch leads to."""
        found = TARGET.search(self.operands) if self.plain == "BRA" else None
        return int(found[1], 16) if found else None


@dataclass
class Loop:
    """The instructions from the target of a backward branch to the branch."""

    instructions: list[Instruction]

    @property
    def first(self) -> int:
        return self.instructions[0].address

    @property
    def last(self) -> int:
        return self.instructions[-1].address

    def count(self, *opcodes: str) -> int:
        """Instructions whose opcode, or its beginning up to a point, is one of these."""
        return sum(any(f"{each.opcode}.".startswith(f"{opcode}.") for opcode in opcodes) for each in self.instructions)

    def stalls(self) -> int:
        """Cycles that one pass takes a warp at least, by the stalls that the compiler has set."""
        return sum(each.stall for each in self.instructions)


@dataclass
class Kernel:
    registers: int
    local: int  # bytes of arrays and spilled registers per thread
    shared: int  # bytes of static shared memory per block, without the driver's own
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def opcodes(self) -> collections.Counter[str]:
        return collections.Counter(each.plain for each in self.instructions)

    @functools.cached_property
    def loops(self) -> list[Loop]:
        """All loops, by address. A loop within another is a loop of its own, and part of the other.

        What stands behind the kernel's last EXIT is no loop, though it branches back: the compiler puts there what is
        seldom run, such as shuffles of lanes that have not arrived together.
        """
        at = {each.address: k for k, each in enumerate(self.instructions)}
        exits = [k for k, each in enumerate(self.instructions) if each.plain == "EXIT" and not each.predicate]
        ends: dict[int, int] = {}  # of several branches to one target, the last in front of an EXIT
        for k, each in enumerate(self.instructions):
            first = None if each.target is None else at.get(each.target)
            if first is None or first >= k:  # such as the branch to itself that ends every kernel
                continue
            if not any(first < end < k for end in exits):
                ends[first] = k
        return [Loop(self.instructions[first : last + 1]) for first, last in sorted(ends.items())]

    def innermost(self) -> list[Loop]:
        """The loops that contain no other."""
        loops = self.loops
        return [
            loop
            for loop in loops
            if not any(other is not loop and loop.first <= other.first and other.last <= loop.last for other in loops)
        ]


def plain_name(mangled: str) -> str:
    """A kernel's name without return type, namespaces and parameters, such as `pnet_kernel<16, 16>`."""
    name = subprocess.run(["c++filt", mangled], check=True, capture_output=True, text=True).stdout.strip()
    name = name.replace("(anonymous namespace)::", "").replace("mtcnn_fast::", "").replace("cuda::", "")
    return name.partition("(")[0].removeprefix("void ")


def family(name: str) -> str:
    return name.partition("<")[0]


def _lines(cuobjdump: str, option: str, library: Path) -> Iterator[str]:
    run = subprocess.run([cuobjdump, option, library], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{cuobjdump} {option} {library} failed: {run.stderr.strip()}")
    return iter(run.stdout.splitlines())


def read_code(cuobjdump: str, library: Path) -> tuple[dict[tuple[str, int], Kernel], set[int]]:
    """Kernels by name and compute capability (75, ...), and the capabilities of the library's PTX."""
    names: dict[str, str] = {}
    kernels: dict[tuple[str, int], Kernel] = {}
    ptx: set[int] = set()
    machine_code = False
    key = ("", 0)
    for line in _lines(cuobjdump, "-res-usage", library):
        if line.startswith("Fatbin "):
            machine_code = line.startswith("Fatbin elf")
        elif found := re.match(r"arch = sm_(\d+)", line):
            key = ("", int(found[1]))
            if not machine_code:
                ptx.add(key[1])
        elif found := re.match(r"\s*Function (\S+):$", line):
            names.setdefault(found[1], plain_name(found[1]))
            key = (names[found[1]], key[1])
        elif found := re.match(r"\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, found.groups())
            reserved = RESERVED_SHARED if key[1] >= 90 else 0
            kernels[key] = Kernel(registers, stack + local, max(0, shared - reserved))
    architecture = 0
    instructions: list[Instruction] = []
    for line in _lines(cuobjdump, "-sass", library):
        if found := INSTRUCTION.match(line):
            address, predicate, opcode, operands, _ = found.groups()
            instructions.append(Instruction(int(address, 16), predicate or "", opcode, operands))
        elif instructions and (found := SECOND_WORD.match(line)):
            # The upper word of an instruction has the control bits from bit 41 on: stall, yield, the scoreboards that
            # it sets for results and for operands, and those that it waits for.
            control = int(found[1], 16) >> 41
            last = instructions[-1]
            last.stall, last.waits = control & 0xF, control >> 11 & 0x3F
            last.sets = None if control >> 5 & 7 == 7 else control >> 5 & 7
        elif found := re.match(r"arch = sm_(\d+)", line):
            architecture = int(found[1])
        elif found := re.match(r"\s*Function : (\S+)", line):
            instructions = kernels[names[found[1]], architecture].instructions
    return kernels, ptx
