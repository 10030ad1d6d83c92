"""Contexts of main symbols: against FORMAT.md's arithmetic, round trips, exact bytes, damage, validation."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

import referee_contexts

from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_coding.gaussian import published_tables, scales
from nvc.entropy_models import main_context
from nvc.entropy_models.hyperprior import HyperpriorTables, code_main
from nvc.entropy_models.main_context import CLASSES, SHIFT_MAX, THRESHOLDS, WEIGHT_MAX, MainContext, known
from nvc.errors import BadStream

Ints = NDArray[np.int32]
Indexes = NDArray[np.uint8]
TABLES = published_tables()


def random_context(random: np.random.Generator, channels: int) -> MainContext:
    """Every number drawn out of the whole range that is allowed."""
    shift = int(random.integers(SHIFT_MAX + 1))
    cross = int(random.integers((WEIGHT_MAX >> shift) + 1))
    left = WEIGHT_MAX - (cross << shift)
    near = random.multinomial(left, np.full(5, 0.2))[:4] * random.integers(2)
    some = random.random(channels) < 0.6
    return MainContext(
        random.integers(-128, 128, (channels, 4)) * some[:, None],
        random.integers(0, 61441, 64),
        np.array([*near, cross, shift, random.integers(1, 65536)]),
        random.integers(0, 64, (64, CLASSES)),
    )


def random_symbols(random: np.random.Generator, shape: tuple[int, int, int]) -> tuple[Ints, Indexes]:
    """Symbols up to the limit, and scale indexes that have little to do with them."""
    spread = random.choice([0, 0.3, 2, 20, 3000, 60000], (shape[0], 1, 1))
    symbols = np.clip(np.rint(random.laplace(0, spread, shape)), -32767, 32767).astype(np.int32)
    return symbols, random.integers(0, 64, shape).astype(np.uint8)


def coded(context: MainContext, symbols: Ints, index: Indexes) -> bytes:
    encoder = Encoder()
    code_main(encoder, TABLES, index, symbols, context)
    return encoder.finish()


def decoded(context: MainContext, data: bytes, index: Indexes) -> Ints:
    decoder = Decoder(data)
    found = code_main(decoder, TABLES, index, context=context)
    decoder.finish()
    return found


class Told:
    """Stands for the referee's stream: gives the deviations it was told, keeps the rows it is asked for."""

    def __init__(self, deviations: Ints) -> None:
        self.left, self.rows = deviations.ravel().tolist()[::-1], list[int]()

    def value(self, row: int) -> Any:
        self.rows.append(row)
        return self.left.pop()


shapes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7))


@given(st.integers(0, 1 << 32), shapes)
@settings(max_examples=60, deadline=None)
def test_deviations_and_rows_are_those_of_the_format(seed: int, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    context, (symbols, index) = random_context(random, shape[0]), random_symbols(random, shape)
    deviations, rows = known(context, symbols, index)
    stream: Any = Told(deviations)
    rows_alone: Any = [(row,) for row in range(64)]
    tensors = {name: value.astype(np.int64) for name, value in context.tensors().items()}
    assert referee_contexts.main_symbols(stream, rows_alone, index, tensors) == symbols.tolist()
    assert stream.rows == rows.ravel().tolist()


@given(st.integers(0, 1 << 32), shapes, st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_round_trip(seed: int, shape: tuple[int, int, int], at_once: int) -> None:
    """However many channels are decoded in one call; and estimated as coded."""
    random = np.random.default_rng(seed)
    context, (symbols, index) = random_context(random, shape[0]), random_symbols(random, shape)
    data, estimator = coded(context, symbols, index), Estimator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_context, "AT_ONCE", at_once)
        np.testing.assert_array_equal(decoded(context, data, index), symbols)
    code_main(estimator, TABLES, index, symbols, context)
    assert 31 <= 8 * len(data) - estimator.bits < 64 + 1


def test_neutral_contexts_change_no_byte() -> None:
    random = np.random.default_rng(3)
    symbols, index = random_symbols(random, (6, 9, 8))
    plain = Encoder()
    code_main(plain, TABLES, index, symbols)
    assert coded(MainContext.neutral(6), symbols, index) == plain.finish()


def test_thresholds_are_thirds_of_octaves() -> None:
    assert list(THRESHOLDS) == [round(256 * 2 ** ((j - 5.5) / 3)) for j in range(12)]


@pytest.fixture(scope="module")
def sample() -> tuple[MainContext, Ints, Indexes]:
    """Channels whose scale is twice what their index says, and one that its neighbours foretell."""
    random = np.random.default_rng(5)
    index = random.integers(18, 30, (6, 12, 12)).astype(np.uint8)
    symbols = np.rint(random.normal(size=index.shape) * 2 * scales()[index]).astype(np.int32)
    symbols[0] = np.rint(np.cumsum(random.normal(size=(12, 12)), axis=1) * 3)
    context = MainContext.neutral(6)
    context = replace(
        context,
        predict=np.array([[0, 32, 0, 0]] + [[0, 0, 0, 0]] * 5),
        expected=np.minimum(np.rint(scales() * 0.8 * 4096), 61440).astype(np.int32),
        mix=np.array([2, 2, 1, 1, 1, 3, 1024]),
        row=np.clip(np.arange(64)[:, None] + 2 * np.arange(-6, 7), 0, 63),
    )
    return context, symbols, index


def test_contexts_pay_where_they_should(sample: tuple[MainContext, Ints, Indexes]) -> None:
    context, symbols, index = sample
    bits = []
    for which in (MainContext.neutral(6), context, replace(context, mix=np.array([0, 0, 0, 0, 1, 3, 1024]))):
        estimator = Estimator()
        code_main(estimator, TABLES, index, symbols, which)
        bits.append(estimator.bits)
    assert bits[1] < 0.9 * bits[0]
    assert bits[2] < 0.95 * bits[0]


def test_exact_bytes() -> None:
    """By hand: channel 0 is as expected, class 6; in channel 1 the neighbours of a deviation of 7 are class 11."""
    context = MainContext(
        np.array([[16, 16, 0, 0], [0, 32, 0, 0]]), np.full(64, 4096), np.array([1, 1, 0, 0, 1, 0, 2048]),
        np.clip(np.arange(64)[:, None] + np.arange(-6, 7), 0, 63),
    )  # fmt: skip
    symbols = np.array([[[1, 2], [0, -3]], [[7, 7], [0, 40]]], np.int32)
    index = np.full(symbols.shape, 20, np.uint8)
    deviations, rows = known(context, symbols, index)
    assert deviations.tolist() == [[[1, 1], [-1, -4]], [[7, 0], [0, 40]]]
    assert rows.tolist() == [[[20, 20], [20, 20]], [[20, 25], [25, 21]]]
    assert coded(context, symbols, index).hex() == "f2dd1cf1d1944e0bbb875c86"


def test_every_flipped_bit_and_every_cut(sample: tuple[MainContext, Ints, Indexes]) -> None:
    context, symbols, index = sample
    data = coded(context, symbols, index)
    refused = 0
    for bit in range(8 * len(data)):
        bent = data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
        try:
            assert not np.array_equal(decoded(context, bent, index), symbols)
        except BadStream:
            refused += 1
    assert refused > 0.99 * 8 * len(data)
    for end in range(0, len(data), 4):
        with pytest.raises(BadStream):
            decoded(context, data[:end], index)


@pytest.mark.parametrize("near", [0, 1])
@pytest.mark.parametrize("value", [32768, -32768, 1 << 20])
def test_symbols_beyond_the_limit(value: int, near: int) -> None:
    """As the sum of a prediction and a deviation that are both within it, too."""
    context = replace(MainContext.neutral(1), predict=np.array([[0, 32, 0, 0]]), mix=np.array([near, 0, 0, 0, 1, 0, 1]))
    symbols, index = np.array([[[value // 2, value]]], np.int32), np.full((1, 1, 2), 60, np.uint8)
    with pytest.raises(ValueError, match="±32767"):
        code_main(Encoder(), TABLES, index, symbols, context)
    encoder = Encoder()
    encoder.code(*known(context, symbols, index), TABLES)
    with pytest.raises(BadStream, match="impossible"):
        code_main(Decoder(encoder.finish()), TABLES, index, context=context)
    at_most = np.sign(symbols) * np.array([[[32767, 32767]]], np.int32)
    assert decoded(context, coded(context, at_most, index), index).tolist() == at_most.tolist()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"predict": np.zeros((3, 3), int)}, "predict of the contexts has shape"),
        ({"predict": np.full((3, 4), 129)}, "predict of the contexts is not within"),
        ({"predict": np.zeros((3, 4))}, "not of integers"),
        ({"expected": np.zeros(63, int)}, "expected of the contexts has shape"),
        ({"expected": np.full(64, 61441)}, "expected of the contexts is not within"),
        ({"mix": np.array([0, 0, 0, 0, 0, 0])}, "mix of the contexts has shape"),
        ({"mix": np.array([0, 0, 0, 0, 0, 0, 0])}, "out of its range"),
        ({"mix": np.array([0, 0, 0, 0, 0, 0, 65536])}, "out of its range"),
        ({"mix": np.array([0, 0, 0, 0, 0, 6, 1])}, "out of its range"),
        ({"mix": np.array([0, 0, -1, 0, 0, 0, 1])}, "out of its range"),
        ({"mix": np.array([1, 0, 0, 0, 1, 5, 1])}, "add up to more than 32"),
        ({"mix": np.array([0, 0, 0, 0, 1 << 32, 0, 1])}, "mix of the contexts is out of range"),
        ({"row": np.zeros((64, 12), int)}, "row of the contexts has shape"),
        ({"row": np.full((64, 13), 64)}, "names a table that is none"),
        ({"row": np.full((64, 13), -1)}, "row of the contexts is out of range"),
    ],
)
def test_unsound_contexts(change: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        replace(MainContext.neutral(3), **change)


def test_channels_are_as_many(sample: tuple[MainContext, Ints, Indexes]) -> None:
    context, symbols, index = sample
    with pytest.raises(ValueError, match="6 channels"):
        known(context, symbols[:3], index[:3])
    with pytest.raises(ValueError, match="6 channels"):
        decoded(context, coded(context, symbols, index), index[:3])


def test_tensors_come_back(sample: tuple[MainContext, Ints, Indexes]) -> None:
    context = sample[0]
    tables = HyperpriorTables.with_candidates(TABLES, TABLES, 8, 8, context)
    tensors = tables.tensors()
    kinds = {name: value.dtype.str for name, value in tensors.items() if name.startswith("context.")}
    assert kinds == {
        "context.predict": "|i1", "context.expected": "<u2", "context.mix": "<i4", "context.row": "|u1",
    }  # fmt: skip
    again = HyperpriorTables.from_tensors(tensors).context
    assert again is not None
    for name in main_context.KINDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(context, name))
    for name in kinds:
        with pytest.raises(KeyError, match=name):
            HyperpriorTables.from_tensors({n: v for n, v in tensors.items() if n != name})
    plain = {n: v for n, v in tensors.items() if n not in kinds}
    assert HyperpriorTables.from_tensors(plain).context is None
