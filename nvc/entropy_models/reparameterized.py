"""Re-parameterised tables: masks and codes in the stream that replace learned tables for one frame (paper 1).

    part = Candidates(tables, rows, family)                    once
    state = State(part)                                        at every frame without predecessor

    plan = choose(part, values, rows, state)                   encoder: nvc.entropy_models.reparameterized_fit
    plan = code(coder, part, plan, state)                      all coders; the Decoder is given None
    tables = replaced_tables(part, plan)                       code the values with these
    state.update(plan)                                         afterwards, in both

Nothing here knows what the tables code: a part is a TableSet and a list of its rows. Whether a frame is
re-parameterised at all is a bit outside; if it is not, `state.update(None)`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Coder
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import BAD_ESCAPE, DECODE, I64, WalkState, fail, failed, step, step_bits
from nvc.entropy_coding.tables import TOTAL, TableSet
from nvc.entropy_models.families import (
    COARSE_BITS,
    COARSE_REST,
    CODE_BITS,
    CODES_MAX,
    COMPONENTS,
    code_count,
    frequencies,
    is_coarse,
    replaceable,
)

# What a mask bit depends on: whether the candidate was replaced in the frame before; and what it says.
REPLACED_ANEW, REPLACED_AGAIN, REUSED = 0, 1, 2
CHANCES = 3
CHANCE_BITS = 16
CHANCE_ROWS = 64  # tables of mask bits, by their chance of a 1
CHANCE_START = (8192, 49152, 49152)  # in 2^-16
CHANCE_MEMORY = 30
_CHANCE_SHIFT = CHANCE_BITS - 6
FORM_ROW = CHANCE_ROWS
FORMS = 2 * COMPONENTS
# Of one, two, three components with fine codes, then with coarse ones: fine ones pay where a table has much to code.
_FORM_COUNTS = (9000, 1000, 500, 36000, 14000, 5035)


def _mask_tables() -> TableSet:
    """Rows of a mask bit by its chance, then the row of the form of codes."""
    rows: list[list[int]] = []
    for row in range(CHANCE_ROWS):
        ones = (2 * row + 1) * TOTAL // (2 * CHANCE_ROWS)
        rows.append([0, TOTAL - 1 - ones, TOTAL - 1, TOTAL])
    rows.append([0, *np.cumsum(_FORM_COUNTS).tolist(), TOTAL])
    return TableSet.from_rows(rows, [0] * len(rows))


MASK_TABLES = _mask_tables()


@dataclass(frozen=True, eq=False)
class Candidates:
    """The rows of a table set that a frame may replace.

    rows: (n,) int64 in the order of their masks, none twice; family: MIXTURE or CENTRED.
    Raises ValueError for a row that is not in the set, or has no replacement (families.replaceable).
    """

    tables: TableSet
    rows: NDArray[np.int64]
    family: int

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows, np.int64)
        object.__setattr__(self, "rows", rows)
        if rows.ndim != 1 or np.unique(rows).size != rows.size:
            raise ValueError("the candidates are a list of rows, none twice")
        if rows.size and (rows.min() < 0 or rows.max() >= len(self.tables)):
            raise ValueError("a candidate is no row of its table set")
        if not replaceable(self.tables, rows, self.family).all():
            raise ValueError("a candidate's table has too few or too many values for a replacement, or none near 0")

    def __len__(self) -> int:
        return int(self.rows.size)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is replaced in one frame, for n candidates.

    components: (n,) uint8, 0 where the learned table stays; reused: (n,) uint8, 1 where the codes are those of the
    frame before; codes: (n, 8) uint16, the first `code_count` of each row, the rest 0.
    saved: bits that the encoder expects it to save over a frame that says nothing; may be negative.
    """

    components: NDArray[np.uint8]
    reused: NDArray[np.uint8]
    codes: NDArray[np.uint16]
    saved: float = 0.0

    @classmethod
    def empty(cls, candidates: int) -> "Plan":
        """Nothing is replaced."""
        return cls(
            np.zeros(candidates, np.uint8), np.zeros(candidates, np.uint8), np.zeros((candidates, CODES_MAX), np.uint16)
        )

    @property
    def replaced(self) -> int:
        """How many tables are replaced."""
        return int(np.count_nonzero(self.components))


@dataclass(eq=False)
class State:
    """What encoder and decoder remember of a part from frame to frame; a new one where there is no predecessor.

    previous: what the frame before replaced. chance, seen: (3,) int64, the mask bits' chances of a 1 in 2^-16, and
    how many bits they rest on.
    """

    part: Candidates
    previous: Plan = field(init=False)
    chance: NDArray[np.int64] = field(init=False)
    seen: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.previous = Plan.empty(len(self.part))
        self.chance = np.array(CHANCE_START, np.int64)
        self.seen = np.full(CHANCES, 2, np.int64)

    def update(self, plan: Plan | None) -> None:
        """After a frame: what it replaced is what the next may reuse. None: it replaced nothing, and said nothing."""
        if plan is not None:
            _learn_masks(self.previous.components, plan.components, plan.reused, self.chance, self.seen)
        self.previous = plan or Plan.empty(len(self.part))


def code(coder: Coder, part: Candidates, plan: Plan | None, state: State) -> Plan:
    """Code the masks and codes of a frame; returns the plan, the decoded one where the coder is a Decoder.

    The state is left as it is. Raises BadStream (Decoder), ValueError for a plan that does not fit the state.
    """
    n = len(part)
    decoding = coder.mode == DECODE
    result = Plan.empty(n) if decoding or plan is None else plan
    if not decoding and not _fits(result, state):
        raise ValueError("the plan does not fit its candidates, or reuses codes that the frame before did not have")
    coder.run(
        _walk, MASK_TABLES, n * (3 + CODES_MAX), part.family, result.components, result.reused, result.codes,
        state.previous.components, state.previous.codes, state.chance.copy(), state.seen.copy(),
    )  # fmt: skip
    return result


def replaced_tables(part: Candidates, plan: Plan) -> TableSet:
    """The part's tables, those that the plan replaces replaced."""
    if plan.replaced == 0:
        return part.tables
    cdf = part.tables.cdf.copy()
    tables = part.tables
    _replace(part.family, part.rows, plan.components, plan.codes, tables.start, tables.size, tables.offset, cdf)
    return TableSet(cdf, tables.start, tables.size, tables.offset)


def _fits(plan: Plan, state: State) -> bool:
    """Whether a decoder in this state can be told the plan."""
    part, before = state.part, state.previous
    n = len(part)
    if plan.components.shape != (n,) or plan.reused.shape != (n,) or plan.codes.shape != (n, CODES_MAX):
        return False
    if n and (plan.components.max() > COMPONENTS or plan.codes.max() >> CODE_BITS):
        return False
    again = plan.reused != 0
    same = (plan.codes[again] == before.codes[again]).all() and np.array_equal(
        plan.components[again], before.components[again]
    )
    return bool(same and before.components[again].all())


@primitive
def mask_row(chance: Any) -> Any:
    """Table of a mask bit whose chance of a 1 is `chance`."""
    return chance >> _CHANCE_SHIFT


@primitive
def learn(chance: Any, seen: Any, which: I64, bit: I64) -> None:
    """Move a chance towards the bit that came."""
    chance[which] += ((bit << CHANCE_BITS) - bit - chance[which]) // (seen[which] + 2)
    seen[which] = min(seen[which] + 1, CHANCE_MEMORY)


@njit
def _learn_masks(before: Any, components: Any, reused: Any, chance: Any, seen: Any) -> None:
    for i in range(components.size):
        learn(chance, seen, REPLACED_AGAIN if before[i] else REPLACED_ANEW, 1 if components[i] else 0)
        if components[i] and before[i]:
            learn(chance, seen, REUSED, 1 if reused[i] else 0)


@njit
def _walk(
    state: WalkState, family: I64, components: Any, reused: Any, codes: Any, before: Any, before_codes: Any,
    chance: Any, seen: Any,
) -> None:  # fmt: skip
    decoding = state.mode == DECODE
    for i in range(components.size):
        replaced = _bit(state, chance, seen, REPLACED_AGAIN if before[i] else REPLACED_ANEW, components[i] != 0)
        if replaced == 0:
            continue
        if before[i]:
            again = _bit(state, chance, seen, REUSED, reused[i])
            if again:
                if decoding:
                    reused[i], components[i], codes[i] = 1, before[i], before_codes[i]
                continue
        short = is_coarse(codes[i], code_count(family, np.int64(components[i])))
        form = step(state, FORM_ROW, components[i] - 1 + (COMPONENTS if short else 0))
        if form < 0 or form >= FORMS:
            fail(state, BAD_ESCAPE)
        if failed(state):
            return
        count = form % COMPONENTS + 1
        hidden = CODE_BITS - COARSE_BITS if form >= COMPONENTS else 0
        for j in range(code_count(family, count)):
            value = step_bits(state, CODE_BITS - hidden, np.int64(codes[i, j]) >> hidden)
            if decoding:
                codes[i, j] = value << hidden | (COARSE_REST if hidden else 0)
        if decoding:
            components[i] = count


@primitive
def _bit(state: WalkState, chance: Any, seen: Any, which: I64, value: Any) -> I64:
    bit = step(state, mask_row(chance[which]), value)
    if bit < 0 or bit > 1:
        fail(state, BAD_ESCAPE)
        bit = 0
    learn(chance, seen, which, bit)
    return bit


@njit
def _replace(family: I64, rows: Any, components: Any, codes: Any, start: Any, size: Any, offset: Any, cdf: Any) -> None:
    longest = size.max()
    mass, frequency = np.empty(longest, np.int64), np.empty(longest, np.int64)
    for i in range(rows.size):
        if components[i] == 0:
            continue
        base, values = start[rows[i]], np.int64(size[rows[i]]) - 1
        escape = np.int64(cdf[base + values + 1]) - np.int64(cdf[base + values])
        frequencies(
            family, np.int64(components[i]), codes[i], np.int64(offset[rows[i]]), values, escape, mass, frequency
        )
        running = np.int64(0)
        for j in range(values):
            cdf[base + j] = running
            running += frequency[j]
