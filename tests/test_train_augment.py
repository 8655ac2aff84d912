"""Augmentation of batches of training samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mtcnn_fast.train.augment import augment, change_colours, mirror  # noqa: E402
from mtcnn_fast.train.augmentation import Augmentation  # noqa: E402
from mtcnn_fast.train.degrade import smooth  # noqa: E402

NONE = Augmentation(flip=0, brightness=0, contrast=0, saturation=0, grey=0, blur=0)
OFF_BY_DEFAULT = ("mask", "patch", "gamma", "motion", "shrink", "noise", "jpeg", "border")


def only(**changes: Any) -> Augmentation:
    values = {field: getattr(NONE, field) for field in ("flip", "brightness", "contrast", "saturation", "grey", "blur")}
    return Augmentation(**(values | changes))


def seeded(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def samples(n: int = 64, size: int = 12) -> tuple[Any, Any, Any]:
    """Images as a store's batches are when seen in PyTorch's order, and targets, some unknown."""
    random = np.random.default_rng(n)
    images = torch.from_numpy(random.integers(0, 256, (n, size, size, 3), np.uint8)).permute(0, 3, 1, 2)
    boxes = torch.from_numpy(random.uniform(-0.4, 0.4, (n, 4)).astype(np.float32))
    landmarks = torch.from_numpy(random.uniform(0, 1, (n, 5, 2)).astype(np.float32))
    boxes[::3] = torch.nan
    landmarks[1::3] = torch.nan
    return images, boxes, landmarks


def equal(one: Any, other: Any) -> bool:
    return torch.allclose(one, other, rtol=0, atol=1e-6, equal_nan=True)


def test_nothing_to_change() -> None:
    images, boxes, landmarks = samples()
    for batch in (images, images.float(), images.double(), images.contiguous()):
        same, same_boxes, same_landmarks = augment(batch, boxes, landmarks, NONE, seeded())
        assert same.dtype == torch.float32
        assert torch.allclose(same, images.float(), rtol=0, atol=1e-4)
        assert equal(same_boxes, boxes)
        assert equal(same_landmarks, landmarks)


def test_what_comes_in_is_not_changed() -> None:
    arguments = samples()
    arguments = (arguments[0].float(), *arguments[1:])
    before = [tensor.clone() for tensor in arguments]
    augment(*arguments, Augmentation(), seeded())
    contiguous = before[0].contiguous()
    smooth(contiguous, torch.full((64,), 0.2))
    change_colours(contiguous, brightness=torch.ones(64), contrast=torch.zeros(64), saturation=torch.zeros(64))
    for tensor, copy in zip((*arguments, contiguous), (*before, arguments[0]), strict=True):
        assert equal(tensor, copy)


def test_mirroring_twice_changes_nothing() -> None:
    arguments = samples()
    everyone = torch.ones(64, dtype=torch.bool)
    once = mirror(*arguments, everyone)
    assert not torch.equal(once[0], arguments[0])
    for tensor, original in zip(mirror(*once, everyone), arguments, strict=True):
        assert equal(tensor, original)


def test_only_the_chosen_are_mirrored() -> None:
    images, boxes, landmarks = samples()
    chosen = torch.arange(64) % 2 == 0
    everyone = mirror(images, boxes, landmarks, torch.ones(64, dtype=torch.bool))
    for some, every, original in zip(
        mirror(images, boxes, landmarks, chosen), everyone, (images, boxes, landmarks), strict=True
    ):
        assert equal(some[::2], every[::2])
        assert equal(some[1::2], original[1::2])


def test_a_mirrored_box_is_the_box_of_the_mirrored_picture() -> None:
    """Offsets -> box in pixels -> mirrored by its definition in the picture -> offsets."""
    width = 200.0
    window = np.array([30, 40, 78, 88.0])  # x1, y1, x2, y2
    box = np.array([22, 45, 74, 95.0])
    landmarks = np.array([[35, 60], [55, 61], [46, 70], [38, 82], [54, 83.0]])
    flipped_window, flipped_box = ([width - x2, y1, width - x1, y2] for x1, y1, x2, y2 in (window, box))
    # Left is what lies left in the picture, so the points swap their names.
    flipped_landmarks = [[width - x, y] for x, y in landmarks[[1, 0, 2, 4, 3]]]

    def offsets(box: Any, window: Any) -> Any:
        return torch.tensor((np.array(box) - window) / 48, dtype=torch.float32)[None]

    def places(landmarks: Any, window: Any) -> Any:
        return torch.tensor((np.array(landmarks) - window[:2]) / 48, dtype=torch.float32)[None]

    image = torch.zeros(1, 3, 48, 48)
    _, boxes, points = mirror(image, offsets(box, window), places(landmarks, window), torch.tensor([True]))
    assert equal(boxes, offsets(flipped_box, flipped_window))
    assert equal(points, places(flipped_landmarks, flipped_window))


def test_mirrored_pixels_lie_under_their_landmarks() -> None:
    image = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    landmarks = torch.tensor([[[2.5, 3.5], [8.5, 4.5], [5.5, 6.5], [3.5, 9.5], [7.5, 10.5]]]) / 12
    for i, (x, y) in enumerate((landmarks[0] * 12).floor().int().tolist()):
        image[0, :, y, x] = i + 1
    flipped, _, points = mirror(image, torch.zeros(1, 4), landmarks, torch.tensor([True]))
    found = [flipped[0, 0, y, x].item() for x, y in (points[0] * 12).floor().int().tolist()]
    assert found == [2, 1, 3, 5, 4]


def test_each_sample_is_mirrored_or_not() -> None:
    images, boxes, landmarks = samples(1000)
    out, _, _ = augment(images, boxes, landmarks, only(flip=0.3), seeded())
    flipped = (out - images.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    kept = (out - images).abs().amax((1, 2, 3)) < 1e-3
    assert (flipped ^ kept).all()
    assert 240 < flipped.sum() < 360
    assert not torch.equal(flipped.sort().values, flipped)


def slow_colours(image: Any, brightness: float, contrast: float, saturation: float) -> Any:
    """One operation after another, (3, s, s) in float64."""
    image = image.numpy().astype(np.float64)
    luma = np.tensordot([0.299, 0.587, 0.114], image, 1)
    image = luma + saturation * (image - luma)
    mean = np.tensordot([0.299, 0.587, 0.114], image, 1).mean()
    return np.clip(mean + contrast * (image - mean) + brightness, 0, 255)


def test_colours() -> None:
    images = samples()[0]
    n = len(images)
    brightness, contrast, saturation = torch.rand(3, n, generator=seeded())
    brightness = 200 * brightness - 100
    changed = change_colours(images, brightness=brightness, contrast=2 * contrast, saturation=2 * saturation)
    for i in range(n):
        expected = slow_colours(images[i], float(brightness[i]), 2 * float(contrast[i]), 2 * float(saturation[i]))
        np.testing.assert_allclose(changed[i], expected, atol=1e-3)


def test_grey() -> None:
    images, boxes, landmarks = samples(1000)
    out, _, _ = augment(images, boxes, landmarks, only(grey=0.2), seeded())
    red, green, blue = out.unbind(1)
    grey = ((red - green).abs() + (green - blue).abs()).amax((1, 2)) < 1e-3
    assert 140 < grey.sum() < 260
    luma = torch.einsum("nchw,c->nhw", images.float(), torch.tensor([0.299, 0.587, 0.114]))
    assert torch.allclose(red[grey], luma[grey], atol=1e-3)
    assert torch.allclose(out[~grey], images[~grey].float(), atol=1e-3)


@pytest.mark.parametrize("option", ["brightness", "contrast", "saturation"])
def test_colours_are_spread_over_their_range(option: str) -> None:
    """Measured on crops of two colours, where each change can be read off."""
    n, most = 1000, {"brightness": 20, "contrast": 0.3, "saturation": 0.4}[option]
    images = torch.full((n, 3, 4, 4), 100.0)
    images[:, :, :2] = 140
    if option == "saturation":
        images[:, 0] += 20
    out = augment(images, torch.zeros(n, 4), torch.zeros(n, 5, 2), only(**{option: most}), seeded())[0]
    change = {
        "brightness": out.mean((1, 2, 3)) - images.mean((1, 2, 3)),
        "contrast": (out[:, 0, 0, 0] - out[:, 0, 3, 0]) / 40 - 1,
        "saturation": (out[:, 0, 0, 0] - out[:, 1, 0, 0]) / 20 - 1,
    }[option]
    assert -most - 1e-3 <= change.min() < -0.95 * most
    assert 0.95 * most < change.max() <= most + 1e-3
    assert abs(change.mean()) < 0.1 * most
    assert change.unique().numel() > 0.9 * n


def test_pixel_values_stay_in_range() -> None:
    images, boxes, landmarks = samples(300)
    extreme = Augmentation(brightness=255, contrast=1, saturation=1, grey=0.5, blur=1)
    out, _, _ = augment(images, boxes, landmarks, extreme, seeded())
    assert out.isfinite().all()
    assert out.min() == 0
    assert out.max() == 255


def test_smoothing() -> None:
    images = torch.zeros(3, 3, 5, 5)
    images[:, :, 2, 1] = 16
    images[:, 0, 0, 4] = 16
    none, some, most = smooth(images, torch.tensor([0, 0.125, 0.25]))
    assert torch.equal(none, images[0])
    assert most[1].tolist() == [[0] * 5, [1, 2, 1, 0, 0], [2, 4, 2, 0, 0], [1, 2, 1, 0, 0], [0] * 5]
    assert most[0, 0].tolist() == [0, 0, 0, 3, 9]  # the corner's own weight and its edges', which repeat
    assert some[1, 2].tolist() == [1.5, 9, 1.5, 0, 0]
    assert smooth(torch.full((1, 3, 6, 6), 7.0), torch.tensor([0.2])).unique().tolist() == [7]


def test_a_share_is_blurred() -> None:
    images, boxes, landmarks = samples(1000)
    out, _, _ = augment(images, boxes, landmarks, only(blur=0.3), seeded())
    sharp = (out - images).abs().amax((1, 2, 3)) < 1e-3
    assert 640 < sharp.sum() < 760
    assert out[~sharp].std() < images[~sharp].float().std()


def test_blur_is_at_most_binomial() -> None:
    n = 1000
    points = torch.zeros(n, 3, 7, 7)
    points[:, :, 3, 3] = 160
    out, _, _ = augment(points, torch.zeros(n, 4), torch.zeros(n, 5, 2), only(blur=1), seeded())
    assert torch.allclose(out.sum((2, 3)), torch.tensor(160.0), atol=1e-2)
    left = out[:, 0, 3, 3]  # (1 - 2w)^2 of it, for w up to 1/4
    assert 40 - 1e-3 <= left.min() < 42
    assert 155 < left.max() <= 160 + 1e-3


def test_the_generator_decides_all() -> None:
    arguments = samples()
    one, same, other = (augment(*arguments, Augmentation(), seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    state = torch.get_rng_state()
    augment(*arguments, Augmentation(), seeded())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("n", [0, 1])
def test_small_batches(n: int) -> None:
    everything: dict[str, Any] = dict.fromkeys(OFF_BY_DEFAULT, 1)
    images, boxes, landmarks = augment(*samples(n, 24), Augmentation(blur=1, **everything), seeded())
    assert (images.shape, boxes.shape, landmarks.shape) == ((n, 3, 24, 24), (n, 4), (n, 5, 2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"flip": 1.5}, ValueError, "flip is 1.5; wanted 0 to 1"),
        ({"brightness": -1}, ValueError, "brightness"),
        ({"brightness": 256}, ValueError, "255"),
        ({"contrast": float("nan")}, ValueError, "contrast"),
        ({"blur": True}, TypeError, "blur"),
        ({"grey": "0.1"}, TypeError, "grey"),
        ({"jpeg": 2}, ValueError, "jpeg is 2.0; wanted 0 to 1"),
        ({"jpeg_range": 20}, TypeError, "jpeg_range is 20 .*; wanted 2 numbers"),
        ({"jpeg_range": (20, 101)}, ValueError, r"jpeg_range\[1\] is 101.0; wanted 1 to 100"),
        ({"gamma_range": (0, 2)}, ValueError, r"gamma_range\[0\] is 0.0; wanted 0.1 to 10"),
        ({"shrink_range": (1, 0.3)}, ValueError, r"shrink_range is \(1, 0.3\); wanted the least value first"),
        ({"border_range": (0.1, 0.2, 0.3)}, ValueError, "border_range has 3 numbers; wanted 2"),
    ],
)
def test_bad_augmentations(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Augmentation(**change)


@pytest.mark.parametrize(
    ("changed", "value", "error"),
    [
        ("images", lambda images: images.permute(0, 2, 3, 1), ValueError),
        ("images", lambda images: images[0], ValueError),
        ("images", lambda images: images[..., :5], ValueError),
        ("images", lambda images: images.int(), TypeError),
        ("boxes", lambda boxes: boxes[:5], ValueError),
        ("landmarks", lambda landmarks: landmarks.flatten(1), ValueError),
    ],
)
def test_bad_batches(changed: str, value: Any, error: type[Exception]) -> None:
    batch = dict(zip(("images", "boxes", "landmarks"), samples(), strict=True))
    batch[changed] = value(batch[changed])
    with pytest.raises(error, match=changed):
        augment(**batch, augmentation=Augmentation(), generator=seeded())


@pytest.mark.parametrize("size", [12, 24, 48])
@pytest.mark.parametrize("option", OFF_BY_DEFAULT)
def test_each_change(option: str, size: int) -> None:
    """It changes a share of the samples, the same ones for the same generator, and leaves targets alone."""
    images, boxes, landmarks = samples(200, size)
    before = [tensor.clone() for tensor in (images, boxes, landmarks)]
    pixels, same_boxes, same_landmarks = augment(images, boxes, landmarks, only(**{option: 0.5}), seeded())
    assert (pixels.shape, pixels.dtype) == ((200, 3, size, size), torch.float32)
    assert pixels.isfinite().all()
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    changed = (pixels - images).abs().amax((1, 2, 3)) > 0.5
    assert 60 < changed.sum() < 140
    assert torch.allclose(pixels[~changed], images[~changed].float(), atol=0.5)
    for tensor, original in zip(
        (same_boxes, same_landmarks, images, boxes, landmarks), before[1:] + before, strict=True
    ):
        assert torch.equal(tensor.nan_to_num(9), original.nan_to_num(9))
    again = augment(images, boxes, landmarks, only(**{option: 0.5}), seeded())[0]
    assert torch.equal(again, pixels)


def test_targets_follow_mirroring_alone() -> None:
    images, boxes, landmarks = samples(50, 24)
    everything = Augmentation(flip=1, **dict.fromkeys(OFF_BY_DEFAULT, 1.0))
    _, found_boxes, found_landmarks = augment(images, boxes, landmarks, everything, seeded())
    _, wanted_boxes, wanted_landmarks = mirror(images, boxes, landmarks, torch.ones(50, dtype=torch.bool))
    assert equal(found_boxes, wanted_boxes)
    assert equal(found_landmarks, wanted_landmarks)


def test_what_is_off_draws_no_numbers() -> None:
    """The samples of a run without these changes are those of a program without them."""
    generator = seeded()
    augment(*samples(), Augmentation(), generator)
    other = seeded()
    torch.rand((7, 64), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())


@pytest.mark.parametrize(
    ("option", "ends", "measure"),
    [
        ("gamma", (0.5, 0.5), lambda out: (out - 255 * (40 / 255) ** 0.5).abs().max() < 1e-2),
        ("noise", (9.0, 9.0), lambda out: abs(out[:, :, 4:].std() - 9) < 0.5),
        ("border", (0.25, 0.25), lambda out: ((out == 0).float().mean((1, 2, 3)) == 0.25).all()),
        ("shrink", (1, 1), lambda out: (out - 40).abs().max() < 1e-2),
        ("motion", (0, 0.5), lambda out: (out - 40).abs().max() < 1e-2),
        ("jpeg", (100, 100), lambda out: (out - 40).abs().max() < 2),
    ],
)
def test_ranges(option: str, ends: tuple[float, float], measure: Any) -> None:
    """Measured on even crops."""
    images = torch.full((100, 3, 24, 24), 40, dtype=torch.uint8)
    changed = only(**{option: 1, f"{option}_range": ends})
    out, _, _ = augment(images, torch.zeros(100, 4), torch.zeros(100, 5, 2), changed, seeded())
    assert measure(out)


def test_patches_show_other_samples() -> None:
    images = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 3, 48, 48)
    patched = only(patch=1, patch_range=(0.25, 0.5))
    out, _, _ = augment(images, torch.zeros(60, 4), torch.zeros(60, 5, 2), patched, seeded())
    strange = (out != images)[:, 0]
    for i in range(60):
        seen = out[i, 0][strange[i]].unique()
        assert len(seen) <= 1
        assert strange[i].float().mean() <= 0.25 + 0.02
    assert strange.flatten(1).any(1).sum() > 50
