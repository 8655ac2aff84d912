"""Crops of a picture that is rotated by a few degrees, about a face or about a window."""

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

# The resolution of the rotated patch, as a multiple of the crop's. The rotation samples bilinearly; the crop averages.
_OVERSAMPLING = 4


def rotation(centre: Floats, degrees: float) -> Floats:
    """(2, 3): the affine map of points that turns them about centre (2,), from the x axis towards the y axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, centre - turn @ centre])


def rotated_crop(crop: Crop, image: NDArray[np.uint8], window: Floats, matrix: Floats, size: int) -> NDArray[np.uint8]:
    """A square window (4,) of the rotated image: uint8 (size, size, 3), black outside the image.

    crop: cuts boxes of whole pixels out of an image, as `MTCNN.crop` does. matrix: the map that `rotation` gives.
    """
    side = window[2] - window[0]
    # Only the part that the window shows is rotated, at the resolution that the crop needs.
    corners = np.array([[window[i], window[j]] for i in (0, 2) for j in (1, 3)])
    seen = (corners - matrix[:, 2]) @ matrix[:, :2]  # the inverse of a turn is its transpose
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

    matrix: (2 or 3, 3), from places in the result to places in the image. Places count from the corners of pixels.
    """
    pillow = require("PIL.Image", "rotating pictures", extra="train")
    # Pillow counts from the corners, too: it maps the centres of pixels, which lie half a pixel from them.
    turned = pillow.fromarray(image).transform(
        (side, side), pillow.Transform.AFFINE, matrix[:2].ravel().tolist(), pillow.Resampling.BILINEAR
    )
    return np.asarray(turned)


def _box(corner: Floats, side: float) -> NDArray[np.float32]:
    return np.hstack([corner, corner + side])[np.newaxis].astype(np.float32)


def _affine(scale: float, shift: Floats | tuple[float, float]) -> Floats:
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]])
