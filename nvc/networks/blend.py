"""Two predictions of a frame mixed by a weight that changes over the picture, in integers (FORMAT.md 15)."""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.frames import Frame420
from nvc.networks.warp_kernels import Plane, interpolate
from nvc.threads import spread

WEIGHT_ONE = 64  # parts that weights are given in
_ROWS = 64  # of a plane, by one thread at a time


def blend(first: Frame420, second: Frame420, weight: NDArray[np.uint8]) -> Frame420:
    """weight: (2h, 2w) of the grid of 8x8 luma pixels, the share of `second` in 1/64; bilinear between its cells."""
    planes = zip(first.planes, second.planes, strict=True)
    return Frame420(*(blend_plane(*pair, weight, chroma=number > 0) for number, pair in enumerate(planes)))


def blend_plane(first: Plane, second: Plane, weight: NDArray[np.uint8], *, chroma: bool) -> Plane:
    """One plane of it, luma or of chroma's size."""
    out = np.empty_like(first)

    def strip(top: int) -> None:
        rows = slice(top, top + _ROWS)
        _blend_rows(first[rows], second[rows], weight, int(chroma), top, out[rows])

    spread(strip, range(0, first.shape[0], _ROWS))
    return out


@njit
def _blend_rows(first, second, weight, chroma, top, out):  # type: ignore[no-untyped-def]
    shares = np.empty(out.shape[1], np.int32)
    for row in range(out.shape[0]):
        interpolate(weight, top + row, 3 - chroma, shares)
        for x in range(out.shape[1]):
            one, two = np.int32(first[row, x]), np.int32(second[row, x])
            out[row, x] = (one * np.int32(64) + (two - one) * shares[x] + np.int32(32)) >> np.int32(6)
