"""Measuring face detectors: on WIDER FACE and FDDB by their official protocols, and on any annotated pictures.

`read_detections` reads the detections to measure, of any detector. `detect_to_file` writes those of this package.

>>> from mtcnn_fast.evaluate import evaluate_wider, read_detections, read_wider_ground_truth
>>> result = evaluate_wider(read_detections("predictions.tar.gz"), read_wider_ground_truth("ground_truth"))
>>> result.curves["hard"].average_precision
"""

from __future__ import annotations

from mtcnn_fast.detecting import detect_to_file
from mtcnn_fast.evaluate.detection_files import PictureDetections, read_detections
from mtcnn_fast.evaluate.fddb import (
    FddbGroundTruth,
    FddbResult,
    evaluate_fddb,
    read_fddb_ground_truth,
    read_fddb_sizes,
)
from mtcnn_fast.evaluate.landmarks import LandmarkErrors, LandmarkTally, landmark_error
from mtcnn_fast.evaluate.matching import Rule
from mtcnn_fast.evaluate.pairs import Coverage
from mtcnn_fast.evaluate.precision_recall import (
    PrecisionRecall,
    PrecisionRecallTally,
    average_precision,
    precision_recall,
)
from mtcnn_fast.evaluate.recall import SizeClass, recall_by_size, recall_intervals, resampled_recalls
from mtcnn_fast.evaluate.wider import (
    PublishedCurve,
    WiderCurve,
    WiderGroundTruth,
    WiderResult,
    evaluate_wider,
    read_published_curves,
    read_wider_ground_truth,
)

__all__ = [
    "Coverage",
    "FddbGroundTruth",
    "FddbResult",
    "LandmarkErrors",
    "LandmarkTally",
    "PictureDetections",
    "PrecisionRecall",
    "PrecisionRecallTally",
    "PublishedCurve",
    "Rule",
    "SizeClass",
    "WiderCurve",
    "WiderGroundTruth",
    "WiderResult",
    "average_precision",
    "detect_to_file",
    "evaluate_fddb",
    "evaluate_wider",
    "landmark_error",
    "precision_recall",
    "read_detections",
    "read_fddb_ground_truth",
    "read_fddb_sizes",
    "read_published_curves",
    "read_wider_ground_truth",
    "recall_by_size",
    "recall_intervals",
    "resampled_recalls",
]
