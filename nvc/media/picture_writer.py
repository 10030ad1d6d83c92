"""Pictures to files: pixels through imageio's Pillow plug-in, metadata where the format has a place for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from nvc.errors import OutputError
from nvc.media.pillow_guard import guarded, reason

if TYPE_CHECKING:
    from nvc.media.pictures import Picture

_JPEG_SEGMENT = 65533  # bytes that one JPEG marker segment holds
_JPEG_XMP_HEAD = 29  # bytes of its name in front of XMP
_TIFF_XMP = 700


@dataclass(frozen=True)
class _Format:
    """How one format is written.

    pillow:   Pillow's name
    suffixes: first one is the usual
    alpha:    whether it keeps an alpha plane
    keeps:    which Metadata fields it has a place for
    grey:     whether it keeps grey as one plane
    options:  for Pillow's save
    """

    pillow: str
    suffixes: tuple[str, ...]
    alpha: bool
    keeps: frozenset[str]
    options: dict[str, Any]
    grey: bool = True


_ICC_EXIF_XMP = frozenset({"icc", "exif", "xmp"})

_FORMATS = {
    "png": _Format("PNG", (".png",), True, _ICC_EXIF_XMP | {"cicp"}, {}),
    "ppm": _Format("PPM", (".ppm", ".pnm"), False, frozenset(), {}),
    "pgm": _Format("PPM", (".pgm",), False, frozenset(), {}),
    "tiff": _Format("TIFF", (".tif", ".tiff"), True, _ICC_EXIF_XMP, {"compression": "tiff_adobe_deflate"}),
    "webp": _Format("WEBP", (".webp",), True, _ICC_EXIF_XMP, {"lossless": True, "exact": True}, grey=False),
    "bmp": _Format("BMP", (".bmp",), False, frozenset(), {}),
    "jpeg": _Format("JPEG", (".jpg", ".jpeg"), False, _ICC_EXIF_XMP, {"quality": 95, "subsampling": 0}),
}

_NAMES = {"alpha": "alpha", "icc": "ICC profile", "exif": "Exif", "xmp": "XMP", "cicp": "colour tag (CICP)"}


def formats() -> dict[str, tuple[str, ...]]:
    """Formats that write_picture knows: name -> file name suffixes, the usual one first."""
    return {name: entry.suffixes for name, entry in _FORMATS.items()}


def format_of(suffix: str) -> str | None:
    """Name of the format that a suffix such as ".PNG" stands for, or None."""
    for name, entry in _FORMATS.items():
        if suffix.lower() in entry.suffixes:
            return name
    return None


def write_picture(picture: "Picture", target: Path | BinaryIO, format: str) -> tuple[str, ...]:
    """Write a picture as one of formats(). Grey stays grey, alpha stays alpha where the format can.

    Returns warnings: one line for what the format could not keep. Raises OutputError.
    """
    data, warnings = encode_picture(picture, format)
    try:
        if isinstance(target, Path):
            target.write_bytes(data)
        else:
            target.write(data)
    except OSError as error:
        raise OutputError(reason(error)) from error
    return warnings


def encode_picture(picture: "Picture", format: str) -> tuple[bytes, tuple[str, ...]]:
    """Bytes of a picture file in one of formats(), and warnings. Raises OutputError."""
    if format not in _FORMATS:
        raise OutputError(f"unknown picture format {format!r}: use one of {', '.join(_FORMATS)}")
    entry = _FORMATS[format]
    if format == "pgm" and picture.pixels.ndim == 3:
        raise OutputError("a colour picture does not fit into pgm: use ppm")
    dropped = [] if entry.alpha or picture.alpha is None else ["alpha"]
    blocks: dict[str, bytes] = {}
    for name in ("icc", "cicp", "exif", "xmp"):
        block = getattr(picture.metadata, name)
        if block is None:
            continue
        if name in entry.keeps and _fits(format, name, block, picture.pixels.ndim == 2 and not entry.grey):
            blocks[name] = block
        else:
            dropped.append(name)
    notes: list[str] = []
    with guarded(OutputError, notes):
        array = _array(picture, entry.alpha)
        options = entry.options | _placed(format, blocks)
        data = iio.imwrite(
            "<bytes>",
            array,
            plugin="pillow",
            extension=entry.suffixes[0],
            format=entry.pillow,
            is_batch=False,
            **options,
        )
    if dropped:
        notes.append(f"{format} cannot keep {_listed(_NAMES[name] for name in dropped)}: dropped")
    return data, tuple(notes)


def _array(picture: "Picture", alpha: bool) -> NDArray[np.uint8]:
    """(H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) or (H, W, 4) uint8."""
    pixels = picture.pixels
    if picture.alpha is None or not alpha:
        return np.ascontiguousarray(pixels)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.concatenate((planes, picture.alpha[..., None]), axis=2)


def _fits(format: str, name: str, block: bytes, grey_becomes_rgb: bool) -> bool:
    if name == "icc" and grey_becomes_rgb:
        return False  # a GRAY profile on RGB samples makes viewers refuse the file
    if format == "jpeg" and name in ("exif", "xmp"):
        return len(block) <= _JPEG_SEGMENT - _JPEG_XMP_HEAD
    return True


def _placed(format: str, blocks: dict[str, bytes]) -> dict[str, Any]:
    """Options of Pillow's save that put the metadata blocks in."""
    options: dict[str, Any] = {}
    if "icc" in blocks:
        options["icc_profile"] = blocks["icc"]
    if "exif" in blocks:
        options["exif"] = b"Exif\0\0" + blocks["exif"]
    if format == "png":
        chunks = PngImagePlugin.PngInfo()
        if "cicp" in blocks:
            chunks.add(b"cICP", blocks["cicp"])
        if "xmp" in blocks:
            # iTXt: keyword, no compression, no language, no translated keyword, then the packet as it is
            chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + blocks["xmp"])
        options["pnginfo"] = chunks
    elif "xmp" in blocks:
        if format == "tiff":
            options["tiffinfo"] = {_TIFF_XMP: blocks["xmp"]}
        else:
            options["xmp"] = blocks["xmp"]
    return options


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
