"""A small video of every kind of frame, box and time stamp, and hands to take files apart and forge them."""

import io
import random
from collections.abc import Iterable

import pytest

from nvc.bitstream.boxes import Box, BoxType, read_box, read_first_box, write_box, write_varint
from nvc.bitstream.container import FrameType
from nvc.bitstream.header import Header, VideoParameters
from nvc.bitstream.video_boxes import AudioPacket, AudioStream, Text
from nvc.bitstream.video_reader import Part, VideoReader
from nvc.bitstream.video_writer import VideoWriter
from nvc.errors import BadStream

I, P, B = FrameType.I, FrameType.P, FrameType.B  # noqa: E741  # the fields' own names
ID = b"\xa1\xb2\xc3\xd4"
VIDEO = VideoParameters(1, 1000, 40, gop_log2=2, low_latency=False, intra_period=10)
HEADER = Header(2, ID, 4096, 33, 21, video=VIDEO)
STREAM = AudioStream(0, 1, 48000, 48000, 2, "aac", "stereo", b"\x11\x90")
TEXT = Text("title", "Grüße aus Köln")
# (type, display index, time)
FRAMES = [
    (I, 0, 0), (P, 4, 160), (B, 2, 80), (B, 1, 45), (B, 3, 120), (I, 5, 200),
    (P, 7, 280), (B, 6, 240), (P, 11, 440), (B, 9, 361), (B, 8, 320), (B, 10, 400), (I, 15, 700), (B, 13, 571),
    (B, 12, 500), (B, 14, 600), (P, 16, 740),
]  # fmt: skip
PACKETS = [AudioPacket(0, 1024 * i - 312, 1024, bytes([i] * (20 + i)), key=i != 3) for i in range(14)]


def payload(index: int) -> bytes:
    return random.Random(index).randbytes(8 + 4 * (index % 5))


def make(header: Header = HEADER, end: int | None = None) -> bytes:
    stream = io.BytesIO()
    writer = VideoWriter(stream, header)
    writer.audio_stream(STREAM)
    writer.text(TEXT)
    for index, (kind, display, time) in enumerate(FRAMES):
        if index < len(PACKETS):
            writer.audio(PACKETS[index])
        writer.frame(
            kind, payload(index), index, display=display, time=time, reparameterised=kind == P, table_set=index % 2
        )
    assert writer.finish(end) == len(stream.getvalue()) == writer.bytes
    return stream.getvalue()


def boxes_of(data: bytes) -> list[Box]:
    """All boxes, frames checked by the coded index that they have in this file."""
    stream = io.BytesIO(data)
    box = read_first_box(stream)
    boxes, frames = [], 0
    while box:
        boxes.append(box)
        frames += box.type == BoxType.FRAME
        box = read_box(stream, box.offset + box.size, index=frames)
    return boxes


WHOLE = make()
BOXES = boxes_of(WHOLE)
HEADER_BYTES = WHOLE[: BOXES[1].offset]


def bytes_of(box: Box) -> bytes:
    return WHOLE[box.offset : box.offset + box.size]


def read(data: bytes) -> list[Part]:
    return list(VideoReader(io.BytesIO(data)))


def refusal(data: bytes) -> str:
    with pytest.raises(BadStream) as got:
        read(data)
    message = str(got.value)
    assert "\n" not in message
    return message


def joined(boxes: Iterable[Box]) -> bytes:
    return HEADER_BYTES + b"".join(bytes_of(box) for box in boxes)


def frame_box(index: int, content: bytes) -> bytes:
    return write_box(BoxType.FRAME, content, index=index)


def named(data: bytes, name: str) -> bytes:
    return write_box(BoxType.ANCILLARY, data, name)


INTRA = b"\0" + bytes(8) + bytes(4)
LOW = Header(2, ID, 28672, 33, 21, video=VideoParameters(1, 25))
AUDS = STREAM.write()
AT = len(HEADER_BYTES)


def low_video(frames: int = 3) -> tuple[bytes, int]:
    """A sound file of the header LOW, and the offset of its end box."""
    stream = io.BytesIO()
    writer = VideoWriter(stream, LOW)
    for index in range(frames):
        writer.frame(P if index % 2 else I, bytes(8), 0)
    before = writer.bytes
    writer.finish()
    return stream.getvalue(), before


def end_box(data: bytes) -> bytes:
    size = len(data) + 4 + 4 + 4 + len(write_varint(len(data) + 8 << 2))
    return write_box(BoxType.CRITICAL, data + size.to_bytes(4, "little"), "END ")
