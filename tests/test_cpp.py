"""examples/cpp built against the installed package must find what Python finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mtcnn_fast

ROOT = Path(__file__).parents[1]
# cmake and ninja come with the extra "test"; a virtual environment need not be activated for pytest to run in it.
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
COMPILERS = [os.environ.get("CXX", "c++"), "g++", "clang++"]

pytestmark = [
    pytest.mark.skipif(shutil.which("cmake", path=PATH) is None, reason="no cmake"),
    pytest.mark.skipif(shutil.which("ninja", path=PATH) is None, reason="no ninja"),
    pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler on the PATH"),
]


@pytest.fixture(scope="module")
def detect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("example")
    cmake = shutil.which("cmake", path=PATH) or "cmake"
    package = f"-Dmtcnn_fast_DIR={mtcnn_fast.get_cmake_dir()}"
    for step in (["-G", "Ninja", "-S", ROOT / "examples/cpp", "-B", build, package], ["--build", build]):
        subprocess.run([cmake, *step], check=True, env={**os.environ, "PATH": PATH})
    return build / "detect"


def test_example_agrees_with_python(detect: Path, tmp_path: Path) -> None:
    with Image.open(ROOT / "tests/data/astronaut.jpg") as picture:
        image = np.asarray(picture.convert("RGB"))
    Image.fromarray(image).save(tmp_path / "picture.ppm")
    run = subprocess.run([detect, tmp_path / "picture.ppm"], check=True, capture_output=True, text=True)
    found = np.array([line.split() for line in run.stdout.splitlines()], dtype=np.float32)

    faces = mtcnn_fast.MTCNN(device="cpu").detect(image)
    assert len(faces) >= 1
    np.testing.assert_array_equal(found[:, :4], faces.boxes)
    np.testing.assert_array_equal(found[:, 4], faces.scores)


@pytest.mark.parametrize("content", [b"", b"P6\n10 10\n255\nfew", b"P5\n1 1\n255\n0"])
def test_example_refuses_what_is_no_picture(detect: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "picture.ppm").write_bytes(content)
    run = subprocess.run([detect, tmp_path / "picture.ppm"], capture_output=True, text=True)
    assert run.returncode == 1
    assert "P6" in run.stderr or "short" in run.stderr


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="no pkg-config")
def test_flags_of_pkg_config_build_the_example(detect: Path, tmp_path: Path) -> None:
    files = Path(mtcnn_fast.get_cmake_dir()).parents[1] / "pkgconfig"
    run = subprocess.run(
        ["pkg-config", "--cflags", "--libs", f"mtcnn_fast = {mtcnn_fast.__version__}"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PKG_CONFIG_PATH": str(files)},
    )
    compiler = next(filter(None, map(shutil.which, COMPILERS)))
    program = tmp_path / "detect"
    source = ROOT / "examples/cpp/detect.cpp"
    subprocess.run([compiler, "-std=c++20", source, "-o", program, *run.stdout.split()], check=True)
    picture = tmp_path / "picture.ppm"
    with Image.open(ROOT / "tests/data/astronaut.jpg") as image:
        image.convert("RGB").save(picture)
    first, second = (subprocess.run([each, picture], check=True, capture_output=True) for each in (detect, program))
    assert first.stdout == second.stdout != b""
