"""The measurements of bench/gpu.py keep what they have when a part of them fails. No test here needs a GPU."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tool import BENCH, load_of

if importlib.util.find_spec("cv2") is None:
    pytest.skip("no OpenCV", allow_module_level=True)
gpu, gpu_checks, gpu_python, gpu_speed = (
    load_of(BENCH, name) for name in ("gpu", "gpu_checks", "gpu_python", "gpu_speed")
)

LEVELS = [[384, 288], [272, 204], [193, 145]]


def call(batch: int, milliseconds: float, rnet: int = 515, onet: int = 59) -> dict[str, Any]:
    counts = {"cells": 1000, "rnet": rnet, "onet": onet, "faces": 5}
    row: dict[str, Any] = {"kind": "call", "frame": "640x480", "width": 640, "height": 480, "min_face_size": 20}
    row["precision"] = "fast"
    return {
        **row,
        "candidates": counts,
        "levels": LEVELS,
        "memory": "device",
        "batch": batch,
        "milliseconds": milliseconds,
    }


def program(folder: Path, text: str) -> Path:
    path = folder / "bench_cuda"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_rows_of_a_program_that_fails_are_kept(tmp_path: Path) -> None:
    row = json.dumps(call(1, 0.07))
    rows, failure = gpu_speed.run_native(program(tmp_path, f"echo '{row}'; printf '{{\"kind\": '; exit 3"), {}, [])
    assert failure == "bench_cuda ended with status 3: rows are missing"
    assert [row["milliseconds"] for row in rows["call"]] == [0.07]


def test_rows_of_a_program_that_is_stopped_are_kept(tmp_path: Path) -> None:
    row = json.dumps(call(1, 0.07))
    rows, failure = gpu_speed.run_native(program(tmp_path, f"echo '{row}'; exec sleep 60"), {}, [], seconds=1)
    assert failure is None
    assert len(rows["call"]) == 1


def test_results_of_a_program_that_fails_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The peaks are missing, too."""
    native = program(tmp_path, f"echo '{json.dumps(call(1, 0.07))}'; exit 1")
    file = tmp_path / "bench.json"
    options = ["gpu.py", str(tmp_path), "--parts", "native", "--native", str(native), "--json", str(file)]
    monkeypatch.setattr(sys, "argv", options)
    assert gpu.main() == 1
    assert "| 640x480, 20 px | fast | device | 1 | 1000 / 515 / 59 / 5 | 70.0 |" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["targets"][0]["holds"]
    assert written["failed"] == ["bench_cuda ended with status 1: rows are missing"]


@pytest.mark.parametrize("photographs", ["missing", "empty"])
def test_frames_without_photographs_are_of_the_astronaut(tmp_path: Path, photographs: str) -> None:
    if photographs == "empty":
        (tmp_path / "photos").mkdir()
    made = gpu.make_frames(tmp_path, ["640x480"], brief=False)
    assert made["640x480"].shape == (480, 640, 3)
    assert made["640x480"].std() > 10


def test_targets_scale_with_the_candidates() -> None:
    assumed, fewer, batch, batch_of_fewer = gpu_speed.targets(
        [call(1, 0.079), call(1, 0.079, 250, 30), call(32, 1.1), call(32, 1.1, 250, 30)]
    )
    assert (assumed["target"], assumed["holds"]) == (80, True)
    assert fewer["target"] < 60
    assert not fewer["holds"]
    assert (batch["target"], batch["holds"]) == (30000, False)
    assert batch_of_fewer["target"] / 30000 == pytest.approx(80 / fewer["target"])


class Facenet(ModuleType):
    """Cannot be made."""

    class cuda:
        @staticmethod
        def is_available() -> bool:
            return True

    @staticmethod
    def from_numpy(image: object) -> None:
        raise RuntimeError("no kernel image")


def test_times_are_measured_where_pytorch_and_facenet_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Detector:
        def __init__(self, **_: object) -> None:
            pass

        def detect(self, image: object) -> None:
            pass

    def broken(*_: object) -> None:
        raise ImportError("cannot import name 'nms'")

    monkeypatch.setitem(sys.modules, "torch", Facenet("torch"))
    monkeypatch.setattr(gpu_python.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(gpu_python.mtcnn_fast, "MTCNN", Detector)
    monkeypatch.setattr(gpu_python.contestants, "facenet_pytorch_detector", broken)
    rows = gpu_python.python_calls({"frame": np.zeros((50, 50, 3), np.uint8)}, [20], [1], 1, without_facenet=False)
    assert [(row["detector"], row["memory"]) for row in rows] == [("fp32", "pageable"), ("fast", "pageable")]
    said = capsys.readouterr().err
    assert "left out: facenet-pytorch: ImportError: cannot import name 'nms'" in said
    assert "left out: images on the device by PyTorch: RuntimeError: no kernel image" in said


@pytest.mark.parametrize(("used", "holds"), [([0, 20, 20, 21], True), ([0, 20, 20, 40], False)])
def test_growth_is_believed_when_it_comes_again(
    monkeypatch: pytest.MonkeyPatch, used: list[float], holds: bool
) -> None:
    class Detector:
        def detect(self, image: object) -> None:
            pass

    monkeypatch.setattr(gpu_checks, "detectors", lambda _: {"fp32": Detector()})
    monkeypatch.setattr(gpu_checks, "resident_mb", functools.partial(next, iter(used)))
    monkeypatch.setattr(gpu_checks, "device_mb", lambda: None)
    row = gpu_checks.growth(np.zeros((40, 40, 3), np.uint8), 30)
    assert (row["calls"], row["holds"]) == (30, holds)
