"""Reading pictures, with Pillow: `read` for users of the package, `pages` for commands that go through many files."""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import stat
import sys
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from mtcnn_fast.checks import described, integer
from mtcnn_fast.extra import require
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"

STANDARD_INPUT = "-"

PIPE = "it is a pipe, not a picture"
"""The reason why a pipe in a list of pictures is not read."""

# Formats that Pillow opens but does not decode by itself: stubs, and those that another program or Windows must draw.
_NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"))

# Files of these formats hold one picture. Their other frames are a preview, the other eye's view, a gain map, a layer.
_SINGLE = frozenset(("ICNS", "ICO", "MPO", "PSD"))

_ORIENTATION = 274
# Its values that turn a picture by a quarter.
_TURNING = (5, 6, 7, 8)
# One of these is in a PNG that has an orientation: a chunk of EXIF, or the name of a text of EXIF or of XMP.
_MARKS_OF_EXIF = (b"eXIf", b"type exif", b"adobe.xmp")

# TIFF's tag NewSubfileType, and its bits for a reduced version of another page and for a mask.
_NEW_SUBFILE_TYPE = 254
_NOT_A_PAGE = 1 | 4

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JPEG = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"

# A pipe may never end.
_MOST_OF_A_PIPE = 2**31

# The detector's pyramid has at most 2^31 pixels, and the picture is half of them.
_MOST_PIXELS = 2**30

# A few bytes of an animation can declare, or repeat, a page of 2^30 pixels, and libwebp takes 50 s to fill it. So all
# pages together have at most this many pixels, or this many per byte of the file. In a flat colour, JPEG has 110 pixels
# per byte and PNG 340. Screen recordings have fewer than 1,000.
_MOST_PIXELS_OF_ANY_FILE = 2**28
_MOST_PIXELS_PER_BYTE = 1000

# Extra bytes before the marker of a header cost no pixels.
_HARMLESS = re.compile(r"extraneous bytes before marker 0x(?:c[0-9a-f]|d[b-f]|e[0-9a-f]|fe)")

# Pillow's warnings about the picture that a thread is reading.
_heard = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture, or a page of it, as it was read."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), RGB, upright by the EXIF orientation; read-only."""
    page: int = 0
    """The number of the page in a file with several, from 0; else 0."""
    pages: int = 1
    """The number of pages in the file."""
    damage: str | None = None
    """A description of the damage that the decoder found; None: none."""


def read(source: Source, page: int | None = None) -> NDArray[np.uint8]:
    """The picture in a file: uint8 (H, W, 3), RGB, upright by its EXIF orientation, as `MTCNN.detect` takes it.

    source: a path, the bytes of a file, or a file object opened for reading bytes, which is read to its end. Formats
    are Pillow's, and HEIC where pillow-heif is installed. Alpha is left out; 16 bits are scaled to 8; CMYK, LAB and
    palettes become RGB. A file has at most 2^28 pixels in all pages that are read, or 1,000 per byte.
    page: the page of a TIFF or an animation, from 0; None: the first, with a UserWarning if there are more.

    A damaged JPEG gives the pixels that could be decoded, with a UserWarning if simplejpeg, which detects the damage,
    is installed. A JPEG that lacks only its last two bytes counts as whole.

    Raises OSError that says why there is no picture, IndexError for a page that does not exist, TypeError for another
    source, ImportError without Pillow (extra `cli`).
    """
    number = 0 if page is None else integer("page", page)
    if number < 0:
        raise IndexError(f"page is {number}; wanted 0 or more")
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the picture"
    try:
        picture = next(_pages(source, number), None)
    except OSError as error:
        if error.errno is not None:
            raise
        raise OSError(f"{name!r}: {error}") from error
    if picture is None:
        raise IndexError(f"page is {number}; {name!r} has no such page")
    if page is None and picture.pages > 1:
        warnings.warn(
            f"{name!r} has {picture.pages} pages; this is the first: mtcnn_fast.read(..., page=0)", stacklevel=2
        )
    if picture.damage is not None:
        warnings.warn(f"{name!r} is damaged: {picture.damage}", stacklevel=2)
    return picture.pixels.copy()


def pages(source: Source, first_only: bool = False) -> Iterator[Picture]:
    """Every page of a file, each decoded when the caller asks for it.

    source: as `read` takes it, or STANDARD_INPUT. Raises OSError for a page that cannot be decoded, whatever the
    decoder raises; then no further page comes.
    """
    decoded = _pages(source, 0)
    for picture in decoded:
        yield picture
        if first_only:
            decoded.close()
            return


def first_page(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], str | None]:
    """The pixels of a file's first page, to which labels belong, as `Picture` has them; and its `remark`.

    Raises as `pages` does. Raises OSError for a pipe, because reading a pipe in a list might wait for ever.
    """
    if is_pipe(path):
        raise OSError(PIPE)
    picture = next(pages(path, first_only=True))
    return picture.pixels, remark(picture)


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of a file's first page, upright by its EXIF orientation. No pixel is decoded.

    Raises OSError as `first_page` does.
    """
    if is_pipe(path):
        raise OSError(PIPE)
    _pillow()
    try:
        with _opened(path) as file, listening([]), _identified(file) as opened:
            if opened.format == "TIFF":
                opened.seek(_frames(opened)[0])
            width, height = opened.size
            return (height, width) if _is_turned(opened, file) else (width, height)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # decoders raise exceptions of any type
        raise OSError(f"it cannot be decoded: {reason(error)}") from error


def remark(picture: Picture) -> str | None:
    """A remark for the user about the first page of a file, to which its labels belong; None: there is none."""
    if picture.damage is not None:
        return f"damaged: {picture.damage}"
    return f"the first of {picture.pages} pages is taken" if picture.pages > 1 else None


def is_pipe(source: object) -> bool:
    """Whether a source is STANDARD_INPUT or the path of a pipe."""
    if source == STANDARD_INPUT:
        return True
    if not isinstance(source, str | os.PathLike):
        return False
    try:
        return stat.S_ISFIFO(os.stat(source).st_mode)  # noqa: PTH116 # a Path would merge two slashes
    except (OSError, ValueError):
        return False


def suffixes() -> frozenset[str]:
    """The suffixes of the formats that can be decoded here, in lower case, with the dot."""
    image, formats = _pillow()
    # Photographs with previews (MPO) are opened as JPEG. Pillow knows this kind by its suffix alone.
    decoded = {*formats, "MPO"}
    return frozenset(suffix for suffix, kind in image.registered_extensions().items() if kind in decoded)


@contextmanager
def as_a_command() -> Iterator[None]:
    """Sets up Pillow for a process that only goes through pictures, for the time of the `with` block.

    Pillow's warnings and logs about a picture become that picture's damage, and do not go to stderr. Pictures may have
    as many pixels as the detector takes; Pillow's own limit, which protects servers, is lower.
    """
    try:
        image, _ = _pillow()
    except ImportError:  # reported when a picture is to be read
        yield
        return
    others, limit = warnings.showwarning, image.MAX_IMAGE_PIXELS

    def keep(message: Warning | str, *where: Any, **how: Any) -> None:
        kept = getattr(_heard, "warnings", None)
        if kept is None:
            others(message, *where, **how)
        else:
            kept.append(str(message))

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept = getattr(_heard, "warnings", None)
            if kept is not None:
                kept.append(record.getMessage())

    log, keeper = logging.getLogger("PIL"), Keeper(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"PIL\.")
        # Pillow warns from the limit on and refuses from twice the limit on. That warning is no damage.
        warnings.filterwarnings("ignore", category=image.DecompressionBombWarning)
        warnings.showwarning = keep
        log.addHandler(keeper)
        image.MAX_IMAGE_PIXELS = _MOST_PIXELS
        try:
            yield
        finally:
            image.MAX_IMAGE_PIXELS = limit
            log.removeHandler(keeper)


@functools.cache
def _pillow() -> tuple[Any, tuple[str, ...]]:
    """PIL.Image, and the names of the formats to try, in Pillow's own order."""
    image = require("PIL.Image", "reading pictures")
    image.init()
    with suppress(ImportError):  # `_open` reports it for a HEIC picture
        require("pillow_heif", "reading HEIC").register_heif_opener()
    return image, tuple(kind for kind in image.ID if kind not in _NOT_DECODED)


def _pages(source: Source, first: int) -> Generator[Picture, None, None]:
    _pillow()
    with _opened(source) as file:
        try:
            start = file.read(len(_JPEG))
            file.seek(0)
            damage = None
            if start == _JPEG:
                # Viewers accept a JPEG without its last two bytes. Bytes behind the end are not read.
                content = file.read() + _END_OF_IMAGE
                file, damage = io.BytesIO(content), _damage(content)
            elif not start:
                raise OSError("the file is empty")
            yield from _decoded(file, first, damage)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # decoders raise exceptions of any type
            raise OSError(f"it cannot be decoded: {reason(error)}") from error


def _decoded(file: BinaryIO, first: int, damage: str | None) -> Iterator[Picture]:
    remarks = [damage] if damage else []
    most, pixels = max(_MOST_PIXELS_OF_ANY_FILE, _MOST_PIXELS_PER_BYTE * file.seek(0, os.SEEK_END)), 0
    file.seek(0)
    with listening(remarks):
        opened, frames = _open(file, remarks)
    with opened:
        for number in range(first, len(frames)):
            # It does not span the yield, because another thread may ask for the next page.
            with listening(remarks):
                if frames[number]:
                    opened.seek(frames[number])
                pixels += opened.width * opened.height
                if pixels > most:
                    raise OSError(
                        f"it has {pixels} pixels up to page {number}; wanted at most {most} of a file of its size"
                    )
                opened.load()
                rgb = _rgb(upright(opened, remarks))
            picture = Picture(rgb, number, len(frames), "; ".join(dict.fromkeys(remarks)) or None)
            remarks.clear()
            yield picture


def _identified(file: BinaryIO) -> Any:
    """The opened picture, of which the header alone has been read."""
    image, formats = _pillow()
    try:
        return image.open(file, formats=formats)
    except image.DecompressionBombError as error:
        raise OSError(f"{error} PIL.Image.MAX_IMAGE_PIXELS sets the limit.") from error
    except image.UnidentifiedImageError:
        file.seek(4)
        heic = file.read(4) == b"ftyp" and file.read(4) in _HEIC
        hint = "; HEIC needs pillow-heif: pip install pillow-heif" if heic else ""
        raise OSError(f"not a picture that Pillow can decode{hint}") from None


def _open(file: BinaryIO, remarks: list[str]) -> tuple[Any, list[int]]:
    """The opened picture, and the numbers of its frames that are pages."""
    opened = _identified(file)
    try:
        return opened, _frames(opened)
    except Exception as error:  # decoders raise exceptions of any type
        remarks.append(f"its pages cannot be counted: {reason(error)}")
        opened.seek(0)
        return opened, [0]


def _frames(opened: Any) -> list[int]:
    count = 1 if opened.format in _SINGLE else getattr(opened, "n_frames", 1)
    if opened.format != "TIFF" or count == 1:
        return list(range(count))
    kept = []
    for frame in range(count):
        opened.seek(frame)
        if not opened.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & _NOT_A_PAGE:
            kept.append(frame)
    opened.seek(0)
    return kept or [0]


def upright(image: Any, remarks: list[str]) -> Any:
    """The picture turned upright by EXIF: the same object if there is nothing to turn, or if EXIF is damaged."""
    try:
        # exif_transpose would copy a picture that is upright already.
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        return require("PIL.ImageOps", "reading pictures").exif_transpose(image)
    except Exception as error:  # for damaged EXIF Pillow's parser raises exceptions of any type
        remarks.append(f"EXIF cannot be read: {reason(error)}")
        return image


def _is_turned(opened: Any, file: BinaryIO) -> bool:
    """Whether EXIF makes the height of an opened picture its width."""
    if opened.format == "PNG":
        # To look for EXIF behind the pixels, Pillow decodes them.
        file.seek(0)
        content = file.read()
        if not any(mark in content for mark in _MARKS_OF_EXIF):
            return False
    try:
        return opened.getexif().get(_ORIENTATION, 1) in _TURNING
    except Exception:  # as in `_upright`
        return False


@contextmanager
def listening(remarks: list[str]) -> Iterator[None]:
    """In its block, Pillow's warnings become remarks, if this is in the block of `as_a_command`."""
    _heard.warnings = remarks
    try:
        yield
    finally:
        _heard.warnings = None


def _rgb(image: Any) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) in RGB. More than 8 bits are scaled here, because Pillow's own conversion clips them."""
    if image.mode.startswith("I;16"):
        return _from_gray(np.asarray(image) >> 8)
    if image.mode in ("I", "F"):
        return _from_gray(_scaled(np.asarray(image)))
    if image.mode == "LAB":
        cms = require("PIL.ImageCms", "reading LAB")
        image = cms.profileToProfile(image, cms.createProfile("LAB"), cms.createProfile("sRGB"), outputMode="RGB")
    if image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")  # a palette's colours may have alpha, and converting these to RGB warns
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _scaled(values: NDArray[Any]) -> NDArray[Any]:
    """Scales integers of 16 bits, or floats from 0 to 1 as in PFM and TIFF, to 0 to 255."""
    least, greatest = values.min(), values.max()
    if values.dtype.kind == "f" and least >= 0 and greatest <= 1:
        return np.asarray(np.rint(values * 255))
    if values.dtype.kind != "f" and least >= 0 and greatest < 2**16:
        return np.asarray(values >> 8)
    wanted = "0 to 1" if values.dtype.kind == "f" else "0 to 65535"
    raise OSError(f"its values run from {least} to {greatest}; wanted {values.dtype.name} of {wanted}")


def _from_gray(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[..., np.newaxis], 3, axis=2)


def _damage(jpeg: bytes) -> str | None:
    """libjpeg's warning about damage, which Pillow does not report. None: there is none, or simplejpeg is missing.

    It decodes at an eighth of the size, which reads all bits and computes few pixels.
    """
    decoder = _strict_decoder()
    if decoder is None:
        return None
    try:
        header = decoder.decode_jpeg_header(jpeg, strict=False)
        color = "CMYK" if header[2] in ("CMYK", "YCCK") else "GRAY"
        decoder.decode_jpeg(jpeg, color, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        text = str(error)
        # Other messages are about formats that this decoder does not know, and header fields that affect no pixels.
        if text.startswith(("Corrupt JPEG data", "Premature end")) and not _HARMLESS.search(text):
            return text[0].lower() + text[1:]
    return None


@functools.cache
def _strict_decoder() -> Any:
    try:
        return require("simplejpeg", "telling damaged JPEGs")
    except ImportError:
        return None


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    """The source as a file that can seek."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str) and source == STANDARD_INPUT:
        if sys.stdin is None:
            raise OSError("stdin is closed")
        yield _whole(sys.stdin.buffer)
    elif isinstance(source, str | os.PathLike):
        try:
            mode = os.stat(source).st_mode  # noqa: PTH116 # a Path would merge the two slashes of a URL
        except ValueError as error:  # a NUL
            raise OSError(f"no file can have this name: {error}") from error
        # Some devices never end.
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise OSError("it is a device or a socket, not a picture")
        with open(source, "rb") as file:  # noqa: PTH123
            yield file if stat.S_ISREG(mode) else _whole(file)
    elif hasattr(source, "read"):
        yield _whole(source)
    else:
        raise TypeError(f"source is {described(source)}; wanted a path, bytes, or a file opened for reading bytes")


def _whole(stream: BinaryIO) -> BinaryIO:
    content: object
    try:
        content = stream.read(_MOST_OF_A_PIPE + 1)
    except UnicodeDecodeError:  # from a file opened for reading text
        content = ""
    if not isinstance(content, bytes):
        raise TypeError(f"source gives {type(content).__name__}; wanted a file opened for reading bytes ('rb')")
    if len(content) > _MOST_OF_A_PIPE:
        raise OSError(f"it does not end within {_MOST_OF_A_PIPE} bytes")
    return io.BytesIO(content)
