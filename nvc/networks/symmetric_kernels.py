"""The compiled part of `symmetric`: displacement of blocks that the same motion leads to both references."""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.networks.warp_kernels import Plane

BLOCK = 8  # pixels of a level
MARGIN = 2  # pixels around a block that are compared as well
WINDOW = BLOCK + 2 * MARGIN
REACH = 64  # pixels of a level, of a displacement, either way
BORDER = REACH + MARGIN + BLOCK  # repeated pixels around a level
UNEVEN = 12  # grey levels that a pixel of difference from the block around costs
Vectors = NDArray[np.int32]


@njit(forceinline=True)
def before_share(v: int, before: int, total: int) -> int:
    """Of a displacement from reference to reference, what lies before the frame between them; halves rounded up."""
    return (2 * v * before + total) // (2 * total)


@njit(forceinline=True)
def difference(first: Plane, second: Plane, y: int, x: int, vy: int, vx: int, before: int, total: int) -> int:
    """Sum of absolute differences of the windows at a block's corner (y, x), displaced by v in all."""
    by, bx = before_share(vy, before, total), before_share(vx, before, total)
    top, left = y - MARGIN + BORDER - by, x - MARGIN + BORDER - bx
    below, right = top + vy, left + vx
    total_difference = np.int32(0)
    for i in range(WINDOW):
        one, two = first[top + i], second[below + i]
        for j in range(WINDOW):
            total_difference += abs(np.int32(one[left + j]) - np.int32(two[right + j]))
    return int(total_difference)


@njit(forceinline=True)
def _doubled(v: int) -> int:
    """A displacement of the level above in pixels of this one."""
    return min(max(2 * int(v), -REACH), REACH)


@njit
def search_rows(
    first: Plane, second: Plane, around: Vectors, start: int, before: int, total: int, top: int, out: Vectors
) -> None:
    """Fill out (rows, columns, 2), y then x: the displacements of block rows from `top` on.

    first, second: a level of both references with BORDER repeated pixels. around: (h, w, 2) of the level above, in its
    pixels; of no rows where this is the first. start: pixels that are searched either way where it is.
    """
    high, wide = around.shape[:2]
    for row in range(out.shape[0]):
        i = top + row
        for j in range(out.shape[1]):
            y, x = BLOCK * i, BLOCK * j
            py = px = 0
            if high:
                parent = around[min(i >> 1, high - 1), min(j >> 1, wide - 1)]
                py, px = _doubled(parent[0]), _doubled(parent[1])
            by, bx = py, px
            best = difference(first, second, y, x, by, bx, before, total)
            if high:
                for k in range(5):
                    vy = vx = 0
                    if k < 4:
                        near = around[
                            min(max((i >> 1) + (-1, 1, 0, 0)[k], 0), high - 1),
                            min(max((j >> 1) + (0, 0, -1, 1)[k], 0), wide - 1),
                        ]
                        vy, vx = _doubled(near[0]), _doubled(near[1])
                    if vy == by and vx == bx:
                        continue
                    cost = difference(first, second, y, x, vy, vx, before, total)
                    cost += UNEVEN * (abs(vy - py) + abs(vx - px))
                    if cost < best:
                        best, by, bx = cost, vy, vx
            else:
                for vy in range(-start, start + 1):
                    for vx in range(-start, start + 1):
                        cost = difference(first, second, y, x, vy, vx, before, total) + UNEVEN * (abs(vy) + abs(vx))
                        if cost < best:
                            best, by, bx = cost, vy, vx
            for _ in range(2):
                cy, cx = by, bx
                for vy in range(max(cy - 1, -REACH), min(cy + 1, REACH) + 1):
                    for vx in range(max(cx - 1, -REACH), min(cx + 1, REACH) + 1):
                        if vy == cy and vx == cx:
                            continue
                        cost = difference(first, second, y, x, vy, vx, before, total)
                        cost += UNEVEN * (abs(vy - py) + abs(vx - px))
                        if cost < best:
                            best, by, bx = cost, vy, vx
                if by == cy and bx == cx:
                    break
            out[row, j, 0], out[row, j, 1] = by, bx


@njit
def sixteenths_rows(first: Plane, second: Plane, before: int, total: int, top: int, out: Vectors) -> None:
    """Whole displacements in `out` (rows, columns, 2) to 1/16, by the parabola through the neighbours' differences."""
    for row in range(out.shape[0]):
        for j in range(out.shape[1]):
            y, x = BLOCK * (top + row), BLOCK * j
            vy, vx = int(out[row, j, 0]), int(out[row, j, 1])
            here = difference(first, second, y, x, vy, vx, before, total)
            for axis in range(2):
                dy, dx = 1 - axis, axis
                fits = abs(vy) + dy <= REACH and abs(vx) + dx <= REACH
                less = difference(first, second, y, x, vy - dy, vx - dx, before, total) if fits else here
                more = difference(first, second, y, x, vy + dy, vx + dx, before, total) if fits else here
                bend = less - 2 * here + more
                part = (16 * (less - more) + bend) // (2 * bend) if bend > 0 else 0
                out[row, j, axis] = 16 * (vx if axis else vy) + min(max(part, -8), 8)
