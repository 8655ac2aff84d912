"""What an installation carries: one version number, types, and the C++ library."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

import mtcnn_fast
from mtcnn_fast import _core
from tool import load_tool

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


def required(distribution: str, extra: str = "") -> set[str]:
    """The names of what a distribution needs, with one of its extras, and of all that these need."""
    found, waiting = set[str](), [(distribution, extra)]
    while waiting:
        name, wanted = waiting.pop()
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # not wanted on this platform
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": wanted}):
                continue
            key = requirement.name.lower().replace("_", "-")
            if key not in found:
                found.add(key)
                waiting += [(key, each) for each in ("", *requirement.extras)]
    return found


@pytest.mark.parametrize("extra", ["headless", "evaluate", "train", "test", ""])
def test_only_cli_brings_opencv_python(extra: str) -> None:
    """It and opencv-python-headless have the same files: whoever has the one must not be given the other."""
    assert extra in {"", *(metadata.metadata("mtcnn_fast").get_all("Provides-Extra") or [])}
    assert "opencv-python" not in required("mtcnn_fast", extra)


def test_headless_is_cli_with_the_other_opencv() -> None:
    lines = map(Requirement, metadata.requires("mtcnn_fast") or [])
    extras: dict[str, set[str]] = {"cli": set(), "headless": set()}
    for requirement in lines:
        for extra, names in extras.items():
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
                names.add(f"{requirement.name}{requirement.specifier}".replace("python-headless", "python"))
    assert extras["cli"] == extras["headless"] != set()


# --- tools/prepare_release.py ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def release() -> ModuleType:
    pytest.importorskip("tomllib")
    return load_tool("prepare_release")


REPOSITORY = "https://github.com/someone/detector"
COMPLETE = {
    "authors": [{"name": "Someone"}],
    "urls": {
        "Documentation": "https://x.org",
        "Repository": REPOSITORY,
        "Issues": "https://x.org/i",
        "Changelog": "https://x.org/c",
    },
}


@pytest.mark.parametrize(
    ("change", "complaints"),
    [
        ({}, []),
        ({"authors": []}, ["authors: is empty"]),
        ({"urls": {**COMPLETE["urls"], "Issues": ""}}, ["urls.Issues: is missing"]),
        ({"urls": {**COMPLETE["urls"], "Changelog": "CHANGELOG.md"}}, ["urls.Changelog: is 'CHANGELOG.md', wanted"]),
        ({"urls": {**COMPLETE["urls"], "Repository": "https://x.org"}}, ["wanted https://github.com/OWNER/NAME"]),
        ({"urls": {}}, [f"urls.{name}: is missing" for name in COMPLETE["urls"]]),
    ],
)
def test_release_needs_authors_and_addresses(
    release: ModuleType, change: dict[str, object], complaints: list[str]
) -> None:
    found = release.missing({**COMPLETE, **change})
    assert len(found) == len(complaints)
    assert all(complaint in problem for complaint, problem in zip(complaints, found, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[CUDA](docs/cuda.md#use).", "[CUDA](REPOSITORY/blob/v1.2.3/docs/cuda.md#use)."),
        ("![Faces](docs/images/astronaut.jpg)", "![Faces](REPOSITORY/raw/v1.2.3/docs/images/astronaut.jpg)"),
        (
            "[![Faces](docs/images/astronaut.jpg)](docs/data.md)",
            "[![Faces](REPOSITORY/raw/v1.2.3/docs/images/astronaut.jpg)](REPOSITORY/blob/v1.2.3/docs/data.md)",
        ),
        ('<img src="docs/images/speed.png">', '<img src="REPOSITORY/raw/v1.2.3/docs/images/speed.png">'),
        ("[here](#speed) [there](https://x.org/a) [mail](mailto:a@x.org)", None),
        ("`values[0](docs/cuda.md)`\n```cpp\nf[0](docs/cuda.md);\n```\n", None),
    ],
)
def test_links_for_pypi(release: ModuleType, text: str, expected: str | None) -> None:
    wanted = text if expected is None else expected.replace("REPOSITORY", REPOSITORY)
    assert release.absolute_links(text, REPOSITORY, "v1.2.3", ROOT) == wanted


def test_readme_has_links_that_work_on_pypi(release: ModuleType) -> None:
    text = release.absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), REPOSITORY, "v1.2.3", ROOT)
    assert f"]({REPOSITORY}/blob/v1.2.3/" in text
    assert re.findall(r"^\[.*\]: .*$", text, re.MULTILINE) == []  # definitions of links, which are not rewritten


def test_link_to_no_file_is_refused(release: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"links to docs/none\.md, which does not exist"):
        release.absolute_links("[none](docs/none.md)", REPOSITORY, "v1.2.3", ROOT)
