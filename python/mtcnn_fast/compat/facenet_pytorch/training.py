"""`training.collate_pil` of facenet-pytorch, for a DataLoader of PIL images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["collate_pil"]


def collate_pil(samples: Iterable[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """The images and the labels of a batch of pairs (image, label), each as a list."""
    pairs = list(samples)
    return [image for image, _ in pairs], [label for _, label in pairs]
