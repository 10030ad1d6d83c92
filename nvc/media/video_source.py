"""Files, pipes and headerless YUV, opened: what the head says, then decoded frames and packets of audio.

Everything is read through Python's file objects, so that no name means a protocol or a pattern to libav.
"""

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
from av import Packet, VideoFormat, VideoFrame
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

from nvc.errors import InputError, LimitError, UsageError
from nvc.media.libav_guard import OPTIONS, default_or_first, guarded, no_decoder
from nvc.media.video_probe import HEAD, Content, Pipe, cut_short, is_mp4, refusal, stated_length

BUFFER = 1 << 20  # bytes libav asks a file object for at once
_NOT_VIDEO = "not a video in a format that nvc reads, or damaged in its first bytes"
DEFAULT_RATE = Fraction(25)

Event = VideoFrame | Packet
HELD = 2  # frames


@dataclass(frozen=True)
class RawFormat:
    """Of headerless YUV: width and height in pixels, libav's name of the pixel format."""

    width: int
    height: int
    pix_fmt: str = "yuv420p"


class ContainerSource:
    """A file or pipe that libav demuxes. Attributes hold what its head says; events() reads it once."""

    def __init__(
        self, source: Path | BinaryIO, *, raw: RawFormat | None, fps: Fraction | None, threads: int, max_pixels: int
    ) -> None:
        self._stack = ExitStack()
        self.warnings: list[str] = []
        with self._stack:
            self._file, self._size = self._openable(source)
            self.container = self._demuxer(raw, fps)
            self._choose(fps, raw is not None, threads, max_pixels)
            self._stack = self._stack.pop_all()

    def close(self) -> None:
        """Give the file back."""
        self._stack.close()

    def _openable(self, source: Path | BinaryIO) -> tuple[Any, int | None]:
        """(what libav reads, its length in bytes or None): a pipe with MP4 in it is spooled to TMPDIR first."""
        try:
            file = self._stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
            if file.seekable():
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                if size == 0:
                    raise InputError("empty file")
                if reason := cut_short(file, size):
                    raise InputError(reason)
                return file, size
            pipe = Pipe(file)
            if not pipe.head:
                raise InputError("empty file")
            if not is_mp4(pipe.head):
                return pipe, None
            spool = cast(BinaryIO, self._stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
            while data := pipe.read(BUFFER):
                spool.write(data)
            return self._openable(spool)
        except OSError as error:
            raise InputError((error.strerror or str(error)).lower()) from error

    def _head(self) -> bytes:
        if isinstance(self._file, Pipe):
            return self._file.head
        self._file.seek(0)
        head = self._file.read(HEAD)
        self._file.seek(0)
        return head

    def _demuxer(self, raw: RawFormat | None, fps: Fraction | None) -> InputContainer:
        head = self._head()
        options, format = dict(OPTIONS), None
        if raw is not None:
            format = "rawvideo"
            options |= {"video_size": f"{raw.width}x{raw.height}", "pixel_format": raw.pix_fmt}
            options["framerate"] = str(fps or DEFAULT_RATE)
        with guarded(InputError, _NOT_VIDEO):
            container = av.open(
                self._file if isinstance(self._file, Pipe) else Content(self._file),
                "r",
                format=format,
                options=options,
                buffer_size=BUFFER,
                metadata_errors="replace",
            )
        self._stack.callback(container.close)
        if reason := refusal(container.format.name, head):
            raise InputError(reason)
        return container

    def _choose(self, fps: Fraction | None, raw: bool, threads: int, max_pixels: int) -> None:
        """The video stream, and what is known before the first frame."""
        streams = self.container.streams
        films = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        if not films:
            raise InputError(
                "no video in it" + (f" ({', '.join(sorted(_kinds(self.container)))} only)" if streams else "")
            )
        self.video = default_or_first(films)
        context = self.video.codec_context
        if context is None or context.codec is None:
            raise no_decoder("of unknown name")
        if len(films) > 1:
            number = films.index(self.video) + 1
            self.warnings.append(f"{len(films)} video tracks: only track {number} is coded")
        check_pixels(context.width, context.height, max_pixels)
        context.options = {"err_detect": "crccheck+explode", "max_pixels": str(max_pixels)}
        # Slices only: threads of frames lose errors, and of the frames before them as many as there are threads.
        context.thread_type = "SLICE"
        context.thread_count = threads
        self.untimed = bool(self.container.format.flags & cast(int, Flags.no_timestamps.value)) or raw
        if fps and not self.untimed:
            raise UsageError(
                "--fps is for headerless YUV and other sources without times of their own; this one has them"
            )
        rate = fps or self.video.average_rate or self.video.guessed_rate or DEFAULT_RATE
        self.frame_rate = Fraction(rate) if rate > 0 else DEFAULT_RATE
        if self.untimed and not fps:
            self.warnings.append(f"states no frame rate: {self.frame_rate} frames a second are assumed (--fps)")
        self.time_base = 1 / self.frame_rate if self.untimed else Fraction(self.video.time_base or 1 / self.frame_rate)
        # a second stream inside Matroska's packets, which libav's decoder passes over
        self.hidden_alpha = self.video.metadata.get("alpha_mode") == "1"

    @property
    def stated_frames(self) -> int | None:
        """Frames by the index of the container, or None."""
        return self.video.frames or None

    @property
    def expected_frames(self) -> int | None:
        """Frames by index or, else, by duration; None where nothing is said."""
        if self.video.frames:
            return int(self.video.frames)
        if self._size is not None and self.container.format.name == "rawvideo":
            context = self.video.codec_context
            bits = context.width * context.height * VideoFormat(str(context.pix_fmt)).bits_per_pixel
            return self._size * 8 // max(1, bits)
        seconds = Fraction(0)
        if self.video.duration and self.video.time_base:
            seconds = self.video.duration * self.video.time_base
        elif self.container.duration:
            seconds = Fraction(self.container.duration, av.time_base)
        return round(seconds * self.frame_rate) or None

    def events(self, audio: Any) -> Iterator[Event]:
        """Decoded frames in display order and, in between, packets of the stream `audio` (or None).

        InputError where a packet is damaged or does not decode, or where the source ends before its length.
        """
        streams = [self.video] + ([audio] if audio is not None else [])
        number, last_end, leading = 0, None, None
        packets = self.container.demux(streams)
        while True:
            with guarded(InputError, f"damaged after {number} frames"):
                packet = next(packets, None)
            if packet is None:
                break
            if audio is not None and packet.stream_index == audio.index:
                if packet.size:
                    yield packet
                continue
            if packet.size:
                if leading is None:
                    leading = not packet.is_keyframe
                    if leading:
                        self.warnings.append("starts between key frames: what comes before the first one is left out")
                if packet.is_corrupt:
                    raise InputError(f"damaged or cut short after {number} frames")
                last_end = packet.pos + packet.size if packet.pos is not None and packet.pos >= 0 else None
            for frame in self._decoded(packet, number, leading=bool(leading) and number == 0):
                if frame.is_corrupt and leading and number == 0:
                    continue
                if frame.is_corrupt:
                    raise InputError(f"damaged: frame {number} is not whole")
                number += 1
                yield frame
        self._check_end(number, last_end)

    def _decoded(self, packet: Packet, number: int, *, leading: bool) -> list[VideoFrame]:
        try:
            with guarded(InputError, f"damaged after {number} frames"):
                return packet.decode()
        except InputError as error:
            if isinstance(error.__cause__, av.error.DecoderNotFoundError):
                raise no_decoder(self.video.codec_context.name) from error
            if leading and packet.size:
                return []
            raise

    def _check_end(self, number: int, last_end: int | None) -> None:
        """InputError where bytes are missing (a pipe's, as its head says) or left over (raw video: part of a frame)."""
        total = self._size if self._size is not None else self._file.count
        wanted = stated_length(self._file.head) if isinstance(self._file, Pipe) else 0
        if wanted > total:
            raise InputError(f"cut short after {number} frames: it should have {wanted} bytes and has {total}")
        raw = self.container.format.name in ("yuv4mpegpipe", "rawvideo")
        if raw and last_end is not None and last_end != total:
            raise InputError(f"cut short after {number} frames: {total - last_end} bytes are part of a frame")


def behind_sound(events: Iterable[Event]) -> Iterator[Event]:
    """The same, frames later by HELD: containers have the sound of a frame around it, and it is to come first."""
    held: deque[Event] = deque()
    try:
        for event in events:
            if not isinstance(event, VideoFrame):
                yield event
                continue
            held.append(event)
            if len(held) > HELD:
                yield held.popleft()
    except InputError:
        yield from held  # what comes before the damage
        raise
    yield from held


def check_pixels(width: int, height: int, limit: int, where: str = "") -> None:
    """LimitError for more than `limit` pixels."""
    if width * height > limit:
        raise LimitError(
            f"{where}{width}x{height} is {width * height} pixels, more than the limit of {limit} (--max-pixels)"
        )


def _kinds(container: InputContainer) -> set[str]:
    return {str(stream.type) for stream in container.streams}
