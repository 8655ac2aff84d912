"""Sets of networks by their names, and weight files: safetensors with the networks' float32 tensors by name. The C++
core checks names and shapes.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.checks import described
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The networks take 2 million bytes, and a file may hold other tensors too. A device may give bytes without end.
_MAX_BYTES = 2**28

SETS = ("2016",)
"""The names of the sets of networks in this package: that of the embedded networks, which are the default."""
_SETS = " and ".join(map(repr, SETS))

Weights = dict[str, "NDArray[np.float32]"]


def embedded_weights() -> Weights:
    """Copies of the embedded networks' tensors, by name: names and shapes as in docs/weights.md."""
    return _core.embedded_weights()


def load_weights(source: object) -> Weights | None:
    """The tensors of a weight file or of a mapping from names to float32 arrays; None for None and for "2016".

    A text that is exactly a name of SETS is that set. Any other text, and every `os.PathLike`, is the path of a file.
    Raises TypeError for any other source, OSError for a file that cannot be opened, ValueError for a file that is not a
    whole safetensors file of float32 tensors, or has more than 2^28 bytes.
    """
    if source is None or (isinstance(source, str) and source in SETS):
        return None
    if isinstance(source, Mapping):
        return {_name(name): _tensor(f"weights[{name!r}]", array) for name, array in source.items()}
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"weights is {described(source)}; wanted None, {_SETS}, a path or a mapping from names to arrays"
        )
    path = Path(os.fsdecode(source))
    try:
        return _read(path)
    except FileNotFoundError:
        if path.name != source:
            raise
        # A name without a folder may be meant as that of a set.
        message = f"there is no such file, and no such set of networks; this package has {_SETS}"
        raise FileNotFoundError(errno.ENOENT, message, source) from None


def weights_digest(weights: Mapping[str, NDArray[np.float32]] | None) -> str:
    """Identifies a set of weights: SHA-256 of names, shapes and values; "embedded" for None."""
    if weights is None:
        return "embedded"
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].shape}\0".encode())
        digest.update(weights[name].tobytes())
    return f"sha256 {digest.hexdigest()}"


def _read(path: Path) -> Weights:
    from safetensors.numpy import load

    # The file is read, not mapped, because a mapped file that another process truncates would cause a bus error.
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path} has more than {_MAX_BYTES} bytes, which is the limit of weight files")
    try:
        tensors = load(content)
    except MemoryError:
        raise
    except Exception as error:  # SafetensorError, and NumPy's errors for types and shapes that it does not have
        raise ValueError(f"{path} is not a whole safetensors file of float32 tensors: {reason(error)}") from error
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise ValueError(f"{path}: tensor {name} is {tensor.dtype}; wanted float32")
    return tensors


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"weights has the key {described(name)}; wanted names of tensors")
    return name


def _tensor(name: str, array: object) -> NDArray[np.float32]:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise TypeError(f"{name} is {described(array)}; wanted a float32 array")
    return np.array(array, order="C")
