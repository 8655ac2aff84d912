"""From annotated pictures to networks: samples, training, and the weight file, network by network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mtcnn_fast import MTCNN, __version__
from mtcnn_fast.annotations import Problems, read
from mtcnn_fast.train import loop, networks, validation
from mtcnn_fast.train.generate import Source, generate
from mtcnn_fast.train.mining import mine
from mtcnn_fast.weights import Weights, embedded_weights, load_weights

if TYPE_CHECKING:
    from mtcnn_fast.train import config as settings
    from mtcnn_fast.train.networks import Network
    from mtcnn_fast.train.samples import SampleStore

NETWORKS = tuple(networks.NETWORKS)
WEIGHTS = "mtcnn.safetensors"


def train(
    config: settings.Config,
    folder: Path,
    wanted: Sequence[str] = NETWORKS,
    *,
    device: str = "auto",
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], None] = print,
    problems: Problems | None = None,
) -> Path | None:
    """Trains the networks wanted, each with samples that those before it find, or goes on where a run was cut off.

    In the folder: for each network `NAME/samples`, `NAME/log.csv`, `NAME/checkpoint.pt` and its tensors in
    `NAME.safetensors`; and `mtcnn.safetensors` for `MTCNN(weights=...)`, whose path is returned, once all three are
    there: trained in this folder, or else what the configuration starts from.

    device: of PyTorch; "auto": a GPU if it has one. workers: threads that make samples. Pictures and rows that cannot
    be used go to `problems`. Raises ValueError for settings that differ from those of the run in the folder, and for a
    network before the wanted ones that is nowhere.
    """
    problems = Problems() if problems is None else problems
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    start = _start(config)
    for name in NETWORKS:
        if name not in wanted:
            continue
        training: settings.Training = getattr(config, name)
        network = networks.network(name, config.seed)
        if start is not None:
            networks.load(network, start)
        before = _networks_before(name, folder, start)
        say(f"{name}: making samples")
        store = _samples(config, name, before, folder / name / "samples", workers, progress, problems)
        say(f"{name}: {store!r}")
        loop.fit(
            network,
            store,
            training,
            seed=config.seed,
            folder=folder / name,
            device=place,
            recall=_recall(config, name, before, problems) if config.validation else None,
            say=say,
        )
        networks.save(_own(folder, name), networks.export({name: network.cpu()}))
    return _assemble(config, folder, start)


def _start(config: settings.Config) -> Weights | None:
    if config.start == "scratch":
        return None
    return embedded_weights() if config.start == "embedded" else load_weights(config.start)


def _own(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _networks_before(name: str, folder: Path, start: Weights | None) -> Weights:
    """The tensors of the networks that come before, trained in the folder or else as the run starts."""
    tensors: Weights = {}
    for before in NETWORKS[: NETWORKS.index(name)]:
        if _own(folder, before).exists():
            tensors |= load_weights(_own(folder, before)) or {}
        elif start is not None:
            tensors |= {key: tensor for key, tensor in start.items() if key.startswith(f"{before}.")}
        else:
            raise ValueError(f"{name} needs {before}, which is not in {folder}; train {before} first")
    return tensors


def _sources(wanted: Sequence[settings.Source], problems: Problems) -> list[Source]:
    return [
        Source(
            read(source.annotations, source.format, images=source.images, only=source.only, problems=problems),
            source.complete,
            source.expand,
        )
        for source in wanted
    ]


def _samples(
    config: settings.Config,
    name: str,
    before: Weights,
    folder: Path,
    workers: int | None,
    progress: bool,
    problems: Problems,
) -> SampleStore:
    training: settings.Training = getattr(config, name)
    sources, size = _sources(config.sources, problems), networks.NETWORKS[name].size
    if training.mining is None:
        return generate(
            sources, folder, size, training.windows, config.seed, workers, progress=progress, problems=problems
        )
    mining = training.mining
    detector = MTCNN(
        device="cpu",
        channel_order="bgr",
        min_face_size=mining.min_face_size,
        scale_factor=mining.scale_factor,
        thresholds=(*mining.thresholds, 0),
        # Networks that do not exist yet are not asked.
        weights={**embedded_weights(), **before},
        num_threads=1,
    )
    return mine(
        sources,
        folder,
        size,
        detector,
        name,
        training.windows,
        mining.limits,
        config.seed,
        workers,
        progress=progress,
        problems=problems,
    )


def _recall(
    config: settings.Config, name: str, before: Weights, problems: Problems
) -> Callable[[Network], validation.Recall]:
    training: settings.Training = getattr(config, name)
    known = [
        validation.Picture(annotation, source.complete)
        for source in _sources(config.validation, problems)
        for annotation in source.annotations
    ]
    # What the networks before let through is what this one is judged on; of its own scores all are wanted.
    mining, place = training.mining or config.rnet.mining, NETWORKS.index(name)
    assert mining is not None
    thresholds = [mining.thresholds[i] if i < place else validation.LEAST_SCORE for i in range(len(NETWORKS))]

    def measure(network: Network) -> validation.Recall:
        nonlocal problems
        detector = MTCNN(
            device="cpu",
            channel_order="bgr",
            min_face_size=mining.min_face_size,
            scale_factor=mining.scale_factor,
            thresholds=thresholds,
            weights={**embedded_weights(), **before, **networks.export({name: network})},
        )
        result = validation.measure_recall(detector, name, known, training.false_positives, problems)
        problems = Problems(limit=0)  # after the next epoch they are the same
        return result

    return measure


def _assemble(config: settings.Config, folder: Path, start: Weights | None) -> Path | None:
    tensors: Weights = dict(start or {})
    trained = [name for name in NETWORKS if _own(folder, name).exists()]
    for name in trained:
        tensors |= load_weights(_own(folder, name)) or {}
    if any(not any(key.startswith(f"{name}.") for key in tensors) for name in NETWORKS):
        return None
    made_by = {
        "networks": trained,
        "start": config.start if config.start in ("scratch", "embedded") else "another weight file",
        "seed": config.seed,
        "mtcnn_fast": __version__,
    }
    # Under one key, because safetensors writes several in another order each time.
    networks.save(folder / WEIGHTS, tensors, {"training": json.dumps(made_by)})
    return folder / WEIGHTS
