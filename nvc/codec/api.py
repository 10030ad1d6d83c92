"""The functions behind nvc.encode and nvc.decode: numpy arrays in and out."""

import math

import numpy as np
from numpy.typing import NDArray

from nvc.codec import rate_control
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture
from nvc.errors import UsageError
from nvc.media.pictures import Metadata, Picture


def encode_array(
    array: NDArray[np.uint8],
    quality: float | None,
    *,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    rdoq: int | None,
    model: str | None,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    threads: int | None,
) -> bytes:
    """See nvc.encode."""
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise UsageError("a picture is a numpy array of uint8")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise UsageError(f"a picture has shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    if sum(x is not None for x in (quality, target_size, target_bpp, target_psnr)) > 1:
        raise UsageError("give one of quality, target_size, target_bpp and target_psnr")
    with_alpha = array.ndim == 3 and array.shape[2] == 4
    picture = Picture(
        np.ascontiguousarray(array[..., :3] if with_alpha else array),
        np.ascontiguousarray(array[..., 3]) if with_alpha else None,
        Metadata(icc=icc, exif=exif, xmp=xmp),
    )
    if rdoq is not None and not 0 <= rdoq <= 3:
        raise UsageError(f"rdoq {rdoq}: 0 to 3 passes")
    if quality is not None and not 1 <= quality <= 8:
        raise UsageError(f"quality {quality:g}: 1 to 8")
    for name, target in (("target_size", target_size), ("target_bpp", target_bpp), ("target_psnr", target_psnr)):
        if target is not None and not (math.isfinite(target) and target > 0):
            raise UsageError(f"{name} {target}: a number above 0")
    _check_threads(threads)
    encoder = PictureEncoder(picture, EncodeSettings(rdoq=rdoq, model=model, threads=threads))
    if target_bpp is not None:
        target_size = int(target_bpp * picture.width * picture.height / 8)
    if target_size is not None:
        return rate_control.to_size(encoder, target_size).data
    if target_psnr is not None:
        return rate_control.to_psnr(encoder, target_psnr).data
    return encoder.encode(quality).data


def decode_array(data: bytes, *, max_pixels: int, threads: int | None) -> NDArray[np.uint8]:
    """See nvc.decode."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"an .nvc file is bytes, not {type(data).__name__}")
    _check_threads(threads)
    picture = decode_picture(data, max_pixels=max_pixels, threads=threads)
    if picture.alpha is None:
        return picture.pixels
    pixels = picture.pixels if picture.pixels.ndim == 3 else np.repeat(picture.pixels[:, :, None], 3, axis=2)
    return np.dstack([pixels, picture.alpha])


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: at least 1, or None for all cores")
