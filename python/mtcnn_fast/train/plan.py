"""The dry run: `mtcnn-fast train --dry-run` says what a run would do."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtcnn_fast.datasets import Problems
from mtcnn_fast.train import NETWORK_NAMES, validation
from mtcnn_fast.train.pipeline import (
    CHECKPOINT,
    SAMPLES,
    WEIGHTS,
    check_measurable,
    is_there,
    networks_before,
    prepare,
    random_head,
)
from mtcnn_fast.train.record import changes, damage, has_stopped, read_checkpoint
from mtcnn_fast.train.teachers import Teachers, teachers_of

if TYPE_CHECKING:
    from mtcnn_fast.train import config as settings


def plan(
    config: settings.Config,
    folder: Path,
    names: Sequence[str] = NETWORK_NAMES,
    *,
    device: str = "auto",
    say: Callable[[str], None],
    problems: Problems,
    sets: bool = True,
) -> None:
    """Says what `pipeline.train` would do. Reads annotations, but no picture, and writes nothing.

    sets: whether to read and describe the sets of pictures, too. Raises as `train` does, for what can be known before a
    picture is read.
    """
    beginning = prepare(config, folder, names, device)
    _check_place(folder)
    say(f"device: {beginning.device}, threads: {torch.get_num_threads()}")
    say(f"start: {config.start}, seed {config.seed}")
    if sets:
        if not _read("source", config.sources, say, problems):
            raise ValueError("the sources give no pictures")
        if config.validation:
            check_measurable(_read("validation", config.validation, say, problems))
    for name in beginning.networks:
        networks_before(name, folder, beginning.weights, but=beginning.networks)
        training: settings.Training = getattr(config, name)
        say(f"{name}: {_state(folder / name, training, config.seed)}")
        if warning := random_head(name, training, beginning.weights):
            say(f"{name}: {warning}")
        for line in _settings(training):
            say(f"  {line}")
    say(
        f"output: {folder / WEIGHTS}, once all three networks are there"
        + ("" if folder.exists() else " (a new folder)")
    )


def _check_place(folder: Path) -> None:
    """Raises OSError if the folder could not be made or written to, as far as that is known without trying."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is there, and is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _read(
    kind: str, tables: Sequence[settings.SetTable], say: Callable[[str], None], problems: Problems
) -> list[validation.ValidationPicture]:
    """The pictures of sets. Says a line about each set."""
    every = []
    sources = [table.annotated_set() for table in tables]
    for source, teachers in zip(sources, teachers_of(sources), strict=True):
        pictures = validation.pictures(source, problems)
        every += pictures
        faces = sum(len(picture.boxes) for picture in pictures)
        ignored = sum(int(picture.annotation.ignored.sum()) for picture in pictures)
        with_landmarks = sum(int(np.isfinite(picture.annotation.landmarks).all((1, 2)).sum()) for picture in pictures)
        complete = sum(picture.complete for picture in pictures)
        missing = [picture.annotation.path for picture in pictures if not is_there(picture)]
        lacking = f"; not there: {len(missing)}, such as {missing[0]}" if missing else ""
        scaled = f"; at scales {', '.join(map(str, source.scales))}" if tuple(source.scales) != (1,) else ""
        seen = "" if teachers is None else _seen(teachers, pictures)
        say(
            f"{kind} {source.name}: pictures: {len(pictures)}, with all faces labelled: {complete}; "
            f"faces: {faces}, with landmarks: {with_landmarks}, ignored: {ignored}{scaled}{seen}{lacking}"
        )
    return every


def _seen(teachers: Teachers, pictures: Sequence[validation.ValidationPicture]) -> str:
    count = sum(teachers.of(picture.annotation.path) is not None for picture in pictures)
    return f"; seen by {' and '.join(teachers.names) or 'teachers'}: {count}"


def _state(folder: Path, training: settings.Training, seed: int) -> str:
    """Whether a run begins anew, goes on or is finished. Raises ValueError if it would refuse to go on."""
    checkpoint = folder / CHECKPOINT
    if note := damage(checkpoint):
        return f"new, because {note}"
    if not checkpoint.exists():
        return "new, with samples of an earlier run" if (folder / SAMPLES / "samples.json").exists() else "new"
    earlier, rows, _ = read_checkpoint(checkpoint, torch.device("cpu"))
    current = {**training.of_learning(), "seed": seed}
    changed = changes(checkpoint, {key: value for key, value in earlier.items() if key in current}, current)
    new = f" ({', '.join(changed)})" if changed else ""
    over = len(rows) >= training.epochs or has_stopped(rows, training.patience)
    return f"{'finished' if over else 'going on'} after epoch {len(rows)} of {training.epochs}{new}"


def _settings(training: settings.Training) -> Iterator[str]:
    """The settings that have an effect, as lines of TOML."""
    without = {"milestones", "decay"} if training.schedule == "cosine" else set()
    for key, value in training.model_dump(mode="json", exclude=without).items():
        if value is not None:
            yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value)
