"""The context model: three coders that agree, a slow reference, paper 2's equation, and what must be refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models import context
from nvc.entropy_models.context import MAGNITUDES, SCORE_MAX, SIZE_BINS, VALUE_LIMIT, ContextModel
from nvc.errors import BadStream
from nvc.training import tables as fitting

Ints = NDArray[np.int32]
Make = Callable[..., Any]


def encoded(model: ContextModel, latents: Ints) -> bytes:
    encoder = Encoder()
    context.code(encoder, model, latents)
    return encoder.finish()


def decoded(model: ContextModel, data: bytes, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    decoder = Decoder(data)
    latents = context.code(decoder, model, shape)
    decoder.finish()
    return latents


def estimated(model: ContextModel, latents: Ints) -> float:
    estimator = Estimator()
    context.code(estimator, model, latents)
    return estimator.bits


def cost(tables: TableSet, row: int, value: int) -> float:
    """Bits of one value, by the definition of a table (FORMAT.md 7)."""
    cdf = tables.row(row).astype(np.int64)
    symbol, last = value - int(tables.offset[row]), int(tables.size[row]) - 1
    if 0 <= symbol < last:
        return float(16 - np.log2(cdf[symbol + 1] - cdf[symbol]))
    raw = -2 * symbol - 1 if symbol < 0 else 2 * (symbol - last)
    nibbles = (raw.bit_length() + 3) // 4
    return float(16 - np.log2(cdf[last + 1] - cdf[last])) + 4 * (1 + nibbles)


def reference(model: ContextModel, latents: Ints) -> tuple[float, dict[tuple[int, int, int], tuple[int, int]]]:
    """FORMAT.md 8 word for word: bits, and (table, deviation) of every value that is coded."""
    h, w = latents.shape[1:]
    bits = 0.0
    active = {}
    for k in model.order:
        active[k] = bool((latents[k] != model.mode[k]).any())
        if model.activation is None:
            active[k] = True
        else:
            bits += cost(model.activation, k * SIZE_BINS + min((h * w).bit_length() - 1, 24), int(active[k]))
    magnitude: dict[tuple[int, int, int], int] = {}
    coded = {}
    for k in model.order:
        if not active[k]:
            continue
        mode = int(model.mode[k])
        for y in range(h):
            for x in range(w):
                near = [(y - 1, x), (y, x - 1), (y - 1, x - 1), (y - 1, x + 1)]
                inside = [0 <= b < w and a >= 0 for a, b in near]
                d = [int(latents[k, a, b]) - mode if ok else 0 for (a, b), ok in zip(near, inside, strict=True)]
                weights = (int(v) for v in model.predict[k])
                expected = mode + (sum(p * v for p, v in zip(weights, d, strict=True)) + 16) // 32
                deviation = int(latents[k, y, x]) - expected
                score = sum(int(n) * magnitude.get((k, *at), 0) for n, at in zip(model.near[k], near, strict=True))
                for s, weight in zip(model.source[k], model.weight[k], strict=True):
                    if s >= 0:
                        score += int(weight) * magnitude.get((int(s), y, x), 0)
                which = sum(int(t) <= min(score, 1023) for t in model.threshold[k])
                row = int(k) * model.contexts + which
                magnitude[k, y, x] = int(model.quantiser[k, min(abs(deviation), 15)])
                coded[int(k), y, x] = (row, deviation)
                bits += cost(model.symbols, row, deviation)
    return bits, coded


class TestAgreement:
    """Encoder, Decoder, Estimator and the statistics see the same tables and symbols."""

    @pytest.mark.parametrize("name", ["hall", "stair"])
    @pytest.mark.parametrize("level", [1, 4, 8])
    def test_real_latents(self, tables_of: Make, latents_of: Make, name: str, level: int) -> None:
        model, latents = tables_of(level), latents_of(name, level)
        before = latents.copy()
        data = encoded(model, latents)
        assert np.array_equal(decoded(model, data, latents.shape), latents)
        assert np.array_equal(latents, before)
        assert 31 <= 8 * len(data) - estimated(model, latents) <= 64.5

    @pytest.mark.parametrize("level", [2, 7])
    def test_slow_reference(self, tables_of: Make, latents_of: Make, level: int) -> None:
        model, latents = tables_of(level), latents_of("hall", level)
        bits, coded = reference(model, latents)
        assert estimated(model, latents) == pytest.approx(bits, rel=1e-6)
        deviation, rows = context.contexts(model, latents)
        assert len(coded) > 1000
        assert {at: (rows[at], deviation[at]) for at in coded} == coded

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 7), st.booleans(), st.booleans())
    def test_random_models(
        self, random_model: Make, random_latents: Make, seed: int, h: int, w: int, predicted: bool, activation: bool
    ) -> None:
        model = random_model(seed, 1 + seed % 7, 1 + seed % 5, seed % 4, predicted=predicted, activation=activation)
        latents = random_latents(model, seed, h, w)
        bits, coded = reference(model, latents)
        data = encoded(model, latents)
        assert np.array_equal(decoded(model, data, latents.shape), latents)
        assert estimated(model, latents) == pytest.approx(bits, rel=1e-6, abs=1e-4)
        assert 30.9 <= 8 * len(data) - bits <= 64.5
        deviation, rows = context.contexts(model, latents)
        assert {at: (rows[at], deviation[at]) for at in coded} == coded

    def test_bits_of_all_three(self, random_model: Make, random_latents: Make) -> None:
        model = random_model(1)
        latents = random_latents(model, 1, 30, 30)
        encoder, estimator = Encoder(), Estimator()
        context.code(encoder, model, latents)
        context.code(estimator, model, latents)
        assert encoder.bits == pytest.approx(estimator.bits, rel=1e-6)
        decoder = Decoder(encoder.finish())
        context.code(decoder, model, latents.shape)
        assert decoder.bits == pytest.approx(estimator.bits, abs=0.1)

    def test_decoder_looks_at_the_shape_alone(self, random_model: Make, random_latents: Make) -> None:
        model = random_model(2)
        latents = random_latents(model, 2)
        data = encoded(model, latents)
        for values in (latents.shape, np.full(latents.shape, 77), np.empty(latents.shape, np.int8)):
            assert np.array_equal(context.code(Decoder(data), model, values), latents)

    def test_other_sections_may_follow(self, random_model: Make, random_latents: Make) -> None:
        first, second = random_model(3), random_model(4, contexts=2)
        a, b = random_latents(first, 3), random_latents(second, 4)
        encoder = Encoder()
        context.code(encoder, first, a)
        context.code(encoder, second, b)
        decoder = Decoder(encoder.finish())
        assert np.array_equal(context.code(decoder, first, a.shape), a)
        assert np.array_equal(context.code(decoder, second, b.shape), b)
        decoder.finish()


class TestActivation:
    """One bit a channel; what sleeps costs nothing more."""

    def test_sleeping_picture(self, tables_of: Make) -> None:
        model = tables_of(4)
        latents = np.repeat(model.mode, 35).reshape(-1, 5, 7)
        assert not context.activity(model, latents).any()
        expected = sum(cost(model.activation, k * SIZE_BINS + 5, 0) for k in range(model.channels))
        assert estimated(model, latents) == pytest.approx(expected, rel=1e-6)
        assert context.activation_bits(model, latents) == pytest.approx(expected, rel=1e-6)
        assert np.array_equal(decoded(model, encoded(model, latents), latents.shape), latents)

    def test_bits_by_part(self, tables_of: Make, latents_of: Make) -> None:
        model, latents = tables_of(3), latents_of("hall", 3)
        active = context.activity(model, latents)
        assert 0 < active.sum() < active.size
        size = int(np.log2(latents[0].size))
        expected = sum(cost(model.activation, k * SIZE_BINS + size, int(a)) for k, a in enumerate(active))
        assert context.activation_bits(model, latents) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize(("h", "w", "size"), [(1, 1, 0), (1, 3, 1), (2, 2, 2), (7, 9, 5), (8, 8, 6)])
    def test_table_goes_by_size(self, random_model: Make, h: int, w: int, size: int) -> None:
        model = random_model(5)
        latents = np.repeat(model.mode, h * w).reshape(-1, h, w)
        expected = sum(cost(model.activation, k * SIZE_BINS + size, 0) for k in range(model.channels))
        assert estimated(model, latents) == pytest.approx(expected, rel=1e-6)

    def test_one_value_wakes_its_channel_alone(self, random_model: Make) -> None:
        model = random_model(6)
        latents = np.repeat(model.mode, 20).reshape(-1, 4, 5)
        latents[2, 3, 4] += 1
        assert context.activity(model, latents).tolist() == [0, 0, 1, 0, 0]

    def test_without_tables_every_channel_is_coded(self, random_model: Make) -> None:
        model = random_model(7, activation=False)
        latents = np.repeat(model.mode, 20).reshape(-1, 4, 5)
        assert context.activation_bits(model, latents) == 0
        assert estimated(model, latents) == pytest.approx(reference(model, latents)[0], rel=1e-6)
        assert np.array_equal(decoded(model, encoded(model, latents), latents.shape), latents)

    def test_channel_may_be_awake_for_nothing(self, random_model: Make) -> None:
        """No encoder of ours writes it; FORMAT.md 8 allows it."""
        model = random_model(8, 1, 1, 0, predicted=False)
        encoder = Encoder()
        encoder.code([1], model.order * SIZE_BINS + 2, model.activation)
        encoder.code(np.zeros(4, np.int32), 0, model.symbols)
        assert np.array_equal(decoded(model, encoder.finish(), (1, 2, 2)), np.full((1, 2, 2), model.mode[0]))


class TestPrediction:
    def model(self, predict: list[int], mode: int = 0) -> ContextModel:
        return ContextModel(
            np.zeros(1), np.array([mode]), np.array([predict]), np.zeros((1, MAGNITUDES)), np.zeros((1, 4)),
            np.zeros((1, 0)), np.zeros((1, 0)), np.zeros((1, 0)), None, TableSet.from_rows([[0, 40000, 65536]], [0]),
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("predict", "expected"),
        [
            ([32, 0, 0, 0], [[10, 20, 30], [30, 30, 30]]),
            ([0, 32, 0, 0], [[10, 10, 10], [40, 10, 10]]),
            ([0, 0, 32, 0], [[10, 20, 30], [40, 40, 40]]),
            ([0, 0, 0, 32], [[10, 20, 30], [20, 20, 60]]),
        ],
    )
    def test_each_neighbour(self, predict: list[int], expected: list[list[int]]) -> None:
        latents = np.array([[[10, 20, 30], [40, 50, 60]]])
        assert context.deviations(self.model(predict), latents)[0].tolist() == expected

    def test_outside_counts_as_the_mode(self) -> None:
        latents = np.full((1, 3, 3), 5)
        assert not context.deviations(self.model([255, -255, 100, 3], mode=5), latents).any()

    def test_rounds_halves_up_also_below_zero(self) -> None:
        latents = np.array([[[1, 0], [-1, 0], [3, 0], [-3, 0]]])
        predicted = -context.deviations(self.model([0, 16, 0, 0]), latents)[0, :, 1]
        assert predicted.tolist() == [1, 0, 2, -1]

    def test_far_prediction_is_only_a_number(self) -> None:
        """A prediction may leave ±32767, a value may not."""
        model = self.model([255, 255, -255, -255], mode=-VALUE_LIMIT)
        random = np.random.default_rng(0)
        latents = random.choice([-VALUE_LIMIT, VALUE_LIMIT], (1, 9, 9))
        assert np.abs(context.deviations(model, latents)).max() > 2 * VALUE_LIMIT
        assert np.array_equal(decoded(model, encoded(model, latents), (1, 9, 9)), latents)


@pytest.fixture(scope="module")
def count_model(latents_of: Make) -> tuple[ContextModel, Ints]:
    """The paper's model of some channels, fitted to three photographs, and the latents of one."""
    latents = [latents_of(name, 4)[:48] for name in ("sign", "stair", "hall")]
    return fitting.fit(latents, fitting.RECIPES["count"]), latents[1]


class TestPaper:
    """Paper 2's contexts: the count of {up, left, previous channel in coding order} that deviate (facts 5.2)."""

    def test_context_is_the_count(self, count_model: tuple[ContextModel, Ints]) -> None:
        model, latents = count_model
        h, w = latents.shape[1:]
        epsilon = [list(row).index(1) for row in model.quantiser]

        def d(k: int, y: int, x: int) -> int:
            outside = y < 0 or x < 0
            return 0 if outside else int(abs(int(latents[k, y, x]) - int(model.mode[k])) >= epsilon[k])

        _, rows = context.contexts(model, latents)
        seen = set()
        for place, k in enumerate(model.order.tolist()):
            for y in range(h):
                for x in range(w):
                    count = d(k, y - 1, x) + d(k, y, x - 1)
                    if place:
                        count += d(int(model.order[place - 1]), y, x)
                    assert rows[k, y, x] == 4 * k + count
                    seen.add((place > 0, count))
        assert seen == {(True, 0), (True, 1), (True, 2), (True, 3), (False, 0), (False, 1), (False, 2)}

    def test_first_channel_has_no_source(self, count_model: tuple[ContextModel, Ints]) -> None:
        model, latents = count_model
        first = int(model.order[0])
        assert model.source[first].tolist() == [-1]
        others = np.random.default_rng(0).integers(-9, 10, latents.shape)
        others[first] = latents[first]
        rows, changed = context.contexts(model, latents)[1], context.contexts(model, others)[1]
        assert np.array_equal(rows[first], changed[first])
        second = int(model.order[1])
        assert model.source[second].tolist() == [first]
        others = latents.copy()
        others[first] = np.random.default_rng(1).integers(-9, 10, latents.shape[1:])
        assert not np.array_equal(rows[second], context.contexts(model, others)[1][second])

    def test_sleeping_channel_stays_the_previous_one(self, count_model: tuple[ContextModel, Ints]) -> None:
        model, latents = count_model
        k = int(model.order[1])
        asleep = latents.copy()
        asleep[model.order[0]] = model.mode[model.order[0]]
        rows = context.contexts(model, asleep)[1]
        assert rows[k].max() - 4 * k <= 2
        assert estimated(model, asleep) == pytest.approx(reference(model, asleep)[0], rel=1e-6)
        assert np.array_equal(decoded(model, encoded(model, asleep), asleep.shape), asleep)


class TestValidate:
    """validate() names what is wrong; compiled code rests on it."""

    @pytest.mark.parametrize(
        ("field", "index", "value", "part"),
        [
            ("order", 0, 1, "permutation"),
            ("order", 0, 5, "permutation"),
            ("order", 0, -1, "permutation"),
            ("mode", 0, 32768, "mode"),
            ("mode", 0, -32768, "mode"),
            ("mode", 0, -(2**31), "mode"),
            ("predict", (0, 3), 256, "predict"),
            ("predict", (0, 3), -(2**31), "predict"),
            ("quantiser", (1, 1), 256, "quantiser"),
            ("quantiser", (1, 1), -1, "quantiser"),
            ("quantiser", (1, 0), 1, "magnitude"),
            ("near", (0, 0), 256, "near"),
            ("near", (0, 0), -1, "near"),
            ("weight", (0, 0), 256, "weight"),
            ("weight", (0, 0), -1, "weight"),
            ("source", (3, 0), 5, "source"),
            ("source", (3, 0), -2, "source"),
            ("source", (3, 0), -(2**31), "source"),
            ("source", (3, 0), 3, "earlier|before"),
            ("source", (3, 0), 4, "earlier|before"),
            ("threshold", (0, 0), 1000, "ascend"),
        ],
    )
    def test_bad_number(self, random_model: Make, field: str, index: Any, value: int, part: str) -> None:
        model = random_model(9)
        model = replace(model, order=np.arange(5), source=np.full((5, 3), -1))
        changed = getattr(model, field).copy()
        changed[index] = value
        with pytest.raises(ValueError, match=part):
            replace(model, **{field: changed})

    @pytest.mark.parametrize(
        ("field", "shape"),
        [
            ("order", (4,)),
            ("order", (5, 1)),
            ("mode", (4,)),
            ("mode", ()),
            ("predict", (5, 3)),
            ("quantiser", (5, 15)),
            ("quantiser", (16,)),
            ("near", (5,)),
            ("source", (5,)),
            ("source", (4, 3)),
            ("source", (5, 2)),
            ("source", (5, 256)),
            ("weight", (5, 2)),
            ("threshold", (5,)),
            ("threshold", (4, 3)),
            ("threshold", (5, 2)),
            ("threshold", (5, 256)),
        ],
    )
    def test_bad_shape(self, random_model: Make, field: str, shape: tuple[int, ...]) -> None:
        changed = np.full(shape, -1) if field == "source" else np.zeros(shape)
        with pytest.raises(ValueError, match=r"."):
            replace(random_model(9), **{field: changed})

    def test_same_source_twice(self, random_model: Make) -> None:
        model = replace(random_model(9), order=np.arange(5), source=np.full((5, 3), -1))
        source = model.source.copy()
        source[4] = [1, -1, 1]
        with pytest.raises(ValueError, match="twice"):
            replace(model, source=source)

    @pytest.mark.parametrize("name", ["symbols", "activation"])
    def test_number_of_tables(self, random_model: Make, name: str) -> None:
        model = random_model(9)
        tables = getattr(model, name)
        rows = [tables.row(i) for i in range(len(tables) - 1)]
        with pytest.raises(ValueError, match=f"{len(rows)} {name[:6]}"):
            replace(model, **{name: TableSet.from_rows(rows, tables.offset[:-1])})

    def test_largest_score_is_cut(self) -> None:
        """255 sources of the largest weight and magnitude: no overflow, the last context."""
        c = 256
        source = np.full((c, 255), -1)
        source[255] = np.arange(255)
        model = ContextModel(
            np.arange(c), np.zeros(c), np.zeros((c, 4)), np.repeat([[0, *[255] * 15]], c, axis=0),
            np.full((c, 4), 255), source, np.full((c, 255), 255), np.full((c, 1), SCORE_MAX), None,
            TableSet.from_rows([[0, 30000, 65536]] * (2 * c), [0] * 2 * c),
        )  # fmt: skip
        latents = np.ones((c, 2, 2), np.int32)
        assert (context.contexts(model, latents)[1][255] == 511).all()
        assert np.array_equal(decoded(model, encoded(model, latents), latents.shape), latents)


class TestRange:
    @pytest.mark.parametrize("coder", [Encoder, Estimator])
    @pytest.mark.parametrize("value", [VALUE_LIMIT + 1, -VALUE_LIMIT - 1, 2**40, -(2**40)])
    def test_beyond_the_limit(self, random_model: Make, coder: type[Encoder], value: int) -> None:
        latents = np.zeros((5, 2, 2), np.int64)
        latents[3, 1, 0] = value
        with pytest.raises(ValueError, match="32767"):
            context.code(coder(), random_model(10), latents)

    def test_ends_of_the_range(self, random_model: Make) -> None:
        model = random_model(10)
        latents = np.where(np.arange(5 * 12).reshape(5, 3, 4) % 3, VALUE_LIMIT, -VALUE_LIMIT)
        assert np.array_equal(decoded(model, encoded(model, latents), latents.shape), latents)

    def test_floats_and_other_channels(self, random_model: Make) -> None:
        with pytest.raises(ValueError, match="integers"):
            context.code(Encoder(), random_model(10), np.zeros((5, 2, 2)))
        with pytest.raises(ValueError, match="4 channels"):
            context.code(Encoder(), random_model(10), np.zeros((4, 2, 2), np.int32))

    def test_stream_beyond_the_limit(self, random_model: Make) -> None:
        """An escape that FORMAT.md 7 allows and chapter 8 does not."""
        model = random_model(8, 1, 1, 0, predicted=False, activation=False)
        for value in (VALUE_LIMIT + 1, -VALUE_LIMIT - 1, 1 << 25):
            encoder = Encoder()
            encoder.code([value - int(model.mode[0])], 0, model.symbols)
            with pytest.raises(BadStream, match="impossible value"):
                decoded(model, encoder.finish(), (1, 1, 1))

    @pytest.mark.parametrize("value", [2, -1, 1000])
    def test_stream_with_an_impossible_activation_bit(self, random_model: Make, value: int) -> None:
        model = random_model(11)
        encoder = Encoder()
        encoder.code([0, value, 0, 0, 0], model.order * SIZE_BINS + 2, model.activation)
        with pytest.raises(BadStream, match="activation"):
            decoded(model, encoder.finish(), (5, 2, 2))


class TestDamage:
    """Streams that no encoder wrote: BadStream, or other values; never another exception."""

    @settings(max_examples=150, deadline=None)
    @given(st.binary(min_size=8, max_size=120), st.integers(0, 5))
    def test_random_streams(self, random_model: Make, words: bytes, seed: int) -> None:
        model = random_model(seed, predicted=seed % 2 == 0, activation=seed < 4)
        data = words[: len(words) // 4 * 4]
        try:
            latents = decoded(model, data, (5, 6, 7))
        except BadStream:
            return
        if model.activation is None:  # with it, a channel may be awake for nothing
            assert encoded(model, latents) == data

    @pytest.mark.parametrize("level", [1, 8])
    def test_random_words_to_the_installed_model(self, tables_of: Make, level: int) -> None:
        model = tables_of(level)
        random = np.random.default_rng(level)
        refused = 0
        for _ in range(60):
            words = random.integers(0, 1 << 32, random.integers(2, 400), np.uint64).astype("<u4")
            words[1] >>= np.uint32(1)  # below 2^63, or the state alone would give it away
            with pytest.raises(BadStream):
                decoded(model, words.tobytes(), (model.channels, 6, 6))
            refused += 1
        assert refused == 60

    def test_every_bit_of_a_stream(self, random_model: Make, random_latents: Make) -> None:
        """One sequence of symbols has one stream: a bent stream is refused, or holds other symbols."""
        model = random_model(12)
        latents = random_latents(model, 12, 5, 5)
        data = encoded(model, latents)
        for bit in range(8 * len(data)):
            bent = bytearray(data)
            bent[bit // 8] ^= 1 << bit % 8
            try:
                found = decoded(model, bytes(bent), latents.shape)
            except BadStream:
                continue
            assert not np.array_equal(found, latents)

    def test_every_truncation(self, tables_of: Make, latents_of: Make) -> None:
        model, latents = tables_of(2), latents_of("hall", 2)
        data = encoded(model, latents)
        for end in range(len(data)):
            with pytest.raises(BadStream):
                decoded(model, data[:end], latents.shape)
        with pytest.raises(BadStream, match="does not end"):
            decoded(model, data + bytes(4), latents.shape)


def test_no_torch(tmp_path: Path) -> None:
    """A file is parsed, down to its symbols, where torch cannot be imported."""
    golden = Path(__file__).parents[1] / "golden"
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from nvc.bitstream.container import read_picture_file\n"
        "from nvc.codec.models import ImageModel\n"
        "from nvc.codec.picture import decode_symbols\n"
        f"golden = Path({str(golden)!r})\n"
        "file = read_picture_file((golden / 'colour.nvc').read_bytes())\n"
        "symbols = decode_symbols(file, ImageModel(golden / 'tiny.safetensors'))\n"
        "print(symbols.shape, sorted(m for m in sys.modules if m.startswith('torch')))"
    )
    environment = os.environ | {"PYTHONPATH": str(golden.parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "(8, 4, 7) ['torch']", done.stderr
