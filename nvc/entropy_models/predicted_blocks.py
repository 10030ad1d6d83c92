"""Predicted blocks of I frames: which predictor each has, and its coefficients (FORMAT.md 18, "Parse").

Contexts and blocks are those of coefficients that are added to a frame (nvc.entropy_models.coefficients); every block
has the number of its predictor before them, a way down a binary tree whose nodes are contexts.

    coefficients = code(coder, coefficients, chances, counts)      all coders; the Decoder is given a size
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.coefficients import PLACES, Coefficients
from nvc.entropy_coding.adaptive import Chances, step_bit
from nvc.entropy_coding.coder import Coder, no_tables
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import I64, WalkState, failed
from nvc.entropy_models.coefficients import (
    CHROMA,
    CONTEXTS,
    LUMA,
    ORDERS,
    SET_CONTEXTS,
    SQUARE_CONTEXTS,
    WHOLE,
    code_coefficients,
    fields,
    has_any,
    seen_of_block,
)

MOST = 32  # predictors of a kind
TREE_8, TREE_16, TREE_U, TREE_V = (CONTEXTS + MOST * t for t in range(4))
SAME = TREE_V  # node 0: V has the predictor of U
PREDICTED_CONTEXTS = CONTEXTS + 4 * MOST

Counts = tuple[int, int, int]  # predictors: luma 8x8, luma 16x16, chroma


@primitive
def code_predictor(state: WalkState, chances: Chances, tree: I64, count: I64, predictor: I64) -> I64:
    """Number of one of `count` predictors, a power of two."""
    node, half = np.int64(1), count >> 1
    while node < count:
        node = 2 * node + step_bit(state, chances, tree + node, np.int64((predictor & half) != 0))
        half >>= 1
    return node - count


@primitive
def code_predicted_square(
    state: WalkState, chances: Chances, blocks: Any, whole: Any, predictors: Any, cells: Any, i: I64, j: I64,
    counts: Any, orders: Any, seen: Any, rows: I64, columns: I64,
) -> None:  # fmt: skip
    """One square: blocks (384,), predictors (6,), whole (h, w).

    cells: see code_square of nvc.entropy_models.coefficients, filled in; rows, columns: blocks of 8x8 of luma that the
    frame has; counts: see Counts.
    """
    order_8, bands_8, order_16, bands_16 = orders
    beside = np.int64(whole[i - 1, j] if i else 0) + np.int64(whole[i, j - 1] if j else 0)
    whole[i, j] = step_bit(state, chances, WHOLE + beside, np.int64(whole[i, j]))
    luma = np.int64(0)
    if whole[i, j]:
        predictors[0] = code_predictor(state, chances, np.int64(TREE_16), counts[1], np.int64(predictors[0]))
        luma = step_bit(state, chances, LUMA + 3, np.int64(has_any(blocks[:256])))
        if luma:
            code_coefficients(state, chances, SQUARE_CONTEXTS + SET_CONTEXTS, blocks[:256], order_16, bands_16, seen)
        for k in range(4):
            cells[2 * i + (k >> 1) + 1, 2 * j + (k & 1) + 1] = luma
    else:
        for k in range(4):
            y, x = 2 * i + (k >> 1), 2 * j + (k & 1)
            if y >= rows or x >= columns:
                cells[y + 1, x + 1] = 0
                continue
            block = blocks[64 * k : 64 * k + 64]
            predictors[k] = code_predictor(state, chances, np.int64(TREE_8), counts[0], np.int64(predictors[k]))
            near = np.int64(cells[y, x + 1]) + cells[y + 1, x]
            found = step_bit(state, chances, LUMA + near, np.int64(has_any(block)))
            cells[y + 1, x + 1] = found
            luma |= found
            if found:
                code_coefficients(state, chances, SQUARE_CONTEXTS, block, order_8, bands_8, seen)
    before = np.int64(0)
    for k in range(2):
        block, number, tree = blocks[256 + 64 * k : 320 + 64 * k], np.int64(predictors[4 + k]), np.int64(TREE_U)
        if k and step_bit(state, chances, np.int64(SAME), np.int64(number == predictors[4])):
            predictors[5] = predictors[4]
        else:
            if k:
                tree = np.int64(TREE_V)
            predictors[4 + k] = code_predictor(state, chances, tree, counts[2], number)
        before = step_bit(state, chances, CHROMA + 2 * luma + before, np.int64(has_any(block)))
        if before:
            code_coefficients(state, chances, SQUARE_CONTEXTS + 2 * SET_CONTEXTS, block, order_8, bands_8, seen)


def code(coder: Coder, coefficients: Coefficients | tuple[int, int], chances: Chances, counts: Counts) -> Coefficients:
    """Code those of a frame; the Decoder is given its height and width. chances: (PREDICTED_CONTEXTS, 2), which learn.

    Raises BadStream (Decoder).
    """
    made = Coefficients.predicted(*coefficients) if isinstance(coefficients, tuple) else coefficients
    if made.predictors is None:
        raise ValueError("coefficients without predictors")
    h, w = made.whole.shape
    room = 64 * h * w
    if not isinstance(coefficients, tuple):
        room += PLACES * int(np.count_nonzero(made.blocks.any(2))) + 8 * int(np.count_nonzero(made.blocks))
    rows, columns = (-(-length // 8) for length in made.size)
    coder.run(
        _walk, no_tables(), 2 * room, chances, made.blocks, made.whole, made.predictors, fields(h, w)[1],
        np.array(counts, np.int64), ORDERS, seen_of_block(), rows, columns,
    )  # fmt: skip
    return made


@njit
def _walk(
    state: WalkState, chances: Chances, blocks: Any, whole: Any, predictors: Any, cells: Any, counts: NDArray[np.int64],
    orders: Any, seen: Any, rows: I64, columns: I64,
) -> None:  # fmt: skip
    """All squares, row by row. DECODE: blocks, whole and predictors are 0 before. cells, seen: all 0."""
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[1]):
            code_predicted_square(
                state, chances, blocks[i, j], whole, predictors[i, j], cells, np.int64(i), np.int64(j), counts, orders,
                seen, np.int64(rows), np.int64(columns),
            )  # fmt: skip
            if failed(state):
                return
