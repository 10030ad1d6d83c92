"""Luma planes at every quarter of a pixel, for encoders that try many vectors.

Sixteen planes, one for each phase: what a vector predicts of a block is then a rectangle of one of them.
"""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nvc.codec.motion_moves_kernels import BORDER
from nvc.networks.filters import TABLES, Filter
from nvc.networks.warp_kernels import Plane
from nvc.threads import spread

QUARTERS = 4
_ONE = 256  # in which taps are given


def phases(planes: Sequence[Plane], kind: Filter = Filter.FOUR) -> NDArray[np.uint8]:
    """(planes, 16, rows, columns), that of phase y, x in quarters at 4y + x, BORDER pixels more on each side.

    Interpolated as motion compensation does it, but for the rounding.
    """
    taps = [TABLES[kind][8 * n].astype(np.float32) / _ONE for n in range(QUARTERS)]
    centre = len(taps[0]) // 2 - 1
    padded = [np.pad(plane, BORDER, mode="edge") for plane in planes]
    found = np.empty((len(planes), QUARTERS * QUARTERS, *padded[0].shape), np.uint8)

    def work(which: tuple[int, int]) -> None:
        plane, y = which
        for x in range(QUARTERS):
            out = found[plane, QUARTERS * y + x]
            cv2.sepFilter2D(padded[plane], -1, taps[x], taps[y], out, (centre, centre), 0, cv2.BORDER_REPLICATE)

    spread(work, itertools.product(range(len(planes)), range(QUARTERS)))
    return found
