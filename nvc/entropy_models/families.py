"""The two families of replacement tables: from codes of 10 bits to frequencies (FORMAT.md, "Re-parameterised tables").

MIXTURE    truncated mixture of K = 1 to 3 Gaussians: codes of K means, K scales, K - 1 weights
CENTRED    the same with all means 0: codes of K scales, K - 1 weights

All the codes of a table are sent in 10 bits each, or in 6 where their lowest four bits are 1000. A replacement keeps
the support of the table that it replaces, and the frequency of its escape. Any codes are valid. All integers, so that
encoder and decoder cannot differ.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.gaussian import DISTANCE_BITS, SCALE_CODES, phi, phi_end, share
from nvc.entropy_coding.jit import primitive
from nvc.entropy_coding.rans import I64
from nvc.entropy_coding.tables import TOTAL, TableSet

MIXTURE, CENTRED = 0, 1
COMPONENTS = 3  # of a mixture, at most
CODE_BITS = 10
COARSE_BITS = 6  # codes may be sent with their highest bits alone; the lowest are then 1000
COARSE_REST = 8
CODES_MAX = 3 * COMPONENTS - 1
WEIGHT_BITS = 16  # the weights of a mixture sum to 2^16
_CODE_MAX = SCALE_CODES - 1
_UNIT = 1 << DISTANCE_BITS

Scratch = NDArray[np.int64]


@primitive
def code_count(family: I64, components: I64) -> I64:
    """How many codes a replacement has."""
    return 3 * components - 1 if family == MIXTURE else 2 * components - 1


@primitive
def is_coarse(codes: Any, count: I64) -> bool:
    """Whether the first `count` codes can be sent as coarse ones."""
    rest = np.int64(0)
    for j in range(count):
        rest |= (np.int64(codes[j]) & ((1 << (CODE_BITS - COARSE_BITS)) - 1)) ^ COARSE_REST
    return rest == 0


@primitive
def coarse(code: I64) -> I64:
    """The coarse code nearest to a code."""
    return np.int64(code) >> (CODE_BITS - COARSE_BITS) << (CODE_BITS - COARSE_BITS) | COARSE_REST


@primitive
def frequencies(
    family: I64, components: I64, codes: Any, offset: I64, values: I64, escape: I64, mass: Scratch, out: Scratch
) -> None:
    """Frequencies of the `values` values of a replacement table; with `escape` they sum to 65536.

    codes: (code_count,) of 0..1023; offset: the first value; mass, out: (>= values,) int64, overwritten.
    """
    for j in range(values):
        mass[j] = 0
    first = components if family == MIXTURE else 0  # of the scales' codes
    left = np.int64(1) << WEIGHT_BITS
    for k in range(components):
        weight = left
        if k < components - 1:
            weight = (left * (2 * np.int64(codes[first + components + k]) + 1)) >> (CODE_BITS + 1)
        left -= weight
        mean = np.int64(-offset) * _UNIT
        if family == MIXTURE:
            mean = (np.int64(codes[k]) * (values - 1) * _UNIT + _CODE_MAX // 2) // _CODE_MAX
        _add(mass, values, mean, np.int64(codes[first + k]), weight)
    share(mass[:values], TOTAL - escape, out[:values])


@primitive
def _add(mass: Scratch, values: I64, mean: I64, scale: I64, weight: I64) -> None:
    """Add a Gaussian's mass at 0, 1, …; `mean` is in 1/4096. Where it has none, nothing is computed."""
    reach = phi_end(scale)
    first = max((mean - reach) // _UNIT, 0)
    last = min((mean + reach) // _UNIT + 2, values)
    below = phi(first * _UNIT - _UNIT // 2 - mean, scale)
    for j in range(first, last):
        upto = phi(j * _UNIT + _UNIT // 2 - mean, scale)
        mass[j] += weight * (upto - below)
        below = upto


def replaceable(tables: TableSet, rows: NDArray[Any], family: int) -> NDArray[np.bool_]:
    """Which rows a replacement exists for: two values or more, room for two counts each, and 0 where its mean is."""
    last = tables.start[rows] + tables.size[rows]
    escape = tables.cdf[last].astype(np.int64) - tables.cdf[last - 1]
    values = tables.size[rows].astype(np.int64) - 1
    offset = tables.offset[rows]
    sound: NDArray[np.bool_] = (values >= 2) & (2 * values <= TOTAL - escape)
    return sound if family == MIXTURE else sound & (offset <= 0) & (offset + values > 0)
