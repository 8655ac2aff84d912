"""Reading and writing videos with PyAV (extra `video`)."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast.extra import require
from mtcnn_fast.video.cut_off import cut_off
from mtcnn_fast.video.source import SECONDS_TO_WAIT, Image, Source
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A decoder with T threads holds T frames. Four decode 1080p at more frames per second than a detector takes.
_DECODER_THREADS = 4

# A demuxer that draws text files as a terminal would.
_TEXT = "tty"

# Finer time bases, such as the nanoseconds of some recorders, do not fit an MP4's clock of 32 bits.
_FINEST = 1_000_000
_USUAL = Fraction(1, 90_000)
# Seconds per frame.
_SLOWEST = 10_000

# FFmpeg's guide to H.264 calls 18 visually lossless, or nearly so. On noisy frames of 1080p, `veryfast` takes 52 ms of
# one core of an AMD EPYC, and x264's default, `medium`, 149.
_ENCODER = "libx264"
_ENCODING = {"crf": "18", "preset": "veryfast"}
# FFmpeg's numbers for what swscale makes of RGB: the matrix of BT.601, values from 16 to 235.
_BT601, _LIMITED_RANGE = 6, 1


class PyavSource(Source):
    """The first video stream of a file or a URL. Raises OSError that does not name it, ImportError without PyAV."""

    reader = "PyAV"

    def __init__(self, place: str, is_file: bool) -> None:
        self._av = require("av", "reading videos", "video")
        # A path such as `rtsp:x` is no URL.
        target = os.path.abspath(place) if is_file else place  # noqa: PTH100
        # A pipe is read as a stream is: once.
        self.file = target if is_file and os.path.isfile(target) else None  # noqa: PTH113
        # TCP, because over UDP lost packets break pictures.
        options = {"rtsp_transport": "tcp"} if place.startswith("rtsp") else {}
        timeout = None if is_file else (SECONDS_TO_WAIT, SECONDS_TO_WAIT)
        self._asked = time.monotonic()
        try:
            self._container = _opened(self._av, target, options=options, timeout=timeout)
        except self._av.error.FFmpegError as error:
            raise OSError(self._cut_off() or f"it cannot be opened as a video: {self._said(error)}") from error
        try:
            self._stream = self._video()
        except OSError:
            self._container.close()
            raise
        stream, microseconds = self._stream, self._container.duration
        stream.thread_type = "AUTO" if is_file else "SLICE"
        stream.codec_context.thread_count = _DECODER_THREADS
        rate = stream.average_rate or stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.frame_count = stream.frames or None
        self.duration = microseconds / 1e6 if microseconds and microseconds > 0 else None
        self.time_base = stream.time_base
        self.pixel_aspect = stream.sample_aspect_ratio or None
        self.has_audio = bool(self._container.streams.audio)
        if self.file is not None:
            self.start = max(0, self._container.start_time or 0) / 1e6
        self._last: float | None = None
        self._matrices: dict[int, tuple[int, int, int, int] | None] = {}
        self._frames = self._decoded()

    def load(self, item: None) -> Image | None:
        self._asked = time.monotonic()
        frame = next(self._frames, None)
        if frame is None:
            damage = self._cut_off()
            if damage is not None:
                raise OSError(damage)
            return None
        # Frames that come after an error have no time base of their own.
        if frame.pts is not None and self.time_base is not None:
            timestamp = float(frame.pts * self.time_base)
        else:
            timestamp = 0.0 if self._last is None else self._last + 1 / (self.fps or 25)
        # A frame that is asked for its side data stays in memory until the garbage collection (PyAV 18.1).
        if frame.rotation not in self._matrices:
            self._matrices[frame.rotation] = _matrix(frame)
        matrix = self._matrices[frame.rotation]
        if self._last is None:
            # The clock of a stream may have begun days ago.
            self.start = self.start if self.file is not None else max(0, timestamp)
            if matrix is not None and matrix[0] == 0 and self.pixel_aspect is not None:
                self.pixel_aspect = 1 / self.pixel_aspect
        self._last = timestamp
        return Image(_upright(frame.to_ndarray(format="rgb24"), matrix), timestamp)

    def close(self) -> None:
        self._frames.close()
        self._container.close()

    def _video(self) -> Any:
        if self._container.format.name == _TEXT:
            raise OSError("it is a text, not a video")
        covers = self._av.stream.Disposition.attached_pic  # of songs
        stream = next((each for each in self._container.streams.video if not each.disposition & covers), None)
        if stream is None:
            raise OSError("it has no video")
        if stream.codec_context is None:
            raise OSError("its video has a format that PyAV cannot decode")
        return stream

    def _decoded(self) -> Generator[Any, None, None]:
        """The frames. Raises OSError that does not name the source."""
        given = False
        try:
            for packet in _packets(self._container, [self._stream]):
                try:
                    frames = packet.decode()
                except self._av.error.FFmpegError:
                    # What comes before the first key frame cannot be decoded, and a stream goes on after a loss.
                    if self.file is not None and given:
                        raise
                    continue
                given = given or bool(frames)
                yield from frames
        except self._av.error.FFmpegError as error:
            # Said at once: a timeout is told by the time since the last call of `load`.
            said = self._cut_off() or self._said(error)
            # The decoder's threads hold frames that came before.
            with suppress(self._av.error.FFmpegError):
                yield from self._stream.decode(None)
            raise OSError(said) from error

    def _cut_off(self) -> str | None:
        return None if self.file is None else cut_off(self.file)

    def _said(self, error: Exception) -> str:
        # Of errors after a timeout, FFmpeg has several: of an interruption, of invalid data, of input.
        if self.file is None and time.monotonic() - self._asked >= SECONDS_TO_WAIT:
            return f"no answer within {SECONDS_TO_WAIT} s"
        return reason(error)


def _opened(av: Any, place: str, **options: Any) -> Any:
    """The container at a place. Its metadata may be in any encoding."""
    if int(av.__version__.partition(".")[0]) < 19:  # PyAV 19 takes any bytes, and has no such option
        options["metadata_errors"] = "replace"
    return av.open(place, **options)


def _packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    """The packets of some streams."""
    while True:
        try:
            yield from container.demux(streams)
            return
        except IndexError:
            # PyAV (18.1) raises this at a packet of a stream that begins within the file, and can go on behind it.
            continue


def _matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """The signs of the display matrix by which phones turn and mirror: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    values = np.frombuffer(bytes(data), np.int32, 9)
    a, b, c, d = np.rint(values[[0, 1, 3, 4]] / max(1, int(np.abs(values[[0, 1]]).max()))).astype(int).tolist()
    # Turns by other angles than quarters are not made.
    return (a, b, c, d) if abs(a * d - b * c) == 1 and 0 in (a, b) else None


def _upright(image: NDArray[np.uint8], matrix: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    if matrix is None or matrix == (1, 0, 0, 1):
        return image
    a, b, c, d = matrix
    if a == 0:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if min(b, d) < 0 else 1, :: -1 if min(a, c) < 0 else 1])


class PyavSink:
    """An H.264 video of images, with the audio of a source's file copied into it, that begins at 0.

    Raises OSError that may not name the file.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, source: Source | None) -> None:
        self._av = require("av", "writing videos", "video")
        time_base = _USUAL if source is None or source.time_base is None else source.time_base
        self._time_base = time_base if time_base.denominator <= _FINEST else _USUAL
        self._start = 0.0 if source is None else source.start
        self._last: int | None = None
        with _as_oserror(self._av):
            self._container = self._av.open(os.fspath(path), "w")
            rate = max(Fraction(fps).limit_denominator(_SLOWEST), Fraction(1, _SLOWEST))
            self._video = self._container.add_stream(_ENCODER, rate=rate, options=_ENCODING)
            self._video.width, self._video.height = size
            self._video.pix_fmt = "yuv420p"
            context = self._video.codec_context
            context.time_base = self._time_base
            context.colorspace, context.color_range = _BT601, _LIMITED_RANGE
            if source is not None and source.pixel_aspect is not None:
                context.sample_aspect_ratio = source.pixel_aspect
            self._audio = None
            self.losses: tuple[str, ...] = ()
            if source is not None and source.file is not None:
                self._audio = _Audio(self._av, source.file, self._start, self._container, path)
                self.losses = self._audio.losses
            elif source is not None and source.has_audio:
                self.losses = ("the audio of a stream is not copied",)

    @staticmethod
    def check() -> None:
        """Raises OSError if there is no encoder."""
        av = require("av", "writing videos", "video")
        try:
            av.codec.Codec(_ENCODER, "w")
        except ValueError as error:
            raise OSError(f"this PyAV has no encoder for H.264 ({_ENCODER})") from error

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        frame = self._av.VideoFrame.from_ndarray(image, "rgb24")
        count = round(Fraction(timestamp) / self._time_base) - round(Fraction(self._start) / self._time_base)
        # An encoder refuses a timestamp twice.
        self._last = count if self._last is None else max(count, self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        with _as_oserror(self._av):
            self._mux(self._video.encode(frame))

    def close(self, whole: bool) -> None:
        try:
            with _as_oserror(self._av), closing(self._container):
                if self._last is not None:
                    self._mux(self._video.encode(None))
                    if self._audio is not None:
                        self._audio.copy(None if whole else self._last * self._time_base)
        finally:
            if self._audio is not None:
                self._audio.close()

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if self._audio is not None:
                self._audio.copy(packet.dts * packet.time_base)
            self._container.mux(packet)


class _Audio:
    """Packets of a file's audio streams, copied into an output as they are. start: the second that becomes 0."""

    def __init__(self, av: Any, file: str, start: float, output: Any, path: Path) -> None:
        self._input = _opened(av, file)
        self._start = Fraction(start)
        self._output = output
        losses: list[str] = []
        self._streams: dict[int, Any] = {}
        for stream in self._input.streams.audio:
            if _takes(av, output.format.name, stream):
                self._streams[stream.index] = output.add_stream_from_template(stream)
            else:
                codec = getattr(stream.codec_context, "name", "a format that is not known")
                losses.append(f"its audio in {codec} is left out; {path.suffix} cannot hold it")
        self.losses = tuple(losses)
        self._packets = _packets(self._input, [self._input.streams[index] for index in self._streams])
        self._next = self._following()

    def copy(self, until: Fraction | None) -> None:
        """Writes the packets that begin up to a time in seconds; None: all."""
        while self._next is not None and (until is None or self._next.dts * self._next.time_base <= until):
            self._next.stream = self._streams[self._next.stream.index]
            self._output.mux(self._next)
            self._next = self._following()

    def close(self) -> None:
        self._input.close()

    def _following(self) -> Any:
        if not self._streams:  # `demux` would take all
            return None
        # Packets without a time tell a decoder to end; the last one of a file that is cut off is corrupt.
        packet = next((each for each in self._packets if each.dts is not None and not each.is_corrupt), None)
        if packet is not None and self._start:
            offset = round(self._start / packet.time_base)
            packet.dts -= offset
            packet.pts = None if packet.pts is None else packet.pts - offset
        return packet


@contextmanager
def _as_oserror(av: Any) -> Iterator[None]:
    """Makes FFmpeg's errors OSErrors. Some are ValueErrors or of no kind of Python's."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise OSError(reason(error)) from error


def _takes(av: Any, container: str, stream: Any) -> bool:
    """Whether a container format can hold a stream. It is tried, because the formats' own lists are not complete."""
    try:
        with closing(av.open(os.devnull, "w", format=container)) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return False
    return True
