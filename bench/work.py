"""The arithmetic of an image, the rate of a core, and the floor that follows from both: the least possible time."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ISA_FLAGS = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
}
# Million multiply-adds per crop. P-Net's are counted from the levels.
RNET_MMAC, ONET_MMAC = 1.531, 12.910
# Multiply-adds of P-Net per input pixel (without borders), per pooled pixel, and per cell (with its heads).
PNET_CONV1, PNET_CONV2, PNET_CELL = 270, 1440, 4608 + 32 * 6


def vectors(isa: str) -> str:
    """The instruction set whose fp32 peak an `MTCNN.isa` has. "amx" has the peak of "avx512"."""
    return "avx512" if isa == "amx" else isa


@dataclass(frozen=True)
class Work:
    """The inputs of the networks for an image."""

    levels: tuple[tuple[int, int], ...]  # (height, width) in pixels
    rnet: int  # crops
    onet: int

    @classmethod
    def seen(cls, inspection: dict[str, Any]) -> Work:
        """The work that a result of `MTCNN.inspect` shows."""
        sizes = tuple((level["height"], level["width"]) for level in inspection["levels"])
        return cls(sizes, inspection["candidates"]["rnet"], inspection["candidates"]["onet"])

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Work:
        sizes = tuple((height, width) for height, width in content["levels"])
        return cls(sizes, content["rnet"], content["onet"])

    def pnet_mmac(self) -> float:
        """Million multiply-adds of P-Net, over all levels."""
        total = 0
        for height, width in self.levels:
            pooled = [(side - 1) // 2 for side in (height, width)]
            total += (height - 2) * (width - 2) * PNET_CONV1
            total += (pooled[0] - 2) * (pooled[1] - 2) * PNET_CONV2
            total += (pooled[0] - 4) * (pooled[1] - 4) * PNET_CELL
        return total / 1e6

    def mmac(self) -> float:
        """Million multiply-adds of the three networks."""
        return self.pnet_mmac() + self.rnet * RNET_MMAC + self.onet * ONET_MMAC


class Peaks:
    """fp32 rates of one core's multiply-add units, measured by bench/fp32_peak.cpp; none without a compiler."""

    def __init__(self, isas: set[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._programs: dict[str, Path] = {}
        self._measured: dict[str, list[float]] = {}
        compiler = shutil.which("c++")
        if compiler is None:
            return
        sources = [str(Path(__file__).with_name(name)) for name in ("fp32_peak.cpp", "multiply_add_loop.cpp")]
        for isa in isas:
            program = Path(self._folder.name) / isa
            flags = ["-std=c++20", "-O3", "-DMTCNN_FAST_ISA_NAME=native", *ISA_FLAGS.get(isa, [])]
            subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
            self._programs[isa] = program

    def measure(self) -> None:
        """Measures each rate once more, for some tens of milliseconds."""
        for isa, program in self._programs.items():
            output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
            self._measured.setdefault(isa, []).append(float(output))

    def take(self) -> dict[str, float]:
        """The highest rates since the last call, in GFLOP/s. Other programs can only lower a rate."""
        highest = {isa: max(values) for isa, values in self._measured.items()}
        self._measured.clear()
        return highest

    def close(self) -> None:
        self._folder.cleanup()


def floor_milliseconds(mmac: float, peak_gflops: float, threads: int) -> float:
    """The least time of `mmac` million multiply-adds, by direct convolution on `threads` cores of that peak."""
    return 2 * mmac / (peak_gflops * threads)


def cpu_model() -> str:
    """The name of the processor, from the system."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
