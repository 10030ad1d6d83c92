"""Signature, varints and boxes (FORMAT.md, chapter 2): everything a .nvc file is cut into.

A file is the signature and then boxes until its end. Reading goes through a stream, one box at a time, so
that a clip never lies in memory as a whole and an unknown box costs no more than its own bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from crc32c import crc32c

from nvc.bitstream.numbering import index_crc, index_of
from nvc.errors import BadStream

MAGIC = b"NVC"
FORMAT_NUMBER = 0
MAX_FORMAT_NUMBER = 31  # a control character, so that a text that happens to begin with NVC is no .nvc file
SIGNATURE = MAGIC + bytes([FORMAT_NUMBER])

MAX_VARINT_BYTES = 5
MAX_VARINT = (1 << 7 * MAX_VARINT_BYTES) - 1
MAX_ZIGZAG = 1 << 7 * MAX_VARINT_BYTES - 1  # largest magnitude; as a positive number one less
MAX_CONTENT = MAX_VARINT >> 2  # bytes; the box head spends two bits on the type
CRC_BYTES = 4
NAME_BYTES = 4

_NEAR = 1 << 12  # frames; a box that is right for an index as near as this to the one due is a frame out of its place
_CHUNK = 1 << 20  # bytes read at once: a head that lies about its length allocates at most this more than there is


class BoxType(IntEnum):
    """Two low bits of a box head."""

    HEADER = 0
    FRAME = 1
    CRITICAL = 2
    ANCILLARY = 3


@dataclass(frozen=True)
class Box:
    """One box whose CRC32C was right.

    type:     its BoxType
    name:     four printable ASCII characters for CRITICAL and ANCILLARY boxes, else ""
    data:     content, without the name
    offset:   byte offset of the head in the file
    size:     bytes of head, content and CRC together (the signature is not counted)
    checksum: the CRC32C stored with it
    """

    type: BoxType
    name: str
    data: bytes
    offset: int
    size: int
    checksum: int

    @property
    def label(self) -> str:
        """How messages call this box."""
        return f"{self.name!r} box" if self.name else f"{self.type.name.lower()} box"


def write_varint(value: int) -> bytes:
    """Unsigned LEB128, shortest form. Raises ValueError outside 0..MAX_VARINT."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"varint {value} outside 0..{MAX_VARINT}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int, what: str) -> tuple[int, int]:
    """Value of the varint at `position` and the position after it.

    `what` names the field in the message. Raises BadStream if it is cut, too long or not in shortest form.
    """
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if position + count >= len(data):
            raise BadStream(f"{what}: cut short")
        byte = data[position + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if byte == 0 and count > 0:
                raise BadStream(f"{what}: number not in its shortest form")
            return value, position + count + 1
    raise BadStream(f"{what}: number longer than {MAX_VARINT_BYTES} bytes")


def write_zigzag(value: int) -> bytes:
    """Varint of a signed number (FORMAT.md, chapter 1). ValueError beyond MAX_ZIGZAG."""
    return write_varint(2 * value if value >= 0 else -2 * value - 1)


def read_zigzag(data: bytes, position: int, what: str) -> tuple[int, int]:
    """As read_varint, for a signed number."""
    value, position = read_varint(data, position, what)
    return (value >> 1) ^ -(value & 1), position


def sniff(data: bytes) -> bool:
    """Whether these first bytes of a file (4 are enough) claim to be .nvc, of whatever format number."""
    return len(data) > len(MAGIC) and data.startswith(MAGIC) and data[len(MAGIC)] <= MAX_FORMAT_NUMBER


def check_signature(data: bytes) -> None:
    """Raise BadStream unless the four bytes `data` are the signature of the format that this reader knows."""
    if not data:
        raise BadStream("empty file")
    if len(data) < len(SIGNATURE) and SIGNATURE.startswith(data):
        raise BadStream("cut short inside the signature")
    if not sniff(data):
        raise BadStream("not a .nvc file (its first bytes are not the signature)")
    if data[len(MAGIC)] != FORMAT_NUMBER:
        raise BadStream(
            f"format number {data[len(MAGIC)]}, but this nvc reads format {FORMAT_NUMBER} only: "
            "decode it with the nvc release that made it"
        )


def write_box(kind: BoxType, data: bytes, name: str = "", *, first: bool = False, index: int | None = None) -> bytes:
    """Bytes of one box: head, content, CRC32C; of the first box of a file with the signature before it.

    name:  four printable ASCII characters, for CRITICAL and ANCILLARY boxes only. ValueError otherwise.
    index: coded index of a frame of video, which the CRC covers
    """
    named = kind in (BoxType.CRITICAL, BoxType.ANCILLARY)
    tag = name.encode("ascii")
    if named != bool(tag) or (named and not _is_name(tag)):
        raise ValueError(f"{kind.name.lower()} box named {name!r}")
    length = len(tag) + len(data)
    if length > MAX_CONTENT:
        raise ValueError(f"box content of {length} bytes is more than {MAX_CONTENT}")
    prefix = SIGNATURE if first else b""
    body = b"".join((prefix, write_varint(length << 2 | kind), tag, data))
    return body + crc32c(body, 0 if index is None else index_crc(index)).to_bytes(CRC_BYTES, "little")


def read_boxes(stream: BinaryIO) -> Iterator[Box]:
    """Check the signature, then yield the boxes of a picture file one after another until its end.

    Every box, known or not, has its CRC32C checked before it is yielded. The order of boxes is the caller's
    business. Raises BadStream (one line) at the first thing that is wrong.
    """
    box = read_first_box(stream)
    while box is not None:
        yield box
        box = read_box(stream, box.offset + box.size)


def read_first_box(stream: BinaryIO, limits: Mapping[BoxType, int] | None = None) -> Box | None:
    """Check the signature, then read the box behind it; None where the file ends there. As read_box."""
    signature = stream.read(len(SIGNATURE))
    check_signature(signature)
    return read_box(stream, len(signature), limits=limits, crc=crc32c(signature))


def read_box(
    stream: BinaryIO,
    offset: int,
    *,
    index: int | None = None,
    limits: Mapping[BoxType, int] | None = None,
    crc: int = 0,
) -> Box | None:
    """The box at byte `offset` of the file, where `stream` stands; None at the end of the file.

    index:  coded index that a frame box of a video must have
    limits: most bytes of content for types of boxes
    crc:    CRC32C of what precedes the head and is covered too
    Raises BadStream (one line) for anything that is wrong, a frame of another index included.
    """
    head = _read_head(stream, offset)
    if not head:
        return None
    value, _ = read_varint(head, 0, f"box head at byte {offset}")
    kind, length = BoxType(value & 3), value >> 2
    where = f"{kind.name.lower()} box at byte {offset}"
    if limits and length > limits.get(kind, MAX_CONTENT):
        raise BadStream(f"{where}: {length} bytes, more than the {limits[kind]} that it may have")
    content = _read_exactly(stream, length, where)
    stored = int.from_bytes(_read_exactly(stream, CRC_BYTES, where), "little")
    if index is not None and kind == BoxType.FRAME:
        found = index_of(stored, head + content)
        if found != index and abs(found - index) <= _NEAR:
            raise BadStream(f"{where}: it is frame {found} where {index} is due: frames are missing or out of place")
        sound = found == index
    else:
        sound = crc32c(content, crc32c(head, crc)) == stored
    if not sound:
        raise BadStream(f"{where}: checksum differs, the file is damaged")
    name = ""
    if kind in (BoxType.CRITICAL, BoxType.ANCILLARY):
        if not _is_name(content[:NAME_BYTES]):
            raise BadStream(f"{where}: its name is not four ASCII characters")
        name, content = content[:NAME_BYTES].decode("ascii"), content[NAME_BYTES:]
    return Box(kind, name, content, offset, len(head) + length + CRC_BYTES, stored)


def _is_name(tag: bytes) -> bool:
    return len(tag) == NAME_BYTES and all(0x20 <= byte <= 0x7E for byte in tag)


def _read_head(stream: BinaryIO, offset: int) -> bytes:
    """Bytes of the varint at a box's beginning; b"" at the end of the file."""
    head = bytearray()
    while len(head) < MAX_VARINT_BYTES:
        byte = stream.read(1)
        if not byte:
            if head:
                raise BadStream(f"cut short inside the box head at byte {offset}")
            break
        head += byte
        if byte[0] < 0x80:
            break
    return bytes(head)


def _read_exactly(stream: BinaryIO, count: int, where: str) -> bytes:
    parts = []
    missing = count
    while missing:
        part = stream.read(min(missing, _CHUNK))
        if not part:
            raise BadStream(f"cut short: the {where} lacks its last {missing} bytes")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
