"""The rANS coder's arithmetic, as compiled functions that other compiled functions call symbol by symbol.

Streams have the layout of compressai's `ans` (derivations: docs/rans.md): a 64-bit state x with
2^31 <= x < 2^63, renormalised by 32-bit little-endian words, probabilities of 16 bits, escapes as nibbles.

An entropy model is written once, as an `njit` *walk* that calls `step(state, row, value)` for every symbol in
coding order and goes on with the value that comes back. What a step does depends on the mode of `state`, a
`WalkState` that one of the coders of `coder.py` hands out:

    ESTIMATE  adds the cost of `value` to state.bits
    ENCODE    appends `value` to the operations, which `flush` turns into words last to first
    DECODE    ignores `value` and returns the next symbol of the stream

Nothing here raises. The first failure is noted in state.registers[ERROR] and every step after it returns 0, so that
a walk runs on harmlessly (or asks `failed`); the coder turns the code into an exception.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import primitive

ESTIMATE, ENCODE, DECODE = 0, 1, 2

# registers, uint64: the state x (DECODE); operations written (ENCODE) or words read (DECODE); error code
X, POSITION, ERROR = 0, 1, 2

# values of registers[ERROR]
NO_ERROR, BAD_ROW, BAD_VALUE, BAD_BITS, NO_ROOM, EXHAUSTED, BAD_ESCAPE = 0, 1, 2, 3, 4, 5, 6

PRECISION = 16  # bits of a probability
VALUE_MAX = 1 << 26  # |value| that can be coded; keeps every escape within ESCAPE_NIBBLES
ESCAPE_NIBBLES = 7  # 28 bits: twice VALUE_MAX plus the largest table
OPERATIONS_PER_SYMBOL = 3  # an escape is its symbol and its remainder in two halves
BUCKET_BITS = 8  # a table's look-up has one entry for each value of the top bits of a slot

STATE_MIN, STATE_MAX = 1 << 31, 1 << 63  # the state is in [STATE_MIN, STATE_MAX)
LOWER = np.uint64(STATE_MIN)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_MASK16, _MASK32 = np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)
_SHIFT4, _SHIFT16, _SHIFT32 = np.uint64(4), np.uint64(16), np.uint64(32)
# put() emits a word when x >= ((LOWER >> bits) << 32) * freq: 2^47 * freq for 16 bits, 2^59 for a nibble
_LIMIT_SHIFT = np.uint64(47)
_NIBBLE_LIMIT = np.uint64(1 << 59)
_BUCKET_SHIFT = np.uint64(PRECISION - BUCKET_BITS)


# Scalars of compiled code: numba's rules, which mypy cannot follow (uint64 with int64 would give float64: never mix)
I64 = Any
U64 = Any


class WalkState(NamedTuple):
    """What a walk needs to call `step`. Handed out by a coder; walks only pass it on.

    mode: ESTIMATE, ENCODE or DECODE.   registers: (3,) uint64, see X, POSITION, ERROR.   bits: (1,) float64.
    words: (n,) uint32, room for operations (ENCODE) or the stream (DECODE).
    The others belong to the TableSet: cdf (E,) uint32, start (T,) int64, size (T,) int32, offset (T,) int32,
    cost (E,) float32 bits (ESTIMATE only), lookup (T << BUCKET_BITS,) uint16 (DECODE only).
    """

    mode: int
    registers: NDArray[np.uint64]
    bits: NDArray[np.float64]
    words: NDArray[np.uint32]
    cdf: NDArray[np.uint32]
    start: NDArray[np.int64]
    size: NDArray[np.int32]
    offset: NDArray[np.int32]
    cost: NDArray[np.float32]
    lookup: NDArray[np.uint16]


@primitive
def failed(state: WalkState) -> bool:
    """Whether any step went wrong so far; a long walk may stop early."""
    return bool(state.registers[ERROR] != _ZERO)


@primitive
def fail(state: WalkState, code: I64) -> I64:
    """Note the first error, and return the value that failed steps return: 0."""
    if state.registers[ERROR] == _ZERO:
        state.registers[ERROR] = np.uint64(code)
    return 0


@primitive
def step(state: WalkState, row: I64, value: I64) -> I64:
    """Code one symbol with table `row` of the state's TableSet; returns the value (the decoded one in DECODE)."""
    if row < 0 or row >= state.size.size or state.registers[ERROR] != _ZERO:
        return fail(state, BAD_ROW)
    base = state.start[row]
    escape = np.int64(state.size[row]) - 1
    offset = np.int64(state.offset[row])
    if state.mode == DECODE:
        symbol = _get_symbol(state, base, row)
        if symbol == escape:
            return get_escape(state, escape, offset)
        return symbol + offset
    symbol = np.int64(value) - offset
    if symbol < 0 or symbol >= escape:
        return _put_escape(state, base, escape, symbol, value)
    if state.mode == ESTIMATE:
        state.bits[0] += state.cost[base + symbol]
    else:
        append(state, state.cdf[base + symbol], state.cdf[base + symbol + 1])
    return value


@primitive
def step_bits(state: WalkState, width: I64, value: I64) -> I64:
    """Code an integer 0 <= value < 2^width whose values are all equally likely, 0 <= width <= 16: width bits."""
    if state.registers[ERROR] != _ZERO:
        return 0
    if width < 0 or width > PRECISION:
        return fail(state, BAD_BITS)
    if state.mode != DECODE and (value < 0 or value >= (1 << width)):
        return fail(state, BAD_VALUE)
    if width == 0:
        return 0
    shift = np.uint64(PRECISION - width)
    if state.mode == DECODE:
        x = state.registers[X]
        raw = (x & _MASK16) >> shift
        advance(state, x, raw << shift, _ONE << shift)
        return np.int64(raw)
    if state.mode == ESTIMATE:
        state.bits[0] += width
    else:
        start = np.uint64(value) << shift
        append(state, np.uint32(start), np.uint32(start + (_ONE << shift)))
    return value


# --- encoding: operations are (start << 16 | freq); freq 0 marks half of an escape's remainder ---


@primitive
def append(state: WalkState, start: U64, end: U64) -> None:
    position = state.registers[POSITION]
    if position >= np.uint64(state.words.size):
        fail(state, NO_ROOM)
        return
    state.words[position] = np.uint32((start << np.uint32(16)) | (end - start))
    state.registers[POSITION] = position + _ONE


@primitive
def _put_escape(state: WalkState, base: I64, escape: I64, symbol: I64, value: I64) -> I64:
    """Escape symbol, then the distance outside the table: odd below it, even above it."""
    if value < -VALUE_MAX or value > VALUE_MAX:
        return fail(state, BAD_VALUE)
    raw = np.uint64(-2 * symbol - 1) if symbol < 0 else np.uint64(2 * (symbol - escape))
    if state.mode == ESTIMATE:
        state.bits[0] += state.cost[base + escape] + 4 * (1 + nibbles(raw))
        return value
    append(state, state.cdf[base + escape], state.cdf[base + escape + 1])
    append(state, np.uint32(raw >> _SHIFT16), np.uint32(raw >> _SHIFT16))
    append(state, np.uint32(raw & _MASK16), np.uint32(raw & _MASK16))
    return value


@primitive
def nibbles(raw: U64) -> I64:
    """How many groups of 4 bits an escape's remainder takes; none for 0."""
    count = 0
    while raw != _ZERO:
        raw >>= _SHIFT4
        count += 1
    return count


@primitive
def _put_nibble(x: U64, nibble: U64, words: NDArray[np.uint32], position: I64) -> tuple[U64, I64]:
    if x >= _NIBBLE_LIMIT:
        position -= 1
        words[position] = np.uint32(x & _MASK32)
        x >>= _SHIFT32
    return (x << _SHIFT4) | nibble, position


@primitive
def flush(operations: NDArray[np.uint32], words: NDArray[np.uint32]) -> I64:
    """Code the operations, last to first, into the end of `words`; returns the index of the stream's first word.

    words: uint32 with at least operations.size + 2 entries. An operation emits at most one word, the two halves
    of an escape's remainder (8 nibbles, 32 bits) at most one between them, and the state two more.
    """
    x = LOWER
    position = words.size
    i = operations.size - 1
    while i >= 0:
        operation = np.uint64(operations[i])
        freq = operation & _MASK16
        if freq != _ZERO:
            if x >= freq << _LIMIT_SHIFT:
                position -= 1
                words[position] = np.uint32(x & _MASK32)
                x >>= _SHIFT32
            quotient = x // freq
            x = (quotient << _SHIFT16) + (x - quotient * freq) + (operation >> _SHIFT16)
        else:
            i -= 1
            raw = (np.uint64(operations[i]) & ~_MASK16) | (operation >> _SHIFT16)
            count = nibbles(raw)
            for k in range(count - 1, -1, -1):
                x, position = _put_nibble(x, (raw >> np.uint64(4 * k)) & np.uint64(15), words, position)
            x, position = _put_nibble(x, np.uint64(count), words, position)
        i -= 1
    words[position - 2] = np.uint32(x & _MASK32)
    words[position - 1] = np.uint32(x >> _SHIFT32)
    return position - 2


# --- decoding ---


@primitive
def advance(state: WalkState, x: U64, start: U64, freq: U64) -> None:
    """Take the symbol [start, start + freq) off the state, then a word from the stream if x fell below LOWER."""
    x = freq * (x >> _SHIFT16) + (x & _MASK16) - start
    state.registers[X] = _refill(state, x)


@primitive
def _refill(state: WalkState, x: U64) -> U64:
    if x < LOWER:
        position = state.registers[POSITION]
        if position >= np.uint64(state.words.size):
            fail(state, EXHAUSTED)
            return LOWER
        x = (x << _SHIFT32) | np.uint64(state.words[position])
        state.registers[POSITION] = position + _ONE
    return x


@primitive
def _get_symbol(state: WalkState, base: I64, row: I64) -> I64:
    x = state.registers[X]
    slot = x & _MASK16
    cdf, lookup = state.cdf, state.lookup
    symbol = np.int64(lookup[(np.int64(row) << BUCKET_BITS) | np.int64(slot >> _BUCKET_SHIFT)])
    start = np.uint64(cdf[base + symbol])
    end = np.uint64(cdf[base + symbol + 1])
    while end <= slot:
        symbol += 1
        start = end
        end = np.uint64(cdf[base + symbol + 1])
    advance(state, x, start, end - start)
    return symbol


@primitive
def _get_nibble(state: WalkState) -> U64:
    x = state.registers[X]
    state.registers[X] = _refill(state, x >> _SHIFT4)
    return x & np.uint64(15)


@primitive
def get_escape(state: WalkState, escape: I64, offset: I64) -> I64:
    count = _get_nibble(state)
    if count > np.uint64(ESCAPE_NIBBLES):
        return fail(state, BAD_ESCAPE)
    raw = _ZERO
    last = _ONE
    for k in range(np.int64(count)):
        last = _get_nibble(state)
        raw |= last << np.uint64(4 * k)
    magnitude = np.int64(raw >> _ONE)
    value = offset + (-magnitude - 1 if raw & _ONE else magnitude + escape)
    # a leading zero nibble, or a value beyond the limit, is something that no encoder writes
    if last == _ZERO or value < -VALUE_MAX or value > VALUE_MAX or state.registers[ERROR] != _ZERO:
        return fail(state, BAD_ESCAPE)
    return value
