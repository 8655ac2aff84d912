"""The face detection of InsightFace: the same names, arguments and results.

>>> from mtcnn_fast.compat.insightface import FaceAnalysis
>>> app = FaceAnalysis(allowed_modules=["detection"])
>>> app.prepare(ctx_id=0)
>>> faces = app.get(image)  # BGR

InsightFace's other models take the detector of this package: `app.det_model = app.models["detection"] = Detector()`.
Neither InsightFace nor OpenCV is needed. docs/compatibility.md lists all names and the differences.
"""

from __future__ import annotations

from mtcnn_fast.compat.insightface import face_align
from mtcnn_fast.compat.insightface.app import Face, FaceAnalysis
from mtcnn_fast.compat.insightface.detector import Detector

__all__ = ["Detector", "Face", "FaceAnalysis", "face_align"]
