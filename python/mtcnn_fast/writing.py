"""Writing files. A file is written whole or not at all; its place is tried before the work begins; errors name it."""

from __future__ import annotations

import itertools
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

JSON = (b"[", b"{")
"""The first bytes of a JSON file: one of these."""
PNG = (b"\x89PNG\r\n\x1a\n",)
"""The first bytes of a PNG file."""

# The most bytes that Linux and macOS allow for a name, less the suffix of a part.
_NAME_BYTES = 255 - 20


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write. It takes `path`'s place when the `with` block ends without an exception.

    Until then its name ends with the process's number and ".part". A process that is killed leaves it behind. A link
    stays a link, to the new content; a file keeps its permissions. A pipe or a device is written directly. Raises
    OSError that names `path`.
    """
    with naming(path):
        target = Path(os.path.realpath(path))
        if is_special(target):
            with target.open("wb") as file:
                yield file
            return
        # The part is beside the target, because replacing is atomic only within one file system. It is not opened by
        # tempfile, because only the owner may read tempfile's files.
        name = os.fsdecode(os.fsencode(target.name)[:_NAME_BYTES])
        part = target.with_name(f"{name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                yield file
                settle(file)
            keep_permissions(target, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file with `replacing`."""
    with replacing(path) as file:
        file.write(content)


def keep_permissions(earlier: Path, new: Path) -> None:
    """Gives a file the permissions of the file that it will replace, if that exists."""
    if earlier.exists():
        new.chmod(stat.S_IMODE(earlier.stat().st_mode))


def claim(file: BinaryIO, path: str | os.PathLike[str]) -> BinaryIO:
    """Locks an open file against other processes that claim it. Closing both `file` and the result ends the lock.

    It locks nothing where the system or the file system has no such locks. Raises FileExistsError that names `path` if
    another process has claimed the file.
    """
    lock = open(os.dup(file.fileno()), "rb")  # noqa: PTH123, SIM115 # the caller closes it
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise FileExistsError(f"another run is writing {path}; wanted one at a time, or another file") from error
        except OSError:  # such as on a network file system
            pass
    return lock


def make_folder(folder: Path) -> None:
    """Makes a folder and the folders above it, at any depth. Raises NotADirectoryError if one of them is no folder."""
    missing = list(itertools.takewhile(lambda place: not is_folder(place), (folder, *folder.parents)))
    for place in reversed(missing):
        try:
            place.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(f"{place} is no folder") from error


def settle(file: BinaryIO) -> None:
    """Waits until the content is on the disk. Otherwise a crash of the machine could leave an incomplete file."""
    file.flush()
    os.fsync(file.fileno())


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Makes a folder and those above it, and tries to write into it. Raises OSError that names it."""
    with naming(folder):
        place = Path(folder)
        make_folder(place)
        _try_to_write_into(place)
    return place


def check_destination(
    path: str | os.PathLike[str], begins: Sequence[bytes] = (), inputs: Sequence[str | os.PathLike[str]] = ()
) -> Path:
    """Checks, before the work begins, that a file can be written, and returns its path.

    begins: the first bytes that files of this kind may have. An existing file that begins otherwise is not replaced;
    an empty one is. inputs: the files that the work reads, which are not replaced either.

    Raises FileNotFoundError if its folder does not exist, IsADirectoryError if it is a folder, FileExistsError for a
    file that must not be replaced, and OSError if it cannot be written.
    """
    place = Path(path)
    if not place.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder for {path}")
    if place.is_dir():
        raise IsADirectoryError(f"{path} is a folder; wanted the name of a file")
    if is_special(place):
        return place
    with naming(path):
        _try_to_write_into(Path(os.path.realpath(place)).parent)
        if place.exists():
            for source in inputs:
                if _is_there(source) and place.samefile(source):
                    raise FileExistsError(f"{path} is a file that the command reads; it is not replaced")
            with place.open("rb") as file:
                head = file.read(64)
            text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
            if begins and text and not text.startswith(tuple(begins)):
                raise FileExistsError(f"{path} exists and is another kind of file; it is not replaced")
    return place


def reason(error: BaseException) -> str:
    """The message of an exception, in one line, without the file: the caller names it."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def line_of(error: BaseException) -> str:
    """The message of an exception, in one line, with the file that it is about."""
    place = getattr(error, "filename", None)
    return reason(error) if place is None else f"{os.fsdecode(place)}: {reason(error)}"


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes an OSError of the system, raised in its block, name the requested file, not its part and not nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename == os.fspath(path):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def is_special(path: Path) -> bool:
    """Whether a path is a pipe or a device, which is written directly, not replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder. False for one that is too long, for which Path's method raises."""
    return os.path.isdir(path)  # noqa: PTH112


def _is_there(path: str | os.PathLike[str]) -> bool:
    return os.path.exists(path)  # noqa: PTH110 # as `is_folder`


def _try_to_write_into(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass
