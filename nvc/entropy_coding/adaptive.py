"""Binary symbols whose chances are learned while they are coded (FORMAT.md 7, "Adaptive bits").

A chance is what two estimates of a 1 have as their mean: one that follows quickly, one slowly. Both begin at a number
of the weight file, and take a step towards what was coded after every bit. Walks call `step_bit` as they call
`rans.step`; what codes a bit is again a frequency of 16 bits.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import primitive
from nvc.entropy_coding.rans import (
    DECODE,
    ERROR,
    ESTIMATE,
    I64,
    PRECISION,
    WalkState,
    X,
    advance,
    append,
)

QUICK, SLOW = 4, 7  # shifts of the two estimates
LEAST, MOST = 128, 65408  # a chance at the beginning, in 2^-16; from there neither estimate reaches 0 or 2^16
_COST_SHIFT = 4
# Bits of a symbol by its chance in 2^-12: for encoders that compare, which this is near enough to.
COST = -np.log2((np.arange(4096) + 0.5) / 4096)
_ONE, _MASK16 = np.uint64(1), np.uint64(0xFFFF)

Chances = NDArray[np.int32]  # (n, 2): both estimates of a 1, in 2^-16


def beginning(chances: NDArray[np.uint16]) -> Chances:
    """Both estimates of each of (n,) chances. ValueError for one that is out of range."""
    if chances.size and not LEAST <= chances.min() <= chances.max() <= MOST:
        raise ValueError(f"a chance is not within {LEAST}..{MOST}")
    return np.repeat(chances.astype(np.int32)[:, None], 2, axis=1)


@primitive
def chance(chances: Chances, number: I64) -> I64:
    """Of a 1, in 2^-16."""
    return (np.int64(chances[number, 0]) + np.int64(chances[number, 1])) >> 1


@primitive
def bit_cost(chances: Chances, number: I64, bit: I64) -> float:
    """Bits that one takes, nearly."""
    one = chance(chances, number)
    return COST[(one if bit else (1 << PRECISION) - one) >> _COST_SHIFT]


@primitive
def learn(chances: Chances, number: I64, bit: I64) -> None:
    """Move both estimates towards a bit."""
    quick, slow = chances[number, 0], chances[number, 1]
    if bit:
        chances[number, 0] = quick + (((1 << PRECISION) - 1 - quick) >> QUICK)
        chances[number, 1] = slow + (((1 << PRECISION) - 1 - slow) >> SLOW)
    else:
        chances[number, 0] = quick - (quick >> QUICK)
        chances[number, 1] = slow - (slow >> SLOW)


@primitive
def step_bit(state: WalkState, chances: Chances, number: I64, bit: I64) -> I64:
    """Code a bit with a chance, which learns from it; returns the bit (the decoded one in DECODE)."""
    if state.registers[ERROR] != np.uint64(0):
        return 0
    one = np.uint64(chance(chances, number))
    zero = (_ONE << np.uint64(PRECISION)) - one
    if state.mode == DECODE:
        x = state.registers[X]
        bit = np.int64((x & _MASK16) >= zero)
        if bit:
            advance(state, x, zero, one)
        else:
            advance(state, x, np.uint64(0), zero)
    elif state.mode == ESTIMATE:
        state.bits[0] += PRECISION - np.log2(np.float64(one if bit else zero))
    elif bit:
        append(state, np.uint32(zero), np.uint32(zero + one))
    else:
        append(state, np.uint32(0), np.uint32(zero))
    learn(chances, number, bit)
    return bit
