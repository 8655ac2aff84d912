"""The face detection of facenet-pytorch 2.6.0: the same names, arguments and results.

>>> from mtcnn_fast.compat.facenet_pytorch import MTCNN
>>> mtcnn = MTCNN(image_size=160, margin=0)
>>> face = mtcnn(image)  # float32 (3, 160, 160), or None
>>> boxes, probabilities = mtcnn.detect(image)

Needs PyTorch and Pillow. docs/compatibility.md lists all names and the differences.
"""

from __future__ import annotations

from typing import NoReturn

from mtcnn_fast.compat.facenet_pytorch import training
from mtcnn_fast.compat.facenet_pytorch.crops import extract_face, fixed_image_standardization, prewhiten
from mtcnn_fast.compat.facenet_pytorch.detector import MTCNN

__all__ = ["MTCNN", "extract_face", "fixed_image_standardization", "prewhiten", "training"]

_NETWORKS = ("InceptionResnetV1", "PNet", "RNet", "ONet")
_REMEDY = "pip install --no-deps facenet-pytorch"


def __getattr__(name: str) -> NoReturn:
    if name in _NETWORKS:
        raise ImportError(f"{__name__} has no {name}, only face detection; facenet-pytorch has it: {_REMEDY}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
