"""Walks: compiled code that chooses each table by what was coded before, written once for the three coders."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Coder, Decoder, Encoder, Estimator
from nvc.entropy_coding.jit import njit
from nvc.entropy_coding.rans import WalkState, failed, flush, nibbles, step, step_bits
from nvc.entropy_coding.tables import TableSet
from nvc.errors import BadStream


@njit
def _context_walk(state: WalkState, values: NDArray[np.int32]) -> None:
    """values (C, H, W); row = 3 * channel + how many of the upper and left neighbours are not 0."""
    channels, height, width = values.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                context = 0
                if i > 0 and values[c, i - 1, j] != 0:
                    context += 1
                if j > 0 and values[c, i, j - 1] != 0:
                    context += 1
                values[c, i, j] = step(state, 3 * c + context, values[c, i, j])


@njit
def _two_sets(flags: WalkState, symbols: WalkState, active: NDArray[np.int32], values: NDArray[np.int32]) -> int:
    """One flag a channel, 6 raw bits and the values of the active ones; returns how many were active."""
    count = 0
    for c in range(active.size):
        active[c] = step(flags, 0, active[c])
        if active[c]:
            count += 1
            values[c, 0] = step_bits(symbols, 6, values[c, 0])
            for i in range(1, values.shape[1]):
                values[c, i] = step(symbols, c, values[c, i])
    return count


@njit
def _count_steps(state: WalkState, limit: int) -> int:
    for i in range(limit):
        step(state, 0, 0)
        if failed(state):
            return i
    return limit


CHANNELS, HEIGHT, WIDTH = 4, 9, 7


def _tables() -> TableSet:
    random = np.random.default_rng(0)
    sizes = random.integers(3, 20, 3 * CHANNELS)
    return TableSet.from_histograms([random.gamma(0.5, size=n) for n in sizes], -(sizes // 2))


def _latent() -> NDArray[np.int32]:
    latent = np.random.default_rng(1).laplace(0, 3, (CHANNELS, HEIGHT, WIDTH)).round().astype(np.int32)
    latent[2, 3, 4] = 1_000_000
    return latent


def _rows_by_numpy(latent: NDArray[np.int32]) -> NDArray[np.int64]:
    padded = np.pad(latent != 0, ((0, 0), (1, 0), (1, 0))).astype(np.int64)
    return 3 * np.arange(CHANNELS)[:, None, None] + padded[:, :-1, 1:] + padded[:, 1:, :-1]


def test_a_walk_codes_what_its_rows_would() -> None:
    tables, latent = _tables(), _latent()
    walked, given = Encoder(), Encoder()
    walked.run(_context_walk, tables, latent.size, latent.copy())
    given.code(latent, _rows_by_numpy(latent), tables)
    assert walked.finish() == given.finish()
    estimator = Estimator()
    estimator.run(_context_walk, tables, latent.size, latent.copy())
    assert walked.bits == pytest.approx(given.bits, rel=1e-12)
    assert estimator.bits == pytest.approx(given.bits, rel=1e-6)


def test_a_walk_reads_back_what_it_wrote() -> None:
    tables, latent = _tables(), _latent()
    encoder = Encoder()
    encoder.run(_context_walk, tables, latent.size, latent.copy())
    decoder = Decoder(encoder.finish())
    back = np.zeros_like(latent)
    decoder.run(_context_walk, tables, back.size, back)
    decoder.finish()
    assert np.array_equal(back, latent)
    assert decoder.bits == pytest.approx(encoder.bits, abs=0.1)


def test_a_walk_over_two_table_sets() -> None:
    flags, tables, latent = TableSet.from_rows([[0, 40000, 65535, 65536]], [0]), _tables(), _latent()
    values = latent.reshape(CHANNELS, -1)
    values[:, 0] &= 63
    values[1] = 0
    active = values.any(axis=1).astype(np.int32)
    encoder = Encoder()
    assert encoder.run(_two_sets, (flags, tables), 4 + values.size, active.copy(), values.copy()) == 3
    decoder = Decoder(encoder.finish())
    back_active, back = np.zeros_like(active), np.zeros_like(values)
    assert decoder.run(_two_sets, (flags, tables), 0, back_active, back) == 3
    decoder.finish()
    assert np.array_equal(back_active, active)
    assert np.array_equal(back, values)


def test_a_walk_that_codes_more_than_announced() -> None:
    encoder = Encoder()
    with pytest.raises(ValueError, match="more symbols than it had announced"):
        encoder.run(_count_steps, _tables(), 2, 1000)


@pytest.mark.parametrize("length", [8, 12, 16, 40])
def test_a_walk_over_a_cut_stream_ends_and_is_refused(length: int) -> None:
    tables, latent = _tables(), _latent()
    encoder = Encoder()
    encoder.run(_context_walk, tables, latent.size, latent.copy())
    decoder = Decoder(encoder.finish()[:length])
    back = np.zeros_like(latent)
    with pytest.raises(BadStream, match="ends too early"):
        decoder.run(_context_walk, tables, back.size, back)
    assert not back[-1].any()  # what follows the failure is 0


def test_a_walk_can_stop_at_the_first_failure() -> None:
    state = Decoder(Encoder().finish()).walk_state(_tables(), 0)
    assert _count_steps(state, 10**12) < 1000


def test_a_row_outside_the_set_is_the_walks_mistake() -> None:
    only_row = TableSet.from_rows([[0, 40000, 65536]], [1])
    ones = np.ones((1, 1, 2), np.int32)  # the second 1 has a deviating neighbour and asks for row 1
    encoder = Encoder()
    encoder.code(ones, 0, only_row)
    coders: list[Coder] = [Estimator(), Encoder(), Decoder(encoder.finish())]
    for coder in coders:
        with pytest.raises(ValueError, match="row is not in the table set"):
            coder.run(_context_walk, only_row, 2, ones.copy())


@pytest.mark.parametrize(("raw", "count"), [(0, 0), (1, 1), (15, 1), (16, 2), (2**27, 7), (2**28 - 1, 7)])
def test_nibbles(raw: int, count: int) -> None:
    assert nibbles(np.uint64(raw)) == count


def test_flush_fits_its_room_at_the_highest_cost() -> None:
    """16 bits an operation and escapes of 7 nibbles: the most words that operations can make."""
    operations = np.tile(np.array([65535 << 16 | 1, 0xFFF << 16, 0xFFFF << 16], np.uint32), 1000)
    words = np.full(operations.size + 2 + 1, 0xABCD, np.uint32)
    first = flush(operations, words[1:])
    assert words[0] == 0xABCD
    assert 0 <= first < operations.size + 2
