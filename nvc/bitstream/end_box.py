"""The box that ends a video (FORMAT.md, chapter 5, END): number of frames, checksum of checksums, index of I frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from crc32c import crc32c

from nvc.bitstream.boxes import (
    CRC_BYTES,
    NAME_BYTES,
    Box,
    BoxType,
    read_varint,
    read_zigzag,
    write_varint,
    write_zigzag,
)
from nvc.bitstream.order import DisplayOrder
from nvc.errors import BadStream

END_BOX = "END "
MOST_FRAMES = 1 << 31  # of any file: coded indexes are below
_SIZE_BYTES = 4
TRAILER_BYTES = _SIZE_BYTES + CRC_BYTES  # size of the box and its checksum: the last bytes of the file
_CHAIN_BYTES = 4


@dataclass(frozen=True)
class Entry:
    """An I frame. offset: of its box in the file, bytes; index: coded index; display: display index; time: ticks."""

    offset: int
    index: int
    display: int
    time: int


@dataclass(frozen=True)
class End:
    """What an end box says. frames: how many; chain: checksum over checksums; duration: ticks; entries: the index."""

    frames: int
    chain: int
    duration: int
    entries: tuple[Entry, ...]


class Ledger:
    """Keeps, box by box, what the end box will say; a few bytes for each I frame. Writer and reader have one each."""

    def __init__(self, frame_duration: int) -> None:
        self._frame_duration = frame_duration
        self.chain = 0  # checksum over the checksums so far
        self._entries = 0
        self._index = bytearray()
        self._last = Entry(0, 0, 0, 0)
        self.frames = 0

    def box(self, checksum: int) -> None:
        """Take the checksum of the next box, of whatever type."""
        self.chain = crc32c(checksum.to_bytes(CRC_BYTES, "little"), self.chain)

    def frame(self, intra: Entry | None) -> None:
        """Take the next frame; `intra` where it is an I frame."""
        self.frames += 1
        if intra is None:
            return
        lead, shift = intra.display - intra.index, intra.time - intra.display * self._frame_duration
        more = bool(lead or shift)
        self._index += write_varint(intra.offset - self._last.offset)
        self._index += write_varint(intra.index - self._last.index << 1 | more)
        if more:
            self._index += write_varint(lead) + write_zigzag(shift)
        self._entries += 1
        self._last = intra

    def data(self, duration: int) -> bytes:
        """Data of the end box. duration: ticks from the beginning of the first frame to the end of the last."""
        data = write_varint(self.frames) + self.chain.to_bytes(_CHAIN_BYTES, "little")
        data += write_zigzag(duration - self.frames * self._frame_duration) + write_varint(self._entries) + self._index
        length = NAME_BYTES + len(data) + _SIZE_BYTES
        size = len(write_varint(length << 2 | BoxType.CRITICAL)) + length + CRC_BYTES
        return data + size.to_bytes(_SIZE_BYTES, "little")

    def check(self, box: Box, order: DisplayOrder) -> int:
        """Raise BadStream unless `box`, an end box, says what was taken. Returns the duration in ticks."""
        where = f"{END_BOX!r} box at byte {box.offset}"
        frames, chain, duration, _ = _read_start(box.data, self._frame_duration, where)
        if frames != self.frames:
            raise BadStream(f"{where}: {frames} frames, and there are {self.frames}: frames are missing, or too many")
        if chain != self.chain:
            raise BadStream(f"{where}: the checksum over all boxes differs: boxes are missing or out of place")
        if order.due:
            raise BadStream(f"{where}: a B frame is due")
        if order.first is None or duration <= (order.anchor.time or 0) - (order.first.time or 0):
            raise BadStream(f"{where}: a duration of {duration} ticks, which ends before the last frame begins")
        if self.data(duration) != box.data:
            raise BadStream(f"{where}: the index is not that of the file")
        return duration


def read_end(box: Box, frame_duration: int) -> End:
    """What an end box says, as far as it can be checked without the frames. Raises BadStream."""
    where = f"{END_BOX!r} box at byte {box.offset}"
    frames, chain, duration, position = _read_start(box.data, frame_duration, where)
    count, position = read_varint(box.data, position, f"{where}: entries")
    entries = tuple(_read_entries(box.data[:-_SIZE_BYTES], position, frame_duration, where))
    ordered = all(a.offset < b.offset and a.index < b.index and a.display < b.display for a, b in pairwise(entries))
    inside = bool(entries) and entries[0].index == 0 and entries[-1].index < frames and entries[-1].offset < box.offset
    if len(entries) != count or not ordered or not inside:
        raise BadStream(f"{where}: the index is not that of the file")
    return End(frames, chain, duration, entries)


def _read_start(data: bytes, frame_duration: int, where: str) -> tuple[int, int, int, int]:
    """Frames, chain, duration in ticks, and the position behind them."""
    frames, position = read_varint(data, 0, f"{where}: frames")
    chain = data[position : position + _CHAIN_BYTES]
    if len(chain) < _CHAIN_BYTES:
        raise BadStream(f"{where}: chain: cut short")
    more, position = read_zigzag(data, position + _CHAIN_BYTES, f"{where}: duration")
    return frames, int.from_bytes(chain, "little"), more + frames * frame_duration, position


def _read_entries(data: bytes, position: int, frame_duration: int, where: str) -> Iterator[Entry]:
    offset = index = 0
    while position < len(data):
        step, position = read_varint(data, position, f"{where}: offset")
        offset += step
        step, position = read_varint(data, position, f"{where}: step")
        index += step >> 1
        lead = shift = 0
        if step & 1:
            lead, position = read_varint(data, position, f"{where}: lead")
            shift, position = read_zigzag(data, position, f"{where}: shift")
        display = index + lead
        yield Entry(offset, index, display, display * frame_duration + shift)
