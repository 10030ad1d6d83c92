"""A video file to frames in display order and packets of audio: all, a range, or what is left of a damaged file."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import BinaryIO

from nvc.bitstream import video_boxes
from nvc.bitstream.container import FrameType
from nvc.bitstream.header import MAX_PIXELS, Header
from nvc.bitstream.video_boxes import AudioStream
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_index import open_index, read_from
from nvc.bitstream.video_reader import MAX_FRAMES, Part, VideoReader, parameters, read_video_header
from nvc.bitstream.video_salvage import Lost, salvage_video
from nvc.codec import video_model
from nvc.codec.catalogue import by_number
from nvc.codec.sequence_decoder import DecodedFrame, DisplayQueue, SequenceDecoder
from nvc.errors import BadStream, LimitError, UsageError
from nvc.media.audio import AudioInfo, AudioPacket
from nvc.media.colour import Colour
from nvc.media.frame_digest import PlanesDigest
from nvc.media.video_info import VideoInfo

_NAMED = 8  # losses that one line names


class ClipDecoder:
    """Iterate once: frames in display order, and packets of audio near the frames that they sound with.

    header:   of the file
    info:     what a writer must know; `frames` is how many are expected, or None
    losses:   one line each for what is lost of a damaged file so far, where that is allowed (salvage)
    warnings: one line each for what is left out
    Times are ticks of info.time_base. Those of a range begin at 0. Every frame has been compared with its checksum.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        start: int = 0,
        frames: int | None = None,
        salvage: bool = False,
        model: str | None = None,
        max_pixels: int = MAX_PIXELS,
        max_frames: int = MAX_FRAMES,
    ) -> None:
        """stream: the file; one that cannot seek is read through to the range. Salvage seeks.

        start, frames: display index of the first frame that is given, and how many at most
        salvage: give what is sound of a damaged file instead of raising at the first damage
        model: name or path of the weights, where those that the file names are not installed
        Raises BadStream, UnknownModel, LimitError; UsageError for a start behind the end; iterating does too.
        """
        if start < 0 or (frames is not None and frames < 1):
            raise UsageError("--start counts from 0, and --frames is at least 1")
        self._stream, self._salvage = stream, salvage
        self._start, self._last = start, None if frames is None else start + frames - 1
        self._limits = {"max_pixels": max_pixels, "max_frames": max_frames}
        self.losses: list[str] = []
        self.warnings: list[str] = []
        self._streams: list[AudioStream] = []
        self._seen = 0  # frames read, whether given or not
        self._done = False  # all frames that were asked for have been given
        total = self._open()
        if total is not None:
            if start >= total:
                raise UsageError(f"--start {start}: there are only {total} frames")
            total = min(total - start, frames or total)
        entry = by_number(self.header.codec)
        if entry is None or entry.kind != "video":
            raise BadStream(f"its codec {self.header.codec} is none of video; damaged, or made by a newer nvc")
        self._decoder = SequenceDecoder(self.header, video_model.by_id(self.header.model_id, entry.name, model))
        self.info = _info(self.header, self._streams[0] if self._streams else None, total)
        if len(self._streams) > 1:
            self.warnings.append(f"{len(self._streams)} audio tracks: only the first is written")

    header: Header

    def _open(self) -> int | None:
        """Set header, streams of audio and the parts that follow them. Returns the number of frames if it is known."""
        stream = self._stream
        seekable = stream.seekable()
        total = None
        if seekable and not self._salvage and (self._start or self._last is not None):
            with _Named(stream, self._salvage, self._limits):
                index = open_index(stream, **self._limits)
            self.header, total = index.header, index.end.frames
            self._streams = [part for part in index.about if isinstance(part, AudioStream)]
            self._parts: Iterator[Part | Lost] = read_from(stream, index, index.entry_before(min(self._start, total)))
            return total
        if seekable:
            try:
                total = open_index(stream, **self._limits).end.frames
            except BadStream:  # said when the frames before it have been read
                total = None
            stream.seek(0)
        if self._salvage:
            self.header, _ = read_video_header(stream, self._limits["max_pixels"])
            self._parts = salvage_video(stream, **self._limits)
        else:
            with _Named(stream, self._salvage, self._limits):
                reader = VideoReader(stream, **self._limits)
            self.header, self._parts = reader.header, iter(reader)
        before: list[Part | Lost] = []
        with _Named(stream, self._salvage, self._limits):
            for part in self._parts:
                before.append(part)
                if isinstance(part, AudioStream):
                    self._streams.append(part)
                elif isinstance(part, VideoFrame):
                    break
        self._parts = chain(before, self._parts)
        return None if self._salvage else total

    def __iter__(self) -> Iterator[DecodedFrame | AudioPacket]:
        """Raises BadStream, naming the damaged frame and those that depend on it; LimitError."""
        sound = _Sound(self.info, cut=self._start > 0)
        origin: int | None = None
        for event in self._in_order():
            if isinstance(event, DecodedFrame):
                self._done = self._last is not None and event.display >= self._last
                if self._start <= event.display and (self._last is None or event.display <= self._last):
                    if origin is None:
                        origin = event.time if self._start else 0
                    sound.beside(origin, event.time)
                    yield replace(event, time=event.time - origin)
            elif event.stream == self._streams[0].number:
                sound.hear(event)
            yield from sound.take()
        if origin is None and self.losses:
            raise BadStream(f"nothing of it can be decoded: {named(self.losses)}")
        if origin is None:
            raise UsageError(f"--start {self._start}: there are only {self._seen} frames")
        if self._last is None:
            yield from sound.take(everything=True)

    def _in_order(self) -> Iterator[DecodedFrame | video_boxes.AudioPacket]:
        queue = DisplayQueue()
        with _Named(self._stream, self._salvage, self._limits):
            for event in self._events():
                if isinstance(event, Lost):
                    self._lose(event)
                    yield from queue.rest()
                elif isinstance(event, DecodedFrame):
                    yield from queue.put(event)
                else:
                    yield event
        yield from queue.rest()

    def _events(self) -> Iterator[DecodedFrame | video_boxes.AudioPacket | Lost]:
        """Frames as they are coded, packets, and what is lost of frames that turn out damaged only here.

        Once all that was asked for is done no frame is decoded any more, and packets go on to the next I frame: those
        that belong to the frames before it.
        """
        lost: Lost | None = None  # by the last frame that did not decode; the next I frame ends it
        leading = range(0)  # B frames behind that I frame: they refer to the anchor before it as well
        for part in self._parts:
            if isinstance(part, Lost | video_boxes.AudioPacket):
                yield part
            if not isinstance(part, VideoFrame):
                continue
            self._seen += 1
            if lost is not None and part.type != FrameType.I:
                lost = replace(lost, dropped=range(lost.dropped.start or part.index, part.index + 1))
                continue
            if lost is not None:
                leading = range(part.index + 1, part.display + 1)
                yield replace(lost, leading=leading)
                lost = None
            if part.index in leading:
                continue
            if self._done and part.type == FrameType.I:
                return
            if self._done:
                continue
            try:
                yield self._decoder.frame(part)
            except BadStream as error:
                lost = Lost(str(error), 0, range(part.index, part.index + 1))
        if lost is not None:
            yield lost

    def _lose(self, lost: Lost) -> None:
        if not self._salvage:
            raise _Told(lost.line)
        self.losses.append(lost.line)


class _Told(BadStream):
    """Damage whose line names all that it takes along."""


class _Named:
    """Around reading: damage of a file that can be sought is told with all that it takes along."""

    def __init__(self, stream: BinaryIO, salvage: bool, limits: dict[str, int]) -> None:
        self._stream, self._salvage, self._limits = stream, salvage, limits

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if type(error) is not BadStream or self._salvage or not self._stream.seekable():
            return
        try:
            lines = [part.line for part in salvage_video(self._stream, **self._limits) if isinstance(part, Lost)]
        except (BadStream, LimitError):
            return
        if lines and str(error) not in lines:
            raise BadStream(named(lines)) from error


class _Sound:
    """Packets of the track on their way to the writer, in the time of the frames that are given.

    cut: what ends before the first of these frames is left out.
    """

    def __init__(self, info: VideoInfo, cut: bool) -> None:
        self._info, self._cut = info, cut
        self._waiting: deque[video_boxes.AudioPacket] = deque(maxlen=_MOST_BEFORE if cut else None)
        self._begin: Fraction | None = None
        self._end = Fraction(0)  # of the last frame given, in seconds

    def hear(self, packet: video_boxes.AudioPacket) -> None:
        self._waiting.append(packet)

    def beside(self, origin: int, time: int) -> None:
        """The next frame is given. origin: ticks at which the time of the output begins; time: of the frame."""
        self._begin = origin * self._info.time_base
        self._end = (time + self._info.frame_ticks) * self._info.time_base

    def take(self, everything: bool = False) -> Iterator[AudioPacket]:
        """Those that start before the end of the frames given; or everything."""
        audio = self._info.audio
        if audio is None or self._begin is None:
            return
        origin = round(self._begin / audio.time_base)
        while self._waiting and (everything or self._waiting[0].pts * audio.time_base < self._end):
            packet = self._waiting.popleft()
            if not self._cut or (packet.pts + packet.duration) * audio.time_base > self._begin:
                yield AudioPacket(packet.data, packet.pts - origin, packet.duration, packet.key)


_MOST_BEFORE = 1 << 12  # packets kept of what is read before a range begins: a minute and more


def named(lines: list[str]) -> str:
    """Losses as one line."""
    more = len(lines) - _NAMED
    return "; ".join([*lines[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


def digest_of(stream: BinaryIO, *, model: str | None = None, max_pixels: int = MAX_PIXELS) -> tuple[str, int]:
    """(MD5 of the decoded planes, number of frames) of a whole file; every frame is verified. Raises BadStream."""
    digest, count = PlanesDigest(), 0
    for event in ClipDecoder(stream, model=model, max_pixels=max_pixels, max_frames=1 << 31):
        if isinstance(event, DecodedFrame):
            digest.update(event.frame)
            count += 1
    return digest.hexdigest(), count


def _info(header: Header, audio: AudioStream | None, frames: int | None) -> VideoInfo:
    video = parameters(header)
    track = None
    if audio is not None:
        track = AudioInfo(
            audio.codec, audio.extradata, audio.rate, audio.channels, audio.layout,
            Fraction(audio.time_num, audio.time_den),
        )  # fmt: skip
    return VideoInfo(
        width=header.width,
        height=header.height,
        frame_rate=video.fps,
        time_base=video.time_base,
        colour=Colour(video.primaries, video.transfer, video.matrix, video.full_range),
        pixel_aspect=Fraction(video.aspect_num, video.aspect_den),
        frames=frames,
        audio=track,
    )
