"""Coefficients: round trips through all coders, adaptive bits against their arithmetic, limits, damage."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from referee import Stream
from referee_coefficients import Chances as PlainChances
from referee_coefficients import order
from video_streams import random_coefficients

from nvc.coefficients import ORDER_8, ORDER_16, Coefficients
from nvc.entropy_coding.adaptive import LEAST, MOST, beginning, bit_cost, chance, learn, step_bit
from nvc.entropy_coding.coder import Decoder, Encoder, Estimator, no_tables
from nvc.entropy_coding.jit import njit
from nvc.entropy_coding.rans import step_bits
from nvc.entropy_models import coefficients
from nvc.entropy_models.coefficients import BANDS_8, BANDS_16, CONTEXTS, LARGEST, PREFIX
from nvc.errors import BadStream


def fresh(seed: int = 0) -> Any:
    return beginning(np.random.default_rng(seed).integers(LEAST, MOST + 1, CONTEXTS).astype(np.uint16))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 70), st.integers(1, 70), st.sampled_from([0.0, 0.002, 0.05, 1.0]),
    st.sampled_from([0.2, 3.0, 20000.0]),
)  # fmt: skip
def test_round_trip(seed: int, height: int, width: int, share: float, scale: float) -> None:
    """Two frames behind each other: what is decoded, what was learned from it, and what the bits were estimated at."""
    random = np.random.default_rng(seed)
    frames = [random_coefficients((height, width), random, share, scale) for _ in range(2)]
    encoder, estimator, learned = Encoder(), Estimator(), [fresh(seed) for _ in range(3)]
    for frame in frames:
        coefficients.code(encoder, frame, learned[0])
        coefficients.code(estimator, frame, learned[1])
    data = encoder.finish()
    decoder = Decoder(data)
    for frame in frames:
        found = coefficients.code(decoder, frame.whole.shape, learned[2])
        np.testing.assert_array_equal(found.blocks, frame.blocks)
        np.testing.assert_array_equal(found.whole, frame.whole)
    decoder.finish()
    for other in learned[1:]:
        np.testing.assert_array_equal(other, learned[0])
    assert estimator.bits == pytest.approx(encoder.bits, rel=1e-3, abs=2)
    assert len(data) * 8 == pytest.approx(encoder.bits, abs=96)


def test_a_square_without_coefficients_is_not_whole() -> None:
    """Else encoder and decoder would see other contexts behind it."""
    frame = Coefficients.nothing(2, 2)
    frame.whole[:] = 1
    frame.blocks[1, 1, 5] = -3
    encoder = Encoder()
    coefficients.code(encoder, frame, fresh())
    found = coefficients.code(Decoder(encoder.finish()), (2, 2), fresh())
    np.testing.assert_array_equal(found.blocks, frame.blocks)
    assert found.whole.tolist() == [[0, 0], [0, 1]]


def test_orders_and_bands() -> None:
    """Against FORMAT.md's words: every place once, by diagonals; bands rise with them."""
    for side, places, bands, count in ((8, ORDER_8, BANDS_8, 6), (16, ORDER_16, BANDS_16, 6)):
        assert [divmod(int(place), side) for place in places] == order(side)
        assert sorted(places) == list(range(side * side))
        assert (np.diff(bands) >= 0).all()
        assert set(bands.tolist()) == set(range(count))
    assert ORDER_8[:4].tolist() == [0, 1, 8, 16]


@njit
def _bits(state, chances, bits):  # type: ignore[no-untyped-def]
    for i in range(bits.size):
        bits[i] = step_bit(state, chances, 3, bits[i])


@pytest.mark.parametrize("start", [LEAST, 30000, MOST])
@pytest.mark.parametrize("ones", [0.0, 0.3, 1.0])
def test_adaptive_bits_are_those_of_the_format(start: int, ones: float) -> None:
    """By a decoder in plain Python; a chance never leaves what can be coded."""
    bits = (np.random.default_rng(4).random(3000) < ones).astype(np.int64)
    encoder, chances = Encoder(), beginning(np.full(4, start, np.uint16))
    encoder.run(_bits, no_tables(), bits.size, chances, bits.copy())
    stream, plain = Stream(encoder.finish()), PlainChances(np.full(4, start))
    assert [plain.bit(stream, 3) for _ in bits] == bits.tolist()
    stream.finish()
    assert (plain.quick[3], plain.slow[3]) == tuple(chances[3].tolist())
    assert 1 <= chance(chances, 3) <= 65535
    assert chances[:3].tolist() == [[start, start]] * 3


def test_cost_is_that_of_the_chance() -> None:
    chances = beginning(np.array([LEAST, 20000, MOST], np.uint16))
    for _ in range(30):
        for number in range(3):
            share = chance(chances, number) / 65536
            assert bit_cost(chances, number, 1) == pytest.approx(-np.log2(share), rel=0.02, abs=2e-4)
            assert bit_cost(chances, number, 0) == pytest.approx(-np.log2(1 - share), rel=0.02, abs=2e-4)
            learn(chances, number, number == 1)


@pytest.mark.parametrize("chances", [[LEAST - 1], [MOST + 1], [40000, 0]])
def test_chances_that_no_bit_can_have(chances: list[int]) -> None:
    with pytest.raises(ValueError, match="chance"):
        beginning(np.array(chances, np.uint16))


@njit
def _one_coefficient(state, chances, ones, low, width):  # type: ignore[no-untyped-def]
    """Of a square of one row and column: its first 8x8 block, of one coefficient whose remainder has so many ones."""
    step_bit(state, chances, 0, 1)  # coded
    step_bit(state, chances, 6, 0)  # whole
    step_bit(state, chances, 9, 1)  # some
    base = 17
    step_bit(state, chances, base, 0)  # last = 0
    step_bit(state, chances, base + 66, 1)
    step_bit(state, chances, base + 76, 1)
    for _ in range(ones):
        step_bits(state, 1, 1)
    if ones <= 15:
        step_bits(state, 1, 0)
    step_bits(state, width, low)
    step_bits(state, 1, 1)  # minus
    for block in range(3):
        step_bit(state, chances, 9 + (block < 2), 0)
    step_bit(state, chances, 15, 0)
    step_bit(state, chances, 15, 0)


@pytest.mark.parametrize(
    ("ones", "low", "value"), [(0, 0, -3), (3, 5, -15), (14, 16381, -32767), (14, 16382, 0), (15, 0, 0), (16, 0, 0)]
)
def test_the_largest_coefficient(ones: int, low: int, value: int) -> None:
    """0: no encoder writes it, and a decoder refuses it."""
    encoder, learned = Encoder(), fresh(5)
    encoder.run(_one_coefficient, no_tables(), 60, learned, ones, low, min(ones, PREFIX))
    decoder = Decoder(encoder.finish())
    if not value:
        with pytest.raises(BadStream, match="impossible value"):
            coefficients.code(decoder, (1, 1), fresh(5))
        return
    found = coefficients.code(decoder, (1, 1), fresh(5))
    assert found.blocks[0, 0, 0] == value >= -LARGEST
    assert np.count_nonzero(found.blocks) == 1
    decoder.finish()


def test_noise_is_refused_or_read() -> None:
    """Never anything else, whatever the bytes are; and never beyond the range of coefficients."""
    outcomes = set()
    for seed in range(60):
        data = bytearray(np.random.default_rng(seed).bytes(400))
        data[7] &= 0x7F
        try:
            found = coefficients.code(Decoder(bytes(data)), (1 + seed, 40), fresh(seed))
            assert np.abs(found.blocks.astype(int)).max() <= LARGEST
            outcomes.add("read")
        except BadStream:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
