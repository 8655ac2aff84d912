"""What the scripts in this folder are given."""

from __future__ import annotations

import argparse
from pathlib import Path


def named_path(argument: str) -> tuple[str, Path]:
    """The type of an argument NAME=PATH."""
    name, equals, path = argument.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{argument!r}; wanted NAME=PATH")
    return name, Path(path)
