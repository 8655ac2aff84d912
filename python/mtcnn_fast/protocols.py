"""Arrays of other packages, read by two protocols: DLPack and `__cuda_array_interface__`. No package is imported.

The protocols: https://dmlc.github.io/dlpack/latest/python_spec.html and
https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.advice import is_torch
from mtcnn_fast.checks import article, described, named

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Both protocols' number for the legacy default stream. As a cudaStream_t that stream may also be null.
_LEGACY_STREAM = 1

_DLPACK_CPU = (1, 3)  # plain memory, and memory that CUDA has pinned
_DLPACK_CUDA = (2, 13)  # a GPU's own memory, and memory managed by CUDA
_DLPACK_TYPES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}

_INT64 = 2**63
_MEMORY = 2**57  # bytes that an address of today's processors can reach


@dataclass(frozen=True)
class Exported:
    """An array as a protocol describes it."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in bytes
    dtype: str
    device: str  # "cpu" or "cuda:N"
    owner: object  # keeps the memory

    def array(self) -> NDArray[Any] | None:
        """The values in the host's memory as a read-only array, without a copy; None if NumPy has no such type."""
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            return None
        # Packages can register types with NumPy under names, and NumPy does not compute with these.
        if dtype.name != self.dtype or dtype.kind not in "biufc":
            return None
        return np.asarray(_Memory(self, dtype))


class _Memory:
    """The object that NumPy makes an array of, and keeps as the array's base."""

    def __init__(self, exported: Exported, dtype: np.dtype[Any]) -> None:
        self.owner = exported.owner
        self.__array_interface__ = {
            "shape": exported.shape,
            "typestr": dtype.str,
            "data": (exported.address, True),
            "strides": exported.strides,
            "version": 3,
        }


def is_exported(image: object) -> bool:
    """Whether an image is not NumPy's and offers one of the protocols."""
    return not isinstance(image, np.ndarray | np.generic) and (
        _offers(image, "__dlpack_device__") or _offers(image, "__cuda_array_interface__")
    )


def _offers(image: object, protocol: str) -> bool:
    try:
        return hasattr(image, protocol)
    except Exception:  # the error is raised, with the image's name, when the protocol is used
        return True


def is_on_host(image: Any, name: str) -> bool:
    """Whether an exported array is in the host's memory rather than in a GPU's.

    Raises TypeError for one that is elsewhere. Errors of the array itself are raised with `name` in front.
    """
    # DLPack comes first, because PyTorch's `__cuda_array_interface__` names no stream to wait for.
    if not _offers(image, "__dlpack_device__"):
        return False
    with named(name, ValueError):
        device = image.__dlpack_device__()
    if not (_integers(device) and len(device) == 2):
        raise TypeError(f"{name}: its __dlpack_device__ gives {described(device)}; wanted two integers")
    kind = int(device[0])
    if kind not in _DLPACK_CPU + _DLPACK_CUDA:
        raise TypeError(
            f"{name} is {article(type(image))} on a device of DLPack's type {kind}; wanted one in the host's memory"
            f"{copy_hint(image)} or on one of CUDA's"
        )
    return kind in _DLPACK_CPU


def copy_hint(image: object) -> str:
    return ": image.cpu()" if is_torch(image) else ""


def read_on_host(image: Any, name: str) -> Exported:
    """An exported array that `is_on_host`. Errors of the array itself are raised with `name` in front."""
    return _read_dlpack(image, name, _DLPACK_CPU, {})


def read_on_gpu(core: _core.Detector, image: Any, name: str, stream: int) -> Exported:
    """An exported array that is not `is_on_host`. Work queued on `stream` after this call finds its values written."""
    if _offers(image, "__dlpack_device__"):
        # The producer makes this stream wait for its own queued work.
        return _read_dlpack(image, name, _DLPACK_CUDA, {"stream": stream or _LEGACY_STREAM})
    return _read_cuda_array_interface(core, image, name, stream)


def _read_dlpack(image: Any, name: str, devices: tuple[int, ...], arguments: dict[str, Any]) -> Exported:
    if not hasattr(image, "__dlpack__"):
        raise TypeError(f"{name} is {article(type(image))}, which has __dlpack_device__ and no __dlpack__")
    with named(name, ValueError):
        try:
            capsule = image.__dlpack__(**arguments, max_version=(1, 0))
        except TypeError:  # a producer of DLPack without versions
            capsule = image.__dlpack__(**arguments)
    if type(capsule).__name__ != "PyCapsule":
        raise TypeError(f"{name}: its __dlpack__ gives {described(capsule)}; wanted a capsule")
    with named(name, ValueError):
        address, shape, strides, (code, bits, lanes), (kind, index) = _core.read_dlpack(capsule)
    if kind not in devices:
        raise ValueError(f"{name} is on another device than its __dlpack_device__ says: DLPack's type {kind}")
    kind_name = _DLPACK_TYPES.get(code, f"type {code} of ")
    dtype = "bool" if (kind_name, bits) == ("bool", 8) else f"{kind_name}{bits}"
    dtype += f"x{lanes}" if lanes != 1 else ""
    item = bits * lanes // 8
    strides = tuple(stride * item for stride in (_dense(shape) if strides is None else strides))
    device = "cpu" if kind in _DLPACK_CPU else f"cuda:{index}"
    return _checked(Exported(address, shape, strides, dtype, device, (image, capsule)), name, item)


def _read_cuda_array_interface(core: _core.Detector, image: Any, name: str, stream: int) -> Exported:
    with named(name, ValueError):
        interface = image.__cuda_array_interface__
    if not isinstance(interface, Mapping):
        raise TypeError(f"{name}: its __cuda_array_interface__ is {described(interface)}; wanted a dict")
    with named(name, ValueError):
        interface = dict(interface)

    def field(key: str, wanted: str, fits: Any, default: Any = None) -> Any:
        value = interface.get(key, default)
        if not fits(value):
            raise TypeError(f"{name}: its __cuda_array_interface__ has {key} {described(value)}; wanted {wanted}")
        return value

    if interface.get("mask") is not None:
        raise ValueError(f"{name} has a mask; wanted an array without one")
    dtype = np.dtype(field("typestr", "a NumPy type", _is_type))
    shape = _plain(field("shape", "a tuple of integers", _integers))
    strides = field(
        "strides", "None or one stride per side", lambda s: s is None or (_integers(s) and len(s) == len(shape))
    )
    strides = tuple(stride * dtype.itemsize for stride in _dense(shape)) if strides is None else _plain(strides)
    (address,) = _plain(field("data", "an address and a boolean", _is_address)[:1])
    queue = field("stream", "None or an integer", lambda queue: queue is None or _is_integer(queue))
    exported = _checked(Exported(address, shape, strides, dtype.name, core.device, image), name, dtype.itemsize)
    if queue == 0:
        raise ValueError(f"{name} is to be waited for on stream 0, which __cuda_array_interface__ forbids; wanted 1")
    if queue is not None and not 0 < queue < 2 * _INT64:
        raise ValueError(f"{name} is to be waited for on stream {queue}, which is none")
    # An array without pixels has no address, and is refused for its shape.
    if 0 in shape:
        return exported
    owner = _core.cuda_device_of(address)
    if owner == -1:
        raise ValueError(f"{name} is at an address that is in no GPU's memory")
    # None means that there is nothing to wait for.
    if queue is not None and queue != (stream or _LEGACY_STREAM):
        core.order_streams(int(queue), stream)
    return Exported(address, shape, strides, dtype.name, f"cuda:{owner}", image)


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _integers(value: object) -> bool:
    return isinstance(value, tuple | list) and all(_is_integer(part) for part in value)


def _plain(values: Any) -> tuple[int, ...]:
    """Integers of any type as Python's integers, whose arithmetic does not overflow."""
    return tuple(int(value) for value in values)


def _is_address(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and _is_integer(value[0])


def _is_type(value: object) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value) is not None
    except Exception:  # for a string that is no type NumPy raises SyntaxError, ValueError and others
        return False


def _checked(exported: Exported, name: str, item: int) -> Exported:
    """Returns `exported`, whose elements have `item` bytes. Raises ValueError if no such array can exist."""
    if not all(0 <= side < _INT64 for side in exported.shape):
        raise ValueError(f"{name} has shape {exported.shape}; wanted sides of at least 0")
    if not all(abs(stride) < _INT64 for stride in exported.strides):
        raise ValueError(f"{name} has strides {exported.strides}, beyond 64 bits")
    if not 0 <= exported.address < 2 * _INT64 or (exported.address == 0 and 0 not in exported.shape):
        raise ValueError(f"{name} is at address {exported.address}, which is none")
    if 0 not in exported.shape:
        reaches = [stride * (side - 1) for stride, side in zip(exported.strides, exported.shape, strict=True)]
        first = exported.address + sum(reach for reach in reaches if reach < 0)
        end = exported.address + sum(reach for reach in reaches if reach > 0) + item
        whole = math.prod(exported.shape) * max(item, 1)  # NumPy keeps this within 64 bits
        if first < 0 or end > 2 * _INT64 or end - first > _MEMORY or whole >= _INT64:
            raise ValueError(
                f"{name} has shape {exported.shape} and strides {exported.strides}, from address {exported.address} "
                "on: it does not fit into memory"
            )
    return exported


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * shape[axis]
    return tuple(strides)
