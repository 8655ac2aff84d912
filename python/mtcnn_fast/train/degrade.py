"""Faults of cameras and of files in batches of crops: low light, motion, low resolution, noise, JPEG.

Pixels are float32 (n, 3, s, s), RGB, from 0 to 255. Each sample has values of its own, and the whole batch is computed
at once, on the device that it is on.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FILTERS = ("area", "linear", "cubic")
"""How pictures are scaled down and up: by the mean over an area and bilinearly, as the engine's crops; bilinearly both
ways, which leaves pixels out, as OpenCV's default; by a cubic filter that averages, as Pillow's default."""

# Points of a motion; so many that they lie closer than pixels.
_POINTS = 32

# JPEG (ITU-T T.81): blocks of 8 pixels, and the quantisation tables of Annex K for luminance and chrominance.
_BLOCK = 8
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
# JFIF: Y, Cb and Cr of R, G and B; the latter two without their 128.
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


def per_sample(values: Tensor, axes: int) -> Tensor:
    """Values (n,) as (n, 1, ...), which broadcast over tensors of that many axes."""
    return values.view(-1, *[1] * (axes - 1))


def apply_gamma(pixels: Tensor, gamma: Tensor) -> Tensor:
    """Pixel values, as shares of 255, to the power of gamma (n,). Above 1, pixels become darker."""
    return (pixels / 255).pow_(per_sample(gamma, 4)).mul_(255)


def move(pixels: Tensor, lengths: Tensor, angles: Tensor) -> Tensor:
    """Pixels smeared along lines: lengths (n,) in pixels, angles (n,) in radians. Edges repeat."""
    n, channels, side, _ = pixels.shape
    reach = math.ceil(float(lengths.max()) / 2) if n else 0
    along = ((torch.arange(_POINTS, device=pixels.device) + 0.5) / _POINTS - 0.5) * lengths[:, None]
    taps = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    # A point between pixels counts for both, by its distance.
    across, down = (
        (1 - (taps - (along * direction[:, None])[..., None]).abs()).clamp_(min=0)
        for direction in (angles.cos(), angles.sin())
    )
    kernels = (down.transpose(1, 2) @ across / _POINTS).repeat_interleave(channels, 0)[:, None]
    padded = functional.pad(pixels, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    return functional.conv2d(padded, kernels, groups=n * channels).view(n, channels, side, side)


def smooth(images: Tensor, weights: Tensor) -> Tensor:
    """Float images (n, c, h, w), smoothed by taps w, 1 - 2w, w on rows and columns. weights (n,): w. Edges repeat."""
    for axis in (2, 3):
        side = images.shape[axis]
        before = torch.cat([images.narrow(axis, 0, 1), images.narrow(axis, 0, side - 1)], axis)
        after = torch.cat([images.narrow(axis, 1, side - 1), images.narrow(axis, side - 1, 1)], axis)
        images = images.lerp(before.add_(after).mul_(0.5), per_sample(2 * weights, 4))
    return images


def scale_down(pixels: Tensor, sizes: Tensor, filters: Tensor) -> Tensor:
    """Pixels scaled to sizes (n,), 1 to s, by the filters (n,), indices into FILTERS.

    They lie in the upper left corner. The last row and column repeat to the end, as JPEG fills its blocks.
    """
    return _resample(pixels, _matrices(pixels.shape[-1])[0], sizes, filters)


def scale_up(pixels: Tensor, sizes: Tensor, filters: Tensor) -> Tensor:
    """What `scale_down` left of pixels, scaled up to all of s."""
    return _resample(pixels, _matrices(pixels.shape[-1])[1], sizes, filters)


def compress(pixels: Tensor, qualities: Tensor) -> Tensor:
    """Pixels after JPEG with qualities (n,), 1 to 100 on the scale of libjpeg, and colours at half the resolution."""
    side = pixels.shape[-1]
    padding = -side % (2 * _BLOCK)
    whole = functional.pad(pixels, (0, padding, 0, padding), mode="replicate").clamp(0, 255).round_()
    matrix = torch.tensor(_TO_YCC, device=pixels.device)
    # libjpeg rounds here, too.
    planes = torch.einsum("ij,njhw->nihw", matrix, whole).round_()
    scales = torch.where(qualities < 50, 5000 / qualities, 200 - 2 * qualities)
    luma = _quantised(planes[:, :1] - 128, _LUMINANCE, scales) + 128
    # In JPEG files, colours mostly have a value per 2 x 2 pixels.
    colours = _quantised(functional.avg_pool2d(planes[:, 1:], 2), _CHROMINANCE, scales)
    colours = functional.interpolate(colours, scale_factor=2, mode="bilinear", align_corners=False)
    decoded = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, colours], 1))
    return decoded[..., :side, :side].clamp(0, 255).round_()


def _quantised(planes: Tensor, table: tuple[tuple[int, ...], ...], scales: Tensor) -> Tensor:
    """Planes (n, c, h, w) whose blocks' cosine transforms are rounded to multiples of the table at scales (n,)."""
    blocks = planes.shape[-1] // _BLOCK
    transform = _cosines(blocks).to(planes.device)
    base = torch.tensor(table, dtype=planes.dtype, device=planes.device)
    steps = ((base * scales[:, None, None] + 50) / 100).floor_().clamp_(1, 255).repeat(1, blocks, blocks)[:, None]
    coefficients = (transform @ planes @ transform.T).div_(steps).round_().mul_(steps)
    return transform.T @ coefficients @ transform


@lru_cache
def _cosines(blocks: int) -> Tensor:
    """The cosine transform of 8 values, for blocks after one another, as a matrix. Its transpose undoes it."""
    frequencies, places = np.ogrid[:_BLOCK, :_BLOCK]
    rows = np.cos((2 * places + 1) * frequencies * np.pi / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    return torch.from_numpy(np.kron(np.eye(blocks), rows).astype(np.float32))


def _resample(pixels: Tensor, matrices: Tensor, sizes: Tensor, filters: Tensor) -> Tensor:
    matrix = matrices.to(pixels.device)[filters, sizes - 1][:, None]
    return matrix @ pixels @ matrix.transpose(2, 3)


@lru_cache
def _matrices(side: int) -> tuple[Tensor, Tensor]:
    """(filters, side, side, side) twice: for each filter and size - 1, the maps of an axis to that size and back."""
    down = np.zeros((len(FILTERS), side, side, side), np.float32)
    up = np.zeros_like(down)
    for number, name in enumerate(FILTERS):
        for size in range(1, side + 1):
            rows = _weights(name, side, size)
            down[number, size - 1, :size], down[number, size - 1, size:] = rows, rows[-1]
            up[number, size - 1, :, :size] = _weights(name, size, side)
    return torch.from_numpy(down), torch.from_numpy(up)


def _weights(name: str, source: int, target: int) -> Floats:
    """(target, source): the weights of a filter. Weights beyond the edges are those of the pixels at the edges."""
    scale = source / target
    margin = math.ceil(2 * scale) + 2
    taps = np.arange(-margin, source + margin) + 0.5
    distances = np.abs(taps - (np.arange(target)[:, None] + 0.5) * scale)
    weights: Floats = _KERNELS[name](distances, max(1.0, scale))
    weights /= weights.sum(1, keepdims=True)
    weights[:, margin] += weights[:, :margin].sum(1)
    weights[:, -margin - 1] += weights[:, -margin:].sum(1)
    return weights[:, margin:-margin]


def _area(distances: Floats, width: float) -> Floats:
    # The share of a pixel that lies within the width; at a width of 1, the weights are bilinear.
    return np.clip((width + 1) / 2 - distances, 0, 1)


def _linear(distances: Floats, width: float) -> Floats:
    return np.clip(1 - distances, 0, None)


def _cubic(distances: Floats, width: float) -> Floats:
    # Keys 1981, with a = -1/2.
    x = distances / width
    inner, outer = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


_KERNELS: dict[str, Any] = dict(zip(FILTERS, (_area, _linear, _cubic), strict=True))
