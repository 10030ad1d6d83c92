"""Gaussian tables, and the normal distribution in integers from which replacement tables are made.

`PHI` and `RECIPROCAL` are tables of integers (FORMAT.md, "Re-parameterised tables"); whoever computes with them gets
the same numbers on every machine. They are made here from sums, products, quotients and square roots of float64,
one at a time, which IEEE 754 rounds the same everywhere; no entry is near enough to a tie for that to matter.

`published_tables` are the 64 main tables of compressai's GaussianConditional, number for number. They come from the
same arithmetic: only one pair of their 27,256 frequencies hangs on compressai's own rounding errors, and is named.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import primitive
from nvc.entropy_coding.rans import I64
from nvc.entropy_coding.tables import TableSet, quantize_pmf

SCALES = 64  # main tables of a hyperprior

PHI_BITS = 30  # PHI[i] = Φ(i / 1024), in 2^-30
PHI_STEP = 10  # entries per unit, as a power of two
ARGUMENT_BITS = 24  # the argument of Φ is in 2^-24
PHI_END = 8  # from here Φ is 1 to 30 bits
SCALE_CODES = 1024
SCALE_STEPS = 64  # scale codes to an octave: σ = 2^(code / 64 - 4)
DISTANCE_BITS = 12  # distances are in 1/4096 of a symbol
DISTANCE_MAX = 1 << 27  # 8 σ of the largest scale; all beyond is the same

_ONE = 1 << PHI_BITS
_PHI_LAST = PHI_END << ARGUMENT_BITS
_FRACTION = ARGUMENT_BITS - PHI_STEP
# 1/σ = RECIPROCAL[i] / 2^30 · 2^(4 - e) with code = 64 e - i; from 1/4096 of a symbol to 2^-24 of σ
_SHIFT = 30 - 4 + DISTANCE_BITS - ARGUMENT_BITS
_TAIL = 6.10941020487  # half of 10^-9 lies beyond this many σ: where compressai ends a table

# exp(linspace(ln 0.11, ln 256, 64)) as torch's float32 has it: upward bounds of the scales of each table
_SCALES = """
3de147ae 3dfec793 3e101230 3e22efc7 3e3845c8 3e506704 3e6bb124 3e85470a 3e96bacd 3eaa779a 3ec0ca0e 3eda08ca
3ef695cc 3f0b6ff2 3f1db234 3f325889 3f49b318 3f641c86 3f80fdab 3f91e1bd 3fa4fc07 3fba96af 3fd3058f 3feea77c
4006f3dc 40189fc7 402c9c16 4043365c 405cc651 4079af2f 408d3097 409fad98 40b4965b 40cc3c0e 40e6fa78 41029cb1
4113b71b 41270edd 413cef07 4155ac83 4171a758 4188a610 419a8ad8 41aec774 41c5aa71 41df8ca9 41fcd28b 420ef6dd
4221af59 4236db65 424ecd30 4269e1a0 428440f0 42959263 42a9285d 42bf4eec 42d85c06 42f4b0de 430a5dbd 431c7c18
4330f9ce 43482672 43625beb 43800000
"""


def half_normal(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Φ(x) - 1/2 for x >= 0, within 1e-14. The same bits on every machine."""
    x = np.minimum(x, float(PHI_END))
    square = x * x
    term = x.copy()
    total = x.copy()
    for odd in range(3, 261, 2):  # x + x³/3 + x⁵/(3·5) + …; at 8 the last term is below 1e-17 of the whole
        term = term * square / odd
        total = total + term
    return total * _exp_minus(square / 2) / np.sqrt(np.float64(6.283185307179586))


def _exp_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-x) for 0 <= x <= 32."""
    x = x / 64
    series = np.ones_like(x)
    for k in range(18, 0, -1):
        series = 1 + series * x / k
    power = 1 / series
    for _ in range(6):
        power = power * power
    return power


def _nearest(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(values + 0.5).astype(np.int64)


def _reciprocal() -> NDArray[np.int64]:
    root = np.float64(2)
    for _ in range(6):
        root = np.sqrt(root)
    powers = np.ones(SCALE_STEPS, np.float64)
    for i in range(1, SCALE_STEPS):
        powers[i] = powers[i - 1] * root
    return _nearest(powers * _ONE)


# 2^30 Φ(i / 1024) for i = 0 … 8192, and 2^(30 + i / 64) for i = 0 … 63; both rounded to the nearest integer
PHI = _nearest((half_normal(np.arange((PHI_END << PHI_STEP) + 1) / (1 << PHI_STEP)) + 0.5) * _ONE).astype(np.int32)
RECIPROCAL = _reciprocal()


@primitive
def phi(distance: I64, scale_code: I64) -> I64:
    """Φ(distance / 4096 / σ) in 2^-30; σ = 2^(scale_code / 64 - 4), 0 <= scale_code < 1024.

    Errs by less than 2^-24, most of it from linear interpolation.
    """
    octave = (scale_code + SCALE_STEPS - 1) // SCALE_STEPS
    reciprocal = RECIPROCAL[octave * SCALE_STEPS - scale_code]
    argument = (min(abs(distance), DISTANCE_MAX) * reciprocal) >> (_SHIFT + octave)
    if argument >= _PHI_LAST:
        value = np.int64(_ONE)
    else:
        i = argument >> _FRACTION
        low = np.int64(PHI[i])
        rest = argument & ((1 << _FRACTION) - 1)
        value = low + (((np.int64(PHI[i + 1]) - low) * rest + (1 << (_FRACTION - 1))) >> _FRACTION)
    return value if distance >= 0 else _ONE - value


@primitive
def phi_end(scale_code: I64) -> I64:
    """A distance from which `phi` is 0 and 2^30."""
    octave = (scale_code + SCALE_STEPS - 1) // SCALE_STEPS
    return (np.int64(_PHI_LAST) << (_SHIFT + octave)) // RECIPROCAL[octave * SCALE_STEPS - scale_code] + 1


@primitive
def share(mass: NDArray[np.int64], total: I64, out: NDArray[np.int64]) -> None:
    """Share `total` counts in proportion to integer masses, at least 1 each, to the sum exactly.

    mass: (n,) >= 0, their sum 1 to 2^46; total: 2n to 65536. out: (n,), overwritten.
    Masses below two counts get one; the others follow the rounded running sum of what is left.
    """
    whole = np.int64(0)
    for i in range(mass.size):
        whole += mass[i]
    left, small = np.int64(total), np.int64(0)
    for i in range(mass.size):
        if mass[i] * total < 2 * whole:
            left -= 1
            small += mass[i]
    rest = whole - small
    running, given = np.int64(0), np.int64(0)
    for i in range(mass.size):
        if mass[i] * total < 2 * whole:
            out[i] = 1
        else:
            running += mass[i]
            upto = running * left // rest
            out[i] = upto - given
            given = upto


@functools.cache
def scales() -> NDArray[np.float32]:
    """(64,) standard deviations of the published tables, in symbols, ascending."""
    return np.array([int(word, 16) for word in _SCALES.split()], np.uint32).view(np.float32)


@functools.cache
def published_tables() -> TableSet:
    """compressai's 64 zero-mean Gaussian tables: table i is for scales up to `scales()[i]`."""
    rows, offsets = [], []
    for i, scale in enumerate(scales().astype(np.float64)):
        centre = int(np.ceil(scale * _TAIL))
        edge = half_normal((np.arange(centre + 1) + 0.5) / scale)  # upper edges of 0, 1, …
        right = np.diff(edge)
        if i == 57:  # ±47 have 198.4975 counts; float32 differences make it 198.5 or more
            right[46] = right[46] * (1 + 2.0**-15)
        pmf = np.concatenate([right[::-1], [2 * edge[0]], right, [1 - 2 * edge[-1]]])
        rows.append(quantize_pmf(np.maximum(pmf, 0).astype(np.float32)))
        offsets.append(-centre)
    return TableSet.from_rows(rows, offsets)
