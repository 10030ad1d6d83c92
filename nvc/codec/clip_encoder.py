"""A video source to a video file: at one quality, or at as many as a target asks for, the source read anew for each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO

from nvc.bitstream.container import FrameType
from nvc.bitstream.header import MAX_FRAME_DURATION, MAX_INT
from nvc.codec import rate_control
from nvc.codec.sequence_encoder import FrameReport, SequenceEncoder, SequenceSettings
from nvc.codec.video_model import VideoModel
from nvc.errors import InputError
from nvc.media.video_info import VideoInfo
from nvc.media.video_reader import VideoReader


@dataclass(frozen=True)
class Target:
    """What a file is to be; one of them. size: bytes; bitrate: kbit/s and bpp: bits per pixel, of the whole file;
    psnr: dB, (6·Y + U + V) / 8, mean of the frames."""

    size: int | None = None
    bitrate: float | None = None
    bpp: float | None = None
    psnr: float | None = None


@dataclass(frozen=True)
class Length:
    """Of a video. seconds: to the end of the last frame; pixels: of all frames."""

    frames: int
    seconds: Fraction
    pixels: int


@dataclass(frozen=True)
class CodedClip:
    """A coded video.

    quality: as stored, on the grid of 1/4096; size: bytes of the file; psnr: dB, (6·Y + U + V) / 8, mean of the frames
    intra, reparameterised: how many frames are I frames, or have replaced tables
    passes: how many qualities were coded to find this one; warnings: what reading the source has lost, a line each
    """

    quality: float
    size: int
    psnr: float
    width: int
    height: int
    length: Length
    intra: int
    reparameterised: int
    warnings: tuple[str, ...]
    passes: int = 1

    @property
    def kilobits(self) -> float:
        """kbit/s of the whole file."""
        return float(8 * self.size / self.length.seconds / 1000)

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return 8 * self.size / self.length.pixels


@dataclass(frozen=True)
class Progress:
    """While a video is coded. total: frames, None where it is not known; seconds: at work on this pass;
    kilobits: kbit/s so far; turn: number of the pass, from 1."""

    frames: int
    total: int | None
    bytes: int
    kilobits: float
    seconds: float
    turn: int


class ClipEncoder:
    """Codes one source at any number of qualities. Every file takes the place of the one before in `stream`."""

    def __init__(
        self,
        source: Callable[[], VideoReader],
        stream: BinaryIO,
        model: VideoModel,
        settings: SequenceSettings,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """source: opens the video, from its beginning each time. stream: sought only where a second pass begins."""
        self._source, self._stream, self._model, self._settings = source, stream, model, settings
        self._progress = progress
        self._turns = 0
        self._searching = False
        self._length: Length | None = None

    def encode(self, quality: float) -> CodedClip:
        """One pass. Raises InputError, LimitError, UsageError of the source, OSError of the stream."""
        if self._turns:
            self._stream.seek(0)
            self._stream.truncate()
        self._turns += 1
        begun = time.perf_counter()
        tally = _Tally()
        with self._source() as reader:
            clock = _Clock(reader.info)
            info = clock.info
            total = self._length.frames if self._length else info.frames
            try:
                encoder = SequenceEncoder(self._stream, self._model, info, quality, self._settings)
            except ValueError as error:  # of header or audio: a clock or a shape beyond the fields of the file
                raise InputError(f"the file cannot describe this video: {error}") from error

            def tell() -> None:
                if self._progress and tally.frames:
                    seconds = float(tally.seconds(info.time_base, info.frame_ticks))
                    rate = 8 * encoder.bytes / seconds / 1000
                    spent = time.perf_counter() - begun
                    self._progress(Progress(tally.frames, total, encoder.bytes, rate, spent, self._turns))

            for frame, pts in reader:
                tally.last = clock.place(pts)
                for report in encoder.push(frame, tally.last):
                    tally.add(report)
                for packet in reader.take_audio():
                    encoder.audio(packet.pts, packet.duration, packet.data, packet.key)
                tell()
            for packet in reader.take_audio():
                encoder.audio(packet.pts, packet.duration, packet.data, packet.key)
            for report in encoder.finish():
                tally.add(report)
            tell()
            if self._searching:
                self._settings = replace(self._settings, groups=encoder.groups)
            seconds = tally.seconds(info.time_base, info.frame_ticks)
            length = Length(tally.frames, seconds, tally.frames * info.width * info.height)
            return CodedClip(
                encoder.quality, encoder.bytes, tally.psnr / tally.frames, info.width, info.height, length,
                tally.intra, tally.reparameterised, reader.warnings,
            )  # fmt: skip

    def meet(self, target: Target) -> CodedClip:
        """At most 8 passes (nvc.codec.rate_control); what is left in the stream is the file that was found.

        Raises TargetError where no quality meets the target.
        """
        self._searching = True  # all passes keep the groups of the first: size is then smooth in quality
        if target.psnr is not None:
            return rate_control.to_psnr(self, target.psnr)
        size = target.size
        if size is None:
            length = self._length = self.measure()
            bits = length.pixels * target.bpp if target.bpp else float(length.seconds) * 1000 * (target.bitrate or 0)
            size = int(bits / 8)
        return rate_control.to_size(self, size)

    def measure(self) -> Length:
        """Read the source once, without coding it."""
        last = frames = 0
        with self._source() as reader:
            info = reader.info
            for _, pts in reader:
                frames, last = frames + 1, pts
                reader.take_audio()
        return Length(frames, (last + info.frame_ticks) * info.time_base, frames * info.width * info.height)


class _Clock:
    """Time stamps on a clock that knows the frame rate too.

    Matroska counts milliseconds: at 30 frames/s its frames last 33, 34, 33 ... ticks, and none is the rate. On a clock
    of 1/3000 s the rate is 100 ticks, and a stamp that is the rounded time of a regular frame is that time: what is
    written to Matroska again has the stamps it had. info: of the source, with the finer clock.
    """

    def __init__(self, info: VideoInfo) -> None:
        frame = 1 / (info.frame_rate * info.time_base)  # ticks of the source
        fits = (info.time_base / frame.denominator).denominator <= MAX_INT and frame.numerator <= MAX_FRAME_DURATION
        self._finer = frame.denominator if fits else 1
        self.info = replace(info, time_base=info.time_base / self._finer)
        self._due = 0

    def place(self, pts: int) -> int:
        """Ticks of the next frame; pts: in the source's."""
        regular = (2 * self._due + self._finer) // (2 * self._finer) == pts
        placed = self._due if regular else pts * self._finer
        self._due = placed + self.info.frame_ticks
        return placed


class _Tally:
    """Sums over the frames coded so far. last: ticks of the last frame taken."""

    def __init__(self) -> None:
        self.frames = self.intra = self.reparameterised = self.last = 0
        self.psnr = 0.0

    def add(self, report: FrameReport) -> None:
        self.frames += 1
        self.intra += report.type == FrameType.I
        self.reparameterised += report.reparameterised
        self.psnr += report.psnr

    def seconds(self, time_base: Fraction, frame_ticks: int) -> Fraction:
        return (self.last + frame_ticks) * time_base
