"""Text files in a folder or an archive."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from posixpath import splitext
from typing import IO, Any, BinaryIO, cast

from mtcnn_fast.datasets.limits import MAX_ARCHIVE, MAX_TEXT, more_than, read_bounded
from mtcnn_fast.datasets.pictures import leads_out, without_outside
from mtcnn_fast.finding import PassedOver, find, is_shadow
from mtcnn_fast.text_files import portable
from mtcnn_fast.writing import reason

SUFFIX = ".txt"

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")

# The functions that open a packed archive, by its first bytes.
_PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}

_PIECE = 2**20

Report = Callable[[str, str], object]
"""Receives the name of a file or a member that cannot be read, and the reason."""


def is_collection(path: Path) -> bool:
    """Whether a path is for `members`: a folder, or a tar or zip archive, whole or not."""
    if path.is_dir():
        return True
    return _beginning(path).startswith((*_ZIP, *_PACKED)) or _is_tar(path) or zipfile.is_zipfile(path)


def members(
    path: Path, report: Report, passed_over: PassedOver, *, outside: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Name, with `/` between folders, and content of each text file in a folder or an archive.

    The module `finding` says which files are passed over. Nothing is unpacked to the disk, and memory holds one member
    at a time. outside: take members whose names lead out of the archive; otherwise they are reported.

    Raises ValueError for a file that is damaged or no archive, for an archive that unpacks to more than MAX_ARCHIVE
    bytes, and if there are no text files.
    """
    has_text = False
    for name, read in _members(path, report, passed_over):
        has_text = True
        try:
            if not outside and leads_out(name):
                raise ValueError(without_outside(name, "the archive"))
            content = read()
        except _OfTheArchive:
            raise
        except Exception as error:  # a password, an unknown compression, or any error from a damaged member
            report(name, f"cannot be read: {reason(error)}")
            continue
        yield name, content
    if not has_text:
        raise ValueError("; ".join([f"{path} has no {SUFFIX} files", *filter(None, [str(passed_over)])]))


Member = tuple[str, Callable[[], bytes]]
"""The name of a member, and the function that reads it."""


class _OfTheArchive(ValueError):
    """An error of the whole archive, which ends its reading."""


def _members(path: Path, report: Report, passed_over: PassedOver) -> Iterator[Member]:
    if path.is_dir():
        return _of_folder(path, report, passed_over)
    begins = _beginning(path)
    # A plain tar may end with a zip, and zipfile looks for its mark at the end.
    is_zip = begins.startswith(_ZIP) or (not begins.startswith(tuple(_PACKED)) and not _is_tar(path))
    return _of_zip(path, passed_over) if is_zip and zipfile.is_zipfile(path) else _of_tar(path, passed_over)


def _of_folder(path: Path, report: Report, passed_over: PassedOver) -> Iterator[Member]:
    def reader(file: str) -> Callable[[], bytes]:
        def read() -> bytes:
            with Path(file).open("rb") as opened:
                return read_bounded(opened, MAX_TEXT)

        return read

    for file in find(
        [str(path)],
        (SUFFIX,),
        report=lambda error: report(str(error.filename), reason(error)),
        passed_over=passed_over,
    ):
        yield portable(file.below), reader(file.path)


def _of_zip(path: Path, passed_over: PassedOver) -> Iterator[Member]:
    unpacked = 0

    def reader(entry: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            with archive.open(entry) as file:
                return read_bounded(cast("BinaryIO", file), MAX_TEXT)

        return read

    with _naming(path), zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = portable(entry.filename)
            # The upper half is the mode of Unix, or 0.
            mode = entry.external_attr >> 16
            regular = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
            if not name.endswith("/") and not entry.is_dir() and _is_taken(name, regular, passed_over):
                unpacked += min(entry.file_size, MAX_TEXT)
                _check_unpacked(path, unpacked)
                yield name, reader(entry)


def _of_tar(path: Path, passed_over: PassedOver) -> Iterator[Member]:
    begins = _beginning(path)
    opener = next((opener for start, opener in _PACKED.items() if begins.startswith(start)), None)

    def reader(member: tarfile.TarInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            if member.size > MAX_TEXT:
                raise ValueError(more_than(MAX_TEXT))
            # A tar archive is one stream, so nothing behind a damaged place can be read.
            with _naming(path):
                content = archive.extractfile(member)
                return b"" if content is None else content.read()

        return read

    with (
        _naming(path),
        path.open("rb") if opener is None else opener(path) as file,
        _open_tar(stream := _Stream(file)) as archive,
    ):
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all of them
            if opener is not None:
                _check_unpacked(path, member.offset_data + member.size)
            name = portable(member.name)
            if not member.isdir() and _is_taken(name, member.isreg(), passed_over):
                yield name, reader(member)
        if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile ends without an error at a block that is no header
            raise tarfile.ReadError("behind its last member there is neither another nor an end")
        # The checksum of the packed data comes last.
        while opener is not None and file.read(_PIECE):
            _check_unpacked(path, file.tell())


class _Stream:
    """A file for tarfile, which refuses to read as many bytes as a damaged header may ask for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""
        """The bytes that were read last."""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_TEXT + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        self.last = self._file.read(size)
        return self.last


def _open_tar(stream: _Stream) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:")


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            with _open_tar(_Stream(file)):
                return True
        except Exception:  # for other files tarfile raises exceptions of any type
            return False


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _check_unpacked(path: Path, size: int) -> None:
    if size > MAX_ARCHIVE:
        raise _OfTheArchive(f"{path} unpacks to more than {MAX_ARCHIVE} bytes, which is the limit")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except _OfTheArchive:
        raise
    except Exception as error:  # for damaged archives parsers raise exceptions of any type
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _OfTheArchive(f"{path} is not a whole archive: {reason(error)}") from error


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
