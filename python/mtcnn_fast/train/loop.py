"""Training one network: epochs, their log, checkpoints that resume to the same result.

All random numbers follow from the seed and the number of the step or epoch. So a run that is interrupted after an
epoch and started again ends with the same result, on a CPU with the same PyTorch and as many threads. (On a GPU, cuDNN
may choose convolutions that add up in any order, unless torch.backends.cudnn.deterministic is set: PyTorch's notes on
reproducibility.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtcnn_fast.console import console
from mtcnn_fast.train.augment import augment
from mtcnn_fast.train.average import WeightAverage
from mtcnn_fast.train.distillation import wanted_faces
from mtcnn_fast.train.losses import (
    BOX_KINDS,
    FACE_KINDS,
    LANDMARK_KINDS,
    Losses,
    Metrics,
    Targets,
    measure,
    multitask_loss,
)
from mtcnn_fast.train.networks import Network, normalise
from mtcnn_fast.train.record import Checkpoint, Epoch, Log, has_stopped
from mtcnn_fast.train.samples import KINDS
from mtcnn_fast.train.schedule import Balance, Mix
from mtcnn_fast.weights import weights_digest
from mtcnn_fast.writing import check_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.train.config import Training
    from mtcnn_fast.train.samples import SampleStore
    from mtcnn_fast.train.validation import Recall

_MEASURED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecallMeasure:
    """Measures the recall of a network on whole pictures."""

    measure: Callable[[Network], Recall]
    settings: Mapping[str, Any]
    """All that the recall depends on beside the network, in JSON's types. Recalls of other pictures, or of another
    cascade, cannot be compared."""


def fit(
    network: Network,
    store: SampleStore,
    training: Training,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    recall: RecallMeasure | None = None,
    shares: NDArray[np.float64] | None = None,
    teacher: Network | None = None,
    say: Callable[[str], None] = console.say,
) -> list[Epoch]:
    """Trains a network in place, on the device, and leaves it there with the weights of the epoch to keep: the best by
    `recall`, or the last if `training` asks for that or there is no `recall`.

    shares: (sets, kinds): of the samples of a kind in a batch, the shares of the sets; None: as their samples are.
    teacher: gives the verdict for `training.distillation`, which needs it.

    Returns the log. The folder gets it as log.csv, and in the files of TensorBoard where that is installed. It also
    gets checkpoint.pt, from which an interrupted run goes on. With `training.average`, the averaged weights are
    measured and kept, not those of the last step.

    A run, even a finished one, may go on with another number of `epochs` and another `patience`. The remaining epochs
    have the learning rates of the new schedule.

    Raises ValueError for a checkpoint of other settings or one that is damaged, for samples without negatives or
    positives that the mix asks for, and for a loss that is not finite; OSError for a folder that cannot be written to.
    """
    check_folder(folder)
    settings = {
        **training.of_learning(),
        "seed": seed,
        "samples": len(store),
        "network": network.name,
        "start": _digest(network),
        "recall": dict(recall.settings) if recall else None,
        "shares": None if shares is None else shares.tolist(),
        "teacher": None if teacher is None else _digest(teacher),
    }
    # On CPUs, convolutions are faster with channels last: 1.4 times in R-Net, 1.05 in O-Net.
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    is_held_out = _held_out(store, training.held_out, seed)
    balance = None if shares is None else Balance(store.sets(), shares)
    may_come = ~is_held_out if balance is None else ~is_held_out & balance.allows(store.kinds)
    _check_kinds(network, store.kinds[may_come], training.mix, say)
    average = WeightAverage(network, training.average) if training.average else None
    result = average.network if average else network
    optimizer = _optimizer(network, training)
    checkpoint = Checkpoint(folder / "checkpoint.pt", network, optimizer, settings, result)
    rows, changed = checkpoint.restore(device)
    over = len(rows) >= training.epochs or has_stopped(rows, training.patience)
    if rows:
        changes = ", ".join(changed) + "; the learning rate is that of the new schedule" * (not over)
        state = "finished" if over else "going on"
        say(f"{network.name}: {state} after epoch {rows[-1].epoch}{f' ({changes})' if changed else ''}")
    learner = _Learner(
        network=network,
        average=average,
        optimizer=optimizer,
        store=store,
        mix=Mix(store.kinds, may_come, training.mix, training.batch_size, seed, balance),
        faces=wanted_faces(store, teacher, training.distillation, device) if teacher and not over else None,
        held_out=np.flatnonzero(is_held_out),
        training=training,
        seed=seed,
        device=device,
    )

    rates = training.learning_rates()
    with Log(folder, rows) as write:
        for epoch in range(len(rows) + 1, training.epochs + 1):
            if has_stopped(rows, training.patience):
                break
            began = time.monotonic()
            mean = learner.learn(epoch)
            metrics = learner.measure(result)
            found = recall.measure(result) if recall else None
            row = Epoch(
                epoch,
                rates.at(epoch * training.batches - 1),
                *mean,
                metrics.accuracy,
                metrics.box_error,
                metrics.landmark_error,
                found.recall if found else math.nan,
                found.false_positives if found else math.nan,
                time.monotonic() - began,
            )
            rows.append(row)
            write(row)
            say(f"{network.name} {row}")
            checkpoint.save(rows)
    checkpoint.choose(training.keep)
    return rows


def _digest(network: Network) -> str:
    return weights_digest({key: tensor.numpy(force=True) for key, tensor in network.state_dict().items()})


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


def _held_out(store: SampleStore, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,): whether each sample is measured and not learned: all samples of a share of the pictures."""
    sources = store.sources()
    draws = np.random.default_rng([seed, 0]).random(int(sources.max(initial=0)) + 1)
    is_held_out: NDArray[np.bool_] = draws[sources] < share
    return is_held_out


def _check_kinds(network: Network, kinds: NDArray[np.int8], mix: tuple[float, ...], say: Callable[[str], None]) -> None:
    """Says which kinds of the mix have no samples. Raises ValueError if they are faces or background."""
    counts = np.bincount(kinds, minlength=len(KINDS))
    missing = [kind for kind, share in enumerate(mix) if share and not counts[kind]]
    for kind in missing:
        if kind in FACE_KINDS:
            had = ", ".join(f"{n} {name}" for n, name in zip(counts, KINDS, strict=True))
            raise ValueError(f"{network.name}: no {KINDS[kind]} samples to learn from; there are {had}")
        say(f"{network.name}: there are no {KINDS[kind]} samples; batches are of the other kinds")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learner:
    """A network that learns, with all that its epochs depend on."""

    network: Network
    average: WeightAverage | None
    optimizer: torch.optim.Optimizer
    store: SampleStore
    mix: Mix
    faces: NDArray[np.float32] | None
    """(N,): the wanted probability of a face for each sample, as in `Targets`."""
    held_out: NDArray[np.intp]
    """Indices of the samples to measure."""
    training: Training
    seed: int
    device: torch.device

    def learn(self, epoch: int) -> tuple[float, float, float, float]:
        """Runs an epoch. Returns the mean losses: the objective's, face, box, landmarks; NaN of a task without samples.

        Raises ValueError for a loss that is not finite.
        """
        self.network.train()
        training, rates = self.training, self.training.learning_rates()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        first = (epoch - 1) * training.batches
        for step in range(first, first + training.batches):
            for group in self.optimizer.param_groups:
                group["lr"] = rates.at(step)
            images, targets = self._load(self.mix.batch(step))
            pixels, boxes, landmarks = augment(
                images, targets.boxes, targets.landmarks, training.augmentation, generator
            )
            crops = normalise(pixels).contiguous(memory_format=torch.channels_last)
            with _precision(training, self.device):
                outputs = self.network(crops)
            losses = multitask_loss(
                outputs,
                targets._replace(boxes=boxes, landmarks=landmarks),
                training.task_weights,
                training.hard_share,
            )
            self.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            if self.average is not None:
                self.average.update(step)
            sums += _values(losses)
        means = (sums / training.batches).tolist()
        total = float(means[0])
        if not math.isfinite(total):
            raise ValueError(
                f"{self.network.name}: the loss is {total} in epoch {epoch}; a lower learning_rate may help"
            )
        face, box, points = (
            float(mean) if any(kind in self.mix.counts for kind in kinds) else math.nan
            for mean, kinds in zip(means[1:], (FACE_KINDS, BOX_KINDS, LANDMARK_KINDS), strict=True)
        )
        return total, face, box, points

    @torch.no_grad()
    def measure(self, network: Network) -> Metrics:
        """The errors of a network on the held-out samples."""
        network.eval()
        metrics = Metrics(
            torch.zeros(3, dtype=torch.float64, device=self.device),
            torch.zeros(3, dtype=torch.int64, device=self.device),
        )
        for start in range(0, len(self.held_out), _MEASURED_AT_ONCE):
            images, targets = self._load(self.held_out[start : start + _MEASURED_AT_ONCE])
            outputs = network(normalise(images).contiguous(memory_format=torch.channels_last))
            metrics = metrics + measure(outputs, targets)
        return metrics

    def _load(self, indices: NDArray[np.intp]) -> tuple[torch.Tensor, Targets]:
        """The images, uint8 (n, 3, s, s), and their targets, on the device."""
        samples = self.store.batch(indices)
        images, kinds, boxes, landmarks = (
            torch.from_numpy(array).to(self.device)
            for array in (samples.images, samples.kinds, samples.boxes, samples.landmarks)
        )
        faces = None if self.faces is None else torch.from_numpy(self.faces[indices]).to(self.device)
        return images.permute(0, 3, 1, 2), Targets(kinds, boxes, landmarks, faces)


def _values(losses: Losses) -> torch.Tensor:
    return torch.stack([losses.total, losses.face, losses.box, losses.landmarks]).detach().double()


def _precision(training: Training, device: torch.device) -> AbstractContextManager[Any]:
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if training.mixed_precision == "bf16" or (training.mixed_precision == "auto" and has):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
