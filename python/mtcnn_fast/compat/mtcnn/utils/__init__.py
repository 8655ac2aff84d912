"""Functions of mtcnn 1.0.0 to read pictures and to draw faces."""

from __future__ import annotations
