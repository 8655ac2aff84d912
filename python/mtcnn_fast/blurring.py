"""Faces made unrecognisable in an image: blurred, pixelated or blacked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.boxes import expanded
from mtcnn_fast.checks import floats, number, text
from mtcnn_fast.detections import Detections, Face
from mtcnn_fast.extra import require
from mtcnn_fast.image import pixels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

GAUSSIAN, PIXELATE, SOLID = WAYS = ("gaussian", "pixelate", "solid")

WIDEN = 0.2
"""Hides ears and hair line: at this share, the ellipse goes through the corners of the face's box."""

# Along the longer side of a region, of which the box of the face is 0.71: four blocks from forehead to chin.
_BLOCKS = 6
# A region is shrunk to this many cells before it is blurred, so that a large face takes no longer than a small one.
_CELLS = 24
# The standard deviation is an eighth of the region's longer side: two eyes, which are further from each other than from
# the cheeks, become one patch.
_SIGMA = _CELLS / 8


def blur(
    image: Any, faces: Detections | Face | ArrayLike, how: str = "gaussian", widen: float = WIDEN
) -> NDArray[np.uint8]:
    """A copy of the image, uint8 of the same shape and channel order, in which the faces are hidden.

    Each face is hidden in an ellipse: that of its box, widened. All channels are treated alike, alpha too.

    image: an image in the host's memory, as `MTCNN.detect` takes it; a PIL image gives an array.
    faces: detections, one face, or boxes (N, 4): x1, y1, x2, y2 in pixels. They may lie partly outside the image.
    how: "gaussian", a blur whose standard deviation is an eighth of the ellipse; "pixelate", six blocks along the
    longer side of the ellipse; "solid", black, which alone leaves nothing of the face.
    widen: share of the width and height of a box that is added on each side, in [0, 2]. With 0.2, the ellipse holds the
    box, the ears and the hair line.

    Raises ImportError without OpenCV, ValueError for another `how` or `widen` and for boxes that are not finite, and
    errors as `detect` does for the image.

    >>> Image.fromarray(mtcnn_fast.blur(image, detector.detect(image))).save("hidden.jpg")
    """
    check_options(how, widen)
    boxes = _boxes(faces)
    array, _ = pixels(image)
    canvas = np.array(array, order="C")
    opaque = (0, 0, 0, 255) if canvas.ndim == 3 and canvas.shape[2] == 4 else 0
    hide(canvas, boxes, how, widen, opaque)
    return canvas


def check_options(how: object, widen: object) -> None:
    """Raises TypeError or ValueError for other options than `blur` takes."""
    if text("how", how) not in WAYS:
        raise ValueError(f"how is {how!r}; wanted one of {WAYS}")
    if not 0 <= number("widen", widen) <= 2:
        raise ValueError(f"widen is {widen}; wanted a share from 0 to 2")


def regions(boxes: NDArray[np.floating[Any]], widen: float) -> NDArray[np.float64]:
    """The rectangles (N, 4) of the ellipses that hide boxes (N, 4)."""
    return expanded(boxes, (widen,) * 4)


def hide(
    canvas: NDArray[Any],
    boxes: NDArray[np.floating[Any]],
    how: str,
    widen: float,
    black: ArrayLike,
) -> None:
    """Hides boxes in an array (H, W) or (H, W, channels) of numbers, in place. black: the pixel of "solid"."""
    for region in regions(boxes, widen):
        rows, columns, inside = ellipse(region, canvas.shape)
        if not inside.size:
            continue
        part = canvas[rows, columns]
        side = max(region[2] - region[0], region[3] - region[1])
        part[inside] = black if how == SOLID else _coarse(part, side, how)[inside]


def ellipse(region: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """The rows and columns of an image of a shape that the ellipse in a rectangle reaches, and which pixels there."""
    x1, y1, x2, y2 = region
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    right, bottom = max(left, min(shape[1], int(np.ceil(x2)))), max(top, min(shape[0], int(np.ceil(y2))))
    # At the centres of the pixels. A box without a width has none of them inside.
    with np.errstate(divide="ignore", invalid="ignore"):
        across = (np.arange(left, right) + 0.5 - (x1 + x2) / 2) / ((x2 - x1) / 2)
        down = (np.arange(top, bottom) + 0.5 - (y1 + y2) / 2) / ((y2 - y1) / 2)
        return slice(top, bottom), slice(left, right), across**2 + down[:, np.newaxis] ** 2 <= 1


def _coarse(part: NDArray[Any], side: float, how: str) -> NDArray[Any]:
    """A rectangle without its detail. side: of the whole region in pixels, of which `part` may be what is visible."""
    cv2 = require("cv2", "blurring")
    height, width = part.shape[:2]
    cell = side / (_BLOCKS if how == PIXELATE else _CELLS)
    cells = max(1, round(width / cell)), max(1, round(height / cell))
    # OpenCV does not resize integers of 32 bits, and float32 would not hold them.
    values = np.ascontiguousarray(part, np.float64 if part.dtype.itemsize > 2 else np.float32)
    small = cv2.resize(values, cells, interpolation=cv2.INTER_AREA)
    if how == PIXELATE:
        coarse = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    else:
        small = cv2.GaussianBlur(small, (0, 0), _SIGMA, borderType=cv2.BORDER_REPLICATE)
        coarse = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    rounded: NDArray[Any] = np.rint(coarse) if part.dtype.kind != "f" else coarse
    return rounded.reshape(part.shape).astype(part.dtype)


def _boxes(faces: Detections | Face | ArrayLike) -> NDArray[Any]:
    if isinstance(faces, Detections):
        boxes: NDArray[Any] = faces.boxes
    elif isinstance(faces, Face):
        boxes = faces.box[np.newaxis]
    else:
        boxes = floats("faces, as boxes,", faces, (None, 4), integers=True)
    if not np.isfinite(boxes).all():
        raise ValueError("faces has a box that is not finite; wanted x1, y1, x2, y2 in pixels")
    return boxes
