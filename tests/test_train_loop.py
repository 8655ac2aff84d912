"""The training loop, its log and its checkpoints, on small made-up samples."""

from __future__ import annotations

import csv
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("pydantic")

import torch

from mtcnn_fast.train import loop, networks
from mtcnn_fast.train.augmentation import Augmentation
from mtcnn_fast.train.config import Training
from mtcnn_fast.train.distillation import wanted_faces
from mtcnn_fast.train.losses import TaskWeights
from mtcnn_fast.train.record import Checkpoint, Epoch, best_epoch, has_stopped
from mtcnn_fast.train.samples import LABELS, LANDMARK, NEGATIVE, PART, POSITIVE, Samples, SampleStore, SampleWriter
from mtcnn_fast.train.validation import Recall
from mtcnn_fast.train.windows import Recipe

SIZE = 12
PICTURES = 30
A_PICTURE = (NEGATIVE,) * 6 + (POSITIVE,) * 2 + (PART,) * 2 + (LANDMARK,) * 3
CPU = torch.device("cpu")
WEIGHTS = TaskWeights(1, 0.5, 0.25)


def make_store(folder: Path, kinds: tuple[int, ...] = A_PICTURE) -> SampleStore:
    """Faces are brighter below; all else is noise."""
    rng = np.random.default_rng(1)
    writer = SampleWriter(folder, {"size": SIZE}, PICTURES)
    with writer.shard(0, "") as shard:
        for source in range(PICTURES):
            images = rng.integers(0, 160, (len(kinds), SIZE, SIZE, 3), np.uint8)
            labels = np.zeros(len(kinds), LABELS)
            labels["kind"], labels["source"], labels["box"], labels["landmarks"] = kinds, source, np.nan, np.nan
            images[labels["kind"] != NEGATIVE, SIZE // 2 :] += 90
            boxed = np.isin(labels["kind"], (POSITIVE, PART))
            labels["box"][boxed] = rng.normal(0, 0.1, (boxed.sum(), 4))
            pointed = labels["kind"] == LANDMARK
            labels["landmarks"][pointed] = rng.uniform(0.2, 0.8, (pointed.sum(), 5, 2))
            shard.add(images, labels)
    writer.finish(1)
    return SampleStore(folder)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """More threads of PyTorch wait for each other where other programs keep processors busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SampleStore:
    return make_store(tmp_path_factory.mktemp("samples"))


def training(**options: Any) -> Training:
    defaults: dict[str, Any] = {
        "epochs": 4,
        "batches": 6,
        "batch_size": 28,
        "held_out": 0.2,
        "learning_rate": 0.02,
        "task_weights": WEIGHTS,
        "false_positives": 1,
        "windows": Recipe(),
    }
    return Training(**defaults | options)


def fit(
    store: Any,
    folder: Path,
    made: Training,
    *,
    start: int = 5,
    recall: Callable[[networks.Network], Recall] | None = None,
    recall_settings: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Any, list[Epoch]]:
    network = networks.network("pnet", start)
    defaults: dict[str, Any] = {"seed": 5, "device": CPU, "say": lambda _: None}
    measure = None if recall is None else loop.RecallMeasure(measure=recall, settings=recall_settings or {})
    return network, loop.fit(network, store, made, folder=folder, recall=measure, **defaults | options)


def recall_of(network: networks.Network) -> Recall:
    """Something that goes up and down, and depends on the network alone."""
    return Recall(float(next(network.parameters()).detach().double().sum() * 1000 % 1), 0.5, 1.0)


def without_seconds(rows: list[Epoch]) -> list[str]:
    # As text, for a NaN is not equal to itself.
    return [str(asdict(replace(row, seconds=0))) for row in rows]


class Cut(Exception):
    pass


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adam"}, {"mixed_precision": "bf16"}, {"schedule": "cosine"}, {"average": 0.9}],
)
def test_a_run_cut_off_anywhere_ends_the_same(options: dict[str, Any], store: SampleStore, tmp_path: Path) -> None:
    made = training(**options)
    expected, rows = fit(store, tmp_path / "whole", made, recall=recall_of)
    calls = 0

    def cutting(network: networks.Network) -> Recall:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise Cut
        return recall_of(network)

    for _ in range(made.epochs):  # every epoch is cut off once, before its checkpoint
        with pytest.raises(Cut):
            fit(store, tmp_path / "cut", made, recall=cutting)
    network, found = fit(store, tmp_path / "cut", made, recall=recall_of)
    assert without_seconds(found) == without_seconds(rows)
    assert len({row.recall for row in rows}) == made.epochs
    for key, value in network.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])
    whole, cut = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "cut"))
    assert whole["settings"] == cut["settings"]
    for key, value in whole["result"].items():
        assert torch.equal(value, cut["result"][key])
    for states in zip(whole["optimizer"]["state"].values(), cut["optimizer"]["state"].values(), strict=True):
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            assert torch.equal(value, states[1][key]), key


def test_the_epoch_to_keep_is_kept_across_runs(store: SampleStore, tmp_path: Path) -> None:
    recalls, states = iter([0.5, 0.9, 0.1, 0.2]), []

    def recall(network: networks.Network) -> Recall:
        states.append({key: value.clone() for key, value in network.state_dict().items()})
        return Recall(next(recalls), 0.5, 1.0)

    def say(line: str) -> None:
        if "epoch   3" in line:
            raise Cut

    with pytest.raises(Cut):
        fit(store, tmp_path, training(), recall=recall, say=say)
    recalls = iter([0.1, 0.2])
    network, rows = fit(store, tmp_path, training(), recall=recall)
    assert [row.recall for row in rows] == [0.5, 0.9, 0.1, 0.2]
    # A run that is over does nothing more.
    again, _ = fit(store, tmp_path, training(), recall=recall)
    last, _ = fit(store, tmp_path, training(keep="last"), recall=recall)
    for result, state in ((network, states[1]), (again, states[1]), (last, states[-1])):
        for key, value in result.state_dict().items():
            assert torch.equal(value, state[key])


def test_the_average_of_the_weights_is_the_result(store: SampleStore, tmp_path: Path) -> None:
    made, steps, measured = training(average=0.6, keep="last", epochs=2), [], []
    wanted = networks.network("pnet", 5).state_dict()
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *rest: Any) -> Any:
        done = step(self, *rest)
        steps.append([value.clone() for value in self.param_groups[0]["params"]])
        return done

    def recall(network: networks.Network) -> Recall:
        measured.append({key: value.clone() for key, value in network.state_dict().items()})
        return Recall(0.5, 0.5, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", spy)
        network, _ = fit(store, tmp_path, made, recall=recall)
    for number, values in enumerate(steps):
        kept = min(0.6, (1 + number) / (10 + number))
        for average, value in zip(wanted.values(), values, strict=True):
            average.copy_(kept * average + (1 - kept) * value)
    for found in (network.state_dict(), measured[-1]):
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value)


def test_wanted_faces_reach_the_loss(store: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, made, seen = networks.network("pnet", 9), training(epochs=1, distillation=0.5), []
    loss, spy = loop.multitask_loss, Spy(store)

    def noting(outputs: Any, targets: Any, *rest: Any) -> Any:
        seen.append(targets.faces)
        return loss(outputs, targets, *rest)

    monkeypatch.setattr(loop, "multitask_loss", noting)
    fit(spy, tmp_path, made, teacher=teacher)
    wanted = wanted_faces(store, teacher, 0.5, CPU)
    learned = [batch for batch in spy.batches if len(batch) == made.batch_size]
    assert len(seen) == len(learned) == made.batches
    for faces, indices in zip(seen, learned, strict=True):
        np.testing.assert_array_equal(faces, wanted[indices])
    # A run that is over asks no teacher.
    monkeypatch.setattr(loop, "wanted_faces", None)
    fit(store, tmp_path, made, teacher=teacher)


def epochs(*recalls: float) -> list[Epoch]:
    return [Epoch(i, 0.1, *(1.0,) * 7, recall, 1.0, 1.0) for i, recall in enumerate(recalls, 1)]


@pytest.mark.parametrize(
    ("recalls", "best", "stops_after"),
    [
        ((0.1, 0.4, 0.4, 0.3), 3, {1, 2}),  # the later of equal ones is kept, but is no better
        ((0.1, 0.2), 2, set()),
        ((0.0, 0.0, 0.0), 3, {1, 2}),
        ((math.nan,) * 5, 5, set()),
        ((0.9, math.nan), 1, {1}),
    ],
)
def test_best_epoch_and_patience(recalls: tuple[float, ...], best: int, stops_after: set[int]) -> None:
    rows = epochs(*recalls)
    assert best_epoch(rows) == best
    assert {n for n in range(1, 6) if has_stopped(rows, n)} == stops_after
    assert not has_stopped(rows, None)
    assert not has_stopped([], 1)


def test_patience(store: SampleStore, tmp_path: Path) -> None:
    recalls = iter([0.1, 0.4, 0.4, 0.3])
    made = training(epochs=9, batches=1, patience=2)
    _, rows = fit(store, tmp_path, made, recall=lambda _: Recall(next(recalls), 0.5, 1.0))
    assert [row.recall for row in rows] == [0.1, 0.4, 0.4, 0.3]
    _, rows = fit(store, tmp_path, made, recall=lambda _: Recall(next(recalls), 0.5, 1.0))
    assert len(rows) == 4


class Spy:
    """A store that notes which samples are asked for."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self.batches: list[NDArray[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __len__(self) -> int:
        return len(self._store)

    def batch(self, indices: NDArray[Any]) -> Samples:
        self.batches.append(indices)
        return self._store.batch(indices)


def test_pictures_are_held_out(store: SampleStore, tmp_path: Path) -> None:
    spy = Spy(store)
    made = training(epochs=2, batches=20)
    fit(spy, tmp_path, made)
    learned = [batch for batch in spy.batches if len(batch) == made.batch_size]
    measured = [batch for batch in spy.batches if len(batch) != made.batch_size]
    assert len(learned) == 40
    assert len(measured) == 2
    for batch in measured:
        sources = set(store.sources()[batch].tolist())
        assert 0 < len(sources) < PICTURES / 2
        # All of their samples, and of no picture that is learned.
        np.testing.assert_array_equal(np.flatnonzero(np.isin(store.sources(), list(sources))), np.sort(batch))
        assert not sources & set(store.sources()[np.concatenate(learned)].tolist())
    for batch in learned:
        np.testing.assert_array_equal(np.bincount(store.kinds[batch]), (12, 4, 4, 8))


def test_crops_arrive_upright_with_their_targets(
    store: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy, seen = Spy(store), []
    measure, loss = loop.measure, loop.multitask_loss
    forward = networks.Network.forward
    monkeypatch.setattr(
        networks.Network, "forward", lambda self, crops: (seen.append([crops]), forward(self, crops))[1]
    )
    for name, function in (("measure", measure), ("multitask_loss", loss)):

        def noting(outputs: Any, targets: Any, *rest: Any, function: Any = function) -> Any:
            seen[-1].append(targets)
            return function(outputs, targets, *rest)

        monkeypatch.setattr(loop, name, noting)
    unchanged = Augmentation(flip=0, brightness=0, contrast=0, saturation=0, grey=0, blur=0)
    fit(spy, tmp_path, training(epochs=1, augmentation=unchanged))
    assert len(seen) == len(spy.batches) == 7
    for (crops, targets), indices in zip(seen, spy.batches, strict=True):
        expected = store.batch(indices)
        np.testing.assert_allclose(crops.permute(0, 2, 3, 1) * 128 + 127.5, expected.images, atol=1e-4)
        np.testing.assert_array_equal(targets.kinds, expected.kinds)
        np.testing.assert_array_equal(targets.boxes, expected.boxes)
        np.testing.assert_array_equal(targets.landmarks, expected.landmarks)


def test_every_setting_reaches_its_place(store: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training(
        epochs=2, hard_share=0.3, augmentation=Augmentation(flip=0.25), momentum=0.7, weight_decay=0.01, warmup=1.5
    )
    seeds, augmentations, losses, groups = [], set(), set(), []
    augment, loss, step = loop.augment, loop.multitask_loss, torch.optim.SGD.step

    def spy_augment(images: Any, boxes: Any, landmarks: Any, augmentation: Any, generator: torch.Generator) -> Any:
        augmentations.add(augmentation)
        seeds.append((generator.initial_seed(), generator.get_state().numpy().tobytes()))
        return augment(images, boxes, landmarks, augmentation, generator)

    def spy_loss(outputs: Any, targets: Any, *rest: Any) -> Any:
        losses.add(rest)
        return loss(outputs, targets, *rest)

    def spy_step(self: torch.optim.SGD, *rest: Any) -> Any:
        (group,) = self.param_groups
        groups.append({key: group[key] for key in ("lr", "momentum", "weight_decay")})
        return step(self, *rest)

    monkeypatch.setattr(loop, "augment", spy_augment)
    monkeypatch.setattr(loop, "multitask_loss", spy_loss)
    monkeypatch.setattr(torch.optim.SGD, "step", spy_step)
    _, rows = fit(store, tmp_path, made)
    steps = made.epochs * made.batches
    assert augmentations == {made.augmentation}
    assert losses == {(WEIGHTS, 0.3)}
    assert len(set(seeds)) == steps
    assert len({seed for seed, _ in seeds}) == made.epochs
    assert groups == [
        {"lr": made.learning_rates().at(step), "momentum": 0.7, "weight_decay": 0.01} for step in range(steps)
    ]
    assert [row.learning_rate for row in rows] == [made.learning_rates().at(step) for step in (5, 11)]


def test_mixed_precision(store: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    loss = loop.multitask_loss

    def spy(outputs: Any, *rest: Any) -> Any:
        seen.append(outputs.face.dtype)
        return loss(outputs, *rest)

    monkeypatch.setattr(loop, "multitask_loss", spy)
    for precision, dtype in (("bf16", torch.bfloat16), ("off", torch.float32), ("auto", torch.float32)):
        network, _ = fit(store, tmp_path / precision, training(epochs=1, batches=1, mixed_precision=precision))
        assert seen.pop() == dtype
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_the_log(store: SampleStore, tmp_path: Path) -> None:
    lines: list[str] = []
    _, rows = fit(store, tmp_path, training(epochs=2), recall=recall_of, say=lines.append)
    with (tmp_path / "log.csv").open(newline="") as file:
        found = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert found == [asdict(row) for row in rows]
    row = rows[0]
    assert row.loss == pytest.approx(row.face_loss + 0.5 * row.box_loss + 0.25 * row.landmark_loss)
    assert lines[0] == (
        f"pnet epoch   1, loss {row.loss:.4f} (face {row.face_loss:.4f}, box {row.box_loss:.4f}, landmarks "
        f"{row.landmark_loss:.4f}), accuracy {row.accuracy:.4f}, box error {row.box_error:.4f}, landmark error "
        f"{row.landmark_error:.4f}, recall {row.recall:.4f} at 1.00 false positives per picture, {row.seconds:.0f} s"
    )


def test_what_is_not_measured_is_not_shown(tmp_path: Path) -> None:
    store = make_store(tmp_path / "samples", (NEGATIVE,) * 4 + (POSITIVE,) * 2)
    lines: list[str] = []
    _, (row,) = fit(store, tmp_path, training(epochs=1, held_out=0), say=lines.append)
    assert lines[:2] == [
        f"pnet: there are no {kind} samples; batches are of the other kinds" for kind in ("part", "landmark")
    ]
    for value in (row.landmark_loss, row.accuracy, row.box_error, row.landmark_error, row.recall, row.false_positives):
        assert math.isnan(value)
    assert lines[2] == (
        f"pnet epoch   1, loss {row.loss:.4f} (face {row.face_loss:.4f}, box {row.box_loss:.4f}), {row.seconds:.0f} s"
    )


@pytest.mark.parametrize(("kind", "counts"), [("positive", "60 negative, 0"), ("negative", "0 negative, 60")])
def test_no_faces_or_no_background(kind: str, counts: str, tmp_path: Path) -> None:
    there = NEGATIVE if kind == "positive" else POSITIVE
    store = make_store(tmp_path / "samples", (there, there))
    with pytest.raises(ValueError, match=f"pnet: no {kind} samples to learn from; there are {counts}"):
        fit(store, tmp_path, training(held_out=0))
    # Where none are asked for, none are missed.
    mix = [int(there == NEGATIVE), int(there == POSITIVE), 0, 0]
    fit(store, tmp_path, training(held_out=0, epochs=1, mix=mix))


def test_a_loss_that_is_not_finite(store: SampleStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pnet: the loss is (nan|inf) in epoch 1; a lower learning_rate may help"):
        fit(store, tmp_path, training(learning_rate=1e20, warmup=0))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_other_settings_do_not_go_on(store: SampleStore, tmp_path: Path) -> None:
    made, settings = training(epochs=1), {"pictures": "a"}
    fit(store, tmp_path, made, recall=recall_of, recall_settings=settings)
    fit(store, tmp_path, made, recall=recall_of, recall_settings={"pictures": "a"})

    def refused(words: str, made: Training = made, **options: Any) -> None:
        options = {"recall": recall_of, "recall_settings": settings} | options
        with pytest.raises(
            ValueError, match=f"is of a run with other settings .*{words}.*remove {tmp_path} to start it anew"
        ):
            fit(store, tmp_path, made, **options)

    refused("augmentation.flip is 0.1, was 0.5", training(epochs=1, augmentation=Augmentation(flip=0.1)))
    refused("seed is 6, was 5", seed=6)
    refused("start is .sha256", start=6)
    refused('recall.pictures is "b", was "a"', recall_settings={"pictures": "b"})
    refused("recall is not set, was", recall=None, recall_settings=None)
    path = tmp_path / "checkpoint.pt"
    document = torch.load(path, weights_only=True)
    document["settings"]["colour"] = 1
    torch.save(document, path)
    refused("colour is not set, was 1")


@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_more_epochs_go_on(store: SampleStore, tmp_path: Path, schedule: str) -> None:
    fit(store, tmp_path, training(epochs=2, schedule=schedule))
    more, lines = training(epochs=5, patience=3, schedule=schedule), list[str]()
    _, rows = fit(store, tmp_path, more, say=lines.append)
    assert [row.epoch for row in rows] == [1, 2, 3, 4, 5]
    assert [row.learning_rate for row in rows[2:]] == [more.learning_rates().at(epoch * 6 - 1) for epoch in (3, 4, 5)]
    assert lines[0] == (
        "pnet: going on after epoch 2 (epochs is 5, was 2, patience is 3, was not set; the learning rate is that of "
        "the new schedule)"
    )
    # Once said, it is the run's own.
    _, rows = fit(store, tmp_path, more, say=lines.append)
    assert (len(rows), lines[-1]) == (5, "pnet: finished after epoch 5")
    # What is done is not undone.
    _, rows = fit(store, tmp_path, training(epochs=3, schedule=schedule))
    assert len(rows) == 5


def test_more_patience_goes_on(store: SampleStore, tmp_path: Path) -> None:
    def recall(_: networks.Network) -> Recall:
        return Recall(0.5, 0.5, 1.0)

    for patience, wanted in ((1, 2), (3, 4), (2, 4)):
        _, rows = fit(store, tmp_path, training(epochs=9, batches=1, patience=patience), recall=recall)
        assert len(rows) == wanted


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", ["log.csv", "checkpoint.pt"])
def test_a_full_disk_is_named(store: SampleStore, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.symlink_to("/dev/full")
    network = networks.network("pnet")
    write: dict[str, Callable[[], Any]] = {
        "log.csv": lambda: fit(store, tmp_path, training(epochs=1)),
        "checkpoint.pt": lambda: Checkpoint(path, network, torch.optim.SGD(network.parameters()), {}, network).save(
            epochs(0.5)
        ),
    }
    with pytest.raises(OSError, match="No space left on device") as caught:
        write[name]()
    assert caught.value.filename == str(path)


def test_a_full_disk_under_tensorboard(store: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = pytest.importorskip("tensorboard.summary.writer.record_writer")

    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.RecordWriter, "write", write)
    hook = threading.excepthook
    monkeypatch.setattr(threading, "excepthook", hook)  # to be set back
    with pytest.raises(OSError, match="No space left on device") as caught:
        fit(store, tmp_path, training(epochs=3))
    assert caught.value.filename == str(tmp_path)
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("tensorboard."):
            thread.join(10)
    monkeypatch.undo()
    fit(store, tmp_path / "good", training(epochs=1))
    assert threading.excepthook is hook


def _without(key: str) -> Callable[[Any], Any]:
    return lambda document: {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"no checkpoint",
        lambda _: b"",
        lambda _: [1, 2],
        _without("settings"),
        _without("log"),
        _without("network"),
        _without("best"),
        _without("result"),
        lambda document: {**document, "log": [{"epoch": 1}]},
        lambda document: {**document, "network": {}},
        lambda document: {**document, "optimizer": {"state": {}, "param_groups": []}},
    ],
)
def test_a_damaged_checkpoint(spoil: Callable[[Any], Any], store: SampleStore, tmp_path: Path) -> None:
    made = training(epochs=1)
    fit(store, tmp_path, made)
    path = tmp_path / "checkpoint.pt"
    spoiled = spoil(torch.load(path, weights_only=True))
    if isinstance(spoiled, bytes):
        path.write_bytes(spoiled)
    else:
        torch.save(spoiled, path)
    with pytest.raises(ValueError, match=rf"checkpoint.pt is damaged.*; remove {tmp_path} to start anew"):
        fit(store, tmp_path, made)
