"""The codes of the replacement table that takes the fewest bits for a histogram. The encoder's own business.

Codes are judged by the real table that they give:

one scale alone    the bits fall and rise again along the codes: a coarse walk, then every code near the lowest
several codes      moments, or expectation-maximisation for a mixture, then steps along one code at a time

Coarse codes begin at the best fine ones. A component more is tried where the histogram's entropy says that it could
pay. Floating point does no harm here: what is found is in the stream.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.gaussian import SCALE_CODES, SCALE_STEPS
from nvc.entropy_coding.jit import primitive
from nvc.entropy_coding.rans import I64
from nvc.entropy_models.families import (
    COARSE_BITS,
    CODE_BITS,
    CODES_MAX,
    COMPONENTS,
    MIXTURE,
    coarse,
    code_count,
    frequencies,
)

ROUNDS = 12  # of expectation-maximisation
STEPS = (48, 16, 4, 1)  # of a code in the search; coarse codes take those that keep them coarse
NARROWEST = 0.12  # σ of a component, in symbols: with less it is a point
# Expectation-maximisation begins with components of one mean and several scales, and with components side by side.
STARTS = 2
START_SPREAD, START_SHIFT, START_WIDTH = 3.0, 1.2, 0.6
CHANCE_FIT = 0.7  # bits by which a histogram suits itself by chance, for each of its values
CLASS_WIDTH = 0.1  # of its classes, in σ of the widest component at the beginning
_CODE_MAX = SCALE_CODES - 1


class Slice(NamedTuple):
    """The values of one table in one frame, and room to work in.

    counts: (n,) int64 of its values, not all 0; offset: its first value; escape: frequency of its escape;
    cost: (65537,) bits of a symbol by its frequency. Room: table (2, >= n) int64, trial, other (8,) int64,
    normal (7, 3) float64.
    """

    family: I64
    counts: NDArray[np.int64]
    offset: I64
    escape: I64
    cost: NDArray[np.float64]
    table: NDArray[np.int64]
    trial: NDArray[np.int64]
    other: NDArray[np.int64]
    normal: NDArray[np.float64]


@primitive
def slice_bits(part: Slice, components: I64, codes: Any) -> float:
    """Bits of the values with the table that codes give."""
    values = part.counts.size
    frequencies(part.family, components, codes, part.offset, values, part.escape, part.table[0], part.table[1])
    total = 0.0
    for j in range(values):
        if part.counts[j]:
            total += part.counts[j] * part.cost[part.table[1, j]]
    return total


@primitive
def search(
    part: Slice, form_bits: Any, price: float, most: I64, coarse_too: bool, limit: float, ceiling: float, best: Any
) -> tuple[I64, float, float]:
    """Best codes (into `best`), how many components, their bits, and the bits not charged; (1, ceiling, 0) for none.

    form_bits: bits of each form of codes; price: the share of those and of the codes' own bits that is charged;
    most: components; limit: bits that no table gets below.
    """
    found, lowest, unpaid = 1, ceiling, 0.0
    distinct = np.int64(0)
    for j in range(part.counts.size):
        if part.counts[j]:
            distinct += 1
    for components in range(1, most + 1):
        codes = code_count(part.family, components)
        fine_bits = form_bits[components - 1] + CODE_BITS * codes
        coarse_bits = form_bits[COMPONENTS + components - 1] + COARSE_BITS * codes
        chance = CHANCE_FIT * max(distinct - 1 - codes, 0)
        if limit + chance + price * (coarse_bits if coarse_too else fine_bits) >= lowest:
            break
        total = _search_scale(part) if codes == 1 else _search_mixture(part, components)
        for form in range(2 if coarse_too else 1):
            if form:
                for j in range(codes):
                    part.trial[j] = coarse(part.trial[j])
                total = _descend(part, components, part.trial, slice_bits(part, components, part.trial), True)
            said = coarse_bits if form else fine_bits
            if total + price * said < lowest:
                found, lowest, unpaid = components, total + price * said, (1 - price) * said
                for j in range(CODES_MAX):
                    best[j] = part.trial[j] if j < codes else 0
    return found, lowest, unpaid


@primitive
def _search_scale(part: Slice) -> float:
    """The only code (into `trial`): every 32nd, every 8th near the lowest, every one near the lowest."""
    lowest, center = np.inf, np.int64(SCALE_CODES // 2)
    for step, reach in ((32, 16), (8, 8), (1, 8)):
        middle = center
        for i in range(-reach, reach + 1):
            part.trial[0] = middle + i * step
            if 0 <= part.trial[0] < SCALE_CODES and (i != 0 or lowest == np.inf):
                total = slice_bits(part, 1, part.trial)
                if total < lowest:
                    center, lowest = part.trial[0], total
    part.trial[0] = center
    return lowest


@primitive
def _search_mixture(part: Slice, components: I64) -> float:
    """Codes (into `trial`) of a mixture, and the bits of the values alone."""
    whole, mean, scale = 0.0, 0.0, 0.0
    for j in range(part.counts.size):
        whole += part.counts[j]
        mean += part.counts[j] * float(j)
    mean = mean / whole if part.family == MIXTURE else -float(part.offset)
    for j in range(part.counts.size):
        scale += part.counts[j] * (j - mean) * (j - mean)
    scale = np.sqrt(max(scale / whole - 1 / 12, NARROWEST**2))
    lowest = np.inf
    for start in range(STARTS if components > 1 and part.family == MIXTURE else 1):
        for k in range(components):
            side = k - 0.5 * (components - 1)
            part.normal[0, k] = mean + (START_SHIFT * side * scale if start == 1 else 0.0)
            part.normal[1, k] = scale * (START_SPREAD**side if start == 0 else START_WIDTH)
            part.normal[2, k] = 1 / components
        if components > 1:
            _expectation_maximisation(part, components)
        _to_codes(part, components)
        total = slice_bits(part, components, part.other)
        if total < lowest:
            lowest = total
            for j in range(code_count(part.family, components)):
                part.trial[j] = part.other[j]
    return _descend(part, components, part.trial, lowest, False)


@primitive
def _descend(part: Slice, components: I64, codes: Any, lowest: float, coarsely: bool) -> float:
    """Move one code at a time while that saves bits, by smaller and smaller steps."""
    spacing = 1 << (CODE_BITS - COARSE_BITS)
    for step in STEPS:
        moved = not coarsely or step % spacing == 0
        while moved:
            moved = False
            for j in range(code_count(part.family, components)):
                for direction in (-1, 1):
                    old = codes[j]
                    if not 0 <= old + direction * step <= _CODE_MAX:
                        continue
                    codes[j] = old + direction * step
                    total = slice_bits(part, components, codes)
                    if total < lowest:
                        lowest, moved = total, True
                    else:
                        codes[j] = old
    return lowest


@primitive
def _expectation_maximisation(part: Slice, components: I64) -> None:
    """Fit means, scales and weights, the first rows of `normal`, to the histogram.

    Densities stand for masses, and few classes for the values of a wide table.
    """
    normal, count = part.normal, part.counts
    widest = 0.0
    for k in range(components):
        widest = max(widest, normal[1, k])
    width: I64 = max(np.int64(widest * CLASS_WIDTH), 1)
    middle = 0.5 * (width - 1)
    for _ in range(ROUNDS):
        for k in range(components):
            normal[3, k] = 0.0  # count, sum and sum of squares about the old mean
            normal[4, k] = 0.0
            normal[5, k] = 0.0
        for begin in range(0, count.size, width):
            here = 0.0
            for j in range(begin, min(begin + width, count.size)):
                here += count[j]
            if here == 0:
                continue
            together = 0.0
            for k in range(components):
                spread = normal[1, k] * normal[1, k] + width * width / 12
                away = begin + middle - normal[0, k]
                normal[6, k] = normal[2, k] * np.exp(-0.5 * away * away / spread) / np.sqrt(spread) + 1e-30
                together += normal[6, k]
            for k in range(components):
                share = here * normal[6, k] / together
                away = begin + middle - normal[0, k]
                normal[3, k] += share
                normal[4, k] += share * away
                normal[5, k] += share * away * away
        whole = 0.0
        for k in range(components):
            whole += normal[3, k]
        for k in range(components):
            weight = max(normal[3, k], 1e-9)
            shift = normal[4, k] / weight if part.family == MIXTURE else 0.0
            variance = normal[5, k] / weight - shift * shift - width * width / 12
            if part.family == MIXTURE:
                normal[0, k] = min(max(normal[0, k] + shift, 0.0), count.size - 1.0)
            normal[1, k] = np.sqrt(max(variance, NARROWEST**2))
            normal[2, k] = weight / whole


@primitive
def _to_codes(part: Slice, components: I64) -> None:
    """The codes nearest to `normal`, into `other`."""
    normal, codes = part.normal, part.other
    first = components if part.family == MIXTURE else 0
    left = 1.0
    for k in range(components):
        if part.family == MIXTURE:
            codes[k] = _code(normal[0, k] / (part.counts.size - 1) * _CODE_MAX)
        codes[first + k] = _code((np.log2(normal[1, k]) + 4) * SCALE_STEPS)
        if k < components - 1:
            codes[first + components + k] = _code(normal[2, k] / max(left, 1e-9) * SCALE_CODES - 0.5)
            left -= normal[2, k]


@primitive
def _code(value: float) -> I64:
    return np.int64(min(max(np.floor(value + 0.5), 0.0), float(_CODE_MAX)))
