"""tools/gpu_check.sh: its budget, how a step ends, its page. No test here needs a GPU; CI runs the whole emulated."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tool import TOOLS, load_of

gpu_check, gpu_page, gpu_steps = (load_of(TOOLS / "gpu_check", name) for name in ("gpu_check", "gpu_page", "gpu_steps"))


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The steps of these tests, with their limits; every step may begin as long as any time is left."""
    made = {"quick": 60.0, "slow": 0.5, "memcheck": 0.5}
    monkeypatch.setattr(gpu_steps, "LIMITS", made)
    monkeypatch.setattr(gpu_steps, "LEAST", 0.0)
    return made


def run_of(tmp_path: Path, seconds: float = 390) -> Any:
    return gpu_steps.Run(seconds, tmp_path, {"PATH": "/usr/bin:/bin"})


def test_limits_are_in_proportion_to_the_budget(tmp_path: Path, limits: dict[str, float]) -> None:
    assert run_of(tmp_path).limit("quick") == 60
    assert run_of(tmp_path, 195).limit("quick") == 30
    with_little_left = run_of(tmp_path, 390)
    with_little_left._start -= 380
    assert 9 < with_little_left.limit("quick") <= 10


def test_the_steps_with_a_wheel_fit_into_the_budget_but_for_racecheck() -> None:
    instead_of_the_wheel = {"wheels", "build", "install", "device_memcheck"}
    taken = [limit for step, limit in gpu_steps.LIMITS.items() if step not in {*instead_of_the_wheel, "racecheck"}]
    assert sum(taken) <= gpu_steps.SECONDS + 5  # what racecheck gets is what the others leave


def test_how_a_step_ends(tmp_path: Path, limits: dict[str, float]) -> None:
    run = run_of(tmp_path)
    assert run.step("quick", [sys.executable, "-c", "import os; assert os.environ['GIVEN'] == 'yes'"], GIVEN="yes")
    assert not run.step("quick", [sys.executable, "-c", "raise SystemExit(3)"])
    assert not run.step("quick", ["/no/such/program"])
    assert not run.step("slow", ["sleep", "30"])
    assert not run.step("memcheck", ["sleep", "30"])
    run._start -= 1000
    assert not run.step("quick", ["true"])
    assert [(outcome.step, outcome.verdict, outcome.note) for outcome in run.outcomes] == [
        ("quick", "done", ""),
        ("quick", "failed", "status 3"),
        ("quick", "failed", "[Errno 2] No such file or directory: '/no/such/program'"),
        ("slow", "not finished", "stopped after 0 s"),
        ("memcheck", "not finished", "stopped after 0 s"),
        ("quick", "left out", "no time is left"),
    ]
    # A sanitizer that was stopped is neither clean nor a failure.
    assert [outcome.step for outcome in run.failures()] == ["quick", "quick", "slow", "quick"]
    assert [outcome.step for outcome in run.unfinished()] == ["memcheck"]


def test_a_step_that_is_stopped_takes_its_children_along(
    tmp_path: Path, limits: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >child; sleep 60' & wait"
    monkeypatch.setattr(gpu_steps, "GRACE", 0.2)
    assert not run_of(tmp_path).step("slow", ["sh", "-c", script])
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # it ends when its parent's parent has waited for it
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} lives")


def test_a_context_that_cannot_be_held_says_why() -> None:
    program = [sys.executable, str(TOOLS / "gpu_check" / "hold_context.py")]
    run = subprocess.run(program, input="", capture_output=True, text=True, timeout=60)
    assert run.returncode == 0
    assert run.stdout.startswith(("a context is held", "no context is held: "))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0"], "--seconds: got 0, wanted more than 0"),
        (["--photographs", "/no/such"], "--photographs: /no/such is no folder"),
        (["--wheel", "/"], "--wheel: / is no file"),
    ],
)
def test_arguments_that_are_refused(arguments: list[str], complaint: str) -> None:
    run = subprocess.run([str(TOOLS / "gpu_check.sh"), *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert complaint in run.stderr


def test_architecture_of_a_compute_capability() -> None:
    found = [gpu_check.architecture(capability) for capability in ("9.0", "12.1", None, "[N/A]")]
    assert found == ["90-real", "121-real", "native", "native"]


def test_long_files_are_cut_in_the_middle(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"first" + bytes(5000) + b"last")
    gpu_check.shorten(file, 1000)
    content = file.read_bytes()
    assert len(content) <= 1000
    assert content.startswith(b"first")
    assert content.endswith(b"last")
    assert b"4009 bytes are cut out here" in content


# --- The page ---------------------------------------------------------------------------------------------------------

STEPS = [{"name": "pyramid", "microseconds": 8.0}, {"name": "pnet", "microseconds": 21.0}]
WORK = {"frame": "640x480", "min_face_size": 20, "precision": "fast", "candidates": {"rnet": 357, "onet": 45}}
BENCH = {
    "failed": ["bench_cuda ended with status 1: rows are missing"],
    "calls": [{**WORK, "memory": "device", "batch": 1, "milliseconds": 0.12}],
    "targets": [
        {**WORK, "batch": 1, "unit": "us", "target": 66, "measured": 120, "holds": False, "predicted": 118.0},
        {**WORK, "batch": 32, "unit": "frames/s", "target": 36000, "measured": 37000, "holds": True},
    ],
    "cascades": [
        {
            **WORK,
            "images": 1,
            "steps": STEPS,
            "microseconds": 29.0,
            "predicted": {"rnet": 357, "onet": 45, "steps": {"pyramid": 8.0, "pnet": 7.5}, "call": 118.0},
        },
        {**WORK, "images": 8, "steps": STEPS, "microseconds": 29.0},
    ],
    "small": [{"name": "launch", "value": 1.25, "unit": "us", "assumed": 1.0}],
}
JUNIT = """<testsuites><testsuite><testcase classname="tests.test_cuda" name="test_a"/>
<testcase classname="tests.test_cuda" name="test_b">
<failure message="AssertionError: 1&#10;!= 2">...</failure></testcase>
</testsuite></testsuites>"""
MEMCHECK = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at pnet_kernel+0x10 in pnet.cu:123
========= ERROR SUMMARY: 10 errors
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Where the steps of a run leave their results, all of them missing."""
    steps = ("bench_cuda", "gpu", "kernels", "memcheck", "racecheck", "device_memcheck", "tests")
    return {step: tmp_path / step for step in steps}


def test_the_page_of_a_run(tmp_path: Path, files: dict[str, Path]) -> None:
    run = run_of(tmp_path)
    run.outcomes.append(gpu_steps.Outcome("tests", "failed", "status 1", 80.2, 90.0))
    run.outcomes.append(gpu_steps.Outcome("racecheck", "not finished", "stopped after 55 s", 55.0, 55.0))
    files["bench_cuda"].write_text(json.dumps(BENCH))
    files["gpu"].write_text('{"failed": ["agreement: 1 photographs of photos differ')  # stopped while it wrote
    files["tests"].write_text(JUNIT)
    files["memcheck"].write_text(MEMCHECK)
    files["kernels"].write_text("".join(f'"ID","Kernel Name"\n"",""\n"0","{name}"\n' for name in ("pnet", "pyramid")))
    text = gpu_page.page("a card", run, files)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "tests 80 90 failed status 1" in lines
    assert "640x480 20 px fast 1 120 us 118 66 missed" in lines
    assert "640x480 20 px fast 32 37000 frames/s - 36000 holds" in lines
    assert "pyramid 8.0 / 8.0" in lines
    assert "pnet 21.0 / 7.5" in lines
    assert "launch 1.25 1 us" in lines
    assert "kernels that ncu describes: 2 (kernels)" in lines
    first = lines[lines.index("READ FIRST") + 1 :]
    assert first == [
        "1. tests failed: status 1",
        "2. the first test that failed (one sticky CUDA error fails the rest of its process): "
        "tests.test_cuda::test_b: AssertionError: 1 != 2",
        "3. memcheck: ERROR SUMMARY: 10 errors; the first: Invalid __global__ read of size 4 bytes",
        "4. bench_cuda: bench_cuda ended with status 1: rows are missing",
        "5. pnet takes 2.8 times its prediction (640x480 20 px fast): "
        "occupancy (three blocks a multiprocessor?), then conflicts in shared memory",
        "6. the steps are 29 of 120 us (640x480 20 px fast): start, copy and wait are the rest",
        "7. racecheck not finished, which is not clean: stopped after 55 s",
    ]
    assert len(lines) <= 60


def test_many_frames_are_tables_of_four_columns(tmp_path: Path, files: dict[str, Path]) -> None:
    rows = [{**WORK, "frame": f"frame{k}", "images": 1, "steps": STEPS, "microseconds": 29.0} for k in range(6)]
    files["bench_cuda"].write_text(json.dumps({"cascades": rows}))
    lines = gpu_page.page("a card", run_of(tmp_path), files).splitlines()
    heads = [line.split() for line in lines if line.startswith("us / predicted")]
    assert [[word for word in head if word.startswith("frame")] for head in heads] == [
        ["frame0", "frame1", "frame2", "frame3"],
        ["frame4", "frame5"],
    ]
    assert sum(line.startswith("pnet") for line in lines) == 2


def test_the_page_of_a_run_that_left_nothing(tmp_path: Path, files: dict[str, Path]) -> None:
    text = gpu_page.page("a card", run_of(tmp_path), files)
    assert "no step of the cascade was measured" in text
    assert text.endswith("1. nothing failed, and no step is over its prediction by more than a third\n")
