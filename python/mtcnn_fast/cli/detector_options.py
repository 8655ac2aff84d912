"""The detector's options on a command line, which are the same for every command that detects."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from mtcnn_fast.cli.arguments import path
from mtcnn_fast.detector import MTCNN

# The defaults are those of MTCNN's signature. If it is None, the help says what that means.
_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("min_face_size", {"type": float, "metavar": "PX", "help": "shorter side of the smallest face to find"}),
    (
        "max_face_size",
        {
            "type": float,
            "metavar": "PX",
            "help": "shorter side of the largest face to find (default: as large as the picture)",
        },
    ),
    ("scale_factor", {"type": float, "metavar": "F", "help": "scale from one pyramid level to the next"}),
    (
        "thresholds",
        {"type": float, "nargs": 3, "metavar": ("P", "R", "O"), "help": "least face probability per network"},
    ),
    (
        "nms_thresholds",
        {
            "type": float,
            "nargs": 4,
            "metavar": ("LEVEL", "ALL", "R", "O"),
            "help": "greatest overlap of kept boxes: per level, across levels, after R-Net, after O-Net",
        },
    ),
    ("device", {"metavar": "DEVICE", "help": "auto (a GPU if there is one), cpu, cuda or cuda:N"}),
    ("profile", {"choices": ("reference", "facenet-pytorch", "mtcnn"), "help": "package whose numbers are computed"}),
    (
        "precision",
        {
            "choices": ("fp32", "fast"),
            "help": "arithmetic; fast needs a GPU (fp16) or a processor with AMX (bf16), and is fp32 elsewhere",
        },
    ),
    (
        "landmarks",
        {
            "choices": ("direct", "mirrored"),
            "help": "mirrored: the mean of those of a face and of its mirror image, nearer, for two more crops through "
            "O-Net per face",
        },
    ),
    (
        "weights",
        {"type": path, "metavar": "FILE", "help": "safetensors file, or 2016 (default: 2016, the embedded networks)"},
    ),
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
    """Adds the detector's options, except those in `leave_out`."""
    defaults = inspect.signature(MTCNN).parameters
    for name, settings in _OPTIONS:
        if name not in leave_out:
            parser.add_argument("--" + name.replace("_", "-"), default=defaults[name].default, **settings)


def add_max_faces(parser: argparse.ArgumentParser) -> None:
    """Adds --max-faces, which is an argument of `MTCNN.detect`."""
    parser.add_argument(
        "--max-faces", type=int, metavar="N", help="keep the N faces of highest score per picture (default: all)"
    )


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of MTCNN among parsed arguments."""
    return {name: getattr(arguments, name) for name, _ in _OPTIONS if hasattr(arguments, name)}
