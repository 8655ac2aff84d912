"""Building the CUDA backend, and what an installed one asks of the machine. No test here needs a GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

import mtcnn_fast

ROOT = Path(__file__).parents[1]
# cmake and ninja come with the extra "test"; a virtual environment need not be activated for pytest to run in it.
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
BACKEND = Path(mtcnn_fast.get_include()).parent / "lib" / "libmtcnn_fast_cuda.so"

needs_cmake = pytest.mark.skipif(
    not sys.platform.startswith("linux") or any(shutil.which(tool, path=PATH) is None for tool in ("cmake", "ninja")),
    reason="needs Linux, cmake and ninja",
)
needs_backend = pytest.mark.skipif(not BACKEND.is_file(), reason="this installation has no CUDA backend")


def configure(build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """cmake on a machine whose CUDA compiler cannot be found. The output is one line, because CMake breaks lines."""
    environment = {**os.environ, "PATH": PATH, "CUDACXX": str(build / "nvcc")}
    command = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(build), *options]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    run.stdout = " ".join(run.stdout.split())
    return run


@needs_cmake
def test_auto_builds_for_the_cpu_without_a_cuda_compiler(tmp_path: Path) -> None:
    run = configure(tmp_path, "-DMTCNN_FAST_CUDA=AUTO")
    assert run.returncode == 0
    assert "CUDA backend: not built, because there is no CUDA compiler that works" in run.stdout
    assert "mtcnn_fast_cuda" not in (tmp_path / "build.ninja").read_text()


@needs_cmake
def test_off_says_so(tmp_path: Path) -> None:
    run = configure(tmp_path, "-DMTCNN_FAST_CUDA=OFF")
    assert run.returncode == 0
    assert "CUDA backend: not built, because MTCNN_FAST_CUDA is OFF" in run.stdout


@needs_cmake
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-DMTCNN_FAST_CUDA=ON"], "there is no CUDA compiler that works (put nvcc on the PATH"),
        (["-DMTCNN_FAST_CUDA=ON", "-DMTCNN_FAST_SANITIZE=address"], "MTCNN_FAST_SANITIZE is set"),
        (["-DMTCNN_FAST_CUDA=YES"], "MTCNN_FAST_CUDA is 'YES', wanted AUTO, ON or OFF"),
    ],
)
def test_what_cannot_be_built_fails(tmp_path: Path, options: list[str], message: str) -> None:
    run = configure(tmp_path, *options)
    assert run.returncode != 0
    assert message in run.stdout


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
        /*0010*/              @!P0 {instruction} R8, R4, R2, R8 ;       /* 0x0000000204087223 */
"""


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with limits for one kernel."""
    name = "check_cuda_resources"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # where dataclasses look their module up
    spec.loader.exec_module(module)
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
    values = {"registers": 32, "stack": 0, "shared": 1024 + 512, "instruction": "FFMA", **change}
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
