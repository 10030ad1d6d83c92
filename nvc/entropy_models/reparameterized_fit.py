"""What to replace in a frame: Algorithm 1 of paper 1 on the tables that rANS will use, and the search for codes.

For each candidate, in order, with its values' histogram: keep the learned table, use the codes of the frame before
again, or send new codes, whichever takes the fewest bits, masks and codes included. Codes are searched by the real
cost of the table that they give:

GAUSSIAN   the cost falls and rises again along the codes: halved steps, then every code near the lowest
MIXTURE    moments for one Gaussian, expectation-maximisation for more, then steps along one code at a time;
           another component is tried where the histogram's entropy says that it could pay

The encoder's own business: what it finds is in the stream, and floating point does no harm.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc.entropy_coding.gaussian import SCALE_CODES, SCALE_STEPS
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import I64
from nvc.entropy_coding.tables import TOTAL
from nvc.entropy_models.families import (
    CODE_BITS,
    CODES_MAX,
    COMPONENTS,
    GAUSSIAN,
    MIXTURE,
    code_count,
    frequencies,
)
from nvc.entropy_models.reparameterized import (
    MASK_TABLES,
    REPLACED_AGAIN,
    REPLACED_ANEW,
    REUSED,
    Candidates,
    Plan,
    State,
    learn,
    mask_row,
)

ROUNDS = 12  # of expectation-maximisation
STEPS = (48, 16, 5, 2, 1)  # of a code in the search, coarse to fine
NARROWEST = 0.12  # σ of a component, in symbols: with less it is a point
# Expectation-maximisation begins with components of one mean and several scales, and with components side by side.
STARTS = 2
START_SPREAD, START_SHIFT, START_WIDTH = 3.0, 1.2, 0.6
_CODE_MAX = SCALE_CODES - 1


def choose(part: Candidates, values: ArrayLike, rows: ArrayLike, state: State) -> Plan:
    """The plan that takes the fewest bits.

    values: the integers to code; rows: their tables, any shape that broadcasts to the values'.
    """
    return choose_by_counts(part, histogram(part, values, rows), state)


def histogram(part: Candidates, values: ArrayLike, rows: ArrayLike) -> NDArray[np.int64]:
    """(E,) counts, laid out as the part's cdf: count of symbol s of row r at start[r] + s."""
    numbers = np.ascontiguousarray(values, np.int32)
    index = np.ascontiguousarray(np.broadcast_to(np.asarray(rows), numbers.shape), np.int32)
    if index.size and (index.min() < 0 or index.max() >= len(part.tables)):
        raise ValueError("a value's row is not in the table set")
    counts = np.zeros(part.tables.cdf.size, np.int64)
    tables = part.tables
    _count(numbers.reshape(-1), index.reshape(-1), tables.start, tables.size, tables.offset, counts)
    return counts


def choose_by_counts(part: Candidates, counts: NDArray[np.int64], state: State) -> Plan:
    """As `choose`, from the histogram."""
    plan = Plan.empty(len(part))
    tables = part.tables
    saved = _choose(
        part.family, part.rows, counts, tables.cdf, tables.start, tables.size, tables.offset,
        state.previous.components, state.previous.codes, state.chance.copy(), state.seen.copy(),
        MASK_TABLES.bits, MASK_TABLES.start, cost_of_frequency(), plan.components, plan.reused, plan.codes,
    )  # fmt: skip
    return dataclasses.replace(plan, saved=saved)


@functools.cache
def cost_of_frequency() -> NDArray[np.float64]:
    """(65537,) bits of a symbol by its frequency; that of 0 is not used."""
    return 16 - np.log2(np.maximum(np.arange(TOTAL + 1), 1))


@njit
def _count(values: Any, rows: Any, start: Any, size: Any, offset: Any, counts: Any) -> None:
    for i in range(values.size):
        row = rows[i]
        symbol = np.int64(values[i]) - offset[row]
        last = np.int64(size[row]) - 1
        counts[start[row] + (symbol if 0 <= symbol < last else last)] += 1


@njit
def _choose(
    family: I64, rows: Any, counts: Any, cdf: Any, start: Any, size: Any, offset: Any, before: Any, before_codes: Any,
    chance: Any, seen: Any, mask_bits: Any, mask_start: Any, cost: Any, components: Any, reused: Any, codes: Any,
) -> float:  # fmt: skip
    """Fill the plan; returns the bits saved over a frame that says nothing."""
    longest = size.max()
    work = np.empty((2, longest), np.int64)
    trial = np.empty(CODES_MAX, np.int64)
    other = np.empty(CODES_MAX, np.int64)
    best = np.empty(CODES_MAX, np.int64)
    normal = np.empty((7, COMPONENTS), np.float64)
    saved = 0.0
    count_bits = mask_bits[mask_start[mask_start.size - 1] :]
    for i in range(rows.size):
        row = rows[i]
        base, values = start[row], np.int64(size[row]) - 1
        escape = np.int64(cdf[base + values + 1]) - np.int64(cdf[base + values])
        first = np.int64(offset[row])
        here = counts[base : base + values]
        which = REPLACED_AGAIN if before[i] else REPLACED_ANEW
        said = mask_start[mask_row(chance[which])]
        keep_mask, replace_mask = mask_bits[said], mask_bits[said + 1]
        learned = 0.0
        for j in range(values):
            if here[j]:
                learned += here[j] * cost[np.int64(cdf[base + j + 1]) - np.int64(cdf[base + j])]
        keep = learned + keep_mask
        lowest = keep
        if before[i]:
            said = mask_start[mask_row(chance[REUSED])]
            for j in range(CODES_MAX):
                trial[j] = before_codes[i, j]
            total = _bits(family, np.int64(before[i]), trial, here, first, escape, cost, work)
            total += replace_mask + mask_bits[said + 1]
            if total < lowest:
                lowest = total
                components[i], reused[i], codes[i] = before[i], 1, before_codes[i]
            replace_mask += mask_bits[said]
        limit = replace_mask + _entropy(here, cost, TOTAL - escape)
        if limit + CODE_BITS * code_count(family, 1) < lowest:
            found, total = _search(
                family, here, first, escape, cost, count_bits, limit, lowest, replace_mask,
                best, trial, other, work, normal,
            )  # fmt: skip
            if total < lowest:
                lowest = total
                components[i], reused[i] = found, 0
                for j in range(CODES_MAX):
                    codes[i, j] = best[j] if j < code_count(family, found) else 0
        saved += learned - lowest
        learn(chance, seen, which, 1 if components[i] else 0)
        if components[i] and before[i]:
            learn(chance, seen, REUSED, np.int64(reused[i]))
    return saved


@primitive
def _bits(family: I64, count: I64, codes: Any, here: Any, first: I64, escape: I64, cost: Any, work: Any) -> float:
    """Bits of a histogram with the table that codes give."""
    frequencies(family, count, codes, first, here.size, escape, work[0], work[1])
    total = 0.0
    for j in range(here.size):
        if here[j]:
            total += here[j] * cost[work[1, j]]
    return total


@primitive
def _entropy(here: Any, cost: Any, share_of: I64) -> float:
    """Least bits of a histogram with any table that has share_of / 65536 for its values."""
    whole, total = np.int64(0), 0.0
    for j in range(here.size):
        whole += here[j]
    for j in range(here.size):
        if here[j]:
            total += here[j] * np.log2(whole / here[j])
    return total + whole * cost[share_of]


@primitive
def _search(
    family: I64, here: Any, first: I64, escape: I64, cost: Any, count_bits: Any, limit: float, ceiling: float,
    said: float, best: Any, trial: Any, other: Any, work: Any, normal: Any,
) -> tuple[I64, float]:  # fmt: skip
    """Best codes (into `best`), their number of components, and their bits with everything that is said.

    limit: bits below which no table gets; ceiling: those to beat; said: those of the masks.
    """
    if family == GAUSSIAN:
        total = _search_scale(here, first, escape, cost, best, work)
        return 1, total + said + CODE_BITS
    found, lowest = 1, ceiling
    for count in range(1, COMPONENTS + 1):
        sides = count_bits[count - 1] + CODE_BITS * code_count(family, count)
        if limit + sides >= lowest:
            break
        total = _search_mixture(count, here, first, escape, cost, trial, other, work, normal) + said + sides
        if total < lowest:
            found, lowest = count, total
            for j in range(CODES_MAX):
                best[j] = trial[j]
    return found, lowest


@primitive
def _search_scale(here: Any, first: I64, escape: I64, cost: Any, best: Any, work: Any) -> float:
    """The scale of a zero-mean Gaussian: every 32nd code, every 8th near the lowest, every one near the lowest."""
    lowest, center = np.inf, np.int64(SCALE_CODES // 2)
    for step, reach in ((32, 16), (8, 8), (1, 8)):
        middle = center
        for i in range(-reach, reach + 1):
            best[0] = middle + i * step
            if 0 <= best[0] < SCALE_CODES and (i != 0 or lowest == np.inf):
                total = _bits(GAUSSIAN, 1, best, here, first, escape, cost, work)
                if total < lowest:
                    center, lowest = best[0], total
    best[0] = center
    return lowest


@primitive
def _search_mixture(
    count: I64, here: Any, first: I64, escape: I64, cost: Any, best: Any, trial: Any, work: Any, normal: Any
) -> float:  # fmt: skip
    """Codes (into `best`) of a mixture of `count` components, and the bits of the values alone."""
    whole, mean, square = 0.0, 0.0, 0.0
    for j in range(here.size):
        whole += here[j]
        mean += here[j] * float(j)
        square += here[j] * float(j) * j
    mean /= whole
    scale = np.sqrt(max(square / whole - mean * mean - 1 / 12, NARROWEST**2))
    lowest = np.inf
    for start in range(STARTS if count > 1 else 1):
        for k in range(count):
            side = k - 0.5 * (count - 1)
            normal[0, k] = mean + (START_SHIFT * side * scale if start == 1 else 0.0)
            normal[1, k] = scale * (START_SPREAD**side if start == 0 else START_WIDTH)
            normal[2, k] = 1 / count
        if count > 1:
            _expectation_maximisation(count, here, normal)
        _to_codes(count, here.size, normal, trial)
        total = _bits(MIXTURE, count, trial, here, first, escape, cost, work)
        if total < lowest:
            lowest = total
            for j in range(code_count(MIXTURE, count)):
                best[j] = trial[j]
    return _descend(count, here, first, escape, cost, best, lowest, work)


@primitive
def _descend(
    count: I64, here: Any, first: I64, escape: I64, cost: Any, codes: Any, lowest: float, work: Any
) -> float:  # fmt: skip
    """Move one code at a time while that saves bits, by smaller and smaller steps."""
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for j in range(code_count(MIXTURE, count)):
                for direction in (-1, 1):
                    old = codes[j]
                    codes[j] = min(max(old + direction * step, 0), _CODE_MAX)
                    if codes[j] == old:
                        continue
                    total = _bits(MIXTURE, count, codes, here, first, escape, cost, work)
                    if total < lowest:
                        lowest, moved = total, True
                    else:
                        codes[j] = old
    return lowest


@primitive
def _expectation_maximisation(count: I64, here: Any, normal: Any) -> None:
    """Fit means, scales and weights, the rows of `normal`, to the histogram; densities stand for masses."""
    for _ in range(ROUNDS):
        for k in range(count):
            normal[3, k] = 0.0  # count, sum and sum of squares about the old mean
            normal[4, k] = 0.0
            normal[5, k] = 0.0
        for j in range(here.size):
            if here[j] == 0:
                continue
            together = 0.0
            for k in range(count):
                spread = normal[1, k] * normal[1, k] + 1 / 12
                away = j - normal[0, k]
                normal[6, k] = normal[2, k] * np.exp(-0.5 * away * away / spread) / np.sqrt(spread) + 1e-30
                together += normal[6, k]
            for k in range(count):
                part = here[j] * normal[6, k] / together
                away = j - normal[0, k]
                normal[3, k] += part
                normal[4, k] += part * away
                normal[5, k] += part * away * away
        whole = 0.0
        for k in range(count):
            whole += normal[3, k]
        for k in range(count):
            weight = max(normal[3, k], 1e-9)
            shift = normal[4, k] / weight
            variance = normal[5, k] / weight - shift * shift - 1 / 12
            normal[0, k] = min(max(normal[0, k] + shift, 0.0), here.size - 1.0)
            normal[1, k] = np.sqrt(max(variance, NARROWEST**2))
            normal[2, k] = weight / whole


@primitive
def _to_codes(count: I64, values: I64, normal: Any, codes: Any) -> None:
    left = 1.0
    for k in range(count):
        codes[k] = _code(normal[0, k] / (values - 1) * _CODE_MAX)
        codes[count + k] = _code((np.log2(normal[1, k]) + 4) * SCALE_STEPS)
        if k < count - 1:
            codes[2 * count + k] = _code(normal[2, k] / max(left, 1e-9) * SCALE_CODES - 0.5)
            left -= normal[2, k]


@primitive
def _code(value: float) -> I64:
    return np.int64(min(max(np.floor(value + 0.5), 0.0), float(_CODE_MAX)))
