"""Random changes to batches of training samples, with their targets.

Every sample draws changes of its own, in the order in which a picture comes about: mirroring, colours, things in front
of the face, light, motion and blur, low resolution with noise and JPEG, and last a black border. Pixels change before
normalisation. Moved, zoomed and rotated windows are not made here but with the samples (`jitter`): only there are the
pixels and the faces around a window known.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mtcnn_fast.train import degrade, occlude
from mtcnn_fast.train.augmentation import Augmentation
from mtcnn_fast.train.degrade import per_sample

# Positions in LANDMARKS: in a mirrored picture the left eye and mouth corner are the right ones.
_MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]
# Rec. 601, from which OpenCV and Pillow compute grey.
_LUMA = (0.299, 0.587, 0.114)
# With this weight of each neighbour, three taps are the binomial filter 1 2 1, of variance 1/2 pixel^2.
_BINOMIAL = 0.25


def augment(
    images: Tensor, boxes: Tensor, landmarks: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Changed copies of images, float32 pixel values from 0 to 255, and of their boxes and landmarks.

    images: (n, 3, s, s), RGB, uint8 or floats from 0 to 255; boxes: (n, 4), offsets from the window; landmarks:
    (n, 5, 2), in the window. The generator may be on another device than the images: a generator on the CPU draws the
    same numbers for all devices. Raises ValueError for other shapes, TypeError for other types.
    """
    _check(images, boxes, landmarks)
    draw = _Draw(generator, images)
    flipped, brightness, contrast, saturation, grey, blurred, strength = draw.shares(7)
    images, boxes, landmarks = mirror(images, boxes, landmarks, flipped < augmentation.flip)
    pixels = change_colours(
        images,
        brightness=_spread(brightness, augmentation.brightness),
        contrast=1 + _spread(contrast, augmentation.contrast),
        saturation=(1 + _spread(saturation, augmentation.saturation)).masked_fill(grey < augmentation.grey, 0),
    )
    # What is off draws no numbers.
    if augmentation.mask:
        _wear_masks(pixels, boxes, landmarks, augmentation, draw)
    if augmentation.patch:
        _cover(pixels, augmentation, draw)
    if augmentation.gamma:
        lit, powers = draw.chosen(augmentation.gamma), draw.between(*map(math.log, augmentation.gamma_range)).exp()
        _change(pixels, lit, lambda crops: degrade.apply_gamma(crops, powers[lit]))
    if augmentation.motion:
        moved, (turns,) = draw.chosen(augmentation.motion), draw.shares(1)
        lengths = draw.between(*augmentation.motion_range) * pixels.shape[-1]
        _change(pixels, moved, lambda crops: degrade.move(crops, lengths[moved], math.pi * turns[moved]))
    if augmentation.blur:
        soft = _indices(blurred < augmentation.blur)
        _change(pixels, soft, lambda crops: degrade.smooth(crops, _BINOMIAL * strength[soft]))
    _record(pixels, augmentation, draw)
    if augmentation.border:
        bordered, (sides,) = draw.chosen(augmentation.border), draw.shares(1)
        black = occlude.borders(draw.between(*augmentation.border_range), _integers(sides, 4), pixels.shape[-1])
        _change(pixels, bordered, lambda crops: crops.masked_fill(black[bordered], 0))
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
    luma.mul_(per_sample(contrast * (1 - saturation), 3)).add_(per_sample(shift, 3))
    return pixels.mul_(per_sample(contrast * saturation, 4)).add_(luma[:, None]).clamp_(0, 255)


class _Draw:
    """Random numbers for the samples of a batch, on its device."""

    def __init__(self, generator: torch.Generator, images: Tensor) -> None:
        self._generator, self._count, self._device = generator, len(images), images.device

    def shares(self, rows: int) -> Tensor:
        """(rows, n): numbers from 0 to 1."""
        return self._from(torch.rand, (rows, self._count))

    def between(self, least: float, greatest: float) -> Tensor:
        """(n,): numbers between two."""
        return least + (greatest - least) * self.shares(1)[0]

    def chosen(self, probability: float) -> Tensor:
        """The indices of the samples that are changed."""
        return _indices(self.shares(1)[0] < probability)

    def normal(self, shape: torch.Size) -> Tensor:
        """Normally distributed numbers, of variance 1."""
        return self._from(torch.randn, shape)

    def _from(self, distribution: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return distribution(shape, generator=self._generator, device=self._generator.device).to(self._device)


def _change(pixels: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Changes the samples at the indices `chosen`, in place."""
    if len(chosen):
        pixels.index_copy_(0, chosen, change(pixels.index_select(0, chosen)))


def _wear_masks(pixels: Tensor, boxes: Tensor, landmarks: Tensor, augmentation: Augmentation, draw: _Draw) -> None:
    chosen, (other,) = draw.chosen(augmentation.mask), draw.shares(1)
    shapes, cloths = draw.shares(occlude.SHAPE_DRAWS)[:, chosen], draw.shares(occlude.CLOTH_DRAWS)[:, chosen]
    outlines = occlude.masks(boxes[chosen], landmarks[chosen], shapes)
    cloth = occlude.cloth(pixels[_integers(other, len(pixels))[chosen]], cloths)
    _change(pixels, chosen, lambda crops: crops.lerp(cloth, occlude.inside(outlines, crops.shape[-1])))


def _cover(pixels: Tensor, augmentation: Augmentation, draw: _Draw) -> None:
    chosen, (other, x, y) = draw.chosen(augmentation.patch), draw.shares(3)
    width, height = (draw.between(*augmentation.patch_range) for _ in range(2))
    within = occlude.rectangles(torch.stack([x, y, width, height], 1)[chosen], pixels.shape[-1])
    shown = pixels[_integers(other, len(pixels))[chosen]]
    _change(pixels, chosen, lambda crops: torch.where(within, shown, crops))


def _record(pixels: Tensor, augmentation: Augmentation, draw: _Draw) -> None:
    """Takes samples as a picture of few pixels has them: scaled down, with noise, compressed; and scales them up."""
    shrunk = None
    if augmentation.shrink:
        shrunk, (kinds,) = draw.chosen(augmentation.shrink), draw.shares(1)
        filters = _integers(kinds, len(degrade.FILTERS))[shrunk]
        sizes = (draw.between(*augmentation.shrink_range)[shrunk] * pixels.shape[-1]).round().clamp(min=1).long()
        _change(pixels, shrunk, lambda crops: degrade.scale_down(crops, sizes, filters))
    if augmentation.noise:
        noisy, deviations = draw.chosen(augmentation.noise), draw.between(*augmentation.noise_range)
        strengths = per_sample(deviations[noisy], 4)
        _change(pixels, noisy, lambda crops: (crops + strengths * draw.normal(crops.shape)).clamp_(0, 255))
    if augmentation.jpeg:
        packed, qualities = draw.chosen(augmentation.jpeg), draw.between(*augmentation.jpeg_range)
        _change(pixels, packed, lambda crops: degrade.compress(crops, qualities[packed]))
    if shrunk is not None:
        # The cubic filter overshoots.
        _change(pixels, shrunk, lambda crops: degrade.scale_up(crops, sizes, filters).clamp_(0, 255))


def _indices(chosen: Tensor) -> Tensor:
    return torch.nonzero(chosen)[:, 0]


def _integers(shares: Tensor, count: int) -> Tensor:
    """Shares, from 0 to less than 1, as integers from 0 to count - 1."""
    # In float32, the product of a share below 1 may round to the count.
    return (shares * count).long().clamp_(max=count - 1)


def _spread(draws: Tensor, most: float) -> Tensor:
    """Draws from 0 to 1, spread over -most to most."""
    return (2 * draws - 1) * most


def _check(images: Tensor, boxes: Tensor, landmarks: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images has shape {tuple(images.shape)}; wanted (n, 3, s, s)")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images is {images.dtype}; wanted torch.uint8 or floats")
    n = len(images)
    for name, values, wanted in (("boxes", boxes, (n, 4)), ("landmarks", landmarks, (n, 5, 2))):
        if values.shape != wanted:
            raise ValueError(f"{name} has shape {tuple(values.shape)}; wanted {wanted} for {n} images")
