"""Reading TOML files, in UTF-8 or UTF-16."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mtcnn_fast import text_files
from mtcnn_fast.extra import require
from mtcnn_fast.writing import reason

ESCAPES = r"""; between "..." a \ begins an escape: write paths with /, or between '...'"""
"""The hint for a path with the backslashes of Windows."""


def read(path: Path, extra: str) -> dict[str, Any]:
    """The document in a file.

    extra: the extra that brings the parser to Python 3.10. Raises OSError for a file that cannot be read, ValueError of
    one line for another file, ImportError without the parser.
    """
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", "a TOML file", extra)
    content = path.read_bytes()
    try:
        text = text_files.decode(content).replace("\r\n", "\n").replace("\r", "\n")
        text.encode()  # `decode` keeps bytes that are no text as surrogates, which this refuses
        document: dict[str, Any] = toml.loads(text)
    except RecursionError:
        raise ValueError(f"{path} is TOML that nests too deep") from None
    except UnicodeEncodeError as error:
        line = 1 + text[: error.start].count("\n")
        raise ValueError(f"{path} is not TOML: line {line} is not UTF-8") from None
    except ValueError as error:
        # tomllib names an escape, or the value that should follow it.
        escape = "escape" in str(error).lower() or "\\" in str(error) or "hex value" in str(error)
        raise ValueError(f"{path} is not TOML: {reason(error)}{ESCAPES if escape else ''}") from error
    return document
