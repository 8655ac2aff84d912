"""The interface of the package mtcnn, of its releases 0.1.1 and 1.0.0: the same names, arguments and results.

>>> from mtcnn_fast.compat.mtcnn import MTCNN
>>> detector = MTCNN()
>>> detector.detect_faces(image)
[{"box": [x, y, width, height], "confidence": probability, "keypoints": {"left_eye": (x, y), ...}}]

Needs no TensorFlow. docs/compatibility.md lists all names and the differences.
"""

from __future__ import annotations

from mtcnn_fast.compat.mtcnn.mtcnn import MTCNN

__all__ = ["MTCNN", "__version__"]

# Callers compare it, to learn whether `detect_faces` takes lists and options.
__version__ = "1.0.0"
