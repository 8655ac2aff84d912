"""`mtcnn-fast evaluate`, whose commands are `evaluate_*` beside it."""

from __future__ import annotations

from mtcnn_fast.cli import (
    evaluate_detect,
    evaluate_faces,
    evaluate_fddb,
    evaluate_landmarks,
    evaluate_table,
    evaluate_wider,
)
from mtcnn_fast.cli.arguments import Commands, lists_commands


def add_command(commands: Commands) -> None:
    """Adds `evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a detector, this or any other",
        description="Runs the detector over data sets, and measures detections of this detector or any other.",
    )
    lists_commands(parser)
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (
        evaluate_detect,
        evaluate_faces,
        evaluate_landmarks,
        evaluate_wider,
        evaluate_fddb,
        evaluate_table,
    ):
        module.add_command(subcommands)
