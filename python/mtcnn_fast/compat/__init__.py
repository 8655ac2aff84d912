"""Modules with the interfaces of other face detectors, which run on this package's detector."""

from __future__ import annotations
