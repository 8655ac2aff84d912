"""Modules with the interfaces of other face detectors, which run on this package's detector."""

from __future__ import annotations

from mtcnn_fast.compat.installing import install

__all__ = ["install"]
