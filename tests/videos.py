"""Videos that tests make, by PyAV alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Image = NDArray[np.uint8]

CORNERS = {"top left": (255, 0, 0), "top right": (0, 255, 0), "bottom left": (0, 0, 255), "bottom right": (0, 0, 0)}
"""The colours of a frame's quarters."""

TICKS = 600
"""Per second, of timestamps."""


def even(count: int, fps: int = 30) -> list[int]:
    """Timestamps of a constant frame rate, in TICKS."""
    return [i * TICKS // fps for i in range(count)]


def quarters(index: int, width: int = 128, height: int = 96) -> Image:
    """A frame of four colours, whose number can be told by a white column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = CORNERS["top left"]
    image[: height // 2, width // 2 :] = CORNERS["top right"]
    image[height // 2 :, : width // 2] = CORNERS["bottom left"]
    image[:, (4 * index) % width : (4 * index) % width + 4] = 255
    return image


def make(
    path: Path,
    images: Sequence[Image],
    times: Sequence[int] | None = None,
    *,
    audio: str | None = "aac",
    audio_from: int = 0,
    rotation: tuple[int, bool] | None = None,
    pixel_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video in H.264.

    times: timestamps in TICKS. audio: the codec of a tone that ends with the video. audio_from: its begin, in TICKS.
    rotation: degrees counter-clockwise, and whether it is mirrored, in the display matrix. pixel_aspect: width over
    height of a pixel as stored.
    """
    av = pytest.importorskip("av", reason="PyAV, which makes the videos, is not installed")
    times = even(len(images)) if times is None else times
    with av.open(os.fspath(path), "w", options=options or {}) as output:
        video = output.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "12"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, TICKS)
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            if not hasattr(video, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a display matrix")
            video.set_display_rotation(rotation[0], hflip=rotation[1])
        tone = None if audio is None else output.add_stream(audio, rate=48000)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, TICKS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if tone is not None:
            for start in range(48000 * audio_from // TICKS, 48000 * (times[-1] + TICKS // 30) // TICKS, 1024):
                wave = 8000 * np.sin(np.arange(start, start + 1024) / 20)
                sound = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
                sound.rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
                output.mux(tone.encode(sound))
            output.mux(tone.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """A copy that has lost its end."""
    content = path.read_bytes()
    copy = path.with_name(f"cut-{path.name}")
    copy.write_bytes(content[: int(share * len(content))])
    return copy


def hide_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes OpenCV read and write videos."""
    pytest.importorskip("cv2")
    for module in ("reading", "writing"):
        monkeypatch.setattr(f"mtcnn_fast.video.{module}.opencv_must_do", lambda: True)


def audio_of(path: Path) -> list[tuple[float, bytes]]:
    """The packets of a file's audio: seconds and content."""
    av = pytest.importorskip("av")
    with av.open(os.fspath(path)) as file:
        packets: Any = file.demux(audio=0) if file.streams.audio else ()
        return [(float(each.pts * each.time_base), bytes(each)) for each in packets if each.dts is not None]
