"""What to replace in a frame: Algorithm 1 of paper 1 on the tables that rANS will use.

For each candidate, in order, with its values' histogram: keep the learned table, use the codes of the frame before
again, or send new codes, whichever takes the fewest bits, masks and codes included.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import I64
from nvc.entropy_coding.tables import TOTAL
from nvc.entropy_models.code_search import Slice, search, slice_bits
from nvc.entropy_models.families import CODES_MAX, COMPONENTS
from nvc.entropy_models.reparameterized import (
    FORM_ROW,
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


@dataclass(frozen=True)
class Options:
    """price: share of what new codes take that is charged to the frame; less than 1 bets on frames that reuse them.

    components: of a replacement, at most; coarse: whether codes of 6 bits are tried. What paper 1 does has
    components 1 for main tables, no coarse codes, price 1.
    """

    price: float = 1.0
    components: int = COMPONENTS
    coarse: bool = True


ALONE = Options()
BEFORE_OTHERS = Options(price=0.6)  # for frames that another may follow: saves more over the group than 1, 0.8, 0.4


def choose(part: Candidates, values: ArrayLike, rows: ArrayLike, state: State, options: Options = ALONE) -> Plan:
    """The plan that takes the fewest bits.

    values: the integers to code; rows: their tables, any shape that broadcasts to the values'.
    """
    return choose_by_counts(part, histogram(part, values, rows), state, options)


def histogram(part: Candidates, values: ArrayLike, rows: ArrayLike) -> NDArray[np.int64]:
    """(E,) counts, laid out as the part's cdf: count of symbol s of row r at start[r] + s."""
    numbers = np.ascontiguousarray(values, np.int32)
    index = np.asarray(rows)
    if index.dtype != np.uint8:
        index = index.astype(np.int32)
    index = np.ascontiguousarray(np.broadcast_to(index, numbers.shape))
    if index.size and (index.min() < 0 or index.max() >= len(part.tables)):
        raise ValueError("a value's row is not in the table set")
    tables = part.tables
    counts = np.zeros(tables.cdf.size, np.int64)
    _count(numbers.reshape(-1), index.reshape(-1), tables.start, tables.size, tables.offset, counts)
    return counts


def choose_by_counts(part: Candidates, counts: NDArray[np.int64], state: State, options: Options = ALONE) -> Plan:
    """As `choose`, from the histogram."""
    plan = Plan.empty(len(part))
    tables = part.tables
    saved = _choose(
        part.family, part.rows, counts, tables.cdf, tables.start, tables.size, tables.offset,
        state.previous.components, state.previous.codes, state.chance.copy(), state.seen.copy(),
        MASK_TABLES.bits, MASK_TABLES.start, _cost_of_frequency(), float(options.price), options.components,
        options.coarse, plan.components, plan.reused, plan.codes,
    )  # fmt: skip
    return dataclasses.replace(plan, saved=saved)


@functools.cache
def _cost_of_frequency() -> NDArray[np.float64]:
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
    chance: Any, seen: Any, mask_bits: Any, mask_start: Any, cost: Any, price: float, most: I64, coarse_too: bool,
    components: Any, reused: Any, codes: Any,
) -> float:  # fmt: skip
    """Fill the plan; returns the bits saved over a frame that says nothing."""
    table = np.empty((2, size.max()), np.int64)
    trial, other, best = np.empty(CODES_MAX, np.int64), np.empty(CODES_MAX, np.int64), np.empty(CODES_MAX, np.int64)
    normal = np.empty((7, COMPONENTS), np.float64)
    form_bits = mask_bits[mask_start[FORM_ROW] :]
    saved = 0.0
    for i in range(rows.size):
        row = rows[i]
        base, values = start[row], np.int64(size[row]) - 1
        escape = np.int64(cdf[base + values + 1]) - np.int64(cdf[base + values])
        here = counts[base : base + values]
        part = Slice(family, here, np.int64(offset[row]), escape, cost, table, trial, other, normal)
        learned = _learned_bits(here, cdf[base : base + values + 1], cost)
        which = REPLACED_AGAIN if before[i] else REPLACED_ANEW
        said = mask_start[mask_row(chance[which])]
        keep, new = mask_bits[said], np.float64(mask_bits[said + 1])
        lowest = learned + keep
        if before[i]:
            said = mask_start[mask_row(chance[REUSED])]
            trial[:] = before_codes[i]
            again = slice_bits(part, np.int64(before[i]), trial) + new + mask_bits[said + 1]
            if again < lowest:
                lowest = again
                components[i], reused[i], codes[i] = before[i], 1, before_codes[i]
            new += mask_bits[said]
        limit = _entropy(here, cost, TOTAL - escape)
        if here.any() and limit + new < lowest:
            found, total, unpaid = search(part, form_bits, price, most, coarse_too, limit, lowest - new, best)
            if total + new < lowest:
                lowest = total + new
                saved -= unpaid
                components[i], reused[i] = found, 0
                codes[i] = best
        saved += learned - lowest
        learn(chance, seen, which, 1 if components[i] else 0)
        if components[i] and before[i]:
            learn(chance, seen, REUSED, np.int64(reused[i]))
    return saved


@primitive
def _learned_bits(here: Any, row: Any, cost: Any) -> float:
    """Bits of a histogram with a table as it is."""
    total = 0.0
    for j in range(here.size):
        if here[j]:
            total += here[j] * cost[np.int64(row[j + 1]) - np.int64(row[j])]
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
