"""Checks the machine code of the CUDA backend against limits, for every architecture in it.

    python tools/check_cuda_resources.py build/libmtcnn_fast_cuda.so --architectures 75-real 80-real 120

A kernel that needs more registers runs in fewer blocks at a time. A kernel that spills, or has its arrays in local
memory, is slow, and no test of its results would fail. A tensor-core instruction in a kernel of precision "fp32" would
change results. The exit status is 1 if a limit is exceeded, a kernel has no limits, or an architecture is missing.
Needs cuobjdump and nvdisasm, from the CUDA toolkit or installed by tools/cuda_toolkit.sh.
"""

from __future__ import annotations

import argparse
import collections
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limit:
    """The most that any architecture may need: registers per thread, and bytes of static shared memory per block,
    without the driver's own."""

    registers: int
    shared: int = 0
    tensor_cores: bool = False


# By kernel. Instances of a template that differ from each other have lines of their own. The GPU allocates registers in
# groups of eight. The limits are those that nvcc 13.0 needs, or a few more where a multiprocessor still runs as many
# blocks.
LIMITS = {
    "pyramid_kernel": Limit(80, shared=1600),
    "crops_kernel": Limit(80, shared=1600),
    "resize_kernel": Limit(80, shared=1600),
    "pnet_kernel<16, 16, 3>": Limit(168),
    "pnet_kernel<16, 32, 1>": Limit(216),
    "pnet_fp16_kernel": Limit(168, tensor_cores=True),
    "mirror_lone_cells_kernel": Limit(80, shared=3456),
    "suppress_levels_kernel": Limit(72),
    "suppress_cells_kernel": Limit(80, shared=36944),
    "suppress_rnet_kernel": Limit(80, shared=36944),
    "suppress_onet_kernel": Limit(80, shared=36944),
    "suppress_boxes_kernel": Limit(72, shared=36944),
    "report_counts_kernel": Limit(32),
    "conv_kernel<Rnet::Conv1>": Limit(96),
    "conv_kernel<Rnet::Conv2>": Limit(128),
    "conv_kernel<Onet::Conv1>": Limit(128),
    "conv_kernel<Onet::Conv2>": Limit(128),
    "conv_kernel<Onet::Conv3>": Limit(120),
    "product_kernel<Rnet::Conv3>": Limit(120, shared=32768),
    "product_kernel<Rnet::Dense>": Limit(72, shared=16384),
    "product_kernel<Onet::Conv4>": Limit(120, shared=32768),
    "product_kernel<Onet::Dense>": Limit(72, shared=16384),
    "heads_kernel": Limit(64),
    "first_kernel": Limit(80, tensor_cores=True),
    "conv_fp16_kernel<RnetFp16::Conv2>": Limit(112, tensor_cores=True),
    "conv_fp16_kernel<OnetFp16::Conv2>": Limit(144, tensor_cores=True),
    "conv_fp16_kernel<OnetFp16::Conv3>": Limit(104, tensor_cores=True),
    "product_fp16_kernel<RnetFp16::Conv3, __half>": Limit(88, shared=24576, tensor_cores=True),
    "product_fp16_kernel<RnetFp16::Dense, float>": Limit(80, shared=12288, tensor_cores=True),
    "product_fp16_kernel<OnetFp16::Conv4, __half>": Limit(88, shared=32768, tensor_cores=True),
    "product_fp16_kernel<OnetFp16::Dense, float>": Limit(96, shared=24576, tensor_cores=True),
}

RESERVED_SHARED = 1024  # bytes per block that the driver takes from compute capability 9.0 on; cuobjdump counts them
LOCAL = re.compile(r"(LDL|STL)\b")
TENSOR = re.compile(r"[A-Z]*MMA\b")  # HMMA, and the names in other generations


@dataclass
class Kernel:
    registers: int
    local: int  # bytes of arrays and spilled registers per thread
    shared: int
    opcodes: collections.Counter[str] = field(default_factory=collections.Counter)


def plain_name(mangled: str) -> str:
    """A kernel's name without return type, namespaces and parameters, such as `pnet_kernel<16, 16>`."""
    name = subprocess.run(["c++filt", mangled], check=True, capture_output=True, text=True).stdout.strip()
    name = name.replace("(anonymous namespace)::", "").replace("mtcnn_fast::", "").replace("cuda::", "")
    return name.partition("(")[0].removeprefix("void ")


def read_code(cuobjdump: str, library: Path) -> tuple[dict[tuple[str, int], Kernel], set[int]]:
    """Kernels by name and compute capability (75, ...), and the capabilities of the library's PTX."""

    def lines(option: str) -> list[str]:
        run = subprocess.run([cuobjdump, option, library], capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"{cuobjdump} {option} {library} failed: {run.stderr.strip()}")
        return run.stdout.splitlines()

    names: dict[str, str] = {}
    kernels: dict[tuple[str, int], Kernel] = {}
    ptx: set[int] = set()
    machine_code = False
    key = ("", 0)
    for line in lines("-res-usage"):
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
            kernels[key] = Kernel(registers, stack + local, shared - (RESERVED_SHARED if key[1] >= 90 else 0))
    architecture = 0
    opcodes: collections.Counter[str] = collections.Counter()
    for line in lines("-sass"):
        if found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)", line):
            opcodes[found[1]] += 1
        elif found := re.match(r"arch = sm_(\d+)", line):
            architecture = int(found[1])
        elif found := re.match(r"\s*Function : (\S+)", line):
            opcodes = kernels[names[found[1]], architecture].opcodes
    return kernels, ptx


def family(name: str) -> str:
    return name.partition("<")[0]


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
    return found


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--architectures", nargs="+", default=[], help="those that it must have, in CMake's notation")
    parser.add_argument("--cuobjdump", default="cuobjdump", help="its path; nvdisasm must be beside it or on the PATH")
    arguments = parser.parse_args()
    cuobjdump = shutil.which(arguments.cuobjdump)
    if cuobjdump is None:
        raise SystemExit(f"no {arguments.cuobjdump}: tools/cuda_toolkit.sh installs one")

    kernels, ptx = read_code(cuobjdump, arguments.library)
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
