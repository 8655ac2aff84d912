"""`mtcnn-fast info`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from mtcnn_fast import MTCNN, __version__, _core, available_devices, available_isas
from mtcnn_fast.console import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: `info` takes no arguments."""


def run(_: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `info`. Returns the exit status."""
    try:
        detector = MTCNN()
    except ValueError as reason:  # a value of the environment variables that this machine cannot serve
        error(str(reason))
    console.say(f"mtcnn_fast        {__version__}")
    name = detector.device_name
    in_use = f"{detector.device}, {name}" if name else detector.device
    console.say(f"devices           {', '.join(available_devices())} (in use: {in_use})")
    without = _core.cuda_status()
    if without is not None:
        console.say(f"no CUDA           {without}")
    console.say(f"instruction sets  {', '.join(available_isas())} (in use: {detector.isa})")
    console.say(f"threads           {detector.num_threads}")
    console.say("weights           embedded: P-Net, R-Net and O-Net of Zhang et al., 2016")
    return 0
