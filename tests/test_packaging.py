"""What an installation carries: one version number, types, and the C++ library."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path

import mtcnn_fast
from mtcnn_fast import _core

ROOT = Path(__file__).parents[1]


def test_one_version_number() -> None:
    stated = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert stated is not None
    assert mtcnn_fast.__version__ == metadata.version("mtcnn_fast") == stated[1]
    assert _core.__version__ == stated[1]  # what mtcnn_fast::version() says


def test_changelog_tells_of_this_version() -> None:
    assert f"## {mtcnn_fast.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_types_are_installed() -> None:
    package = resources.files(mtcnn_fast)
    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("_core.pyi").is_file()


def test_headers_are_installed() -> None:
    include = Path(mtcnn_fast.get_include()) / "mtcnn_fast"
    public = ROOT / "include" / "mtcnn_fast"
    assert {p.name for p in include.iterdir()} == {p.name for p in public.iterdir()}


def test_cmake_package_is_installed() -> None:
    package = Path(mtcnn_fast.get_cmake_dir())
    names = {p.name for p in package.iterdir()}
    assert {"mtcnn_fast-config.cmake", "mtcnn_fast-config-version.cmake", "mtcnn_fast-targets.cmake"} <= names
    version = (package / "mtcnn_fast-config-version.cmake").read_text()
    assert f'set(PACKAGE_VERSION "{mtcnn_fast.__version__}")' in version


def test_licence_and_origin_of_the_weights_are_installed() -> None:
    files = {Path(str(file)).name for file in metadata.files("mtcnn_fast") or []}
    assert {"LICENSE", "NOTICE"} <= files
