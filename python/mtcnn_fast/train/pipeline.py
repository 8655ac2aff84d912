"""From annotated pictures to networks: samples, training, and the weight file, network by network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from mtcnn_fast import MTCNN, __version__
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Problems
from mtcnn_fast.train import NETWORK_NAMES, loop, networks, validation
from mtcnn_fast.train.generate import generate
from mtcnn_fast.train.mining import mine
from mtcnn_fast.train.record import set_aside
from mtcnn_fast.train.samples import OtherSamplesError, mend
from mtcnn_fast.weights import Weights, embedded_weights, load_weights, weights_digest
from mtcnn_fast.writing import check_destination, check_folder

if TYPE_CHECKING:
    from mtcnn_fast.train import config as settings
    from mtcnn_fast.train.networks import Network
    from mtcnn_fast.train.samples import SampleStore

WEIGHTS = "mtcnn.safetensors"
CHECKPOINT = "checkpoint.pt"
SAMPLES = "samples"


def train(
    config: settings.Config,
    folder: Path,
    wanted: Sequence[str] = NETWORK_NAMES,
    *,
    device: str = "auto",
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], None] = console.say,
    problems: Problems | None = None,
) -> Path | None:
    """Trains the networks wanted, each with samples that those before it find, or goes on where a run was cut off.

    In the folder: for each network `NAME/samples`, `NAME/log.csv`, `NAME/checkpoint.pt` and its tensors in
    `NAME.safetensors`; and `mtcnn.safetensors` for `MTCNN(weights=...)`, whose path is returned, once all three are
    there: trained in this folder, or else what the configuration starts from.

    device: of PyTorch: "auto" (a GPU if it has one), "cpu", "cuda" or "cuda:N". workers: threads that make samples and
    measure recall. Pictures and rows that cannot be used go to `problems`, once however many networks learn from them.
    Damaged shards of samples are made anew; a damaged checkpoint is set aside, and its network trained anew.
    Pictures that could not be used by an earlier run are tried again, until a network has learned from the others.
    Raises ValueError for settings that differ from those of the run in the folder, for a network before the wanted ones
    that is nowhere, for pictures that give nothing to learn or to measure, and for a device that PyTorch lacks; OSError
    for a file that cannot be read or written, before the first picture is read if the folder cannot.
    """
    problems = Problems() if problems is None else problems
    place, start, untrained = prepared(config, folder, wanted, device)
    _check_output(folder, untrained)
    for name, network in untrained.items():
        training: settings.Training = getattr(config, name)
        before = networks_before(name, folder, start)
        measure, measured = _recall(config, name, before, workers, problems) if config.validation else (None, None)
        for file, what in mend(folder / name / SAMPLES):
            say(f"{name}: {file} is damaged: {what}; its samples are made anew")
        if told := set_aside(folder / name / CHECKPOINT):
            say(f"{name}: {told}")
        say(f"{name}: making samples")
        has_learned = (folder / name / CHECKPOINT).exists()
        try:
            store = _samples(config, name, before, folder, not has_learned, workers, progress, problems)
        except OtherSamplesError as error:
            # What comes after this network was mined with it.
            stale = [
                str(folder / after) for after in NETWORK_NAMES[NETWORK_NAMES.index(name) :] if (folder / after).exists()
            ]
            raise ValueError(f"{name}: {error}; to make them anew, remove {' and '.join(stale)}") from error
        if not len(store):
            lacking = f"; {store.unreadable} pictures could not be used" if store.unreadable else ""
            raise ValueError(f"{name}: the sources give no samples{lacking}")
        say(f"{name}: {store!r}")
        if has_learned and store.unreadable:
            say(
                f"{name}: pictures that could not be used ({store.unreadable}) are not tried again, because "
                f"{folder / name / CHECKPOINT} has learned from the others"
            )
        loop.fit(
            network,
            store,
            training,
            seed=config.seed,
            folder=folder / name,
            device=place,
            recall=measure,
            recall_settings=measured,
            say=say,
        )
        networks.save(_network_file(folder, name), networks.export({name: network.cpu()}))
        problems = Problems(limit=0)  # the next network reads the same
    return _assemble(config, folder, start)


class Prepared(NamedTuple):
    """What a run begins with."""

    device: torch.device
    start: Weights | None
    """What the networks start from; None: nothing."""
    untrained: dict[str, Network]
    """Those to train, in the order of the cascade, as they start."""


def prepared(config: settings.Config, folder: Path, wanted: Sequence[str], device: str) -> Prepared:
    """Checks the arguments of `train`, and loads what the networks start from; writes nothing. Raises as `train`."""
    unknown = [name for name in wanted if name not in NETWORK_NAMES]
    if unknown or isinstance(wanted, str) or not wanted:
        raise ValueError(f"wanted is {wanted!r}; it is to be a sequence of some of {', '.join(NETWORK_NAMES)}")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is there, and is not a folder")
    place = _device(device)
    start = _start(config)
    untrained = {name: networks.network(name, config.seed) for name in NETWORK_NAMES if name in wanted}
    if start is not None:
        for name, network in untrained.items():
            if not _tensors_of(name, start):
                raise ValueError(f"{config.start} has no {name} to start from")
            networks.load(network, start)
    return Prepared(place, start, untrained)


def _check_output(folder: Path, wanted: Iterable[str]) -> None:
    """Tries the folder and what an earlier run has left in it. Raises OSError that names what cannot be written."""
    check_folder(folder)
    for name in wanted:
        for inner in (folder / name, folder / name / SAMPLES):
            if inner.exists():
                check_folder(inner)
        check_destination(_network_file(folder, name))
    check_destination(folder / WEIGHTS)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; wanted auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        built = "" if torch.version.cuda else ", which is built without CUDA"
        raise ValueError(f"device is {name!r}; there are {count} CUDA devices for this PyTorch{built}")
    return device


def _start(config: settings.Config) -> Weights | None:
    """What the networks start from, checked; some may not be in it."""
    if config.start == "scratch":
        return None
    if config.start == "embedded":
        return embedded_weights()
    tensors = load_weights(config.start) or {}
    try:
        for name in NETWORK_NAMES:
            _tensors_of(name, tensors)
    except ValueError as error:
        raise ValueError(f"{config.start}: {error}") from error
    return tensors


def _tensors_of(name: str, weights: Weights) -> Weights:
    """One network's tensors, as the detector takes them; none if there is none of it."""
    if not any(key.startswith(f"{name}.") for key in weights):
        return {}
    network = networks.network(name)
    networks.load(network, weights)
    return networks.export({name: network})


def _network_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _trained_or_start(name: str, folder: Path, start: Weights | None) -> Weights:
    """A network's tensors, trained in the folder or else as the run starts; none if they are nowhere."""
    path = _network_file(folder, name)
    return _tensors_of(name, (load_weights(path) if path.exists() else start) or {})


def networks_before(name: str, folder: Path, start: Weights | None, but: Collection[str] = ()) -> Weights:
    """The tensors of the networks before one, but for some. Raises ValueError for one that is nowhere."""
    tensors: Weights = {}
    for before in (before for before in NETWORK_NAMES[: NETWORK_NAMES.index(name)] if before not in but):
        found = _trained_or_start(before, folder, start)
        if not found:
            otherwise = "" if start is None else ", or start from a file that has it"
            raise ValueError(f"{name} needs {before}, which is not in {folder}; train {before} first{otherwise}")
        tensors |= found
    return tensors


def _samples(
    config: settings.Config,
    name: str,
    before: Weights,
    folder: Path,
    retry: bool,
    workers: int | None,
    progress: bool,
    problems: Problems,
) -> SampleStore:
    training: settings.Training = getattr(config, name)
    learned = [source.annotated_set() for source in config.sources]
    size, store = networks.NETWORK_CLASSES[name].size, folder / name / SAMPLES
    if training.mining is None:
        return generate(
            learned,
            store,
            size,
            training.windows,
            config.seed,
            workers,
            progress=progress,
            problems=problems,
            retry=retry,
        )
    mining = training.mining
    # Networks that do not exist yet are not asked. Each worker has a picture of its own.
    detector = _cascade(mining, (*mining.thresholds, 0), before, 1)
    return mine(
        learned,
        store,
        size,
        detector,
        name,
        training.windows,
        mining.limits,
        config.seed,
        workers,
        progress=progress,
        problems=problems,
        retry=retry,
    )


def _cascade(
    mining: settings.Mining, thresholds: tuple[float, ...], weights: Weights, num_threads: int | None
) -> MTCNN:
    return MTCNN(
        device="cpu",
        min_face_size=mining.min_face_size,
        scale_factor=mining.scale_factor,
        thresholds=thresholds,
        weights={**embedded_weights(), **weights},
        num_threads=num_threads,
    )


def _recall(
    config: settings.Config, name: str, before: Weights, workers: int | None, problems: Problems
) -> tuple[Callable[[Network], validation.Recall], dict[str, Any]]:
    """What measures a network, and the settings that its recall depends on."""
    training: settings.Training = getattr(config, name)
    known = measurable(
        [picture for source in config.validation for picture in validation.pictures(source.annotated_set(), problems)]
    )
    # P-Net is judged by what R-Net would be given.
    mining, place = training.mining or config.rnet.mining, NETWORK_NAMES.index(name)
    assert mining is not None
    # What the networks before let through is what this one is judged on; of its own scores all are wanted.
    thresholds = (*mining.thresholds[:place], *validation.LEAST_SCORES[place:])

    def measure(network: Network) -> validation.Recall:
        nonlocal problems
        detector = _cascade(mining, thresholds, before | networks.export({name: network}), workers)
        result = validation.measure_recall(detector, name, known, training.false_positives, problems)
        problems = Problems(limit=0)  # after the next epoch they are the same
        return result

    return measure, {
        "pictures": validation.pictures_digest(known),
        "before": weights_digest(before),
        "min_face_size": mining.min_face_size,
        "scale_factor": mining.scale_factor,
        "thresholds": list(thresholds),
    }


def measurable(pictures: list[validation.ValidationPicture]) -> list[validation.ValidationPicture]:
    """The pictures, if recall at a number of false positives can be measured on them. Raises ValueError if not."""
    if not any((~picture.annotation.ignored).any() for picture in pictures):
        raise ValueError(f"validation: the {len(pictures)} pictures have no labelled face")
    if not any(picture.complete for picture in pictures):
        raise ValueError(
            "validation: no picture is complete; without all faces labelled, none found can be called false"
        )
    if not any(map(is_there, pictures)):
        raise ValueError(
            f"validation: none of the {len(pictures)} pictures is there, such as {pictures[0].annotation.path}"
        )
    return pictures


def is_there(picture: validation.ValidationPicture) -> bool:
    """Whether there is a file of a picture."""
    return os.path.isfile(picture.annotation.path)  # noqa: PTH113 # a Path raises for a name that no file can have


def _assemble(config: settings.Config, folder: Path, start: Weights | None) -> Path | None:
    parts = {name: _trained_or_start(name, folder, start) for name in NETWORK_NAMES}
    if not all(parts.values()):
        return None
    made_by = {
        "networks": [name for name in NETWORK_NAMES if _network_file(folder, name).exists()],
        "start": config.start if config.start in ("scratch", "embedded") else "another weight file",
        "seed": config.seed,
        "mtcnn_fast": __version__,
    }
    tensors = {key: tensor for part in parts.values() for key, tensor in part.items()}
    # Under one key, because safetensors writes several in another order each time.
    networks.save(folder / WEIGHTS, tensors, {"training": json.dumps(made_by)})
    return folder / WEIGHTS
