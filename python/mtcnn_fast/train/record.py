"""The record of a training run: its epochs, their log, and the checkpoint from which the run goes on."""

from __future__ import annotations

import csv
import io
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from mtcnn_fast.run_settings import differences
from mtcnn_fast.writing import naming, write_whole

if TYPE_CHECKING:
    from mtcnn_fast.train.networks import Network


@dataclass(frozen=True, slots=True)
class Epoch:
    """A row of the log. Losses and errors are means; NaN if nothing was measured."""

    epoch: int
    learning_rate: float
    loss: float
    face_loss: float
    box_loss: float
    landmark_loss: float
    accuracy: float
    """The share of faces and background told apart. Like the next two, of held-out samples, which are not learned."""
    box_error: float
    """Mean absolute error of an offset, in sides of the window."""
    landmark_error: float
    """Mean distance of a landmark, in sides of the window."""
    recall: float
    """The share of the faces in whole pictures that is found."""
    false_positives: float
    """False positives per picture at that recall."""
    seconds: float

    def __str__(self) -> str:
        tasks = _measured(("face", self.face_loss), ("box", self.box_loss), ("landmarks", self.landmark_loss))
        held_out = _measured(
            ("accuracy", self.accuracy), ("box error", self.box_error), ("landmark error", self.landmark_error)
        )
        parts = [f"epoch {self.epoch:3}", f"loss {self.loss:.4f} ({', '.join(tasks)})", *held_out]
        if not math.isnan(self.recall):
            parts.append(f"recall {self.recall:.4f} at {self.false_positives:.2f} false positives per picture")
        return ", ".join([*parts, f"{self.seconds:.0f} s"])


def _measured(*values: tuple[str, float]) -> list[str]:
    return [f"{name} {value:.4f}" for name, value in values if not math.isnan(value)]


def has_stopped(rows: list[Epoch], patience: int | None) -> bool:
    """Whether the last `patience` epochs had no better recall than one before them. Without recalls: False."""
    ranks = _ranks(rows)
    return patience is not None and max(ranks, default=-1) >= 0 and len(rows) - 1 - ranks.index(max(ranks)) >= patience


def best_epoch(rows: list[Epoch]) -> int:
    """The epoch, from 1, of the greatest recall, the latest of equal ones. Without recalls: the last."""
    ranks = _ranks(rows)
    return len(ranks) - ranks[::-1].index(max(ranks))


def _ranks(rows: list[Epoch]) -> list[float]:
    return [-1 if math.isnan(row.recall) else row.recall for row in rows]


# Settings with other values of which a run may go on.
_CHANGEABLE = ("epochs", "patience")


def read_checkpoint(path: Path, device: torch.device) -> tuple[dict[str, Any], list[Epoch], dict[str, Any]]:
    """The settings, the log, and the whole content of a checkpoint. Raises OSError; ValueError if it is damaged."""
    content = io.BytesIO(path.read_bytes())
    try:
        document = torch.load(content, map_location=device, weights_only=True)
        for key in ("network", "optimizer", "result", "best"):
            document[key]
        return dict(document["settings"]), [Epoch(**row) for row in document["log"]], document
    except MemoryError:
        raise
    except Exception as error:  # unpickling raises exceptions of many types, OSError among them
        raise ValueError(_damaged(path, error)) from error


def changes(path: Path, earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The settings that have changed since a checkpoint, and with which its run may go on: "epochs is 20, was 16".

    Raises ValueError, which names `path`, if other settings have changed.
    """
    texts = differences(earlier, dict.fromkeys(earlier) | dict(settings))
    others = [text for name, text in texts.items() if name not in _CHANGEABLE]
    if others:
        raise ValueError(
            f"{path} is of a run with other settings ({', '.join(others)}); remove {path.parent} to start it anew, or "
            "take another output folder"
        )
    return list(texts.values())


def damage(path: Path) -> str | None:
    """A description of the damage of a checkpoint; None if it is whole, or not there."""
    try:
        read_checkpoint(path, torch.device("cpu"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        return str(error).partition("; remove ")[0]
    return None


def set_aside(path: Path) -> str | None:
    """Moves a damaged checkpoint out of the way of a run, which starts anew. Returns a message; None if it is whole."""
    note = damage(path)
    if note is None:
        return None
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    return f"{note}; it is kept as {aside.name}, and the network is trained anew"


def _damaged(path: Path, error: Exception) -> str:
    # PyTorch's message goes on with advice to load the file without its checks.
    said = repr(error) if isinstance(error, LookupError) else (str(error) or type(error).__name__).splitlines()[0]
    said = said.partition(". ")[0]
    return f"{path} is damaged, or no checkpoint: {said}; remove {path.parent} to start anew"


class Checkpoint:
    """The checkpoint of a run: the network after the last epoch, its result then and after the best epoch, the
    optimizer, the log.

    result: the network that is measured and kept: a moving average of `network`, or `network` itself.
    """

    def __init__(
        self,
        path: Path,
        network: Network,
        optimizer: torch.optim.Optimizer,
        settings: dict[str, Any],
        result: Network,
    ) -> None:
        self._path, self._network, self._optimizer, self._settings = path, network, optimizer, settings
        self._result = result
        self._best: dict[str, torch.Tensor] | None = None

    def restore(self, device: torch.device) -> tuple[list[Epoch], list[str]]:
        """Loads the state of an earlier run, if there is one. Returns its log, and the settings changed since then."""
        if not self._path.exists():
            return [], []
        settings, rows, document = read_checkpoint(self._path, device)
        changed = changes(self._path, settings, self._settings)
        try:
            self._network.load_state_dict(document["network"])
            self._result.load_state_dict(document["result"])
            self._optimizer.load_state_dict(document["optimizer"])
            self._best = document["best"]
        except MemoryError:
            raise
        except Exception as error:  # PyTorch looks into a state before it checks it
            raise ValueError(_damaged(self._path, error)) from error
        return rows, changed

    def save(self, rows: list[Epoch]) -> None:
        if best_epoch(rows) == len(rows):
            self._best = {key: value.detach().clone() for key, value in self._result.state_dict().items()}
        document = {
            "settings": self._settings,
            "network": self._network.state_dict(),
            "result": self._result.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "log": [asdict(row) for row in rows],
        }
        # PyTorch's own writer hides the message of a full disk.
        content = io.BytesIO()
        torch.save(document, content)
        write_whole(self._path, content.getvalue())

    def choose(self, epoch: Literal["best", "last"]) -> None:
        """Gives the network the weights of the result after an epoch."""
        best = self._best if epoch == "best" else None
        self._network.load_state_dict(best or self._result.state_dict())


class Log(AbstractContextManager[Callable[[Epoch], None]]):
    """Writes each epoch to log.csv, and to the files of TensorBoard where that is installed."""

    def __init__(self, folder: Path, rows: list[Epoch]) -> None:
        # With the rows of the checkpoint: a run may have been interrupted between the two.
        self._folder, self._rows = folder, list(rows)
        self._write_rows()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._excepthook, threading.excepthook = threading.excepthook, self._note
            with naming(self._folder):
                self._board = SummaryWriter(str(folder), purge_step=len(rows) + 1)

    def __enter__(self) -> Callable[[Epoch], None]:
        return self._write

    def __exit__(self, *_: object) -> None:
        if self._board:
            with naming(self._folder):
                self._board.close()
            # Not after an error: the thread that had it may be about to report it.
            threading.excepthook = self._excepthook

    def _note(self, raised: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread. Adding the next value raises the error that ended the thread again.
        if not type(raised.thread).__module__.startswith("tensorboard."):
            self._excepthook(raised)

    def _write(self, row: Epoch) -> None:
        self._rows.append(row)
        self._write_rows()
        if self._board:
            with naming(self._folder):
                for name, value in asdict(row).items():
                    if name != "epoch" and not math.isnan(value):
                        self._board.add_scalar(name, value, row.epoch)

    def _write_rows(self) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, [field.name for field in fields(Epoch)])
        table.writeheader()
        table.writerows(map(asdict, self._rows))
        write_whole(self._folder / "log.csv", text.getvalue().encode())
