"""`mtcnn-fast evaluate`."""

from __future__ import annotations

import argparse

from mtcnn_fast.evaluate import fddb, landmarks, run, table, wider
from mtcnn_fast.evaluate.precision_recall import add_parser as add_faces


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `evaluate` and its own commands to those of `mtcnn-fast`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a detector, this or any other",
        description="Runs the detector over data sets, and measures detections of this detector or any other.",
    )
    subcommands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for add_parser in (
        run.add_parser,
        add_faces,
        landmarks.add_parser,
        wider.add_parser,
        fddb.add_parser,
        table.add_parser,
    ):
        add_parser(subcommands)
