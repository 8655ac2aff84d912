"""Checks the machine code of the CUDA backend against limits, for every architecture in it.

    python tools/check_cuda_resources.py build/libmtcnn_fast_cuda.so --architectures 75-real 80-real 120

A kernel that needs more registers runs in fewer blocks at a time. A kernel that spills, or has its arrays in local
memory, is slow, and no test of its results would fail. A tensor-core instruction in a kernel of precision "fp32" would
change results. So would an access to the GPU's memory that the compiler moved in front of the wait for earlier kernels.
The exit status is 1 if a limit is exceeded, a kernel has no limits, or an architecture is missing. Needs cuobjdump and
nvdisasm, from the CUDA toolkit or installed by tools/cuda_toolkit.sh.

`--loops 90` prints the loops of one architecture in place of the check: registers, instructions for each FFMA or HMMA,
spills, loads, barriers, and the cycles of stalls that the compiler has put into a pass.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from cuda_code import Kernel, family, read_code


@dataclass(frozen=True)
class Limit:
    """The most that any architecture may need: registers per thread, and bytes of static shared memory per block,
    without the driver's own. early_loads: of weights, before the wait for earlier kernels."""

    registers: int
    shared: int = 0
    tensor_cores: bool = False
    early_loads: bool = False


# By kernel. Instances of a template that differ from each other have lines of their own. The GPU allocates registers in
# groups of eight. The limits are those that nvcc 13.0 needs, or a few more where a multiprocessor still runs as many
# blocks.
LIMITS = {
    "pyramid_kernel": Limit(80, shared=19456),
    "crops_kernel": Limit(96, shared=15360),
    "resize_kernel": Limit(96, shared=19456),
    "pnet_kernel<16, 16, 3>": Limit(168, early_loads=True),
    "pnet_kernel<16, 32, 1>": Limit(216, early_loads=True),
    "pnet_fp16_kernel": Limit(168, tensor_cores=True, early_loads=True),
    "cells_kernel": Limit(128, early_loads=True),
    "suppress_levels_kernel": Limit(128),
    "suppress_cells_kernel": Limit(80, shared=36944),
    "suppress_rnet_kernel": Limit(80, shared=36944),
    "suppress_onet_kernel": Limit(96, shared=36944),
    "suppress_boxes_kernel": Limit(72, shared=36944),
    "conv_kernel<Rnet::Conv1>": Limit(96),
    "conv_kernel<Rnet::Conv2>": Limit(128),
    "conv_kernel<Onet::Conv1>": Limit(128),
    "conv_kernel<Onet::Conv2>": Limit(128),
    "conv_kernel<Onet::Conv3>": Limit(128),
    "product_kernel<Rnet::Conv3>": Limit(128, shared=32768),
    "product_kernel<Rnet::Dense>": Limit(112, shared=16384),
    "product_kernel<Onet::Conv4>": Limit(128, shared=32768),
    "product_kernel<Onet::Dense>": Limit(112, shared=16384),
    "heads_kernel": Limit(168),
    "first_kernel": Limit(80, tensor_cores=True),
    "conv_fp16_kernel<RnetFp16::Conv2>": Limit(112, tensor_cores=True),
    "conv_fp16_kernel<OnetFp16::Conv2>": Limit(144, tensor_cores=True),
    "conv_fp16_kernel<OnetFp16::Conv3>": Limit(104, tensor_cores=True),
    "product_fp16_kernel<RnetFp16::Conv3, __half>": Limit(88, shared=24576, tensor_cores=True),
    "product_fp16_kernel<RnetFp16::Dense, float>": Limit(80, shared=12288, tensor_cores=True),
    "product_fp16_kernel<OnetFp16::Conv4, __half>": Limit(88, shared=32768, tensor_cores=True),
    "product_fp16_kernel<OnetFp16::Dense, float>": Limit(96, shared=24576, tensor_cores=True),
}

LOCAL = re.compile(r"(LDL|STL)\b")
TENSOR = re.compile(r"[A-Z]*MMA\b")  # HMMA, and the names in other generations
# From compute capability 9.0 on (wait_for_earlier_kernels in cuda/device.h): the wait, and what must stand behind it.
FIRST_TO_WAIT, WAIT = 90, "ACQBULK"
GLOBAL = re.compile(r"(LD|LDG|ST|STG|ATOM|ATOMG|RED|REDG)\b")
LEAST_MULTIPLIED = 8  # multiply-adds or tensor-core instructions of a loop that the table of loops has


def violations(name: str, architecture: int, kernel: Kernel) -> list[str]:
    limit = LIMITS.get(name, LIMITS.get(family(name)))
    if limit is None:
        return ["has no limits in LIMITS"]
    found = []
    if kernel.registers > limit.registers:
        found.append(f"needs {kernel.registers} registers, and {limit.registers} are allowed")
    if kernel.shared > limit.shared:
        found.append(f"has {kernel.shared} bytes of static shared memory, and {limit.shared} are allowed")
    accesses = sum(count for opcode, count in kernel.opcodes.items() if LOCAL.match(opcode))
    if kernel.local or accesses:
        found.append(f"has {kernel.local} bytes of local memory ({accesses} accesses), and none are allowed")
    tensor = sum(count for opcode, count in kernel.opcodes.items() if TENSOR.match(opcode))
    if limit.tensor_cores != (tensor > 0):
        wanted = "some" if limit.tensor_cores else "none"
        found.append(f"has {tensor} tensor-core instructions, and {wanted} are wanted")
    if not kernel.opcodes:
        found.append("has no machine code that nvdisasm can read")
    elif architecture >= FIRST_TO_WAIT:
        found.extend(hazards(kernel, limit))
    return found


def hazards(kernel: Kernel, limit: Limit) -> list[str]:
    """What may happen before earlier kernels have ended. The code stands in the order in which it runs up to there."""
    opcodes = [each.opcode for each in kernel.instructions]
    if WAIT not in opcodes:
        return ["does not wait for earlier kernels"]
    early = [each for each in opcodes[: opcodes.index(WAIT)] if GLOBAL.match(each)]
    if limit.early_loads:
        early = [each for each in early if not each.startswith("LDG")]
    return [f"has {early[0]} before the wait for earlier kernels, and no access is allowed there"] if early else []


def missing_code(kernels: dict[tuple[str, int], Kernel], ptx: set[int], architectures: list[str]) -> list[str]:
    """The code that the library lacks. architectures: in CMake's notation, 90-real, 90-virtual, or 90 for both."""
    machine_code = {capability for _, capability in kernels}
    missing = []
    for architecture in architectures:
        number, _, kind = architecture.partition("-")
        if not number.isdecimal():  # native, all, ...: their meaning depends on the machine
            continue
        if kind != "virtual" and int(number) not in machine_code:
            missing.append(f"no machine code for compute capability {number}")
        if kind != "real" and int(number) not in ptx:
            missing.append(f"no PTX for compute capability {number}")
    return missing


LOOP_COLUMNS = {"registers": 9, "spilled": 7, "loop at": 9, "instructions": 12, "FFMA": 5, "HMMA": 5, "per one": 7}
LOOP_COLUMNS |= {"LDS": 5, "LDG": 5, "stalls": 7}


def loop_table(kernels: dict[tuple[str, int], Kernel], architecture: int) -> list[str]:
    """A line for each loop that contains no other, with its instructions per FFMA or HMMA where it has some."""
    lines = [f"{'kernel':52} " + " ".join(name.rjust(width) for name, width in LOOP_COLUMNS.items())]
    for (name, capability), kernel in sorted(kernels.items()):
        if capability != architecture:
            continue
        for loop in kernel.innermost():
            ffma, hmma = loop.count("FFMA"), loop.count("HMMA")
            all_, multiplied = len(loop.instructions), max(ffma, hmma)
            each = f"{all_ / multiplied:.2f}" if multiplied >= LEAST_MULTIPLIED else "-"
            cells = [kernel.registers, kernel.local, f"{loop.first:#x}", all_, ffma, hmma, each]
            cells += [loop.count("LDS", "LDSM"), loop.count("LDG"), loop.stalls()]
            padded = (str(cell).rjust(width) for cell, width in zip(cells, LOOP_COLUMNS.values(), strict=True))
            lines.append(f"{name:52} " + " ".join(padded))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--architectures", nargs="+", default=[], help="those that it must have, in CMake's notation")
    parser.add_argument("--cuobjdump", default="cuobjdump", help="its path; nvdisasm must be beside it or on the PATH")
    parser.add_argument(
        "--loops", type=int, metavar="CAPABILITY", help="print the loops of this architecture, such as 90"
    )
    arguments = parser.parse_args()
    cuobjdump = shutil.which(arguments.cuobjdump)
    if cuobjdump is None:
        raise SystemExit(f"no {arguments.cuobjdump}: tools/cuda_toolkit.sh installs one")

    kernels, ptx = read_code(cuobjdump, arguments.library)
    if arguments.loops is not None:
        print("\n".join(loop_table(kernels, arguments.loops)))
        return 0
    failures = missing_code(kernels, ptx, arguments.architectures)
    failures += [f"no kernel {name}" for name in LIMITS if not any(name in (k, family(k)) for k, _ in kernels)]
    print(f"{'kernel':44} {'registers':>9} {'shared':>6} {'instructions':>12}   (most of all architectures)")
    for name in sorted({name for name, _ in kernels}):
        instances = [kernel for (other, _), kernel in kernels.items() if other == name]
        registers = max(kernel.registers for kernel in instances)
        shared = max(kernel.shared for kernel in instances)
        print(f"{name:44} {registers:9} {shared:6} {max(k.opcodes.total() for k in instances):12}")
    for (name, architecture), kernel in sorted(kernels.items()):
        failures += [f"{name} (sm_{architecture}) {text}" for text in violations(name, architecture, kernel)]
    for failure in failures:
        print(f"{arguments.library.name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
