"""Video in: any source to a stream of upright 8-bit 4:2:0 frames with time stamps, and packets of audio."""

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np
from av import VideoFormat, VideoFrame
from av.sidedata.sidedata import SideData, Type

from nvc.errors import InputError, LimitError, UsageError
from nvc.frames import Frame420
from nvc.media.audio import AudioInfo, AudioPacket
from nvc.media.audio_queue import AudioQueue
from nvc.media.pictures import turn
from nvc.media.timeline import Timeline
from nvc.media.video_convert import PixelFormat, colour_of, convert, pixel_format
from nvc.media.video_info import VideoInfo
from nvc.media.video_sequence import SequenceSource, is_pattern
from nvc.media.video_source import ContainerSource, RawFormat, behind_sound, check_pixels

__all__ = ["AudioInfo", "AudioPacket", "RawFormat", "VideoInfo", "VideoReader", "open_video"]

MAX_PIXELS = 1 << 28  # of a frame
MAX_FRAMES = 1 << 20

# Signs of a display matrix (a, b, c, d: x' = ax + cy, y' = bx + dy) -> Exif orientation with the same effect
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
_AUDIO_TAIL = 2  # seconds after the last wanted frame in which its audio may still come


def open_video(
    source: Path | str | BinaryIO,
    *,
    raw: RawFormat | None = None,
    fps: Fraction | None = None,
    start: int = 0,
    frames: int | None = None,
    audio: bool = True,
    strict: bool = False,
    max_frames: int = MAX_FRAMES,
    max_pixels: int = MAX_PIXELS,
    threads: int = 0,
) -> "VideoReader":
    """Open a video; its first frame is decoded, so that most of what is wrong is said here.

    source:  a path, a pattern of numbered pictures (frame%04d.png), "-" for stdin, or a binary stream
    raw:     size and pixel format of headerless YUV, which has to be stated
    fps:     frame rate of sources that have none (headerless YUV, pictures, elementary streams); 25 by default
    start, frames: the first frame that is read, counted from 0, and how many at most
    audio:   whether packets of audio are handed out (VideoReader.take_audio)
    strict:  refuse what would lose bits, chroma, alpha or RGB instead of warning
    threads: of the decoder; 0 = one per core. Frames do not depend on it.
    Raises InputError, LimitError (max_frames, max_pixels), UsageError (options that do not fit the source).
    """
    if start < 0 or (frames is not None and frames < 1):
        raise UsageError("--start counts from 0, and --frames is at least 1")
    if fps is not None and fps <= 0:
        raise UsageError("--fps must be above 0")
    opened: ContainerSource | SequenceSource
    if isinstance(source, str | Path) and is_pattern(str(source)):
        if raw is not None:
            raise UsageError("--size and --pix-fmt are for headerless YUV, not for pictures")
        opened = SequenceSource(Path(source), fps=fps, max_pixels=max_pixels)
    else:
        if raw is not None:
            _check_raw(raw, max_pixels)
        place = _place(source, raw)
        opened = ContainerSource(place, raw=raw, fps=fps, threads=threads, max_pixels=max_pixels)
    try:
        return VideoReader(
            opened,
            start=start,
            frames=frames,
            audio=audio,
            strict=strict,
            max_frames=max_frames,
            max_pixels=max_pixels,
        )
    except BaseException:
        opened.close()
        raise


def _place(source: Path | str | BinaryIO, raw: RawFormat | None) -> Path | BinaryIO:
    if source == "-":
        return sys.stdin.buffer
    if not isinstance(source, str | Path):
        return source
    path = Path(source)
    if path.is_dir():
        raise InputError("is a folder (name a sequence of pictures by a pattern: frame%04d.png)")
    if raw is None and path.suffix.lower() == ".yuv" and os.path.exists(path):
        raise InputError("headerless YUV: its --size WxH must be stated (and --pix-fmt, --fps)")
    return path


def _check_raw(raw: RawFormat, max_pixels: int) -> None:
    if raw.width < 1 or raw.height < 1:
        raise UsageError(f"--size {raw.width}x{raw.height}: both are at least 1")
    check_pixels(raw.width, raw.height, max_pixels)
    try:
        VideoFormat(raw.pix_fmt)
    except ValueError as error:
        raise UsageError(f"--pix-fmt {raw.pix_fmt}: libav knows no such pixel format") from error


class VideoReader:
    """Iterate once: (frame, pts) in display order; pts in ticks of info.time_base, growing, from 0.

    Memory does not grow with the number of frames, if audio is off or take_audio() is called along the way.
    Iterating raises InputError at the first frame that is damaged or of another size. A context manager.
    """

    def __init__(
        self,
        source: ContainerSource | SequenceSource,
        *,
        start: int,
        frames: int | None,
        audio: bool,
        strict: bool,
        max_frames: int,
        max_pixels: int,
    ) -> None:
        self._source = source
        self._start, self._frames = start, frames
        self._strict, self._max_frames, self._max_pixels = strict, max_frames, max_pixels
        self._late: list[str] = []
        self._until: Fraction | None = None  # end of the frame last given
        self._origin: int | None = None
        self._timeline = Timeline(source.time_base, source.frame_rate)
        expected = self._expected()
        if expected is not None and expected > max_frames and source.stated_frames:
            raise LimitError(f"{expected} frames, more than the limit of {max_frames} (--max-frames)")
        self._sound = AudioQueue(source.container, wanted=audio)
        events = source.events(self._sound.stream)
        self._events = events if self._sound.stream is None else behind_sound(events)
        self._first = self._next_frame()
        if self._first is None:
            raise InputError("no frames in it")
        self._format = self._checked_format(self._first)
        self._orientation = self._orientation_of(self._first)
        self.info = self._describe(self._first, expected)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each for what reading has lost: those of info, and what was met since."""
        return tuple(
            dict.fromkeys((*self._source.warnings, *self._late, *self._sound.warnings, *self._timeline.warnings))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the source back; iteration is over."""
        self._source.close()

    def take_audio(self) -> list[AudioPacket]:
        """Packets since the last call that start before the end of the last frame given; after that of all, the rest.

        With `start` and `frames`, what sounds only outside those frames is left out.
        """
        return self._sound.take(self._until)

    def __iter__(self) -> Iterator[tuple[Frame420, int]]:
        frame, index, given = self._first, 0, 0
        self._first = None
        while frame is not None:
            self._check(frame, index)
            pts = self._timeline.place(index if self._source.untimed else frame.pts)
            if index >= self._start:
                if given >= self._max_frames:
                    raise LimitError(f"more frames than the limit of {self._max_frames} (--max-frames)")
                if self._origin is None:
                    self._origin = pts
                    self._sound.begin(pts * self._source.time_base, cut=self._start > 0)
                given += 1
                upright = self._upright(convert(frame, self._format, self.info.colour))
                self._until = self._end_of(pts)
                yield upright, pts - self._origin
                if given == self._frames:
                    self._finish_audio(self._until)
                    return
            else:
                self._sound.forget_before(pts * self._source.time_base)
            index += 1
            frame = self._next_frame()
        if given == 0:
            raise UsageError(f"--start {self._start}: there are only {index} frames")
        self._until = None
        stated = self._source.stated_frames
        if stated is not None and stated != index:
            self._late.append(f"its head promises {stated} frames, {index} are there to see")

    # ---- frames

    def _next_frame(self) -> VideoFrame | None:
        for event in self._events:
            if isinstance(event, VideoFrame):
                return event
            self._sound.hear(event)
        return None

    def _expected(self) -> int | None:
        frames = self._source.expected_frames
        if frames is None:
            return self._frames
        frames = max(0, frames - self._start)
        return frames if self._frames is None else min(frames, self._frames)

    def _checked_format(self, frame: VideoFrame) -> PixelFormat:
        check_pixels(frame.width, frame.height, self._max_pixels)
        format = pixel_format(frame.format.name)
        hidden = "alpha is dropped" if self._source.hidden_alpha else ""
        loss = "; ".join(filter(None, (format.loss, hidden)))
        if loss and self._strict:
            raise InputError(f"{loss} (refused by --strict)")
        if loss:
            self._late.append(loss)
        if frame.interlaced_frame:
            self._late.append("interlaced: coded as the frames are stored")
        return format

    def _check(self, frame: VideoFrame, index: int) -> None:
        """InputError where a frame is not like the first one."""
        first = self._shape
        if (frame.width, frame.height) != first[:2]:
            raise InputError(
                f"frame {index} is {frame.width}x{frame.height}, those before it {first[0]}x{first[1]}: "
                "a change of size is not coded"
            )
        if frame.format.name != first[2]:
            raise InputError(f"frame {index} has pixel format {frame.format.name}, those before it {first[2]}")
        if frame.interlaced_frame and not self.info.interlaced:
            self._late.append("interlaced in part: coded as the frames are stored")

    def _orientation_of(self, frame: VideoFrame) -> int:
        for block in cast(Iterable[SideData], frame.side_data):
            if block.type is Type.DISPLAYMATRIX:
                a, b, _, c, d, *_ = struct.unpack("<9i", bytes(block)[:36])
                scale = max(abs(a), abs(b), abs(c), abs(d)) or 1
                signs = tuple(round(value / scale) for value in (a, b, c, d))
                if signs in _ORIENTATIONS:
                    return _ORIENTATIONS[signs]
                self._late.append("its display matrix is no turn by quarters: left as stored")
        return 1

    def _upright(self, frame: Frame420) -> Frame420:
        if self._orientation == 1:
            return frame
        return Frame420(*(np.ascontiguousarray(turn(plane, self._orientation)) for plane in frame.planes))

    def _describe(self, frame: VideoFrame, expected: int | None) -> VideoInfo:
        self._shape = (frame.width, frame.height, frame.format.name)
        colour = colour_of(frame, self._format)
        turned = self._orientation >= 5
        width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        aspect = Fraction(getattr(self._source.video, "sample_aspect_ratio", None) or 1)
        aspect = aspect if aspect > 0 else Fraction(1)
        return VideoInfo(
            width=width,
            height=height,
            frame_rate=self._source.frame_rate,
            time_base=self._source.time_base,
            colour=colour,
            guess=colour.guess(width, height),
            pixel_aspect=1 / aspect if turned else aspect,
            frames=expected,
            orientation=self._orientation,
            interlaced=bool(frame.interlaced_frame),
            audio=self._sound.info,
            warnings=self.warnings,
        )

    # ---- audio

    def _end_of(self, pts: int) -> Fraction:
        """When a frame ends by the frame rate, in seconds of the source's clock."""
        return pts * self._source.time_base + 1 / self._source.frame_rate

    def _finish_audio(self, end: Fraction) -> None:
        """After the last wanted frame: what sounds with it may come later in the file than its picture."""
        while not self._sound.reaches(end):
            try:
                event = next(self._events, None)
            except InputError as error:  # the frames that were asked for are whole
                self._late.append(f"its audio may end early: {error}")
                return
            if event is None:
                return
            if not isinstance(event, VideoFrame):
                self._sound.hear(event)
            elif event.pts is not None and event.pts * self._source.time_base > end + _AUDIO_TAIL:
                return
