"""Bits of main symbols, and what a symbol that moves by one does to them, for encoders that choose symbols.

By the tables that code a frame. The row of each symbol is what it was before anything moved: contexts are counted anew
from round to round, not from step to step.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.entropy_models.context_search import symbol_bits
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.main_context import PREDICT_SHIFT, SYMBOL_LIMIT, foretold
from nvc.threads import spread

FAR = 1e9  # bits of a step out of the range of symbols
_LINES = 8  # of all channels, by one thread at a time


def prediction_weights(tables: HyperpriorTables, channels: int) -> NDArray[np.int64]:
    """(M, 4) weights of neighbours, in 1/32 (nvc.entropy_models.main_context)."""
    if tables.context is None:
        return np.zeros((channels, 4), np.int64)
    return tables.context.predict.astype(np.int64)


def bits_of_positions(
    tables: HyperpriorTables, index: NDArray[np.uint8], symbols: NDArray[np.int32]
) -> NDArray[np.float64]:
    """(h, w) bits of all channels of main symbols (M, h, w) together. index: their scale indexes."""
    values, rows = tables.main_values(index, symbols)
    total = np.zeros(symbols.shape[1:])
    main = tables.main

    def strip(top: int) -> None:
        part = slice(top, top + _LINES)
        _add_bits(values[:, part], rows[:, part], main.start, main.size, main.offset, main.bits, total[part])

    spread(strip, range(0, len(total), _LINES))
    return total


@njit
def _add_bits(values, rows, start, size, offset, bits, total):  # type: ignore[no-untyped-def]
    channels, h, w = values.shape
    for c in range(channels):
        for i in range(h):
            for j in range(w):
                total[i, j] += symbol_bits(rows[c, i, j], values[c, i, j], start, size, offset, bits)


@njit
def step_bits(plane, weights, rows, i, j, step, later, start, size, offset, bits):  # type: ignore[no-untyped-def]
    """Bits more when a symbol of one channel (h, w) moves by a step, with the four that it helps to foretell.

    later: bits that a deviation larger by one costs the symbols whose contexts see it.
    """
    if abs(plane[i, j] + step) > SYMBOL_LIMIT:
        return FAR
    away = plane[i, j] - (foretold(plane, i, j, weights) >> PREDICT_SHIFT)
    more = symbol_bits(rows[i, j], away + step, start, size, offset, bits)
    more -= symbol_bits(rows[i, j], away, start, size, offset, bits)
    more += later * (abs(away + step) - abs(away))
    for n in range(4):
        weight, y, x = weights[n], i + (n != 1), j + (n == 1) + (n == 2) - (n == 3)
        if weight and y < plane.shape[0] and 0 <= x < plane.shape[1]:
            told = foretold(plane, y, x, weights)
            before = plane[y, x] - (told >> PREDICT_SHIFT)
            after = plane[y, x] - ((told + weight * step) >> PREDICT_SHIFT)
            more += symbol_bits(rows[y, x], after, start, size, offset, bits)
            more -= symbol_bits(rows[y, x], before, start, size, offset, bits)
            more += later * (abs(after) - abs(before))
    return more
