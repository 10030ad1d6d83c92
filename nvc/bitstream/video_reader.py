"""Reads a video file from its beginning, one checked part after the other (FORMAT.md, chapters 2 to 6)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from nvc.bitstream.boxes import SIGNATURE, Box, BoxType, read_box, read_first_box
from nvc.bitstream.container import FrameType
from nvc.bitstream.end_box import END_BOX, MOST_FRAMES, Entry, Ledger
from nvc.bitstream.header import MAX_PIXELS, Header, VideoParameters, read_header
from nvc.bitstream.order import DisplayOrder
from nvc.bitstream.video_boxes import (
    AUDIO_BOX,
    AUDIO_STREAM_BOX,
    MAX_NAMED,
    TEXT_BOX,
    AudioPacket,
    AudioStream,
    Text,
    read_audio,
    read_audio_stream,
    read_text,
)
from nvc.bitstream.video_frame import VideoFrame, max_frame_content, read_frame
from nvc.errors import BadStream, LimitError

_MAX_HEADER = 64  # bytes; no header is longer than 44
MAX_FRAMES = 1 << 20  # default of --max-frames: 9.7 hours at 30 frames/s

Part = VideoFrame | AudioStream | AudioPacket | Text


class Parts:
    """What the boxes of a video hold, each at its place: shared by all who read boxes, wherever they begin.

    header: of the video   index: coded index of the next frame box   streams: numbers of the audio streams known
    """

    def __init__(
        self, header: Header, index: int = 0, streams: Iterable[int] = (), *, max_frames: int = MAX_FRAMES
    ) -> None:
        self.header = header
        self.unknown: Counter[str] = Counter()  # names of the ancillary boxes that were skipped
        self.restart(index)
        self._streams = set(streams)
        self._max_frames = min(max_frames, MOST_FRAMES)

    @property
    def limits(self) -> dict[BoxType, int]:
        """Most bytes of content that a box may have."""
        return {
            BoxType.HEADER: _MAX_HEADER,
            BoxType.FRAME: max_frame_content(self.header),
            BoxType.CRITICAL: MAX_NAMED,
            BoxType.ANCILLARY: MAX_NAMED,
        }

    def restart(self, index: int) -> None:
        """Go on at an I frame of this coded index, whatever was lost before it."""
        self.index = index
        self.order = DisplayOrder(parameters(self.header), index)

    def take(self, box: Box) -> Iterator[Part]:
        """What is in the next box, which is neither the first nor the end box. Raises BadStream, LimitError.

        Frames that cannot be decoded because the anchor before them was not read are left out.
        """
        where = f"{box.label} at byte {box.offset}"
        if box.type == BoxType.HEADER:
            raise BadStream(f"{where}: a second header")
        if box.type == BoxType.CRITICAL:
            raise BadStream(f"{where}: unknown to this nvc and needed for decoding; a newer nvc may read the file")
        if box.type == BoxType.FRAME:
            yield from self._frame(box, where)
        elif box.name == AUDIO_BOX:
            for packet in read_audio(box.data, where):
                if packet.stream not in self._streams:
                    raise BadStream(f"{where}: stream {packet.stream} is described nowhere")
                yield packet
        elif box.name not in (AUDIO_STREAM_BOX, TEXT_BOX):
            self.unknown[box.name] += 1
        elif self.index:
            raise BadStream(f"{where}: it stands behind the first frame")
        elif box.name == TEXT_BOX:
            yield read_text(box.data, where)
        else:
            stream = read_audio_stream(box.data, where)
            if stream.number in self._streams:
                raise BadStream(f"{where}: a second one of stream {stream.number}")
            self._streams.add(stream.number)
            yield stream

    def _frame(self, box: Box, where: str) -> Iterator[VideoFrame]:
        if self.index >= self._max_frames:
            raise LimitError(f"more than the limit of {self._max_frames} frames (--max-frames)")
        coded = read_frame(box.data, self.header, where)
        try:
            place = self.order.place(coded.type, coded.gap, coded.step)
        except ValueError as error:
            raise BadStream(f"{where}: {error}") from error
        index = self.index
        self.index += 1
        if place.time is not None:
            yield VideoFrame(**vars(coded), index=index, display=place.display, time=place.time,
                             offset=box.offset, size=box.size)  # fmt: skip


class VideoReader:
    """A video file as a stream of parts; memory does not grow with its length but for a few bytes an I frame.

    stream: the whole file, read once, never sought
    Raises BadStream (one line) for anything that FORMAT.md forbids, LimitError above the limits: the header's faults
    here, all others while iterating. What has been yielded before is sound.
    """

    def __init__(self, stream: BinaryIO, *, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES) -> None:
        self._stream = stream
        self.header, self._first = read_video_header(stream, max_pixels)
        self._parts = Parts(self.header, max_frames=max_frames)
        self._ledger = Ledger(parameters(self.header).frame_duration)
        self._sizes = {"header": len(SIGNATURE) + len(self._first.data), "frames": 0, "audio": 0, "metadata": 0}
        self.duration: int | None = None  # ticks, when everything has been read
        self.bytes = self._first.offset + self._first.size  # read so far

    @property
    def frames(self) -> int:
        """Frames read so far."""
        return self._ledger.frames

    @property
    def chain(self) -> int:
        """Checksum over the boxes read so far; in the end the one that the end box holds."""
        return self._ledger.chain

    @property
    def unknown(self) -> Counter[str]:
        """Names of the ancillary boxes that this reader skipped so far."""
        return self._parts.unknown

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by part of what was read so far; they sum to `bytes`.

        header (signature and header content), frames (payloads), audio (contents of AUDS and AUDP), metadata
        (contents of other ancillary boxes), overhead (the rest: heads, checksums, frame types, end box)
        """
        return self._sizes | {"overhead": self.bytes - sum(self._sizes.values())}

    def __iter__(self) -> Iterator[Part]:
        self._ledger.box(self._first.checksum)
        while True:
            box = read_box(self._stream, self.bytes, index=self._parts.index, limits=self._parts.limits)
            if box is None:
                raise BadStream("cut short: the end box is missing")
            self.bytes += box.size
            if (box.type, box.name) == (BoxType.CRITICAL, END_BOX):
                break
            for part in self._parts.take(box):
                self._count(part)
                yield part
            self._weigh(box)
            self._ledger.box(box.checksum)
        self.duration = self._ledger.check(box, self._parts.order)
        if self._stream.read(1):
            raise BadStream(f"{box.label} at byte {box.offset}: nothing may follow it")

    def _count(self, part: Part) -> None:
        if isinstance(part, VideoFrame):
            self._sizes["frames"] += len(part.payload)
            self._ledger.frame(entry_of(part) if part.type == FrameType.I else None)

    def _weigh(self, box: Box) -> None:
        if box.type == BoxType.ANCILLARY:
            audio = box.name in (AUDIO_BOX, AUDIO_STREAM_BOX)
            self._sizes["audio" if audio else "metadata"] += len(box.name) + len(box.data)


def parameters(header: Header) -> VideoParameters:
    """What a video's header says beside its size. BadStream where the file holds a picture."""
    if header.video is None:
        raise BadStream("header: the file holds a picture, not a video")
    return header.video


def read_video_header(stream: BinaryIO, max_pixels: int) -> tuple[Header, Box]:
    """Header of a video and its box, from the beginning of a file. Raises BadStream, LimitError."""
    box = read_first_box(stream, dict.fromkeys(BoxType, _MAX_HEADER))
    if box is None:
        raise BadStream("cut short: the header box is missing")
    if box.type != BoxType.HEADER:
        raise BadStream(f"{box.label} at byte {box.offset}: the first box must be the header")
    header = read_header(box.data, max_pixels=max_pixels)
    parameters(header)
    return header, box


def entry_of(frame: VideoFrame) -> Entry:
    """How the index lists an I frame."""
    return Entry(frame.offset, frame.index, frame.display, frame.time)
