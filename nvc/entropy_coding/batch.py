"""Compiled loops over symbols whose tables are known beforehand: `step` with the coder's state kept in registers."""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import primitive
from nvc.entropy_coding.rans import (
    BAD_ROW,
    BUCKET_BITS,
    DECODE,
    ENCODE,
    ERROR,
    EXHAUSTED,
    LOWER,
    NO_ROOM,
    POSITION,
    PRECISION,
    WalkState,
    X,
    fail,
    get_escape,
    step,
    step_bits,
)

_NO_ERROR, _ONE = np.uint64(0), np.uint64(1)
_MASK16 = np.uint64(0xFFFF)
_SHIFT16, _SHIFT32 = np.uint64(16), np.uint64(32)
_BUCKET_SHIFT = np.uint64(PRECISION - BUCKET_BITS)


@primitive
def code_rows(state: WalkState, values: NDArray[np.int32], rows: NDArray[np.int32], stride: int) -> None:
    """Code values[i] with table rows[i * stride]; a stride of 0 uses rows[0] for all. DECODE overwrites `values`."""
    for i in range(rows.size):
        if rows[i] < 0 or rows[i] >= state.size.size:
            fail(state, BAD_ROW)
    if state.registers[ERROR] != _NO_ERROR:
        return
    if state.mode == DECODE:
        _decode_rows(state, values, rows, stride)
    elif state.mode == ENCODE:
        _encode_rows(state, values, rows, stride)
    else:
        _estimate_rows(state, values, rows, stride)


@primitive
def code_bits(state: WalkState, values: NDArray[np.int32], width: int) -> None:
    """Code uniform integers of `width` bits. DECODE overwrites `values`."""
    for i in range(values.size):
        values[i] = step_bits(state, width, values[i])


@primitive
def operation_bits(operations: NDArray[np.uint32], cost: NDArray[np.float64]) -> float:
    """Sum of cost[freq] over the operations; halves of an escape's remainder are counted by their nibbles."""
    total = 0.0
    i = 0
    while i < operations.size:
        freq = operations[i] & np.uint32(0xFFFF)
        if freq != 0:
            total += cost[freq]
            i += 1
        else:
            raw = (operations[i] & np.uint32(0xFFFF0000)) | (operations[i + 1] >> np.uint32(16))
            total += 4
            while raw != 0:
                raw >>= np.uint32(4)
                total += 4
            i += 2
    return total


@primitive
def _estimate_rows(state: WalkState, values: NDArray[np.int32], rows: NDArray[np.int32], stride: int) -> None:
    start, size, offset, cost = state.start, state.size, state.offset, state.cost
    total = 0.0
    for i in range(values.size):
        row = rows[i * stride]
        symbol = np.int64(values[i]) - offset[row]
        if 0 <= symbol < size[row] - 1:
            total += cost[start[row] + symbol]
        else:
            step(state, row, values[i])
    state.bits[0] += total


@primitive
def _encode_rows(state: WalkState, values: NDArray[np.int32], rows: NDArray[np.int32], stride: int) -> None:
    cdf, start, size, offset, words = state.cdf, state.start, state.size, state.offset, state.words
    position = np.int64(state.registers[POSITION])
    for i in range(values.size):
        row = rows[i * stride]
        symbol = np.int64(values[i]) - offset[row]
        if 0 <= symbol < size[row] - 1:
            if position >= words.size:
                fail(state, NO_ROOM)
                return
            low = cdf[start[row] + symbol]
            words[position] = (low << np.uint32(16)) | (cdf[start[row] + symbol + 1] - low)
            position += 1
        else:
            state.registers[POSITION] = np.uint64(position)
            step(state, row, values[i])
            position = np.int64(state.registers[POSITION])
    state.registers[POSITION] = np.uint64(position)


@primitive
def _decode_rows(state: WalkState, values: NDArray[np.int32], rows: NDArray[np.int32], stride: int) -> None:
    cdf, start, size, offset, lookup = state.cdf, state.start, state.size, state.offset, state.lookup
    words = state.words
    x = state.registers[X]
    position = np.int64(state.registers[POSITION])
    for i in range(values.size):
        row = np.int64(rows[i * stride])
        slot = x & _MASK16
        base = start[row]
        symbol = np.int64(lookup[(row << BUCKET_BITS) | np.int64(slot >> _BUCKET_SHIFT)])
        low = np.uint64(cdf[base + symbol])
        high = np.uint64(cdf[base + symbol + 1])
        while high <= slot:
            symbol += 1
            low = high
            high = np.uint64(cdf[base + symbol + 1])
        x = (high - low) * (x >> _SHIFT16) + slot - low
        if x < LOWER:
            if position >= words.size:
                fail(state, EXHAUSTED)
                return
            x = (x << _SHIFT32) | np.uint64(words[position])
            position += 1
        if symbol != size[row] - 1:
            values[i] = symbol + offset[row]
        else:
            state.registers[X] = x
            state.registers[POSITION] = np.uint64(position)
            values[i] = get_escape(state, np.int64(size[row]) - 1, np.int64(offset[row]))
            if state.registers[ERROR] != _NO_ERROR:
                return
            x = state.registers[X]
            position = np.int64(state.registers[POSITION])
    state.registers[X] = x
    state.registers[POSITION] = np.uint64(position)
