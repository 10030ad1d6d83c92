"""Signature, varints and boxes (FORMAT.md, chapter 2): everything a .nvc file is cut into.

A file is the signature and then boxes until its end. Reading goes through a stream, one box at a time, so
that a clip never lies in memory as a whole and an unknown box costs no more than its own bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from crc32c import crc32c

from nvc.errors import BadStream

MAGIC = b"NVC"
FORMAT_NUMBER = 0
MAX_FORMAT_NUMBER = 31  # a control character, so that a text that happens to begin with NVC is no .nvc file
SIGNATURE = MAGIC + bytes([FORMAT_NUMBER])

MAX_VARINT_BYTES = 5
MAX_VARINT = (1 << 7 * MAX_VARINT_BYTES) - 1
MAX_CONTENT = MAX_VARINT >> 2  # bytes; the box head spends two bits on the type
CRC_BYTES = 4
NAME_BYTES = 4

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


def write_box(kind: BoxType, data: bytes, name: str = "", *, first: bool = False) -> bytes:
    """Bytes of one box: head, content, CRC32C; of the first box of a file with the signature before it.

    name: four printable ASCII characters, for CRITICAL and ANCILLARY boxes only. ValueError otherwise.
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
    return body + crc32c(body).to_bytes(CRC_BYTES, "little")


def read_boxes(stream: BinaryIO) -> Iterator[Box]:
    """Check the signature, then yield the boxes of a file one after another until its end.

    Every box, known or not, has its CRC32C checked before it is yielded. The order of boxes is the caller's
    business. Raises BadStream (one line) at the first thing that is wrong.
    """
    signature = stream.read(len(SIGNATURE))
    check_signature(signature)
    offset = len(signature)
    crc = crc32c(signature)
    while True:
        head = _read_head(stream, offset)
        if not head:
            return
        value, _ = read_varint(head, 0, f"box head at byte {offset}")
        kind, length = BoxType(value & 3), value >> 2
        content = _read_exactly(stream, length, offset, kind)
        stored = int.from_bytes(_read_exactly(stream, CRC_BYTES, offset, kind), "little")
        if crc32c(content, crc32c(head, crc)) != stored:
            raise BadStream(f"{kind.name.lower()} box at byte {offset}: checksum differs, the file is damaged")
        name = ""
        if kind in (BoxType.CRITICAL, BoxType.ANCILLARY):
            if not _is_name(content[:NAME_BYTES]):
                raise BadStream(f"{kind.name.lower()} box at byte {offset}: its name is not four ASCII characters")
            name, content = content[:NAME_BYTES].decode("ascii"), content[NAME_BYTES:]
        size = len(head) + length + CRC_BYTES
        yield Box(kind, name, content, offset, size, stored)
        offset += size
        crc = 0


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


def _read_exactly(stream: BinaryIO, count: int, offset: int, kind: BoxType) -> bytes:
    parts = []
    missing = count
    while missing:
        part = stream.read(min(missing, _CHUNK))
        if not part:
            raise BadStream(f"cut short: the {kind.name.lower()} box at byte {offset} lacks its last {missing} bytes")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
