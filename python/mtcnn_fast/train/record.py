"""What a training run leaves behind: its epochs, their log, and the checkpoint that it goes on from."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mtcnn_fast.files import replacing

if TYPE_CHECKING:
    from mtcnn_fast.train.networks import Network


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
        tasks = _measured(("face", self.face_loss), ("box", self.box_loss), ("landmarks", self.landmark_loss))
        held_out = _measured(
            ("accuracy", self.accuracy), ("box error", self.box_error), ("landmark error", self.landmark_error)
        )
        parts = [f"epoch {self.epoch:3}", f"loss {self.loss:.4f} ({', '.join(tasks)})", *held_out]
        if not math.isnan(self.recall):
            parts.append(f"recall {self.recall:.4f} at {self.false_positives:.2f} false positives a picture")
        return ", ".join([*parts, f"{self.seconds:.0f} s"])


def _measured(*values: tuple[str, float]) -> list[str]:
    return [f"{name} {value:.4f}" for name, value in values if not math.isnan(value)]


def has_stopped(rows: list[Epoch], patience: int | None) -> bool:
    """Whether so many epochs went by without a better recall; never where none was measured."""
    ranks = _ranks(rows)
    return patience is not None and max(ranks, default=-1) >= 0 and len(rows) - 1 - ranks.index(max(ranks)) >= patience


def best_epoch(rows: list[Epoch]) -> int:
    """The epoch, from 1, of the greatest recall, the latest of equal ones; the last where none was measured."""
    ranks = _ranks(rows)
    return len(ranks) - ranks[::-1].index(max(ranks))


def _ranks(rows: list[Epoch]) -> list[float]:
    return [-1 if math.isnan(row.recall) else row.recall for row in rows]


class Checkpoint:
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
            settings, rows = dict(found["settings"]), [Epoch(**row) for row in found["log"]]
        except OSError:
            raise
        except Exception as error:  # unpickling raises what it likes
            raise ValueError(f"{self._path} is damaged, or no checkpoint: {error}") from error
        differing = sorted(k for k in settings | self._settings if settings.get(k) != self._settings.get(k))
        if differing:
            changes = ", ".join(f"{k} is {self._settings.get(k)}, was {settings.get(k)}" for k in differing)
            raise ValueError(f"{self._path} is of a run with other settings ({changes}); start anew in another folder")
        try:
            self._network.load_state_dict(found["network"])
            self._optimizer.load_state_dict(found["optimizer"])
            self._best = found["best"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self._path} is damaged: {error}") from error
        return rows

    def save(self, rows: list[Epoch]) -> None:
        if best_epoch(rows) == len(rows):
            self._best = {key: value.detach().clone() for key, value in self._network.state_dict().items()}
        document = {
            "settings": self._settings,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "log": [asdict(row) for row in rows],
        }
        with replacing(self._path) as file:
            torch.save(document, file)

    def choose_best(self) -> None:
        if self._best is not None:
            self._network.load_state_dict(self._best)


class Log(AbstractContextManager[Callable[[Epoch], None]]):
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
