#!/usr/bin/env python3
"""Draw docs/images/tracked.jpg: frames of a film whose faces are followed, from NASA's portrait in tests/data.

Two copies of the portrait, one of them small, mirrored and darker, pass each other. Every tenth frame is searched.

    pip install ".[cli]"
    python tools/make_still.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import mtcnn_fast

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, FRAMES = 480, 360, 41
SHOWN = (0, 20, 40)

Image = NDArray[np.uint8]


def paste(frame: Image, portrait: Image, left: int, top: int) -> None:
    """Pastes a portrait into the frame, cut at its sides."""
    first, last = max(0, -left), min(portrait.shape[1], WIDTH - left)
    rows = min(portrait.shape[0], HEIGHT - top)
    if first < last:
        frame[top : top + rows, left + first : left + last] = portrait[:rows, first:last]


def film() -> list[Image]:
    portrait: Any = mtcnn_fast.read(ROOT / "tests/data/astronaut.jpg")[:360, 100:340]
    near = cv2.resize(portrait, (216, 324), interpolation=cv2.INTER_AREA)
    far = cv2.resize(np.ascontiguousarray(portrait[:, ::-1]), (144, 216), interpolation=cv2.INTER_AREA)
    far = (far * 0.75).astype(np.uint8)
    frames = []
    for i in range(FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
        paste(frame, near, 10 + 6 * i, 10)
        paste(frame, far, 310 - 6 * i, 180)
        frames.append(frame)
    return frames


def main() -> None:
    tracker = mtcnn_fast.Tracker(mtcnn_fast.MTCNN(min_face_size=30), every=10)
    drawn = [mtcnn_fast.draw(frame, tracker.update(frame)) for frame in film()]
    gap = np.full((HEIGHT, 8, 3), 255, np.uint8)
    still = np.hstack([part for i in SHOWN for part in (drawn[i], gap)][:-1])
    place = ROOT / "docs/images/tracked.jpg"
    cv2.imwrite(str(place), still[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"{place}: frames {', '.join(map(str, SHOWN))} of {FRAMES}")


if __name__ == "__main__":
    main()
