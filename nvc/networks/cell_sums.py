"""How far luma planes are apart, summed over each 8x8 cell of the grid: whole numbers, exact on any number of threads.

What lies beyond a frame counts as 0. For encoders.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.networks.warp import grid_shape
from nvc.networks.warp_kernels import Plane
from nvc.threads import spread

Sums = NDArray[np.int32]

_CELL = 8
_ROWS = 8  # of cells, by one thread at a time


def apart(a: Plane, b: Plane) -> tuple[Sums, Sums]:
    """Absolute and squared differences, (2h, 2w) each."""
    absolute, squared = np.zeros((2, *grid_shape(*a.shape)), np.int32)

    def strip(top: int) -> None:
        pixels = slice(_CELL * top, _CELL * (top + _ROWS))
        _apart_rows(a[pixels], b[pixels], absolute[top : top + _ROWS], squared[top : top + _ROWS])

    spread(strip, range(0, len(absolute), _ROWS))
    return absolute, squared


def leaning(luma: Plane, first: Plane, second: Plane) -> tuple[Sums, Sums, Sums]:
    """How far luma leans from the mean of two planes to the second one.

    (2h, 2w) each: sums of off·apart, apart² and off², off = 2·luma - first - second, apart = second - first.
    """
    products, squared, offs = np.zeros((3, *grid_shape(*luma.shape)), np.int32)

    def strip(top: int) -> None:
        pixels, cells = slice(_CELL * top, _CELL * (top + _ROWS)), slice(top, top + _ROWS)
        _leaning_rows(luma[pixels], first[pixels], second[pixels], products[cells], squared[cells], offs[cells])

    spread(strip, range(0, len(products), _ROWS))
    return products, squared, offs


@njit
def _apart_rows(a, b, absolute, squared):  # type: ignore[no-untyped-def]
    height, width = a.shape
    for y in range(height):
        for cell in range((width + 7) >> 3):
            far = total = np.int32(0)
            for x in range(8 * cell, min(8 * cell + 8, width)):
                off = np.int32(a[y, x]) - np.int32(b[y, x])
                far += abs(off)
                total += off * off
            absolute[y >> 3, cell] += far
            squared[y >> 3, cell] += total


@njit
def _leaning_rows(luma, first, second, products, squared, offs):  # type: ignore[no-untyped-def]
    height, width = luma.shape
    for y in range(height):
        for cell in range((width + 7) >> 3):
            product = total = far = np.int32(0)
            for x in range(8 * cell, min(8 * cell + 8, width)):
                one, two = np.int32(first[y, x]), np.int32(second[y, x])
                off = np.int32(2) * np.int32(luma[y, x]) - one - two
                product += off * (two - one)
                total += (two - one) * (two - one)
                far += off * off
            products[y >> 3, cell] += product
            squared[y >> 3, cell] += total
            offs[y >> 3, cell] += far
