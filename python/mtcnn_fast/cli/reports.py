"""Texts that the commands of `evaluate` print: problems, on stderr, and tables of figures."""

from __future__ import annotations

from collections.abc import Sequence

from mtcnn_fast.checks import shown
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Problems
from mtcnn_fast.evaluate.pairs import Coverage

INCOMPLETE = "pictures have lost a label: detections there that match no labelled face count neither way"
"""The message about pictures whose annotations are not complete, behind their number."""

# The most pictures that a line names.
_NAMED = 3


def report(problems: Problems, what: str) -> None:
    """Lists problems on stderr, and their number. what: the things concerned, such as "entries of the annotations"."""
    tell(problems)
    if problems.count:
        console.complain(f"{problems.count} {what} could not be used")


def tell(notes: Problems) -> None:
    """Lists notes on stderr, as many as are kept."""
    listed = 0
    for note in notes:
        console.complain(shown(note))
        listed += 1
    if listed and listed < notes.count:
        console.complain(f"... and {notes.count - listed} more")


def report_coverage(coverage: Coverage) -> bool:
    """Names on stderr the pictures without a counterpart. Returns whether there are none."""
    whole = True
    for names, what in (
        (
            coverage.missing,
            f"of {coverage.pictures} pictures are not among the detections, and count as if nothing was found",
        ),
        (coverage.unknown, "pictures of the detections are not in the ground truth, and do not count"),
    ):
        if names:
            whole = False
            named = ", ".join(map(shown, names[:_NAMED]))
            console.complain(f"{len(names)} {what}: {named}{', ...' if len(names) > _NAMED else ''}")
    return whole


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table with right-aligned columns that are as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
