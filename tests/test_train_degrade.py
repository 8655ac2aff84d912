"""Faults of cameras and of files in batches of crops, against the engine and against Pillow."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from mtcnn_fast import ops  # noqa: E402
from mtcnn_fast.train import degrade  # noqa: E402

SIDES = (12, 24, 48)


def photographs(astronaut: Any, side: int, n: int = 8) -> Any:
    """(n, 3, side, side): places in a photograph, whole pixel values."""
    corners = np.random.default_rng(side).integers(0, 400, (n, 2))
    crops = np.stack([astronaut[y : y + side, x : x + side] for x, y in corners])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float()


def picture(crop: Any) -> Any:
    return crop.permute(1, 2, 0).numpy().round().astype(np.uint8)


def test_gamma() -> None:
    pixels = torch.tensor([0, 51, 255.0]).expand(2, 3, 1, 3)
    changed = degrade.apply_gamma(pixels, torch.tensor([2, 0.5]))
    assert torch.allclose(changed[:, 0, 0], torch.tensor([[0, 10.2, 255], [0, 114.0395, 255]]), atol=1e-3)


def test_motion_spreads_a_point_along_its_direction() -> None:
    pixels = torch.zeros(4, 3, 15, 15)
    pixels[:, :, 7, 7] = 160
    lengths, angles = torch.tensor([0, 5, 5, 6]), torch.tensor([1, 0, math.pi / 2, math.pi / 4])
    still, across, down, diagonal = degrade.move(pixels, lengths, angles)
    assert torch.allclose(still, pixels[0], atol=1e-4)
    assert torch.allclose(across.sum((1, 2)), torch.tensor(160.0))
    assert torch.allclose(across[:, 7, 6:9], torch.tensor(32.0), atol=0.2)
    assert torch.allclose(down, across.transpose(1, 2), atol=1e-3)
    assert torch.allclose(diagonal, diagonal.transpose(1, 2), atol=1e-3)
    # 6 pixels along the diagonal are 4.2 along each axis, towards the lower right.
    assert diagonal[0, 9, 9] > 10 > diagonal[0, 9, 5] == 0


def test_motion_keeps_what_is_even() -> None:
    pixels = torch.full((2, 3, 12, 12), 70.0)
    moved = degrade.move(pixels, torch.tensor([1.8, 6]), torch.tensor([0.3, 2]))
    assert torch.allclose(moved, pixels, atol=1e-3)


@pytest.mark.parametrize("side", SIDES)
def test_the_area_filter_scales_as_the_engine(side: int, astronaut: Any) -> None:
    crops = photographs(astronaut, side)
    for size in (side // 3, side // 2, side - 1, side):
        n = torch.full((len(crops),), size)
        small = degrade.scale_down(crops, n, torch.zeros_like(n))
        large = degrade.scale_up(small, n, torch.zeros_like(n))
        for i, crop in enumerate(crops):
            level = ops.resize(picture(crop), (size, size))
            np.testing.assert_allclose(small[i, :, :size, :size].permute(1, 2, 0), level, atol=1e-3)
            enlarged = ops.resize(level.round().astype(np.uint8), (side, side))
            np.testing.assert_allclose(large[i].permute(1, 2, 0), enlarged, atol=0.51)


@pytest.mark.parametrize("side", SIDES)
def test_the_cubic_filter_scales_as_pillow(side: int, astronaut: Any) -> None:
    crops = photographs(astronaut, side)
    sizes = torch.tensor([max(4, side * (i + 3) // 10) for i in range(len(crops))])
    kind = torch.full_like(sizes, degrade.FILTERS.index("cubic"))
    small = degrade.scale_down(crops, sizes, kind)
    large = degrade.scale_up(small, sizes, kind)
    for i, size in enumerate(sizes.tolist()):
        level = Image.fromarray(picture(crops[i])).resize((size, size), Image.Resampling.BICUBIC)
        difference = small[i, :, :size, :size].clamp(0, 255).permute(1, 2, 0).numpy() - np.asarray(level, np.float64)
        # Pillow leaves out taps beyond the edge, and rounds between the axes.
        assert np.abs(difference[2:-2, 2:-2]).max(initial=0) < 2
        enlarged = np.asarray(level.resize((side, side), Image.Resampling.BICUBIC), np.float64)
        assert np.abs(large[i].clamp(0, 255).permute(1, 2, 0).numpy() - enlarged).mean() < 2


def test_scaling_to_the_same_size_changes_nothing(astronaut: Any) -> None:
    crops = photographs(astronaut, 24, len(degrade.FILTERS))
    sizes, filters = torch.full((len(crops),), 24), torch.arange(len(crops))
    small = degrade.scale_down(crops, sizes, filters)
    assert torch.allclose(small, crops, atol=1e-3)
    assert torch.allclose(degrade.scale_up(small, sizes, filters), crops, atol=1e-3)


@pytest.mark.parametrize("side", SIDES)
def test_scaled_pixels_repeat_to_the_end(side: int) -> None:
    crops = torch.rand(6, 3, side, side) * 255
    sizes, filters = torch.tensor([1, 3, 5, 7, 9, 11]), torch.arange(6) % 3
    small = degrade.scale_down(crops, sizes, filters)
    for crop, size in zip(small, sizes.tolist(), strict=True):
        assert torch.equal(crop[:, size - 1 :], crop[:, size - 1 : size].expand(-1, side - size + 1, -1))
        assert torch.equal(crop[:, :, size - 1 :], crop[:, :, size - 1 : size].expand(-1, -1, side - size + 1))
    even = torch.full_like(crops, 90)
    assert torch.allclose(degrade.scale_up(degrade.scale_down(even, sizes, filters), sizes, filters), even, atol=1e-2)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("quality", [20, 50, 75, 90])
def test_jpeg_is_pillows(side: int, quality: int, astronaut: Any) -> None:
    crops = photographs(astronaut, side)
    compressed = degrade.compress(crops, torch.full((len(crops),), quality))
    lost, far = [], []
    for crop, found in zip(crops, compressed, strict=True):
        stream = io.BytesIO()
        Image.fromarray(picture(crop)).save(stream, "JPEG", quality=quality)
        wanted = np.asarray(Image.open(stream), np.float64)
        lost.append(np.abs(picture(crop) - wanted).mean())
        far.append(np.abs(picture(found) - wanted).mean())
    # A coefficient half-way between two steps may round to either.
    assert np.mean(far) < 0.45 * np.mean(lost)


def test_even_crops_survive_jpeg() -> None:
    crops = torch.full((3, 3, 24, 24), 120.0)
    assert torch.allclose(degrade.compress(crops, torch.tensor([20.0, 50, 90])), crops, atol=3)
