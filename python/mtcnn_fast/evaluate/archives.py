"""Text files in a folder or an archive."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path


def is_collection(path: Path) -> bool:
    """Whether `members` can read it: a folder, a tar or a zip archive."""
    return path.is_dir() or tarfile.is_tarfile(path) or zipfile.is_zipfile(path)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the text files of a folder or an archive.

    Raises ValueError for an archive that is damaged or another file, and if there are no text files.
    """
    try:
        found = _members(path)
        first = next(found, None)
        if first is None:
            raise ValueError(f"{path} has no .txt files")
        yield first
        yield from found
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole archive: {error}") from error


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.txt")):
            yield str(file.relative_to(path)), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".txt"):
                    yield entry.filename, archive.read(entry)
    else:
        with tarfile.open(path, "r|*") as stream:
            for member in stream:
                content = stream.extractfile(member) if member.name.endswith(".txt") else None
                if content is not None:
                    yield member.name, content.read()
