"""Training one network: epochs, their log, checkpoints that resume to the same result.

Everything random follows from the seed and the number of the step or epoch, so that a run cut off after an epoch and
started again does what it would have done. (With the same PyTorch, on the same device, with as many threads.)
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtcnn_fast.train.augment import augment
from mtcnn_fast.train.losses import Losses, Metrics, Targets, measure, multitask_loss
from mtcnn_fast.train.networks import Network, normalised
from mtcnn_fast.train.schedule import Mix, learning_rate

if TYPE_CHECKING:
    from mtcnn_fast.train.config import Training
    from mtcnn_fast.train.samples import SampleStore
    from mtcnn_fast.train.validation import Recall

# Held-out samples measured at a time.
_MEASURED = 1024


@dataclass(frozen=True, slots=True)
class Epoch:
    """A row of the log. Losses and errors are means; NaN where nothing was measured."""

    epoch: int
    learning_rate: float
    loss: float
    face_loss: float
    box_loss: float
    landmark_loss: float
    accuracy: float
    """Of faces and background, among the held-out samples, as the next two: crops that were not learned."""
    box_error: float
    """Mean absolute error of an offset, in sides of the window."""
    landmark_error: float
    """Mean distance of a landmark, in sides of the window."""
    recall: float
    """Of the faces of whole pictures."""
    false_positives: float
    """A whole picture, at that recall."""
    seconds: float

    def __str__(self) -> str:
        parts = [
            f"epoch {self.epoch:3}",
            f"loss {self.loss:.4f} (face {self.face_loss:.4f}, box {self.box_loss:.4f}, "
            f"landmarks {self.landmark_loss:.4f})",
            f"accuracy {self.accuracy:.4f}",
            f"box error {self.box_error:.4f}",
            f"landmark error {self.landmark_error:.4f}",
        ]
        if not math.isnan(self.recall):
            parts.append(f"recall {self.recall:.4f} at {self.false_positives:.2f} false positives a picture")
        return ", ".join([*parts, f"{self.seconds:.0f} s"])


def fit(
    network: Network,
    store: SampleStore,
    training: Training,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    recall: Callable[[Network], Recall] | None = None,
    say: Callable[[str], None] = print,
) -> list[Epoch]:
    """Trains the network in place, on the device, and leaves it there with the weights of the best epoch by `recall`,
    or of the last if that is not given. Returns the log, which is also in `folder`: log.csv, and TensorBoard's where
    that is installed; checkpoint.pt is what a run that was cut off goes on from.

    Raises ValueError for a checkpoint of other settings, and where there is nothing to learn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # On CPUs, convolutions are faster with channels last: 1.4 times in R-Net, 1.05 in O-Net.
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    optimizer = _optimizer(network, training)
    taken, held_out = _parted(store, training.held_out, seed)
    mix = Mix(store.kinds, taken, training.mix, training.batch_size, seed)
    settings = {**training.model_dump(mode="json"), "seed": seed, "samples": len(store), "network": network.name}
    state = _State(folder / "checkpoint.pt", network, optimizer, settings)
    rows = state.restore(device)
    if rows:
        say(f"{network.name}: going on after epoch {rows[-1].epoch}")

    with _Log(folder, rows) as write:
        for epoch in range(len(rows) + 1, training.epochs + 1):
            if _has_stopped(rows, training.patience):
                break
            began = time.monotonic()
            mean = _run_epoch(network, optimizer, store, mix, training, epoch, seed, device)
            metrics = _measure(network, store, held_out, device)
            seen = recall(network) if recall else None
            row = Epoch(
                epoch,
                learning_rate(training, epoch * training.batches - 1),
                *mean,
                metrics.accuracy,
                metrics.box_error,
                metrics.landmark_error,
                seen.recall if seen else math.nan,
                seen.false_positives if seen else math.nan,
                time.monotonic() - began,
            )
            rows.append(row)
            write(row)
            say(f"{network.name} {row}")
            state.save(rows)
    state.choose_best()
    return rows


def _optimizer(network: Network, training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "adam":
        return torch.optim.Adam(
            network.parameters(),
            lr=training.learning_rate,
            betas=(training.momentum, 0.999),
            weight_decay=training.weight_decay,
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )


def _parted(store: SampleStore, held_out: float, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Which samples are learned (N,), and indices of those held out: all samples of a share of the pictures."""
    sources = store.sources()
    draws = np.random.default_rng([seed, 0]).random(int(sources.max(initial=0)) + 1)
    apart = draws[sources] < held_out
    return ~apart, np.flatnonzero(apart)


def _run_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    store: SampleStore,
    mix: Mix,
    training: Training,
    epoch: int,
    seed: int,
    device: torch.device,
) -> tuple[float, float, float, float]:
    """Learns, and returns the mean losses: the objective's, face, box, landmarks."""
    network.train()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    first = (epoch - 1) * training.batches
    for step in range(first, first + training.batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, step)
        images, targets = _load(store, mix.batch(step), device)
        pixels, boxes, landmarks = augment(images, targets.boxes, targets.landmarks, training.augmentation, generator)
        crops = normalised(pixels).contiguous(memory_format=torch.channels_last)
        with _precision(training, device):
            outputs = network(crops)
        losses = multitask_loss(
            outputs, Targets(targets.kinds, boxes, landmarks), training.task_weights, training.hard_share
        )
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums += _values(losses)
    mean = (sums / training.batches).tolist()
    if not all(map(math.isfinite, mean)):
        raise ValueError(f"{network.name}: the loss is {mean[0]} in epoch {epoch}; a lower learning_rate may help")
    return mean[0], mean[1], mean[2], mean[3]


def _values(losses: Losses) -> torch.Tensor:
    return torch.stack([losses.total, losses.face, losses.box, losses.landmarks]).detach().double()


@torch.no_grad()
def _measure(network: Network, store: SampleStore, indices: np.ndarray[Any, Any], device: torch.device) -> Metrics:
    network.eval()
    metrics = Metrics(
        torch.zeros(3, dtype=torch.float64, device=device), torch.zeros(3, dtype=torch.int64, device=device)
    )
    for start in range(0, len(indices), _MEASURED):
        images, targets = _load(store, indices[start : start + _MEASURED], device)
        metrics = metrics + measure(network(normalised(images).contiguous(memory_format=torch.channels_last)), targets)
    return metrics


def _load(store: SampleStore, indices: np.ndarray[Any, Any], device: torch.device) -> tuple[torch.Tensor, Targets]:
    """Images uint8 (n, 3, s, s), and what they are."""
    samples = store.batch(indices)
    images, kinds, boxes, landmarks = (
        torch.from_numpy(array).to(device)
        for array in (samples.images, samples.kinds, samples.boxes, samples.landmarks)
    )
    return images.permute(0, 3, 1, 2), Targets(kinds, boxes, landmarks)


def _precision(training: Training, device: torch.device) -> AbstractContextManager[Any]:
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if training.mixed_precision == "bf16" or (training.mixed_precision == "auto" and has):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _has_stopped(rows: list[Epoch], patience: int | None) -> bool:
    """Whether so many epochs went by without a better recall."""
    return patience is not None and bool(rows) and len(rows) - _best(rows) >= patience


def _best(rows: list[Epoch]) -> int:
    """The epoch, from 1, of the greatest recall, the latest of equal ones; the last where none was measured."""
    return max(range(len(rows)), key=lambda i: (-1 if math.isnan(rows[i].recall) else rows[i].recall, i)) + 1


class _State:
    """The checkpoint of a run: the network after the last epoch and after the best, the optimizer, the log."""

    def __init__(
        self, path: Path, network: Network, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
    ) -> None:
        self._path, self._network, self._optimizer, self._settings = path, network, optimizer, settings
        self._best: dict[str, torch.Tensor] | None = None

    def restore(self, device: torch.device) -> list[Epoch]:
        """Takes up an earlier run of the same settings, if there is one; its log."""
        if not self._path.exists():
            return []
        try:
            found = torch.load(self._path, map_location=device, weights_only=True)
        except Exception as error:  # unpickling raises what it likes
            raise ValueError(f"{self._path} is damaged: {error}") from error
        differing = [key for key in self._settings if found["settings"].get(key) != self._settings[key]]
        if differing:
            changes = ", ".join(f"{k} is {self._settings[k]}, was {found['settings'].get(k)}" for k in differing)
            raise ValueError(f"{self._path} is of a run with other settings ({changes}); start anew in another folder")
        self._network.load_state_dict(found["network"])
        self._optimizer.load_state_dict(found["optimizer"])
        self._best = found["best"]
        return [Epoch(**row) for row in found["log"]]

    def save(self, rows: list[Epoch]) -> None:
        if _best(rows) == len(rows):
            self._best = {key: value.detach().clone() for key, value in self._network.state_dict().items()}
        part = self._path.with_suffix(".part")
        document = {
            "settings": self._settings,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "log": [asdict(row) for row in rows],
        }
        torch.save(document, part)
        part.replace(self._path)

    def choose_best(self) -> None:
        if self._best is not None:
            self._network.load_state_dict(self._best)


class _Log(AbstractContextManager[Callable[[Epoch], None]]):
    """Writes each epoch to log.csv, and to TensorBoard's files where it is installed."""

    def __init__(self, folder: Path, rows: list[Epoch]) -> None:
        # Anew with the rows of the checkpoint: a run may have been cut off between the two.
        self._file = (folder / "log.csv").open("w", newline="")
        self._csv = csv.DictWriter(self._file, [field.name for field in fields(Epoch)])
        self._csv.writeheader()
        for row in rows:
            self._csv.writerow(asdict(row))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder), purge_step=len(rows) + 1)

    def __enter__(self) -> Callable[[Epoch], None]:
        return self._write

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._board:
            self._board.close()

    def _write(self, row: Epoch) -> None:
        values = asdict(row)
        self._csv.writerow(values)
        self._file.flush()
        if self._board:
            for name, value in values.items():
                if name != "epoch" and not math.isnan(value):
                    self._board.add_scalar(name, value, row.epoch)
