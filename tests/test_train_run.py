"""`mtcnn-fast train` on a tiny set: pictures of noise into which one face is pasted at several sizes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("cv2")
pytest.importorskip("pydantic")

import cv2
import torch

import mtcnn_fast
from mtcnn_fast import MTCNN, cli
from mtcnn_fast.train import loop, pipeline
from mtcnn_fast.train.config import Config, read_config
from mtcnn_fast.weights import embedded_weights, load_weights

PICTURES = 12
SIDE = 160

TINY = """
seed = 3
[[sources]]
annotations = "faces.txt"
[[validation]]
annotations = "faces.txt"

[pnet]
epochs = 3
batches = 60
batch_size = 96
learning_rate = 0.02
held_out = 0.2
windows = { background = 80 }
[rnet]
epochs = 2
batches = 40
batch_size = 64
windows = { about = 20 }
[onet]
epochs = 2
batches = 20
batch_size = 48
windows = { about = 20 }
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, astronaut: NDArray[np.uint8]) -> Path:
    """A folder with pictures, their annotations (a list in CNN_FacePoint's form) and `run.toml`."""
    folder = tmp_path_factory.mktemp("tiny")
    found = MTCNN().detect(astronaut)[0]
    x1, y1, x2, y2 = (round(float(side)) for side in found.box)
    face = astronaut[y1 - 20 : y2 + 20, x1 - 20 : x2 + 20, ::-1]
    rng = np.random.default_rng(1)
    rows = []
    for i in range(PICTURES):
        scale = rng.uniform(0.3, 0.9)
        patch = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = patch.shape[:2]
        coarse = rng.integers(0, 256, (20, 20, 3), np.uint8)
        picture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        x, y = rng.integers(0, SIDE - width + 1), rng.integers(0, SIDE - height + 1)
        picture[y : y + height, x : x + width] = patch
        cv2.imwrite(str(folder / f"{i}.png"), picture)
        scales = np.array([width, height]) / (face.shape[1], face.shape[0])
        shift = np.array([x, y]) - scales * (x1 - 20, y1 - 20)
        box, points = found.box.reshape(2, 2) * scales + shift, found.landmarks * scales + shift
        rows.append(f"{i}.png {box[0, 0]} {box[1, 0]} {box[0, 1]} {box[1, 1]} {' '.join(map(str, points.ravel()))}")
    (folder / "faces.txt").write_text("\n".join(rows) + "\n")
    (folder / "run.toml").write_text(TINY)
    return folder


@pytest.fixture(scope="module")
def trained(tiny: Path) -> Path:
    """The folder of a whole run by the command."""
    output = tiny / "run"
    # Two threads of PyTorch on two busy processors wait for each other.
    options = ["--config", str(tiny / "run.toml"), "--output", str(output), "--threads", "1"]
    assert cli.main(["train", "all", *options]) == 0
    return output


def config(tiny: Path, **changes: Any) -> Config:
    return read_config(tiny / "run.toml").model_copy(update=changes)


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_learns(trained: Path) -> None:
    for name, epochs in (("pnet", 3), ("rnet", 2), ("onet", 2)):
        rows = log(trained / name)
        assert [int(row["epoch"]) for row in rows] == list(range(1, epochs + 1))
        assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
        assert all(float(row["seconds"]) > 0 for row in rows)
    last = log(trained / "pnet")[-1]
    assert float(last["accuracy"]) > 0.8
    assert float(last["landmark_error"]) < 0.3
    assert float(last["recall"]) > 0.5


def test_the_weight_file_runs(trained: Path, tiny: Path) -> None:
    weights = trained / "mtcnn.safetensors"
    tensors = load_weights(weights)
    assert tensors is not None
    assert {name: array.shape for name, array in tensors.items()} == {
        name: array.shape for name, array in embedded_weights().items()
    }
    detector = MTCNN(weights=weights, channel_order="bgr", thresholds=(0.3, 0.3, 0.3))
    picture = cv2.imread(str(tiny / "0.png"))
    assert detector.inspect(picture)["candidates"]["cells"] > 0
    from safetensors import safe_open

    with safe_open(weights, "np") as file:
        assert json.loads(file.metadata()["training"])["networks"] == ["pnet", "rnet", "onet"]


def test_a_finished_run_is_not_repeated(trained: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "mtcnn.safetensors").read_bytes()
    assert cli.main(["train", "all", "--config", str(tiny / "run.toml"), "--output", str(trained)]) == 0
    assert " epoch " not in capsys.readouterr().out.replace("after epoch", "")
    assert (trained / "mtcnn.safetensors").read_bytes() == before


def test_a_run_cut_off_ends_the_same(trained: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Exception):
        pass

    epochs = []

    def say(line: str) -> None:
        if "epoch" in line:
            epochs.append(line)
            if len(epochs) == 2:
                raise Cut

    output = tiny / "cut"
    with pytest.raises(Cut):
        pipeline.train(config(tiny), output, ["pnet"], say=say)
    # The second epoch was over, but its checkpoint was not written: it is learned again.
    pipeline.train(config(tiny), output, ["pnet"], workers=1, say=say)
    assert (output / "pnet.safetensors").read_bytes() == (trained / "pnet.safetensors").read_bytes()
    rows, expected = log(output / "pnet"), log(trained / "pnet")
    for row in [*rows, *expected]:
        row.pop("seconds")
    assert rows == expected


def test_other_settings_do_not_go_on(trained: Path, tiny: Path) -> None:
    settings = config(tiny)
    changed = settings.model_copy(update={"pnet": settings.pnet.model_copy(update={"hard_share": 1.0})})
    with pytest.raises(ValueError, match=r"checkpoint.pt is of a run with other settings \(hard_share is 1.0, was 0.7"):
        pipeline.train(changed, trained, ["pnet"])
    with pytest.raises(ValueError, match="holds samples made by settings"):
        pipeline.train(config(tiny, seed=4), trained, ["pnet"])


def test_rnet_needs_pnet(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="rnet needs pnet, which is not in"):
        pipeline.train(config(tiny), tmp_path, ["rnet"])
    command = ["train", "onet", "--config", str(tiny / "run.toml"), "--output", str(tmp_path)]
    assert cli.main(command) == 1
    assert "onet needs pnet" in capsys.readouterr().err


def test_fine_tuning_changes_only_what_is_wanted(tiny: Path, tmp_path: Path) -> None:
    settings = config(tiny, start="embedded")
    short = settings.onet.model_copy(update={"epochs": 1, "batches": 3, "learning_rate": 1e-4})
    weights = pipeline.train(settings.model_copy(update={"onet": short}), tmp_path, ["onet"])
    assert weights is not None
    tensors, embedded = load_weights(weights), embedded_weights()
    assert tensors is not None
    for name, array in embedded.items():
        if name.startswith("onet."):
            np.testing.assert_allclose(tensors[name], array, atol=0.02)
            assert not np.array_equal(tensors[name], array)
        else:
            np.testing.assert_array_equal(tensors[name], array)


def test_early_stop_and_best_epoch(trained: Path, tiny: Path, tmp_path: Path) -> None:
    from mtcnn_fast.train import networks
    from mtcnn_fast.train.samples import SampleStore
    from mtcnn_fast.train.validation import Recall

    training = config(tiny).pnet.model_copy(update={"epochs": 9, "batches": 2, "patience": 2})
    seen, states = iter([0.1, 0.4, 0.4, 0.3, 0.2]), []

    def recall(network: networks.Network) -> Recall:
        states.append({key: value.clone() for key, value in network.state_dict().items()})
        return Recall(next(seen), 0.5, 1.0)

    network = networks.network("pnet", 1)
    store = SampleStore(trained / "pnet" / "samples")
    rows = loop.fit(
        network, store, training, seed=1, folder=tmp_path, device=torch.device("cpu"), recall=recall, say=lambda _: None
    )
    assert [row.recall for row in rows] == [0.1, 0.4, 0.4, 0.3, 0.2]
    for key, value in network.state_dict().items():
        assert torch.equal(value, states[2][key])  # the later of two equally good ones


def test_a_damaged_checkpoint(tiny: Path, trained: Path, tmp_path: Path) -> None:
    from mtcnn_fast.train import networks
    from mtcnn_fast.train.samples import SampleStore

    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged"):
        loop.fit(
            networks.network("pnet"),
            SampleStore(trained / "pnet" / "samples"),
            config(tiny).pnet,
            seed=1,
            folder=tmp_path,
            device=torch.device("cpu"),
        )


def test_unusable_pictures_and_rows_are_listed(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (tiny / "faces.txt").read_text().splitlines()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for i in range(PICTURES):
        (tmp_path / f"{i}.png").write_bytes((tiny / f"{i}.png").read_bytes())
    bad = "bad.png " + rows[0].partition(" ")[2]
    (tmp_path / "faces.txt").write_text("\n".join([*rows, bad, "a row"]) + "\n")
    text = TINY.replace("epochs = 3", "epochs = 1").replace("batches = 60", "batches = 2")
    (tmp_path / "run.toml").write_text(text)
    assert cli.main(["train", "pnet", "--config", str(tmp_path / "run.toml"), "--output", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert "no weight file yet" in out
    assert "bad.png: not a picture that OpenCV can decode" in err
    assert "faces.txt:14: " in err


def test_command_errors(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit, match="2"):
            cli.main(["train", *arguments])
        return capsys.readouterr().err

    assert "invalid choice: 'qnet'" in refused("qnet", "--config", "x", "--output", "y")
    assert "No such file" in refused("all", "--config", str(tmp_path / "none.toml"), "--output", str(tmp_path))
    (tmp_path / "bad.toml").write_text("seed = 0.5\n")
    err = refused("all", "--config", str(tmp_path / "bad.toml"), "--output", str(tmp_path))
    assert "sources: Field required" in err
    assert "seed" in err


def test_without_torch(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "all", "--config", str(tiny / "run.toml"), "--output", "out"])
    assert 'pip install "mtcnn_fast[train]"' in capsys.readouterr().err


def test_package_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, mtcnn_fast.cli; assert not {'torch', 'cv2', 'pydantic', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mtcnn_fast.__version__
