"""Writes a video file, box by box, to anything that takes bytes: a file or a pipe (FORMAT.md, chapters 2 to 5)."""

from typing import BinaryIO

from nvc.bitstream.boxes import CRC_BYTES, BoxType, write_box
from nvc.bitstream.container import FrameType
from nvc.bitstream.end_box import END_BOX, Entry, Ledger
from nvc.bitstream.header import Header
from nvc.bitstream.order import DisplayOrder
from nvc.bitstream.video_boxes import (
    AUDIO_BOX,
    AUDIO_STREAM_BOX,
    MAX_NAMED,
    TEXT_BOX,
    AudioPacket,
    AudioStream,
    Text,
    write_audio,
)
from nvc.bitstream.video_frame import CodedFrame, write_frame

# A box of audio is closed at this many packets or bytes, so that audio keeps near its frames and boxes cost little.
_PACKETS, _PACKET_BYTES = 32, 1 << 16


class VideoWriter:
    """A video file in the making. The header is written at once; finish() must come last.

    stream: where bytes go; never sought      header: of a video (ValueError otherwise)
    Every method raises ValueError for what a reader would refuse, and has then written nothing.
    """

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        if header.video is None:
            raise ValueError("header is not of a video")
        self._stream = stream
        self._header = header
        self._video = header.video
        self._order = DisplayOrder(self._video)
        self._ledger = Ledger(self._video.frame_duration)
        self._waiting: dict[int, list[AudioPacket]] = {}  # packets of each stream that are in no box yet
        self.bytes = 0  # written so far
        self._write(write_box(BoxType.HEADER, header.write(), first=True))

    @property
    def frames(self) -> int:
        """Frames written so far: the coded index of the next one."""
        return self._ledger.frames

    def audio_stream(self, stream: AudioStream) -> None:
        """Announce a stream of audio; before the first frame."""
        if stream.number in self._waiting:
            raise ValueError(f"a second audio stream {stream.number}")
        self._about(stream.write(), AUDIO_STREAM_BOX)
        self._waiting[stream.number] = []

    def text(self, text: Text) -> None:
        """Add a piece of text about the video; before the first frame."""
        self._about(text.write(), TEXT_BOX)

    def audio(self, packet: AudioPacket) -> None:
        """Take the next packet of a stream that was announced. It is written with others, before the next I frame."""
        waiting = self._waiting.get(packet.stream)
        if waiting is None:
            raise ValueError(f"audio of stream {packet.stream}, which was not announced")
        if len(write_audio([*waiting[-1:], packet])) > MAX_NAMED // 2:
            raise ValueError(f"a packet of audio of {len(packet.data)} bytes")
        waiting.append(packet)
        if len(waiting) >= _PACKETS or sum(len(other.data) for other in waiting) >= _PACKET_BYTES:
            self._write_audio(packet.stream)

    def frame(
        self,
        kind: FrameType,
        payload: bytes,
        checksum: int,
        *,
        display: int | None = None,
        time: int | None = None,
        reparameterised: bool = False,
        table_set: int = 0,
    ) -> int:
        """Write the next frame in coding order; returns the bytes of its box.

        payload: one rANS stream   checksum: planes_checksum of the decoded frame
        display, time: display index and ticks; None: where the GOP and the frame duration of the header put it
        """
        gap, step = self._order.explicit(kind, display, time)
        frame = CodedFrame(kind, payload, checksum, reparameterised, table_set, gap, step)
        content = write_frame(frame, self._header)
        place = self._order.place(kind, gap, step)
        intra = kind == FrameType.I
        if intra:
            for number in self._waiting:
                self._write_audio(number)
        entry = Entry(self.bytes, self.frames, place.display, place.time or 0) if intra else None
        box = write_box(BoxType.FRAME, content, index=self.frames)
        self._ledger.frame(entry)
        self._write(box)
        return len(box)

    def finish(self, end: int | None = None) -> int:
        """Write the end box; returns the bytes of the file. end: ticks at which the last frame ends; None: as usual."""
        first, last = self._order.first, self._order.anchor
        if first is None or first.time is None or last.time is None:
            raise ValueError("a video without frames")
        if self._order.due:
            raise ValueError("a B frame is due")
        end = last.time + self._video.frame_duration if end is None else end
        if end <= last.time:
            raise ValueError(f"the last frame, of time {last.time}, cannot end at {end}")
        for number in self._waiting:
            self._write_audio(number)
        self._write(write_box(BoxType.CRITICAL, self._ledger.data(end - first.time), END_BOX))
        return self.bytes

    def _about(self, data: bytes, name: str) -> None:
        if self.frames:
            raise ValueError(f"{name!r} box behind the first frame")
        if len(data) + len(name) > MAX_NAMED:
            raise ValueError(f"{name!r} box of {len(data)} bytes")
        self._write(write_box(BoxType.ANCILLARY, data, name))

    def _write_audio(self, number: int) -> None:
        packets = self._waiting[number]
        if packets:
            self._write(write_box(BoxType.ANCILLARY, write_audio(packets), AUDIO_BOX))
            packets.clear()

    def _write(self, box: bytes) -> None:
        self._stream.write(box)
        self._ledger.box(int.from_bytes(box[-CRC_BYTES:], "little"))
        self.bytes += len(box)
