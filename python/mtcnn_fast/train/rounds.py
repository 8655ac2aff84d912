"""A chain of runs in one configuration: each starts from the networks of the one before, and mines with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtcnn_fast import toml_files
from mtcnn_fast.checks import described
from mtcnn_fast.console import console
from mtcnn_fast.train import NETWORK_NAMES, pipeline
from mtcnn_fast.train.complaints import unknown_setting
from mtcnn_fast.train.config import checked_config, with_defaults
from mtcnn_fast.train.plan import plan
from mtcnn_fast.writing import check_destination, check_folder, write_whole

if TYPE_CHECKING:
    from mtcnn_fast.datasets import Problems
    from mtcnn_fast.train.config import Config
    from mtcnn_fast.train.run_options import RunOptions

_KEYS = ("networks", *NETWORK_NAMES)


@dataclass(frozen=True, slots=True)
class Round:
    """One run of a chain."""

    networks: tuple[str, ...]
    """The networks that learn."""
    config: Config


def read_rounds(path: Path) -> list[Round]:
    """The rounds of a configuration, a TOML file in UTF-8 or UTF-16; one of all networks if it has no `[[rounds]]`.

    A round has `networks`, and tables of settings that differ from those of the configuration. Raises OSError, or
    ValueError with one line per error.
    """
    table = toml_files.read(path, "train")
    rounds = table.pop("rounds", None)
    common = checked_config(table, path)
    if rounds is None:
        return [Round(NETWORK_NAMES, common)]
    if not isinstance(rounds, list) or not rounds:
        raise ValueError(f"{path}: rounds is {described(rounds)}; wanted tables [[rounds]] with networks")
    return [_round(number, row, table, path) for number, row in enumerate(rounds, 1)]


def _round(number: int, row: Any, table: dict[str, Any], path: Path) -> Round:
    place = f"{path}: rounds #{number}"
    if not isinstance(row, dict):
        raise ValueError(f"{place} is {described(row)}; wanted a table with networks")
    for key in row:
        if key not in _KEYS:
            raise ValueError(f"{place}: {unknown_setting(key, _KEYS)}")
    names = row.get("networks")
    if not isinstance(names, list) or not names or not all(name in NETWORK_NAMES for name in names):
        raise ValueError(f"{place}: networks is {names!r}; wanted a list of some of {', '.join(NETWORK_NAMES)}")
    own = {key: value for key, value in row.items() if key != "networks"}
    config = checked_config(with_defaults(own, table), path, f"configuration of rounds #{number}")
    return Round(tuple(name for name in NETWORK_NAMES if name in names), config)


def train_rounds(
    rounds: Sequence[Round],
    folder: Path,
    names: Sequence[str] = NETWORK_NAMES,
    *,
    device: str = "auto",
    options: RunOptions | None = None,
    say: Callable[[str], None] = console.say,
) -> Path | None:
    """Trains a chain, or goes on with it. Arguments, results and errors are those of `pipeline.train`.

    A single round is a run in the folder itself. Several have the folders `round-1`, `round-2`, ...; the weights of the
    last are also in the folder itself. Rounds name their networks: `names` must be all.
    """
    if len(rounds) == 1:
        names = _of_one(rounds[0], names)
        return pipeline.train(rounds[0].config, folder, names, device=device, options=options, say=say)
    _check_names(names)
    check_folder(folder)
    check_destination(folder / pipeline.WEIGHTS)
    weights: Path | None = None
    for number, one in enumerate(rounds, 1):
        say(_title(number, rounds))
        place = _folder(folder, number)
        config = _config(one, weights)
        weights = pipeline.train(config, place, one.networks, device=device, options=options, say=say)
        if weights is None:
            lacking = ", ".join(name for name in NETWORK_NAMES if name not in one.networks)
            raise ValueError(f"round {number} leaves out {lacking}, which a start from scratch lacks; wanted all three")
    assert weights is not None
    write_whole(folder / pipeline.WEIGHTS, weights.read_bytes())
    return folder / pipeline.WEIGHTS


def plan_rounds(
    rounds: Sequence[Round],
    folder: Path,
    names: Sequence[str] = NETWORK_NAMES,
    *,
    device: str = "auto",
    say: Callable[[str], None],
    problems: Problems,
) -> None:
    """Says what `train_rounds` would do. Arguments and errors are those of `plan.plan`."""
    if len(rounds) == 1:
        names = _of_one(rounds[0], names)
        return plan(rounds[0].config, folder, names, device=device, say=say, problems=problems)
    _check_names(names)
    weights: Path | None = None
    for number, one in enumerate(rounds, 1):
        say(_title(number, rounds))
        config = _config(one, weights)
        if weights is not None and not weights.exists():
            say(f"{weights} is not there yet; the embedded networks stand in for it here")
            config = one.config.model_copy(update={"start": "embedded"})
        sets = number == 1  # which all rounds share
        plan(config, _folder(folder, number), one.networks, device=device, say=say, problems=problems, sets=sets)
        weights = _folder(folder, number) / pipeline.WEIGHTS
    say(f"output: {folder / pipeline.WEIGHTS}, that of the last round")
    return None


def _of_one(one: Round, names: Sequence[str]) -> Sequence[str]:
    """The networks of a single round. One that names all may stand for a configuration without rounds."""
    if one.networks == NETWORK_NAMES:
        return names
    _check_names(names)
    return one.networks


def _check_names(names: Sequence[str]) -> None:
    if tuple(names) != NETWORK_NAMES:
        raise ValueError(f"the configuration has rounds, which name their networks; wanted all, not {', '.join(names)}")


def _folder(folder: Path, number: int) -> Path:
    return folder / f"round-{number}"


def _title(number: int, rounds: Sequence[Round]) -> str:
    return f"round {number} of {len(rounds)}: {', '.join(rounds[number - 1].networks)}"


def _config(one: Round, weights: Path | None) -> Config:
    return one.config if weights is None else one.config.model_copy(update={"start": weights})
