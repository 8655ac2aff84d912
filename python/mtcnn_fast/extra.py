"""Packages that only some functions need: imported by them, and by a name that says how to install them."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, purpose: str, extra: str = "cli") -> Any:
    """The module, or an ImportError that names the extra to which it belongs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{purpose} needs {module} ({error}): pip install "mtcnn_fast[{extra}]"') from error
