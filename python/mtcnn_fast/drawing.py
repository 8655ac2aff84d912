"""Detections and tracks drawn onto a picture, by OpenCV (extra `cli`)."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.checks import described
from mtcnn_fast.detections import Detections
from mtcnn_fast.extra import require
from mtcnn_fast.image import checked_channel_order, pixels
from mtcnn_fast.tracker import Tracks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Green and magenta read the same in RGB and BGR; the fourth value is an opaque alpha.
_BOX = (0, 255, 0, 255)
_LANDMARK = (255, 0, 255, 255)
_OUTLINE = (0, 0, 0, 255)
_GRAY = (255,)
# Where the letters of a label are drawn, in widths of their lines: those of the outline first.
_AROUND = ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, 0))

# Multiples of the golden ratio, without their whole part, lie far apart, however many there are.
_GOLDEN = 0.6180339887498949

# OpenCV overflows on coordinates beyond 16 bits less a margin.
_FAR = 30_000


def draw(image: Any, faces: Detections) -> NDArray[np.uint8]:
    """A copy of the image, uint8 of the same shape and channel order, with boxes, scores and landmarks drawn on it.

    Tracks have their ids in the place of scores, and the box's colour depends on the id alone.

    image: an image in the host's memory, as `MTCNN.detect` takes it; a PIL image gives an array. Raises ImportError
    without OpenCV, TypeError for `faces` that are not Detections, and for the image as `detect` does.
    """
    if not isinstance(faces, Detections):
        raise TypeError(f"faces is {described(faces)}; wanted Detections")
    array, _ = pixels(image)
    cv2 = require("cv2", "draw")
    canvas = np.array(array, order="C")
    channels = 1 if canvas.ndim == 2 else canvas.shape[2]
    landmark_color = _GRAY if channels == 1 else _LANDMARK
    if isinstance(faces, Tracks):
        labels, colors = [str(number) for number in faces.ids], [_color(number) for number in faces.ids.tolist()]
    else:
        labels, colors = [f"{score:.2f}" for score in faces.scores], [_BOX] * len(faces)
    side = max(canvas.shape[:2])
    line = max(1, round(side / 400))
    font_scale = max(0.4, side / 1500)
    for box, label, color, landmarks in zip(faces.boxes, labels, colors, faces.landmarks, strict=True):
        box_color = _GRAY if channels == 1 else color
        x1, y1, x2, y2 = _points(box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), box_color, line)
        for x, y in _points(landmarks):
            cv2.circle(canvas, (x, y), line, landmark_color, cv2.FILLED)
        # Above the box, or just inside where the image ends.
        origin = (x1, y1 - 2 * line if y1 > 30 * font_scale else y1 + round(30 * font_scale))
        # An outline, so that it is legible on any background. Thicker letters would not lie behind these: OpenCV 5
        # makes them wider.
        for across, down in _AROUND:
            place = origin[0] + across * line, origin[1] + down * line
            ink = box_color if (across, down) == (0, 0) else _OUTLINE[: len(box_color)]
            cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, font_scale, ink, line, cv2.LINE_AA)
    return canvas


def _color(number: int) -> tuple[int, int, int, int]:
    """The colour of an id, of full brightness, and an opaque alpha."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.7, 1)
    return round(255 * red), round(255 * green), round(255 * blue), 255


def show(image: Any, faces: Detections, channel_order: str = "rgb") -> Any:
    """The image with its faces drawn as by `draw`, as a PIL.Image.Image, which a notebook displays.

    channel_order: "rgb" or "bgr", the order of an array's channels; the result is in RGB order. Raises ImportError
    without OpenCV or Pillow, ValueError for another order, and errors as `draw` does.
    """
    order = checked_channel_order(channel_order)
    drawn = draw(image, faces)
    _, kind = pixels(image, order)
    if drawn.ndim == 3 and drawn.shape[2] == 1:
        drawn = drawn[..., 0]
    elif kind.startswith("bgr"):
        drawn = drawn[..., [2, 1, 0, 3][: drawn.shape[2]]]
    return require("PIL.Image", "show").fromarray(np.ascontiguousarray(drawn))


def _points(values: NDArray[np.float32]) -> list[Any]:
    rounded: list[Any] = np.clip(np.rint(np.nan_to_num(values)), -_FAR, _FAR).astype(int).tolist()
    return rounded
