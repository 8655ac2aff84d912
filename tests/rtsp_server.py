"""A camera of the network for tests: H.264 over RTSP (RFC 2326), its packets (RFC 6184) within the TCP connection."""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

PAYLOAD_TYPE = 96
MARKER = 128
"""In the payload type's byte: the last packet of a frame."""
CLOCK = 90_000
FIRST_TIME = 123_456
"""Cameras begin anywhere."""
SEQUENCE_SET, PICTURE_SET = 7, 8


class RtspServer:
    """Sends the images, then closes the connection, or with `stalls` sends nothing more.

    fps: by which the timestamps run. pause: seconds from frame to frame.
    """

    def __init__(
        self, images: Sequence[NDArray[np.uint8]], *, fps: int = 25, pause: float = 0.005, stalls: bool = False
    ) -> None:
        self._frames = [_units(packet) for packet in _encoded(images, fps)]
        self._ticks, self._pause, self._stalls = CLOCK // fps, pause, stalls
        self._closed = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/camera"

    def __enter__(self) -> RtspServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.close()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as requests:
            while True:
                method, url, _ = requests.readline().decode().split(" ")
                fields = dict(line.split(": ") for line in iter(lambda: requests.readline().decode().strip(), ""))
                content = self._description() if method == "DESCRIBE" else ""
                answer = [
                    "RTSP/1.0 200 OK",
                    f"CSeq: {fields['CSeq']}",
                    "Session: 1",
                    "Transport: RTP/AVP/TCP;unicast;interleaved=0-1",
                    f"Content-Base: {url}/",
                    "Content-Type: application/sdp",
                    f"Content-Length: {len(content)}",
                ]
                connection.sendall("\r\n".join([*answer, "", content]).encode())
                if method == "PLAY":
                    self._play(connection)
                    return

    def _description(self) -> str:
        sets = [
            base64.b64encode(unit).decode()
            for kind in (SEQUENCE_SET, PICTURE_SET)
            for unit in self._frames[0]
            if unit[0] & 31 == kind
        ]
        lines = [
            "v=0",
            "o=- 0 0 IN IP4 127.0.0.1",
            "s=camera",
            "t=0 0",
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
            f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK}",
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={','.join(sets)}",
            "a=control:video",
        ]
        return "".join(line + "\r\n" for line in lines)

    def _play(self, connection: socket.socket) -> None:
        sequence = 0
        for i, units in enumerate(self._frames):
            for unit in units:
                kind = PAYLOAD_TYPE | (MARKER if unit is units[-1] else 0)
                packet = struct.pack(">BBHII", 128, kind, sequence, FIRST_TIME + i * self._ticks, 1) + unit
                connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                sequence += 1
            time.sleep(self._pause)
        if self._stalls:
            self._closed.wait(30)


def _encoded(images: Sequence[NDArray[np.uint8]], fps: int) -> list[bytes]:
    av: Any = pytest.importorskip("av", reason="PyAV, which encodes the videos, is not installed")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = images[0].shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, fps)
    encoder.options = {"tune": "zerolatency", "crf": "12"}
    packets = []
    for i, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts = i
        packets += encoder.encode(frame)
    return [bytes(packet) for packet in (*packets, *encoder.encode(None))]


def _units(packet: bytes) -> list[bytes]:
    """The parts of an encoded frame, without the codes that begin them."""
    return [unit for unit in re.split(rb"\x00?\x00\x00\x01", packet) if unit]
