"""The definition of what mtcnn_fast computes: the whole cascade in plain NumPy, stage by stage, to be read.

Resizing and the networks are in float64, so their results are exact for every practical purpose. What depends on a
precision by convention (a profile's box arithmetic) is in that precision. Every discrete decision that float32 may
take the other way is reported with its margin, so that `assert_agrees` can tell an error from rounding.

Images are uint8 (height, width, 3) in RGB. Boxes are x1, y1, x2, y2 in the authors' coordinates: 1-based pixels, both
corners inclusive, until the very end.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Networks = dict[str, NDArray[np.float32]]
Real = Any  # np.float32 or np.float64
Filter = Literal["area", "cv2_area", "bilinear", "bilinear_of_areas", "adaptive_average"]
Window = tuple[int, NDArray[np.float64]]

WEIGHTS = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"


# --- Conventions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conventions:
    """What known implementations of the cascade do differently; src/conventions.h has the same fields."""

    # Side of a pyramid level. facenet-pytorch's int(side * scale + 1) is one more where side * scale is whole.
    level_size: Literal["ceiling", "truncate_plus_one"]
    # "area_or_bilinear": see `resize_filter`. "cv2_inter_area": cv2.resize with INTER_AREA, which differs in enlarging.
    # "adaptive_average": torch's interpolate(mode="area"), means over whole pixels.
    resampling: Literal["area_or_bilinear", "cv2_inter_area", "adaptive_average"]
    # mtcnn resizes the image as uint8, so that levels are rounded: see `resize_as_opencv`. No package rounds its crops.
    rounds_levels: bool
    # mtcnn (and FaceNet's detect_face.py before it) flips the map of offsets left to right where a single cell of a
    # level is a face: a slip in carrying `if size(y, 1) == 1` over from MATLAB.
    mirrors_lone_cell: bool
    # facenet-pytorch cuts crops to the image and stretches them; the others see black beyond the border.
    clips_crops: bool
    # The authors (and mtcnn) go on from squared boxes rounded by fix(); facenet-pytorch rounds only to cut a crop.
    fixes_boxes: bool
    # facenet-pytorch keeps boxes in float32 and divides by a float32 scale.
    single_precision: bool
    # The order of boxes is by logit, ties in the order met. Packages order by float32 probability, which ties above a
    # logit of about 14. facenet-pytorch breaks ties for the first met (torchvision's stable sort), in O-Net's NMS for
    # the last (numpy.argsort read from its end). mtcnn breaks them as numpy's unstable sort happens to on that
    # processor, which nobody can follow: by logit is as good a guess.
    ranks_by_probability: bool
    # P-Net's and R-Net's NMS count the pixels of both corners (1) or take x2 - x1 for the width (0: torchvision's NMS).
    # O-Net's counts them in all packages.
    overlap_extra: int
    # The reference returns 0-based half-open boxes; packages return the authors' coordinates as they are.
    shifts_output: bool


CONVENTIONS = {
    "reference": Conventions(
        level_size="ceiling",
        resampling="area_or_bilinear",
        rounds_levels=False,
        mirrors_lone_cell=False,
        clips_crops=False,
        fixes_boxes=True,
        single_precision=False,
        ranks_by_probability=False,
        overlap_extra=1,
        shifts_output=True,
    ),
    "facenet-pytorch": Conventions(  # 2.6.0, models/utils/detect_face.py
        level_size="truncate_plus_one",
        resampling="adaptive_average",
        rounds_levels=False,
        mirrors_lone_cell=False,
        clips_crops=True,
        fixes_boxes=False,
        single_precision=True,
        ranks_by_probability=True,
        overlap_extra=0,
        shifts_output=False,
    ),
    "mtcnn": Conventions(  # 0.1.1, mtcnn/mtcnn.py
        level_size="ceiling",
        resampling="cv2_inter_area",
        rounds_levels=True,
        mirrors_lone_cell=True,
        clips_crops=False,
        fixes_boxes=True,
        single_precision=False,
        ranks_by_probability=False,
        overlap_extra=1,
        shifts_output=False,
    ),
}


# --- Weights ---------------------------------------------------------------------------------------------------------


def load_networks(path: Path | None = None) -> Networks:
    """The tensors of a safetensors file (by default the embedded networks) by name."""
    content = (path or WEIGHTS).read_bytes()
    data = 8 + int.from_bytes(content[:8], "little")
    networks = {}
    for name, entry in json.loads(content[8:data]).items():
        if name != "__metadata__":
            begin, end = (data + offset for offset in entry["data_offsets"])
            networks[name] = np.frombuffer(content[begin:end], "<f4").reshape(entry["shape"])
    return networks


@functools.cache
def weight(name: str) -> NDArray[np.float64]:
    return _networks()[name].astype(np.float64)


@functools.cache
def _networks() -> Networks:
    return load_networks()


# --- Resizing --------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def window_table(source: int, target: int, kind: Filter = "area") -> list[Window]:
    """How `target` outputs of an axis are made of its `source` pixels: (first source index, weights) an output."""
    table = []
    for i in range(target):
        if kind in ("area", "cv2_area"):
            # In units of 1 / target pixels, so in whole numbers, output i covers begin..end and pixel j covers
            # j * target..(j + 1) * target.
            begin, end = i * source, (i + 1) * source
            first, last = begin // target, -(-end // target)
            covered: Array = np.diff(np.clip(np.arange(first, last + 1) * target, begin, end))
            if kind == "cv2_area":
                # OpenCV (resize.cpp, computeResizeAreaTab) ignores what it covers no more than 1/1000 of.
                seen = np.flatnonzero(covered > 1e-3 * target)
                first, covered = first + int(seen[0]), covered[seen]
            table.append((first, covered / source))
        elif kind == "adaptive_average":
            first, last = i * source // target, -(-(i + 1) * source // target)
            table.append((first, np.full(last - first, 1 / (last - first))))
        else:
            if kind == "bilinear":
                centre = (i + 0.5) * source / target - 0.5
                first = math.floor(centre)
                fraction = centre - first
            else:
                # OpenCV's INTER_AREA when enlarging (resize.cpp, area_mode): the second pixel counts by what output i
                # covers of it. OpenCV computes this in float64, where rounding may choose another pixel; to 24 and 48
                # pixels it never does.
                first = i * source // target
                fraction = max(0.0, (i + 1) - (first + 1) * target / source) % 1
            taps = np.clip([first, first + 1], 0, source - 1)
            if taps[0] == taps[1]:
                table.append((int(taps[0]), np.ones(1)))
            else:
                table.append((first, np.array([1 - fraction, fraction])))
    return table


def resize_filter(size: tuple[int, int], target: tuple[int, int], conventions: Conventions) -> Filter:
    """The filter by which an image of `size` becomes one of `target`, both (height, width)."""
    if conventions.resampling == "adaptive_average":
        return "adaptive_average"
    shrinks = target[0] <= size[0] and target[1] <= size[1]
    if conventions.resampling == "cv2_inter_area":
        return "cv2_area" if shrinks else "bilinear_of_areas"
    return "area" if shrinks else "bilinear"


def resample(array: Array, target: int, axis: int, kind: Filter, real: Real = np.float64) -> Array:
    """One axis of an array resized to `target`: products added in the order of the pixels, each step rounded."""
    table = window_table(array.shape[axis], target, kind)
    array = np.moveaxis(array, axis, 0)
    first = np.array([first for first, _ in table])
    result = np.zeros((target, *array.shape[1:]), real)
    for tap in range(max(len(weights) for _, weights in table)):
        weights = np.array([weights[tap] if tap < len(weights) else 0.0 for _, weights in table], real)
        taps = np.minimum(first + tap, len(array) - 1)
        result += weights.reshape(-1, *(1,) * (array.ndim - 1)) * array[taps].astype(real)
    return np.moveaxis(result, 0, axis)


def resize_exactly(image: Array, size: tuple[int, int], conventions: Conventions) -> NDArray[np.float64]:
    kind = resize_filter((image.shape[0], image.shape[1]), size, conventions)
    return resample(resample(image, size[0], 0, kind), size[1], 1, kind)


def resize_as_opencv(image: NDArray[np.uint8], size: tuple[int, int], conventions: Conventions) -> Array:
    """cv2.resize of 8-bit pixels with INTER_AREA to whole values, bit for bit when shrinking.

    The order of the float32 operations belongs to the definition: it decides ties. Rounding the exact mean instead gets
    one value in 100,000 wrong (103 of 10.1 million), and that was enough to move one of 325 faces by pixels.
    """
    height, width = image.shape[:2]
    kind = resize_filter((height, width), size, conventions)
    if (height, width) == (2 * size[0], 2 * size[1]):
        # OpenCV's own loop for halving rounds ties up: (a + b + c + d + 2) >> 2.
        return np.floor(resize_exactly(image, size, conventions) + 0.5)
    return np.rint(resample(resample(image, size[1], 1, kind, np.float32), size[0], 0, kind, np.float32))


def resize(image: NDArray[np.uint8], size: tuple[int, int], profile: str = "reference") -> NDArray[np.float64]:
    """A whole image resized to (height, width), as float64 (height, width, 3) in 0..255."""
    conventions = CONVENTIONS[profile]
    if conventions.rounds_levels:
        return resize_as_opencv(image, size, conventions).astype(np.float64)
    return resize_exactly(image, size, conventions)


def normalise(pixels: Array) -> NDArray[np.float64]:
    return (pixels.astype(np.float64) - 127.5) / 128


# Relative tolerance for sizes computed in floating point: an image whose side equals min_face_size keeps its level, and
# a level of exactly n pixels does not become n + 1.
TOLERANCE = 1e-9


def levels(
    height: int,
    width: int,
    min_face_size: float = 20,
    scale_factor: float = 0.709,
    max_face_size: float | None = None,
    profile: str = "reference",
) -> list[tuple[float, int, int]]:
    """The pyramid levels as (scale, height, width), largest first."""
    planned: list[tuple[float, int, int]] = []
    if min(height, width) < 12:
        return planned  # by definition, whatever the enlargement: not even one cell of P-Net at native scale
    scale = 12 / min_face_size
    while min(height, width) * scale >= 12 * (1 - TOLERANCE):
        if max_face_size is None or 12 / scale <= max_face_size * (1 + TOLERANCE):
            if CONVENTIONS[profile].level_size == "ceiling":
                size = [math.ceil(side * scale * (1 - TOLERANCE)) for side in (height, width)]
            else:
                size = [int(side * scale + 1) for side in (height, width)]
            planned.append((scale, max(12, size[0]), max(12, size[1])))
        scale *= scale_factor
    return planned


def pyramid(
    image: NDArray[np.uint8],
    min_face_size: float = 20,
    scale_factor: float = 0.709,
    max_face_size: float | None = None,
    profile: str = "reference",
) -> list[NDArray[np.float64]]:
    """The normalised levels of an image, each (height, width, 3)."""
    height, width = image.shape[:2]
    plan = levels(height, width, min_face_size, scale_factor, max_face_size, profile)
    return [normalise(resize(image, (h, w), profile)) for _, h, w in plan]


# --- Networks --------------------------------------------------------------------------------------------------------

# Crops run through a network together, and rows of a level through a convolution: what keeps im2col in the cache.
CROPS_AT_ONCE = 64
IM2COL_VALUES = 1 << 19


def convolve(x: Array, name: str) -> NDArray[np.float64]:
    """A valid convolution of (n, height, width, in) by `name`.weight (out, in, kh, kw), as (n, h', w', out)."""
    kernel = weight(f"{name}.weight")
    out, _, kh, kw = kernel.shape
    flat = kernel.reshape(out, -1).T
    # (n, h', w', in, kh, kw): the window of each output in the order of the kernel.
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))
    n, height, width = windows.shape[:3]
    result = np.empty((n, height, width, out))
    rows = max(1, IM2COL_VALUES // (n * width * flat.shape[0]))
    for row in range(0, height, rows):
        part = windows[:, row : row + rows]
        result[:, row : row + rows] = (part.reshape(-1, flat.shape[0]) @ flat).reshape(*part.shape[:3], out)
    return result + weight(f"{name}.bias")


def dense(x: Array, name: str) -> NDArray[np.float64]:
    """A dense layer on (..., in)."""
    matrix = weight(f"{name}.weight")
    result: NDArray[np.float64] = x @ matrix.reshape(len(matrix), -1).T + weight(f"{name}.bias")
    return result


def prelu(x: Array, name: str) -> NDArray[np.float64]:
    return np.where(x > 0, x, weight(f"{name}.weight") * x)


def max_pool(x: Array, size: int) -> NDArray[np.float64]:
    """Maxima of size x size windows of (n, height, width, channels), stride 2.

    Caffe's ceil mode: the last window may reach over the border, where it sees fewer values.
    """
    height, width = (-(-(side - size) // 2) + 1 for side in x.shape[1:3])
    padding = [(0, 2 * (count - 1) + size - side) for count, side in zip((height, width), x.shape[1:3], strict=True)]
    padded = np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=-np.inf)
    taps = [
        padded[:, dy : dy + 2 * height - 1 : 2, dx : dx + 2 * width - 1 : 2] for dy in range(size) for dx in range(size)
    ]
    result: NDArray[np.float64] = functools.reduce(np.maximum, taps)
    return result


def flatten(x: Array) -> Array:
    """(n, height, width, channels) as the dense layers take it: (n, channel * row * column)."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def face_logit(x: Array, net: str) -> NDArray[np.float64]:
    """The logit of "face" less that of "not face": the softmax of the two is a sigmoid of this difference."""
    both = dense(x, f"{net}.face")
    difference: NDArray[np.float64] = both[..., 1] - both[..., 0]
    return difference


def pnet(level: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P-Net on a normalised level (h, w, 3): logits (h', w') and offsets (h', w', 4), h' = ceil((h - 2) / 2) - 4."""
    x = max_pool(prelu(convolve(level[None], "pnet.conv1"), "pnet.prelu1"), 2)
    x = prelu(convolve(x, "pnet.conv2"), "pnet.prelu2")
    x = prelu(convolve(x, "pnet.conv3"), "pnet.prelu3")[0]
    return face_logit(x, "pnet"), dense(x, "pnet.box")


def rnet(crops: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """R-Net on normalised crops (n, 24, 24, 3): logits (n,) and offsets (n, 4)."""
    features = [np.zeros((0, 128))]
    for i in range(0, len(crops), CROPS_AT_ONCE):
        x = max_pool(prelu(convolve(crops[i : i + CROPS_AT_ONCE], "rnet.conv1"), "rnet.prelu1"), 3)
        x = max_pool(prelu(convolve(x, "rnet.conv2"), "rnet.prelu2"), 3)
        x = prelu(convolve(x, "rnet.conv3"), "rnet.prelu3")
        features.append(prelu(dense(flatten(x), "rnet.fc"), "rnet.prelu4"))
    x = np.concatenate(features)
    return face_logit(x, "rnet"), dense(x, "rnet.box")


def onet(crops: Array) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """O-Net on normalised crops (n, 48, 48, 3): logits (n,), offsets (n, 4), landmarks (n, 10) as x1..x5, y1..y5."""
    features = [np.zeros((0, 256))]
    for i in range(0, len(crops), CROPS_AT_ONCE):
        x = max_pool(prelu(convolve(crops[i : i + CROPS_AT_ONCE], "onet.conv1"), "onet.prelu1"), 3)
        x = max_pool(prelu(convolve(x, "onet.conv2"), "onet.prelu2"), 3)
        x = max_pool(prelu(convolve(x, "onet.conv3"), "onet.prelu3"), 2)
        x = prelu(convolve(x, "onet.conv4"), "onet.prelu4")
        features.append(prelu(dense(flatten(x), "onet.fc"), "onet.prelu5"))
    x = np.concatenate(features)
    return face_logit(x, "onet"), dense(x, "onet.box"), dense(x, "onet.landmarks")


def probability(logit: Array) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logit, np.float64)))


def threshold_logit(threshold: float) -> float:
    """The logit at a probability; infinite at 0 and 1."""
    if threshold <= 0:
        return -math.inf
    return math.inf if threshold >= 1 else math.log(threshold / (1 - threshold))


# --- Decisions -------------------------------------------------------------------------------------------------------

# Bounds on what float32 arithmetic does to a network's outputs. Seen on 38 photographs, with PyTorch's kernels: 8e-6 of
# (1 + |logit|), and 6e-7 for offsets and landmarks.
LOGIT_ERROR = 4e-5
OFFSET_ERROR = 4e-6
# Logits of equal windows differ by float64 noise here, but must tie.
LOGIT_DECIMALS = 9


@dataclass(frozen=True)
class CloseDecision:
    """A decision that float32 arithmetic may take the other way: its margin is within the rounding error."""

    stage: str  # "pnet", "rnet", "onet": the network whose outputs are decided upon
    kind: str  # "threshold", "fix", "overlap", "order"
    what: str
    margin: float
    bound: float
    box: tuple[float, ...]  # what it is about, in the authors' coordinates

    def __str__(self) -> str:
        place = ", ".join(f"{value:.0f}" for value in self.box)
        return f"{self.stage} {self.kind} at ({place}): {self.what}, margin {self.margin:.1e} of {self.bound:.1e}"


Decisions = list[CloseDecision]


def note(decisions: Decisions, stage: str, kind: str, what: str, margin: float, bound: float, *boxes: Array) -> None:
    corners = np.stack(boxes)
    box = (*corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist())
    decisions.append(CloseDecision(stage, kind, what, float(margin), float(bound), box))


# --- Boxes -----------------------------------------------------------------------------------------------------------


@dataclass
class Candidates:
    """Boxes under consideration in the order met, with the last network's verdict and the errors of it all."""

    boxes: NDArray[np.float64]  # (n, 4)
    box_errors: NDArray[np.float64]  # (n,)
    logits: NDArray[np.float64]  # (n,)
    logit_errors: NDArray[np.float64]  # (n,)
    offsets: NDArray[np.float64]  # (n, 4)
    landmarks: NDArray[np.float64]  # (n, 10): zeros before O-Net

    def __getitem__(self, index: NDArray[Any]) -> Candidates:
        return Candidates(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.boxes)


def together(parts: list[Candidates]) -> Candidates:
    return Candidates(*(np.concatenate([getattr(part, f) for part in parts]) for f in Candidates.__dataclass_fields__))


def precision(conventions: Conventions) -> Real:
    return np.float32 if conventions.single_precision else np.float64


def cell_windows(rows: NDArray[np.int64], columns: NDArray[np.int64], scale: float, real: Real) -> NDArray[np.float64]:
    """The windows of the image that P-Net's cells looked at: stride 2, 12 wide."""
    corners = np.stack([2 * columns + 1, 2 * rows + 1, 2 * columns + 12, 2 * rows + 12], axis=1)
    return np.asarray(np.fix(corners.astype(real) / real(scale)), np.float64)


# Networks that were never trained can say anything. Offsets and landmarks count within -16 to 16, of which what is not
# a number counts as -16. Squares with a corner 16 times the image's longer side, or 2^24 pixels, or further from the
# image's origin are not looked at. So faces are finite whatever the weights are.
MOST_OFFSET = 16
MOST_SIDES = 16
MOST_PIXELS = 2**24


def limited(offsets: Array) -> Array:
    return np.clip(np.nan_to_num(offsets, nan=-MOST_OFFSET), -MOST_OFFSET, MOST_OFFSET)


def regress(boxes: Array, offsets: Array, extra: int, real: Real) -> NDArray[np.float64]:
    """Boxes moved by offsets in units of their widths and heights, which count both corners' pixels if `extra` is 1."""
    boxes, offsets = boxes.astype(real), limited(offsets).astype(real)
    sides = boxes[:, 2:] - boxes[:, :2] + real(extra)
    return np.asarray(boxes + offsets * np.concatenate([sides, sides], axis=1), np.float64)


def square(boxes: Array, real: Real) -> NDArray[np.float64]:
    """The squares of the longer side about the same centres."""
    boxes = boxes.astype(real)
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides * real(0.5) - side * real(0.5)
    return np.asarray(np.concatenate([corner, corner + side], axis=1), np.float64)


def rounding(boxes: Array, real: Real) -> NDArray[np.float64]:
    """Bound on the rounding (n,) of a few additions to coordinates of that size."""
    return 4 * float(np.finfo(real).eps) * np.asarray(np.abs(boxes).max(axis=1, initial=1.0))


def rank(logits: Array, conventions: Conventions) -> Array:
    """What boxes are ordered by, the higher the better."""
    if not conventions.ranks_by_probability:
        return logits
    exponential = np.exp(-np.maximum(logits, -80)).astype(np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + exponential))


def suppress(
    candidates: Candidates, threshold: float, mode: str, stage: str, conventions: Conventions, decisions: Decisions
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices of what is kept, best first.

    A box is dropped if it overlaps a kept one by more than `threshold`: of their union, or (mode "min") of the smaller.
    """
    boxes, logits, errors = candidates.boxes, candidates.logits, candidates.logit_errors
    extra = 1 if stage == "onet" else conventions.overlap_extra
    sides = boxes[:, 2:] - boxes[:, :2] + extra
    areas = sides[:, 0] * sides[:, 1]
    ranks, lowest, highest = (rank(logits + error, conventions) for error in (0, -errors, errors))
    order = np.argsort(-ranks, kind="stable")
    if stage == "onet" and conventions.ranks_by_probability:
        order = np.argsort(ranks, kind="stable")[::-1]
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        inner = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2]) + extra
        inner = np.maximum(inner, 0)
        intersection = inner[:, 0] * inner[:, 1]
        smaller = np.minimum(areas[best], areas[rest])
        whole = areas[best] + areas[rest] - intersection if mode == "union" else smaller
        # What has no area overlaps nothing.
        overlap = np.divide(intersection, whole, out=np.zeros(len(rest)), where=intersection > 0)

        # Whole-numbered boxes have rational overlaps, which everyone compares alike: their bound is 0. Otherwise each
        # side of each area may be off by two coordinates.
        box_error = candidates.box_errors[best] + candidates.box_errors[rest]
        lengths = 2 * inner.sum(axis=1) + sides[best].sum() + sides[rest].sum(axis=1)
        bound = np.divide(2 * box_error * lengths, whole, out=np.zeros(len(rest)), where=intersection > 0)
        margin = np.abs(overlap - threshold)
        for i in np.flatnonzero(margin < bound):
            what = f"overlap {overlap[i]:.6f} with a better box"
            note(decisions, stage, "overlap", what, margin[i], bound[i], boxes[best], boxes[rest[i]])
        # Equal logits come from equal windows, whose tie is sure. So is one of ranks that no error can part.
        sure = (logits[rest] == logits[best]) | ((lowest[rest] == highest[best]) & (lowest[best] == highest[rest]))
        swaps = (overlap > threshold - bound) & (highest[rest] >= lowest[best]) & ~sure
        for i in np.flatnonzero(swaps):
            what = f"which of two overlapping boxes is better, at logit {logits[best]:.5f}"
            lead, bound_of_lead = logits[best] - logits[rest[i]], errors[best] + errors[rest[i]]
            note(decisions, stage, "order", what, lead, bound_of_lead, boxes[best], boxes[rest[i]])

        order = rest[overlap <= threshold]
    return np.array(kept, dtype=np.int64)


def nms(
    boxes: Array,
    scores: Array,
    threshold: float,
    mode: Literal["union", "min"] = "union",
    extra_pixel: Literal[0, 1] = 0,
) -> NDArray[np.int64]:
    """Greedy NMS of boxes (n, 4) by scores (n,): indices of what is kept, highest score first, ties by index."""
    conventions = dataclasses.replace(CONVENTIONS["reference"], overlap_extra=extra_pixel)
    n = len(boxes)
    zeros = np.zeros(n)
    boxes = np.asarray(boxes, np.float64).reshape(n, 4)
    candidates = Candidates(boxes, zeros, np.asarray(scores), zeros, np.zeros((n, 4)), np.zeros((n, 10)))
    return suppress(candidates, threshold, mode, "", conventions, [])


# --- The cascade -----------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """Faces, highest score first, in the coordinates that the profile returns."""

    boxes: NDArray[np.float64]  # (n, 4)
    scores: NDArray[np.float64]  # (n,)
    landmarks: NDArray[np.float64]  # (n, 5, 2)
    cells: int = 0  # P-Net cells at or above the threshold
    rnet: int = 0  # crops that R-Net looked at
    onet: int = 0  # crops that O-Net looked at
    close_decisions: Decisions = field(default_factory=list)


def judge(
    candidates: Candidates, stage: str, threshold: float, decisions: Decisions, *, inclusive: bool = False
) -> Candidates:
    """Those whose face probability is above the threshold (or at it)."""
    limit = threshold_logit(threshold)
    margin = np.abs(candidates.logits - limit)
    for i in np.flatnonzero(margin < candidates.logit_errors):
        what = f"logit {candidates.logits[i]:.6f} against {limit:.6f}"
        note(decisions, stage, "threshold", what, margin[i], candidates.logit_errors[i], candidates.boxes[i])
    return candidates[candidates.logits >= limit if inclusive else candidates.logits > limit]


def logit_errors(logits: Array) -> NDArray[np.float64]:
    return np.asarray(LOGIT_ERROR * (1 + np.abs(logits)))


def propose(
    image: NDArray[np.uint8],
    plan: list[tuple[float, int, int]],
    threshold: float,
    nms_threshold: float,
    profile: str,
    decisions: Decisions,
) -> tuple[Candidates, int]:
    """Windows that P-Net finds, after the suppression within each level, and the number before."""
    conventions = CONVENTIONS[profile]
    parts = []
    cells = 0
    for scale, height, width in plan:
        logits, offsets = pnet(normalise(resize(image, (height, width), profile)))
        logits, errors = logits.round(LOGIT_DECIMALS), logit_errors(logits)
        rows, columns = np.nonzero(logits >= threshold_logit(threshold) - errors)
        windows = cell_windows(rows, columns, scale, precision(conventions))
        met = (rows, columns)
        zeros = np.zeros(len(rows))
        candidates = Candidates(windows, zeros, logits[met], errors[met], offsets[met], np.zeros((len(rows), 10)))
        candidates = judge(candidates, "pnet", threshold, decisions, inclusive=True)
        cells += len(candidates)
        if conventions.mirrors_lone_cell and len(candidates) == 1:
            row, column = (int(i[0]) for i in np.nonzero(logits == candidates.logits[0]))
            candidates.offsets = offsets[row, -1 - column][None]
        parts.append(candidates[suppress(candidates, nms_threshold, "union", "pnet", conventions, decisions)])
    return together(parts), cells


def squares(
    candidates: Candidates, extra: int, stage: str, conventions: Conventions, decisions: Decisions, image: Array
) -> tuple[Candidates, NDArray[np.int64]]:
    """The squares that the next network looks at, and the whole-numbered crops (n, 4) cut for them."""
    real = precision(conventions)
    sides = (candidates.boxes[:, 2:] - candidates.boxes[:, :2] + extra).max(axis=1, initial=0)
    boxes = square(regress(candidates.boxes, candidates.offsets, extra, real), real)
    # A corner of the square depends on three coordinates of the box, each moved by one offset and off by its own error.
    errors = 2 * (OFFSET_ERROR * sides + candidates.box_errors) + rounding(boxes, real)
    fixed: Array = np.fix(boxes)
    nearest = np.rint(boxes)
    margins = np.abs(boxes - nearest)
    margins[nearest == 0] = np.inf  # fix() takes both sides of 0 to 0
    crops = fixed
    if conventions.clips_crops:
        height, width = image.shape[:2]
        lowest, highest = np.array([1, 1, -np.inf, -np.inf]), np.array([np.inf, np.inf, width, height])
        crops = np.clip(fixed, lowest, highest)
        # Beyond the border the rounding does not matter.
        margins[np.clip(nearest - 1, lowest, highest) == np.clip(nearest, lowest, highest)] = np.inf
    for i, corner in zip(*np.nonzero(margins < errors[:, None]), strict=True):
        what = f"{('x1', 'y1', 'x2', 'y2')[corner]} = {boxes[i, corner]:.6f}"
        note(decisions, stage, "fix", what, margins[i, corner], errors[i], boxes[i])
    # The pixels of an empty crop cannot be looked at. (facenet-pytorch raises an exception there.)
    farthest = min(MOST_SIDES * max(image.shape[:2]), MOST_PIXELS)
    near = np.all((boxes[:, :2] > -farthest) & (boxes[:, 2:] < farthest), axis=1)
    seen: NDArray[np.bool_] = near & np.all(crops[:, 2:] >= crops[:, :2], axis=1)
    result = candidates[seen]
    result.boxes = fixed[seen] if conventions.fixes_boxes else boxes[seen]
    result.box_errors = np.zeros(len(result)) if conventions.fixes_boxes else errors[seen]
    return result, crops[seen].astype(np.int64)


def cut(image: NDArray[np.uint8], crops: NDArray[np.int64], side: int, conventions: Conventions) -> NDArray[np.float64]:
    """The normalised crops (n, side, side, 3), black outside the image."""
    height, width = image.shape[:2]
    cuts = np.empty((len(crops), side, side, 3))
    for i, (x1, y1, x2, y2) in enumerate(crops):
        pixels = np.zeros((y2 - y1 + 1, x2 - x1 + 1, 3))
        top, left, bottom, right = max(y1, 1), max(x1, 1), min(y2, height), min(x2, width)
        if top <= bottom and left <= right:
            inside = image[top - 1 : bottom, left - 1 : right]
            pixels[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = inside
        cuts[i] = resize_exactly(pixels, (side, side), conventions)
    return normalise(cuts)


def detect(
    image: NDArray[np.uint8],
    *,
    min_face_size: float = 20,
    max_face_size: float | None = None,
    scale_factor: float = 0.709,
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
    nms_thresholds: tuple[float, float, float, float] = (0.5, 0.7, 0.7, 0.7),
    profile: str = "reference",
) -> Result:
    """The faces in an image, uint8 (height, width, 3) in RGB."""
    conventions = CONVENTIONS[profile]
    real = precision(conventions)
    decisions: Decisions = []
    result = Result(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)), close_decisions=decisions)

    plan = levels(image.shape[0], image.shape[1], min_face_size, scale_factor, max_face_size, profile)
    if not plan:
        return result
    faces, result.cells = propose(image, plan, thresholds[0], nms_thresholds[0], profile, decisions)
    faces = faces[suppress(faces, nms_thresholds[1], "union", "pnet", conventions, decisions)]
    # Only here are widths x2 - x1: P-Net's offsets were trained so.
    faces, crops = squares(faces, 0, "pnet", conventions, decisions, image)

    result.rnet = len(faces)
    logits, faces.offsets = rnet(cut(image, crops, 24, conventions))
    faces.logits, faces.logit_errors = logits.round(LOGIT_DECIMALS), logit_errors(logits)
    faces = judge(faces, "rnet", thresholds[1], decisions)
    faces = faces[suppress(faces, nms_thresholds[2], "union", "rnet", conventions, decisions)]
    faces, crops = squares(faces, 1, "rnet", conventions, decisions, image)

    result.onet = len(faces)
    logits, faces.offsets, faces.landmarks = onet(cut(image, crops, 48, conventions))
    faces.logits, faces.logit_errors = logits.round(LOGIT_DECIMALS), logit_errors(logits)
    faces = judge(faces, "onet", thresholds[2], decisions)
    # Landmarks lie in the box that O-Net saw, before its offsets. The 1 taken away makes them 0-based.
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2] + 1
    points = limited(faces.landmarks).reshape(-1, 2, 5) * sides[:, :, None] + faces.boxes[:, :2, None] - 1
    faces.landmarks = points.transpose(0, 2, 1).reshape(-1, 10)
    faces.box_errors = faces.box_errors + OFFSET_ERROR * sides.max(axis=1, initial=0)
    faces.boxes = regress(faces.boxes, faces.offsets, 1, real)
    faces.box_errors = faces.box_errors + rounding(faces.boxes, real)
    faces = faces[suppress(faces, nms_thresholds[3], "min", "onet", conventions, decisions)]

    result.boxes = faces.boxes - [1, 1, 0, 0] if conventions.shifts_output else faces.boxes
    result.scores = probability(faces.logits)
    result.landmarks = faces.landmarks.reshape(-1, 5, 2)
    return result


def mirrored_landmarks(image: NDArray[np.uint8], boxes: Array, profile: str = "reference") -> NDArray[np.float64]:
    """Landmarks (n, 5, 2) of faces with these final boxes: the mean of O-Net's for the square about each and for its
    mirror image. Every square has pixels in the image."""
    conventions = CONVENTIONS[profile]
    windows = boxes.astype(np.float64) + ([1, 1, 0, 0] if conventions.shifts_output else 0)
    squared = square(windows, precision(conventions))
    sides = windows[:, 2:] - windows[:, :2]
    # What is a square but for one pixel stays in its place.
    windows = np.where(np.abs(sides[:, :1] - sides[:, 1:]) <= 1, windows, squared)
    crops = np.fix(windows)
    if conventions.fixes_boxes:
        windows = crops
    if conventions.clips_crops:
        height, width = image.shape[:2]
        crops = np.clip(crops, [1, 1, -np.inf, -np.inf], [np.inf, np.inf, width, height])
    pixels = cut(image, crops.astype(np.int64), 48, conventions)
    seen, mirrored = (limited(onet(each)[2]).reshape(-1, 2, 5) for each in (pixels, pixels[:, :, ::-1]))
    # The left eye and corner of the mouth are the right ones of the mirror image, where x goes the other way.
    mirrored = mirrored[:, :, [1, 0, 2, 4, 3]]
    mirrored[:, 0] = 1 - mirrored[:, 0]
    sides = windows[:, 2:] - windows[:, :2] + 1
    points = (seen + mirrored) / 2 * sides[:, :, None] + windows[:, :2, None] - 1
    return np.asarray(points.transpose(0, 2, 1))


# --- Agreement -------------------------------------------------------------------------------------------------------


def assert_agrees(
    result: Result,
    boxes: Array,
    scores: Array,
    landmarks: Array,
    *,
    box_tolerance: float = 0.01,
    score_tolerance: float = 1e-4,
    landmark_tolerance: float = 0.02,
) -> Decisions:
    """Compare an implementation's faces with the oracle's, one to one; tolerances in pixels and in probability.

    Returns the close decisions that explain the differences, none if there is no difference. Raises AssertionError for
    a difference without a close decision about a box that touches it: then the implementation is wrong.
    """
    boxes, scores, landmarks = (np.asarray(array, np.float64) for array in (boxes, scores, landmarks))
    n = len(boxes)
    assert boxes.shape == (n, 4), f"boxes have shape {boxes.shape}"
    assert scores.shape == (n,), f"{n} boxes, but scores have shape {scores.shape}"
    assert landmarks.shape == (n, 5, 2), f"{n} boxes, but landmarks have shape {landmarks.shape}"
    assert (np.diff(scores) <= 0).all(), "scores are not sorted, highest first"

    differences: list[tuple[str, Array]] = []
    unmatched = set(range(n))
    for i, box in enumerate(result.boxes):
        described = f"face {i} at {np.round(box, 2).tolist()}, score {result.scores[i]:.6f}"
        away = {j: float(np.abs(boxes[j] - box).max()) for j in unmatched}
        nearest = min(away, key=away.__getitem__, default=None)
        if nearest is None or away[nearest] > box_tolerance:
            differences.append(
                (f"{described} is missing (nearest is {away.get(nearest or 0, math.inf):.3f} px off)", box)
            )
            continue
        unmatched.remove(nearest)
        off = abs(scores[nearest] - result.scores[i])
        if off > score_tolerance:
            differences.append((f"{described}: score is off by {off:.2e}", box))
        off = np.abs(landmarks[nearest] - result.landmarks[i]).max()
        if off > landmark_tolerance:
            differences.append((f"{described}: landmarks are off by {off:.3f} px", box))
    for j in sorted(unmatched):
        described = f"{np.round(boxes[j], 2).tolist()}, score {scores[j]:.6f}"
        differences.append((f"a face at {described} is not the oracle's", boxes[j]))

    explanations: Decisions = []
    unexplained = []
    for difference, box in differences:
        near = [decision for decision in result.close_decisions if _touches(decision.box, box)]
        explanations += [decision for decision in near if decision not in explanations]
        if not near:
            unexplained.append(difference)
    if unexplained:
        raise AssertionError(
            f"{len(unexplained)} differences from the oracle ({len(result.boxes)} faces) that no close decision "
            "explains:\n  " + "\n  ".join(unexplained)
        )
    return explanations


def _touches(a: tuple[float, ...], b: Array) -> bool:
    return bool(a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3])
