"""A folder is a rule: which folder may include or import which, as docs/architecture.md tells it."""

from __future__ import annotations

import ast
import functools
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]

# Compiled once per instruction set, and what the units there include: the linker must have no template of the standard
# library to choose from.
PLAIN_SHARED = ("src/host_device.h", "src/pixel_values.h", "src/stage.h")
PLAIN = ("src/cpu/kernels", *PLAIN_SHARED)
PLAIN_HEADERS = r"cstddef|cstdint|cstring|[a-z]mmintrin\.h|arm_neon\.h"

# C++: the folders and files that the files directly in a folder may include, beside those of the folder itself.
HEADERS = {
    "include/mtcnn_fast": (),
    "src": ("include/mtcnn_fast",),
    "src/cpu/kernels": PLAIN_SHARED,
    "src/cpu": ("include/mtcnn_fast", "src", "src/cpu/kernels"),
    "src/cuda": ("include/mtcnn_fast", "src"),
    "src/python": ("include/mtcnn_fast", "src"),
    "cuda": ("src",),
}
GENERATED = ("isa_list.h",)
# Headers of others, and the only folder that may include them.
FOREIGN = {r"pybind11/.*|Python\.h": "src/python", r"(cuda|simt)_\w+\.h": "cuda"}

# Python: the packages whose modules a package may import, beside its own. "mtcnn_fast" stands for the modules directly
# in that folder.
IMPORTS = {
    "mtcnn_fast": ("mtcnn_fast/datasets", "mtcnn_fast/video"),
    "mtcnn_fast/datasets": ("mtcnn_fast",),
    "mtcnn_fast/evaluate": ("mtcnn_fast", "mtcnn_fast/datasets"),
    "mtcnn_fast/train": ("mtcnn_fast", "mtcnn_fast/datasets"),
    "mtcnn_fast/compat": ("mtcnn_fast",),
    "mtcnn_fast/compat/facenet_pytorch": ("mtcnn_fast", "mtcnn_fast/compat"),
    "mtcnn_fast/compat/insightface": ("mtcnn_fast", "mtcnn_fast/compat"),
    "mtcnn_fast/compat/mtcnn": ("mtcnn_fast", "mtcnn_fast/compat"),
    "mtcnn_fast/compat/mtcnn/utils": ("mtcnn_fast", "mtcnn_fast/compat/mtcnn"),
    "mtcnn_fast/integrations": ("mtcnn_fast",),
    "mtcnn_fast/video": ("mtcnn_fast",),
    "mtcnn_fast/cli": (
        "mtcnn_fast",
        "mtcnn_fast/datasets",
        "mtcnn_fast/evaluate",
        "mtcnn_fast/train",
        "mtcnn_fast/integrations",
        "mtcnn_fast/video",
    ),
}
ENTRY = "mtcnn_fast/__main__.py"  # starts the command line, and so imports what no other module here may
# Modules of others, and the only packages and modules that may import them at top level.
LATE = {
    "torch": ("mtcnn_fast/train", "mtcnn_fast/compat/facenet_pytorch"),
    "argparse": ("mtcnn_fast/cli",),
}

Files = dict[str, str]
"""Texts by their path, from the root of the repository, or of python/."""


def read(root: Path, folders: list[str], suffixes: tuple[str, ...]) -> Files:
    paths = [path for folder in folders for path in root.joinpath(folder).rglob("*") if path.suffix in suffixes]
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(paths)}


@pytest.fixture(scope="module")
def sources() -> Files:
    return read(ROOT, ["include", "src", "cuda"], (".h", ".cpp", ".cu", ".cuh"))


@pytest.fixture(scope="module")
def modules() -> Files:
    return read(ROOT / "python", ["mtcnn_fast"], (".py", ".pyi"))


def folder_of(file: str) -> str:
    return posixpath.dirname(file)


def is_of(file: str, places: tuple[str, ...]) -> bool:
    return file in places or folder_of(file) in places


def included(file: str, quoted: str | None, angular: str | None) -> str | None:
    """The file of this repository that an include means; None: another's, or a generated one."""
    if quoted is None:
        return f"include/{angular}" if str(angular).startswith("mtcnn_fast/") else None
    return None if quoted in GENERATED else posixpath.normpath(f"{PurePosixPath(file).parts[0]}/{quoted}")


def includes(sources: Files) -> Iterator[tuple[str, str, str | None]]:
    """Each include: its file with the line, what it includes as written, and the file of this repository."""
    for file, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line):
                yield f"{file}:{number}", found[1] or found[2], included(file, found[1], found[2])


def wrong_includes(sources: Files) -> list[str]:
    wrong = []
    for place, name, target in includes(sources):
        file = place.rpartition(":")[0]
        folder = folder_of(file)
        if folder not in HEADERS:
            wrong.append(f"{place}: {folder} is no folder of HEADERS, which says what each may include")
        elif target is None:
            if is_of(file, PLAIN) and name not in GENERATED and not re.fullmatch(PLAIN_HEADERS, name):
                wrong.append(f"{place}: includes {name}; compiled once per instruction set, it may not")
            for pattern, owner in FOREIGN.items():
                if re.fullmatch(pattern, name) and folder != owner:
                    wrong.append(f"{place}: includes {name}, which only {owner} may")
        elif target not in sources:
            wrong.append(f"{place}: includes {name}, which is no path from {PurePosixPath(file).parts[0]}")
        elif not is_of(target, (folder, *HEADERS[folder])):
            wrong.append(f"{place}: includes {target}; beside itself, {folder} may include {HEADERS[folder]}")
        elif file in PLAIN and target not in PLAIN:
            wrong.append(f"{place}: includes {target}; what {PLAIN[0]} includes may not")
    return wrong


def named(file: str) -> str:
    return file.rpartition(".")[0].removesuffix("/__init__").replace("/", ".")


@functools.cache
def imports(text: str) -> list[tuple[int, str, str, bool]]:
    """Each import: its line, a module, what is imported of it, and whether this runs when the module is imported."""
    found = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((child.lineno, alias.name, "", top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = "." * child.level + (child.module or "")
                found.extend((child.lineno, module, alias.name, top) for alias in child.names)
            typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            walk(child, top and not typing and not isinstance(child, ast.FunctionDef))

    walk(ast.parse(text), True)
    return found


def wrong_imports(modules: Files) -> list[str]:
    known = {named(file): file for file in modules}
    wrong = []
    graph: dict[str, set[str]] = {}
    for file, text in modules.items():
        package = folder_of(file)
        for line, module, name, top in imports(text):
            place = f"{file}:{line}"
            if package not in IMPORTS:
                wrong.append(f"{place}: {package} is no package of IMPORTS, which says what each may import")
            elif target := known.get(f"{module}.{name}", known.get(module)):
                graph.setdefault(file, set()).add(target)
                if not is_of(target, (package, *IMPORTS[package])) and file != ENTRY:
                    wrong.append(f"{place}: imports {module}; beside itself, {package} may import {IMPORTS[package]}")
            elif module.startswith("."):
                wrong.append(f"{place}: imports {module}; wanted the whole name, from mtcnn_fast on")
            owners = LATE.get(module.partition(".")[0])
            if owners and top and not is_of(file, owners):
                wrong.append(f"{place}: imports {module} at top level, which only {owners} may")
    return wrong + [" imports ".join(circle) for circle in circles(graph)]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One way round for each module from which imports lead back to a module on the way."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(file: str, way: list[str]) -> None:
        if file in way:
            found.append([*way[way.index(file) :], file])
        elif file not in done:
            for target in sorted(graph.get(file, ())):
                visit(target, [*way, file])
            done.add(file)

    for file in sorted(graph):
        visit(file, [])
    return found


def test_includes(sources: Files) -> None:
    assert not wrong_includes(sources)


def test_imports(modules: Files) -> None:
    assert not wrong_imports(modules)


def test_the_parts_of_the_library_include_what_they_share_alone(sources: Files) -> None:
    parts = {"src": "src", "src/cpu": "src/cpu", "src/cpu/kernels": "src/cpu", "src/cuda": "src/cuda", "cuda": "cuda"}
    pairs = ((folder_of(place), folder_of(target)) for place, _, target in includes(sources) if target)
    arrows = {(parts[of], parts[to]) for of, to in pairs if of in parts and to in parts and parts[of] != parts[to]}
    assert arrows == {("src/cpu", "src"), ("src/cuda", "src"), ("cuda", "src")}


@pytest.mark.parametrize(
    ("file", "line", "wanted"),
    [
        ("include/mtcnn_fast/types.h", '#include "boxes.h"', "which is no path from include"),
        ("src/boxes.h", '#include "cpu/nms.h"', "src may include"),
        ("src/boxes.h", '#include "../cuda/work.h"', "src may include"),
        ("src/boxes.h", "#include <pybind11/numpy.h>", "only src/python may"),
        ("src/cpu/nms.h", '#include "cuda/plan.h"', "src/cpu may include"),
        ("src/cpu/nms.h", '#include "candidates.h"', "which is no path from src"),
        ("src/cpu/nms.h", '#include "../boxes.h"', "which is no path from src"),
        ("src/cpu/kernels/simd.h", '#include "boxes.h"', "src/cpu/kernels may include"),
        ("src/cpu/kernels/simd.h", '#include "cpu/nms.h"', "src/cpu/kernels may include"),
        ("src/cpu/kernels/simd.h", "#include <algorithm>", "may not"),
        ("src/pixel_values.h", "#include <vector>", "may not"),
        ("src/pixel_values.h", '#include "geometry.h"', "may not"),
        ("src/cuda/plan.h", '#include "cpu/nms.h"', "src/cuda may include"),
        ("src/cuda/plan.h", "#include <cuda_runtime.h>", "only cuda may"),
        ("src/python/dlpack.h", '#include "cpu/nms.h"', "src/python may include"),
        ("src/cpu/nms.h", "#include <Python.h>", "only src/python may"),
        ("cuda/work.h", '#include "../src/cpu/nms.h"', "cuda may include"),
        ("src/new/file.h", "#include <vector>", "no folder of HEADERS"),
    ],
)
def test_a_wrong_include_is_told(sources: Files, file: str, line: str, wanted: str) -> None:
    broken = {**sources, file: f"{sources.get(file, '')}\n{line}\n"}
    (complaint,) = set(wrong_includes(broken)) - set(wrong_includes(sources))
    assert wanted in complaint


@pytest.mark.parametrize(
    ("file", "line", "wanted"),
    [
        ("datasets/base.py", "from mtcnn_fast.evaluate import matching", "mtcnn_fast/datasets may import"),
        ("datasets/base.py", "from mtcnn_fast.train import NETWORKS", "mtcnn_fast/datasets may import"),
        ("evaluate/matching.py", "import mtcnn_fast.cli.info", "mtcnn_fast/evaluate may import"),
        ("evaluate/matching.py", "from mtcnn_fast.train import schedule", "mtcnn_fast/evaluate may import"),
        ("evaluate/matching.py", "import argparse", "argparse at top level"),
        ("train/windows.py", "def f(): from mtcnn_fast.cli import info", "mtcnn_fast/train may import"),
        ("boxes.py", "from mtcnn_fast.cli import info", "mtcnn_fast may import"),
        ("boxes.py", "from torch.nn import Module", "torch.nn at top level"),
        ("cli/train.py", "import torch", "torch at top level"),
        ("checks.py", "from mtcnn_fast import boxes\nfrom mtcnn_fast.detector import MTCNN", " imports "),
        ("boxes.py", "from .checks import text", "wanted the whole name"),
        ("compat/__init__.py", "from mtcnn_fast.compat import facenet_pytorch", "mtcnn_fast/compat may import"),
        ("compat/facenet_pytorch/crops.py", "import mtcnn_fast.cli.info", "mtcnn_fast/compat/facenet_pytorch may"),
        ("new/file.py", "import os", "no package of IMPORTS"),
    ],
)
def test_a_wrong_import_is_told(modules: Files, file: str, line: str, wanted: str) -> None:
    file = f"mtcnn_fast/{file}"
    broken = {**modules, file: f"{modules.get(file, '')}\n{line}\n"}
    complaints = set(wrong_imports(broken)) - set(wrong_imports(modules))
    assert any(wanted in complaint for complaint in complaints)  # a wrong import may also close a circle


def test_the_documentation_has_the_same_rules() -> None:
    rows = re.findall(r"^\| `([^`]+)/` \|.*\|(.*)\|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    told = {folder: set(re.findall(r"`([^`]+?)/?`", allowed)) for folder, allowed in rows}
    rules = {folder: set(allowed) for folder, allowed in {**HEADERS, **IMPORTS}.items()}
    assert {folder: told.get(folder) for folder in rules} == rules
