"""`mtcnn-fast train` on a tiny set: pictures of noise into which one face is pasted at several sizes."""

from __future__ import annotations

import csv
import inspect
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("pydantic")

import torch

import mtcnn_fast
from conftest import leave_early, load
from mtcnn_fast import MTCNN, cli
from mtcnn_fast.datasets import Problems
from mtcnn_fast.train import NETWORK_NAMES, networks, pipeline
from mtcnn_fast.train.config import Config, Training
from mtcnn_fast.train.plan import plan
from mtcnn_fast.train.rounds import read_rounds
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import SampleStore
from mtcnn_fast.train.validation import Recall, ValidationPicture
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
    face = Image.fromarray(astronaut[y1 - 20 : y2 + 20, x1 - 20 : x2 + 20])
    rng = np.random.default_rng(1)
    rows = []
    for i in range(PICTURES):
        scale = rng.uniform(0.3, 0.9)
        width, height = (round(side * scale) for side in face.size)
        coarse = rng.integers(0, 256, (20, 20, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        x, y = (int(rng.integers(0, SIDE - side + 1)) for side in (width, height))
        picture.paste(face.resize((width, height), Image.Resampling.BOX), (x, y))
        picture.save(folder / f"{i}.png")
        scales = np.array([width, height]) / face.size
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
    assert cli.main(command(tiny / "run.toml", output, "all")) == 0
    return output


def command(config: Path, output: Path, network: str = "pnet") -> list[str]:
    """The arguments of a run. Two threads of PyTorch on two busy processors wait for each other."""
    return ["train", network, "--config", str(config), "--output", str(output), "--threads", "1"]


def config(tiny: Path, **changes: Any) -> Config:
    return read_rounds(tiny / "run.toml")[0].config.model_copy(update=changes)


def train(
    config: Config,
    output: Path,
    names: Sequence[str] = NETWORK_NAMES,
    *,
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Path | None:
    """A run by the function, which says nothing by default."""
    made = RunOptions(**{"workers": 1, **options})
    return pipeline.train(config, output, names, device=device, options=made, say=say)


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
    detector = MTCNN(weights=weights, thresholds=(0.3, 0.3, 0.3))
    assert detector.inspect(load(tiny / "0.png"))["candidates"]["cells"] > 0
    from safetensors import safe_open

    with safe_open(weights, "np") as file:
        assert json.loads(file.metadata()["training"])["networks"] == ["pnet", "rnet", "onet"]


def test_a_finished_run_is_not_repeated(trained: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "mtcnn.safetensors").read_bytes()
    assert cli.main(command(tiny / "run.toml", trained, "all")) == 0
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
        train(config(tiny), output, ["pnet"], say=say)
    # The second epoch was over, but its checkpoint was not written: it is learned again.
    train(config(tiny), output, ["pnet"], say=say)
    assert (output / "pnet.safetensors").read_bytes() == (trained / "pnet.safetensors").read_bytes()
    rows, expected = log(output / "pnet"), log(trained / "pnet")
    for row in [*rows, *expected]:
        row.pop("seconds")
    assert rows == expected


def test_other_settings_do_not_go_on(trained: Path, tiny: Path) -> None:
    settings = config(tiny)
    changed = settings.model_copy(update={"pnet": settings.pnet.model_copy(update={"hard_share": 1.0})})
    with pytest.raises(ValueError, match=r"checkpoint.pt is of a run with other settings \(hard_share is 1.0, was 0.7"):
        train(changed, trained, ["pnet"])
    with pytest.raises(
        ValueError, match=r"holds samples made otherwise \(settings.seed is 4, was 3\); .*remove .*run/pnet and"
    ):
        train(config(tiny, seed=4), trained, ["pnet"])


def test_rnet_needs_pnet(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="rnet needs pnet, which is not in"):
        train(config(tiny), tmp_path, ["rnet"])
    assert cli.main(command(tiny / "run.toml", tmp_path, "onet")) == 1
    assert "onet needs pnet" in capsys.readouterr().err


def test_fine_tuning_changes_only_what_is_wanted(tiny: Path, tmp_path: Path) -> None:
    settings = config(tiny, start="embedded")
    short = settings.onet.model_copy(update={"epochs": 1, "batches": 3, "learning_rate": 1e-4})
    weights = train(settings.model_copy(update={"onet": short}), tmp_path, ["onet"])
    assert weights is not None
    tensors, embedded = load_weights(weights), embedded_weights()
    assert tensors is not None
    for name, array in embedded.items():
        if name.startswith("onet."):
            np.testing.assert_allclose(tensors[name], array, atol=0.02)
            assert not np.array_equal(tensors[name], array)
        else:
            np.testing.assert_array_equal(tensors[name], array)


def test_a_finished_run_can_be_calibrated(tiny: Path, tmp_path: Path) -> None:
    settings = config(tiny, start="embedded")

    def tuned(**options: Any) -> dict[str, NDArray[np.float32]]:
        onet = settings.onet.model_copy(update={"epochs": 1, "batches": 3, "learning_rate": 1e-3, **options})
        path = train(settings.model_copy(update={"onet": onet}), tmp_path, ["onet"])
        return load_weights(path) or {}

    plain, calibrated, again = tuned(), tuned(calibrate=True), tuned(calibrate=True)
    record = json.loads((tmp_path / "onet" / "calibration.json").read_text())
    assert record["threshold"] == 0.7
    for name, array in plain.items():
        np.testing.assert_array_equal(again[name], calibrated[name])
        changed = array * np.float32(record["scale"]) if name.startswith("onet.face.") else array
        if name == "onet.face.bias":
            changed = changed + np.float32([0, record["shift"]])
        np.testing.assert_allclose(calibrated[name], changed, rtol=1e-6)
    for name, array in tuned().items():
        np.testing.assert_array_equal(array, plain[name])
    assert not (tmp_path / "onet" / "calibration.json").exists()


def test_shares_and_distillation_reach_the_loop(tiny: Path, tmp_path: Path) -> None:
    settings = config(tiny, start="embedded")
    (source,) = settings.sources
    onet = settings.onet.model_copy(update={"epochs": 1, "batches": 3, "learning_rate": 1e-4, "distillation": 0.5})
    halves = [source.model_copy(update={"share": share}) for share in (3, 1)]
    assert train(settings.model_copy(update={"onet": onet, "sources": tuple(halves)}), tmp_path, ["onet"])
    checkpoint = torch.load(tmp_path / "onet" / "checkpoint.pt", weights_only=True)
    assert checkpoint["settings"]["shares"] == [[3.0] * 4, [1.0] * 4]
    # The network that the run starts from is the teacher.
    assert checkpoint["settings"]["teacher"] == checkpoint["settings"]["start"]
    assert set(SampleStore(tmp_path / "onet" / "samples").sets().tolist()) == {0, 1}


ROUNDS = """
start = "embedded"
[[sources]]
annotations = "faces.txt"
[pnet]
epochs = 1
batches = 2
[rnet]
epochs = 1
batches = 2
[onet]
epochs = 1
batches = 2
learning_rate = 1e-4
[[rounds]]
networks = ["onet"]
[[rounds]]
networks = ["onet", "rnet"]
onet = { batches = 3, mining = { limits = { negative = 5 } } }
"""


def test_rounds_go_on_from_each_other(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tiny / "rounds.toml", tiny / "rounds"
    path.write_text(ROUNDS)
    assert cli.main([*command(path, output, "all"), "--dry-run"]) == 0
    assert not output.exists()
    said = capsys.readouterr().out
    assert "the embedded networks stand in for it here" in said
    assert said.count("\nsource ") == 1
    # Weight files lack R-Net's landmark head, and have O-Net's.
    warning = "no landmark head, and a random one pulls at the other layers; mix = [3, 1, 1, 0] leaves it out"
    assert [line.partition(":")[0] for line in said.splitlines() if line.endswith(warning)] == ["rnet"]
    assert cli.main(command(path, output, "all")) == 0
    first, second, whole = (
        load_weights(folder / "mtcnn.safetensors") or {} for folder in (output / "round-1", output / "round-2", output)
    )
    embedded = embedded_weights()

    def changed(a: dict[str, NDArray[np.float32]], b: dict[str, NDArray[np.float32]]) -> set[str]:
        return {name.partition(".")[0] for name, array in a.items() if not np.array_equal(array, b[name])}

    assert changed(first, embedded) == {"onet"}
    assert changed(second, first) == {"rnet", "onet"}
    assert changed(whole, second) == set()
    starts, batches = [], []
    for number in (1, 2):
        settings = torch.load(output / f"round-{number}" / "onet" / "checkpoint.pt", weights_only=True)["settings"]
        starts.append(settings["start"])
        batches.append(settings["batches"])
    assert batches == [2, 3]
    # The second round starts from the first: what it trains is its own O-Net.
    assert len(set(starts)) == 2
    before = (output / "mtcnn.safetensors").read_bytes()
    assert cli.main(command(path, output, "all")) == 0
    assert (output / "mtcnn.safetensors").read_bytes() == before
    assert cli.main(command(path, output, "onet")) == 1
    assert "the configuration has rounds, which name their networks; wanted all, not onet" in capsys.readouterr().err


def test_a_single_round_trains_the_networks_that_it_names(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tiny / "one_round.toml", tmp_path / "run"
    path.write_text(ROUNDS.partition('[[rounds]]\nnetworks = ["onet", "rnet"]')[0])
    assert cli.main([*command(path, output, "all"), "--dry-run"]) == 0
    assert "onet: new" in (said := capsys.readouterr().out)
    assert "pnet: new" not in said
    assert cli.main(command(path, output, "all")) == 0
    assert sorted(one.name for one in output.iterdir()) == ["mtcnn.safetensors", "onet", "onet.safetensors"]
    assert cli.main(command(path, output, "rnet")) == 1
    assert "wanted all, not rnet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ("rounds = 2\n", "rounds is .*; wanted tables"),
        ('[[rounds]]\nnetworks = ["mnet"]\n', r"rounds #1: networks is \['mnet'\]; wanted a list of some of pnet"),
        ('[[rounds]]\nnetwork = ["onet"]\n', "rounds #1: there is no setting network; did you mean networks"),
        (
            '[[rounds]]\nnetworks = ["onet"]\n[rounds.onet]\nepochs = 0\n',
            "invalid configuration of rounds #1:\nonet.epochs: wanted at least 1",
        ),
    ],
)
def test_rounds_that_are_wrong(tmp_path: Path, rounds: str, words: str) -> None:
    table = '[[sources]]\nannotations = "faces.txt"\n'
    (tmp_path / "run.toml").write_text(rounds + table if rounds.startswith("rounds") else table + rounds)
    with pytest.raises(ValueError, match=words):
        read_rounds(tmp_path / "run.toml")


@pytest.fixture
def short(tiny: Path) -> Config:
    """The tiny run, as short as can be."""
    settings = config(tiny)
    return settings.model_copy(
        update={
            name: getattr(settings, name).model_copy(update={"epochs": 1, "batches": 2})
            for name in ("pnet", "rnet", "onet")
        }
    )


def test_a_start_without_all_networks(tiny: Path, short: Config, tmp_path: Path) -> None:
    embedded = embedded_weights()
    path = tmp_path / "start.safetensors"

    def train_from(wanted: str, **tensors: NDArray[np.float32]) -> Path | None:
        networks.save(path, tensors)
        return train(short.model_copy(update={"start": path}), tmp_path / "run", [wanted])

    only = {name: array for name, array in embedded.items() if name.startswith("onet.")}
    with pytest.raises(ValueError, match=r"start.safetensors has no pnet to start from"):
        train_from("pnet", **only)
    # Not with the embedded P-Net, for which nobody asked.
    with pytest.raises(ValueError, match=r"onet needs pnet, which is not in .*or start from a file that has it"):
        train_from("onet", **only)
    first = min(embedded)
    with pytest.raises(ValueError, match=f"start.safetensors: the weights lack tensor {first}"):
        train_from("pnet", **{name: array for name, array in embedded.items() if name != first})
    # Landmark heads that the detector does not read are no part of the weight file.
    head = {
        "pnet.landmarks.weight": np.zeros((10, 32, 1, 1), np.float32),
        "pnet.landmarks.bias": np.zeros(10, np.float32),
    }
    weights = train_from("pnet", **embedded, **head)
    assert weights is not None
    assert (load_weights(weights) or {}).keys() == embedded.keys()
    MTCNN(device="cpu", weights=weights)


def test_what_is_damaged_is_made_anew(tiny: Path, short: Config, tmp_path: Path) -> None:
    def run(folder: str) -> tuple[list[str], bytes]:
        said: list[str] = []
        train(short, tmp_path / folder, ["pnet"], say=said.append)
        return said, (tmp_path / folder / "pnet.safetensors").read_bytes()

    _, expected = run("run")
    pnet = tmp_path / "run" / "pnet"
    labels = (pnet / "samples" / "labels-000000.npy").read_bytes()
    for name, content in (
        ("samples/labels-000000.npy", labels[:-40]),
        ("samples/labels-000000.npy", labels[:256] + b"\x07" + labels[257:]),
        ("samples/images-000000.npy", None),
        ("samples/shard-000000.json", b"{"),
        ("checkpoint.pt", b"damaged"),
        ("checkpoint.pt", (pnet / "checkpoint.pt").read_bytes()[:-100]),
    ):
        path = pnet / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        said, found = run("run")
        assert found == expected
        told = [line for line in said if "damaged" in line]
        assert len(told) == 1
        assert str(path.parent) in told[0]
        assert told[0].endswith("anew")
        assert not [line for line in run("run")[0] if "damaged" in line]
        assert (pnet / "samples" / "labels-000000.npy").read_bytes() == labels
    assert (pnet / "checkpoint.pt.damaged").exists()

    # A dry run says what the run does then.
    (pnet / "checkpoint.pt").write_bytes(b"damaged")
    said = []
    plan(short, tmp_path / "run", ["pnet"], say=said.append, problems=Problems())
    (state,) = (line for line in said if line.startswith("pnet: "))
    assert state.startswith(f"pnet: new, because {pnet / 'checkpoint.pt'} is damaged")
    assert (pnet / "checkpoint.pt").read_bytes() == b"damaged"


def test_another_start_does_not_go_on(tiny: Path, trained: Path) -> None:
    settings = config(tiny)
    with pytest.raises(ValueError, match=r"of a run with other settings .*start is .sha256"):
        train(settings.model_copy(update={"start": "embedded"}), trained, ["pnet"])
    moved = settings.validation[0].model_copy(update={"expand": (0.0, 0.1, 0.0, 0.0)})
    with pytest.raises(ValueError, match=r"of a run with other settings .*recall.pictures is .sha256"):
        train(settings.model_copy(update={"validation": (moved,)}), trained, ["pnet"])


def test_what_recall_is_measured_with(
    tiny: Path, short: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expand = (0.0, 0.1, 0.0, 0.2)
    source = short.validation[0]
    validation = (source.model_copy(update={"expand": expand}), source.model_copy(update={"complete": False}))
    mining = short.rnet.mining
    assert mining is not None
    settings = short.model_copy(
        update={
            "start": "embedded",
            "validation": validation,
            "rnet": short.rnet.model_copy(
                update={"mining": mining.model_copy(update={"min_face_size": 30, "scale_factor": 0.5})}
            ),
        }
    )
    seen = []

    def measure(
        detector: MTCNN, stage: str, known: list[ValidationPicture], false_positives: float, _: Problems
    ) -> Recall:
        seen.append((stage, detector.options, known, false_positives))
        return Recall(0.5, 0.5, 1.0)

    monkeypatch.setattr(pipeline.validation, "measure_recall", measure)
    train(settings, tmp_path)
    assert [stage for stage, *_ in seen] == ["pnet", "rnet", "onet"]
    embedded = embedded_weights()
    for i, (stage, options, known, false_positives) in enumerate(seen):
        assert false_positives == getattr(settings, stage).false_positives
        assert [(picture.complete, picture.expand) for picture in known] == (
            [(True, expand)] * PICTURES + [(False, (0, 0, 0, 0))] * PICTURES
        )
        # Those of what mines for the next network; of its own scores hardly a bound.
        assert options["thresholds"] == ((0.05, 0, 0), (0.4, 0, 0), (0.4, 0.2, 0))[i]
        assert (options["min_face_size"], options["scale_factor"]) == ((30, 0.5), (30, 0.5), (20, 0.709))[i]
        assert (options["num_threads"], options["channel_order"]) == (1, "rgb")
        trained = load_weights(tmp_path / f"{stage}.safetensors") or {}
        for name, array in options["weights"].items():
            network = name.partition(".")[0]
            if network == stage:
                np.testing.assert_array_equal(array, trained[name])
            elif network in ("pnet", "rnet", "onet")[:i]:
                own = load_weights(tmp_path / f"{network}.safetensors") or {}
                np.testing.assert_array_equal(array, own[name])
                assert not np.array_equal(array, embedded[name])


def test_what_samples_are_made_with(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only.txt").write_text("3.png\n5\n")
    (tmp_path / "run.toml").write_text(
        f"""
seed = 4
[[sources]]
annotations = "{tiny / "faces.txt"}"
complete = false
only = "only.txt"
[[sources]]
annotations = "{tiny}"
format = "backgrounds"
expand = [0.0, 0.1, 0.2, 0.3]
[pnet]
windows = {{ near = 1 }}
[rnet]
windows = {{ near = 2 }}
mining = {{ min_face_size = 30, scale_factor = 0.5, thresholds = [0.3, 0.1], limits = {{ negative = 7 }} }}
[onet]
windows = {{ near = 3 }}
"""
    )
    settings = read_rounds(tmp_path / "run.toml")[0].config
    made: list[inspect.BoundArguments] = []
    fitted: list[Any] = []

    for function in (pipeline.generate, pipeline.mine):

        def spy(*arguments: Any, function: Any = function, **options: Any) -> range:
            bound = inspect.signature(function).bind(*arguments, **options)
            bound.arguments["sources"] = [
                ([annotation.name for annotation in source.read(Problems())], source.complete, source.expand)
                for source in bound.arguments["sources"]
            ]
            made.append(bound)
            return range(1)

        monkeypatch.setattr(pipeline, function.__name__, spy)

    def fit(network: networks.Network, _: Any, training: Training, **options: Any) -> None:
        initial = networks.network(network.name, 4).state_dict()
        assert all(torch.equal(value, initial[key]) for key, value in network.state_dict().items())
        options["folder"].mkdir(parents=True)
        fitted.append((network.name, training, options["seed"], options["folder"], options["device"].type))

    monkeypatch.setattr(pipeline.loop, "fit", fit)
    weights = train(settings, tmp_path / "run", device="cpu", workers=3)
    trained = load_weights(weights) or {}

    names = ("pnet", "rnet", "onet")
    trainings = {name: getattr(settings, name) for name in names}
    assert fitted == [(name, trainings[name], 4, tmp_path / "run" / name, "cpu") for name in names]
    pictures = sorted(f"{i}.png" for i in range(PICTURES))
    for name, size, bound in zip(names, (12, 24, 48), made, strict=True):
        found = bound.arguments
        assert found["sources"] == [(["3.png", "5.png"], False, (0, 0, 0, 0)), (pictures, True, (0, 0.1, 0.2, 0.3))]
        assert (found["folder"], found["size"], found["seed"]) == (tmp_path / "run" / name / "samples", size, 4)
        assert (found["recipe"], found["options"].workers) == (trainings[name].windows, 3)
    for name, thresholds, bound in zip(names[1:], ((0.3, 0.1, 0), (0.4, 0.2, 0)), made[1:], strict=True):
        mining, options = trainings[name].mining, bound.arguments["detector"].options
        assert (bound.arguments["network"], bound.arguments["limits"]) == (name, mining.limits)
        assert options["thresholds"] == thresholds
        assert (options["min_face_size"], options["scale_factor"]) == (mining.min_face_size, mining.scale_factor)
        assert (options["channel_order"], options["num_threads"]) == ("rgb", 1)
        for before in names[: names.index(name)]:
            for key in (key for key in trained if key.startswith(f"{before}.")):
                np.testing.assert_array_equal(options["weights"][key], trained[key])


def test_what_cannot_be_trained(tiny: Path, short: Config, tmp_path: Path) -> None:
    source = short.sources[0]
    for name in ("none", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "only.txt").write_text("another.png\n")
    (tmp_path / "file").touch()
    nowhere = {"images": tmp_path / "none"}
    listed = {"only": tmp_path / "only.txt"}

    def refused(kind: type[Exception], words: str, wanted: Any = ("pnet",), **changes: Any) -> None:
        device = changes.pop("device", "auto")
        output = changes.pop("output", tmp_path / "run" / str(len(words)))
        with pytest.raises(kind, match=words):
            train(short.model_copy(update=changes), output, wanted, device=device)

    def sources(key: str, **changes: Any) -> dict[str, Any]:
        return {key: (source.model_copy(update=changes),)}

    refused(ValueError, r"names is \['qnet'\]; wanted a sequence of some of pnet, rnet, onet", ["qnet"])
    refused(ValueError, "names is 'pnet'", "pnet")
    refused(ValueError, r"names is \(\)", ())
    refused(ValueError, "device is 'abacus'; wanted auto, cpu, cuda or cuda:N", device="abacus")
    refused(ValueError, "device is 'meta'; wanted", device="meta")
    refused(ValueError, "device is 'cuda:99'; there are [0-9]+ CUDA devices", device="cuda:99")
    refused(NotADirectoryError, "file is there, and is not a folder", output=tmp_path / "file")
    refused(OSError, "file", output=tmp_path / "file" / "below")
    refused(FileNotFoundError, "no.safetensors", start=tmp_path / "no.safetensors")
    refused(ValueError, "faces.txt is not a whole safetensors file", start=source.annotations)
    refused(FileNotFoundError, "there are no annotations at", **sources("sources", annotations=tmp_path / "no"))
    refused(ValueError, "pnet: the sources give no samples; 12 pictures could not be", **sources("sources", **nowhere))
    refused(ValueError, "pnet: the sources give no samples$", **sources("sources", **listed))
    refused(
        ValueError,
        "pnet: no positive samples to learn from",
        **sources("sources", annotations=tiny, format="backgrounds"),
    )
    refused(ValueError, "validation: none of the 12 pictures is there, such as", **sources("validation", **nowhere))
    refused(ValueError, "validation: the 0 pictures have no labelled face", **sources("validation", **listed))
    refused(ValueError, "validation: no picture is complete", **sources("validation", complete=False))


def test_unusable_pictures_and_rows_are_listed(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (tiny / "faces.txt").read_text().splitlines()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for i in range(PICTURES):
        (tmp_path / f"{i}.png").write_bytes((tiny / f"{i}.png").read_bytes())
    bad = "bad.png " + rows[0].partition(" ")[2]
    (tmp_path / "faces.txt").write_text("\n".join([*rows, bad, "a row"]) + "\n")
    text = TINY.replace("epochs = 3", "epochs = 1").replace("batches = 60", "batches = 2")
    (tmp_path / "run.toml").write_text(text)
    assert cli.main(command(tmp_path / "run.toml", tmp_path / "run")) == 0
    out, err = capsys.readouterr()
    assert "no weight file yet" in out
    assert "bad.png: not a picture that Pillow can decode" in err
    assert "faces.txt:14: " in err
    # They are among the sources and among the validation pictures.
    assert err.splitlines()[-1] == "2 rows or pictures could not be used as they are"


def test_problems_are_told_once(tiny: Path, short: Config, tmp_path: Path) -> None:
    (tmp_path / "faces.txt").write_text((tiny / "faces.txt").read_text() + "a row\n")
    source = short.sources[0].model_copy(update={"annotations": tmp_path / "faces.txt", "images": tiny})
    problems = Problems()
    settings = short.model_copy(update={"sources": (source,), "start": "embedded"})
    train(settings, tmp_path / "run", ["pnet", "rnet"], problems=problems)
    assert [line.partition(": ")[0] for line in problems] == [f"{tmp_path / 'faces.txt'}:{PICTURES + 1}"]


def test_command_errors(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit, match="2"):
            cli.main(["train", *arguments])
        return capsys.readouterr().err

    assert "invalid choice: 'qnet'" in refused("qnet", "--config", "x", "--output", "y")
    assert "No such file" in refused("all", "--config", str(tmp_path / "none.toml"), "--output", str(tmp_path))
    (tmp_path / "bad.toml").write_text("seed = 0.5\n")
    err = refused("all", "--config", str(tmp_path / "bad.toml"), "--output", str(tmp_path))
    assert f"{tmp_path / 'bad.toml'}: invalid configuration:\n" in err
    assert "sources is missing" in err
    assert "seed: wanted an integer; it is 0.5" in err
    assert "--config: it is empty; wanted a path" in refused("all", "--config", "", "--output", "y")
    assert "--output: it is empty; wanted a path" in refused("all", "--config", "x", "--output", "")


def run_of(tiny: Path, output: Path, text: str = TINY) -> list[str]:
    """The arguments of a short run of P-Net."""
    (tiny / "other.toml").write_text(text.replace("batches = 60", "batches = 2"))
    return command(tiny / "other.toml", output)


def test_an_output_that_cannot_be_written_ends_before_any_picture_is_read(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(path: Path) -> None:
        raise AssertionError

    monkeypatch.setattr("mtcnn_fast.reading.first_page", read)

    def refused(output: Path, words: str) -> None:
        assert cli.main(run_of(tiny, output)) == 1
        assert capsys.readouterr().err == f"mtcnn-fast train: {words}\n"

    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "below", f"{tmp_path / 'file'} is no folder")
    (tmp_path / "a" / "pnet").mkdir(parents=True)

    def full(folder: Path) -> None:
        if folder == tmp_path / "a" / "pnet":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtcnn_fast.writing._try_to_write_into", full)
    refused(tmp_path / "a", f"{tmp_path / 'a' / 'pnet'}: No space left on device")
    (tmp_path / "b" / "pnet.safetensors").mkdir(parents=True)
    assert cli.main(run_of(tiny, tmp_path / "b")) == 1
    assert "pnet.safetensors is a folder" in capsys.readouterr().err


FULL = """
import resource, sys
from mtcnn_fast import cli
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(cli.main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a file's size")
@pytest.mark.parametrize(("limit", "name"), [(40_000, "pnet/samples/images-000000.npy"), (2_000, "pnet/checkpoint.pt")])
def test_a_file_that_cannot_be_written(trained: Path, tiny: Path, tmp_path: Path, limit: int, name: str) -> None:
    if name == "pnet/checkpoint.pt":
        # What an earlier run has left is kept.
        shutil.copytree(trained / "pnet", tmp_path / "run" / "pnet")
        text = TINY.replace("epochs = 3", "epochs = 30")
    else:
        text = TINY
    before = {path: path.read_bytes() for suffix in ("npy", "pt") for path in tmp_path.rglob(f"*.{suffix}")}
    (tiny / "full.toml").write_text(text)
    arguments = [sys.executable, "-c", FULL, str(limit), *command(tiny / "full.toml", tmp_path / "run")]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr == f"mtcnn-fast train: {tmp_path / 'run' / name}: File too large\n"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list((tmp_path / "run").rglob("*.part"))


def test_more_epochs(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = TINY.replace("epochs = 3", "epochs = 1").replace("epochs = 2", "epochs = 1")
    arguments = run_of(tiny, tmp_path, short)
    arguments[1] = "all"
    assert cli.main(arguments) == 0
    (tiny / "other.toml").write_text(
        (tiny / "other.toml").read_text().replace("epochs = 1\nbatches = 2", "epochs = 2\nbatches = 2")
    )
    capsys.readouterr()
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert "pnet: going on after epoch 1 (epochs is 2, was 1; the learning rate is that of the new schedule)\n" in out
    assert "pnet epoch   2" in out
    assert err.startswith(
        f"mtcnn-fast train: rnet: {tmp_path / 'rnet' / 'samples'} holds samples made otherwise (settings."
    )
    assert err.endswith(f"to make them anew, remove {tmp_path / 'rnet'} and {tmp_path / 'onet'}\n")
    for name in ("rnet", "onet"):
        shutil.rmtree(tmp_path / name)
    assert cli.main(arguments) == 0


def test_pictures_that_were_away(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (*(f"{i}.png" for i in range(1, PICTURES)), "faces.txt"):
        shutil.copy(tiny / name, tmp_path)
    text = TINY.replace("epochs = 3", "epochs = 1").replace("batches = 60", "batches = 2")
    (tmp_path / "run.toml").write_text(text)

    def run(output: str) -> SampleStore:
        assert cli.main(command(tmp_path / "run.toml", tmp_path / output)) == 0
        return SampleStore(tmp_path / output / "pnet" / "samples")

    assert run("learned").unreadable == 1
    assert run("samples").unreadable == 1
    (tmp_path / "samples" / "pnet" / "checkpoint.pt").unlink()
    shutil.copy(tiny / "0.png", tmp_path)
    capsys.readouterr()
    assert run("samples").unreadable == 0
    assert "not tried again" not in capsys.readouterr().out
    assert run("learned").unreadable == 1
    told = f"pnet: pictures that could not be used (1) are not tried again, because {tmp_path / 'learned'}"
    assert told in capsys.readouterr().out


def test_threads(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a detector, whose number follows the quota of the control group, unless they are given."""
    monkeypatch.setenv("MTCNN_FAST_NUM_THREADS", "1")
    seen = []
    monkeypatch.setattr(
        pipeline, "train", lambda *_, options, **__: seen.append((options.workers, torch.get_num_threads()))
    )
    arguments, before = run_of(tiny, tmp_path), torch.get_num_threads()
    try:
        assert cli.main([*arguments, "--threads", "2"]) == 0
        assert cli.main(arguments[:-2]) == 0
    finally:
        torch.set_num_threads(before)
    assert seen == [(2, 2), (1, 1)]


def test_dry_run(
    trained: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("mtcnn_fast.reading.pages", read)
    monkeypatch.setattr("mtcnn_fast.reading.first_page", read)

    def dry(text: str, *options: str, network: str = "all", output: Path = tmp_path / "run") -> tuple[int, str, str]:
        (tiny / "dry.toml").write_text(text)
        status = cli.main([*command(tiny / "dry.toml", output, network), "--dry-run", *options])
        return status, *capsys.readouterr()

    status, out, err = dry(TINY)
    assert (status, err) == (0, "")
    faces = (
        f"{tiny / 'faces.txt'}: pictures: 12, with all faces labelled: 12; faces: 12, with landmarks: 12, ignored: 0"
    )
    assert out.startswith(
        f"device: cpu, threads: 1\nstart: scratch, seed 3\nsource {faces}\nvalidation {faces}\npnet: new\n"
    )
    assert "\n  epochs = 3\n  batches = 60\n" in out
    (tiny / "teachers.jsonl").write_text('{"path": "0.png", "detections": []}\n{"path": "a/1.png", "detections": []}\n')
    _, told, _ = dry(TINY.replace("[[validation]]", 'teachers = "teachers.jsonl"\n[[validation]]'))
    assert f"source {faces}; seen by teachers: 1\n" in told
    assert "\n  windows = { background = 80, near = 5," in out
    assert out.endswith(
        f"output: {tmp_path / 'run' / 'mtcnn.safetensors'}, once all three networks are there (a new folder)\n"
    )
    assert not (tmp_path / "run").exists()

    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    status, out, err = dry(TINY.replace("epochs = 3", "epochs = 5"), output=trained)
    assert (status, err) == (0, "")
    assert "\npnet: going on after epoch 3 of 5 (epochs is 5, was 3)\n" in out
    assert "\nrnet: finished after epoch 2 of 2\n" in out
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before

    for text, options, words in (
        (TINY.replace("epochs = 3", "epochs = 3\nmomentum = 0.5"), {"output": trained}, "momentum is 0.5, was 0.9"),
        (TINY.replace("faces.txt", "none.txt"), {}, "there are no annotations at"),
        (TINY, {"network": "rnet"}, "rnet needs pnet"),
        (TINY.replace("seed = 3", "seed = 3\nstart = 'none.safetensors'"), {}, "none.safetensors"),
    ):
        status, _, err = dry(text, **options)
        assert status == 1
        assert err.startswith("mtcnn-fast train: ")
        assert words in err
        assert err.count("\n") == 1
    assert dry(TINY, "--device", "abacus")[0] == 1
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is there, and is not a folder" in dry(TINY, output=tmp_path / "file" / "a")[2]
    backgrounds = TINY + f"[[sources]]\nannotations = '{tiny}'\nformat = 'backgrounds'\n"
    status, out, err = dry(backgrounds)
    assert status == 0
    assert f"\nsource {tiny}: pictures: 12, with all faces labelled: 12; faces: 0," in out
    assert f"{tiny}: passed over: " in err
    lacking = TINY.replace('annotations = "faces.txt"', 'annotations = "faces.txt"\nimages = "run"', 1)
    assert f"; not there: 12, such as {tiny / 'run' / '0.png'}\n" in dry(lacking)[1]


def test_example(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a configuration: whole once its paths exist, and with what it has in comments."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--example"])
    assert not ended.value.code
    text = capsys.readouterr().out
    path = tmp_path / "example.toml"
    path.write_text(text)
    example = read_rounds(path)[0].config
    assert (len(example.sources), len(example.validation)) == (3, 1)
    for source in (*example.sources, *example.validation):
        source.annotations.parent.mkdir(exist_ok=True)
    for name in ("train", "val"):
        (tmp_path / f"wider_face_split/wider_face_{name}_bbx_gt.txt").write_text("0.png\n1\n5 5 50 50 0 0 0 0 0 0\n")
        images = tmp_path / f"WIDER_{name}" / "images"
        images.mkdir(parents=True)
        shutil.copy(tiny / "0.png", images)
    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba" / "list_bbox_celeba.txt").write_text("1\nimage_id x_1 y_1 width height\n0.jpg 5 5 50 50\n")
    points = " ".join(
        f"{name}_{axis}" for name in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"
    )
    (tmp_path / "celeba" / "list_landmarks_celeba.txt").write_text(f"1\n{points}\n0.jpg 9 9 20 9 15 15 9 20 20 20\n")
    (tmp_path / "objects").mkdir()
    shutil.copy(tiny / "0.png", tmp_path / "objects")
    status = cli.main([*command(path, tmp_path / "run", "all"), "--dry-run"])
    assert (status, capsys.readouterr().err) == (0, "")

    # Behind each comment, but for words, stands the default.
    settings = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    assert settings != text
    path.write_text(settings)
    whole = read_rounds(path)[0].config
    for name in ("batch_size", "learning_rate"):
        assert getattr(whole.pnet, name) == getattr(example.pnet, name)
    assert (whole.rnet, whole.onet) == (example.rnet, example.onet)


def test_without_torch(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "all", "--config", str(tiny / "run.toml"), "--output", "out"])
    assert 'pip install "mtcnn_fast[train]"' in capsys.readouterr().err


def test_the_command_says_what_is_wrong(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text(f'[[sources]]\nannotations = "{tiny / "faces.txt"}"\n')
    arguments = command(tmp_path / "run.toml", tmp_path / "run")
    assert cli.main([*arguments, "--device", "abacus"]) == 1
    assert capsys.readouterr().err == "mtcnn-fast train: device is 'abacus'; wanted auto, cpu, cuda or cuda:N\n"
    for threads in ("0", "-1", "1000000"):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*arguments, "--threads", threads])
        assert f"threads is {threads}; wanted 1 to" in capsys.readouterr().err


LONG = """
[[sources]]
annotations = "faces.txt"
[pnet]
epochs = 1000
batches = 1
batch_size = 16
"""


@pytest.fixture
def long_run(tiny: Path, tmp_path: Path) -> list[str]:
    """A command that takes many epochs."""
    (tiny / "long.toml").write_text(LONG)
    return [sys.executable, "-u", "-m", "mtcnn_fast", *command(tiny / "long.toml", tmp_path)]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send to another process")
def test_an_interrupt_ends_quietly(long_run: list[str]) -> None:
    with subprocess.Popen(long_run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while " epoch " not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
def test_a_reader_that_leaves(long_run: list[str]) -> None:
    assert leave_early(long_run) == (1, "")


def test_package_imports_no_torch() -> None:
    code = (
        "import sys, mtcnn_fast.cli; assert not {'torch', 'cv2', 'pydantic', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mtcnn_fast.__version__
