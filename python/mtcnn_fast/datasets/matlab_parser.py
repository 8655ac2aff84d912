"""A script that `matlab` runs: it reads a MATLAB file on stdin and writes its variables as JSON on stdout.

Arguments: the names of the variables, as a JSON list; and "hdf5" for a file of MATLAB 7.3.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import suppress
from typing import Any

# Bytes of virtual memory. The libraries reserve more than they use.
_MOST_MEMORY = 2**32

# Numbers, texts and cells of a file. WIDER FACE's largest file has some 2 million.
_MOST_VALUES = 20_000_000


def main() -> None:
    """Writes {"variables": {NAME: value}}, {"hdf5": true} or {"error": text}; the values are those of `plain`."""
    # For a script, Python puts the script's folder first on the path, and the modules here are no packages.
    sys.path.pop(0)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    content = io.BytesIO(sys.stdin.buffer.read())
    names = json.loads(sys.argv[1])
    answer: dict[str, Any]
    try:
        answer = {"variables": (_hdf5 if "hdf5" in sys.argv[2:] else _matlab)(content, names)}
    except NotImplementedError:
        answer = {"hdf5": True}
    except BaseException as error:  # for a damaged file parsers raise exceptions of any type
        answer = {"error": f"{type(error).__name__}: {error}"[:1000]}
    json.dump(answer, sys.stdout)


def _matlab(content: io.BytesIO, names: list[str]) -> dict[str, Any]:
    import scipy.io

    variables = scipy.io.loadmat(content, variable_names=names)  # type: ignore[arg-type]  # it takes open files too
    return {name: plain(variables[name], [_MOST_VALUES]) for name in names if name in variables}


def _hdf5(content: io.BytesIO, names: list[str]) -> dict[str, Any]:
    """Variables of a file of MATLAB 7.3, whose arrays are transposed and whose text is UTF-16."""
    import h5py  # type: ignore[import-untyped]
    import numpy as np

    variables = {}
    with h5py.File(content) as file:
        for name in names:
            if name in file:
                array = file[name][()].T
                if file[name].attrs.get("MATLAB_class") == b"char" or array.dtype == np.uint16:
                    array = np.array([array.astype("<u2").tobytes().decode("utf-16-le")])
                variables[name] = plain(array, [_MOST_VALUES])
    return variables


def plain(value: Any, budget: list[int]) -> dict[str, Any]:
    """An array in JSON's types: its shape, its kind ("numbers", "texts", "cells" or "other") and its values.

    budget: a list with the number of values that are still allowed, from which this array's are subtracted. Raises
    ValueError if there are more.
    """
    import numpy as np

    array = np.asarray(value)
    budget[0] -= array.size
    if budget[0] < 0:
        raise ValueError(f"it has more than {_MOST_VALUES} values, which is the limit")
    kinds = {"b": "numbers", "i": "numbers", "u": "numbers", "f": "numbers", "U": "texts", "O": "cells"}
    kind = kinds.get(array.dtype.kind, "other")
    values = []
    if kind == "cells":
        values = [plain(cell, budget) for cell in array.ravel()]
    elif kind != "other":
        values = array.ravel().tolist()
    return {"kind": kind, "shape": array.shape, "dtype": array.dtype.str, "values": values}


if __name__ == "__main__":
    main()
