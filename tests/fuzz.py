"""Random calls of the Python API, each held against a plain oracle or an invariant.

test_fuzz_api.py runs a few of every kind; `python tests/fuzz.py 1000` runs a thousand of each, under sanitizers too
(docs/building.md). A case is made of its kind and number alone, and a failure names both.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import json
import math
import mmap
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

import reference
from lying import Lying
from mtcnn_fast import MTCNN, Detections, _core, ops
from mtcnn_fast.protocols import read_on_gpu
from mtcnn_fast.weights import embedded_weights

Image = NDArray[np.uint8]
Random = np.random.Generator

HERE = Path(__file__).parent
PROFILES = tuple(reference.CONVENTIONS)
WILD = (0.0, -0.0, 1e-45, 1.0, -1.0, 16.5, 1e9, -1e9, 1e30, -3e38, 3.4e38, math.inf, -math.inf, math.nan)
WILD_INTEGERS = (0, -1, 1, 2, 255, 2**14, 2**14 + 1, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63, -(2**63), 2**64, 10**30)

# Words of pybind11's, of NumPy's and of the interpreter's own errors, which say nothing of what is wanted.
FOREIGN = (
    "incompatible function arguments",
    "incompatible constructor",
    "Unable to cast",
    "array is too big",
    "'NoneType' object",
)


def any_of(random: Random, values: Any) -> Any:
    return values[random.integers(len(values))]


class Calls:
    """Counts calls of the API, and looks at the errors that these raise."""

    made = 0

    @classmethod
    def attempt(cls, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the call gives, or the TypeError or ValueError that it raises; any other is a failure."""
        cls.made += 1
        try:
            return call(*arguments, **options)
        except (TypeError, ValueError) as raised:
            error = raised
        assert len(str(error)) > 5, f"says nothing: {error!r}"
        assert not any(words in str(error) for words in FOREIGN), f"not in the package's words: {error!r}"
        return error


attempt = Calls.attempt


# --- What images are made of ------------------------------------------------------------------------------------------


@functools.cache
def astronaut() -> Image:
    with Pillow.open(HERE / "data" / "astronaut.jpg") as picture:
        return np.asarray(picture.convert("RGB"))


def picture(random: Random, most: int = 72) -> Image:
    """A part of the astronaut, at half her size mostly of her face; of any size, down to a pixel."""
    height, width = (int(random.integers(12, most + 1)) for _ in range(2))
    if random.random() < 0.1:
        height = int(random.integers(1, 13))
    top, left = (int(random.integers(0, 16)) for _ in range(2))
    return np.ascontiguousarray(astronaut()[40::2, 150::2][top : top + height, left : left + width])


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def guarded(size: int, at_end: bool) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Memory between two pages that crash what reads them: its bytes, and where `size` of them touch one of the two."""
    page = mmap.PAGESIZE
    inner = -(-size // page) * page
    whole = np.frombuffer(mmap.mmap(-1, inner + 2 * page), np.uint8)
    guards = [ctypes.c_void_p(whole.ctypes.data + at) for at in (0, page + inner)]
    for guard in guards:
        assert _libc().mprotect(guard, ctypes.c_size_t(page), 0) == 0
    try:
        yield whole, page + (inner - size if at_end else 0)
    finally:
        for guard in guards:
            _libc().mprotect(guard, ctypes.c_size_t(page), mmap.PROT_READ | mmap.PROT_WRITE)


@contextlib.contextmanager
def laid_out(random: Random, pixels: Image) -> Iterator[Image]:
    """The same pixels with random strides, in memory of which no byte beyond the first or last can be read."""
    axes = [int(axis) for axis in random.permutation(pixels.ndim)]
    if random.random() < 0.5:
        axes = list(range(pixels.ndim))
    strides = [0] * pixels.ndim
    step = int(random.choice([1, 1, 1, 2, 3]))
    for axis in reversed(axes):
        strides[axis] = step * int(random.choice([1, 1, 1, -1]))
        step = step * pixels.shape[axis] + int(random.choice([0, 0, 0, 1, 5]))
    # A pixel of four bytes of which three are looked at, as in an RGBA image's [..., :3].
    reaches = [stride * (side - 1) for stride, side in zip(strides, pixels.shape, strict=True)]
    low, high = sum(min(0, reach) for reach in reaches), sum(max(0, reach) for reach in reaches)
    with guarded(high - low + 1, random.random() < 0.7) as (memory, start):
        view = np.ndarray(pixels.shape, np.uint8, memory.data, start - low, tuple(strides))
        view[...] = pixels
        yield view


@functools.cache
def detector(
    profile: str = "reference", precision: str = "fp32", threads: int | None = None, landmarks: str = "direct"
) -> MTCNN:
    """One that finds a lot."""
    return MTCNN(
        device="cpu", min_face_size=14, thresholds=(0.2, 0.05, 0.02), profile=profile, precision=precision,
        num_threads=threads, landmarks=landmarks,
    )  # fmt: skip


def some_detector(random: Random) -> MTCNN:
    names = (PROFILES, ["fp32", "fast"], ["direct", "mirrored"])
    profile, precision, landmarks = (str(random.choice(choices)) for choices in names)
    return detector(profile, precision, int(random.integers(1, 3)), landmarks)


def check_faces(faces: Detections, image: Image) -> None:
    """What docs/numerics.md promises whatever the weights are."""
    boxes, scores, landmarks = faces.astuple()
    farthest = 528 * max(image.shape[:2]) + 32
    for values in (boxes, landmarks):
        assert np.isfinite(values).all()
        assert np.abs(values).max(initial=0) <= farthest
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) <= 0).all()


def check_windows(found: tuple[NDArray[np.float32], NDArray[np.float32]], image: Image) -> None:
    boxes, scores = found
    assert np.isfinite(boxes).all()
    assert np.abs(boxes).max(initial=0) <= 16 * max(image.shape[:2]) + 1
    assert ((scores >= 0) & (scores <= 1)).all()


# --- Kinds of cases ---------------------------------------------------------------------------------------------------


def views(random: Random) -> None:
    """Pixels give the same wherever and however they lie, and nothing beside them is read."""
    pixels = picture(random)
    kind = random.choice(["rgb", "rgba", "gray", "plane", "rgb of rgba"])
    if kind in ("rgba", "rgb of rgba"):
        pixels = np.dstack([pixels, pixels[..., 0]])
    if kind in ("gray", "plane"):
        pixels = pixels[..., 1] if kind == "gray" else pixels[..., 1:2]
    model = some_detector(random)
    size = tuple(int(side) for side in random.integers(1, 60, 2))
    with laid_out(random, pixels) as view:
        if kind == "rgb of rgba":
            pixels, view = pixels[..., :3], view[..., :3]
        copy = np.ascontiguousarray(pixels)
        expected = attempt(model.detect, copy)
        assert attempt(model.detect, view) == expected
        check_faces(expected, copy)
        for call in (
            lambda image: ops.resize(image, size),
            lambda image: np.concatenate([level.ravel() for level in ops.pyramid(image, 14)] or [np.zeros(0)]),
            lambda image: model.windows(image, "rnet")[0],
            lambda image: model.refine(image, expected, "both").boxes,
            lambda image: model.crop(image, expected, 20, 0.1),
            lambda image: model.align(image, expected, 20),
        ):
            np.testing.assert_array_equal(attempt(call, view), attempt(call, copy))


NUMBERS: list[Any] = [None, "1", b"1", [], (), {}, 1j, True, object(), np.array([20.0]), *WILD, *WILD_INTEGERS]

# Of each option values that are taken, and what decides of others.
OPTIONS: dict[str, tuple[list[Any], Callable[[Any], bool]]] = {
    "min_face_size": ([12, 20.0, np.float32(31), np.int16(15), 1e9], lambda x: 4 <= x < math.inf),
    "max_face_size": ([None, 1e9, math.inf, 2**40], lambda x: False),
    "scale_factor": ([0.5, 0.709, 0.9, np.float64(0.1), 1e-9], lambda x: 0 < x <= 0.99),
    "num_threads": ([None, 1, 2, np.int64(3), 2**31 - 1], lambda x: 1 <= x < 2**31 and x == int(x)),
    "profile": ([*PROFILES], lambda x: False),
    "precision": (["fp32", "fast"], lambda x: False),
    "landmarks": (["direct", "mirrored"], lambda x: False),
    "channel_order": (["rgb", "bgr"], lambda x: False),
    "device": (["cpu"], lambda x: False),
    "thresholds": ([(0.6, 0.7, 0.7), [0, 1, 0.5], np.array([0.1, 0.2, 0.3])], lambda x: False),
    "nms_thresholds": ([(0.5, 0.7, 0.7, 0.7), [0, 1, 0, 1]], lambda x: False),
}
TEXTS: list[Any] = [
    "",
    "CPU",
    "cuda:x",
    "gpu",
    "reference ",
    "fp16",
    "rgba",
    "\0",
    "\ud800",
    "x" * 10_000,
    7,
    None,
    b"cpu",
]


def options(random: Random) -> None:
    """A detector is made of options that are all in their ranges, and of no others."""
    given: dict[str, Any] = {}
    good = True
    for name, (taken, fits) in OPTIONS.items():
        if random.random() < 0.5:
            continue
        if random.random() < 0.85:
            given[name] = any_of(random, taken)
            continue
        if name in ("thresholds", "nms_thresholds"):
            count = 3 if name == "thresholds" else 4
            value: Any = [any_of(random, WILD) for _ in range(int(random.choice([count, count, count + 1])))]
            fine = len(value) == count and all(0 <= x <= 1 for x in value)
        elif isinstance(taken[0], str):
            value = any_of(random, TEXTS)
            fine = False
        else:
            value = any_of(random, NUMBERS)
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            if name == "num_threads":
                plain = isinstance(value, int) and not isinstance(value, bool)
            fine = value in taken if value is None else plain and fits(value)
            if name == "max_face_size" and plain:
                fine = not good or value >= given.get("min_face_size", 20)
        given[name] = value
        good = good and bool(fine)
    least, most = given.get("min_face_size", 20), given.get("max_face_size")
    if good and most is not None:
        good = most >= least
    made = attempt(MTCNN, **({"device": "cpu"} | given))
    assert isinstance(made, MTCNN) == good, f"{given} gives {made!r}"
    if not good:
        return
    if made.options["min_face_size"] < 12 or made.options["scale_factor"] > 0.9:
        return  # hundreds of levels
    image = picture(random, 40)
    faces = attempt(made.detect, image, max_faces=100, clip=True)
    check_faces(faces, image)
    assert len(faces) <= 100
    assert (faces.boxes >= 0).all()
    assert (faces.boxes <= np.tile(image.shape[1::-1], 2)).all()


def calls(random: Random) -> None:
    """Arguments of methods: of the right types and ranges or refused."""
    image, model = picture(random, 30), some_detector(random)
    value = any_of(random, [*NUMBERS, *TEXTS, np.bool_(True)])
    name = str(
        random.choice(["max_faces", "clip", "stream", "part", "output", "image", "images", "network", "progress"])
    )
    if name == "image":
        found = attempt(model.detect, value)
    elif name == "images":
        found = attempt(model.detect_batch, [image, value])
    elif name == "network":
        found = attempt(model.windows, image, value)
    elif name == "progress":
        # A bar would be drawn.
        found = attempt(model.detect_batch, [], progress=1 if isinstance(value, bool | np.bool_) else value)
    else:
        found = attempt(model.detect, image, **{name: value})
    fine = {
        "max_faces": value is None or (type(value) is int and 0 <= value < 2**31),
        "clip": isinstance(value, bool | np.bool_),
        "stream": value is None,
    }
    assert isinstance(found, Exception) != fine.get(name, False), f"{name}={value!r} gives {found!r}"


def parts(random: Random) -> None:
    """Parts of a search: together they have P-Net's candidates, each once and to the bit."""
    image = picture(random, 48)
    # The third profile moves a candidate that is alone in its level.
    profile, precision = str(random.choice(PROFILES[:2])), str(random.choice(["fp32", "fast"]))
    model = MTCNN(
        device="cpu",
        profile=profile,
        precision=precision,
        min_face_size=float(random.uniform(12, 24)),
        thresholds=(0.8, 0, 0),
        nms_thresholds=(1, 1, 1, 1),
        num_threads=int(random.integers(1, 3)),
    )
    n = int(random.integers(1, 12))
    found = [attempt(model.detect, image, part=(k, n)) for k in range(n)]
    rows = sorted(row for faces in found for row in faces.to_rows().tolist())
    assert rows == sorted(attempt(model.detect, image).to_rows().tolist())


def refining(random: Random) -> None:
    """Answers in the order of the boxes, each as alone; or refused by number."""
    image, model, n = picture(random, 50), some_detector(random), int(random.integers(0, 5))
    if random.random() < 0.2:
        image = image[..., 0]
    corners = random.uniform(-60, 90, (n, 2))
    boxes = np.hstack([corners, corners + random.uniform(0, 70, (n, 2))]).astype(np.float32)
    if n and random.random() < 0.4:
        boxes[random.integers(n), random.integers(4)] = any_of(random, WILD)
    network = str(random.choice(["onet", "both"]))
    found = attempt(model.refine, image, boxes, network)
    if not (np.isfinite(boxes).all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
        assert isinstance(found, ValueError)
        assert str(found).startswith("box "), found
        return
    assert len(found) == n
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.landmarks).all()
    for i in range(n):
        assert attempt(model.refine, image, boxes[i : i + 1], network) == found[[i]]
    together = attempt(model.refine, [image, image], [boxes[:1], boxes], network)
    assert together == [found[:1], found]


def floats(random: Random, shape: tuple[int, ...], wild: float) -> NDArray[np.float32]:
    values = random.uniform(-1, 1, shape)
    flat = values.reshape(-1)
    for i in np.flatnonzero(random.random(flat.size) < wild)[:50]:
        flat[i] = any_of(random, WILD)
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def networks(random: Random) -> None:
    """The stage functions: shapes, finite answers to finite input, and no crop that changes another's."""
    wild = 0.0 if random.random() < 0.6 else 0.01
    precision = str(random.choice(["fp32", "fast"]))
    which = str(random.choice(["pnet", "rnet", "onet"]))
    if which == "pnet":
        shape: tuple[int, ...] = (*(int(side) for side in random.integers(1, 40, 2)), 3)
        cells = tuple(max(0, -(-(side - 2) // 2) - 4) if side >= 12 else 0 for side in shape[:2])
    else:
        side = 24 if which == "rnet" else 48
        shape = (int(random.integers(0, 28)), side, side, 3)
        cells = shape[:1]
    if random.random() < 0.1:
        wrong = tuple(int(side) for side in random.integers(0, 5, random.integers(0, 6)))
        assert isinstance(attempt(getattr(ops, which), np.zeros(wrong, np.float32)), Exception) or which == "pnet"
        return
    values = floats(random, shape, wild)
    found = attempt(getattr(ops, which), values, precision=precision)
    assert found[0].shape == cells
    assert found[1].shape == (*cells, 4)
    if wild == 0:
        assert all(np.isfinite(part).all() for part in found)
        assert ((found[0] >= 0) & (found[0] <= 1)).all()
    elif which != "pnet" and len(values) > 1:
        for part, alone in zip(found, attempt(getattr(ops, which), values[1:], precision=precision), strict=True):
            np.testing.assert_array_equal(part[1:], alone)


def resizing(random: Random) -> None:
    """Values between the image's least and greatest; sizes out of range are refused before anything is allocated."""
    image = picture(random, 50)
    profile = str(random.choice(PROFILES))
    size: list[Any] = [int(side) for side in random.integers(1, 90, 2)]
    if random.random() < 0.3:
        size[random.integers(2)] = (*WILD_INTEGERS, 2**28 + 1, 8_400_000)[random.integers(len(WILD_INTEGERS) + 2)]
    if size[0] > 0 and size[1] > 0 and 10**7 < size[0] * size[1] <= 2**30 and max(size) <= 2**28:
        size = [40, 50]  # what is large and allowed takes its time
    found = attempt(ops.resize, image, size, profile=profile)
    if min(size) < 1 or max(size) > 2**28 or size[0] * size[1] > 2**30:
        assert isinstance(found, ValueError)
        return
    assert found.shape == (*size, 3)
    assert image.min() - 1e-3 <= found.min() <= found.max() <= image.max() + 1e-3


def suppression(random: Random) -> None:
    """ops.nms against the oracle."""
    n, mode = int(random.integers(0, 40)), str(random.choice(["union", "min"]))
    threshold = float(random.choice([0, 0.3, 0.5, 0.7, 1]))
    corners = random.integers(-20, 60, (n, 2)).astype(np.float64)
    boxes = np.hstack([corners, corners + random.integers(1, 40, (n, 2))])
    scores = random.integers(0, 12, n) / 11
    if random.random() < 0.3 and n:
        boxes[random.integers(n), random.integers(4)] = random.choice([*WILD, 1e300, -1e300])
    found = attempt(ops.nms, boxes, scores, threshold, mode)
    if not np.isfinite(boxes).all():
        assert isinstance(found, ValueError)
        return
    assert len(set(found.tolist())) == len(found)
    assert (np.diff(scores[found]) <= 0).all()
    if np.abs(boxes).max(initial=0) > 1e6 or (boxes[:, 2:] <= boxes[:, :2]).any():
        return  # areas beyond whole numbers
    assert found.tolist() == reference.nms(boxes, scores, threshold, mode).tolist()


def cuts(random: Random) -> None:
    """Crops of wild boxes, landmarks, sizes and margins: values of the image or black, or refused by number."""
    image = np.full((int(random.integers(1, 60)), int(random.integers(1, 60)), 3), 200, np.uint8)
    model, n = detector(), int(random.integers(0, 4))
    size: Any = int(random.integers(1, 50))
    if random.random() < 0.2:
        size = WILD_INTEGERS[random.integers(len(WILD_INTEGERS))]
        n = min(n, 1)
        size = 33 if size == 2**14 else size
    if random.random() < 0.5:
        corners = random.uniform(-40, 90, (n, 2))
        boxes = np.hstack([corners, corners + random.uniform(0.1, 60, (n, 2))]).astype(np.float32)
        if random.random() < 0.4 and n:
            boxes[random.integers(n), random.integers(4)] = any_of(random, WILD)
        margin: Any = float(random.uniform(-0.5, 2))
        if random.random() < 0.1:
            margin = any_of(random, WILD)
        found = attempt(model.crop, image, boxes, size, margin)
    else:
        landmarks = random.uniform(-40, 90, (n, 5, 2)).astype(np.float32)
        if random.random() < 0.4 and n:
            landmarks[random.integers(n), random.integers(5)] = any_of(random, WILD)
        found = attempt(model.align, image, landmarks, size)
    if not 1 <= size <= 2**14:
        assert isinstance(found, ValueError)
        return
    if isinstance(found, Exception):
        assert str(found).startswith(("face ", "margin is ")), found
        return
    assert found.shape == (n, size, size, 3)
    assert found.dtype == np.uint8
    assert found.max(initial=0) <= 200


@functools.cache
def _weights() -> dict[str, NDArray[np.float32]]:
    return embedded_weights()


@functools.cache
def _weight_file() -> bytes:
    return (HERE.parent / "src" / "weights" / "mtcnn.safetensors").read_bytes()


def _check_detector(random: Random, weights: Any) -> None:
    """Whatever the weights are, if they are taken: what is found is finite, in every profile and precision."""
    made = attempt(
        MTCNN, device="cpu", weights=weights, profile=str(random.choice(PROFILES)), num_threads=1,
        precision=str(random.choice(["fp32", "fast"])), thresholds=(0.3, 0.1, 0.1), min_face_size=16,
        landmarks=str(random.choice(["direct", "mirrored"])),
    )  # fmt: skip
    if isinstance(made, Exception):
        return
    image = picture(random, 50)
    check_faces(attempt(made.detect, image), image)
    for network in ("rnet", "onet"):
        check_windows(attempt(made.windows, image, network), image)
    counts = attempt(made.inspect, image)
    json.dumps(counts, allow_nan=False)


def weights(random: Random) -> None:
    """Weights of wild values, types and shapes."""
    given: dict[Any, Any] = dict(_weights())
    names = list(given)
    for _ in range(int(random.integers(1, 4))):
        name = any_of(random, names)
        if random.random() < 0.5:
            name = str(random.choice([n for n in names if n.split(".")[1] in ("box", "landmarks", "face", "fc")]))
        if name not in given:
            continue
        tensor = np.array(given[name])
        what = random.random()
        with np.errstate(over="ignore", invalid="ignore"):
            if what < 0.4:
                factor = float(random.choice([-1, 0, 1e2, 1e6, 1e20, -1e30, 1e38]))
                tensor = np.clip(tensor.astype(np.float64) * factor, -3.4e38, 3.4e38).astype(np.float32)
            elif what < 0.7 and tensor.dtype == np.float32:
                some = random.integers(tensor.size, size=3)
                tensor.reshape(-1)[some] = WILD[random.integers(len(WILD) - 3 * (random.random() < 0.7))]
            elif what < 0.8:
                tensor = tensor.astype(random.choice(["f8", "f2", "i4", ">f4"]))
            elif what < 0.9:
                tensor = tensor.reshape(-1)[: tensor.size // 2] if random.random() < 0.5 else tensor[None]
            else:
                given[random.choice(["", "pnet", "qnet.conv1.weight", "\0"])] = tensor
                continue
        given[name] = tensor
    if random.random() < 0.1:
        del given[any_of(random, names)]
    if random.random() < 0.05:
        given[7] = next(iter(_weights().values()))
    _check_detector(random, given)


def mutated(random: Random, content: bytes, header: int) -> bytes:
    """Bytes cut, changed, put in and taken out, mostly among the first `header`."""
    found = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        end = len(found) if random.random() < 0.3 else min(header, len(found))
        if end == 0:
            break
        at = int(random.integers(end))
        what = random.random()
        if what < 0.5:
            found[at] = int(random.integers(256))
        elif what < 0.65:
            found[at] ^= 1 << int(random.integers(8))
        elif what < 0.75:
            del found[at : at + int(random.integers(1, 40))]
        elif what < 0.85:
            found[at:at] = random.bytes(int(random.integers(1, 40)))
        elif what < 0.95:
            digits = bytes(random.choice(list(b'0123456789-"[]{},:'), 3).tolist())
            found[at : at + 3] = digits
        else:
            del found[at:]
    return bytes(found)


def weight_files(random: Random) -> None:
    """Damaged weight files: refused, or as good as any other."""
    content = _weight_file()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(mutated(random, content, header))
        _check_detector(random, path)


STRANGE: list[Any] = [None, (), (1,), (1, 0, 0), ("1", 0), (True, 0), (9, 0), 1, (2**70, 0)]
# What a field of a tensor is set to, none of which can be.
FIELDS: dict[str, list[Any]] = {
    "dimensions": [-1, -(2**31), 33, 64, 10**9, 2**31 - 1, 0, 1],
    "shape": [None],
    "data": [None],
    "byte_offset": [2**64 - 1, 2**64 - 2**20],
    "code": [0, 2, 3, 4, 5, 6, 7, 200, 255],
    "bits": [0, 1, 4, 7, 255],
    "lanes": [0, 2, 4, 65535],
    "device_type": [-1, 0, 2, 7, 13, 2**31 - 1],
}
ATTRIBUTES: dict[str, list[Any]] = {
    "device": STRANGE,
    "name": [b"", b"dltensor2", b"used_dltensor", b"\xff\xfe", b"x" * 5000, b"DLTENSOR"],
    "version": [2, 7, 2**32 - 1],
}
AXES: dict[str, list[int]] = {
    "sides": [-1, -(2**63), 2**63 - 1, 2**62, 0, -(2**31)],
    "steps": [2**62, -(2**62), -(2**63), 2**63 - 1],
}


def dlpack(random: Random) -> None:
    """Capsules that lie are refused, whatever they say, and the truth is taken."""
    image = picture(random, 40)
    lie = Lying(image, any_of(random, [None, 1]))
    told = any_of(random, ["nothing", *FIELDS, *ATTRIBUTES, *AXES])
    if told in FIELDS:
        setattr(lie.tensor, told, any_of(random, FIELDS[told]))
    elif told in ATTRIBUTES:
        setattr(lie, told, any_of(random, ATTRIBUTES[told]))
        lie.name = b"dltensor_versioned" if told == "version" else lie.name
    elif told in AXES:
        getattr(lie, told)[0] = any_of(random, AXES[told])
    model = detector()
    batch = random.random() < 0.3
    found = attempt(model.detect_batch, [image, lie]) if batch else attempt(model.detect, lie)
    if told == "nothing":
        assert (found[1] if batch else found) == attempt(model.detect, image)
    else:
        if told == "steps" and image.shape[0] == 1:
            return  # of one row it means nothing
        assert isinstance(found, Exception), f"{told} is taken"
        assert str(found).startswith("image 1" if batch else "image"), found


# Values of fields of __cuda_array_interface__.
INTERFACES: list[Any] = [(20, -1, 3), (2**62, 2**62, 3), (1, 2), (4096,), (True, False), (2**64, False), (-1, False)]
INTERFACES += [(np.int64(5), 1), ("a", 1, 1), "|u1,", "(2,)u1", ">u2", "O", "V8", "S99999999999"]


def interfaces(random: Random) -> None:
    """__cuda_array_interface__ of any values: no address of a GPU's is made up here, so that all are refused."""
    interface: dict[str, Any] = {"shape": (20, 20, 3), "typestr": "|u1", "data": (4096, False), "version": 3}
    strange = [*NUMBERS, *TEXTS, *STRANGE, *INTERFACES]
    for _ in range(int(random.integers(1, 4))):
        key = str(random.choice(["shape", "typestr", "data", "strides", "stream", "mask", "version"]))
        interface[key] = any_of(random, strange)
    if random.random() < 0.1:
        del interface[str(random.choice(list(interface)))]
    exported = SimpleNamespace(__cuda_array_interface__=interface)
    on_gpu = cast(_core.Detector, SimpleNamespace(device="cuda:0"))
    # Without the backend nobody can say whose memory it is.
    with contextlib.suppress(RuntimeError):
        found = attempt(read_on_gpu, on_gpu, exported, "image 3", 0)
        # One without pixels has no address, and is refused for its shape.
        assert isinstance(found, Exception) or 0 in found.shape, f"{interface} gives {found!r}"
        assert not isinstance(found, Exception) or str(found).startswith("image 3"), found
    found = attempt(detector().detect, exported)
    assert isinstance(found, Exception)


KINDS: dict[str, Callable[[Random], None]] = {
    kind.__name__: kind
    for kind in (
        views, options, calls, parts, refining, networks, resizing, suppression, cuts, weights, weight_files, dlpack,
        interfaces,
    )
}  # fmt: skip


def run(kind: str, count: int, first: int = 0) -> None:
    """Cases first .. first + count - 1 of a kind."""
    for case in range(first, first + count):
        try:
            KINDS[kind](np.random.default_rng([zlib.crc32(kind.encode()), case]))
        except Exception as error:
            raise AssertionError(f"case {case} of {kind}: {type(error).__name__}: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="cases of each kind")
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all by default")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    arguments = parser.parse_args()
    for kind in arguments.kinds or KINDS:
        before = Calls.made
        run(kind, arguments.count, arguments.first)
        print(f"{kind}: {arguments.count} cases, {Calls.made - before} calls", flush=True)
    print(f"{Calls.made} calls", flush=True)


if __name__ == "__main__":
    main()
