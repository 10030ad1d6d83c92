"""The next sound box of a damaged video file, wherever it begins.

A frame box proves itself by its checksum: the one coded index that makes it right (numbering.py) must be one that can
come next. Damage alone gets there once in 2^32 / (indexes that can come) tries.
"""

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from crc32c import crc32c

from nvc.bitstream.boxes import CRC_BYTES, MAX_VARINT_BYTES, BoxType, read_varint
from nvc.bitstream.numbering import index_of
from nvc.bitstream.video_reader import Parts
from nvc.errors import BadStream

_FRAME_BYTES = 18  # of the smallest frame box
_FRAMES_CUT_OUT = 1 << 12  # most frames that may be missing where no byte is damaged
_WINDOW = 1 << 20  # bytes searched at once
_HEAD = MAX_VARINT_BYTES + 4  # bytes that tell whether a box may begin
_WORK = 64  # bytes that may be read for each byte of the file: damage that looks like boxes everywhere ends the search


def _varints(kinds: tuple[int, ...]) -> bytes:
    """Pattern of box heads of these types."""
    single = bytes(byte for byte in range(0x80) if byte & 3 in kinds)
    more = bytes(byte | 0x80 for byte in single)
    return b"(?:[" + re.escape(single) + b"]|[" + re.escape(more) + b"][\\x80-\\xff]{0,3}[\\x01-\\x7f])"


_TYPES = re.escape(bytes(byte for byte in range(0x40) if byte & 3 != 3))
_BEGINNING = re.compile(
    b"(?=((?:" + _varints((1,)) + b"[" + _TYPES + b"])|(?:" + _varints((2, 3)) + b"[ -~]{4})))", re.DOTALL
)


class Search:
    """Finds sound boxes in a file that can seek. parts: what is known of the video: header, limits."""

    def __init__(self, stream: BinaryIO, parts: Parts) -> None:
        self._stream = stream
        self._parts = parts
        self.size = stream.seek(0, os.SEEK_END)
        self._work = _WORK * self.size

    def next_box(self, position: int, index: int) -> tuple[int, int] | None:
        """(offset, coded index of the next frame) of the first sound box from `position` on, None where there is none.

        position: where a box should begin, and is not sound as frame `index`
        """
        for start in self._beginnings(position):
            most = index + _FRAMES_CUT_OUT + (start - position) // _FRAME_BYTES
            found = self._sound(start, index, most)
            if found is not None:
                return start, found
            if self._work < 0:
                break
        return None

    def _beginnings(self, position: int) -> Iterator[int]:
        """Where boxes may begin: behind the damaged one, if its length is right; then anywhere."""
        yield position
        head = self._read(position, _HEAD)
        try:
            value, length = read_varint(head, 0, "")
            yield position + length + (value >> 2) + CRC_BYTES
        except BadStream:
            pass
        for window in range(position + 1, self.size, _WINDOW):
            data = self._read(window, _WINDOW + _HEAD - 1)
            for match in _BEGINNING.finditer(data):
                if match.start() < _WINDOW:
                    yield window + match.start()

    def _sound(self, start: int, index: int, most: int) -> int | None:
        """Coded index of the next frame if a sound box begins here: this frame's own if it is one, else `index`."""
        head = self._read(start, _HEAD)
        if not _BEGINNING.match(head):
            return None
        value, head_bytes = read_varint(head, 0, "")
        kind, length = BoxType(value & 3), value >> 2
        end = start + head_bytes + length + CRC_BYTES
        if end > self.size or length > self._parts.limits[kind]:
            return None
        if end < self.size and not _BEGINNING.match(self._read(end, _HEAD)):
            return None  # another box must follow, even if it is damaged further on
        self._work -= length
        box = self._read(start, end - start)
        stored = int.from_bytes(box[-CRC_BYTES:], "little")
        if kind == BoxType.FRAME:
            found = index_of(stored, box[:-CRC_BYTES])
            return found if index <= found <= most else None
        return index if crc32c(box[:-CRC_BYTES]) == stored else None

    def _read(self, position: int, count: int) -> bytes:
        self._stream.seek(position)
        return self._stream.read(count)
