"""Pictures and detectors that several tests use."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast

HERE = Path(__file__).parent


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


@pytest.fixture(scope="session")
def astronaut(astronaut_path: Path) -> NDArray[np.uint8]:
    """512 x 512, RGB, one face."""
    return load(astronaut_path)


@pytest.fixture(scope="session")
def face(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """120 x 100, RGB: the astronaut's face and little more, for tests of many calls."""
    return astronaut[60:180, 170:270]


@pytest.fixture(scope="session")
def detector() -> mtcnn_fast.MTCNN:
    return mtcnn_fast.MTCNN()


@pytest.fixture(params=mtcnn_fast.available_isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set in turn, for the detectors that the test makes."""
    monkeypatch.setenv("MTCNN_FAST_ISA", request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The oracle, tests/reference.py."""
    return importlib.import_module("reference")
