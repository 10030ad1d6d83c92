"""Coefficients of block transforms, by bits whose chances are learned in contexts (FORMAT.md 17, "Coefficients").

A square of 16x16 luma pixels has a bit that says whether anything of it is coded; then whether its luma is one block of
16x16 or four of 8x8, for each block whether it has coefficients at all, and of one that has the place of the last, and
all from there to the first: not 0, above 1, above 2 by the coefficients just beside it that are known already, then
what is beyond in bits that are even. Two blocks of 8x8 chroma follow.

    coefficients = code(coder, coefficients, chances)      all coders; the Decoder is given a shape

Adaptive contexts of coefficients are what H.264 and its successors have (CABAC); contexts by the sum of neighbours are
those of VVC, simplified.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.coefficients import ORDER_8, ORDER_16, PLACES, Coefficients
from nvc.entropy_coding.adaptive import Chances, step_bit
from nvc.entropy_coding.coder import Coder, no_tables
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import BAD_ESCAPE, I64, WalkState, fail, failed, step_bits

# Numbers of contexts: of a square, then of each set of coefficients (luma 8x8, luma 16x16, chroma).
CODED, WHOLE, LUMA, CHROMA = 0, 6, 9, 13
SQUARE_CONTEXTS = 17
LAST, NEXT, NOT_ZERO, ABOVE = 0, 9, 36, 66  # within a set; NEXT: the two bits behind the first of the last one's place
SET_CONTEXTS = 81
CONTEXTS = SQUARE_CONTEXTS + 3 * SET_CONTEXTS
BANDS, SUMS = 6, 5  # contexts of "not 0"
LARGEST = 32767  # |coefficient|
PREFIX = 15  # most bits that say how many bits a remainder has


def _bands(order: NDArray[np.int64], side: int, ends: tuple[int, ...]) -> NDArray[np.int64]:
    return np.searchsorted(ends, order // side + order % side, side="left").astype(np.int64)


BANDS_8, BANDS_16 = _bands(ORDER_8, 8, (0, 1, 3, 6, 9)), _bands(ORDER_16, 16, (0, 2, 6, 12, 18))


@primitive
def code_last(state: WalkState, chances: Chances, base: I64, last: I64, most: I64) -> I64:
    """Place of the last coefficient, below 2^most: how many bits it has, then all of them but the first."""
    length = np.int64(0)
    rest = last
    while rest:
        rest >>= 1
        length += 1
    count = np.int64(0)
    while count < most and step_bit(state, chances, base + LAST + count, np.int64(length > count)):
        count += 1
    place = np.int64(count > 0)
    node = np.int64(1)
    for k in range(count - 2, -1, -1):
        bit = (last >> k) & 1
        if node < 4:
            bit = step_bit(state, chances, base + NEXT + 3 * count + node - 1, bit)
            node = 2 * node + bit
        else:
            bit = step_bits(state, 1, bit)
        place = 2 * place + bit
    return place


@primitive
def neighbours(seen: Any, at: I64, stride: I64) -> I64:
    """Context of a coefficient: magnitudes of the five beside it that are coded before."""
    total = np.int64(seen[at + 1]) + seen[at + 2] + seen[at + stride] + seen[at + 2 * stride] + seen[at + stride + 1]
    return min(total, SUMS - 1)


@primitive
def above_context(band: I64, near: I64) -> I64:
    """Of "above 1", within a set."""
    return ABOVE + near + (SUMS if band > 2 else 0)


@primitive
def code_remainder(state: WalkState, rest: I64) -> I64:
    """A number from 0 on: Exp-Golomb code of order 0."""
    value = rest + 1
    length = np.int64(0)
    while (value >> (length + 1)) > 0:
        length += 1
    count = np.int64(0)
    while step_bits(state, 1, np.int64(count < length)):
        count += 1
        if count > PREFIX:
            return fail(state, BAD_ESCAPE)
    low = step_bits(state, count, value - (np.int64(1) << count) if value >= (np.int64(1) << count) else np.int64(0))
    return (np.int64(1) << count) + low - 1


@primitive
def code_coefficients(
    state: WalkState, chances: Chances, base: I64, block: Any, order: Any, bands: Any, seen: Any
) -> None:
    """Of a block that has some, (64 or 256,); DECODE overwrites it. seen: of seen_of_block, 0 before and after."""
    count = block.size
    side = np.int64(8 if count == 64 else 16)
    stride = side + 2
    last = np.int64(count - 1)
    while last > 0 and block[last] == 0:
        last -= 1
    last = code_last(state, chances, base, last, np.int64(6 if count == 64 else 8))
    for i in range(last, -1, -1):
        at = (order[i] // side) * stride + order[i] % side
        near, band = neighbours(seen, at, stride), bands[i]
        magnitude = abs(np.int64(block[i]))
        found = np.int64(1)
        if i < last:
            found = step_bit(state, chances, base + NOT_ZERO + SUMS * band + near, np.int64(magnitude > 0))
        if found and step_bit(state, chances, base + above_context(band, near), np.int64(magnitude > 1)):
            found = np.int64(2)
            if step_bit(state, chances, base + ABOVE + 2 * SUMS + near, np.int64(magnitude > 2)):
                found = 3 + code_remainder(state, max(magnitude - 3, 0))
        if found > LARGEST:
            fail(state, BAD_ESCAPE)
        if failed(state):
            break
        if found:
            negative = step_bits(state, 1, np.int64(block[i] < 0))
            seen[at] = min(found, 3)
            block[i] = -found if negative else found
        else:
            block[i] = 0
    seen[:] = 0


@primitive
def has_any(block: Any) -> bool:
    """Whether one of a block's coefficients is not 0."""
    some = False
    for value in block:
        some = some or value != 0
    return some


@primitive
def coded_context(coded: Any, i: I64, j: I64) -> I64:
    """Of the bit whether a square is coded. coded: (h + 1, w + 2), square (i, j) at (i + 1, j + 1)."""
    sides = np.int64(coded[i, j + 1]) + coded[i + 1, j]
    return CODED + sides + (3 if coded[i, j] or coded[i, j + 2] else 0)


@primitive
def code_square(
    state: WalkState, chances: Chances, blocks: Any, whole: Any, coded: Any, cells: Any, i: I64, j: I64,
    orders: Any, seen: Any,
) -> None:  # fmt: skip
    """One square: blocks (384,), whole (h, w).

    coded: see coded_context; cells: (2h + 1, 2w + 1), which luma blocks of 8x8 have coefficients, block (y, x) at
    (y + 1, x + 1). Both are filled in. orders: order of 8x8, bands of 8x8, order of 16x16, bands of 16x16.
    """
    order_8, bands_8, order_16, bands_16 = orders
    some = step_bit(state, chances, coded_context(coded, i, j), np.int64(has_any(blocks)))
    coded[i + 1, j + 1] = some
    if not some:
        whole[i, j] = 0
        return
    beside = np.int64(whole[i - 1, j] if i else 0) + np.int64(whole[i, j - 1] if j else 0)
    whole[i, j] = step_bit(state, chances, WHOLE + beside, np.int64(whole[i, j]))
    luma = np.int64(0)
    if whole[i, j]:
        luma = step_bit(state, chances, LUMA + 3, np.int64(has_any(blocks[:256])))
        if luma:
            code_coefficients(state, chances, SQUARE_CONTEXTS + SET_CONTEXTS, blocks[:256], order_16, bands_16, seen)
        for k in range(4):
            cells[2 * i + (k >> 1) + 1, 2 * j + (k & 1) + 1] = luma
    else:
        for k in range(4):
            y, x = 2 * i + (k >> 1), 2 * j + (k & 1)
            block = blocks[64 * k : 64 * k + 64]
            near = np.int64(cells[y, x + 1]) + cells[y + 1, x]
            found = step_bit(state, chances, LUMA + near, np.int64(has_any(block)))
            cells[y + 1, x + 1] = found
            luma |= found
            if found:
                code_coefficients(state, chances, SQUARE_CONTEXTS, block, order_8, bands_8, seen)
    before = np.int64(0)
    for k in range(2):
        block = blocks[256 + 64 * k : 320 + 64 * k]
        before = step_bit(state, chances, CHROMA + 2 * luma + before, np.int64(has_any(block)))
        if before:
            code_coefficients(state, chances, SQUARE_CONTEXTS + 2 * SET_CONTEXTS, block, order_8, bands_8, seen)


ORDERS = (ORDER_8, BANDS_8, ORDER_16, BANDS_16)


def code(coder: Coder, coefficients: Coefficients | tuple[int, int], chances: Chances) -> Coefficients:
    """Code those of a frame; the Decoder is given (h, w), squares. chances: (CONTEXTS, 2), which learn from them.

    Raises BadStream (Decoder).
    """
    made = Coefficients.nothing(*coefficients) if isinstance(coefficients, tuple) else coefficients
    h, w = made.whole.shape
    room = h * w
    if not isinstance(coefficients, tuple):
        room += PLACES * int(np.count_nonzero(made.blocks.any(2))) + 8 * int(np.count_nonzero(made.blocks))
    coder.run(_walk, no_tables(), 2 * room, chances, made.blocks, made.whole, *fields(h, w), ORDERS, seen_of_block())
    return made


def fields(h: int, w: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Which squares and which blocks of luma are coded, nothing yet: see code_square."""
    return np.zeros((h + 1, w + 2), np.uint8), np.zeros((2 * h + 1, 2 * w + 1), np.uint8)


def seen_of_block() -> NDArray[np.int32]:
    """Room for the magnitudes of a block, with a border."""
    return np.zeros(18 * 18, np.int32)


@njit
def _walk(
    state: WalkState, chances: Chances, blocks: Any, whole: Any, coded: Any, cells: Any, orders: Any, seen: Any
) -> None:
    """All squares, row by row. DECODE: blocks and whole are 0 before. coded, cells, seen: all 0, see code_square."""
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[1]):
            code_square(state, chances, blocks[i, j], whole, coded, cells, i, j, orders, seen)
            if failed(state):
                return
