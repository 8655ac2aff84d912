"""The kernels by the hardware's counters, as CSV: a report of ncu can be opened by ncu alone.

    python tools/gpu_check/ncu_kernels.py PHOTOGRAPHS SECONDS FILE.csv

A frame at a time, because ncu writes its report when the program ends: stopped in the second, the first is there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

FRAMES = ("640x480", "1920x1080")
SECTIONS = ["SpeedOfLight", "LaunchStats", "Occupancy", "SchedulerStats", "WarpStateStats", "MemoryWorkloadAnalysis"]
READING = 5.0  # seconds that are kept for making CSV of a report


def profile(photographs: str, frame: str, report: Path, seconds: float) -> bool:
    """Runs inspected.py under ncu and says whether there is a report. ncu sets no clocks: the driver's are kept."""
    command = ["ncu", "--profile-from-start", "off", "--clock-control", "none", "--force-overwrite", "-o", str(report)]
    for section in SECTIONS:
        command += ["--section", section]
    command += [sys.executable, str(Path(__file__).with_name("inspected.py")), photographs, frame]
    try:
        status = subprocess.run(command, timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        print(f"ncu was stopped after {seconds:.0f} s: nothing of {frame}", flush=True)
        return False
    if status != 0:
        print(f"ncu ended with status {status}: nothing of {frame}", flush=True)
    return status == 0


def main(photographs: str, seconds: str, file: str) -> int:
    end = time.monotonic() + float(seconds)
    done = 0
    with tempfile.TemporaryDirectory() as folder, Path(file).open("w") as table:
        for frame in FRAMES:
            report = Path(folder) / f"{frame}.ncu-rep"
            left = end - time.monotonic() - READING
            if left > 0 and profile(photographs, frame, report, left):
                command = ["ncu", "--import", str(report), "--csv", "--page", "raw"]
                done += subprocess.run(command, stdout=table).returncode == 0
                table.flush()
    return int(done < len(FRAMES))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
