"""What Pillow does not say about a picture file: damage that it lets pass, bits it cuts, tags it ignores."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from nvc.errors import InputError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SRGB_GAMMA = (45000, 46000)  # gAMA of 1/2.2 in units of 1/100000, with what encoders round it to
_SRGB_CHRM = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_CHRM_TOLERANCE = 200  # units of 1/100000
_BMFF_HEAD = 1 << 16  # bytes in which an AVIF keeps its properties
_MAX_ICC = 1 << 26  # bytes; as in FORMAT.md, chapter 5
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262


@dataclass(frozen=True)
class Probe:
    """What the file's own bytes say.

    bits:          of each sample as stored
    cicp:          colour tag, 4 bytes as in PNG's cICP, or None
    icc_damaged:   the ICC profile in the file is not whole, whatever Pillow made of it
    grey_alpha:    the file stores grey and alpha, although Pillow may make RGBA of it
    white_is_zero: 0 is white in the samples that Pillow gives
    notes:         warnings
    """

    bits: int = 8
    cicp: bytes | None = None
    icc_damaged: bool = False
    grey_alpha: bool = False
    white_is_zero: bool = False
    notes: tuple[str, ...] = field(default=())


def probe(image: Image.Image, data: bytes) -> Probe:
    """Look at the file's own bytes. Raises InputError where they are damaged in a way that Pillow accepts."""
    if image.format == "PNG":
        return _probe_png(data)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(_TIFF_BITS, (1,))
        inverted = image.mode.startswith("I;16") and tags.get(_TIFF_PHOTOMETRIC) == 0
        return Probe(max(bits) if isinstance(bits, tuple) else int(bits), white_is_zero=inverted)
    if image.format == "PPM":
        tiles = getattr(image, "tile", None)
        args = tiles[0].args if tiles else None
        deep = isinstance(args, tuple) and isinstance(args[-1], int) and args[-1] > 255
        return Probe(16 if deep else 8)
    if image.format == "AVIF":
        return _probe_avif(data[:_BMFF_HEAD])
    if image.format == "JPEG2000":
        return _probe_jpeg2000(data)
    if image.format in ("JPEG", "MPO"):
        return _probe_jpeg(image)
    return Probe()


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of each chunk up to IEND.

    Any wrong CRC is refused: Pillow checks those of the other chunks, but not IDAT's.
    """
    position = len(_PNG_SIGNATURE)
    while position < len(data):
        head = data[position : position + 8]
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        name = kind.decode("latin-1")
        content = data[position + 8 : position + 8 + length]
        stored = data[position + 8 + length : position + 12 + length]
        if len(content) < length or len(stored) < 4:
            raise InputError(f"cut short inside its {name!r} chunk")
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(stored, "big"):
            raise InputError(f"damaged: checksum of its {name!r} chunk at byte {position} differs")
        yield kind, content
        if kind == b"IEND":
            return
        position += 12 + length
    raise InputError("cut short: its IEND chunk is missing")


def _probe_png(data: bytes) -> Probe:
    bits, colour_type = 8, 2
    found: dict[bytes, bytes] = {}
    for kind, content in _png_chunks(data):
        if kind == b"IHDR" and len(content) >= 10:
            bits, colour_type = content[8], content[9]
        elif kind in (b"cICP", b"gAMA", b"cHRM", b"iCCP", b"sRGB"):
            found.setdefault(kind, content)
    cicp = found.get(b"cICP")
    notes = []
    if cicp is not None and (len(cicp) != 4 or cicp[2] != 0):
        cicp = None
        notes.append("colour tag (cICP) is not one for RGB and is dropped")
    if not found.keys() & {b"cICP", b"iCCP", b"sRGB"} and not _is_srgb(found.get(b"gAMA"), found.get(b"cHRM")):
        notes.append("gamma or primaries (gAMA, cHRM) other than sRGB's are dropped; samples stay as they are")
    damaged = b"iCCP" in found and not _is_whole(found[b"iCCP"])
    return Probe(bits, cicp, damaged, grey_alpha=colour_type == 4, notes=tuple(notes))


def _is_whole(iccp: bytes) -> bool:
    """Whether the zlib stream in an iCCP chunk (name, 0, method, stream) ends as it should; Pillow does not mind."""
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(iccp[iccp.index(b"\0") + 2 :], _MAX_ICC)
    except (ValueError, zlib.error):
        return False
    return inflater.eof


def _is_srgb(gamma: bytes | None, chrm: bytes | None) -> bool:
    if gamma is not None and len(gamma) == 4:
        low, high = _SRGB_GAMMA
        if not low <= int.from_bytes(gamma, "big") <= high:
            return False
    if chrm is not None and len(chrm) == 32:
        values = struct.unpack(">8I", chrm)
        return all(abs(a - b) <= _CHRM_TOLERANCE for a, b in zip(values, _SRGB_CHRM, strict=True))
    return True


def _probe_avif(head: bytes) -> Probe:
    """Bit depth from the av1C box, colour tags from a colr box of type nclx."""
    bits = 8
    at = head.find(b"av1C")
    if 0 <= at <= len(head) - 7 and head[at + 6] & 0x40:  # high_bitdepth
        bits = 12 if head[at + 6] & 0x20 else 10
    cicp = None
    at = head.find(b"colrnclx")
    if 0 <= at <= len(head) - 15 and b"colrprof" not in head and b"colrrICC" not in head:
        primaries, transfer = struct.unpack_from(">HH", head, at + 8)
        # 1 and 2 are BT.709's primaries and "unspecified"; 8, 16 and 18 are linear light, PQ and HLG
        if primaries not in (1, 2) or transfer in (8, 16, 18):
            cicp = bytes([primaries & 0xFF, transfer & 0xFF, 0, 1])  # Pillow makes full-range RGB of it
    return Probe(bits, cicp)


def _probe_jpeg2000(data: bytes) -> Probe:
    """Bit depth of the first component, from the SIZ marker (ISO 15444-1, A.5.1)."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 42 >= len(data):
        return Probe()
    return Probe((data[at + 42] & 0x7F) + 1)


def _probe_jpeg(image: Image.Image) -> Probe:
    more = "mp" in image.info
    gain_map = b"hdrgm:" in image.info.get("xmp", b"") or b"apdi:" in image.info.get("xmp", b"")
    if gain_map:
        return Probe(notes=("HDR gain map is dropped; the base picture is coded",))
    if more:
        return Probe(notes=("further pictures in the file (MPF) are dropped",))
    return Probe()
