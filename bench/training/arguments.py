"""Types of the arguments of the scripts in this folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def named_path(argument: str) -> tuple[str, Path]:
    """The type of an argument NAME=PATH."""
    name, equals, place = argument.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{argument!r}; wanted NAME=PATH")
    return name, path(place)


def path(argument: str) -> Path:
    """The type of a path. An empty path would mean the current folder."""
    if not argument:
        raise argparse.ArgumentTypeError("it is empty; wanted a path")
    return Path(argument)
