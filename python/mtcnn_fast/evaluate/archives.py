"""Text files in a folder or an archive."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import splitext

from mtcnn_fast.finding import PassedOver, find, is_shadow
from mtcnn_fast.text_files import portable
from mtcnn_fast.writing import reason

SUFFIX = ".txt"

# What an archive begins with, whole or not: zip, gzip, bzip2, xz.
_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")

_DAMAGE = (EOFError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)

# What a member of a zip archive may raise: damage of its own, a password, a compression that is not known here.
_OF_A_MEMBER = (*_DAMAGE, MemoryError, NotImplementedError, OSError, RuntimeError)

Report = Callable[[str, str], object]
"""Is told the name of a file or a member that cannot be read, and why."""


def is_collection(path: Path) -> bool:
    """Whether `members` is to read it: a folder, or a tar or a zip archive, whole or not."""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        begins = file.read(8)
    return begins.startswith(_BEGINNINGS) or tarfile.is_tarfile(path) or zipfile.is_zipfile(path)


def members(path: Path, report: Report, passed_over: PassedOver) -> Iterator[tuple[str, bytes]]:
    """Name, with `/` between folders, and content of the text files of a folder or an archive, by `finding`'s rule.

    Raises ValueError for an archive that is damaged or another file, and if there are no text files.
    """
    found = False
    try:
        for name, read in _members(path, report, passed_over):
            found = True
            try:
                content = read()
            except _OF_A_MEMBER as error:
                # A tar archive is one stream: behind damage there is nothing.
                if isinstance(error, _DAMAGE) and not path.is_dir() and not zipfile.is_zipfile(path):
                    raise
                report(name, f"cannot be read: {reason(error)}")
                continue
            yield name, content
    except _DAMAGE as error:
        raise ValueError(f"{path} is not a whole archive: {reason(error)}") from error
    if not found:
        raise ValueError("; ".join([f"{path} has no {SUFFIX} files", *filter(None, [str(passed_over)])]))


Member = tuple[str, Callable[[], bytes]]
"""Name, and what reads it."""


def _members(path: Path, report: Report, passed_over: PassedOver) -> Iterator[Member]:
    if path.is_dir():
        return _of_folder(path, report, passed_over)
    return (_of_zip if zipfile.is_zipfile(path) else _of_tar)(path, passed_over)


def _of_folder(path: Path, report: Report, passed_over: PassedOver) -> Iterator[Member]:
    for file in find(
        [str(path)],
        (SUFFIX,),
        report=lambda error: report(str(error.filename), reason(error)),
        passed_over=passed_over,
    ):
        yield portable(file.below), Path(file.path).read_bytes


def _of_zip(path: Path, passed_over: PassedOver) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = portable(entry.filename)
            # The upper half has Unix's mode, or nothing.
            mode = entry.external_attr >> 16
            regular = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
            if not name.endswith("/") and not entry.is_dir() and _is_taken(name, regular, passed_over):
                yield name, lambda entry=entry: archive.read(entry)  # type: ignore[misc]


def _of_tar(path: Path, passed_over: PassedOver) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as stream:
        for member in stream:
            name = portable(member.name)
            if not member.isdir() and _is_taken(name, member.isreg(), passed_over):
                content = stream.extractfile(member)
                if content is not None:
                    yield name, content.read


def _is_taken(name: str, regular: bool, passed_over: PassedOver) -> bool:
    if is_shadow(name):
        passed_over.add("of macOS (._*, __MACOSX)")
    elif splitext(name)[1].lower() != SUFFIX:
        passed_over.add_file(name)
    elif not regular:
        passed_over.add("special (links, pipes, devices)")
    else:
        return True
    return False
