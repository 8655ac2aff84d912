"""Packages that only some functions need: imported by them, and by a name that says how to install them."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, purpose: str, extra: str = "cli", remedy: str | None = None) -> Any:
    """The module, or an ImportError that says how to install it: by the extra to which it belongs, or by `remedy`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = remedy or f'pip install "mtcnn_fast[{extra}]"'
        raise ImportError(f"{purpose} needs {module} ({error}): {remedy}") from error
