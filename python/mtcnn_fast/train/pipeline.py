"""The training run: samples, training and the weight file, network by network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from mtcnn_fast import MTCNN, __version__
from mtcnn_fast.console import console
from mtcnn_fast.train import NETWORK_NAMES, loop, networks, validation
from mtcnn_fast.train.calibration import calibration, fold
from mtcnn_fast.train.generate import generate
from mtcnn_fast.train.mining import mine
from mtcnn_fast.train.record import set_aside
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import LANDMARK, OtherSamplesError, mend
from mtcnn_fast.weights import Weights, embedded_weights, load_weights, weights_digest
from mtcnn_fast.writing import check_destination, check_folder, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.datasets import Problems
    from mtcnn_fast.train import config as settings
    from mtcnn_fast.train.networks import Network
    from mtcnn_fast.train.samples import SampleStore

WEIGHTS = "mtcnn.safetensors"
CHECKPOINT = "checkpoint.pt"
CALIBRATION = "calibration.json"
SAMPLES = "samples"


def train(
    config: settings.Config,
    folder: Path,
    names: Sequence[str] = NETWORK_NAMES,
    *,
    device: str = "auto",
    options: RunOptions | None = None,
    say: Callable[[str], None] = console.say,
) -> Path | None:
    """Trains the named networks, each with samples that those before it find, or goes on where a run was interrupted.

    The folder gets, for each network, `NAME/samples`, `NAME/log.csv`, `NAME/checkpoint.pt` and its tensors in
    `NAME.safetensors`; if its scores are calibrated, also `NAME/calibration.json`. Once all three networks are there,
    trained in this folder or else as the configuration starts from them, it also gets `mtcnn.safetensors` for
    `MTCNN(weights=...)`, whose path is returned; else None.

    device: of PyTorch: "auto" (a GPU if it has one), "cpu", "cuda" or "cuda:N". options: None: `RunOptions()`; `retry`
    is decided per network. say: takes a line of progress.

    Damaged shards of samples are made anew. A damaged checkpoint is set aside, and its network is trained anew.
    Pictures that could not be used by an earlier run are tried again, until a network has learned from the others.

    Raises ValueError for settings that differ from those of the run in the folder, for a network before the named ones
    that is nowhere, for pictures that give nothing to learn or to measure, and for a device that PyTorch lacks; OSError
    for a file that cannot be read or written, before the first picture is read if the folder cannot.
    """
    options = options or RunOptions()
    beginning = prepare(config, folder, names, device)
    _check_output(folder, beginning.networks)
    for name, network in beginning.networks.items():
        training: settings.Training = getattr(config, name)
        before = networks_before(name, folder, beginning.weights)
        pictures = _validation_pictures(config, options.problems)
        recall = _recall_of(config, name, before, pictures, options) if pictures else None
        for file, damage in mend(folder / name / SAMPLES):
            say(f"{name}: {file} is damaged: {damage}; its samples are made anew")
        if note := set_aside(folder / name / CHECKPOINT):
            say(f"{name}: {note}")
        if warning := random_head(name, training, beginning.weights):
            say(f"{name}: {warning}")
        say(f"{name}: making samples")
        has_learned = (folder / name / CHECKPOINT).exists()
        try:
            store = _samples(config, name, before, folder, replace(options, retry=not has_learned))
        except OtherSamplesError as error:
            # The networks after this one were mined with it.
            folders = [folder / later for later in NETWORK_NAMES[NETWORK_NAMES.index(name) :]]
            stale = " and ".join(str(path) for path in folders if path.exists())
            raise ValueError(f"{name}: {error}; to make them anew, remove {stale}") from error
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
            device=beginning.device,
            recall=recall,
            shares=_shares(config),
            teacher=_teacher(name, beginning.weights) if training.distillation else None,
            say=say,
        )
        network.cpu()
        # A finished run can be told to leave the scores as they are: no earlier map may seem to be in its weights.
        (folder / name / CALIBRATION).unlink(missing_ok=True)
        if training.calibrate:
            _calibrate(config, network, before, pictures, options, folder / name / CALIBRATION, say)
        networks.save(_network_file(folder, name), networks.export({name: network}))
    return _assemble(config, folder, beginning.weights)


class Beginning(NamedTuple):
    """The state that a run begins with."""

    device: torch.device
    weights: Weights | None
    """The weights that the networks start from; None: random ones."""
    networks: dict[str, Network]
    """The networks to train, in the order of the cascade, before their training."""


def prepare(config: settings.Config, folder: Path, names: Sequence[str], device: str) -> Beginning:
    """Checks the arguments of `train`, and loads the weights to start from. Writes nothing. Raises as `train`."""
    unknown = [name for name in names if name not in NETWORK_NAMES]
    if unknown or isinstance(names, str) or not names:
        raise ValueError(f"names is {names!r}; wanted a sequence of some of {', '.join(NETWORK_NAMES)}")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is there, and is not a folder")
    checked_device = _device(device)
    weights = _start(config)
    untrained = {name: networks.network(name, config.seed) for name in NETWORK_NAMES if name in names}
    if weights is not None:
        for name, network in untrained.items():
            if not _tensors_of(name, weights):
                raise ValueError(f"{config.start} has no {name} to start from")
            networks.load(network, weights)
    return Beginning(checked_device, weights, untrained)


def random_head(name: str, training: settings.Training, start: Weights | None) -> str | None:
    """A warning of a network that would learn landmarks above trained layers, with a head of random weights."""
    has_head = start is None or any(key.startswith(f"{name}.landmarks.") for key in start)
    if has_head or not (training.mix[LANDMARK] and training.task_weights.landmarks):
        return None
    mix = [f"{share:g}" for share in training.mix[:LANDMARK]]
    return (
        "the weights to start from have no landmark head, and a random one pulls at the other layers; "
        f"mix = [{', '.join(mix)}, 0] leaves it out"
    )


def _check_output(folder: Path, names: Iterable[str]) -> None:
    """Tries whether the folder and the files in it can be written. Raises OSError that names the one that cannot."""
    check_folder(folder)
    for name in names:
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
    """The weights that the networks start from, checked. Networks may be missing."""
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
    """The tensors of one network, as the detector takes them; none if the weights do not have it."""
    if not any(key.startswith(f"{name}.") for key in weights):
        return {}
    network = networks.network(name)
    networks.load(network, weights)
    return networks.export({name: network})


def _network_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _trained_or_start(name: str, folder: Path, start: Weights | None) -> Weights:
    """The tensors of a network: trained in the folder, or else as the run starts; none if they are nowhere."""
    path = _network_file(folder, name)
    return _tensors_of(name, (load_weights(path) if path.exists() else start) or {})


def networks_before(name: str, folder: Path, start: Weights | None, but: Collection[str] = ()) -> Weights:
    """The tensors of the networks before one, except those in `but`. Raises ValueError for one that is nowhere."""
    tensors: Weights = {}
    for before in (before for before in NETWORK_NAMES[: NETWORK_NAMES.index(name)] if before not in but):
        network = _trained_or_start(before, folder, start)
        if not network:
            otherwise = "" if start is None else ", or start from a file that has it"
            raise ValueError(f"{name} needs {before}, which is not in {folder}; train {before} first{otherwise}")
        tensors |= network
    return tensors


def _samples(config: settings.Config, name: str, before: Weights, folder: Path, options: RunOptions) -> SampleStore:
    training: settings.Training = getattr(config, name)
    sources = [table.annotated_set() for table in config.sources]
    store, size = folder / name / SAMPLES, networks.NETWORK_CLASSES[name].size
    mining = training.mining
    if mining is None:
        return generate(sources, store, size=size, recipe=training.windows, seed=config.seed, options=options)
    # The networks after those that mine are not asked. Each worker has a picture of its own.
    detector = _cascade(mining, (*mining.thresholds, 0), before, 1)
    return mine(
        sources,
        store,
        size=size,
        detector=detector,
        network=name,
        recipe=training.windows,
        limits=mining.limits,
        seed=config.seed,
        options=options,
    )


def _shares(config: settings.Config) -> NDArray[np.float64] | None:
    """(sources, kinds): the shares of the sources; None if they have none."""
    shares = [table.shares() for table in config.sources]
    return None if None in shares else np.array(shares, np.float64)


def _teacher(name: str, start: Weights | None) -> Network:
    """The network whose probabilities are learned: the one that the run starts from, or the embedded one."""
    teacher = networks.network(name)
    networks.load(teacher, embedded_weights() if start is None else start)
    return teacher


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


def _validation_pictures(config: settings.Config, problems: Problems) -> list[validation.ValidationPicture]:
    """The pictures of the validation sets; none if the configuration has no such sets."""
    pictures = [
        picture for table in config.validation for picture in validation.pictures(table.annotated_set(), problems)
    ]
    if config.validation:
        check_measurable(pictures)
    return pictures


def _recall_of(
    config: settings.Config,
    name: str,
    before: Weights,
    pictures: list[validation.ValidationPicture],
    options: RunOptions,
) -> loop.RecallMeasure:
    """Measures the recall of a network, after the networks before it, on the validation pictures."""
    training: settings.Training = getattr(config, name)
    mining, place = _mining_of(config, name), NETWORK_NAMES.index(name)
    # This network is judged on the windows that those before it let through; of its own scores all are wanted.
    thresholds = (*mining.thresholds[:place], *validation.LEAST_SCORES[place:])

    def measure(network: Network) -> validation.Recall:
        detector = _cascade(mining, thresholds, before | networks.export({name: network}), options.workers)
        return validation.measure_recall(detector, name, pictures, training.false_positives, options.problems)

    return loop.RecallMeasure(
        measure=measure,
        settings={
            "pictures": validation.pictures_digest(pictures),
            "before": weights_digest(before),
            "min_face_size": mining.min_face_size,
            "scale_factor": mining.scale_factor,
            "thresholds": list(thresholds),
        },
    )


def _mining_of(config: settings.Config, name: str) -> settings.Mining:
    """The cascade in which a network is judged. P-Net is judged by the windows that R-Net would be given."""
    training: settings.Training = getattr(config, name)
    mining = training.mining or config.rnet.mining
    assert mining is not None
    return mining


def _calibrate(
    config: settings.Config,
    network: Network,
    before: Weights,
    pictures: list[validation.ValidationPicture],
    options: RunOptions,
    record: Path,
    say: Callable[[str], None],
) -> None:
    """Gives a network, behind those before it, the false positives of the embedded networks at default thresholds."""
    name, mining = network.name, _mining_of(config, network.name)
    place, defaults = NETWORK_NAMES.index(name), MTCNN(device="cpu").options["thresholds"]
    thresholds = (*defaults[:place], *validation.LEAST_SCORES[place:])

    def of_background(weights: Weights) -> NDArray[np.float32]:
        detector = _cascade(mining, thresholds, weights, options.workers)
        return validation.judge(detector, name, pictures, options.problems).of_background

    found = calibration(of_background(before | networks.export({name: network})), of_background({}), defaults[place])
    fold(network, found.scale, found.shift)
    write_whole(record, json.dumps(asdict(found), indent=1).encode() + b"\n")
    say(f"{name}: {found}")


def check_measurable(pictures: list[validation.ValidationPicture]) -> None:
    """Raises ValueError for pictures on which recall at a number of false positives cannot be measured."""
    if not any((~picture.annotation.ignored).any() for picture in pictures):
        raise ValueError(f"validation: the {len(pictures)} pictures have no labelled face")
    if not any(picture.complete for picture in pictures):
        raise ValueError(
            "validation: no picture is complete; unless all faces of a picture are labelled, no window can be called "
            "false"
        )
    if not any(map(is_there, pictures)):
        raise ValueError(
            f"validation: none of the {len(pictures)} pictures is there, such as {pictures[0].annotation.path}"
        )


def is_there(picture: validation.ValidationPicture) -> bool:
    """Whether the file of a picture exists."""
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
    # Under one key, because safetensors writes several keys in a random order.
    networks.save(folder / WEIGHTS, tensors, {"training": json.dumps(made_by)})
    return folder / WEIGHTS
