"""The programs of bench/, on an image or two: that they run, and what their exit status says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


def test_parts(photographs: list[object], tmp_path: Path) -> None:
    figures = tmp_path / "parts.json"
    done = run("parts.py", *photographs, "--parts", 2, "--runs", 1, "--json", figures)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(figures.read_text())["rows"]
    assert (row["parts"], row["images"], row["found"]) == (2, 1, 1)
    assert row["faces"] > 0


def test_agreement(photographs: list[object], tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    done = run("agreement.py", *photographs, "--min-face-size", 80, "--processes", 1, "--json", counts)
    assert done.returncode == 0, done.stderr
    assert [row["exact"] + row["explained"] for row in json.loads(counts.read_text())] == [1] * len(
        mtcnn_fast.available_isas()
    )


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """bench/targets.py. Modules of bench/ have short names, so they are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCH))
    import targets

    yield targets
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == BENCH:
            del sys.modules[name]


def row(width: int, height: int, min_face_size: int, threads: int = 1, **milliseconds: tuple[str, float]) -> Any:
    """A row of compare.py's results. A contestant's instruction set and time; its floor is 100 ms."""
    contestants = {
        name: {"isa": isa, "milliseconds": time, "floors": time / 100} for name, (isa, time) in milliseconds.items()
    }
    frame = f"{width}x{height}"
    about = {"frame": frame, "megapixels": width * height / 1e6, "min_face_size": min_face_size, "threads": threads}
    return {**about, "contestants": contestants}


def judged(targets: ModuleType, *rows: Any) -> list[tuple[str, str, float | None, str, bool | None]]:
    return [(v.setting, v.beside, v.measured, v.wanted, v.holds) for v in targets.verdicts(list(rows))]


@pytest.mark.parametrize(
    ("size", "min_face_size", "isa", "wanted"),
    [
        ((1920, 1080), 20, "avx2", 0.85),
        ((1920, 1080), 40, "avx2", 1),
        ((3840, 2160), 20, "avx2", 1),
        ((3840, 2160), 40, "avx2", 1.1),
        ((640, 480), 40, "avx512", 1.05),
        ((640, 480), 20, "amx", None),
        ((640, 480), 20, "sse2", None),
        ((640, 480), 30, "avx2", None),
    ],
)
def test_floors(targets: ModuleType, size: tuple[int, int], min_face_size: int, isa: str, wanted: float | None) -> None:
    for time in (0.5, 100 * (wanted or 1), 200):
        found = judged(targets, row(*size, min_face_size, mtcnn_fast=(isa, time)))
        floors = [verdict for verdict in found if verdict[1] == "floor"]
        expected = ("mtcnn_fast", "floor", time / 100, f"at most {wanted}", wanted is not None and time / 100 <= wanted)
        assert floors == ([expected] if wanted else [])


def test_other_packages_are_compared_on_the_same_vectors(targets: ModuleType) -> None:
    others = {"facenet-pytorch": ("avx512", 90.0), "facenet-pytorch[avx2]": ("avx2", 101.0), "yunet": ("avx2", 9.0)}
    found = judged(targets, row(1280, 720, 20, **{"mtcnn_fast[avx2]": ("avx2", 10.0)}, **others))
    assert found[1:] == [
        ("mtcnn_fast[avx2]", "facenet-pytorch[avx2]", 10.1, "at least 10", True),
        ("mtcnn_fast[avx2]", "openvino", None, "at least 2.4", None),
        ("mtcnn_fast[avx2]", "yunet", 0.9, "at least 1", False),
    ]
    assert judged(targets, row(1281, 720, 20, **{"mtcnn_fast[avx2]": ("avx2", 10.0)}, **others))[1][3] == "at least 8"


def test_speed_up_by_two_threads(targets: ModuleType) -> None:
    rows = [
        row(*size, 20, threads, mtcnn_fast=("sse2", 90.0 / threads))
        for size in ((640, 480), (1280, 720))
        for threads in (1, 2)
    ]
    assert [verdict for verdict in judged(targets, *rows) if verdict[1] == "one thread"] == [
        ("mtcnn_fast", "one thread", 2, "at least 1.8", True)
    ]
    assert judged(targets, rows[3]) == [("mtcnn_fast", "one thread", None, "at least 1.8", None)]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="it reads peak memory from /proc")
def test_compare(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    chosen = ["--frames", "640x480", "--min-face-sizes", 80, "--contestants", "mtcnn_fast", "--rounds", 1]
    done = run("compare.py", *chosen, "--thread-counts", 1, "--json", results)
    assert done.returncode == 0, done.stderr
    result = json.loads(results.read_text())
    assert result["rows"][0]["contestants"]["mtcnn_fast"]["milliseconds"] > 0
    assert {verdict["setting"] for verdict in result["verdicts"]} == {"mtcnn_fast"}
    assert "no verdict: mtcnn_fast beside yunet" in done.stdout


def test_drop_in(tmp_path: Path) -> None:
    """With packages that are mtcnn_fast in disguise; one of them loses a face."""
    ours = "from mtcnn_fast.compat import mtcnn\n"
    wrong = "class MTCNN(mtcnn.MTCNN):\n    def detect_faces(self, image): return super().detect_faces(image)[1:]\n"
    for folder, text in (("same", ours + "MTCNN = mtcnn.MTCNN\n"), ("wrong", ours + wrong)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mtcnn.py").write_text(text)
    arguments = ("--packages", "mtcnn", "--rounds", 1, "--json", tmp_path / "out.json")
    for folder, status, faces in (("same", 0, [2, 2, 2]), ("wrong", 1, [1, 2, 1])):
        path = os.pathsep.join([str(tmp_path / folder), *sys.path])
        done = run("drop_in.py", PICTURE, *arguments, PYTHONPATH=path)
        assert done.returncode == status, done.stderr
        (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
        assert [row["faces"]["package"], row["faces"]["mtcnn_fast"], row["equal"]] == faces
