"""Parsing the fields of annotation files: numbers, landmarks, marks; and quoting them in messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from numbers import Real

import numpy as np

from mtcnn_fast.checks import described

# Beyond this, float32 does not hold every whole pixel.
LARGEST = 2.0**24

Points = Sequence[Sequence[float]]
"""x, y of each landmark."""

UNKNOWN = (math.nan, math.nan)
"""A landmark that is not known."""

IGNORING = ("difficult", "invalid", "iscrowd", "ignore")
"""Names that data sets have for the mark of a face that counts neither as a face nor as background."""

# True and 1.0 are equal to 1.
_SET: frozenset[object] = frozenset((1, "true", "yes"))
_NOT_SET: frozenset[object] = frozenset((0, "", "false", "no"))


def numbers(fields: Iterable[str]) -> list[float]:
    """The fields as numbers. Raises ValueError that names the first field that is no number."""
    values = []
    for text in fields:
        try:
            if "_" in text:  # Python takes 1_000 as a number
                raise ValueError
            values.append(float(text))
        except ValueError:
            raise ValueError(f"{quoted(text)} is not a number") from None
    return values


def points(values: Sequence[float]) -> Points:
    """Five points of x1 y1 x2 y2 ... y5. Raises ValueError as `point` does."""
    return [point(*values[i : i + 2]) for i in range(0, 10, 2)]


def point(x: float, y: float) -> tuple[float, float]:
    """A landmark. Raises ValueError for one that is not finite, or beyond 2^24 pixels."""
    if not (abs(x) <= LARGEST and abs(y) <= LARGEST):
        raise ValueError(f"landmark {x:g} {y:g} is not finite, or beyond 2^24 pixels")
    return x, y


def checked_box(box: Sequence[float]) -> Sequence[float]:
    """A box x1, y1, x2, y2. Raises ValueError for one that is not finite, or beyond 2^24 pixels."""
    # A NaN fails the comparison too.
    if not all(abs(value) <= LARGEST for value in box):
        raise ValueError(f"{box_text(box)} is not finite, or beyond 2^24 pixels")
    return box


def box_text(box: Sequence[float]) -> str:
    """A box for a message."""
    return "box {:g} {:g} {:g} {:g} (x1 y1 x2 y2)".format(*box)


def is_set(name: str, value: object) -> bool:
    """Whether a mark of an object is set, in any data set's spelling: 1, 1.0, "1", "true", true. None is not set.

    name: the mark's name for messages. Raises ValueError for a value that means neither yes nor no.
    """
    if value is None:
        return False
    plain = value.strip().lower() if isinstance(value, str) else value
    if isinstance(plain, str) and plain not in _SET | _NOT_SET:
        with suppress(ValueError):
            plain = float(plain)
    # NumPy's booleans are no numbers.
    if isinstance(plain, str | Real | np.bool_) and plain in _SET | _NOT_SET:
        return plain in _SET
    raise ValueError(f"{name} is {described(value)}; wanted 0 or 1")


def quoted(text: str) -> str:
    """A text, or its beginning, for a message."""
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
