"""Each kernel once in both precisions, on one frame after a first call: what ncu looks at.

    python tools/gpu_check/inspected.py PHOTOGRAPHS 640x480

`inspect` queues the kernels one by one and not as a graph, so that ncu sees each. Only what stands between
cuProfilerStart and cuProfilerStop is profiled. With "brief" in place of a frame's name, the frame is small, for the
emulator.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import gpu

import mtcnn_fast


def profiler(call: str) -> None:
    """Calls the driver's function of that name, where there is a driver."""
    try:
        status = getattr(ctypes.CDLL("libcuda.so.1"), call)()
    except OSError as error:
        print(f"{call}: {error}")
        return
    if status != 0:
        print(f"{call} returned {status}: nothing is profiled")


def main(photographs: str, name: str) -> None:
    folder = Path(photographs) if photographs else gpu.DATA
    frame = next(iter(gpu.make_frames(folder, [name], brief=name == "brief").values()))
    made = [mtcnn_fast.MTCNN(device="cuda:0", precision=precision) for precision in ("fp32", "fast")]
    for detector in made:
        detector.inspect(frame)
    profiler("cuProfilerStart")
    for detector in made:
        print(name, detector.precision, detector.inspect(frame)["candidates"], flush=True)
    profiler("cuProfilerStop")


if __name__ == "__main__":
    main(*sys.argv[1:])
