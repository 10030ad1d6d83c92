"""What libav does not say of a video file: that it is cut short, or that it is a picture.

A file that lost its end often decodes without an error, with fewer frames. Containers state lengths; these are
compared with the length of the file.
"""

import io
from typing import BinaryIO

_EBML = b"\x1aE\xdf\xa3"
_SEGMENT = b"\x18S\x80g"
_BOX_NAMES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")

HEAD = 64  # bytes that kind() looks at

# libav's names of single pictures and of animations
_PICTURES = ("image2", "image2pipe", "ico")
_ANIMATIONS = ("gif", "apng", "webp", "jpegxl_anim", "webp_anim")


def is_mp4(head: bytes) -> bool:
    """Whether the first bytes are those of MP4 or QuickTime, whose index may stand at the end."""
    return head[4:8] in _BOX_NAMES


def refusal(format: str, head: bytes) -> str:
    """Why a file of this libav format is no video; "" where it may be one."""
    names = format.split(",")
    if any(name in _ANIMATIONS for name in names):
        return f"an animated picture ({names[0].upper()}) is not coded as video: make a clip or a sequence of it first"
    if any(name in _PICTURES or name.endswith("_pipe") for name in names) or head[8:12] in (b"avif", b"avis", b"heic"):
        return "a picture, not a video (name several as one video by a pattern such as frame%04d.png)"
    return ""


def cut_short(file: BinaryIO, size: int) -> str:
    """Why the file must have lost its end, or ""; `size` is its length in bytes. Leaves the position at 0."""
    file.seek(0)
    head = file.read(HEAD)
    wanted = _end_of_boxes(file, size) if is_mp4(head) else stated_length(head)
    file.seek(0)
    return f"cut short: it should have {wanted} bytes and has {size}" if wanted > size else ""


def stated_length(head: bytes) -> int:
    """Bytes that a Matroska or AVI file says it has, from its first HEAD bytes; 0 where it does not say."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        length = int.from_bytes(head[4:8], "little")
        return 0 if length == 0xFFFFFFFF else 8 + length
    if head[:4] != _EBML:
        return 0
    of_head, position = _vint(head, 4)
    position += of_head or 0
    if of_head is None or head[position : position + 4] != _SEGMENT:
        return 0
    of_segment, position = _vint(head, position + 4)
    return 0 if of_segment is None else position + of_segment


def _vint(data: bytes, position: int) -> tuple[int | None, int]:
    """(an EBML length, where it ends); None for "unknown" and where the bytes end."""
    if position >= len(data) or data[position] == 0:
        return None, position
    size = 9 - data[position].bit_length()
    raw = data[position : position + size]
    value = int.from_bytes(raw, "big") - (1 << 7 * size)
    unknown = len(raw) < size or value == (1 << 7 * size) - 1 or value < 0
    return (None if unknown else value), position + size


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last box at the top of an MP4 file ends, as far as the boxes can be followed."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:  # to the end of the file
            return size
        if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in head[4:8]):
            return position  # no box: whatever follows, libav finds its way or not
        position += length
    return position


class Content:
    """A file without its name, which libav would take for a hint of what it holds."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class Pipe(io.RawIOBase):
    """A stream that cannot seek, as libav reads it: its first bytes known, its bytes counted."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._read = getattr(stream, "read1", stream.read)
        self.head = b""
        while len(self.head) < HEAD and (more := self._read(HEAD - len(self.head))):
            self.head += more
        self._pending = self.head
        self.count = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, b"" at the end."""
        data = self._pending or self._read(size)
        if self._pending:
            data, self._pending = data[:size] if size >= 0 else data, data[size:] if size >= 0 else b""
        self.count += len(data)
        return bytes(data)
