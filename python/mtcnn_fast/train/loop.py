"""Training one network: epochs, their log, checkpoints that resume to the same result.

Everything random follows from the seed and the number of the step or epoch, so that a run cut off after an epoch and
started again does what it would have done: on a CPU, with the same PyTorch and as many threads. (On a GPU, cuDNN may
choose convolutions that add up in any order, unless torch.backends.cudnn.deterministic is set: PyTorch's notes on
reproducibility.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtcnn_fast.console import console
from mtcnn_fast.train.augment import augment
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
from mtcnn_fast.train.schedule import Mix, learning_rate
from mtcnn_fast.weights import weights_digest
from mtcnn_fast.writing import check_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.train.config import Training
    from mtcnn_fast.train.samples import SampleStore
    from mtcnn_fast.train.validation import Recall

# Held-out samples measured at a time.
_MEASURED = 1024


def fit(
    network: Network,
    store: SampleStore,
    training: Training,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    recall: Callable[[Network], Recall] | None = None,
    recall_settings: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = console.say,
) -> list[Epoch]:
    """Trains the network in place, on the device, and leaves it there with the weights of the epoch to keep: the best
    by `recall`, or the last where `training` says so or there is no `recall`. Returns the log, which is also in
    `folder`: log.csv, and TensorBoard's where that is installed; checkpoint.pt is what a run that was cut off goes on
    from.

    recall_settings: what `recall` depends on beside the network, in JSON's types: recalls of other pictures, or of
    another cascade, cannot be compared.

    A run may go on with another number of `epochs`, a finished one too, and another `patience`: the learning rates of
    the epochs to come are those of the schedule as it is.

    Raises ValueError for a checkpoint of other settings or one that is damaged, for samples without negatives or
    positives that the mix asks for, and for a loss that is not finite; OSError for a folder that cannot be written to.
    """
    check_folder(folder)
    settings = {
        # What is kept in the end can be decided again when the run is over.
        **training.model_dump(mode="json", exclude={"keep"}),
        "seed": seed,
        "samples": len(store),
        "network": network.name,
        "start": weights_digest({key: tensor.numpy(force=True) for key, tensor in network.state_dict().items()}),
        "recall": dict(recall_settings) if recall_settings is not None else None,
    }
    # On CPUs, convolutions are faster with channels last: 1.4 times in R-Net, 1.05 in O-Net.
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    optimizer = _optimizer(network, training)
    taken, held_out = _parted(store, training.held_out, seed)
    _check_kinds(network, store.kinds[taken], training.mix, say)
    mix = Mix(store.kinds, taken, training.mix, training.batch_size, seed)
    checkpoint = Checkpoint(folder / "checkpoint.pt", network, optimizer, settings)
    rows, changed = checkpoint.restore(device)
    if rows:
        over = len(rows) >= training.epochs or has_stopped(rows, training.patience)
        told = ", ".join(changed) + "; the learning rate is that of the new schedule" * (not over)
        what = "finished" if over else "going on"
        say(f"{network.name}: {what} after epoch {rows[-1].epoch}{f' ({told})' if changed else ''}")

    with Log(folder, rows) as write:
        for epoch in range(len(rows) + 1, training.epochs + 1):
            if has_stopped(rows, training.patience):
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
            checkpoint.save(rows)
    if training.keep == "best":
        checkpoint.choose_best()
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


def _parted(store: SampleStore, held_out: float, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which samples are learned, (N,), and the indices of those held out: all samples of a share of the pictures."""
    sources = store.sources()
    draws = np.random.default_rng([seed, 0]).random(int(sources.max(initial=0)) + 1)
    apart = draws[sources] < held_out
    return ~apart, np.flatnonzero(apart)


def _check_kinds(network: Network, kinds: NDArray[np.int8], mix: tuple[float, ...], say: Callable[[str], None]) -> None:
    """Tells of kinds that the mix asks for and that no sample is of. Raises ValueError for faces and background."""
    counts = np.bincount(kinds, minlength=len(KINDS))
    missing = [kind for kind, share in enumerate(mix) if share and not counts[kind]]
    for kind in missing:
        if kind in FACE_KINDS:
            had = ", ".join(f"{n} {name}" for n, name in zip(counts, KINDS, strict=True))
            raise ValueError(f"{network.name}: no {KINDS[kind]} samples to learn from; there are {had}")
        say(f"{network.name}: there are no {KINDS[kind]} samples; batches are of the others")


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
    """Learns, and returns the mean losses: the objective's, face, box, landmarks; NaN of a task without samples."""
    network.train()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    first = (epoch - 1) * training.batches
    for step in range(first, first + training.batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, step)
        images, targets = _load(store, mix.batch(step), device)
        pixels, boxes, landmarks = augment(images, targets.boxes, targets.landmarks, training.augmentation, generator)
        crops = normalise(pixels).contiguous(memory_format=torch.channels_last)
        with _precision(training, device):
            outputs = network(crops)
        losses = multitask_loss(
            outputs, Targets(targets.kinds, boxes, landmarks), training.task_weights, training.hard_share
        )
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums += _values(losses)
    means = (sums / training.batches).tolist()
    total = float(means[0])
    if not math.isfinite(total):
        raise ValueError(f"{network.name}: the loss is {total} in epoch {epoch}; a lower learning_rate may help")
    face, box, points = (
        float(mean) if any(kind in mix.counts for kind in kinds) else math.nan
        for mean, kinds in zip(means[1:], (FACE_KINDS, BOX_KINDS, LANDMARK_KINDS), strict=True)
    )
    return total, face, box, points


def _values(losses: Losses) -> torch.Tensor:
    return torch.stack([losses.total, losses.face, losses.box, losses.landmarks]).detach().double()


@torch.no_grad()
def _measure(network: Network, store: SampleStore, indices: NDArray[np.intp], device: torch.device) -> Metrics:
    network.eval()
    metrics = Metrics(
        torch.zeros(3, dtype=torch.float64, device=device), torch.zeros(3, dtype=torch.int64, device=device)
    )
    for start in range(0, len(indices), _MEASURED):
        images, targets = _load(store, indices[start : start + _MEASURED], device)
        metrics = metrics + measure(network(normalise(images).contiguous(memory_format=torch.channels_last)), targets)
    return metrics


def _load(store: SampleStore, indices: NDArray[np.intp], device: torch.device) -> tuple[torch.Tensor, Targets]:
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
