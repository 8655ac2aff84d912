"""Optional packages. If one is missing, the error names the extra to install."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, purpose: str, extra: str = "cli", remedy: str | None = None) -> Any:
    """Imports a module. Raises ImportError that says how to install a missing one: by `extra`, or by `remedy`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = remedy or f'pip install "mtcnn_fast[{extra}]"'
        raise ImportError(f"{purpose} needs {module} ({error}): {remedy}") from error
