"""tools/check_neon_spills.py, on machine code written by hand."""

from __future__ import annotations

from types import ModuleType

import pytest

from tool import load_tool


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("check_neon_spills")


def function(name: str, inner: list[str]) -> str:
    """A loop in a loop; the outer one loads a vector from the stack."""
    lines = ["ldr\tq1, [sp, #16]", *inner]
    lines += [f"b.ne\t1004 <{name}+0x4>  // b.any", f"cbnz\tx3, 1000 <{name}>", "ret"]
    code = "\n".join(f"    {0x1000 + 4 * i:x}:\t{line}" for i, line in enumerate(lines))
    return f"0000000000001000 <{name}>:\n{code}\n\n"


SUMS = ["fmla\tv0.4s, v1.4s, v2.s[0]"] * 8


def test_vectors_on_the_stack_of_inner_loops_are_counted(tool: ModuleType) -> None:
    text = "kernels.o: file format elf64-littleaarch64\n\n" + function("clean", SUMS)
    text += function(
        "spills", [*SUMS, "ldr\tq3, [sp, #32]", "stp\tq3, q4, [sp, #64]", "ldr\tx3, [sp]", "ldr\tq5, [x1]"]
    )
    text += function("few", SUMS[1:])
    found = [(loop.function, loop.multiply_adds, loop.spills) for loop in tool.loops(text)]
    assert found == [("clean", 8, 0), ("spills", 8, 2)]


def test_limits(tool: ModuleType) -> None:
    assert tool.limit("f::item_tile<64, 64, 8, 2, false>(float const*)") == 0
    assert tool.limit("f::TiledConv<16, 32>::transform_inputs(float*)") > 0
