"""What is measured on a decoded picture: PSNR, MS-SSIM and bits per pixel, as docs/evaluation.md defines them."""

import math

import numpy as np
from numpy.typing import NDArray

from nvc.errors import InputError, NvcError, UsageError

UInt8Array = NDArray[np.uint8]

MS_SSIM_SIDE = 161
"""Shortest side, in pixels, that MS-SSIM takes: its 11-tap window must fit after four halvings."""


def psnr(a: UInt8Array, b: UInt8Array) -> float:
    """Peak signal-to-noise ratio in dB: 10·log10(255²/MSE), the MSE over all pixels and channels together.

    a, b: uint8 of one shape, (H, W, 3) or (H, W). Equal arrays give infinity.
    The sum of squares is an integer, so the result does not depend on the order of summation.
    """
    _check(a, b)
    difference = a.astype(np.int32) - b.astype(np.int32)
    squares = int(np.sum(difference * difference, dtype=np.int64))
    return math.inf if squares == 0 else 10.0 * math.log10(255.0**2 * a.size / squares)


def ms_ssim(a: UInt8Array, b: UInt8Array) -> float:
    """Multi-scale structural similarity, 0..1, of RGB pictures: each channel by itself, then the mean of the three.

    a, b: uint8 of one shape, (H, W, 3) or (H, W), no side shorter than MS_SSIM_SIDE pixels (InputError).
    Five scales with the weights of Wang, Simoncelli and Bovik (2003), as pytorch_msssim computes them in float32.
    Raises NvcError if that package is not installed.
    """
    _check(a, b)
    if min(a.shape[:2]) < MS_SSIM_SIDE:
        raise InputError(f"MS-SSIM needs sides of at least {MS_SSIM_SIDE} pixels, not {a.shape[1]}x{a.shape[0]}")
    import torch

    try:
        import pytorch_msssim
    except ImportError as error:
        raise NvcError("MS-SSIM needs pytorch_msssim: install nvc with the extra `research`") from error

    def planes(picture: UInt8Array) -> torch.Tensor:
        channels = np.atleast_3d(picture).transpose(2, 0, 1)[None]  # (1, C, H, W)
        return torch.from_numpy(np.ascontiguousarray(channels)).float()

    with torch.inference_mode():
        return float(pytorch_msssim.ms_ssim(planes(a), planes(b), data_range=255))


def ms_ssim_db(value: float) -> float:
    """MS-SSIM on the scale on which its curves are drawn and compared: −10·log10(1 − value), dB."""
    return math.inf if value >= 1.0 else -10.0 * math.log10(1.0 - value)


def bpp(size: int, width: int, height: int) -> float:
    """Bits per pixel of a whole file of `size` bytes: header, metadata and checksums count."""
    return 8.0 * size / (width * height)


def as_rgb(picture: UInt8Array) -> UInt8Array:
    """(H, W) or (H, W, 1) grey as (H, W, 3); a colour picture is returned as it is, alpha is cut off.

    Codecs differ in what they hand back for a grey picture; measured as RGB, all give the PSNR of the grey plane.
    """
    if picture.ndim == 2:
        picture = picture[:, :, None]
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[:, :, :3]


def _check(a: UInt8Array, b: UInt8Array) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise UsageError(f"pictures are compared as 8-bit samples, not {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.size == 0:
        raise UsageError(f"pictures of different or no size cannot be compared: {a.shape} and {b.shape}")
