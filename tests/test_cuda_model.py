"""The model of the CUDA backend's times: machine code as it is read, a warp's time, waves, the predictions' table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mtcnn_fast import MTCNN
from tool import BENCH, ROOT, TOOLS, load_of

cuda_code, cuda_layers, predict_cuda, warp_trace = (
    load_of(TOOLS, name) for name in ("cuda_code", "cuda_layers", "predict_cuda", "warp_trace")
)
predictions = load_of(BENCH, "predictions")


def line(address: int, text: str, stall: int = 1, sets: int = 7, waits: int = 0) -> str:
    """An instruction as cuobjdump prints it, with its control bits."""
    control = (stall | sets << 5 | 7 << 8 | waits << 11) << 41
    return f"        /*{address:04x}*/  {text} ;  /* 0x{0:016x} */\n{'':60}/* 0x{control:016x} */\n"


# A loop of two passes over a load, whose address is the one loaded before, within a loop of items.
CODE = "".join(
    [
        "arch = sm_90\n\t\tFunction : some_kernel\n",
        line(0x00, "LDC R1, c[0x0][0x28]"),
        line(0x10, "IADD3 R2, R2, 0x1, RZ", stall=4),
        line(0x20, "LDG.E.128 R4, desc[UR4][R4.64]", stall=2, sets=1),
        line(0x30, "FFMA R8, R4, R5, R8", stall=4, waits=0b10),
        line(0x40, "@P0 BRA 0x70", stall=5),
        line(0x50, "ATOMG.E.ADD R3, desc[UR4][R6.64]", sets=2),
        line(0x60, "IMAD R3, R3, R3, R3", waits=0b100),
        line(0x70, "@!P1 BRA 0x20", stall=5),
        line(0x80, "@!P2 BRA 0x10", stall=5),
        line(0x90, "EXIT", stall=5),
        line(0xA0, "SHFL.BFLY PT, R3, R3, 0x1, 0x1f"),
        line(0xB0, "BRA 0x30"),
        line(0xC0, "BRA 0xc0"),
    ]
)
RESOURCES = """Fatbin elf code:
arch = sm_90
 Function some_kernel:
  REG:40 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:360
"""


@pytest.fixture
def kernel(tmp_path: Path) -> object:
    """CODE as read from the output of cuobjdump."""
    (tmp_path / "-res-usage").write_text(RESOURCES)
    (tmp_path / "-sass").write_text(CODE)
    program = tmp_path / "cuobjdump"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/$1"\n')
    program.chmod(0o755)
    kernels, _ = cuda_code.read_code(str(program), Path("backend.so"))
    return kernels["some_kernel", 90]


def test_loops_and_control_bits_are_read(kernel: cuda_code.Kernel) -> None:
    assert (kernel.registers, kernel.local, kernel.shared) == (40, 0, 0)
    outer, inner = kernel.loops
    assert (outer.first, outer.last) == (0x10, 0x80)
    assert (inner.first, inner.last) == (0x20, 0x70)  # not the branch that stands behind the EXIT
    assert kernel.innermost() == [inner]
    assert (inner.count("FFMA"), inner.count("LDG"), inner.count("LDG.E.128"), inner.count("LDG.E.U8")) == (1, 1, 1, 0)
    assert inner.stalls() == 2 + 4 + 5 + 1 + 1 + 5
    load, multiply = inner.instructions[:2]
    assert (load.stall, load.sets, load.waits) == (2, 1, 0)
    assert (multiply.stall, multiply.sets, multiply.waits) == (4, None, 0b10)


def test_a_trace_passes_loops_as_often_as_it_is_told_and_leaves_out_what_is_seldom(kernel: cuda_code.Kernel) -> None:
    trace = warp_trace.item(kernel, lambda _: 3)
    names = [each.plain for each in trace]
    assert names == ["IADD3", *["LDG", "FFMA", "BRA", "BRA"] * 3, "BRA"]


def test_a_warp_alone_waits_for_its_loads_in_turn(kernel: cuda_code.Kernel) -> None:
    trace = warp_trace.item(kernel, lambda _: 3)
    assert warp_trace.latency(trace, lambda _: 100) == 4 + 3 * (100 + 4 + 5 + 5) + 5
    # Loads that nothing waits for do not add up, and the last is awaited.
    assert warp_trace.latency([trace[1]] * 3, lambda _: 100) == 2 * 2 + 100


def test_a_kernel_takes_the_longest_of_issuing_returning_and_waiting() -> None:
    item = cuda_layers.Item(warps=4, issued=1000, alone=1500)
    processors = warp_trace.PROCESSORS
    assert item.throughput == 1000
    assert cuda_layers.cycles(item, 0, 4) == 0
    assert cuda_layers.cycles(item, 1, 4) == 1500
    assert cuda_layers.cycles(item, 3.4 * processors, 4) == 4000  # 3.4 items of a multiprocessor cost four
    assert cuda_layers.cycles(item, processors * 8, 1) == 8 * 1500  # a block at a time waits eight times
    assert cuda_layers.Item(4, 1000, 1500, returns=2000).throughput == 2000


def test_a_kernel_that_the_model_does_not_know_is_told(kernel: cuda_code.Kernel) -> None:
    with pytest.raises(SystemExit, match=r"^some_kernel has 0 loops of multiply-adds, and its model .* has 1"):
        cuda_layers.Code("some_kernel", kernel).math_loops(1)


@pytest.mark.parametrize("frame", predict_cuda.FRAMES[:4], ids=str)
def test_levels_are_those_of_the_cascade(frame: predict_cuda.Frame) -> None:
    image = np.zeros((frame.height, frame.width, 3), np.uint8)
    levels = MTCNN(device="cpu", min_face_size=frame.min_face_size).inspect(image)["levels"]
    assert frame.levels() == [(level["height"], level["width"]) for level in levels]


def test_the_table_has_every_frame_and_step() -> None:
    source = (ROOT / "cuda" / "workspace.cpp").read_text()
    names = re.findall(r'\{"(\w+)",', source[source.index("Workspace::steps()") :])
    rows = predictions.load()
    found = {(row.width, row.height, row.min_face_size, row.rnet, row.onet, row.precision) for row in rows}
    frames = [(each.width, each.height, each.min_face_size, each.rnet, each.onet) for each in predict_cuda.FRAMES]
    assert found == {(*frame, precision) for frame in frames for precision in ("fp32", "fast")}
    for row in rows:
        assert list(row.steps) == names == list(predict_cuda.STEPS)
        assert sum(row.steps.values()) < row.call < sum(row.steps.values()) + 20
    assert "sort of 512 keys" in predictions.assumed()


def test_the_prediction_of_the_nearest_counts_is_taken() -> None:
    rows = predictions.load()
    seen = {"width": 640, "height": 480, "min_face_size": 20, "precision": "fast"}
    near = predictions.nearest(rows, {**seen, "candidates": {"rnet": 340, "onet": 48}})
    assert (near.rnet, near.onet, near.precision) == (357, 45, "fast")
    assert predictions.nearest(rows, {**seen, "width": 641, "candidates": {"rnet": 340, "onet": 48}}) is None
