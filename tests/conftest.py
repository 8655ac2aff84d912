"""Pictures and detectors that several tests use."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast
from mtcnn_fast.results import File

HERE = Path(__file__).parent

# Every test of a backend runs on the CPU and, where there is one, on a GPU; or on the CUDA backend emulated on the CPU
# (tests/simt), if MTCNN_FAST_CUDA_LIBRARY names it. The emulator takes seconds for what a GPU does in a millisecond.
CUDA = [device for device in mtcnn_fast.available_devices() if device == "cuda:0"]
EMULATED = bool(CUDA) and mtcnn_fast.MTCNN(device=CUDA[0])._core.device_name == "emulator"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz",
        type=int,
        metavar="N",
        help="cases of each kind in test_fuzz_*.py: dozens or a few hundred by default, of fixed seeds all the same",
    )
    parser.addoption("--outside-links", action="store_true", help="follow the pages' links to other places, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "heavy: takes too long on an emulated GPU, and is skipped there")


def _skip_if_too_heavy(request: pytest.FixtureRequest, device: str) -> None:
    if EMULATED and device != "cpu" and request.node.get_closest_marker("heavy"):
        pytest.skip("takes too long on an emulated GPU")


def load(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        image = np.asarray(picture.convert("RGB"))
    image.flags.writeable = False
    return image


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of photographs that cannot be given away with the project."""
    folder = Path(os.environ.get("MTCNN_FAST_TEST_DATA", HERE.parents[1] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}; MTCNN_FAST_TEST_DATA can name another folder")
    return folder


@pytest.fixture(scope="session")
def photos(data: Path) -> dict[str, NDArray[np.uint8]]:
    return {path.stem: load(path) for path in sorted(data.joinpath("photos").glob("*.jpg"))}


@pytest.fixture(scope="session")
def astronaut_path() -> Path:
    return HERE / "data" / "astronaut.jpg"


@pytest.fixture
def pictures(tmp_path: Path, astronaut_path: Path) -> Path:
    """A folder with two pictures of one name, with a face each, and one without a face."""
    folder = tmp_path / "pictures"
    for place in ("a", "b"):
        (folder / place).mkdir(parents=True)
        shutil.copy(astronaut_path, folder / place / "face.jpg")
    Image.new("RGB", (60, 40)).save(folder / "c.png")
    return folder


@contextmanager
def _interrupted_after(records: int) -> Iterator[None]:
    add, count = File.add, 0

    def interrupt(*arguments: Any) -> None:
        nonlocal count
        count += 1
        add(*arguments)
        if count == records:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(File, "add", interrupt)
        yield


@pytest.fixture
def interrupted_after() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which Ctrl-C comes when a run has added so many records to its file."""
    return _interrupted_after


@pytest.fixture(scope="session")
def astronaut(astronaut_path: Path) -> NDArray[np.uint8]:
    """512 x 512, RGB, one face."""
    return load(astronaut_path)


@pytest.fixture(scope="session")
def face(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """120 x 100, RGB: the astronaut's face and little more, for tests of many calls."""
    return astronaut[60:180, 170:270]


@functools.cache
def _detector(device: str) -> mtcnn_fast.MTCNN:
    return mtcnn_fast.MTCNN(device=device)


@pytest.fixture(params=["cpu", *CUDA])
def backend(request: pytest.FixtureRequest) -> str:
    """The device of each backend in turn; the CPU with its best instruction set."""
    _skip_if_too_heavy(request, request.param)
    return str(request.param)


@pytest.fixture
def detector(backend: str) -> mtcnn_fast.MTCNN:
    """One on each backend."""
    return _detector(backend)


@pytest.fixture(params=mtcnn_fast.available_isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set in turn, for the CPU detectors that the test makes."""
    monkeypatch.setenv("MTCNN_FAST_ISA", request.param)
    return str(request.param)


@pytest.fixture(params=[*(f"cpu-{isa}" for isa in mtcnn_fast.available_isas()), *CUDA])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each device in turn, the CPU with each instruction set, for the detectors that the test makes."""
    if request.param in CUDA:
        _skip_if_too_heavy(request, request.param)
        return str(request.param)
    monkeypatch.setenv("MTCNN_FAST_ISA", request.param.removeprefix("cpu-"))
    return "cpu"


@pytest.fixture(params=CUDA or [pytest.param("cuda:0", marks=pytest.mark.skip(reason="no CUDA device"))])
def cuda(request: pytest.FixtureRequest) -> str:
    """The name of a GPU, real or emulated."""
    _skip_if_too_heavy(request, request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The oracle, tests/reference.py."""
    return importlib.import_module("reference")


def leave_early(command: list[str]) -> tuple[int, str]:
    """Exit status and stderr of a command whose reader goes away after a line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    return process.returncode, err
