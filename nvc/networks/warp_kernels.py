"""The compiled part of `warp`: rows of a prediction, sample by sample.

Units: a position in a plane is counted in 1/2^bits of its pixels, bits = 4 in luma and 5 in chroma. A displacement in
1/16 luma pixel is then the same number in either plane.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit

Plane = NDArray[np.uint8]
Row = NDArray[np.int32]
Layout = NDArray[np.int64]

PAD = 4  # repeated pixels around a plane: a clamped position reads at most 3 before it and 4 behind
PHASES = 32
ONE = np.uintp(1)
START, STRIDE, HEIGHT, WIDTH = range(4)  # of a pyramid level: its first byte, bytes from row to row, size without PAD


def _cubic_taps() -> NDArray[np.int32]:
    """(PHASES, 4): Keys' cubic with a = -3/4 at n / PHASES, in 1/256; the nearer of the middle taps takes the rest."""
    a, rows = Fraction(-3, 4), []
    for n in range(PHASES // 2 + 1):
        t = Fraction(n, PHASES)
        u = 1 - t
        before, behind, last = a * t * u**2, (a + 2) * u**3 - (a + 3) * u**2 + 1, a * t**2 * u
        rounded = [(512 * tap + 1).__floor__() // 2 for tap in (before, behind, last)]
        rows.append([rounded[0], 256 - sum(rounded), rounded[1], rounded[2]])
    return np.array(rows + [row[::-1] for row in rows[-2:0:-1]], np.int32)


TAPS = _cubic_taps()


@njit
def halve(plane: Plane) -> Plane:
    """The next pyramid level of a plane that has PAD repeated pixels around it, without such pixels of its own."""
    rows, columns = (plane.shape[0] - 2 * PAD + 1) // 2, (plane.shape[1] - 2 * PAD + 1) // 2
    out = np.empty((rows, columns), np.uint8)
    for y in range(rows):
        above, below = plane[PAD + 2 * y], plane[PAD + 2 * y + 1]
        for x in range(columns):
            i = PAD + 2 * x
            out[y, x] = (above[i] + above[i + 1] + below[i] + below[i + 1] + 2) >> 2
    return out


@njit
def warp_rows(
    pixels: Plane,
    layout: Layout,
    flow: NDArray[np.int16],
    scale: NDArray[np.uint8],
    chroma: int,
    top: int,
    out: Plane,
) -> None:
    """Fills out: (rows, W), rows of the prediction from `top` on. pixels, layout: the pyramid of the reference."""
    width = out.shape[1]
    bits, log_cell = 4 + chroma, 3 - chroma  # a grid cell is 8 luma or 4 chroma pixels wide
    dx, dy, levels = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    for row in range(out.shape[0]):
        y = top + row
        interpolate(flow[0], y, log_cell, dx)
        interpolate(flow[1], y, log_cell, dy)
        interpolate(scale, y, log_cell, levels)
        for x in range(width):
            px, py = (x << bits) + dx[x], (y << bits) + dy[x]
            level, share = levels[x] >> 4, levels[x] & 15
            if level == 0:
                value = cubic(pixels, layout, px, py, bits) << 4
            else:
                value = linear(pixels, layout, px, py, bits, level) << 4
            if share:
                value += (linear(pixels, layout, px, py, bits, level + 1) - (value >> 4)) * share
            out[row, x] = min(max((value + (1 << 19)) >> 20, 0), 255)


@njit
def interpolate(field: NDArray, y: int, log_cell: int, out: Row) -> None:
    """Fills out with row y of a field (2h, 2w) of the grid: bilinear between cell centres, halves rounded up."""
    rows, columns = field.shape
    cell = 1 << log_cell
    position = 2 * y + 1 - cell  # in 1/(2 cell) of a cell, from the centre of the first
    row, share = position >> (log_cell + 1), np.int32(position & (2 * cell - 1))
    above, below = field[max(row, 0)], field[min(row + 1, rows - 1)]
    mixed = np.empty(columns + 2, np.int32)
    for column in range(columns):
        mixed[column + 1] = np.int32(above[column]) * (np.int32(2 * cell) - share) + np.int32(below[column]) * share
    mixed[0], mixed[columns + 1] = mixed[1], mixed[columns]
    for column in range(columns + 1):  # the pixels between the centres of cells column - 1 and column
        first = column * cell - (cell >> 1)
        step = mixed[column + 1] - mixed[column]
        start = np.int32(mixed[column] * np.int32(2 * cell) + step + np.int32(2 * cell * cell))
        for i in range(max(0, -first), min(cell, out.shape[0] - first)):
            out[first + i] = np.int32(start + np.int32(2 * i) * step) >> np.int32(2 * log_cell + 2)


@njit(forceinline=True)
def cubic(pixels: Plane, layout: Layout, px: int, py: int, bits: int) -> int:
    """Level 0 at a position, exact, in 1/2^16."""
    px = min(max(px, -2 << bits), (layout[0, WIDTH] + 1) << bits)  # beyond, all taps read the border pixel
    py = min(max(py, -2 << bits), (layout[0, HEIGHT] + 1) << bits)
    mask = (1 << bits) - 1
    stride = np.uintp(layout[0, STRIDE])
    at = np.uintp(((py >> bits) + PAD) * layout[0, STRIDE] + (px >> bits) + PAD)
    if (px | py) & mask == 0:
        return int(np.int32(pixels[at])) << 16
    tx, ty = np.uintp((px & mask) << (5 - bits)), np.uintp((py & mask) << (5 - bits))
    total = np.int32(0)
    at -= stride
    for i in range(4):
        across = np.int32(
            TAPS[tx, 0] * np.int32(pixels[at - ONE])
            + TAPS[tx, 1] * np.int32(pixels[at])
            + TAPS[tx, 2] * np.int32(pixels[at + ONE])
            + TAPS[tx, 3] * np.int32(pixels[at + ONE + ONE])
        )
        total = np.int32(total + TAPS[ty, np.uintp(i)] * across)
        at += stride
    return int(total)


@njit(forceinline=True)
def linear(pixels: Plane, layout: Layout, px: int, py: int, bits: int, level: int) -> int:
    """Level 1, 2 or 3 at a position of level 0, exact, in 1/2^16."""
    half, bits = 1 << (bits - 1), bits + level
    qx = min(max(px + half - (half << level), -1 << bits), layout[level, WIDTH] << bits)
    qy = min(max(py + half - (half << level), -1 << bits), layout[level, HEIGHT] << bits)
    stride = np.uintp(layout[level, STRIDE])
    at = np.uintp(layout[level, START] + ((qy >> bits) + PAD) * layout[level, STRIDE] + (qx >> bits) + PAD)
    one = 1 << bits
    fx, fy = qx & (one - 1), qy & (one - 1)
    above = np.int32(pixels[at]) * (one - fx) + np.int32(pixels[at + ONE]) * fx
    at += stride
    below = np.int32(pixels[at]) * (one - fx) + np.int32(pixels[at + ONE]) * fx
    return (above * (one - fy) + below * fy) << (16 - 2 * bits)
