"""Clips whose truth is known, made of photographs: a camera that pans, zooms and turns, and faces that cross and hide
each other. Noise and changing brightness are added.

The truth is what the detector finds in the photograph itself with a score above 0.9, moved as the camera moves. A face
counts from `LEAST_HEIGHT` pixels on, where four fifths of its box are in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn_fast import MTCNN, read

WIDTH, HEIGHT = 640, 480
SIZE = (WIDTH, HEIGHT)
LEAST_HEIGHT = 22

_NOISE = 4.0  # standard deviation, of 255
_SURE = 0.9

Boxes = NDArray[np.float64]


@dataclass
class Frame:
    image: NDArray[np.uint8]
    """(HEIGHT, WIDTH, 3), RGB."""
    ids: NDArray[np.int64]
    """(N,): who the true faces are."""
    boxes: Boxes
    """(N, 4): where they are."""


def pans(
    photographs: Sequence[Path], detector: MTCNN, seed: int, frames: int, *, side: float = 60, move: float = 4
) -> Iterator[Frame]:
    """A camera that moves over one photograph after the other, with cuts between them.

    side: pixels that the median face has. move: pixels that faces move per frame, in the median.
    """
    random, first_id = np.random.default_rng(seed), 0
    for path in photographs:
        photograph = read(path)
        faces = detector.detect(photograph).above(_SURE)
        boxes = faces.boxes.astype(np.float64)
        camera = _Camera(random, photograph.shape, side / float(np.median(faces.heights)))
        camera.set_speed(boxes, move)
        # Shrunk by area first, so that what the camera sees from afar has no aliasing.
        scale = min(1.0, camera.zoom * 1.3)
        source = photograph if scale == 1 else cv2.resize(photograph, None, None, scale, scale, cv2.INTER_AREA)
        for time in range(frames // len(photographs)):
            view = camera.view(time)
            image = cv2.warpAffine(source, view * [[1 / scale, 1 / scale, 1]], SIZE, flags=cv2.INTER_LINEAR)
            there = _moved(boxes, view)
            seen = _visible(there)
            brightness = 1 + 0.08 * math.sin(time / 17)
            yield Frame(_noisy(image * brightness, random), first_id + np.flatnonzero(seen), there[seen])
        first_id += len(boxes)


def crossings(
    background: Path, portraits: Sequence[Path], detector: MTCNN, seed: int, frames: int, *, speed: float = 2.5
) -> Iterator[Frame]:
    """Faces of portraits that come in from both sides, one after the other, before a still background."""
    random = np.random.default_rng(seed)
    behind = cv2.resize(read(background), SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    actors = [actor for path in portraits if (actor := _cut_out(path, detector)) is not None]
    n = len(actors)
    begins, heights = np.arange(n) * 0.8 * frames / n, random.uniform(45, 130, n)
    from_left, middles = random.integers(2, size=n), random.uniform(90, HEIGHT - 90, n)
    paces, phases = speed * random.uniform(0.6, 1.6, n), random.uniform(0, 2 * math.pi, (n, 3))
    for time in range(frames):
        image, in_front, boxes = behind, np.full((HEIGHT, WIDTH), -1), {}
        for k, (part, mask, box) in enumerate(actors):
            age = time - begins[k]
            if age < 0:
                continue
            x, y = paces[k] * age - 80, middles[k] + 40 * math.sin(age / 30 + phases[k, 1])
            zoom = heights[k] / (box[3] - box[1]) * math.exp(0.2 * math.sin(age / 40 + phases[k, 0]))
            middle = part.shape[1] / 2, part.shape[0] / 2
            view = cv2.getRotationMatrix2D(middle, 10 * math.sin(age / 35 + phases[k, 2]), zoom)
            view[:, 2] += (x if from_left[k] else WIDTH - x) - middle[0], y - middle[1]
            alpha = cv2.warpAffine(mask, view, SIZE)[..., np.newaxis]
            image = image * (1 - alpha) + cv2.warpAffine(part, view, SIZE) * alpha
            in_front[alpha[..., 0] > 0.5] = k
            boxes[k] = _moved(box[np.newaxis], view)[0]
        seen = [k for k, box in boxes.items() if _visible(box[np.newaxis])[0] and _uncovered(box, in_front, k)]
        yield Frame(_noisy(image, random), np.array(seen, np.int64), np.array([boxes[k] for k in seen]).reshape(-1, 4))


class _Camera:
    """Smooth paths: sums of sines for the centre, the logarithm of the zoom, and the angle."""

    def __init__(self, random: np.random.Generator, shape: tuple[int, ...], zoom: float) -> None:
        size, view = np.array(shape[1::-1]), np.array(SIZE)
        self._centre, self.zoom = size / 2, max(zoom, *(0.8 * view / size))
        free = np.maximum(self._centre - view / 2 / self.zoom, 0)
        self._reach = np.minimum(free + 20 / self.zoom, 260 / self.zoom)
        periods = [*random.uniform(80, 160, 2), random.uniform(90, 180), random.uniform(80, 160)]
        self._periods, self._phases = np.array(periods), random.uniform(0, 2 * math.pi, 4)
        self._zooms, self._turns = random.uniform(0.15, 0.3), random.uniform(3, 10)

    def set_speed(self, boxes: Boxes, move: float) -> None:
        """Makes the middles of boxes move so many pixels per frame, in the median."""
        middles = np.array([_moved(boxes, self.view(time))[:, :2] for time in range(300)])
        self._periods *= float(np.median(np.hypot(*np.moveaxis(np.diff(middles, axis=0), 2, 0)))) / move

    def view(self, time: float) -> NDArray[np.float64]:
        """The similarity, (2, 3), from the photograph to the frame."""
        x, y, zoom, angle = np.sin(2 * math.pi * time / self._periods + self._phases)
        centre = self._centre + self._reach * (x, y)
        view = cv2.getRotationMatrix2D(
            (float(centre[0]), float(centre[1])), self._turns * angle, self.zoom * math.exp(self._zooms * zoom)
        )
        view[:, 2] += np.array(SIZE) / 2 - centre
        return view.astype(np.float64)


def _moved(boxes: Boxes, view: NDArray[np.float64]) -> Boxes:
    """Boxes under a similarity: their centres move, and their sides are scaled."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ view[:, :2].T + view[:, 2]
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2 * math.hypot(view[0, 0], view[1, 0])
    return np.concatenate([centres - halves, centres + halves], 1)


def _visible(boxes: Boxes) -> NDArray[np.bool_]:
    inside = np.clip(np.minimum(boxes[:, 2:], SIZE) - np.maximum(boxes[:, :2], 0), 0, None).prod(1)
    enough: NDArray[np.bool_] = inside >= 0.8 * (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return enough & (boxes[:, 3] - boxes[:, 1] >= LEAST_HEIGHT)


def _uncovered(box: Boxes, in_front: NDArray[np.int64], actor: int) -> bool:
    """Whether three quarters of a face are in front of the others."""
    x1, y1, x2, y2 = np.clip(box, 0, [*SIZE, *SIZE]).astype(int)
    part = in_front[y1:y2, x1:x2]
    own = part == actor
    return bool(own.sum() >= 0.75 * (part >= 0).sum() and own.mean() > 0.5)


def _noisy(image: NDArray[np.floating], random: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(image + random.normal(0, _NOISE, image.shape), 0, 255).astype(np.uint8)


def _cut_out(path: Path, detector: MTCNN) -> tuple[NDArray[np.float32], NDArray[np.float32], Boxes] | None:
    """A portrait's face with its surroundings, an elliptic mask, and the box in it; None for a picture without one."""
    photograph = read(path)
    faces = detector.detect(photograph, max_faces=1)
    if not len(faces):
        return None
    x1, y1, x2, y2 = faces.boxes[0].astype(np.float64)
    left, top = int(max(0, x1 - 0.35 * (x2 - x1))), int(max(0, y1 - 0.3 * (y2 - y1)))
    part = photograph[top : int(y2 + 0.3 * (y2 - y1)), left : int(x2 + 0.35 * (x2 - x1))]
    height, width = part.shape[:2]
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (int(width * 0.46), int(height * 0.48)), 0, 0, 360, 1, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), width / 40)
    return part.astype(np.float32), soft.astype(np.float32), np.array([x1 - left, y1 - top, x2 - left, y2 - top])
