"""Video out: frames and audio to Matroska (FFV1), MP4 (H.264), y4m, headerless YUV or numbered PNG.

mkv, y4m and yuv give every sample back exactly. mp4 is x264 at CRF 4, "high" profile, so that ordinary players show it:
near lossless (above 45 dB), not lossless. png is RGB, by nvc.media.colour.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, cast

from nvc.errors import OutputError
from nvc.frames import Frame420
from nvc.media.audio import AudioPacket
from nvc.media.video_info import VideoInfo

__all__ = ["VideoWriter", "open_writer", "video_format_of", "video_formats"]

_SUFFIXES = {
    "mkv": (".mkv",),
    "mp4": (".mp4", ".m4v", ".mov"),
    "y4m": (".y4m",),
    "yuv": (".yuv",),
    "png": (".png",),
}
_STREAMABLE = ("mkv", "y4m", "yuv")  # without going back in the file


class Sink(Protocol):
    """One format's way to write: frames in display order, packets as they come, then close() or abort()."""

    warnings: list[str]

    def write(self, frame: Frame420, pts: int) -> None:
        """The next frame at `pts` ticks."""

    def write_audio(self, packet: AudioPacket) -> None:
        """The next packet."""

    def close(self) -> None:
        """Complete the output."""

    def abort(self) -> None:
        """Give up: the output is of no use."""


def video_formats() -> dict[str, tuple[str, ...]]:
    """Formats that open_writer knows: name -> file name suffixes, the usual one first."""
    return dict(_SUFFIXES)


def video_format_of(suffix: str) -> str | None:
    """Name of the format that a suffix such as ".MKV" stands for, or None."""
    for name, suffixes in _SUFFIXES.items():
        if suffix.lower() in suffixes:
            return name
    return None


def open_writer(target: Path | str | BinaryIO, format: str, info: VideoInfo, *, threads: int = 0) -> "VideoWriter":
    """Start to write a video.

    target:  a path (overwritten; names and renaming are the caller's business), "-" for stdout or a binary stream (of
             mp4 one that can seek); for png a pattern such as frame%04d.png, or a folder, for frame000001.png, ...
    info:    size, rate, time base, colour, pixel aspect and audio of what will be written; its `frames` and `warnings`
             are not looked at
    threads: of the encoder, 0 = one per core. FFV1 bytes do not depend on it, x264's do.
    Raises OutputError.
    """
    if format not in _SUFFIXES:
        raise OutputError(f"unknown video format {format!r}: use one of {', '.join(_SUFFIXES)}")
    stream = sys.stdout.buffer if target == "-" else target
    is_path = isinstance(stream, str | Path)
    if not is_path and format not in _STREAMABLE and not (format == "mp4" and cast(BinaryIO, stream).seekable()):
        raise OutputError(f"{format} cannot be written to a stream: use one of {', '.join(_STREAMABLE)}, or a file")
    with ExitStack() as stack:
        try:
            if format == "png":
                from nvc.media.png_sequence import PngSequence

                return VideoWriter(PngSequence(Path(str(stream)), info), info, stack.pop_all())
            if isinstance(stream, str | Path):
                file: BinaryIO = stack.enter_context(open(stream, "wb"))
            else:
                file = stream
        except OSError as error:
            raise OutputError((error.strerror or str(error)).lower()) from error
        sink: Sink
        if format in ("y4m", "yuv"):
            from nvc.media.raw_video import RawSink

            sink = RawSink(file, info, y4m=format == "y4m")
        else:
            from nvc.media.container_sink import ContainerSink

            sink = ContainerSink(file, format, info, threads)
        return VideoWriter(sink, info, stack.pop_all())


class VideoWriter:
    """A context manager: leaving it completes the output; leaving it by an exception gives up.

    After that numbered PNGs are gone, and a file that was begun is of no use. Memory does not grow with the number of
    frames.
    """

    def __init__(self, sink: Any, info: VideoInfo, resources: ExitStack) -> None:
        self._sink: Sink = sink
        self._info = info
        self._resources = resources
        self._last: int | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each for what the format could not keep so far."""
        return tuple(dict.fromkeys(self._sink.warnings))

    def write(self, frame: Frame420, pts: int) -> None:
        """Write the next frame in display order, at `pts` ticks of info.time_base. Raises OutputError.

        ValueError for a frame of another size, or a pts that is not above the one before.
        """
        if (frame.width, frame.height) != (self._info.width, self._info.height):
            raise ValueError(
                f"a frame of {frame.width}x{frame.height} in a video of {self._info.width}x{self._info.height}"
            )
        if self._last is not None and pts <= self._last:
            raise ValueError(f"time stamp {pts} after {self._last}")
        self._last = pts
        try:
            self._sink.write(frame, pts)
        except OSError as error:
            raise OutputError(f"cannot be written: {error.strerror or error}") from error

    def write_audio(self, packet: AudioPacket) -> None:
        """Write the next packet of info.audio, roughly beside the frames it sounds with. Raises OutputError."""
        try:
            self._sink.write_audio(packet)
        except OSError as error:
            raise OutputError(f"cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            if kind is not None:
                self._sink.abort()
                return
            try:
                self._sink.close()
            except OSError as foreign:
                raise OutputError(f"cannot be written: {foreign.strerror or foreign}") from foreign
