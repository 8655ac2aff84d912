"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes `path`'s place when the `with` block ends without an exception.

    Until then it has the process's number and ".part" after its name, and a process that is killed leaves it behind.
    Raises OSError as `open` does.
    """
    # Beside the target, for only within a file system is replacing one step; opened as any file, not by tempfile, whose
    # files nobody else may read.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            settle(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def settle(file: BinaryIO) -> None:
    """Waits until what was written has reached the disk: a machine that goes down must not leave a name on less."""
    file.flush()
    os.fsync(file.fileno())
