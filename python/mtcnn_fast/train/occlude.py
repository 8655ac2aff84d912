"""Things in front of faces, in batches of crops: masks over lower faces, rectangles, a black border.

Pixels are float32 (n, 3, s, s), RGB, from 0 to 255. Places are shares of the crop's side, from its upper left corner.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Medians of the five landmarks in the boxes of 5,849 faces of CNN_FacePoint's training list, made symmetric. The boxes
# are expanded to WIDER FACE's convention.
_TYPICAL = ((0.28, 0.39), (0.72, 0.39), (0.5, 0.6), (0.31, 0.75), (0.69, 0.75))

# A mask, clockwise from the bridge of the nose. x is in halves of the distance between the eyes, from the middle of the
# face; y is 0 at the eyes and 1 at the mouth. The outline is convex.
_MASK = (
    *((0.0, 0.3), (1.0, 0.4), (2.15, 0.65)),
    *((1.95, 1.25), (0.9, 1.85), (-0.9, 1.85), (-1.95, 1.25)),
    *((-2.15, 0.65), (-1.0, 0.4)),
)
# The corners from nose to cheeks lie above the first, those of the chin below the second.
_UPPER_EDGE, _CHIN = 1.0, 1.5

# In profile the eyes lie behind one another. No face is narrower than this share of its distance from eyes to mouth.
_LEAST_ACROSS = 0.35

SHAPE_DRAWS, CLOTH_DRAWS = 3, 11
"""The random numbers that `masks` and `cloth` take for each sample."""


def masks(boxes: Tensor, landmarks: Tensor, draws: Tensor) -> Tensor:
    """Outlines (n, 9, 2) of masks, clockwise, in shares of the crop.

    boxes: (n, 4), offsets; landmarks: (n, 5, 2); draws: (SHAPE_DRAWS, n), from 0 to 1. A mask lies by the landmarks.
    Where they are not known it lies where they usually are in the box, and without a box in the whole crop.
    """
    boxes = torch.where(boxes.isfinite().all(1, keepdim=True), boxes, 0)
    low, high = boxes[:, None, :2], 1 + boxes[:, None, 2:]
    usual = low + torch.tensor(_TYPICAL, device=boxes.device) * (high - low)
    points = torch.where(landmarks.isfinite().all(2).all(1)[:, None, None], landmarks, usual)
    eyes, mouth = points[:, :2], points[:, 3:]
    middle, down = eyes.mean(1), mouth.mean(1) - eyes.mean(1)
    across = (eyes[:, 1] - eyes[:, 0] + mouth[:, 1] - mouth[:, 0]) / 4
    length, least = across.norm(dim=1), _LEAST_ACROSS * down.norm(dim=1)
    turned = torch.stack([down[:, 1], -down[:, 0]], 1) * _LEAST_ACROSS
    across = torch.where((length < least)[:, None], turned, across)
    # Points in another order would turn the outline inside out.
    across = across * torch.sign(across[:, :1] * down[:, 1:] - across[:, 1:] * down[:, :1])

    x, y = torch.tensor(_MASK, device=boxes.device).unbind(1)
    width, top, chin = draws[:, :, None]
    # From high on the nose to below it, as many wear them. Within these ranges, the outline stays convex.
    y = y + torch.where(y < _UPPER_EDGE, 0.6 * top - 0.15, torch.where(y > _CHIN, 0.3 * chin - 0.15, 0))
    x = x * (0.85 + 0.3 * width)
    corners: Tensor = middle[:, None] + x[..., None] * across[:, None] + y[..., None] * down[:, None]
    return corners


def cloth(others: Tensor, draws: Tensor) -> Tensor:
    """(n, 3, s, s): cloth of any colour, shaded; half of it has folds, and half the texture of others (n, 3, s, s).

    draws: (CLOTH_DRAWS, n), from 0 to 1.
    """
    colour, (grey, tint, right, down, folds, number, phase, texture) = draws[:3].T, draws[3:, :, None, None, None]
    x = _middles(others.shape[-1], others.device)
    y = x[:, None]
    plain = torch.lerp(grey, colour[:, :, None, None], tint) * 255
    shade = 1 + (right - 0.5) * (x - 0.5) + (down - 0.5) * (y - 0.5)
    waves = torch.sin(2 * math.pi * (phase + (3 + 5 * number) * y)) * (50 * folds - 25).clamp(min=0)
    pattern = (others - others.mean((2, 3), keepdim=True)) * (2 * texture - 1).clamp(min=0)
    pixels: Tensor = plain * shade + waves + pattern
    return pixels.clamp_(0, 255)


def inside(outlines: Tensor, side: int) -> Tensor:
    """(n, 1, s, s): the share of each pixel within convex outlines (n, m, 2), clockwise, in shares of the crop."""
    corners = outlines * side
    edges = corners.roll(-1, 1) - corners
    normals = torch.stack([-edges[..., 1], edges[..., 0]], -1) / edges.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    x = torch.arange(side, device=outlines.device) + 0.5
    across, down = normals[..., None, None].unbind(2)
    distances: Tensor = across * x + down * x[:, None] - (normals * corners).sum(-1)[..., None, None]
    return (distances.amin(1, keepdim=True) + 0.5).clamp_(0, 1)


def rectangles(places: Tensor, side: int) -> Tensor:
    """(n, 1, s, s), bool: the pixels in rectangles (n, 4): centre x, centre y, width, height, in shares of the crop."""
    centres, sizes = places[:, :2, None], places[:, 2:, None]
    x, y = ((_middles(side, places.device) - centres).abs() < sizes / 2).unbind(1)
    return (x[:, None] & y[:, :, None])[:, None]


def borders(widths: Tensor, sides: Tensor, side: int) -> Tensor:
    """(n, 1, s, s), bool: the pixels within widths (n,), shares of the crop, of one of its sides.

    sides: (n,), 0 left, 1 top, 2 right, 3 bottom.
    """
    near = _middles(side, widths.device) < widths[:, None]
    near = torch.where((sides >= 2)[:, None], near.flip(1), near)
    across, down = near[:, None].expand(-1, side, side), near[:, :, None].expand(-1, side, side)
    return torch.where((sides % 2 == 0)[:, None, None], across, down)[:, None]


def _middles(side: int, device: torch.device) -> Tensor:
    """(s,): the centres of pixels, in shares of the crop."""
    return (torch.arange(side, device=device) + 0.5) / side
