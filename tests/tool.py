"""The programs of tools/ and bench/, as modules for tests."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
TOOLS, BENCH = ROOT / "tools", ROOT / "bench"


def load_tool(name: str) -> ModuleType:
    """tools/NAME.py, imported anew."""
    if str(TOOLS) not in sys.path:
        sys.path.insert(0, str(TOOLS))  # some import each other
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def load_of(folder: Path, name: str) -> ModuleType:
    """FOLDER/NAME.py, of programs that import each other by name."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)
