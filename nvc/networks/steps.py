"""Quantiser steps of all levels in integers, interpolated between levels (FORMAT.md 10, "Steps").

A step is stored as its logarithm, log2 in 1/4096 octaves, and used as mantissa / 2^shift with a mantissa of 15 bits.
"""

import numpy as np
from numpy.typing import NDArray

LEVELS = 8
STEP_ONE = 4096  # entries of an octave in the table of steps; also the grid of qualities between two levels
MANTISSA_BITS = 14

# 2^(i/4096) in 1/2^14: none of these lies within 7e-5 of a rounding boundary, so every libm gives the same integers.
MANTISSA = np.rint(2.0 ** (np.arange(STEP_ONE) / STEP_ONE) * (1 << MANTISSA_BITS)).astype(np.int64)
QualityCode = int | NDArray[np.int64]  # 4096 · (quality - 1); one for each channel (M,), or for all of them


def interpolate(table: NDArray[np.int32], quality_code: QualityCode) -> NDArray[np.int64]:
    """Row of a (levels, M) table at quality 1 + quality_code/4096, linear between levels, rounded half up.

    A frame's quality may be below 1, where the code is negative: the slope between levels 1 and 2 goes on.
    """
    code = np.broadcast_to(np.asarray(quality_code, np.int64), table.shape[1:])
    level = np.clip(code // STEP_ONE, 0, len(table) - 2)
    share, channel = code - level * STEP_ONE, np.arange(table.shape[1])
    below, above = (table[level + i, channel].astype(np.int64) for i in (0, 1))
    row: NDArray[np.int64] = (below * (STEP_ONE - share) + above * share + STEP_ONE // 2) // STEP_ONE
    return row


def steps(log_step: NDArray[np.int32], quality_code: QualityCode) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas and shifts, (M,) each, from a (levels, M) table: step = mantissa / 2^shift, 1 to 2^14 latent units."""
    row = interpolate(log_step, quality_code).clip(0, MANTISSA_BITS * STEP_ONE)
    return MANTISSA[row % STEP_ONE], MANTISSA_BITS - row // STEP_ONE


def prove(log_step: NDArray[np.int32]) -> None:
    """ValueError unless every step is 1..2^14 latent units."""
    if log_step.min() < 0 or log_step.max() > MANTISSA_BITS * STEP_ONE:
        raise ValueError("a quantiser step is outside 1..2^14 latent units")
