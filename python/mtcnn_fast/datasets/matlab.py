"""Variables of MATLAB files. A process of its own parses a file, because a damaged file may crash it.

(Of 1,500 files with bytes changed at random, 17 crashed the process with SciPy 1.17.1, and 3 took more than 10 s.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn_fast.datasets import matlab_parser
from mtcnn_fast.datasets.limits import read_bounded
from mtcnn_fast.extra import require
from mtcnn_fast.writing import reason

MAX_FILE = 2**28
"""The most bytes of a MATLAB file. WIDER FACE's largest has some 8 million."""

SECONDS = 60
"""The most seconds for parsing a file. WIDER FACE's largest takes one."""


class Hdf5Error(ValueError):
    """A file has the format of MATLAB 7.3, which the caller does not expect."""


def variables(path: Path, names: Collection[str], *, hdf5: bool = False) -> dict[str, Any]:
    """Variables of a MATLAB file by name: arrays of numbers or texts, or of cells that are such arrays.

    names: the variables to read; those that the file lacks are left out. hdf5: read files of MATLAB 7.3 too.

    Raises OSError for a file that cannot be read; ValueError, which names the file, if it is damaged, of another kind,
    or takes longer than SECONDS; Hdf5Error, without `hdf5`, for a file of MATLAB 7.3; ImportError without SciPy, or
    without h5py for a file of MATLAB 7.3.
    """
    require("scipy.io", "reading MATLAB files", "evaluate")
    with path.open("rb") as file:
        try:
            content = read_bounded(file, MAX_FILE)
        except ValueError as error:
            raise ValueError(f"{path} is no MATLAB file of WIDER FACE: {error}") from error
    try:
        answer = _parse(content, names)
        if "hdf5" in answer and not hdf5:
            raise Hdf5Error(f"{path} has the format of MATLAB 7.3; wanted the older one of WIDER FACE's own files")
        if "hdf5" in answer:
            require("h5py", "reading files of MATLAB 7.3", "evaluate")
            answer = _parse(content, names, "hdf5")
        if "error" in answer:
            raise ValueError(answer["error"])
        return {name: _array(value) for name, value in answer["variables"].items()}
    except (Hdf5Error, ImportError, MemoryError):
        raise
    except Exception as error:  # any type, because the answer may be about a damaged file
        raise ValueError(f"{path} is not a whole MATLAB file: {reason(error)}") from error


def _parse(content: bytes, names: Collection[str], *options: str) -> dict[str, Any]:
    """The answer of `matlab_parser`. Raises ValueError if there is none."""
    command: Sequence[str] = [sys.executable, matlab_parser.__file__, json.dumps(sorted(names)), *options]
    # The process has the same packages as this one. It has one thread, because each thread would reserve memory, which
    # is limited there.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        raise ValueError(f"its parser does not end within {SECONDS} s") from None
    if done.returncode < 0:
        raise ValueError(f"its parser crashed (signal {-done.returncode})")
    if done.returncode:
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"its parser failed{f': {messages[-1]}' if messages else ''}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def rows(*columns: Any) -> list[tuple[Any, ...]]:
    """The cells of columns side by side. Raises AttributeError for a value that is no column, ValueError if lengths
    differ."""
    return list(zip(*(column.ravel() for column in columns), strict=True))


def _array(value: dict[str, Any]) -> Any:
    """The array that `matlab_parser` has turned into JSON."""
    shape = tuple(value["shape"])
    if value["kind"] == "cells":
        cells = np.empty(len(value["values"]), object)
        cells[:] = [_array(cell) for cell in value["values"]]
        return cells.reshape(shape)
    if value["kind"] == "other":  # the user of the array refuses it
        return np.full(shape, None, object)
    return np.array(value["values"], value["dtype"]).reshape(shape)
