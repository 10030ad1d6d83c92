"""The frame box of a video (FORMAT.md, chapter 4): type byte, what is explicit, payload, checksum."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from nvc.bitstream.boxes import read_varint, read_zigzag, write_varint, write_zigzag
from nvc.bitstream.container import CHECKSUM_BYTES, FrameType, payload_problem
from nvc.bitstream.header import MAX_QUALITY, Header
from nvc.errors import BadStream

MAX_GAP = 32  # frames: the largest GOP
_BLOCK = 16  # pixels
_PAYLOAD_BASE, _PAYLOAD_PER_PIXEL = 1 << 16, 8  # bytes: several times what hostile latents take
_MAX_FIELDS = 1 + 1 + 5 + CHECKSUM_BYTES  # bytes beside the payload: type, display gap, time step, checksum

_TYPE, _REPARAMETERISED, _GAP, _STEP, _TABLE_SET, _RESERVED = 3, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 3 << 6


@dataclass(frozen=True)
class CodedFrame:
    """Content of a frame box.

    payload:  one rANS stream, a multiple of 4 bytes, at least 8
    checksum: planes_checksum of the decoded frame
    reparameterised: whether the payload begins with parameters of tables
    table_set: 0: tables of level floor(quality), 1: of the level above
    gap:      explicit display gap to the anchor before, in frames, or None
    step:     ticks from the expected time
    """

    type: FrameType
    payload: bytes
    checksum: int
    reparameterised: bool = False
    table_set: int = 0
    gap: int | None = None
    step: int = 0


@dataclass(frozen=True)
class VideoFrame(CodedFrame):
    """A frame at its place.

    index: coded index   display: display index   time: ticks   offset, size: of its box in the file, bytes
    """

    index: int = 0
    display: int = 0
    time: int = 0
    offset: int = 0
    size: int = 0


def planes_checksum(planes: Iterable[NDArray[np.uint8]]) -> int:
    """CRC32C over the samples of Y, U and V, each row by row, cut to the frame's size."""
    crc = 0
    for plane in planes:
        crc = crc32c(np.ascontiguousarray(plane, dtype=np.uint8).tobytes(), crc)
    return crc


def max_payload(header: Header) -> int:
    """Most bytes of a frame's payload."""
    blocks = -(-header.width // _BLOCK) * -(-header.height // _BLOCK)
    return _PAYLOAD_BASE + _PAYLOAD_PER_PIXEL * _BLOCK * _BLOCK * blocks


def max_frame_content(header: Header) -> int:
    """Most bytes of a frame box's content: what a reader takes in before it looks closer."""
    return max_payload(header) + _MAX_FIELDS


def write_frame(frame: CodedFrame, header: Header) -> bytes:
    """Content of a frame box. ValueError for what read_frame would refuse."""
    problem = _problem(frame, header)
    if problem:
        raise ValueError(problem)
    flags = frame.type | _REPARAMETERISED * frame.reparameterised | _TABLE_SET * frame.table_set
    flags |= _GAP * (frame.gap is not None) | _STEP * (frame.step != 0)
    return b"".join(
        (
            bytes([flags]),
            b"" if frame.gap is None else write_varint(frame.gap - 1),
            write_zigzag(frame.step) if frame.step else b"",
            frame.payload,
            frame.checksum.to_bytes(CHECKSUM_BYTES, "little"),
        )
    )


def read_frame(content: bytes, header: Header, where: str) -> CodedFrame:
    """What is in a frame box, checked but for its place. Raises BadStream, saying `where`."""
    if not content:
        raise BadStream(f"{where}: empty")
    flags, position, gap, step = content[0], 1, None, 0
    if flags & _RESERVED or flags & _TYPE not in set(FrameType):
        raise BadStream(f"{where}: type {flags:#04x} is not one that a frame of video may have")
    if flags & _GAP:
        gap, position = read_varint(content, position, f"{where}: display gap")
        gap += 1
    if flags & _STEP:
        step, position = read_zigzag(content, position, f"{where}: time step")
        if not step:
            raise BadStream(f"{where}: a time step of 0 is explicit without need")
    frame = CodedFrame(
        FrameType(flags & _TYPE),
        content[position:-CHECKSUM_BYTES],
        int.from_bytes(content[-CHECKSUM_BYTES:], "little"),
        bool(flags & _REPARAMETERISED),
        int(bool(flags & _TABLE_SET)),
        gap,
        step,
    )
    problem = _problem(frame, header)
    if problem:
        raise BadStream(f"{where}: {problem}")
    return frame


def _problem(frame: CodedFrame, header: Header) -> str:
    problem = payload_problem(len(frame.payload))
    if problem:
        return problem
    if len(frame.payload) > max_payload(header):
        return f"payload of {len(frame.payload)} bytes, more than {max_payload(header)}"
    if frame.gap is not None and not 1 <= frame.gap <= MAX_GAP:
        return f"display gap {frame.gap} outside 1..{MAX_GAP}"
    if frame.table_set and header.quality == MAX_QUALITY:
        return "table_set 1 at quality 8: there is no level 9"
    return ""
