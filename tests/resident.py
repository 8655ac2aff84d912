"""The host's memory in use by this process, and whether calls let it grow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

STATM = Path("/proc/self/statm")
needs_statm = pytest.mark.skipif(not STATM.exists(), reason=f"no {STATM}")


def resident() -> int:
    """The resident memory in bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def assert_no_growth(growth: Callable[[int], float], calls: int, most: float, driver: bool) -> None:
    """Fails if `calls` calls let memory grow by more than `most` bytes.

    growth: makes that many calls and returns the growth in bytes. driver: whether a GPU's driver takes part. Its own
    memory may grow once; a leak grows again with each call, so growth is believed only if twice the calls confirm it.
    """
    grown = [growth(calls)]
    if driver and grown[0] > most:
        grown.append(growth(2 * calls))
    assert min(grown) <= most, f"grew by {grown} bytes, and {most:g} are allowed"
