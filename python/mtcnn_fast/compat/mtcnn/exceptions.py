"""The exception of mtcnn 0.1.1."""

from __future__ import annotations

__all__ = ["InvalidImage"]


class InvalidImage(Exception):
    """Raised by `MTCNN.detect_faces` for a value that is no image, and for a file that holds none."""
