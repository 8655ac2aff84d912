"""`mtcnn_fast.frames` of a camera of the network."""

from __future__ import annotations

import time

import pytest

import mtcnn_fast
from rtsp_server import RtspServer
from videos import quarters

IMAGES = [quarters(i) for i in range(30)]


def test_every_frame() -> None:
    with RtspServer(IMAGES) as server, mtcnn_fast.frames(server.url) as frames:
        assert (frames.size, frames.frame_count, frames.reader) == ((128, 96), None, "PyAV")
        seen = list(frames)
    assert [frame.index for frame in seen] == list(range(30))
    assert [frame.timestamp for frame in seen] == pytest.approx([i / 25 for i in range(30)])
    for frame, image in zip(seen, IMAGES, strict=True):
        assert abs(frame.image.astype(float) - image).mean() < 8


def test_the_newest_frame() -> None:
    with RtspServer(IMAGES) as server, mtcnn_fast.frames(server.url, latest=True) as frames:
        seen = [(frame.index, frame.timestamp, time.sleep(0.03))[:2] for frame in frames]
    assert len(seen) < 30
    assert seen[-1] == (29, pytest.approx(29 / 25))
    assert all(timestamp == pytest.approx(index / 25) for index, timestamp in seen)


def test_a_camera_that_stops_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn_fast.video.by_pyav.SECONDS_TO_WAIT", 0.5)
    seen = []
    with (
        RtspServer(IMAGES, stalls=True) as server,
        mtcnn_fast.frames(server.url) as frames,
        pytest.raises(OSError, match=rf"^{server.url}: broken after frame 29: no answer within 0\.5 s$"),
    ):
        seen.extend(frames)
    assert len(seen) == 30
