"""A whole picture file (FORMAT.md, chapters 4 to 6): boxes in, checked parts out, and back."""

import io
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from nvc.bitstream.boxes import (
    FORMAT_NUMBER,
    SIGNATURE,
    Box,
    BoxType,
    read_boxes,
    read_varint,
    write_box,
    write_varint,
)
from nvc.bitstream.header import MAX_PIXELS, Header, Kind, read_header
from nvc.errors import BadStream

UInt8Array = NDArray[np.uint8]

MAX_METADATA = 1 << 26  # raw bytes of one ICC, Exif or XMP block; real ones stay below 2^22
CICP_BYTES = 4
PAYLOAD_UNIT = 4  # bytes: the rANS coder writes 32-bit words
MIN_PAYLOAD = 8  # bytes: the coder's 64-bit state
CHECKSUM_BYTES = 4
_ZLIB_LEVEL = 9

# Box name -> attribute of PictureFile, in the order of writing.
METADATA_BOXES = {"ICCP": "icc", "CICP": "cicp", "EXIF": "exif", "XMP ": "xmp"}
ALPHA_BOX = "ALPH"


class FrameType(IntEnum):
    """Two low bits of a frame's type byte."""

    I = 0  # noqa: E741  # the field's own name: coded without a reference
    P = 1  # from earlier frames
    B = 2  # from frames on both sides


class AlphaFilter(IntEnum):
    """What is subtracted from each alpha sample before zlib."""

    NONE = 0
    SUB = 1  # the sample to the left
    UP = 2  # the sample above


@dataclass(frozen=True)
class Frame:
    """One coded frame.

    payload:  one rANS stream, a multiple of 4 bytes, at least 8
    checksum: picture_checksum of the decoded picture
    """

    payload: bytes
    checksum: int
    type: FrameType = FrameType.I


@dataclass(frozen=True)
class PictureFile:
    """Everything in a picture file, checked except for the payload.

    alpha:   (height, width) uint8, or None
    unknown: names of the ancillary boxes that this reader skipped, in order
    sizes:   bytes by part; they sum to the file's size:
             header (signature and header content), frames (payload), alpha, metadata (contents of ancillary
             boxes), overhead (box heads, checksums, frame type)
    """

    header: Header
    frame: Frame
    alpha: UInt8Array | None
    icc: bytes | None
    cicp: bytes | None
    exif: bytes | None
    xmp: bytes | None
    unknown: tuple[str, ...]
    sizes: dict[str, int]


def picture_checksum(pixels: UInt8Array) -> int:
    """CRC32C of the samples of a picture (H, W, 3), a grey picture or an alpha plane (H, W), row by row."""
    return int(crc32c(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()))


def write_picture_file(
    header: Header,
    frame: Frame,
    *,
    alpha: UInt8Array | None = None,
    icc: bytes | None = None,
    cicp: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """Bytes of a picture file.

    alpha: (height, width) uint8. ValueError for anything that read_picture_file would refuse.
    """
    if header.kind != Kind.PICTURE:
        raise ValueError("header is not of a picture")
    problem = payload_problem(len(frame.payload))
    if problem:
        raise ValueError(problem)
    parts = [write_box(BoxType.HEADER, header.write(), first=True)]
    for name, raw in zip(METADATA_BOXES, (icc, cicp, exif, xmp), strict=True):
        if raw is not None:
            problem = _metadata_problem(name, len(raw))
            if problem:
                raise ValueError(problem)
            data = write_varint(len(raw)) + zlib.compress(raw, _ZLIB_LEVEL)
            parts.append(write_box(BoxType.ANCILLARY, data, name))
    if alpha is not None:
        parts.append(write_box(BoxType.CRITICAL, encode_alpha(alpha, header), ALPHA_BOX))
    content = bytes([frame.type]) + frame.payload + frame.checksum.to_bytes(CHECKSUM_BYTES, "little")
    parts.append(write_box(BoxType.FRAME, content))
    return b"".join(parts)


def read_picture_file(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PictureFile:
    """Parse and check a picture file.

    Raises BadStream (one line) for anything that FORMAT.md forbids, LimitError above `max_pixels`. Allocates
    no more than the file itself, what its metadata boxes claim (at most MAX_METADATA each), and
    width * height bytes for alpha.
    """
    boxes = read_boxes(io.BytesIO(data))
    first = next(boxes, None)
    if first is None:
        raise BadStream("cut short: the header box is missing")
    if first.type != BoxType.HEADER:
        raise BadStream(f"{first.label} at byte {first.offset}: the first box must be the header")
    header = read_header(first.data, max_pixels=max_pixels)
    if header.kind != Kind.PICTURE:
        raise BadStream("header: the file holds video, and this reader knows pictures only")

    metadata: dict[str, bytes] = {}
    unknown: list[str] = []
    alpha: UInt8Array | None = None
    frame: Frame | None = None
    sizes = {"header": len(SIGNATURE) + len(first.data), "frames": 0, "alpha": 0, "metadata": 0}
    for box in boxes:
        where = f"{box.label} at byte {box.offset}"
        if frame is not None:
            raise BadStream(f"{where}: nothing may follow the frame of a picture")
        if box.type == BoxType.HEADER:
            raise BadStream(f"{where}: a second header")
        if box.type == BoxType.FRAME:
            frame = _read_frame(box)
            sizes["frames"] = len(frame.payload)
        elif box.type == BoxType.CRITICAL:
            if box.name != ALPHA_BOX:
                raise BadStream(f"{where}: unknown to this nvc and needed for decoding; a newer nvc may read the file")
            if alpha is not None:
                raise BadStream(f"{where}: a second one")
            alpha = decode_alpha(box.data, header)
            sizes["alpha"] = len(box.name) + len(box.data)
        else:
            sizes["metadata"] += len(box.name) + len(box.data)
            if box.name not in METADATA_BOXES:
                unknown.append(box.name)
            elif METADATA_BOXES[box.name] in metadata:
                raise BadStream(f"{where}: a second one")
            else:
                metadata[METADATA_BOXES[box.name]] = _read_metadata(box)
    if frame is None:
        raise BadStream("cut short: the frame box is missing")
    sizes["overhead"] = len(data) - sum(sizes.values())
    return PictureFile(
        header,
        frame,
        alpha,
        metadata.get("icc"),
        metadata.get("cicp"),
        metadata.get("exif"),
        metadata.get("xmp"),
        tuple(unknown),
        sizes,
    )


def summary(data: bytes, *, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """What nvc-info says of a picture file, ready for JSON. Raises as read_picture_file does."""
    file = read_picture_file(data, max_pixels=max_pixels)
    header = file.header
    checksums = {"picture": f"{file.frame.checksum:08x}"}
    if file.alpha is not None:
        checksums["alpha"] = f"{picture_checksum(file.alpha):08x}"
    return {
        "bytes": len(data),
        "format": FORMAT_NUMBER,
        "codec": header.codec,
        "model_id": header.model_id.hex(),
        "width": header.width,
        "height": header.height,
        "frames": 1,
        "grey": header.grey,
        "alpha": file.alpha is not None,
        "quality": header.quality,
        "table_level": header.table_level,
        "bpp": 8 * len(data) / header.pixels,
        "parts": file.sizes,
        "metadata": [name.strip() for name, key in METADATA_BOXES.items() if getattr(file, key) is not None],
        "unknown": list(file.unknown),
        "checksums": checksums,
    }


def encode_alpha(alpha: UInt8Array, header: Header) -> bytes:
    """Content of the ALPH box after its name: the filter that makes zlib's output smallest wins."""
    if alpha.shape != (header.height, header.width) or alpha.dtype != np.uint8:
        raise ValueError(f"alpha is {alpha.dtype} {alpha.shape}, the picture {header.height}x{header.width}")
    packed = {kind: zlib.compress(_filter(alpha, kind).tobytes(), _ZLIB_LEVEL) for kind in AlphaFilter}
    best = min(packed, key=lambda kind: len(packed[kind]))
    return bytes([best]) + picture_checksum(alpha).to_bytes(CHECKSUM_BYTES, "little") + packed[best]


def decode_alpha(data: bytes, header: Header) -> UInt8Array:
    """The (height, width) uint8 plane from the content of an ALPH box after its name. Raises BadStream."""
    where = f"{ALPHA_BOX!r} box"
    if len(data) < 1 + CHECKSUM_BYTES:
        raise BadStream(f"{where}: cut short")
    if data[0] not in set(AlphaFilter):
        raise BadStream(f"{where}: filter {data[0]} is unknown")
    raw = _inflate(data[1 + CHECKSUM_BYTES :], header.pixels, where)
    plane = np.frombuffer(raw, np.uint8).reshape(header.height, header.width)
    alpha = _unfilter(plane, AlphaFilter(data[0]))
    if picture_checksum(alpha) != int.from_bytes(data[1 : 1 + CHECKSUM_BYTES], "little"):
        raise BadStream(f"{where}: checksum of the alpha plane differs")
    return alpha


def _filter(alpha: UInt8Array, kind: AlphaFilter) -> UInt8Array:
    if kind == AlphaFilter.NONE:
        return alpha
    # prepend=0: the first column (row) is stored as it is; uint8 differences wrap mod 256
    return np.diff(alpha, axis=1 if kind == AlphaFilter.SUB else 0, prepend=np.uint8(0))


def _unfilter(plane: UInt8Array, kind: AlphaFilter) -> UInt8Array:
    if kind == AlphaFilter.NONE:
        return plane
    return np.cumsum(plane, axis=1 if kind == AlphaFilter.SUB else 0, dtype=np.uint8)  # sums wrap mod 256


def _read_frame(box: Box) -> Frame:
    where = f"{box.label} at byte {box.offset}"
    problem = payload_problem(len(box.data) - 1 - CHECKSUM_BYTES)
    if problem:
        raise BadStream(f"{where}: {problem}")
    if box.data[0] != FrameType.I:
        raise BadStream(f"{where}: type {box.data[0]:#04x} is not one that a picture may have")
    checksum = int.from_bytes(box.data[-CHECKSUM_BYTES:], "little")
    return Frame(box.data[1:-CHECKSUM_BYTES], checksum)


def payload_problem(length: int) -> str:
    """Why no payload has this many bytes; "" where one may."""
    if length < MIN_PAYLOAD or length % PAYLOAD_UNIT:
        return f"payload of {length} bytes, which must be a multiple of {PAYLOAD_UNIT} and at least {MIN_PAYLOAD}"
    return ""


def _metadata_problem(name: str, length: int) -> str:
    if length > MAX_METADATA:
        return f"{name!r} of {length} bytes, more than {MAX_METADATA}"
    if METADATA_BOXES[name] == "cicp" and length != CICP_BYTES:
        return f"{name!r} of {length} bytes instead of {CICP_BYTES}"
    return ""


def _read_metadata(box: Box) -> bytes:
    where = f"{box.label} at byte {box.offset}"
    length, position = read_varint(box.data, 0, where)
    problem = _metadata_problem(box.name, length)
    if problem:
        raise BadStream(f"{where}: {problem}")
    return _inflate(box.data[position:], length, where)


def _inflate(packed: bytes, length: int, where: str) -> bytes:
    """The zlib stream `packed`, which must hold exactly `length` bytes; never makes more than one beyond."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, length + 1)
    except zlib.error as error:
        raise BadStream(f"{where}: the zlib stream is damaged") from error
    if len(raw) != length or not inflater.eof or inflater.unused_data:
        raise BadStream(f"{where}: the zlib stream does not hold exactly the {length} bytes claimed")
    return raw
