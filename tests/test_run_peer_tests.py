"""tools/run_peer_tests.py, with checkouts made here in place of the packages' own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "run_peer_tests.py"

MTCNN_TESTS = """
from mtcnn.mtcnn import MTCNN

def test_passes(): assert MTCNN.__module__ == "mtcnn_fast.compat.mtcnn.mtcnn"
def test_fails(): open("new", "w").close(); assert False
"""
FACENET_TESTS = """
from models.mtcnn import MTCNN
from models.other import number

#### TEST EMBEDDINGS ####
raise AssertionError

#### PASSES ####
assert MTCNN.__module__ == "mtcnn_fast.compat.facenet_pytorch.detector"
number += 1

#### FAILS ####
assert number == 1
"""


def run(peer: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), peer, str(checkout)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_mtcnn(tmp_path: Path) -> None:
    write(tmp_path / "tests" / "test_mtcnn.py", MTCNN_TESTS)
    done = run("mtcnn", tmp_path)
    assert done.stdout.endswith("| test_passes | passed |\n| test_fails | failed |\n"), done.stdout + done.stderr
    assert done.returncode == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_facenet_pytorch(tmp_path: Path) -> None:
    write(tmp_path / "tests" / "actions_test.py", FACENET_TESTS)
    write(tmp_path / "models" / "other.py", "number = 1")
    done = run("facenet_pytorch", tmp_path)
    results = done.stdout.partition("|---|---|\n")[2].splitlines()
    assert results == [
        "| TEST EMBEDDINGS | left out: needs weights that facenet-pytorch downloads |",
        "| PASSES | passed |",
        "| FAILS | failed |",
    ], done.stdout + done.stderr
    assert done.returncode == 1


def test_a_folder_without_tests_is_told(tmp_path: Path) -> None:
    done = run("mtcnn", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} has no folder tests; wanted a checkout of mtcnn's repository" in done.stderr
