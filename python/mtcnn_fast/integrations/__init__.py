"""Large jobs: a class for the workers of Ray Data, Spark, Daft and Hugging Face datasets, and a job on Ray.

The docstrings say which packages each part needs. None of them is imported with this module.
"""

from __future__ import annotations

from mtcnn_fast.integrations.detect_faces import DetectFaces
from mtcnn_fast.integrations.rows import COLUMNS, SPARK_SCHEMA, arrow_schema

__all__ = ["COLUMNS", "SPARK_SCHEMA", "DetectFaces", "arrow_schema"]
