"""The objective of training: three tasks. Each sample takes part in the tasks that its kind labels.

Zhang et al. 2016, equations 1 to 4 and section III.B, with two readings that their text leaves open. Equation 1 prints
(1 - y)(1 - log p), which has no minimum as p -> 0; cross-entropy, (1 - y) log(1 - p), is meant. The sum of each task is
divided by the number of its samples, so that the mix of kinds in a batch does not change the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mtcnn_fast.checks import number
from mtcnn_fast.train.networks import Outputs
from mtcnn_fast.train.samples import LANDMARK, NEGATIVE, PART, POSITIVE

# The kinds of samples that count in each task: those whose beta in the paper is 1. A part face is neither face nor
# background.
FACE_KINDS = (NEGATIVE, POSITIVE)
BOX_KINDS = (POSITIVE, PART)
LANDMARK_KINDS = (LANDMARK,)


class TaskWeights(NamedTuple):
    """The weight of each task's loss in the objective: alpha in the paper."""

    face: float
    box: float
    landmarks: float


TASK_WEIGHTS = {
    "pnet": TaskWeights(1, 0.5, 0.5),
    "rnet": TaskWeights(1, 0.5, 0.5),
    "onet": TaskWeights(1, 0.5, 1),
}


class Targets(NamedTuple):
    """The labels of a batch, on one device. Values that the kind of a sample does not label may be NaN."""

    kinds: Tensor
    """(n,) integers: NEGATIVE, POSITIVE, PART or LANDMARK of train.samples."""
    boxes: Tensor
    """(n, 4) floats: offsets of x1, y1, x2, y2 from the window in units of its width and height."""
    landmarks: Tensor
    """(n, 5, 2) floats: x, y from the window's corner in the same units, in the order of `LANDMARKS`."""
    faces: Tensor | None = None
    """(n,) floats: the wanted probability of a face; NaN for a sample that does not count in that task. None: 1 for
    positives and 0 for negatives; the others do not count."""


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Scalars on the device of the outputs. A task without samples has 0."""

    total: Tensor
    """The objective: the sum of the tasks' losses, each times its weight."""
    face: Tensor
    """Mean cross-entropy of the kept samples, less the least that it can be: the entropy of the wanted probability."""
    box: Tensor
    """Mean over samples of the squared Euclidean distance between offsets (4)."""
    landmarks: Tensor
    """Mean over samples of the squared Euclidean distance between landmarks (10)."""
    kept: Tensor
    """(n,) bool: the samples whose face loss gives gradients."""


def multitask_loss(outputs: Outputs, targets: Targets, weights: TaskWeights, hard_share: float = 0.7) -> Losses:
    """The objective of a batch, computed in float32 or a wider type.

    hard_share: online hard sample mining. Of the n samples that are faces or background, only the
    max(1, floor(hard_share n)) of greatest face loss count; of equal ones the first. 1 takes all.

    Raises ValueError for shapes that do not fit and, on the CPU, for kinds that do not exist. On other devices such
    samples count in no task, because the check would wait for the device.
    """
    outputs = _widened(outputs, targets)
    share = number("hard_share", hard_share)
    if not 0 < share <= 1:
        raise ValueError(f"hard_share is {hard_share}; wanted more than 0, at most 1")

    wanted = (targets.kinds == POSITIVE).to(outputs.face.dtype) if targets.faces is None else targets.faces
    counts = _is_one_of(targets.kinds, FACE_KINDS) if targets.faces is None else ~targets.faces.isnan()
    entropy = _cross_entropy(outputs.face, wanted.to(outputs.face.dtype), counts)
    kept = _hardest(entropy.detach(), counts, share)
    face = _mean(torch.where(kept, entropy, 0), kept)

    counts = _is_one_of(targets.kinds, BOX_KINDS)
    box = _mean(_difference(outputs.box, targets.boxes, counts).square().sum(1), counts)

    counts = _is_one_of(targets.kinds, LANDMARK_KINDS)
    landmarks = _mean(_difference(outputs.landmarks, planar(targets.landmarks), counts).square().sum(1), counts)

    total = weights.face * face + weights.box * box + weights.landmarks * landmarks
    return Losses(total, face, box, landmarks, kept)


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """Sums over samples, which add up over batches with `+`. A mean without samples is NaN.

    The sums stay on the device of the outputs, so that training waits for it only where a mean is read.
    """

    sums: Tensor
    """(3,) float64: samples classified right, box errors, landmark errors."""
    counts: Tensor
    """(3,) int64: samples in each sum."""

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(self.sums + other.sums, self.counts + other.counts)

    @property
    def accuracy(self) -> float:
        """The share of faces and background that the greater logit tells apart. Equal logits mean background."""
        return self._mean(0)

    @property
    def box_error(self) -> float:
        """Mean absolute error of an offset, in sides of the window."""
        return self._mean(1)

    @property
    def landmark_error(self) -> float:
        """Mean Euclidean distance between a landmark and its target, in sides of the window."""
        return self._mean(2)

    def _mean(self, i: int) -> float:
        return float(self.sums[i] / self.counts[i])


@torch.no_grad()
def measure(outputs: Outputs, targets: Targets) -> Metrics:
    """The errors of a network on a batch, independent of the objective. Raises as `multitask_loss`."""
    outputs = _widened(outputs, targets)
    in_face, in_box, in_landmarks = (
        _is_one_of(targets.kinds, kinds) for kinds in (FACE_KINDS, BOX_KINDS, LANDMARK_KINDS)
    )
    says_face = outputs.face[:, 1] > outputs.face[:, 0]
    right = in_face & (says_face == (targets.kinds == POSITIVE))
    box = _difference(outputs.box, targets.boxes, in_box).abs().mean(1)
    apart = _difference(outputs.landmarks, planar(targets.landmarks), in_landmarks)
    landmarks = torch.linalg.vector_norm(apart.reshape(-1, 2, 5), dim=1).mean(1)
    return Metrics(
        torch.stack([values.sum(dtype=torch.float64) for values in (right, box, landmarks)]),
        torch.stack([counts.sum() for counts in (in_face, in_box, in_landmarks)]),
    )


def planar(landmarks: Tensor) -> Tensor:
    """Landmarks (n, 5, 2) in the order of the networks, (n, 10): x1 to x5, y1 to y5."""
    return landmarks.transpose(1, 2).flatten(1)


def _cross_entropy(logits: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """The cross-entropy of wanted probabilities (n,), less their entropy: else samples whose label is in doubt would be
    the hardest."""
    # Masked before the arithmetic: a logit that overflows would make every gradient 0 * inf = NaN.
    logits, wanted = torch.where(counts[:, None], logits, 0), torch.where(counts, wanted, 0)
    both = torch.stack([1 - wanted, wanted], 1)
    least: Tensor = torch.special.entr(both).sum(1)
    return functional.cross_entropy(logits, both, reduction="none") - least


def _difference(values: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """values - targets where samples count, else 0. Their gradients have no NaN either."""
    return torch.where(counts[:, None], values - targets, 0)


def _hardest(entropy: Tensor, counts: Tensor, share: float) -> Tensor:
    """(n,) bool: exactly max(1, floor(share * n)) of the n samples that count, or none of none."""
    # In integers, because in floats 0.7 * 90 is 62.99999999999999, and without waiting for n from the device.
    numerator, denominator = Fraction(share).limit_denominator(10**6).as_integer_ratio()
    valid = counts.sum()
    k = (numerator * valid // denominator).clamp(min=1).minimum(valid)
    order = entropy.masked_fill(~counts, -torch.inf).argsort(descending=True, stable=True)
    ranks = torch.arange(len(order), device=order.device)
    return torch.zeros_like(counts).scatter(0, order, ranks < k)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return values.sum() / counts.sum().clamp(min=1)


def _is_one_of(kinds: Tensor, wanted: tuple[int, ...]) -> Tensor:
    return torch.stack([kinds == kind for kind in wanted]).any(0)


def _widened(outputs: Outputs, targets: Targets) -> Outputs:
    """The outputs in float32 or wider. Raises as `multitask_loss` unless all shapes are those of one batch."""
    n = len(targets.kinds) if targets.kinds.ndim == 1 else -1
    for name, values, wanted in (
        ("kinds", targets.kinds, (n,)),
        ("boxes", targets.boxes, (n, 4)),
        ("landmarks", targets.landmarks, (n, 5, 2)),
        *([] if targets.faces is None else [("faces", targets.faces, (n,))]),
        ("outputs.face", outputs.face, (n, 2)),
        ("outputs.box", outputs.box, (n, 4)),
        ("outputs.landmarks", outputs.landmarks, (n, 10)),
    ):
        if values.shape != wanted:
            sides = ", ".join(["n", *map(str, wanted[1:])])
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}; wanted ({sides}), where n is the number of kinds"
            )
    kinds = targets.kinds
    if kinds.is_floating_point() or kinds.dtype == torch.bool:
        raise TypeError(f"kinds is {kinds.dtype}; wanted integers")
    if kinds.device.type == "cpu" and not _is_one_of(kinds, (NEGATIVE, POSITIVE, PART, LANDMARK)).all():
        raise ValueError(f"kinds has values from {kinds.min()} to {kinds.max()}; wanted {NEGATIVE} to {LANDMARK}")
    return Outputs(*(values.to(torch.promote_types(values.dtype, torch.float32)) for values in outputs))
