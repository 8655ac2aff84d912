"""The programs of bench/, on an image or two: that they run, and what their exit status says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mtcnn_fast

pytest.importorskip("cv2")
pytest.importorskip("scipy")

BENCH = Path(__file__).parents[1] / "bench"
PICTURE = Path(__file__).parent / "data" / "astronaut.jpg"


def run(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.fixture
def photographs(tmp_path: Path) -> list[object]:
    """The arguments that name a folder with one photograph."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(PICTURE, folder)
    return [tmp_path, "--sets", "photos"]


def test_invariance(photographs: list[object], tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    done = run("invariance.py", *photographs, "--images", 3, "--batch", 2, "--thread-counts", 1, "--json", counts)
    assert done.returncode == 0, done.stderr
    rows = json.loads(counts.read_text())["rows"]
    assert [row["isa"] for row in rows] == mtcnn_fast.available_isas()
    assert all((row["images"], row["comparisons"], row["differing"]) == (3, 3, 0) for row in rows)


def test_invariance_of_no_images_is_refused(photographs: list[object]) -> None:
    done = run("invariance.py", *photographs, "--batch", 0)
    assert done.returncode == 2
    assert "--batch is 0, wanted at least 1" in done.stderr


def test_screen_says_that_there_is_none(photographs: list[object]) -> None:
    done = run("screen.py", *photographs, "--images", 1, MTCNN_FAST_ISA=mtcnn_fast.available_isas()[-1])
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("no screen here: the instruction set is ")


def test_agreement(photographs: list[object], tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    done = run("agreement.py", *photographs, "--min-face-size", 80, "--processes", 1, "--json", counts)
    assert done.returncode == 0, done.stderr
    assert [row["exact"] + row["explained"] for row in json.loads(counts.read_text())] == [1] * len(
        mtcnn_fast.available_isas()
    )
