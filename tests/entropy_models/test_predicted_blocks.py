"""Predicted blocks: coded and decoded, by the coders and by the referee; what is left out; damage."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from referee import Stream
from referee_blocks import KINDS, Parse
from referee_coefficients import Chances as PlainChances
from referee_coefficients import order
from video_streams import random_predicted

from nvc.coefficients import Coefficients
from nvc.entropy_coding.adaptive import LEAST, MOST, beginning
from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_models import predicted_blocks
from nvc.entropy_models.predicted_blocks import PREDICTED_CONTEXTS, Counts
from nvc.errors import BadStream

COUNTS = [(2, 4, 8), (32, 16, 2), (16, 32, 32)]  # of all numbers that there may be


def numbers(seed: int) -> Any:
    return np.random.default_rng(seed).integers(LEAST, MOST + 1, PREDICTED_CONTEXTS).astype(np.uint16)


def same(one: Coefficients, two: Coefficients) -> None:
    for name in ("blocks", "whole", "predictors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 70), st.integers(1, 70), st.sampled_from(COUNTS),
    st.sampled_from([0.0, 0.002, 0.05, 1.0]), st.sampled_from([0.2, 3.0, 20000.0]),
)  # fmt: skip
def test_round_trip(seed: int, height: int, width: int, counts: Counts, share: float, scale: float) -> None:
    """Two frames behind each other: what is decoded, what was learned from it, and what the bits were estimated at."""
    random, size = np.random.default_rng(seed), (height, width)
    frames = [random_predicted(size, counts, random, share, scale) for _ in range(2)]
    encoder, estimator, learned = Encoder(), Estimator(), [beginning(numbers(seed)) for _ in range(3)]
    for frame in frames:
        predicted_blocks.code(encoder, frame, learned[0], counts)
        predicted_blocks.code(estimator, frame, learned[1], counts)
    data = encoder.finish()
    decoder = Decoder(data)
    for frame in frames:
        found = predicted_blocks.code(decoder, size, learned[2], counts)
        same(found, frame)
        assert found.size == size
    decoder.finish()
    for other in learned[1:]:
        np.testing.assert_array_equal(other, learned[0])
    assert estimator.bits == pytest.approx(encoder.bits, rel=1e-3, abs=2)
    assert len(data) * 8 == pytest.approx(encoder.bits, abs=96)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("size", [(1, 1), (16, 9), (24, 25), (41, 56)])
def test_the_referee_reads_the_same(size: tuple[int, int], counts: Counts) -> None:
    """Block by block: nothing stands in another place, or has another context."""
    random = np.random.default_rng(size[0])
    frame, seen = random_predicted(size, counts, random, 0.1, 2.0), Coefficients.predicted(*size)
    encoder = Encoder()
    predicted_blocks.code(encoder, frame, beginning(numbers(3)), counts)
    stream, trees = Stream(encoder.finish()), [counts[0], counts[1], counts[2], counts[2]]
    blocks = Parse(stream, PlainChances(numbers(3)), trees, *size).found
    stream.finish()
    assert seen.predictors is not None
    for block in blocks:
        assert block.kind in KINDS
        side = 16 if block.kind == "luma_16" else 8
        i, j = (place // (8 if block.plane else 16) for place in (block.top, block.left))
        k = block.plane + 3 if block.plane else block.top // 8 % 2 * 2 + block.left // 8 % 2
        assert block.last == (block.kind == "luma_8" and k == 3)
        seen.predictors[i, j, k] = block.predictor
        seen.whole[i, j] |= side == 16
        if block.coefficients is not None:
            seen.blocks[i, j, 64 * k : 64 * k + side * side] = [block.coefficients[place] for place in order(side)]
    same(seen, frame)


def bits_of(frame: Coefficients) -> float:
    estimator = Estimator()
    predicted_blocks.code(estimator, frame, beginning(numbers(4)), (8, 2, 4))
    return estimator.bits


def test_blocks_beyond_the_frame_cost_nothing() -> None:
    """Whatever stands in their places; and of a frame of one block of luma, the other three are left out."""
    frame = random_predicted((24, 40), (8, 2, 4), np.random.default_rng(1), 0.1, 2.0)
    assert frame.predictors is not None
    wild = replace(frame, blocks=frame.blocks.copy(), predictors=frame.predictors.copy())
    assert wild.predictors is not None
    wild.whole[:] = frame.whole[:] = 0
    frame.blocks[1, :, 128:256] = frame.blocks[:, 2, 64:128] = frame.blocks[:, 2, 192:256] = 0
    wild.blocks[1, :, 128:256], wild.blocks[:, 2, 64:128], wild.blocks[:, 2, 192:256] = 9, -8, 7
    wild.predictors[1, :, 2:4], wild.predictors[:, 2, [1, 3]] = 7, 5
    assert bits_of(wild) == bits_of(frame)
    wild.blocks[0, 2, 128] += 1
    assert bits_of(wild) != bits_of(frame)


def test_v_is_cheap_where_it_has_the_predictor_of_u() -> None:
    """One bit; else what its number takes, too."""
    like = Coefficients.predicted(16, 16)
    assert like.predictors is not None
    like.predictors[0, 0, 4:] = 3
    unlike = replace(like, predictors=like.predictors.copy())
    assert unlike.predictors is not None
    unlike.predictors[0, 0, 5] = 0
    chances = numbers(4) / 65536
    one, none = -np.log2(chances), -np.log2(1 - chances)
    number = none[260 + 3 * 32 + 1] + none[260 + 3 * 32 + 2]  # 0 of four
    assert bits_of(unlike) - bits_of(like) == pytest.approx(none[356] + number - one[356], abs=1e-6)


def test_noise_is_refused_or_read() -> None:
    """Never anything else, whatever the bytes are; and never beyond what there is."""
    outcomes = set()
    for seed in range(60):
        data = bytearray(np.random.default_rng(seed).bytes(400))
        data[7] &= 0x7F
        try:
            found = predicted_blocks.code(Decoder(bytes(data)), (8 + 8 * seed, 99), beginning(numbers(seed)), (4, 8, 2))
            assert np.abs(found.blocks.astype(int)).max() <= 32767
            assert found.predictors is not None
            small, large = (found.predictors[found.whole == n] for n in (0, 1))
            assert small[:, :4].max(initial=0) < 4
            assert large[:, :1].max(initial=0) < 8
            assert found.predictors[..., 4:].max() < 2
            outcomes.add("read")
        except BadStream:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("left", [8, 40, 96])
def test_a_payload_that_is_cut(left: int) -> None:
    frame = random_predicted((40, 40), (8, 2, 4), np.random.default_rng(2), 0.1, 2.0)
    encoder = Encoder()
    predicted_blocks.code(encoder, frame, beginning(numbers(2)), (8, 2, 4))
    data = encoder.finish()
    assert len(data) > 100
    with pytest.raises(BadStream, match="ends too early"):
        predicted_blocks.code(Decoder(data[:left]), (40, 40), beginning(numbers(2)), (8, 2, 4))


def test_coefficients_that_are_added_to_a_frame_are_no_predicted_blocks() -> None:
    with pytest.raises(ValueError, match="without predictors"):
        predicted_blocks.code(Encoder(), Coefficients.nothing(1, 1), beginning(numbers(0)), (2, 2, 2))
