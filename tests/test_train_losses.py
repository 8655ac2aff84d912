"""The objective, against finite differences and a slow formulation of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from mtcnn_fast.train.losses import TASK_WEIGHTS, Metrics, Targets, TaskWeights, measure, multitask_loss  # noqa: E402
from mtcnn_fast.train.networks import NETWORK_CLASSES, Outputs  # noqa: E402
from mtcnn_fast.train.samples import LANDMARK, NEGATIVE, PART, POSITIVE  # noqa: E402

EQUAL = TaskWeights(1, 1, 1)
MIXED = [NEGATIVE] * 9 + [POSITIVE] * 4 + [PART] * 3 + [LANDMARK] * 4


def batch(kinds: list[int], seed: int = 0, dtype: Any = None) -> tuple[Outputs, Targets]:
    """Random outputs that want gradients, and targets with NaN wherever the kind has none."""
    random = np.random.default_rng(seed)
    n, dtype = len(kinds), dtype or torch.float64
    order = random.permutation(n)
    kind = torch.tensor(kinds, dtype=torch.int8)[order]
    boxes = torch.from_numpy(random.normal(0, 0.3, (n, 4)))
    landmarks = torch.from_numpy(random.uniform(0, 1, (n, 5, 2)))
    boxes[(kind == NEGATIVE) | (kind == LANDMARK)] = torch.nan
    landmarks[kind != LANDMARK] = torch.nan
    values = [torch.from_numpy(random.normal(0, 1, (n, width))) for width in (2, 4, 10)]
    outputs = Outputs(*(value.to(dtype).requires_grad_() for value in values))
    return outputs, Targets(kind, boxes.to(dtype), landmarks.to(dtype))


def slow(outputs: Outputs, targets: Targets, weights: TaskWeights, share: float) -> tuple[float, ...]:
    """Total, face, box, landmarks: one sample after the other, from the formulas."""
    kinds = targets.kinds.tolist()
    logits, offsets, points = (output.detach().numpy().astype(np.float64) for output in outputs)
    face, box, landmarks = [], [], []
    for i, kind in enumerate(kinds):
        if kind in (NEGATIVE, POSITIVE):
            p = 1 / (1 + math.exp(logits[i, 0] - logits[i, 1]))
            y = int(kind == POSITIVE)
            face.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
        if kind in (POSITIVE, PART):
            box.append(sum((offsets[i, j] - float(targets.boxes[i, j])) ** 2 for j in range(4)))
        if kind == LANDMARK:
            x = [(points[i, j] - float(targets.landmarks[i, j, 0])) ** 2 for j in range(5)]
            y_ = [(points[i, 5 + j] - float(targets.landmarks[i, j, 1])) ** 2 for j in range(5)]
            landmarks.append(sum(x) + sum(y_))
    # In hundredths, to be exact.
    kept = max(1, round(share * 100) * len(face) // 100)
    hardest = sorted(face, reverse=True)[:kept]
    means = [sum(losses) / max(1, len(losses)) for losses in (hardest, box, landmarks)]
    return sum(weight * mean for weight, mean in zip(weights, means, strict=True)), *means


def grads(outputs: Outputs) -> list[NDArray[np.float64]]:
    return [output.grad.numpy() for output in outputs]


@pytest.mark.parametrize("share", [0.25, 0.7, 1])
@pytest.mark.parametrize("name", NETWORK_CLASSES)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_slow_formulation(seed: int, name: str, share: float) -> None:
    outputs, targets = batch(MIXED * (seed + 1), seed)
    losses = multitask_loss(outputs, targets, TASK_WEIGHTS[name], share)
    expected = slow(outputs, targets, TASK_WEIGHTS[name], share)
    for mine, value in zip((losses.total, losses.face, losses.box, losses.landmarks), expected, strict=True):
        assert mine.ndim == 0
        assert mine.item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("share", [0.5, 1])
def test_gradients_are_those_of_finite_differences(share: float) -> None:
    outputs, targets = batch([*MIXED[::2], PART])

    def total(*values: Any) -> Any:
        return multitask_loss(Outputs(*values), targets, TaskWeights(1, 0.5, 0.7), share).total

    assert torch.autograd.gradcheck(total, tuple(outputs))


def test_a_batch_by_hand() -> None:
    nan = torch.nan
    outputs = Outputs(
        torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, -5.0], [5.0, -5.0]]),
        torch.tensor([[9.0] * 4, [0.5, 0, 0, 0], [0, 0, 2.0, 0], [9.0] * 4]),
        torch.tensor([[9.0] * 10, [9.0] * 10, [9.0] * 10, [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]]),
    )
    points = torch.tensor([[1.0, 6], [2, 7], [3, 8], [4, 9], [5, 13]])  # the last y is 3 away
    targets = Targets(
        torch.tensor([NEGATIVE, POSITIVE, PART, LANDMARK]),
        torch.tensor([[nan] * 4, [0.0] * 4, [0.0, 0, 0, 1], [nan] * 4]),
        torch.stack([torch.full((5, 2), nan)] * 3 + [points]),
    )
    losses = multitask_loss(outputs, targets, TaskWeights(1, 0.5, 2), hard_share=1)
    assert losses.face.item() == pytest.approx(math.log(2))
    assert losses.box.item() == pytest.approx((0.25 + 5) / 2)
    assert losses.landmarks.item() == pytest.approx(9)
    assert losses.total.item() == pytest.approx(math.log(2) + 2.625 / 2 + 18)
    assert losses.kept.tolist() == [True, True, False, False]

    metrics = measure(outputs, targets)
    assert metrics.counts.tolist() == [2, 2, 1]
    assert metrics.accuracy == 0.5  # equal logits say background
    assert metrics.box_error == pytest.approx((0.5 / 4 + 3 / 4) / 2)
    assert metrics.landmark_error == pytest.approx(3 / 5)


def test_the_paper_s_weights() -> None:
    assert TASK_WEIGHTS == {"pnet": (1, 0.5, 0.5), "rnet": (1, 0.5, 0.5), "onet": (1, 0.5, 1)}


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99, 1])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 90, 101])
def test_exactly_the_hardest_share_gives_gradients(n: int, share: float) -> None:
    outputs, targets = batch([NEGATIVE] * (n // 2) + [POSITIVE] * (n - n // 2) + [PART, LANDMARK] * 7, n)
    losses = multitask_loss(outputs, targets, TaskWeights(1, 0, 0), share)
    losses.total.backward()
    k = max(1, round(share * 100) * n // 100)
    assert losses.kept.sum() == k
    gradient = outputs.face.grad
    assert torch.equal(gradient.abs().sum(1) > 0, losses.kept)
    # (softmax - label) / k
    label = torch.nn.functional.one_hot((targets.kinds == POSITIVE).long(), 2)
    expected = (outputs.face.detach().softmax(1) - label) / k
    torch.testing.assert_close(gradient[losses.kept], expected[losses.kept])
    margin = (outputs.face[:, 1] - outputs.face[:, 0]) * torch.where(targets.kinds == POSITIVE, 1, -1)
    valid = (targets.kinds == POSITIVE) | (targets.kinds == NEGATIVE)
    if k < n:
        assert margin[losses.kept].max() <= margin[valid & ~losses.kept].min()


def test_wanted_probabilities() -> None:
    """Samples count where a probability is wanted, by their divergence from it."""
    outputs, targets = batch(MIXED, 3)
    wanted = torch.from_numpy(np.random.default_rng(2).uniform(0, 1, len(MIXED)))
    wanted[::5], wanted[1], wanted[2] = torch.nan, 0, 1
    losses = multitask_loss(outputs, targets._replace(faces=wanted), EQUAL, 0.5)
    expected = []
    for (background, face), t in zip(outputs.face.tolist(), wanted.tolist(), strict=True):
        p = 1 / (1 + math.exp(background - face))
        expected.append(sum(a * math.log(a / b) for a, b in ((t, p), (1 - t, 1 - p)) if a > 0))
    hardest = [value for value, t in zip(expected, wanted.tolist(), strict=True) if not math.isnan(t)]
    hardest = sorted(hardest, reverse=True)[: len(hardest) // 2]
    assert losses.face.item() == pytest.approx(sum(hardest) / len(hardest), rel=1e-12)
    losses.total.backward()
    (gradient, *_) = grads(outputs)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.abs(gradient).sum(1) > 0, losses.kept.numpy())
    # The labels themselves are wanted of positives and negatives.
    hard = torch.tensor([{POSITIVE: 1.0, NEGATIVE: 0.0}.get(kind, math.nan) for kind in targets.kinds.tolist()])
    assert torch.equal(
        multitask_loss(outputs, targets._replace(faces=hard), EQUAL).total,
        multitask_loss(outputs, targets, EQUAL).total,
    )


def test_of_equal_losses_the_first_are_kept() -> None:
    kinds = torch.tensor([PART, *[NEGATIVE] * 10, LANDMARK, *[NEGATIVE] * 10])
    n = len(kinds)
    outputs = Outputs(torch.ones(n, 2, requires_grad=True), torch.zeros(n, 4), torch.zeros(n, 10))
    losses = multitask_loss(outputs, Targets(kinds, torch.zeros(n, 4), torch.zeros(n, 5, 2)), EQUAL, 0.55)
    assert losses.kept.nonzero()[:, 0].tolist() == [*range(1, 11), 12]
    losses.total.backward()
    assert (outputs.face.grad.abs().sum(1) > 0).sum() == 11


@pytest.mark.parametrize(
    ("kinds", "empty"),
    [
        ([PART, LANDMARK] * 3, {"face"}),
        ([NEGATIVE, LANDMARK] * 3, {"box"}),
        ([NEGATIVE, POSITIVE, PART], {"landmarks"}),
        ([NEGATIVE], {"box", "landmarks"}),
        ([LANDMARK], {"face", "box"}),
        ([], {"face", "box", "landmarks"}),
    ],
)
def test_a_task_without_samples(kinds: list[int], empty: set[str]) -> None:
    outputs, targets = batch(kinds)
    losses = multitask_loss(outputs, targets, EQUAL)
    losses.total.backward()
    assert losses.total.isfinite()
    for task, gradient in zip(Outputs._fields, grads(outputs), strict=True):
        assert np.isfinite(gradient).all()
        assert (getattr(losses, task).item() == 0) == (task in empty)
        assert (np.abs(gradient).sum() == 0) == (task in empty)
    assert losses.kept.any() == ("face" not in empty)
    for count, task in zip(measure(outputs, targets).counts.tolist(), Outputs._fields, strict=True):
        assert (count == 0) == (task in empty)


def test_samples_without_a_task_give_it_no_gradient() -> None:
    outputs, targets = batch(MIXED)
    multitask_loss(outputs, targets, EQUAL, 1).total.backward()
    kinds = targets.kinds.numpy()
    for gradient, counting in zip(grads(outputs), [(NEGATIVE, POSITIVE), (POSITIVE, PART), (LANDMARK,)], strict=True):
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(np.abs(gradient).sum(1) > 0, np.isin(kinds, counting))


def test_targets_that_do_not_count_do_not_matter() -> None:
    outputs, targets = batch(MIXED)
    results = []
    for value in (torch.nan, torch.inf, 0.0, 1e30):
        boxes, landmarks = (torch.nan_to_num(target, nan=value) for target in (targets.boxes, targets.landmarks))
        if math.isnan(value):
            boxes, landmarks = targets.boxes, targets.landmarks
        losses = multitask_loss(outputs, Targets(targets.kinds, boxes, landmarks), EQUAL)
        results.append([losses.total, *torch.autograd.grad(losses.total, outputs)])
    for result in results[1:]:
        for value, expected in zip(result, results[0], strict=True):
            assert torch.equal(value, expected)


def test_outputs_that_do_not_count_do_not_matter() -> None:
    outputs, targets = batch(MIXED)
    with torch.no_grad():
        outputs.face[targets.kinds == PART] = torch.inf
        outputs.box[targets.kinds == NEGATIVE] = torch.nan
        outputs.landmarks[targets.kinds == POSITIVE] = torch.inf
    losses = multitask_loss(outputs, targets, EQUAL)
    losses.total.backward()
    assert losses.total.isfinite()
    for gradient in grads(outputs):
        assert np.isfinite(gradient).all()


def test_a_network_that_diverged_is_not_hidden() -> None:
    for task in range(3):
        outputs, targets = batch(MIXED)
        with torch.no_grad():
            outputs[task][:] = torch.nan
        assert multitask_loss(outputs, targets, EQUAL).total.isnan()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_extreme_logits(dtype: str) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]] * 2, dtype=getattr(torch, dtype), requires_grad=True)
    outputs = Outputs(logits, torch.zeros(4, 4), torch.zeros(4, 10))
    targets = Targets(torch.tensor([NEGATIVE, POSITIVE, POSITIVE, NEGATIVE]), torch.zeros(4, 4), torch.zeros(4, 5, 2))
    losses = multitask_loss(outputs, targets, EQUAL, 1)
    losses.total.backward()
    assert losses.face.dtype == torch.float32
    assert losses.face.item() == pytest.approx(1e4, rel=0.01)
    torch.testing.assert_close(logits.grad.float(), torch.tensor([[0.0, 0], [0, 0], [0.25, -0.25], [-0.25, 0.25]]))


def test_the_order_of_samples_does_not_matter() -> None:
    outputs, targets = batch(MIXED)
    order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(1))
    losses = multitask_loss(outputs, targets, EQUAL)
    permuted = multitask_loss(
        Outputs(*(output[order] for output in outputs)), Targets(*(target[order] for target in targets[:3])), EQUAL
    )
    torch.testing.assert_close(permuted.total, losses.total)
    assert torch.equal(permuted.kept, losses.kept[order])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_kinds_of_any_integer_type(dtype: str) -> None:
    outputs, targets = batch(MIXED)
    expected = multitask_loss(outputs, targets, EQUAL).total
    kinds = targets.kinds.to(getattr(torch, dtype))
    assert torch.equal(multitask_loss(outputs, targets._replace(kinds=kinds), EQUAL).total, expected)


def test_metrics_add_up_over_batches() -> None:
    outputs, targets = batch(MIXED * 5)
    whole = measure(outputs, targets)
    parts = [
        measure(Outputs(*(output[rows] for output in outputs)), Targets(*(target[rows] for target in targets[:3])))
        for rows in (slice(0, 7), slice(7, 8), slice(8, None))
    ]
    summed = sum(parts[1:], parts[0])
    assert isinstance(summed, Metrics)
    assert summed.counts.tolist() == whole.counts.tolist() == [65, 35, 20]
    torch.testing.assert_close(summed.sums, whole.sums)

    kinds = targets.kinds.numpy()
    logits, boxes, landmarks = (output.detach().numpy() for output in outputs)
    face, box, points = np.isin(kinds, [0, 1]), np.isin(kinds, [1, 2]), kinds == LANDMARK
    right = (logits[:, 1] > logits[:, 0]) == (kinds == POSITIVE)
    assert whole.accuracy == pytest.approx(right[face].mean())
    assert whole.box_error == pytest.approx(np.abs(boxes[box] - targets.boxes.numpy()[box]).mean())
    pairs = np.stack([landmarks[:, :5], landmarks[:, 5:]], 2)
    distance = np.hypot(*np.moveaxis(pairs[points] - targets.landmarks.numpy()[points], 2, 0))
    assert whole.landmark_error == pytest.approx(distance.mean())
    assert not whole.sums.requires_grad
    nothing = measure(*batch([]))
    assert math.isnan(nothing.accuracy)
    assert (nothing + whole).accuracy == whole.accuracy


def test_a_network_learns() -> None:
    """Every task's loss falls on a batch that is learnt by heart, with mining on."""
    torch.manual_seed(0)
    network = NETWORK_CLASSES["pnet"](1)
    crops = torch.rand(len(MIXED), 3, 12, 12) * 2 - 1
    _, targets = batch(MIXED, dtype=torch.float32)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    history = []
    for _ in range(150):
        losses = multitask_loss(network(crops), targets, TASK_WEIGHTS["pnet"])
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append([loss.item() for loss in (losses.face, losses.box, losses.landmarks)])
    assert (np.array(history[-1]) < 0.2 * np.array(history[0])).all()
    assert measure(network(crops), targets).accuracy == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kinds": torch.zeros(20, 1, dtype=torch.int8)}, ValueError, r"kinds has shape \(20, 1\)"),
        ({"kinds": torch.zeros(19, dtype=torch.int8)}, ValueError, r"boxes has shape \(20, 4\); wanted \(n, 4\)"),
        ({"kinds": torch.zeros(20)}, TypeError, "float32; wanted integers"),
        ({"kinds": torch.zeros(20, dtype=torch.bool)}, TypeError, "bool; wanted integers"),
        ({"kinds": torch.full((20,), -1)}, ValueError, "from -1 to -1; wanted 0 to 3"),
        ({"kinds": torch.full((20,), 4)}, ValueError, "from 4 to 4"),
        ({"boxes": torch.zeros(20, 5)}, ValueError, "boxes"),
        ({"landmarks": torch.zeros(20, 10)}, ValueError, r"landmarks has shape .*wanted \(n, 5, 2\)"),
        ({"face": torch.zeros(20)}, ValueError, "outputs.face"),
        ({"box": torch.zeros(20, 4, 1, 1)}, ValueError, "outputs.box"),
        ({"points": torch.zeros(21, 10)}, ValueError, "outputs.landmarks"),
        ({"share": 0}, ValueError, "hard_share is 0"),
        ({"share": 1.1}, ValueError, "hard_share"),
        ({"share": math.nan}, ValueError, "hard_share"),
        ({"share": "0.7"}, TypeError, "hard_share"),
    ],
)
def test_bad_batches(change: dict[str, Any], error: type[Exception], message: str) -> None:
    outputs, targets = batch(MIXED)
    outputs = Outputs(
        change.get("face", outputs.face), change.get("box", outputs.box), change.get("points", outputs.landmarks)
    )
    targets = targets._replace(**{key: change[key] for key in Targets._fields if key in change})
    with pytest.raises(error, match=message):
        multitask_loss(outputs, targets, EQUAL, change.get("share", 0.7))
