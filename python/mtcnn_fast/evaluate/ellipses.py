"""Filled ellipses, pixel by pixel as OpenCV draws them. FDDB's official program measures with these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

# Coordinates are integers in units of 1/65536 pixel. Pixels have their centres at whole pixels.
_SHIFT = 16
_ONE = 1 << _SHIFT
_HALF = _ONE >> 1

# An ellipse is a polygon with equal angles between vertices: the longer radius in pixels is below the first number,
# the angle in degrees is the second.
_DEGREES = ((3, 90), (10, 30), (15, 18))
_FINEST = 5

# Sines to seven digits, in single precision.
_SINES = np.round(np.sin(np.deg2rad(np.arange(361))), 7).astype(np.float32).astype(np.float64)


def rows(center: tuple[int, int], radii: tuple[int, int], degrees: int, size: tuple[int, int]) -> Integers:
    """For each row of a picture, the first pixel in the ellipse and the one behind the last: (H, 2), equal if none is.

    center: x, y. radii: the first in the direction of `degrees`, from the x axis towards y. size: width, height. The
    result equals OpenCV's, except for single pixels where the picture's border cuts the ellipse.
    """
    width, height = size
    low = np.full(height, width, np.int64)
    high = np.full(height, -1, np.int64)
    vertices = _vertices(center, radii, degrees)
    for x, y in (_outline(vertices, size), *_sides(vertices, height)):
        np.minimum.at(low, y, x)
        np.maximum.at(high, y, x)
    first, last = np.clip(low, 0, width), np.clip(high + 1, 0, width)
    return np.column_stack((first, np.maximum(first, last)))


def _vertices(center: tuple[int, int], radii: tuple[int, int], degrees: int) -> Integers:
    """The vertices (N, 2): x, y. No vertex equals the one before it."""
    step = next((step for limit, step in _DEGREES if max(radii) < limit), _FINEST)
    around = np.arange(0, 361, step)
    x, y = radii[0] * _ONE * _cosines(around), radii[1] * _ONE * _SINES[around]
    angle = degrees % 360
    cosine, sine = _cosines(np.array(angle)), _SINES[angle]
    points = np.column_stack((center[0] * _ONE + x * cosine - y * sine, center[1] * _ONE + x * sine + y * cosine))
    # The whole pixels are rounded first, and then the remainder.
    whole = np.rint(points / _ONE).astype(np.int64) << _SHIFT
    rounded = whole + np.rint(points - whole).astype(np.int64)
    kept = np.append(True, (rounded[1:] != rounded[:-1]).any(axis=1))
    return rounded[kept] if kept.sum() > 1 else np.array([center, center], np.int64) << _SHIFT


def _cosines(degrees: NDArray[np.int64]) -> NDArray[np.float64]:
    return _SINES[np.where(degrees <= 270, degrees + 90, degrees - 270)]


def _outline(vertices: Integers, size: tuple[int, int]) -> tuple[Integers, Integers]:
    """x and y of the pixels on the polygon's sides: one per step along the axis on which a side is longer."""
    ends = np.stack((np.roll(vertices, 1, axis=0), vertices), axis=1)
    ends = ends[_clip(ends, size)]
    flat = np.abs(ends[:, 1, 0] - ends[:, 0, 0]) > np.abs(ends[:, 1, 1] - ends[:, 0, 1])
    along = np.where(flat, 0, 1)
    side = np.arange(len(ends))
    forward = ends[side, 0, along] <= ends[side, 1, along]
    start, end = (np.where(forward[:, None], ends[:, i], ends[:, 1 - i]) for i in (0, 1))
    length = end[side, along] - start[side, along]
    slope = _divided((end[side, 1 - along] - start[side, 1 - along]) << _SHIFT, length | 1)
    count = length >> _SHIFT
    owner = np.repeat(side, count + 1)
    k = np.arange(len(owner)) - np.repeat(np.cumsum(count + 1) - (count + 1), count + 1)
    major = start[owner, along[owner]] + k * _ONE
    minor = start[owner, 1 - along[owner]] + k * slope[owner]
    x, y = np.where(flat[owner], major, minor), np.where(flat[owner], minor, major)
    x, y = (np.concatenate((part, end[:, axis])) for axis, part in enumerate((x, y)))
    x, y = (x + _HALF) >> _SHIFT, (y + _HALF) >> _SHIFT
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    return x[inside], y[inside]


def _clip(ends: Integers, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Cuts segments (N, 2, 2) at the picture's borders, in place. Returns whether each has a part inside."""
    for axis in (1, 0):
        limit = (size[axis] << _SHIFT) - 1
        for border in (0, limit):
            sign = 1 if border else -1
            beyond = (ends[:, :, axis] - border) * sign > 0
            for i in (0, 1):
                cut = np.flatnonzero(beyond[:, i] & ~beyond[:, 1 - i])
                one, other = ends[cut, i].astype(np.float64), ends[cut, 1 - i].astype(np.float64)
                share = (border - one[:, axis]) / (other[:, axis] - one[:, axis])
                moved = one[:, 1 - axis] + np.trunc(share * (other[:, 1 - axis] - one[:, 1 - axis]))
                ends[cut, i, 1 - axis] = moved.astype(np.int64)
                ends[cut, i, axis] = border
    limits = (np.array(size) << _SHIFT) - 1
    inside = (ends >= 0) & (ends <= limits)
    return np.asarray(inside.all(axis=(1, 2)))


def _sides(vertices: Integers, height: int) -> list[tuple[Integers, Integers]]:
    """x and y of the pixels at which rows enter and leave the polygon, down both of its sides from its top."""
    top = int(vertices[:, 1].argmin())
    sides = []
    for way in (1, -1):
        # The vertex behind the last is the first again, or very near to it.
        chain = vertices[(top + way * np.arange(len(vertices))) % len(vertices)]
        row = (chain[:, 1] + _HALF) >> _SHIFT
        down = chain[: int(row.argmax()) + 1]
        row = row[: len(down)]
        count = np.diff(row)
        owner = np.repeat(np.arange(len(count)), np.maximum(count, 0))
        y = row[0] + np.arange(len(owner))
        rise = np.maximum(count, 1)
        slope = _divided(2 * np.diff(down[:, 0]) + rise, 2 * rise)
        x = (down[owner, 0] + (y - row[owner]) * slope[owner] + _HALF) >> _SHIFT
        inside = (y >= 0) & (y < height)
        sides.append((x[inside], y[inside]))
    return sides


def _divided(numerators: Integers, denominators: Integers) -> Integers:
    """Integer quotients, rounded towards 0."""
    return np.sign(numerators) * (np.abs(numerators) // denominators)
