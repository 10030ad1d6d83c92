"""Vectors of cells by matching the blocks round them, from the vectors beside them outwards (EPZS, Tourapis 2002).

What optical flow finds is the nearest minimum; blocks that move far against what is round them have another one, which
the cells beside them often know.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.codec.motion_moves_kernels import BORDER
from nvc.entropy_coding.jit import njit, primitive
from nvc.threads import spread

_STRIP = 8  # lines of cells, by one thread at a time, which do not see each other
_FAR = 1.0e30
ENOUGH = 6.0  # bits that an error is worth, of blocks that are left alone


def match(
    luma: NDArray[np.uint8], planes: NDArray[np.uint8], start: NDArray[np.int32], cell: int, worth: float
) -> NDArray[np.int32]:
    """Vectors (2, rows, columns) of cells, x then y, in quarters of a pixel, better than those of `start`.

    luma: with `cell` pixels more on each side; planes: (16, …), see nvc.codec.phases; worth: bits that a squared grey
    level is worth.
    """
    found = np.ascontiguousarray(start)

    def strip(top: int) -> None:
        _match_lines(luma, planes, found, cell, 1 / worth, top, min(top + _STRIP, found.shape[1]))

    spread(strip, range(0, found.shape[1], _STRIP))
    return found


@primitive
def _cost(luma, flat, stride, rows, columns, vx, vy, top, left, side):  # type: ignore[no-untyped-def]
    """Squared error of side × side pixels, the first at top, left."""
    y = min(max(top + (vy >> 2) + BORDER, 0), rows - side)
    x = min(max(left + (vx >> 2) + BORDER, 0), columns - side)
    at = (((vy & 3) * 4 + (vx & 3)) * rows + y) * columns + x
    total = np.int32(0)
    for u in range(side):
        for v in range(side):
            off = np.int32(luma[u, v]) - np.int32(flat[at + u * stride + v])
            total += off * off
    return float(total)


@primitive
def _bits(dx, dy):  # type: ignore[no-untyped-def]
    return 2 * np.log2(1.0 + abs(dx)) + 2 * np.log2(1.0 + abs(dy))


@njit
def _match_lines(luma, planes, found, cell, price, top, end):  # type: ignore[no-untyped-def]
    columns, flat, side = found.shape[2], planes.reshape(-1), 2 * cell
    for sweep in range(2):
        for line in range(end - top):
            i = top + line if sweep == 0 else end - 1 - line
            for column in range(columns):
                j = column if sweep == 0 else columns - 1 - column
                up, left = i * cell - cell // 2, j * cell - cell // 2  # of 2 × 2 cells, centred on this one
                window = luma[up + cell : up + cell + side, left + cell : left + cell + side]
                way = 1 if sweep == 0 else -1
                px = py = 0
                if 0 <= j - way < columns:
                    px, py = found[0, i, j - way], found[1, i, j - way]
                elif top <= i - way < end:
                    px, py = found[0, i - way, j], found[1, i - way, j]
                best, bx, by = _FAR, found[0, i, j], found[1, i, j]
                if _matched(window, flat, planes, bx, by, up, left, cell) < ENOUGH * price:
                    continue
                for n in range(10):
                    if n == 0:
                        vx, vy = bx, by
                    elif n == 9:
                        vx, vy = 0, 0
                    else:
                        k = n - 1 if n < 5 else n
                        y, x = i - 1 + k // 3, j - 1 + k % 3
                        if not (top <= y < end and 0 <= x < columns):
                            continue
                        vx, vy = found[0, y, x], found[1, y, x]
                    if n and vx == bx and vy == by:
                        continue
                    cost = _matched(window, flat, planes, vx, vy, up, left, cell)
                    cost += price * _bits(vx - px, vy - py)
                    if cost < best:
                        best, bx, by = cost, vx, vy
                for step in (16, 4, 2, 1):
                    for _ in range(3):
                        cx, cy = bx, by
                        for k in range(4):
                            vx, vy = cx + step * ((k == 0) - (k == 1)), cy + step * ((k == 2) - (k == 3))
                            cost = _matched(window, flat, planes, vx, vy, up, left, cell)
                            cost += price * _bits(vx - px, vy - py)
                            if cost < best:
                                best, bx, by = cost, vx, vy
                        if cx == bx and cy == by:
                            break
                found[0, i, j], found[1, i, j] = bx, by


@primitive
def _matched(luma, flat, planes, vx, vy, up, left, cell):  # type: ignore[no-untyped-def]
    rows, columns = planes.shape[1:]
    if cell == 8:
        return _cost(luma, flat, columns, rows, columns, vx, vy, up, left, 16)
    return _cost(luma, flat, columns, rows, columns, vx, vy, up, left, 8)
