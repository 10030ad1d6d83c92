"""Symbols by rate and distortion: one step nearer to 0 where that saves more bits than its error is worth.

Each symbol by itself, its bits taken to be those of a Gaussian of its scale index; no decoder knows. (Paper 2 does it
with the bits of contexts and the errors of pixels, for pictures: nvc.codec.rdoq.)
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.gaussian import SCALES, scales
from nvc.entropy_coding.jit import njit

LARGEST = 24  # symbols beyond are rounded plainly: a step is worth next to nothing there
FLOOR = 2.0**-16  # probability of a symbol, as tables have it


@functools.cache
def _saved() -> NDArray[np.float32]:
    """(64, LARGEST + 1) bits that k - 1 saves against k, by scale index."""
    saved = np.zeros((SCALES, LARGEST + 1), np.float32)
    for index, scale in enumerate(scales()):
        unit = 1 / (float(scale) * 2**0.5)
        p = [math.erf((k + 0.5) * unit) - math.erf((k - 0.5) * unit) for k in range(LARGEST + 1)]
        bits = -np.log2(np.maximum(np.array(p) / 2, FLOOR))
        saved[index, 1:] = bits[1:] - bits[:-1]
    return saved


def rounded(values: NDArray[np.float32], index: NDArray[np.uint8], worth: NDArray[np.float32]) -> NDArray[np.int32]:
    """Symbols (M, h, w) of values that are in symbols, their means taken off.

    index: scale indexes; worth: (M,) bits that a squared error of one symbol is worth.
    """
    symbols = np.empty(values.shape, np.int32)
    _rounded(values, index, worth, _saved(), symbols)
    return symbols


@njit
def _rounded(values, index, worth, saved, out):  # type: ignore[no-untyped-def]
    channels, h, w = values.shape
    for c in range(channels):
        for y in range(h):
            for x in range(w):
                value = values[c, y, x]
                symbol = np.rint(value)
                k = abs(symbol)
                if 0 < k <= LARGEST:
                    more = np.float32(1) + np.float32(2) * (abs(value) - k)  # squared error of k - 1 beyond that of k
                    if saved[index[c, y, x], np.int64(k)] > worth[c] * more:
                        k -= np.float32(1)
                        symbol = k if symbol > 0 else -k
                out[c, y, x] = np.int32(symbol)
