"""Interpolation filters of overlapped predictions, one of which a frame chooses (FORMAT.md 16, "Filters").

What a filter blurs in one frame stays blurred in those predicted from it: where fine texture moves, eight taps keep
what four lose. Where references are little but noise of quantisation, two take some of it away.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nvc.networks.warp_kernels import PHASES, TAPS

FILTER_BITS = 2  # of the choice


class Filter(IntEnum):
    """By its number of taps; the values are those of files."""

    FOUR = 0
    EIGHT = 1
    TWO = 2


# Of the first half of a pixel, in 1/256: interpolation by the DCT of eight samples, times a cosine that ends one sample
# beyond them. Without that window files of fine texture are as large, others 1 to 2 % larger.
_EIGHT = (
    (0, 0, 0, 256, 0, 0, 0, 0), (0, 2, -7, 255, 8, -3, 1, 0), (-1, 4, -13, 254, 16, -6, 2, 0),
    (-1, 6, -18, 251, 25, -9, 3, -1), (-2, 8, -23, 248, 34, -12, 4, -1), (-2, 9, -28, 245, 43, -15, 5, -1),
    (-2, 11, -32, 238, 53, -18, 7, -1), (-2, 12, -35, 232, 63, -21, 8, -1), (-3, 13, -38, 228, 73, -24, 9, -2),
    (-3, 14, -40, 220, 84, -27, 10, -2), (-3, 15, -42, 212, 95, -30, 11, -2), (-3, 15, -43, 205, 105, -33, 12, -2),
    (-3, 15, -44, 196, 116, -35, 13, -2), (-3, 16, -44, 188, 127, -38, 13, -3), (-3, 16, -44, 179, 137, -40, 14, -3),
    (-3, 15, -43, 168, 148, -41, 15, -3), (-3, 15, -43, 159, 159, -43, 15, -3),
)  # fmt: skip


def _eight() -> NDArray[np.int32]:
    return np.array(_EIGHT + tuple(row[::-1] for row in _EIGHT[-2:0:-1]), np.int32)


def _two() -> NDArray[np.int32]:
    near = 256 - np.arange(PHASES) * (256 // PHASES)
    return np.stack([0 * near, near, 256 - near, 0 * near], 1).astype(np.int32)


TABLES = {Filter.FOUR: TAPS, Filter.EIGHT: _eight(), Filter.TWO: _two()}
"""(PHASES, 4 or 8) int32 in 1/256; the pixel that a position is in, or just behind, is number 1 or 3."""
