"""Coefficients of what a frame lacks, by rate and distortion: which, how large, and in blocks of which size.

Square by square in coding order, with the chances as they are there. Within a block the levels are decided from the
last coefficient on, each by λ · squared error + bits with the contexts that are known by then; then which is the last
(as in the reference encoder of H.265). Only the encoder knows of all this.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.coefficients import Coefficients
from nvc.entropy_coding.adaptive import Chances, bit_cost
from nvc.entropy_coding.coder import Estimator, no_tables
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_models.coefficients import (
    ABOVE,
    CHROMA,
    LARGEST,
    LAST,
    LUMA,
    NEXT,
    NOT_ZERO,
    ORDERS,
    SET_CONTEXTS,
    SQUARE_CONTEXTS,
    SUMS,
    WHOLE,
    above_context,
    code_square,
    coded_context,
    fields,
    neighbours,
    seen_of_block,
)
from nvc.frames import Frame420
from nvc.networks.transform import MATRIX_8, MATRIX_16, MATRIX_BITS

ROUND = 0.5  # levels are tried from |coefficient| / step + this, rounded down, on
COSINES = tuple((matrix / 2.0**MATRIX_BITS).astype(np.float32) for matrix in (MATRIX_8, MATRIX_16))
LUMA_WEIGHT, CHROMA_WEIGHT = 0.75, 0.5  # of a squared error in (6Y + U + V)/8, a chroma sample being four of luma


def choose(
    frame: Frame420, base: Frame420, sizes: NDArray[np.float64], worth: float, chances: Chances
) -> tuple[Coefficients, float]:
    """What to add to a base to come nearer to a frame, and its bits.

    sizes: steps of luma and chroma, grey levels; worth: bits that a squared grey level of (6Y + U + V)/8 is worth;
    chances: as they are before the frame; they are left as they are behind it.
    """
    h, w = (-(-n // 16) for n in frame.y.shape)
    made = Coefficients.nothing(h, w)
    estimator = Estimator()
    state = estimator.walk_state(no_tables(), 0)
    weights = np.array([LUMA_WEIGHT, CHROMA_WEIGHT]) * worth
    _choose_all(
        state, chances, *frame.planes, *base.planes, sizes, weights, made.blocks, made.whole, *fields(h, w),
        ORDERS, COSINES, seen_of_block(),
    )  # fmt: skip
    return made, estimator.bits


@primitive
def residual_of(plane, base, y, x, side, out):  # type: ignore[no-untyped-def]
    """Fills out, (256,) float32, with a block of plane - base, 0 beyond them; returns its energy."""
    energy = np.float32(0)
    rows, columns = min(side, plane.shape[0] - y), min(side, plane.shape[1] - x)
    if rows < side or columns < side:
        out[: side * side] = 0
    for i in range(rows):
        for j in range(columns):
            value = np.float32(np.int32(plane[y + i, x + j]) - np.int32(base[y + i, x + j]))
            out[i * side + j] = value
            energy += value * value
    return float(energy)


@primitive
def transform_block(samples, cosines, order, out, work):  # type: ignore[no-untyped-def]
    """samples: (side²,) -> coefficients in coding order."""
    side = cosines.shape[0]
    for i in range(side):
        for u in range(side):
            total = np.float32(0)
            for j in range(side):
                total += cosines[u, j] * samples[i * side + j]
            work[u * side + i] = total
    for k in range(side * side):
        v, u = order[k] // side, order[k] % side
        total = np.float32(0)
        for i in range(side):
            total += cosines[v, i] * work[u * side + i]
        out[k] = total


@primitive
def _last_cost(chances, base, last, most):  # type: ignore[no-untyped-def]
    length, rest = np.int64(0), last
    while rest:
        rest >>= 1
        length += 1
    total = 0.0
    for k in range(length):
        total += bit_cost(chances, base + LAST + k, 1)
    if length < most:
        total += bit_cost(chances, base + LAST + length, 0)
    node = np.int64(1)
    for k in range(length - 2, -1, -1):
        bit = (last >> k) & 1
        if node < 4:
            total += bit_cost(chances, base + NEXT + 3 * length + node - 1, bit)
            node = 2 * node + bit
        else:
            total += 1.0
    return total


@primitive
def _level_cost(chances, base, level, band, near):  # type: ignore[no-untyped-def]
    """Of a level from 1 on, without what says that it is not 0."""
    total: Any = 1.0 + bit_cost(chances, base + above_context(band, near), np.int64(level > 1))
    if level > 1:
        total += bit_cost(chances, base + ABOVE + 2 * SUMS + near, np.int64(level > 2))
    if level > 2:
        rest, length = level - 2, np.int64(0)
        while rest > 1:
            rest >>= 1
            length += 1
        total += 2 * length + 1
    return total


@primitive
def levels_of(chances, base, found, size, worth, order, bands, seen, block):  # type: ignore[no-untyped-def]
    """Fills block with levels for coefficients `found`; returns λ · squared error + bits less those of none.

    What says that the block has any is not counted.
    """
    count = block.size
    side = np.int64(8 if count == 64 else 16)
    stride, most = side + 2, np.int64(6 if count == 64 else 8)
    block[:] = 0
    last = np.int64(count - 1)
    while last >= 0 and abs(found[last]) < (1 - ROUND) * size:
        last -= 1
    if last < 0:
        return 0.0
    total: Any = 0.0
    best: Any = np.inf
    chosen, level = last, np.int64(0)
    for i in range(last, -1, -1):
        value = abs(np.float64(found[i]))
        at = (order[i] // side) * stride + order[i] % side
        near, band = neighbours(seen, at, stride), bands[i]
        number = base + NOT_ZERO + SUMS * band + near
        cost, level, alone = bit_cost(chances, number, 0), np.int64(0), best
        start = min(np.int64(value / size + ROUND), np.int64(LARGEST))
        for trial in range(int(start), max(int(start) - 2, 0), -1):
            away = value - trial * size
            this = _level_cost(chances, base, trial, band, near) + worth * (away * away - value * value)
            if this + bit_cost(chances, number, 1) < cost:
                cost, level, alone = this + bit_cost(chances, number, 1), np.int64(trial), this
        total += cost
        if level:
            block[i] = level if found[i] > 0 else -level
            seen[at] = min(level, 3)
            ending = alone + _last_cost(chances, base, i, most) - total  # of this as the last, but for all below it
            if ending < best:
                best, chosen = ending, np.int64(i)
    seen[:] = 0
    if best + total >= 0:
        block[:] = 0
        return 0.0
    block[chosen + 1 :] = 0
    return best + total


@njit
def _choose_all(  # type: ignore[no-untyped-def]
    state, chances, y, u, v, base_y, base_u, base_v, sizes, weights, blocks, whole, coded, cells, orders, cosines,
    seen,
):  # fmt: skip
    order_8, bands_8, order_16, bands_16 = orders
    cosines_8, cosines_16 = cosines
    samples, work = np.empty(256, np.float32), np.empty(256, np.float32)
    found = np.empty(256, np.float32)
    one_block = np.zeros(256, np.int16)
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[1]):
            square = blocks[i, j]
            gain, luma = 0.0, False
            energy = residual_of(y, base_y, 16 * i, 16 * j, np.int64(16), samples)
            if energy > (0.5 * sizes[0]) ** 2:
                transform_block(samples, cosines_16, order_16, found, work)
                base = np.int64(SQUARE_CONTEXTS + SET_CONTEXTS)
                large = levels_of(chances, base, found, sizes[0], weights[0], order_16, bands_16, seen, one_block)
                beside = np.int64(whole[i - 1, j] if i else 0) + np.int64(whole[i, j - 1] if j else 0)
                large += bit_cost(chances, LUMA + 3, np.int64(large < 0)) + bit_cost(chances, WHOLE + beside, 1)
                small = bit_cost(chances, WHOLE + beside, 0)
                for k in range(4):
                    top, left = 2 * i + (k >> 1), 2 * j + (k & 1)
                    near = np.int64(cells[top, left + 1]) + cells[top + 1, left]
                    part = square[64 * k : 64 * k + 64]
                    cost = 0.0
                    if 8 * top < y.shape[0] and 8 * left < y.shape[1]:
                        energy = residual_of(y, base_y, 8 * top, 8 * left, np.int64(8), samples)
                        if energy > (0.5 * sizes[0]) ** 2:
                            transform_block(samples, cosines_8, order_8, found, work)
                            cost = levels_of(
                                chances, np.int64(SQUARE_CONTEXTS), found, sizes[0], weights[0], order_8, bands_8, seen,
                                part,
                            )  # fmt: skip
                    none, some = bit_cost(chances, LUMA + near, 0), bit_cost(chances, LUMA + near, 1)
                    if cost + some >= none:
                        part[:] = 0
                        cost = none
                    else:
                        cost += some
                        luma = True
                    cells[top + 1, left + 1] = np.uint8(cost != none)
                    small += cost
                gain = small
                if large < small:
                    square[:256] = one_block
                    whole[i, j], gain, luma = 1, large, True
            before = np.int64(0)
            for k in range(2):
                plane, other = (u, base_u) if k == 0 else (v, base_v)
                part = square[256 + 64 * k : 320 + 64 * k]
                cost = 0.0
                energy = residual_of(plane, other, 8 * i, 8 * j, np.int64(8), samples)
                if energy > (0.5 * sizes[1]) ** 2:
                    transform_block(samples, cosines_8, order_8, found, work)
                    cost = levels_of(
                        chances, np.int64(SQUARE_CONTEXTS + 2 * SET_CONTEXTS), found, sizes[1], weights[1], order_8,
                        bands_8, seen, part,
                    )  # fmt: skip
                number = CHROMA + 2 * np.int64(luma) + before
                none, some = bit_cost(chances, number, 0), bit_cost(chances, number, 1)
                if cost + some >= none:
                    part[:] = 0
                    gain += none
                    before = np.int64(0)
                else:
                    gain += cost + some
                    before = np.int64(1)
            number = coded_context(coded, i, j)
            if gain + bit_cost(chances, number, 1) >= bit_cost(chances, number, 0):
                square[:] = 0
                whole[i, j] = 0
            for k in range(4):
                cells[2 * i + (k >> 1) + 1, 2 * j + (k & 1) + 1] = 0
            code_square(state, chances, square, whole, coded, cells, i, j, orders, seen)
