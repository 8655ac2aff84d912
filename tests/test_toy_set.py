"""tools/make_toy_set.py: every command of docs/evaluation.md and docs/training.md has something to run on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mtcnn_fast
from mtcnn_fast import MTCNN
from mtcnn_fast.boxes import overlaps
from mtcnn_fast.cli import main
from mtcnn_fast.datasets import read

TOOL = Path(__file__).parents[1] / "tools" / "make_toy_set.py"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scipy")
    folder = tmp_path_factory.mktemp("toy") / "set"
    subprocess.run([sys.executable, TOOL, folder], check=True, capture_output=True)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    done = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True)
    assert (done.returncode, f"{tmp_path} exists already; wanted a folder to make" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("annotations", "pictures", "pointed"),
    [
        ("wider_face_split/wider_face_train_bbx_gt.txt", 24, False),
        ("wider_face_split/wider_face_val_bbx_gt.txt", 12, False),
        ("wider_val_416/gt_416.txt", 12, False),
        ("facemask/annotations", 12, False),
        ("net_7876/train.txt", 16, True),
        ("net_7876/test.txt", 8, True),
    ],
)
def test_the_labels_are_where_the_faces_are(toy: Path, annotations: str, pictures: int, pointed: bool) -> None:
    detector = MTCNN(min_face_size=12, device="cpu")
    found = list(read(toy / annotations))
    assert len(found) == pictures
    hits = 0
    for annotation in found:
        faces = detector.detect(mtcnn_fast.read(annotation.path))
        hits += int((overlaps(annotation.boxes, faces.boxes) > 0.5).any(axis=1).sum())
        assert np.isfinite(annotation.landmarks).all() == pointed
        if pointed and len(faces) == 1:
            width = annotation.boxes[0, 2] - annotation.boxes[0, 0]
            assert abs(annotation.landmarks[0] - faces.landmarks[0]).max() < 0.1 * width
    assert hits > 0.8 * sum(len(annotation.boxes) for annotation in found)


def test_the_protocols_run(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wider, fddb = toy / "wider_face_eval", toy / "fddb_eval"
    archive = wider / "retinaface_mnet025_val_predictions.tar.gz"
    curves = wider / "mtcnn_official_pr_curves"
    assert run("evaluate", "wider", archive, "--ground-truth", wider / "ground_truth_mat", "--curves", curves) == 0
    assert run("evaluate", "wider", archive, "--ground-truth", toy / "wider_face_split") == 0
    predictions = fddb / "mtcnn_hualitlc" / "predict.txt"
    pictures = ("--images", fddb / "originalPics")
    assert run("evaluate", "fddb", predictions, "--ground-truth", fddb / "FDDB-folds", *pictures) == 0
    assert "12 pictures" in capsys.readouterr().out
    labels = toy / "net_7876" / "test.txt"
    output = tmp_path / "faces.jsonl"
    assert run("evaluate", "detect", "--annotations", labels, "--json", output) == 0
    assert run("evaluate", "landmarks", output, "--annotations", labels) == 0


def test_the_configuration_is_whole(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("pydantic")
    assert run("train", "all", "--config", toy / "run.toml", "--output", tmp_path / "run", "--dry-run") == 0
    assert "wider_face_train_bbx_gt.txt" in capsys.readouterr().out
