"""Random changes to batches of training samples, with their targets: mirroring, colour, blur.

Every sample draws changes of its own. Colours change as pixel values, before normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mtcnn_fast.checks import number

# Positions in LANDMARKS: in a mirrored picture the left eye and mouth corner are the right ones.
_MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]
# Rec. 601, from which OpenCV and Pillow compute grey.
_LUMA = (0.299, 0.587, 0.114)
# With this weight of each neighbour, three taps are the binomial filter 1 2 1, of variance 1/2 pixel^2.
_BINOMIAL = 0.25


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much samples are changed. By default the ranges of colour are those of SSD (Liu et al. 2016)."""

    flip: float = 0.5
    """Probability of mirroring left and right."""
    brightness: float = 32
    """The most that is added to all pixel values, or subtracted."""
    contrast: float = 0.5
    """The distance from the mean grey of the crop is multiplied by a number from 1 - this to 1 + this."""
    saturation: float = 0.5
    """The distance of a pixel from its grey is multiplied by a number from 1 - this to 1 + this."""
    grey: float = 0.05
    """Probability that a crop loses its colour."""
    blur: float = 0.1
    """Probability of smoothing by three taps along rows and columns: at most the binomial filter 1 2 1."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = number(field.name, getattr(self, field.name))
            greatest = 255 if field.name == "brightness" else 1
            if not 0 <= value <= greatest:
                raise ValueError(f"{field.name} is {value}; wanted 0 to {greatest}")


def augment(
    images: Tensor, boxes: Tensor, landmarks: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Changed copies of images, float32 pixel values from 0 to 255, and of their boxes and landmarks.

    images: (n, 3, s, s), RGB, uint8 or floats from 0 to 255; boxes: (n, 4), offsets from the window; landmarks:
    (n, 5, 2), in the window. The generator may be on another device than the images: a generator on the CPU draws the
    same numbers for all devices. Raises ValueError for other shapes, TypeError for other types.
    """
    _check(images, boxes, landmarks)
    draws = torch.rand((7, len(images)), generator=generator, device=generator.device).to(images.device)
    flipped, brightness, contrast, saturation, grey, blurred, strength = draws
    images, boxes, landmarks = mirror(images, boxes, landmarks, flipped < augmentation.flip)
    pixels = change_colours(
        images,
        brightness=_spread(brightness, augmentation.brightness),
        contrast=1 + _spread(contrast, augmentation.contrast),
        saturation=(1 + _spread(saturation, augmentation.saturation)).masked_fill(grey < augmentation.grey, 0),
    )
    if augmentation.blur:
        chosen = torch.nonzero(blurred < augmentation.blur)[:, 0]
        pixels.index_copy_(0, chosen, smooth(pixels.index_select(0, chosen), _BINOMIAL * strength[chosen]))
    return pixels, boxes, landmarks


def mirror(images: Tensor, boxes: Tensor, landmarks: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The samples, of which those that `chosen`, bool (n,), marks have left and right exchanged."""
    _check(images, boxes, landmarks)
    x1, y1, x2, y2 = boxes.unbind(1)
    mirrored_boxes = torch.stack([-x2, y1, -x1, y2], 1)
    x, y = landmarks[:, _MIRRORED_LANDMARKS].unbind(2)
    mirrored_landmarks = torch.stack([1 - x, y], 2)
    return (
        torch.where(chosen[:, None, None, None], images.flip(3), images),
        torch.where(chosen[:, None], mirrored_boxes, boxes),
        torch.where(chosen[:, None, None], mirrored_landmarks, landmarks),
    )


def change_colours(images: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """New float32 pixels, clamped to 0 to 255. Saturation changes first, then contrast, then brightness, each (n,).

    Saturation 0 gives grey, contrast 0 the mean grey of the crop; 1 changes nothing. `brightness` is added.
    """
    # All three are one affine map of a pixel and its grey: two passes over the batch rather than six.
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    red, green, blue = pixels.unbind(1)
    luma = (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])
    shift = brightness + (1 - contrast) * luma.mean((1, 2))
    luma.mul_(_per_sample(contrast * (1 - saturation), 3)).add_(_per_sample(shift, 3))
    return pixels.mul_(_per_sample(contrast * saturation, 4)).add_(luma[:, None]).clamp_(0, 255)


def smooth(images: Tensor, weights: Tensor) -> Tensor:
    """Float images (n, c, h, w), smoothed by taps w, 1 - 2w, w on rows and columns. weights (n,): w. Edges repeat."""
    for axis in (2, 3):
        side = images.shape[axis]
        before = torch.cat([images.narrow(axis, 0, 1), images.narrow(axis, 0, side - 1)], axis)
        after = torch.cat([images.narrow(axis, 1, side - 1), images.narrow(axis, side - 1, 1)], axis)
        images = images.lerp(before.add_(after).mul_(0.5), _per_sample(2 * weights, 4))
    return images


def _spread(draws: Tensor, most: float) -> Tensor:
    """Draws from 0 to 1, spread over -most to most."""
    return (2 * draws - 1) * most


def _per_sample(values: Tensor, axes: int) -> Tensor:
    """Values (n,) as (n, 1, ...), which broadcast over tensors of that many axes."""
    return values.view(-1, *[1] * (axes - 1))


def _check(images: Tensor, boxes: Tensor, landmarks: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images has shape {tuple(images.shape)}; wanted (n, 3, s, s)")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images is {images.dtype}; wanted torch.uint8 or floats")
    n = len(images)
    for name, values, wanted in (("boxes", boxes, (n, 4)), ("landmarks", landmarks, (n, 5, 2))):
        if values.shape != wanted:
            raise ValueError(f"{name} has shape {tuple(values.shape)}; wanted {wanted} for {n} images")
