"""What a picture file carries beside its pixels: ICC, CICP, Exif, XMP, cleaned for pixels that are upright.

Pillow finds the blocks; they are kept as bytes. Orientation is read and set in the bytes themselves, because
writing Exif anew would break the offsets inside maker notes, and because Pillow takes an Orientation
from XMP too, which is no flag for readers.
"""

import re
import struct
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from nvc.media.picture_probe import Probe

MAX_METADATA = 1 << 26  # bytes; as in FORMAT.md, chapter 5

_EXIF_MARKER = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3
# Tags of a TIFF's directory that describe the picture; the others describe how this one file stores it:
# ImageDescription, Make, Model, Software, DateTime, Artist, Copyright, and the pointers to Exif and GPS.
_TIFF_EXIF_TAGS = (270, 271, 272, 305, 306, 315, 33432)
_EXIF_IFD, _GPS_IFD = 34665, 34853

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>\s*))[2-8]")
_XMP_EXTENDED = b"HasExtendedXMP"


@dataclass(frozen=True)
class Metadata:
    """Blocks that go with a picture, as bytes.

    icc:  ICC profile
    exif: TIFF structure, without JPEG's marker; its Orientation is 1 or absent
    xmp:  XMP packet, UTF-8
    cicp: 4 bytes as in PNG's cICP (H.273 primaries, transfer, matrix 0, full range 1)
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    cicp: bytes | None = None


def collect(image: Image.Image, probe: Probe, *, grey: bool, notes: list[str]) -> tuple[Metadata, int]:
    """Metadata of an opened file, and the Orientation 1..8 that its pixels still need.

    grey: whether the picture becomes one plane (an ICC profile must then be a GRAY one). Blocks that are damaged or
    do not fit are left out, each with a line in `notes`.
    """
    info = image.info
    # CMYK and Lab have become sRGB, which their profile does not describe
    icc = None if image.mode in ("CMYK", "LAB") else _icc(info, probe, grey=grey, notes=notes)
    xmp = _xmp(info, notes)
    exif, orientation = _exif(image, notes)
    if orientation != 1 and xmp is not None:
        xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)  # the same turn is often noted there too
    metadata = Metadata(icc, exif, xmp, probe.cicp)
    for name in ("icc", "exif", "xmp"):
        block = getattr(metadata, name)
        if block is not None and len(block) > MAX_METADATA:
            notes.append(f"{name.upper()} block of {len(block)} bytes is dropped: more than {MAX_METADATA}")
            metadata = replace(metadata, **{name: None})
    return metadata, orientation


def _icc(info: dict[Any, Any], probe: Probe, *, grey: bool, notes: list[str]) -> bytes | None:
    if "icc_profile" not in info:
        return None
    icc = info["icc_profile"]
    if probe.icc_damaged or not isinstance(icc, bytes) or len(icc) < 132 or icc[36:40] != b"acsp":
        notes.append("damaged ICC profile is dropped")
        return None
    space, wanted = icc[16:20], b"GRAY" if grey else b"RGB "
    if space != wanted:
        kind = "grey" if grey else "colour"
        notes.append(f"ICC profile of colour space {space.decode('latin-1').strip()!r} on a {kind} picture is dropped")
        return None
    return icc


def _xmp(info: dict[Any, Any], notes: list[str]) -> bytes | None:
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    try:
        xmp = xmp or _raw_profile(info, "xmp")
    except (ValueError, IndexError):
        notes.append("damaged XMP is dropped")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0"):
        return None
    if _XMP_EXTENDED in xmp:
        notes.append("XMP in several parts (extended XMP) is dropped")
        return None
    return xmp.rstrip(b"\0")


def _raw_profile(info: dict[Any, Any], name: str) -> bytes | None:
    """A block that ImageMagick wrote as text into a PNG: empty line, name, length, then hexadecimal digits.

    What follows the stated length is ignored. Raises ValueError or IndexError for other text.
    """
    text = info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    lines = text.split("\n")
    length, digits = int(lines[2]), "".join(lines[3:])
    if not 0 <= 2 * length <= len(digits):
        raise ValueError("cut short")
    return bytes.fromhex(digits[: 2 * length])


def _exif(image: Image.Image, notes: list[str]) -> tuple[bytes | None, int]:
    """(Exif with Orientation 1, Orientation found)."""
    if image.format == "TIFF":
        return _tiff_exif(image, notes), 1  # Pillow has turned the pixels while loading
    exif = image.info.get("exif")
    try:
        exif = exif or _raw_profile(image.info, "exif")
        if not exif:
            return None, 1
        return upright(exif.removeprefix(_EXIF_MARKER))
    except (ValueError, IndexError, AttributeError, struct.error):
        notes.append("damaged Exif is dropped, and with it any orientation")
        return None, 1


def _tiff_exif(image: Image.Image, notes: list[str]) -> bytes | None:
    """An Exif block made from those tags of a TIFF that describe the picture."""
    try:
        found, kept = image.getexif(), Image.Exif()
        for tag in _TIFF_EXIF_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for tag in (_EXIF_IFD, _GPS_IFD):
            if tag in found:
                kept[tag] = found.get_ifd(tag)
        return bytes(kept.tobytes()).removeprefix(_EXIF_MARKER) if len(kept) else None
    except Exception:  # a directory can be odd in ways without number; the pixels are what counts
        notes.append("damaged Exif is dropped")
        return None


def upright(exif: bytes) -> tuple[bytes, int]:
    """(the same Exif with Orientation 1, the Orientation 1..8 that it had; out of range counts as 1).

    Raises ValueError or struct.error where the first directory does not parse.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError("no TIFF header")
    (offset,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, offset)
    orientation = 1
    out = bytearray(exif)
    for index in range(count):
        entry = offset + 2 + 12 * index
        tag, kind, values, value = struct.unpack_from(order + "HHIH", exif, entry)
        if tag == _ORIENTATION and kind == _SHORT and values == 1:
            orientation = value if 1 <= value <= 8 else 1
            struct.pack_into(order + "H", out, entry + 8, 1)
    return bytes(out), orientation
