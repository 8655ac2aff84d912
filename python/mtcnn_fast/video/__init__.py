"""Frames of videos, cameras, streams and folders of pictures, and videos made of frames."""

from __future__ import annotations

from mtcnn_fast.video.reading import Frame, Frames, frames
from mtcnn_fast.video.writing import VideoWriter

__all__ = ["Frame", "Frames", "VideoWriter", "frames"]
