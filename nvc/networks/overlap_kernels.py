"""The compiled part of `overlap`: a prediction square by square, each between the centres of four cells of the grid.

All samples of a square have the same four vectors, so that each of these is one filter across and one down, over rows
of eight samples (chroma: four) that the compiler does at once. Filters are of four taps or of eight
(nvc.networks.filters).
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit, primitive
from nvc.networks.warp_kernels import HEIGHT, PAD, STRIDE, WIDTH, Layout, Plane

_REACH = 7  # pixels that a filter of eight taps sees beside its own
_SIDE = 8  # samples of a square of luma, both ways
_CENTRE = np.int32(256)  # of a filter that gives the pixel itself


@njit
def overlapped_rows(
    pixels: Plane, layout: Layout, flow: NDArray[np.int16], taps: NDArray[np.int32], chroma: int, first: int, end: int,
    out: Plane,
) -> None:  # fmt: skip
    """Fills the samples of rows first … end - 1 of squares that are inside of out; row k is between cells k - 1 and k.

    pixels, layout: the reference, a pyramid of one level; flow: (2, rows, columns) in 1/16 luma pixel; taps: (32, 4 or
    8) of the filter; out: the plane.
    """
    cell = _SIDE >> chroma
    rows, columns = flow.shape[1:]
    across = np.empty(_SIDE * (_SIDE + _REACH), np.int32)
    made = np.empty((4, _SIDE * _SIDE), np.int32)
    border = np.empty((_SIDE + _REACH) ** 2, np.uint8)
    vectors, where = np.empty(4, np.int64), np.empty(4, np.int64)
    for square in range(first, end):
        above, below = max(square - 1, 0), min(square, rows - 1)
        top = square * cell - cell // 2
        for column in range(columns + 1):
            left = column * cell - cell // 2
            before, behind = max(column - 1, 0), min(column, columns - 1)
            vectors[0] = _vector(flow, above, before)
            vectors[1] = _vector(flow, above, behind)
            vectors[2] = _vector(flow, below, before)
            vectors[3] = _vector(flow, below, behind)
            distinct = False
            for k in range(4):
                where[k] = k
                for other in range(k):
                    if vectors[other] == vectors[k]:
                        where[k] = other
                        break
                if where[k] < k:
                    continue
                distinct = distinct or k > 0
                dy, dx = vectors[k] >> 16, np.int64(np.int16(vectors[k]))
                # Numbers written out, so that the compiler unrolls what goes by them.
                if chroma and taps.shape[1] == 4:
                    _predict(pixels, layout, top, left, dx, dy, taps, 4, 5, 4, border, across, made[k])
                elif chroma:
                    _predict(pixels, layout, top, left, dx, dy, taps, 8, 5, 4, border, across, made[k])
                elif taps.shape[1] == 4:
                    _predict(pixels, layout, top, left, dx, dy, taps, 4, 4, 8, border, across, made[k])
                else:
                    _predict(pixels, layout, top, left, dx, dy, taps, 8, 4, 8, border, across, made[k])
            if distinct and chroma:
                _mix(made[where[0]], made[where[1]], made[where[2]], made[where[3]], made[0], 4, 12)
            elif distinct:
                _mix(made[where[0]], made[where[1]], made[where[2]], made[where[3]], made[0], 8, 14)
            whole = top >= 0 and left >= 0 and top + cell <= out.shape[0] and left + cell <= out.shape[1]
            if whole and chroma:
                _show(made[0], out, top, left, 4, distinct)
            elif whole:
                _show(made[0], out, top, left, 8, distinct)
            else:
                half, shift = (0, 0) if distinct else (32, 6)
                for i in range(max(0, -top), min(cell, out.shape[0] - top)):
                    for j in range(max(0, -left), min(cell, out.shape[1] - left)):
                        out[top + i, left + j] = min(max((made[0, i * cell + j] + half) >> shift, 0), 255)


@primitive
def _vector(flow, row, column):  # type: ignore[no-untyped-def]
    """Both of its numbers in one: y × 2^16, and x as 16 bits."""
    return (np.int64(flow[1, row, column]) << 16) | (np.int64(flow[0, row, column]) & 0xFFFF)


@primitive
def _predict(pixels, layout, top, left, dx, dy, taps, count, bits, cell, border, across, out):  # type: ignore[no-untyped-def]
    """cell × cell samples by one vector, in 1/64. count: of taps."""
    high, wide, stride = layout[0, HEIGHT], layout[0, WIDTH], layout[0, STRIDE]
    before = count // 2 - 1
    y, x = top + (dy >> bits) - before, left + (dx >> bits) - before
    mask, finer = (1 << bits) - 1, 5 - bits
    ty, tx = np.uintp((dy & mask) << finer), np.uintp((dx & mask) << finer)
    reach = cell + count - 1
    if y >= -PAD and x >= -PAD and y + reach <= high + PAD and x + reach <= wide + PAD:
        at = np.uintp((y + PAD) * stride + x + PAD)
        _filter(pixels, at, np.uintp(stride), taps, ty, tx, count, cell, across, out)
        return
    for i in range(reach):
        at = (min(max(y + i, 0), high - 1) + PAD) * stride + PAD
        for j in range(reach):
            border[i * reach + j] = pixels[at + min(max(x + j, 0), wide - 1)]
    _filter(border, np.uintp(0), np.uintp(reach), taps, ty, tx, count, cell, across, out)


@primitive
def _filter(pixels, at, stride, taps, ty, tx, count, cell, across, out):  # type: ignore[no-untyped-def]
    """pixels: the first of (cell + count - 1)² stands at `at`."""
    before = np.uintp(count // 2 - 1)
    if tx == 0:
        at += before
        for i in range(cell + count - 1):
            for j in range(cell):
                across[np.uintp(i * cell + j)] = np.int32(_CENTRE * np.int32(pixels[at + np.uintp(j)]))
            at += stride
    else:
        for i in range(cell + count - 1):
            for j in range(cell):
                k = at + np.uintp(j)
                total = np.int32(taps[tx, 0] * np.int32(pixels[k]))
                for n in range(1, count):
                    total = np.int32(total + np.int32(taps[tx, n] * np.int32(pixels[k + np.uintp(n)])))
                across[np.uintp(i * cell + j)] = total
            at += stride
    if ty == 0:
        first = before * np.uintp(cell)
        for k in range(cell * cell):
            total = np.int32(np.int32(512) + np.int32(_CENTRE * across[first + np.uintp(k)]))
            out[np.uintp(k)] = np.int32(total >> np.int32(10))
        return
    for k in range(cell * cell):
        total = np.int32(512)
        for n in range(count):
            total = np.int32(total + np.int32(taps[ty, n] * across[np.uintp(k + n * cell)]))
        out[np.uintp(k)] = np.int32(total >> np.int32(10))


@primitive
def _mix(a, b, c, d, out, cell, shift):  # type: ignore[no-untyped-def]
    """Four predictions of a square by their distances, in grey levels; out may be one of them."""
    half = np.int32(np.int32(1) << np.int32(shift - 1))
    for i in range(cell):
        down = np.int32(2 * i + 1)
        up = np.int32(2 * cell - 1 - 2 * i)
        for j in range(cell):
            k = np.uintp(i * cell + j)
            right = np.int32(2 * j + 1)
            left = np.int32(2 * cell - 1 - 2 * j)
            over = np.int32(np.int32(a[k] * left) + np.int32(b[k] * right))
            under = np.int32(np.int32(c[k] * left) + np.int32(d[k] * right))
            total = np.int32(np.int32(over * up) + np.int32(under * down))
            out[k] = np.int32(np.int32(total + half) >> np.int32(shift))


@primitive
def _show(made, out, top, left, cell, mixed):  # type: ignore[no-untyped-def]
    half, shift = (np.int32(0), np.int32(0)) if mixed else (np.int32(32), np.int32(6))
    for i in range(cell):
        for j in range(cell):
            value = np.int32(np.int32(made[np.uintp(i * cell + j)] + half) >> shift)
            out[np.uintp(top + i), np.uintp(left + j)] = np.uint8(min(max(value, np.int32(0)), np.int32(255)))
