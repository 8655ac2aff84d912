"""Copies of picture files in which faces are hidden. A copy has the format, mode and metadata of its picture.

Parts that may show a face are left out: previews in EXIF, XMP, MPF and makers' notes, other views, and unknown blocks.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.blurring import hide
from mtcnn_fast.extra import require
from mtcnn_fast.reading import listening, upright
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.detections import Detections

# The modes that are written, with their black, opaque where there is alpha.
_BLACK: dict[str, Any] = {
    "1": 0,
    "L": 0,
    "LA": (0, 255),
    "P": (0, 0, 0),
    "RGB": 0,
    "RGBA": (0, 0, 0, 255),
    "CMYK": (0, 0, 0, 255),
    "I;16": 0,
    "I;16B": 0,
    "I": 0,
    "F": 0,
}

_ORIENTATION = 274
# By EXIF's number: the upright view of stored pixels.
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}

# EXIF's tags of a picture that are kept: texts, resolution, orientation, date. All others may hold pixels.
_KEPT_TAGS = frozenset(
    (269, 270, 271, 272, 274, 282, 283, 285, 296, 305, 306, 315, 316, 531, 33432, *range(40091, 40096))
)
_EXIF, _GPS, _MAKERS_NOTE = 34665, 34853, 37500
# Photoshop's resource with IPTC's texts, as JPEG stores it.
_IPTC = 0x0404

# No picture is in a binary value so short, nor in a text of so many letters of base64.
_MOST_BYTES = 1024
_BASE64 = re.compile(rb"[A-Za-z0-9+/=_-]{512}")
_BREAKS = re.compile(rb"\s+|&#x?[0-9A-Fa-f]+;")

# PNG's blocks about colour and time, which Pillow does not read or not write by itself.
_PNG_CHUNKS = frozenset((b"cHRM", b"cICP", b"gAMA", b"sBIT", b"sRGB", b"tIME"))

# Where a format does not tell the quality that a file was written with.
_QUALITY = 92

# The mean difference, of 255, that a lossy format may make. It was at most 1.9 on twelve photographs, in JPEG of
# qualities 1 to 95 and in WebP, AVIF and HEIC.
_MOST_LOSS = 6


def blurred(content: bytes, faces: Detections, how: str, widen: float) -> bytes:
    """A picture's file with faces hidden, as `blurring.blur` hides them.

    content: the file of the picture. faces: in pixels of the upright picture, as `reading.read` gives it. The pixels
    elsewhere are the same to the bit in lossless formats. JPEG is encoded with the tables and the subsampling that it
    had.

    Raises OSError for a picture that cannot be kept: several frames, more than 8 bits per channel in colour, a format
    or mode that is not written.
    """
    try:
        with listening([]):  # `reading` has told them
            return _blurred(content, faces, how, widen)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # decoders and encoders raise exceptions of any type
        raise OSError(f"it cannot be written: {reason(error)}") from error


def _blurred(content: bytes, faces: Detections, how: str, widen: float) -> bytes:
    if content.startswith(b"\xff\xd8"):
        content += b"\xff\xd9"  # as `reading` reads it
    image = require("PIL.Image", "reading pictures")
    with image.open(io.BytesIO(content)) as opened:
        save = _FORMATS.get(opened.format)
        if save is None:
            raise OSError(f"a picture in {opened.format} is not written; wanted one of {', '.join(_FORMATS)}")
        frames = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
        if frames > 1:
            raise OSError(f"it has {frames} frames; wanted a picture with one, of which no other shows the face")
        bits = _bits(opened, content)
        if bits > 8 and len(opened.getbands()) > 1:
            raise OSError(f"it has {bits} bits per channel, which would become 8; wanted 8, or one channel")
        opened.load()
        if opened.mode not in _BLACK:
            raise OSError(f"its mode is {opened.mode}; wanted one of {', '.join(_BLACK)}")
        # The faces are where `reading` has seen them.
        is_turned = upright(opened, []) is not opened
        orientation = opened.getexif()[_ORIENTATION] if is_turned else 1
        hidden = _hidden(opened, faces, how, widen, orientation)
        lossless, written = save(opened, hidden, content, _metadata(opened) | _exif(opened, orientation))
    _check(written, hidden, lossless)
    return written


def _hidden(opened: Any, faces: Detections, how: str, widen: float, orientation: int) -> Any:
    """The picture with the faces hidden, without metadata."""
    image = require("PIL.Image", "reading pictures")
    mode = opened.mode
    array = np.array(opened.convert("L") if mode == "1" else opened)
    turned = _UPRIGHT.get(orientation, np.asarray)
    if mode != "P":
        hide(turned(array), faces.boxes, how, widen, _BLACK[mode])
        if mode == "1":
            return image.fromarray(array).convert("1", dither=image.Dither.NONE)
        return image.frombytes(mode, opened.size, array.tobytes())
    palette = np.array(opened.getpalette(), np.uint8).reshape(-1, 3)
    before = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))[array]
    colors = before.copy()
    hide(turned(colors), faces.boxes, how, widen, _BLACK[mode])
    # What lies elsewhere keeps its index, because a colour may be in the palette twice.
    changed = (colors != before).any(2)
    array[changed] = _nearest(colors[changed], palette.astype(np.int32), opened.info.get("transparency"))
    paletted = image.frombytes(mode, opened.size, array.tobytes())
    paletted.putpalette(opened.getpalette())
    return paletted


def _nearest(colors: NDArray[np.uint8], palette: NDArray[np.int32], transparency: object) -> NDArray[np.intp]:
    """The indices of the opaque colours of a palette (M, 3) that are nearest to colours (N, 3)."""
    opaque = np.ones(len(palette), np.bool_)
    if isinstance(transparency, int):
        opaque[transparency] = False
    elif isinstance(transparency, bytes):
        opaque[: len(transparency)] = np.frombuffer(transparency, np.uint8)[: len(palette)] == 255
    candidates = np.flatnonzero(opaque if opaque.any() else ~opaque)
    different, places = np.unique(colors, axis=0, return_inverse=True)
    nearest = [((palette[candidates] - color) ** 2).sum(1).argmin() for color in different.astype(np.int32)]
    return candidates[np.array(nearest, np.intp)][places.reshape(-1)]


def _check(written: bytes, wanted: Any, lossless: bool) -> None:
    """Raises OSError if a file does not hold the picture that was to be written."""
    image = require("PIL.Image", "reading pictures")
    with image.open(io.BytesIO(written)) as opened:
        opened.load()
        if (opened.mode, opened.size) != (wanted.mode, wanted.size):
            raise OSError(f"its mode {wanted.mode} would become {opened.mode}")
        gotten, expected = (
            np.asarray(each.convert("RGBA").convert("RGB") if each.mode == "P" else each, np.float64)
            for each in (opened, wanted)
        )
        if lossless and not np.array_equal(gotten, expected, equal_nan=True):
            raise OSError("its pixels would change where there is no face")
        if not lossless and np.abs(gotten - expected).mean() > _MOST_LOSS:
            raise OSError("its colours would change where there is no face")


def _bits(opened: Any, content: bytes) -> int:
    """Bits per channel in the file."""
    if opened.format == "PNG":
        return content[24]
    if opened.format == "TIFF":
        bits: int = max(opened.tag_v2.get(258, (1,)))
        return bits
    if opened.format == "AVIF":
        place = content.find(b"av1C")
        return 10 if place >= 0 and content[place + 6] & 0x40 else 8
    return int(opened.info.get("bit_depth", 8))


def _exif(opened: Any, orientation: int) -> dict[str, bytes]:
    """The option of Pillow's encoders for EXIF. Damaged EXIF leaves the orientation alone."""
    try:
        kept = _kept_exif(opened.getexif())
    except Exception:  # Pillow's parser raises exceptions of any type
        exif = require("PIL.Image", "reading pictures").Exif()
        exif[_ORIENTATION] = orientation
        kept = exif.tobytes()
    return {"exif": kept} if kept else {}


def _kept_exif(exif: Any) -> bytes:
    """The tags of EXIF that show no face; nothing if there are none."""
    kept = require("PIL.Image", "reading pictures").Exif()
    kept.endian = exif.endian
    for tag, value in exif.items():
        if tag in _KEPT_TAGS and _is_short(value):
            kept[tag] = value
    for tag in (_EXIF, _GPS):
        entries = {key: value for key, value in exif.get_ifd(tag).items() if key != _MAKERS_NOTE and _is_short(value)}
        if entries:
            kept[tag] = entries
    content: bytes = kept.tobytes() if len(kept) else b""
    return content


def _metadata(opened: Any) -> dict[str, Any]:
    """The options of Pillow's encoders for metadata that show no face, but EXIF."""
    metadata = {key: opened.info[key] for key in ("icc_profile", "dpi") if opened.info.get(key)}
    xmp = opened.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if xmp and _shows_nothing(xmp):
        metadata["xmp"] = xmp
    return metadata


def _is_short(value: object) -> bool:
    return not isinstance(value, bytes) or len(value) <= _MOST_BYTES


def _shows_nothing(text: bytes) -> bool:
    """Whether a text holds no picture in base64."""
    return not _BASE64.search(_BREAKS.sub(b"", text))


def _saved(picture: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def _jpeg(opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    plugin = require("PIL.JpegImagePlugin", "writing pictures")
    subsampling = plugin.get_sampling(opened)
    if subsampling < 0 and opened.layers == 3:
        subsampling = 0
    comment = opened.info.get("comment")
    if isinstance(comment, bytes) and _shows_nothing(comment):
        metadata["comment"] = comment
    return False, _saved(
        picture,
        "JPEG",
        qtables=opened.quantization,
        subsampling=subsampling,
        progressive=bool(opened.info.get("progressive")),
        optimize=True,
        keep_rgb=opened.layers == 3 and opened.info.get("adobe_transform") == 0,
        extra=_photoshop(opened.info.get("photoshop")),
        **metadata,
    )


def _photoshop(resources: object) -> bytes:
    """The segment of a JPEG with IPTC's texts; without it, nothing."""
    texts = resources.get(_IPTC) if isinstance(resources, dict) else None
    if not isinstance(texts, bytes) or not _shows_nothing(texts):
        return b""
    resource = (
        b"8BIM" + _IPTC.to_bytes(2, "big") + b"\0\0" + len(texts).to_bytes(4, "big") + texts + b"\0" * (len(texts) % 2)
    )
    segment = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment


def _png(opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    info = require("PIL.PngImagePlugin", "writing pictures").PngInfo()
    place = 8
    while place + 12 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind in _PNG_CHUNKS:
            info.add(kind, content[place + 8 : place + 8 + length])
        place += length + 12
    for key, value in opened.text.items():
        # Those of ImageMagick hold EXIF and others in hexadecimal digits.
        if not key.startswith("Raw profile") and _shows_nothing(value.encode()):
            info.add_itxt(key, value, getattr(value, "lang", "") or "", getattr(value, "tkey", "") or "")
    metadata.pop("xmp", None)  # it is among the texts
    if "transparency" in opened.info:
        metadata["transparency"] = opened.info["transparency"]
    return True, _saved(picture, "PNG", pnginfo=info, **metadata)


def _webp(opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    lossless = b"VP8L" in content
    metadata.pop("dpi", None)
    return lossless, _saved(picture, "WEBP", lossless=lossless, exact=True, quality=_QUALITY, method=4, **metadata)


def _tiff(opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    compression = opened.info.get("compression", "raw")
    lossless = compression not in ("jpeg", "webp", "tiff_jpeg")
    if not lossless:
        metadata["quality"] = _QUALITY
    if compression != "raw":
        metadata["compression"] = compression
    xmp = metadata.pop("xmp", None)
    return lossless, _saved(picture, "TIFF", tiffinfo={} if xmp is None else {700: xmp}, **metadata)


def _gif(opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    kept = {"transparency": opened.info["transparency"]} if "transparency" in opened.info else {}
    comment = opened.info.get("comment", b"")
    if _shows_nothing(comment):
        kept["comment"] = comment
    return True, _saved(picture, "GIF", optimize=False, interlace=bool(opened.info.get("interlace")), **kept)


def _bmp(opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    return True, _saved(picture, "BMP", **{key: value for key, value in metadata.items() if key == "dpi"})


def _modern(kind: str, opened: Any, picture: Any, content: bytes, metadata: dict[str, Any]) -> tuple[bool, bytes]:
    metadata.pop("dpi", None)
    return False, _saved(picture, kind, quality=_QUALITY, **metadata)


# Functions that write a picture as a format: from the opened file, the picture, the bytes of the file and the metadata.
# They tell whether the format is lossless.
_FORMATS: dict[str, Callable[[Any, Any, bytes, dict[str, Any]], tuple[bool, bytes]]] = {
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
    "GIF": _gif,
    "BMP": _bmp,
    "AVIF": functools.partial(_modern, "AVIF"),
    "HEIF": functools.partial(_modern, "HEIF"),
}
