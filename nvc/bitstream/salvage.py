"""What is left of a damaged picture file: its sound boxes, put together as a file again."""

from crc32c import crc32c

from nvc.bitstream.boxes import CRC_BYTES, SIGNATURE, BoxType, check_signature, read_varint
from nvc.bitstream.container import METADATA_BOXES
from nvc.bitstream.header import read_header
from nvc.errors import BadStream

_NAME_BYTES = 4


def salvage(data: bytes) -> tuple[bytes, list[str]]:
    """A sound file from the sound boxes of a picture file, and one line for each part that is lost.

    Lost are boxes with a wrong checksum and whatever follows the frame. The frame itself must be sound: a picture
    whose payload is damaged has no good part. A lost alpha plane leaves the picture opaque.
    Raises BadStream when header or frame cannot be had.
    """
    check_signature(data[: len(SIGNATURE)])
    kept = [SIGNATURE]
    lost: list[str] = []
    position = len(SIGNATURE)
    while position < len(data):
        start = position
        value, position = read_varint(data, position, f"box head at byte {start}")
        kind, length = BoxType(value & 3), value >> 2
        end = position + length + CRC_BYTES
        name = _label(kind, data[position : position + _NAME_BYTES])
        first = start == len(SIGNATURE)
        if end > len(data):
            raise BadStream(f"{name} box at byte {start}: cut short")
        covered = data[0 if first else start : end - CRC_BYTES]
        sound = crc32c(covered) == int.from_bytes(data[end - CRC_BYTES : end], "little")
        if first:
            if kind != BoxType.HEADER or not sound:
                raise BadStream("the header is damaged, nothing can be saved")
            read_header(data[position : end - CRC_BYTES])
            kept.append(data[start:end])
        elif kind == BoxType.FRAME:
            if not sound:
                raise BadStream(f"the frame at byte {start} is damaged, nothing can be saved")
            if end < len(data):
                lost.append(f"{len(data) - end:,} bytes after the frame")
            return b"".join([*kept, data[start:end]]), lost
        elif sound:
            kept.append(data[start:end])
        else:
            lost.append(f"{name} box at byte {start}")
        position = end
    raise BadStream("cut short: the frame is missing, nothing can be saved")


def _label(kind: BoxType, tag: bytes) -> str:
    """How a box is called: a damaged name is not repeated."""
    if kind in (BoxType.CRITICAL, BoxType.ANCILLARY):
        name = tag.decode("ascii", "replace")
        return repr(name) if name in METADATA_BOXES or name == "ALPH" else kind.name.lower()
    return kind.name.lower()
