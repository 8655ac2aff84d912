"""Building the CUDA backend, and what an installed one asks of the machine. No test here needs a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

import mtcnn_fast
from tool import load_tool

ROOT = Path(__file__).parents[1]
# cmake and ninja come with the extra "test"; a virtual environment need not be activated for pytest to run in it.
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
BACKEND = Path(mtcnn_fast.get_include()).parent / "lib" / "libmtcnn_fast_cuda.so"

needs_cmake = pytest.mark.skipif(
    not sys.platform.startswith("linux") or any(shutil.which(tool, path=PATH) is None for tool in ("cmake", "ninja")),
    reason="needs Linux, cmake and ninja",
)
needs_backend = pytest.mark.skipif(not BACKEND.is_file(), reason="this installation has no CUDA backend")


def configure(build: Path, *options: str, gpus: str = "") -> subprocess.CompletedProcess[str]:
    """cmake on a machine with these GPUs (compute capabilities), whose CUDA compiler cannot be found. The output is one
    line, because CMake breaks lines."""
    nvidia_smi = build / "bin" / "nvidia-smi"
    nvidia_smi.parent.mkdir(exist_ok=True)
    nvidia_smi.write_text(f"#!/bin/sh\nprintf '%s\\n' {gpus}\n")
    nvidia_smi.chmod(0o755)
    environment = {**os.environ, "PATH": f"{nvidia_smi.parent}{os.pathsep}{PATH}", "CUDACXX": str(build / "nvcc")}
    environment.pop("CUDAARCHS", None)
    command = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(build), *options]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    run.stdout = " ".join(run.stdout.split())
    return run


@needs_cmake
def test_auto_builds_for_the_cpu_without_a_cuda_compiler(tmp_path: Path) -> None:
    run = configure(tmp_path, "-DMTCNN_FAST_CUDA=AUTO", gpus="9.0")
    assert run.returncode == 0
    assert "CUDA backend: not built, because there is no CUDA compiler that works" in run.stdout
    assert "mtcnn_fast_cuda" not in (tmp_path / "build.ninja").read_text()


@needs_cmake
@pytest.mark.parametrize("gpus", ["", "6.1 7.0"])
def test_auto_builds_for_the_cpu_without_a_gpu_that_the_backend_runs_on(tmp_path: Path, gpus: str) -> None:
    run = configure(tmp_path, "-DMTCNN_FAST_CUDA=AUTO", gpus=gpus)
    assert run.returncode == 0
    assert "not built, because nvidia-smi lists no GPU of compute capability 7.5 or later" in run.stdout


@needs_cmake
@pytest.mark.parametrize(
    ("options", "gpus", "architectures"),
    [
        (["-DMTCNN_FAST_CUDA=AUTO"], "9.0", "90"),
        (["-DMTCNN_FAST_CUDA=AUTO"], "7.5 8.9 7.0 8.9", "75;89"),
        (["-DMTCNN_FAST_CUDA=AUTO"], "8.7 10.3 11.0 12.1", "86;100;120"),  # the latest one that is not after the GPU's
        (["-DMTCNN_FAST_CUDA=AUTO", "-DCMAKE_CUDA_ARCHITECTURES=80"], "", "80"),
        (["-DMTCNN_FAST_CUDA=ON"], "9.0", "75-real;80-real;86-real;89-real;90-real;100-real;120-real;120-virtual"),
    ],
)
def test_architectures(tmp_path: Path, options: list[str], gpus: str, architectures: str) -> None:
    # In place of CMake's own, which runs when the architectures are settled.
    stop = 'message(FATAL_ERROR "architectures: ${CMAKE_CUDA_ARCHITECTURES}.")'
    (tmp_path / "CheckLanguage.cmake").write_text(f"macro(check_language)\n{stop}\nendmacro()\n")
    run = configure(tmp_path, *options, f"-DCMAKE_MODULE_PATH={tmp_path}", gpus=gpus)
    assert f"architectures: {architectures}." in run.stdout


@needs_backend
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_backend_exports_its_interface_alone() -> None:
    run = subprocess.run(["nm", "-D", "--defined-only", BACKEND], check=True, capture_output=True, text=True)
    assert [line.split()[-1] for line in run.stdout.splitlines()] == ["mtcnn_fast_cuda_interface"]


@needs_backend
@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf")
def test_backend_is_linked_against_no_library_of_cuda() -> None:
    run = subprocess.run(["readelf", "-d", BACKEND], check=True, capture_output=True, text=True)
    needed = [line.split("[")[1].rstrip("]") for line in run.stdout.splitlines() if "(NEEDED)" in line]
    system = ("libc.", "libm.", "libstdc++.", "libgcc_s.", "libdl.", "libpthread.", "librt.", "ld-linux")
    assert needed
    assert all(name.startswith(system) for name in needed), needed


@needs_backend
def test_backend_is_opened_for_the_gpu_only() -> None:
    program = """
import numpy, pathlib, mtcnn_fast
mtcnn_fast.MTCNN(device="cpu").detect(numpy.zeros((50, 50, 3), numpy.uint8))
maps = pathlib.Path("/proc/self/maps")
assert "libmtcnn_fast_cuda.so" not in maps.read_text() and "libcuda.so" not in maps.read_text()
mtcnn_fast.available_devices()
assert "libmtcnn_fast_cuda.so" in maps.read_text()
"""
    environment = {name: value for name, value in os.environ.items() if name != "MTCNN_FAST_CUDA_LIBRARY"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


# --- tools/check_cuda_resources.py -----------------------------------------------------------------------------------

RESOURCES = """
Fatbin elf code:
================
arch = sm_90
Resource usage:
 Common:
  GLOBAL:0
 Function _Z11some_kernelPi:
  REG:{registers} STACK:{stack} SHARED:{shared} LOCAL:0 CONSTANT[0]:360 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin ptx code:
================
arch = sm_90
"""
CODE = """
Fatbin elf code:
================
arch = sm_90
\t\tFunction : _Z11some_kernelPi
        /*0000*/                   LDC R1, c[0x0][0x28] ;               /* 0x00000a00ff017b82 */
        /*0008*/                   {early} ;                            /* 0x00000a00ff017b82 */
        /*0010*/              @!P0 {instruction} R8, R4, R2, R8 ;       /* 0x0000000204087223 */
"""
EARLY_LOAD = """LDG.E R2, desc[UR4][R2.64] ;         /* 0x00000a00ff017b82 */
        /*000c*/                   ACQBULK"""


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with limits for one kernel."""
    module = load_tool("check_cuda_resources")
    monkeypatch.setattr(module, "LIMITS", {"some_kernel": module.Limit(32, shared=512)})
    return module


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="no c++filt")
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"registers": 33}, "some_kernel (sm_90) needs 33 registers, and 32 are allowed"),
        ({"shared": 1024 + 513}, "has 513 bytes of static shared memory, and 512 are allowed"),
        ({"stack": 8}, "has 8 bytes of local memory (0 accesses), and none are allowed"),
        ({"instruction": "STL [R1],"}, "has 0 bytes of local memory (1 accesses), and none are allowed"),
        ({"instruction": "HMMA.16816.F32"}, "has 1 tensor-core instructions, and none are wanted"),
        ({"early": "NOP"}, "some_kernel (sm_90) does not wait for earlier kernels"),
        ({"early": EARLY_LOAD}, "has LDG.E before the wait for earlier kernels, and no access is allowed there"),
        ({"limit": "another_kernel"}, "some_kernel (sm_90) has no limits in LIMITS"),
        ({"limit": "another_kernel"}, "no kernel another_kernel"),
        ({"architectures": ["80-real"]}, "no machine code for compute capability 80"),
        ({"architectures": ["90", "100-virtual"]}, "no PTX for compute capability 100"),
    ],
)
def test_limits_of_the_machine_code(
    checker: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    complaint: str | None,
) -> None:
    values = {"registers": 32, "stack": 0, "shared": 1024 + 512, "instruction": "FFMA", "early": "ACQBULK", **change}
    (tmp_path / "-res-usage").write_text(RESOURCES.format_map(values))
    (tmp_path / "-sass").write_text(CODE.format_map(values))
    cuobjdump = tmp_path / "cuobjdump"
    cuobjdump.write_text(f'#!/bin/sh\ncat "{tmp_path}/$1"\n')
    cuobjdump.chmod(0o755)
    if "limit" in change:
        monkeypatch.setattr(checker, "LIMITS", {change["limit"]: checker.Limit(32)})
    architectures = change.get("architectures", ["90", "native"])
    assert isinstance(architectures, list)
    arguments = ["check_cuda_resources.py", "backend.so", "--cuobjdump", str(cuobjdump), "--architectures"]
    monkeypatch.setattr(sys, "argv", [*arguments, *architectures])

    failed = checker.main()
    complaints = capsys.readouterr().err
    assert failed == (complaint is not None)
    assert (complaint or "") in complaints
