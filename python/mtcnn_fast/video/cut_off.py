"""Files that end before they should. Decoders end with them, and raise nothing."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

# Matroska's and WebM's numbers of elements.
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"

# The types of the boxes that MP4 and QuickTime files consist of. Any may be the first one of QuickTime.
_BOXES = frozenset(
    b"ftyp styp pdin sidx ssix prft emsg moov moof mfra mdat meta udta uuid free skip wide junk pnot PICT".split()
)


def cut_off(path: str) -> str | None:
    """What is missing: all of an empty file, the end of an MP4, QuickTime, Matroska, WebM or AVI file; None: nothing.

    Sizes in a file's header say where it ends. Other formats have none. Raises OSError for a file that cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 # as reading.is_pipe
        return None
    with open(path, "rb") as file:  # noqa: PTH123
        length = file.seek(0, os.SEEK_END)
        if not length:
            return "it is empty"
        file.seek(0)
        start = file.read(12)
        file.seek(0)
        if start[4:8] in _BOXES:
            wanted = _end_of_boxes(file, length)
        elif start[:4] == _EBML:
            wanted = _end_of_segment(file)
        elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            # Whether a byte that makes the size even is there, and counted, differs from program to program.
            wanted = 7 + int.from_bytes(start[4:8], "little")
        else:
            return None
    return None if length >= wanted else f"it is cut off: it should have {wanted} bytes or more, and has {length}"


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    place = 0
    while place < length:
        file.seek(place)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:  # the size stands behind the type, in 64 bits
            size = int.from_bytes(header[8:], "big")
        if size == 0:  # to the end of the file
            return length
        # What some programs append to a video is no box.
        if size < 8 or header[4:8] not in _BOXES:
            return place
        place += size
    return place


def _end_of_segment(file: BinaryIO) -> int:
    while True:
        name = file.read(4)
        if name not in (_EBML, _SEGMENT):
            return 0
        first = file.read(1)
        if not first or first == b"\0":
            return 0
        width = 9 - first[0].bit_length()
        digits = first[0] & ((1 << (8 - width)) - 1)
        size = int.from_bytes(bytes([digits]) + file.read(width - 1), "big")
        if size == (1 << 7 * width) - 1:  # not known, as of a live recording
            return 0
        end = file.tell() + size
        if name == _SEGMENT:
            return end
        file.seek(end)
