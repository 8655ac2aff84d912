"""Arrays in a GPU's memory for tests, without a package that makes them: by both protocols, from NumPy's."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn_fast import MTCNN

KINDS = {"i": 0, "u": 1, "f": 2}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_index", ctypes.c_int32),
        ("dimensions", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class OnDevice:
    """The values of a NumPy array in the detector's memory, in the same layout. The subclasses export them."""

    def __init__(self, detector: MTCNN, array: NDArray[Any], base: NDArray[Any] | None = None) -> None:
        """base: the contiguous array that `array` is a view of."""
        base = np.ascontiguousarray(array) if base is None else base
        array = base if base.size and not np.shares_memory(array, base) else array
        values = np.zeros(-(-base.nbytes // 4), np.float32)
        values.view(np.uint8)[: base.nbytes] = base.reshape(-1).view(np.uint8)
        self.memory = detector._core.upload(values)
        start = self.memory.__cuda_array_interface__["data"][0]
        offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0] if base.size else 0
        self.address = start + offset if array.size else 0
        self.array = array


class ByInterface(OnDevice):
    stream: int | None = None
    mask: object = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.array.shape,
            "typestr": self.array.dtype.str,
            "data": (self.address, False),
            "strides": None if self.array.flags.c_contiguous else self.array.strides,
            "version": 3,
            "stream": self.stream,
            "mask": self.mask,
        }


class ByDLPack(OnDevice):
    versioned = True
    device = (2, 0)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.streams: list[object] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: object = None, **options: object) -> Any:
        if options and not self.versioned:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        self.streams.append(stream)
        shape, item = self.array.shape, self.array.dtype.itemsize
        self.axes = (
            (ctypes.c_int64 * len(shape))(*shape),
            (ctypes.c_int64 * len(shape))(*(stride // item for stride in self.array.strides)),
        )
        shape_of, strides_of = (ctypes.cast(axis, ctypes.POINTER(ctypes.c_int64)) for axis in self.axes)
        # The address is the sum of both.
        offset = min(self.address, 256)
        tensor = _Tensor(
            self.address - offset or None,
            *self.device,
            len(shape),
            KINDS.get(self.array.dtype.kind, 6),
            8 * item,
            1,
            shape_of,
            strides_of,
            offset,
        )
        if self.versioned:
            self.managed: ctypes.Structure = _ManagedVersioned(1, 0, None, None, 0, tensor)
            return _new_capsule(ctypes.addressof(self.managed), b"dltensor_versioned", None)
        self.managed = _Managed(tensor, None, None)
        return _new_capsule(ctypes.addressof(self.managed), b"dltensor", None)


class ByOldDLPack(ByDLPack):
    """From before DLPack had versions."""

    versioned = False


def values(array: Any, emulated: bool) -> NDArray[np.float32]:
    """The values of a float32 array that exports __cuda_array_interface__; emulated memory is the host's."""
    interface = array.__cuda_array_interface__
    assert (interface["typestr"], interface["strides"], interface["version"]) == ("<f4", None, 3)
    found = np.empty(interface["shape"], np.float32)
    address, _ = interface["data"]
    if found.size == 0:
        assert address == 0
    elif emulated:
        ctypes.memmove(found.ctypes.data, address, found.nbytes)
    else:
        copy = ctypes.CDLL("libcuda.so.1").cuMemcpyDtoH_v2
        assert copy(ctypes.c_void_p(found.ctypes.data), ctypes.c_uint64(address), ctypes.c_size_t(found.nbytes)) == 0
    return found
