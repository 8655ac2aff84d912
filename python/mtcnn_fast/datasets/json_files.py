"""JSON documents of annotations, read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtcnn_fast.text_files import decode
from mtcnn_fast.writing import reason


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises ValueError for another file, OSError for one that cannot be read."""
    try:
        return json.loads(decode(path.read_bytes()))
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON that can be read: it nests too deep") from error
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{path} is not JSON: {reason(error)}") from error
