"""The detector's options on a command line: the same for every command that detects."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from mtcnn_fast.cli.arguments import path
from mtcnn_fast.detector import MTCNN

# MTCNN's signature has the defaults. Of None the text says what it stands for.
_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("min_face_size", {"type": float, "metavar": "PX", "help": "shorter side of the smallest face looked for"}),
    (
        "max_face_size",
        {"type": float, "metavar": "PX", "help": "of the largest face looked for (default: as large as the picture)"},
    ),
    ("scale_factor", {"type": float, "metavar": "F", "help": "between pyramid levels"}),
    (
        "thresholds",
        {"type": float, "nargs": 3, "metavar": ("P", "R", "O"), "help": "face probability asked of each network"},
    ),
    (
        "nms_thresholds",
        {
            "type": float,
            "nargs": 4,
            "metavar": ("LEVEL", "ALL", "R", "O"),
            "help": "greatest overlap left per level, across levels, after R-Net, after O-Net",
        },
    ),
    ("device", {"metavar": "DEVICE", "help": "auto (a GPU if there is one), cpu, cuda or cuda:N"}),
    ("profile", {"choices": ("reference", "facenet-pytorch", "mtcnn"), "help": "whose numbers to give"}),
    (
        "precision",
        {
            "choices": ("fp32", "fast"),
            "help": "what to compute in; fast is fp16 on a GPU, bf16 where the processor has tiles for it, else fp32",
        },
    ),
    ("weights", {"type": path, "metavar": "FILE", "help": "safetensors file (default: the embedded networks)"}),
    (
        "num_threads",
        {
            "type": int,
            "metavar": "N",
            "help": "CPU threads (default: as many as the affinity mask and the control group's CPU quota allow)",
        },
    ),
)


def add_to(parser: argparse.ArgumentParser, *leave_out: str) -> None:
    """Adds the options, but for those of some names."""
    defaults = inspect.signature(MTCNN).parameters
    for name, settings in _OPTIONS:
        if name not in leave_out:
            parser.add_argument("--" + name.replace("_", "-"), default=defaults[name].default, **settings)


def add_max_faces(parser: argparse.ArgumentParser) -> None:
    """Adds what `detect` takes beside the image."""
    parser.add_argument("--max-faces", type=int, metavar="N", help="keep the N best of each picture (default: all)")


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What MTCNN takes of parsed arguments."""
    return {name: getattr(arguments, name) for name, _ in _OPTIONS if hasattr(arguments, name)}
