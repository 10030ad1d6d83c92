"""What the codes of a frame mean, and frames to RGB and back, in integers.

Code points are those of CICP (ITU-T H.273), 2 = not stated. Luma weights Kr, Kb per matrix:

    BT.709 (1): 0.2126, 0.0722    BT.601 (5, 6): 0.299, 0.114    BT.2020 non-constant (9): 0.2627, 0.0593
    FCC (4): 0.30, 0.11           SMPTE 240M (7): 0.212, 0.087   (H.273, table 4)

Coefficients are rounded to 1/65536; each sample of the result is rounded once, half up, and clamped. Chroma lies in
the middle of its four luma samples: it is their mean, and comes back by weights 9, 3, 3, 1 of the nearest four.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420

UInt8Array = NDArray[np.uint8]

UNSTATED = 2

_LUMA_WEIGHTS = {
    1: ("0.2126", "0.0722"),
    4: ("0.30", "0.11"),
    5: ("0.299", "0.114"),
    6: ("0.299", "0.114"),
    7: ("0.212", "0.087"),
    9: ("0.2627", "0.0593"),
}
_NAMES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}

_SHIFT = 16
_ONE = 1 << _SHIFT


@dataclass(frozen=True)
class Colour:
    """primaries, transfer, matrix: code points, 2 = the source does not say; full_range: Y in 0..255, not 16..235."""

    primaries: int = UNSTATED
    transfer: int = UNSTATED
    matrix: int = UNSTATED
    full_range: bool = False

    def matrix_for(self, width: int, height: int) -> int:
        """Matrix to convert with: the stated one where it has luma weights, else what players take for the size.

        That is BT.709 from 1280 pixels on the long side or more than 576 on the short side, else BT.601.
        """
        if self.matrix in _LUMA_WEIGHTS:
            return self.matrix
        if self.primaries == 9:
            return 9
        return 1 if max(width, height) >= 1280 or min(width, height) > 576 else 6

    def guess(self, width: int, height: int) -> str:
        """One line naming the matrix that is assumed; "" where the source states one."""
        if self.matrix in _LUMA_WEIGHTS:
            return ""
        why = (
            "states no colour matrix" if self.matrix == UNSTATED else f"has colour matrix {self.matrix}, not known here"
        )
        name = _NAMES[self.matrix_for(width, height)]
        return f"{why}: taken as {name}, {'full' if self.full_range else 'limited'} range"


# What RGB sources become.
RGB_TARGET = Colour(primaries=1, transfer=13, matrix=1, full_range=False)


def frame_to_rgb(frame: Frame420, matrix: int, full_range: bool) -> UInt8Array:
    """(H, W, 3) full-range RGB of a frame. matrix: a code point with luma weights (see above), else ValueError."""
    kr, kb = _weights(matrix)
    luma_gain, chroma_gain, offset = _gains(full_range)
    height, width = frame.height, frame.width
    # 16ths of a code, so that chroma is not rounded on its way up; the largest sum is below 2^30
    luma = (frame.y.astype(np.int32) - offset) * (16 * _fixed(1 / luma_gain)) + (1 << _SHIFT + 3)
    cb = _upsampled(frame.u, height, width) - 16 * 128
    cr = _upsampled(frame.v, height, width) - 16 * 128
    kg = 1 - kr - kb
    red = luma + cr * _fixed(2 * (1 - kr) / chroma_gain)
    blue = luma + cb * _fixed(2 * (1 - kb) / chroma_gain)
    green = luma - cb * _fixed(2 * (1 - kb) * kb / kg / chroma_gain) - cr * _fixed(2 * (1 - kr) * kr / kg / chroma_gain)
    out = np.empty((height, width, 3), np.uint8)
    for channel, plane in enumerate((red, green, blue)):
        out[..., channel] = np.clip(plane >> _SHIFT + 4, 0, 255)
    return out


def rgb_to_frame(rgb: UInt8Array, matrix: int, full_range: bool) -> Frame420:
    """Frame of (H, W, 3) full-range RGB. matrix: a code point with luma weights (see above), else ValueError."""
    kr, kb = _weights(matrix)
    luma_gain, chroma_gain, offset = _gains(full_range)
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    # Green takes what the others leave, so that grey has no colour and white is exact.
    of_red, of_blue = _fixed(kr * luma_gain), _fixed(kb * luma_gain)
    of_green = _fixed(luma_gain) - of_red - of_blue
    luma = (of_red * red + of_green * green + of_blue * blue + (offset << _SHIFT) + _ONE // 2) >> _SHIFT
    red, green, blue = (_sums_of_four(channel) for channel in (red, green, blue))
    half = _fixed(chroma_gain / 2)
    planes = []
    for red_weight, blue_weight in (
        (-_fixed(chroma_gain / 2 * kr / (1 - kb)), half),  # Cb
        (half, -_fixed(chroma_gain / 2 * kb / (1 - kr))),  # Cr
    ):
        weighted = red_weight * red + blue_weight * blue - (red_weight + blue_weight) * green
        codes = (weighted + (128 << _SHIFT + 2) + (1 << _SHIFT + 1)) >> _SHIFT + 2
        planes.append(np.clip(codes, 0, 255).astype(np.uint8))
    return Frame420(np.clip(luma, 0, 255).astype(np.uint8), *planes)


def _weights(matrix: int) -> tuple[Fraction, Fraction]:
    if matrix not in _LUMA_WEIGHTS:
        raise ValueError(f"colour matrix {matrix} has no luma weights here")
    kr, kb = _LUMA_WEIGHTS[matrix]
    return Fraction(kr), Fraction(kb)


def _gains(full_range: bool) -> tuple[Fraction, Fraction, int]:
    """Codes of luma and of chroma per step of RGB, and the code of black."""
    return (Fraction(1), Fraction(1), 0) if full_range else (Fraction(219, 255), Fraction(224, 255), 16)


def _fixed(value: Fraction) -> int:
    """Nearest multiple of 1/65536, as an integer."""
    return (2 * value.numerator * _ONE + value.denominator) // (2 * value.denominator)


def _upsampled(chroma: UInt8Array, height: int, width: int) -> NDArray[np.int32]:
    """(height, width): 16 times the chroma at each luma sample."""
    wide = chroma.astype(np.int32)
    for axis, size in ((0, height), (1, width)):
        before = np.concatenate([wide.take([0], axis), wide], axis)[tuple(_all_but_last(axis))]
        after = np.concatenate([wide, wide.take([-1], axis)], axis)[tuple(_all_but_first(axis))]
        both = np.stack([3 * wide + before, 3 * wide + after], axis + 1)
        shape = list(wide.shape)
        shape[axis] *= 2
        wide = both.reshape(shape).take(range(size), axis)
    return wide


def _all_but_last(axis: int) -> list[slice]:
    return [slice(-1) if a == axis else slice(None) for a in range(2)]


def _all_but_first(axis: int) -> list[slice]:
    return [slice(1, None) if a == axis else slice(None) for a in range(2)]


def _sums_of_four(plane: NDArray[np.int32]) -> NDArray[np.int32]:
    """(ceil(H/2), ceil(W/2)): sums over 2x2 samples, the last row and column repeated where a size is odd."""
    padded = np.pad(plane, [(0, side % 2) for side in plane.shape], mode="edge")
    rows = padded[0::2] + padded[1::2]
    return rows[:, 0::2] + rows[:, 1::2]
