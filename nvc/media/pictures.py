"""Files to pictures: 8-bit RGB or grey, upright, alpha apart, metadata kept; one warning for each loss.

Pixels are read through imageio's Pillow plug-in, metadata through Pillow. What Pillow accepts although it is
damaged, or cuts without a word, is looked up in the bytes (picture_probe).
"""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from nvc.errors import InputError, LimitError
from nvc.media.picture_metadata import Metadata, collect
from nvc.media.picture_probe import Probe, probe
from nvc.media.picture_writer import encode_picture, format_of, formats, write_picture
from nvc.media.pillow_guard import guarded, reason

__all__ = [
    "Metadata",
    "Picture",
    "encode_picture",
    "format_of",
    "formats",
    "read_picture",
    "write_picture",
]

UInt8Array = NDArray[np.uint8]

MAX_PIXELS = 1 << 28
MAX_FILE = 1 << 31  # bytes; 2^28 pixels as plain 16-bit RGB are 1.5 * 2^30

# Formats that Pillow parses by itself (an MPO begins as a JPEG). Not in the list: EPS, which would start Ghostscript,
# and formats that only other programs' plug-ins can read.
_READABLE = (
    *("PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB"),
    *("PPM", "JPEG2000", "TGA", "ICO", "PCX", "SGI", "QOI", "PSD"),
)

# Files whose further "frames" are no animation: layers of a PSD, previews of a camera's MPO.
_STILL = ("PSD", "MPO")

# Pillow mode -> mode read, without and with transparent palette entries
_TARGETS = {
    "1": ("L", "L"),
    "L": ("L", "L"),
    "LA": ("LA", "LA"),
    "La": ("LA", "LA"),
    "P": ("RGB", "RGBA"),
    "PA": ("RGBA", "RGBA"),
    "RGB": ("RGB", "RGB"),
    "RGBX": ("RGB", "RGB"),
    "RGBA": ("RGBA", "RGBA"),
    "RGBa": ("RGBA", "RGBA"),
    "YCbCr": ("RGB", "RGB"),
    "HSV": ("RGB", "RGB"),
    "CMYK": ("RGB", "RGB"),
    "LAB": ("RGB", "RGB"),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    pixels:   (H, W, 3) uint8 RGB, or (H, W) uint8 grey
    alpha:    (H, W) uint8, 255 = opaque, not premultiplied; None where everything is opaque
    metadata: blocks that go with it
    warnings: one line each for what reading lost
    """

    pixels: UInt8Array
    alpha: UInt8Array | None = None
    metadata: Metadata = field(default_factory=Metadata)
    warnings: tuple[str, ...] = ()

    @property
    def grey(self) -> bool:
        """Whether it has one plane."""
        return self.pixels.ndim == 2

    @property
    def height(self) -> int:
        """Rows, in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns, in pixels."""
        return int(self.pixels.shape[1])


def read_picture(
    source: Path | bytes, *, strict: bool = False, first_frame: bool = False, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Read a picture file, by its content and not its name.

    source:      a path, or the bytes of a file
    strict:      refuse what would lose bits or change colours (more than 8 bits, CMYK, Lab) instead of warning
    first_frame: take the first frame of an animation or the first page, with a warning, instead of refusing
    Raises InputError (unreadable, unsupported, damaged, cut), LimitError (more than max_pixels, too large a file).
    """
    data = source if isinstance(source, bytes) else _read_file(source)
    if not data:
        raise InputError("empty file")
    notes: list[str] = []
    with guarded(InputError, notes), _open(data) as image:
        picture = _read(image, data, notes, strict=strict, first_frame=first_frame, max_pixels=max_pixels)
    return replace(picture, warnings=tuple(dict.fromkeys(notes)))


def _open(data: bytes) -> Image.Image:
    Image.init()
    known = [name for name in _READABLE if name in Image.OPEN]  # a Pillow without libavif knows no AVIF
    return Image.open(io.BytesIO(data), formats=known)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(reason(error)) from error
    if len(data) > MAX_FILE:
        raise LimitError(f"file of more than {MAX_FILE} bytes")
    return data


def _read(
    image: Image.Image, data: bytes, notes: list[str], *, strict: bool, first_frame: bool, max_pixels: int
) -> Picture:
    width, height = image.size
    if width * height > max_pixels:
        raise LimitError(
            f"{width}x{height} is {width * height} pixels, more than the limit of {max_pixels} (--max-pixels)"
        )
    frames = 1 if image.format in _STILL else getattr(image, "n_frames", 1)
    if frames > 1:
        if not first_frame:
            raise InputError(f"holds {frames} frames or pages, not one picture (--first-frame takes the first)")
        notes.append(f"only the first of {frames} frames or pages is coded")
    found = probe(image, data)
    notes.extend(found.notes)
    loss = _loss(image, found)
    if loss:
        if strict:
            raise InputError(f"{loss} (refused by --strict)")
        notes.append(loss)
    planes, alpha = _planes(image, data, found)
    metadata, orientation = collect(image, found, grey=planes.ndim == 2, notes=notes)
    pixels = np.ascontiguousarray(turn(planes, orientation))
    if alpha is not None:
        alpha = None if alpha.min() == 255 else np.ascontiguousarray(turn(alpha, orientation))
    return Picture(pixels, alpha, metadata)


def turn(plane: UInt8Array, orientation: int) -> UInt8Array:
    """Pixels (H, W, ...) stored with an Exif Orientation 1..8, made upright (a view)."""
    if orientation in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return plane


def _loss(image: Image.Image, found: Probe) -> str:
    """What converting to 8-bit RGB or grey loses, as a warning; "" for nothing. InputError for what is not coded."""
    mode = image.mode
    if mode == "F" or (mode == "I" and found.bits > 16):
        raise InputError("floating-point or 32-bit samples are not coded: make an 8-bit picture first")
    if mode not in _TARGETS and not _is_grey16(mode):
        raise InputError(f"pictures of Pillow mode {mode!r} are not coded")
    if mode == "CMYK":
        return "CMYK is converted to sRGB" + (", its ICC profile is dropped" if "icc_profile" in image.info else "")
    if mode == "LAB":
        return "CIELab is converted to sRGB"
    if found.bits > 8 or _is_grey16(mode):
        return f"{max(found.bits, 9) if found.bits > 8 else 16} bits a sample are reduced to 8"
    return ""


def _is_grey16(mode: str) -> bool:
    return mode == "I" or mode.startswith("I;16")


def _planes(image: Image.Image, data: bytes, found: Probe) -> tuple[UInt8Array, UInt8Array | None]:
    """(pixels (H, W, 3) or (H, W), alpha (H, W) or None), uint8, as stored (TIFF: upright)."""
    if _is_grey16(image.mode):
        return _grey16(image, data, found)
    if image.mode in ("CMYK", "LAB"):
        return _colour_managed(image), None
    opaque, transparent = _TARGETS[image.mode]
    key = _key(image, found)
    indexed = image.mode == "P" and ("transparency" in image.info or _palette_mode(image) == "RGBA")
    samples = _pixels(image, data, transparent if indexed else opaque).astype(np.uint8, copy=False)
    if key is not None:
        equal = samples == key
        return samples, _opaque_where_not(equal.all(axis=2) if equal.ndim == 3 else equal)
    if samples.ndim == 2:
        return samples, None
    if samples.shape[2] == 2:
        return samples[..., 0], samples[..., 1]
    if samples.shape[2] == 4:
        return (samples[..., 0] if found.grey_alpha else samples[..., :3]), samples[..., 3]
    return samples, None


def _key(image: Image.Image, found: Probe) -> UInt8Array | None:
    """The transparent sample (1,) or colour (3,) of a picture without palette, scaled as Pillow scales samples.

    Pillow itself compares scaled samples with the key as it stands in the file, which fails for 1, 2, 4 and 16 bits.
    """
    key = image.info.get("transparency")
    if image.mode not in ("1", "L", "RGB") or not isinstance(key, int | tuple):
        return None
    raw = np.atleast_1d(np.array(key, np.int64))
    if image.mode == "1":
        return np.where(raw == 0, 0, 255).astype(np.uint8)
    if found.bits > 8:
        return (raw >> found.bits - 8).astype(np.uint8)  # Pillow keeps the high byte
    return (raw * 255 // ((1 << found.bits) - 1)).astype(np.uint8)


def _palette_mode(image: Image.Image) -> str:
    return image.palette.mode if image.palette is not None else ""


def _opaque_where_not(transparent: NDArray[np.bool_]) -> UInt8Array:
    return np.where(transparent, 0, 255).astype(np.uint8)


def _pixels(image: Image.Image, data: bytes, mode: str | None) -> NDArray[np.generic]:
    """Samples of the first frame in a Pillow mode, through imageio.

    imageio looks at the Exif of each file that it reads and so fails on good pixels with bad Exif; those are read
    with Pillow alone.
    """
    try:
        image.getexif()
    except Exception:  # whatever a bad block makes Pillow raise; picture_metadata warns of it
        return np.asarray(image.convert(mode) if mode else image)
    return np.asarray(iio.imread(data, plugin="pillow", index=0, mode=mode))


def _grey16(image: Image.Image, data: bytes, found: Probe) -> tuple[UInt8Array, UInt8Array | None]:
    """Grey of 9 to 16 bits, scaled to 0..255 and rounded (16 bits: divided by 257)."""
    raw = _pixels(image, data, None).astype(np.uint32)
    top = (1 << found.bits) - 1 if image.format == "TIFF" and 8 < found.bits < 16 else 0xFFFF
    grey = ((np.minimum(raw, top) * 255 + top // 2) // top).astype(np.uint8)
    key = image.info.get("transparency")
    alpha = _opaque_where_not(raw == key) if isinstance(key, int) else None
    return (np.subtract(255, grey, dtype=np.uint8) if found.white_is_zero else grey), alpha


def _colour_managed(image: Image.Image) -> UInt8Array:
    """CMYK or Lab as sRGB: through the ICC profile of the file, else by Pillow's plain formula (Lab: by lcms)."""
    srgb = ImageCms.createProfile("sRGB")
    icc = image.info.get("icc_profile")
    image.load()
    try:
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif icc:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        else:
            return np.asarray(image.convert("RGB"))
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except ImageCms.PyCMSError:
        if image.mode == "LAB":
            raise
        return np.asarray(image.convert("RGB"))
    if converted is None:
        raise InputError("colour conversion failed")
    return np.asarray(converted)
