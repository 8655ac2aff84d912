"""A tensor of DLPack's of which a test makes something else."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

import device_memory


class Lying:
    """Says of an image what its fields are set to, at first the truth. Kept for as long as its capsule is."""

    def __init__(self, image: NDArray[np.uint8], version: int | None = None) -> None:
        """version: of DLPack; None: from before there were any."""
        self.image, self.version = image, version
        self.sides, self.steps = ((ctypes.c_int64 * image.ndim)(*axes) for axes in (image.shape, image.strides))
        pointers = (ctypes.cast(axis, ctypes.POINTER(ctypes.c_int64)) for axis in (self.sides, self.steps))
        self.tensor = device_memory._Tensor(image.ctypes.data, 1, 0, image.ndim, 1, 8, 1, *pointers, 0)
        self.device: Any = (1, 0)
        self.name = b"dltensor" if version is None else b"dltensor_versioned"

    def __dlpack_device__(self) -> Any:
        return self.device

    def __dlpack__(self, **_: object) -> Any:
        self.managed: Any
        if self.version is None:
            self.managed = device_memory._Managed(self.tensor, None, None)
        else:
            self.managed = device_memory._ManagedVersioned(self.version, 0, None, None, 0, self.tensor)
        return device_memory._new_capsule(ctypes.addressof(self.managed), self.name, None)
