#!/usr/bin/env python3
"""Run the tests of another package against mtcnn_fast's interface of it, and print which pass.

    python tools/run_peer_tests.py facenet_pytorch CHECKOUT
    python tools/run_peer_tests.py mtcnn CHECKOUT

CHECKOUT is a checkout of that package's repository, of which a temporary copy is used. facenet-pytorch's tests are the
program tests/actions_test.py, which needs pandas, torch and torchvision; each section between its headings counts as a
test. mtcnn's are run by pytest; those of release 0.1.1 need OpenCV. The exit status is 1 if a test fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mtcnn_fast import compat

Results = dict[str, str]
"""Per test "passed", "failed", or why it is left out."""

_WEIGHTS = "left out: needs weights that facenet-pytorch downloads"
_LEFT_OUT = {
    "CLEAR ALL OUTPUT FILES": "left out: deletes the weights that PyTorch has downloaded",
    "TEST EXAMPLE IPYNB'S": "left out: runs notebooks, which need downloaded weights",
    "TEST EMBEDDINGS": _WEIGHTS,
    "TEST CLASSIFICATION": _WEIGHTS,
}


def run_facenet_pytorch() -> Results:
    compat.install("facenet_pytorch")
    # The program imports the checkout's folder `models` by this name.
    models = ModuleType("models")
    models.__path__ = [str(Path("models").resolve())]
    sys.modules.update({"models": models, "models.mtcnn": sys.modules["facenet_pytorch.models.mtcnn"]})
    path = Path("tests", "actions_test.py")
    imports, *rest = re.split(r"^#### (.+?) ####$", path.read_text(), flags=re.MULTILINE)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(imports, path, "exec"), names)
    results = {}
    for heading, code in zip(rest[::2], rest[1::2], strict=True):
        results[heading] = _LEFT_OUT.get(heading, "passed")
        if heading not in _LEFT_OUT:
            try:
                exec(compile(code, f"{path}, {heading}", "exec"), names)
            except Exception:
                traceback.print_exc()
                results[heading] = "failed"
    return results


def run_mtcnn() -> Results:
    import pytest

    compat.install("mtcnn")
    results: Results = {}

    class Collector:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            name = report.nodeid.partition("::")[2]
            if report.when == "call" or report.outcome != "passed":
                results[name] = report.outcome

    # An empty configuration, instead of one in a folder above.
    Path("pytest.ini").write_text("[pytest]\n")
    status = pytest.main(["-q", "-p", "no:cacheprovider", "tests"], plugins=[Collector()])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        results["tests"] = f"failed: pytest ended with {status.name}"
    return results


PEERS: dict[str, Callable[[], Results]] = {"facenet_pytorch": run_facenet_pytorch, "mtcnn": run_mtcnn}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS, help="the package")
    parser.add_argument("checkout", type=Path, help="folder with the package's files")
    arguments = parser.parse_args()
    if not (arguments.checkout / "tests").is_dir():
        parser.error(f"{arguments.checkout} has no folder tests; wanted a checkout of {arguments.peer}'s repository")
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(arguments.checkout, Path(folder, "checkout"), ignore=shutil.ignore_patterns(".git"))
        before = Path.cwd()
        os.chdir(copy)
        try:
            results = PEERS[arguments.peer]()
        finally:
            os.chdir(before)
    print("\n| test | result |\n|---|---|")
    for name, result in results.items():
        print(f"| {name} | {result} |")
    return int(any(result.startswith("failed") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
