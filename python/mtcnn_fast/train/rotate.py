"""Crops of a picture that is rotated a little about a face."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Crop = Callable[[NDArray[np.uint8], NDArray[np.float32], int], NDArray[np.uint8]]

# Resolution of the rotation, as a multiple of the crop's: it samples bilinearly, what shrinks further is averaged.
_OVERSAMPLING = 4


def rotation(centre: Floats, degrees: float) -> Floats:
    """(2, 3): the affine map of points that turns about centre (2,), from the x axis towards the y axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, centre - turn @ centre])


def rotated_crop(crop: Crop, image: NDArray[np.uint8], window: Floats, matrix: Floats, size: int) -> NDArray[np.uint8]:
    """A square window (4,) of the image as a rotation moves it: uint8 (size, size, 3), black outside the image.

    crop: cuts boxes of whole pixels out of an image, as `MTCNN.crop`. matrix: of `rotation`.
    """
    side = window[2] - window[0]
    # Only what the window can see is looked at, whatever the size of the picture, and at what resolution it needs.
    corners = np.array([[window[i], window[j]] for i in (0, 2) for j in (1, 3)])
    seen = (corners - matrix[:, 2]) @ matrix[:, :2]  # by the inverse: that of a turn is its transpose
    origin = np.floor(seen.min(0)) - 1
    reach = np.ceil((seen.max(0) - origin).max()) + 1
    scale = min(1.0, _OVERSAMPLING * size / side)
    patch_side, turned_side = math.ceil(reach * scale), math.ceil(side * scale)
    patch = crop(image, _box(origin, reach), patch_side)[0]

    to_picture = _affine(reach / patch_side, origin)
    to_window = _affine(turned_side / side, -window[:2] * (turned_side / side))
    whole = to_window @ np.vstack([matrix, [0, 0, 1]]) @ to_picture
    turned = transform(patch, np.linalg.inv(whole), turned_side)
    cut: NDArray[np.uint8] = crop(turned, _box(np.zeros(2), turned_side), size)[0]
    return cut


def transform(image: NDArray[np.uint8], matrix: Floats, side: int) -> NDArray[np.uint8]:
    """(side, side, 3): bilinear samples of an image (H, W, 3), black outside it.

    matrix: (2 or 3, 3), from places in the result to places in the image, counted from the corners of pixels.
    """
    pillow = require("PIL.Image", "rotating pictures", extra="train")
    # Pillow too counts from the corners: it maps the centres of pixels, half a pixel from them.
    turned = pillow.fromarray(image).transform(
        (side, side), pillow.Transform.AFFINE, matrix[:2].ravel().tolist(), pillow.Resampling.BILINEAR
    )
    return np.asarray(turned)


def _box(corner: Floats, side: float) -> NDArray[np.float32]:
    return np.hstack([corner, corner + side])[np.newaxis].astype(np.float32)


def _affine(scale: float, shift: Floats | tuple[float, float]) -> Floats:
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]])
