"""Decoded frames of any pixel format to 8-bit YUV 4:2:0, in our own integers.

8-bit 4:2:0 (and grey) is copied, plane by plane, whatever its range: nothing is scaled. What is not 4:2:0 is reduced
from the source's own samples with one rounding: chroma averaged where it is finer and repeated where it is coarser,
n bits divided by 2^(n-8), half up. RGB is converted by nvc.media.colour. swscale only rearranges samples (packed to
planar), never computes them, except that RGB of 9 to 15 bits is widened to 16.
"""

import re
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from av import VideoFormat, VideoFrame
from numpy.typing import NDArray

from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.media.colour import RGB_TARGET, UNSTATED, Colour, rgb_to_frame

_PLANAR_YUV = re.compile(r"yuv[aj]?4[0-9]{2}p(\d+le)?")
_SUBSAMPLING = {(0, 0): "4:4:4", (1, 0): "4:2:2", (1, 1): "4:2:0", (2, 0): "4:1:1", (0, 1): "4:4:0", (2, 2): "4:1:0"}


@dataclass(frozen=True)
class PixelFormat:
    """How a pixel format becomes a Frame420.

    kind:   "yuv", "grey" or "rgb"
    bits:   of a sample
    chroma: log2 of luma samples per chroma sample, across and down
    alpha:  whether it has a plane that is dropped
    via:    format to which its samples are rearranged first; "" where its planes are read as they are
    """

    kind: str
    bits: int
    chroma: tuple[int, int]
    alpha: bool
    via: str

    @property
    def loss(self) -> str:
        """What the conversion loses, as a warning; "" for nothing."""
        lost = [f"{self.bits} bits a sample are reduced to 8"] if self.bits > 8 else []
        if self.kind == "rgb":
            lost.append("RGB is converted to YUV 4:2:0 (BT.709, limited range, unless tagged BT.2020)")
        elif self.kind == "yuv" and self.chroma != (1, 1):
            lost.append(f"chroma {_SUBSAMPLING[self.chroma]} is resampled to 4:2:0")
        if self.alpha:
            lost.append("alpha is dropped")
        return "; ".join(lost)


def pixel_format(name: str) -> PixelFormat:
    """Of libav's name of a pixel format. InputError for what is not coded (floats, Bayer, XYZ, hardware frames)."""
    format = VideoFormat(name, 64, 64)
    parts = format.components
    if not parts or format.is_bayer or name.startswith("xyz") or re.search(r"f(16|32)", name):
        raise InputError(f"pixels of format {name} are not coded")
    bits = max(part.bits for part in parts)
    alpha = any(part.is_alpha for part in parts)
    if format.is_rgb or format.has_palette:
        via = "rgb48le" if bits > 8 else "rgb24"
        return PixelFormat("rgb", bits, (0, 0), alpha, "" if name == via else via)
    if len(parts) <= 2:
        via = f"gray{bits}le" if bits > 8 else "gray"
        return PixelFormat("grey", bits, (1, 1), alpha, "" if name == via else via)
    chroma = (_log2(64 // format.chroma_width()), _log2(64 // format.chroma_height()))
    if chroma not in _SUBSAMPLING:
        raise InputError(f"pixels of format {name} are not coded")
    depth = f"{bits}le" if bits > 8 else ""
    via = "" if _PLANAR_YUV.fullmatch(name) else f"yuv{_SUBSAMPLING[chroma].replace(':', '')}p{depth}"
    return PixelFormat("yuv", bits, chroma, alpha, via)


def colour_of(frame: VideoFrame, format: PixelFormat) -> Colour:
    """Code points of what convert() makes of a frame."""
    primaries, transfer, matrix = (_code(tag) for tag in (frame.color_primaries, frame.color_trc, frame.colorspace))
    if format.kind == "rgb":
        return Colour(
            primaries if primaries != UNSTATED else RGB_TARGET.primaries,
            transfer if transfer != UNSTATED else RGB_TARGET.transfer,
            9 if primaries == 9 else RGB_TARGET.matrix,
            RGB_TARGET.full_range,
        )
    matrix = matrix or UNSTATED  # 0 says RGB, which this is not
    stated = int(frame.color_range)
    # libav's own reading: "yuvj" and grey without a tag are full range
    full = stated == 2 or frame.format.name.startswith("yuvj") or (stated == 0 and format.kind == "grey")
    return Colour(primaries, transfer, matrix, full)


def convert(frame: VideoFrame, format: PixelFormat, colour: Colour) -> Frame420:
    """A new Frame420, owning its samples. `format` and `colour` are those of the frame."""
    if format.via:
        frame = frame.reformat(format=format.via, threads=1)
    if format.kind == "rgb":
        rgb = _samples(frame, 0, 16 if format.bits > 8 else 8, channels=3)
        return rgb_to_frame(_of_8_bits(rgb), colour.matrix, colour.full_range)
    luma = _reduced(_samples(frame, 0, format.bits), 0, format.bits)
    if format.kind == "grey":
        shape = tuple(-(-side // 2) for side in luma.shape)
        return Frame420(luma, np.full(shape, 128, np.uint8), np.full(shape, 128, np.uint8))
    across, down = format.chroma
    u, v = (_chroma(_samples(frame, index, format.bits), across, down, format.bits, luma.shape) for index in (1, 2))
    return Frame420(luma, u, v)


def _code(tag: int) -> int:
    """A CICP code point that fits one byte; reserved values count as not stated."""
    return int(tag) if 0 <= int(tag) <= 255 and int(tag) != 3 else UNSTATED


def _log2(ratio: int) -> int:
    return ratio.bit_length() - 1


def _samples(frame: VideoFrame, index: int, bits: int, channels: int = 1) -> NDArray[Any]:
    """(H, W) or (H, W, channels) of one plane, uint8 or uint16: a view."""
    plane = frame.planes[index]
    dtype = np.dtype("<u2") if bits > 8 else np.dtype(np.uint8)
    rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
    samples = rows[:, : plane.width * channels * dtype.itemsize].view(dtype)
    return samples.reshape(plane.height, plane.width, channels) if channels > 1 else samples


def _of_8_bits(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB of 16 bits scaled to 0..255 and rounded (divided by 257); of 8 bits, itself."""
    return rgb if rgb.dtype == np.uint8 else ((rgb.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _chroma(plane: NDArray[Any], across: int, down: int, bits: int, luma: tuple[int, ...]) -> NDArray[np.uint8]:
    """(ceil(H/2), ceil(W/2)) of a chroma plane with 2^across x 2^down luma samples to a chroma sample."""
    summed = 0
    for axis, ratio in ((0, down), (1, across)):
        if ratio == 0:
            plane = _pairs(plane, axis)
            summed += 1
        elif ratio == 2:
            plane = np.repeat(plane, 2, axis).take(range(-(-luma[axis] // 2)), axis)
    return _reduced(plane, summed, bits)


def _pairs(plane: NDArray[Any], axis: int) -> NDArray[np.uint32]:
    """Sums of two neighbours along an axis, the last one repeated where their number is odd."""
    wide = plane.astype(np.uint32)
    if wide.shape[axis] % 2:
        wide = np.concatenate([wide, wide.take([-1], axis)], axis)
    return wide[0::2] + wide[1::2] if axis == 0 else wide[:, 0::2] + wide[:, 1::2]


def _reduced(plane: NDArray[Any], summed: int, bits: int) -> NDArray[np.uint8]:
    """8 bits of samples of `bits` bits that are sums of 2^summed."""
    shift = summed + bits - 8
    if shift <= 0:
        return np.array(plane, np.uint8)
    return np.minimum((plane.astype(np.uint32) + (1 << shift - 1)) >> shift, 255).astype(np.uint8)
