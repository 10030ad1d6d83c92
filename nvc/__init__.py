"""nvc: a neural codec for pictures and video whose files decode to the same pixels on every machine.

    data = nvc.encode(array, quality=4.0)      # (H, W, 3), (H, W) or (H, W, 4) uint8 -> bytes of an .nvc file
    array = nvc.decode(data)

The commands nvc-encode, nvc-decode and nvc-info are thin over the same code. Importing nvc loads nothing heavy.
"""

from typing import TYPE_CHECKING

from nvc.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["__version__", "decode", "encode"]


def encode(
    array: "NDArray[np.uint8]",
    quality: float | None = None,
    *,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    rdoq: int | None = None,
    model: str | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    threads: int | None = None,
) -> bytes:
    """Code a picture.

    array: (H, W, 3) RGB, (H, W) grey, or (H, W, 4) RGB with alpha (kept losslessly); uint8.
    quality: 1.0 to 8.0 (default 4.0); or one of target_size in bytes, target_bpp in bits per pixel, target_psnr in
    dB. rdoq: passes of rate-distortion optimisation, 0 to 3 (default 2). icc, exif, xmp: raw metadata to keep in the
    file. model: name of an installed model, or path of a weight file. threads: None for all cores; never changes bytes.
    Returns the bytes of an .nvc file. Raises nvc.errors.UsageError, TargetError or InputError.
    """
    from nvc.codec.api import encode_array

    return encode_array(
        array, quality, target_size=target_size, target_bpp=target_bpp, target_psnr=target_psnr, rdoq=rdoq,
        model=model, icc=icc, exif=exif, xmp=xmp, threads=threads,
    )  # fmt: skip


def decode(data: bytes, *, max_pixels: int = 1 << 28, threads: int | None = None) -> "NDArray[np.uint8]":
    """Decode an .nvc picture: (H, W, 3), (H, W) or, with alpha, (H, W, 4) uint8.

    threads: None for all cores; never changes pixels.
    Raises nvc.errors.BadStream for a damaged or unknown file, LimitError above `max_pixels`.
    """
    from nvc.codec.api import decode_array

    return decode_array(data, max_pixels=max_pixels, threads=threads)
