"""The three coders: exact bytes, agreement with compressai's coder, and streams that lie."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_coding.rans import VALUE_MAX
from nvc.entropy_coding.tables import TableSet
from nvc.errors import BadStream

NARROW = TableSet.from_rows([[0, 1, 65534, 65535, 65536]], [-1])
LOPSIDED = TableSet.from_rows([[0, 21845, 65534, 65535, 65536]], [0])
# compressai.ans made these
GOLDEN = [
    (NARROW, [0, 0, 0, 0], "2e00068000000000"),
    (NARROW, [0, 1, -1, 2, -2, 100, -100, 0], "92003100080000000000fffff0ff1f00f1ff2fc4ffff524c"),
    (LOPSIDED, [0, 1, 2, 3, -1, 2**20, -(2**20)], "fa006f8182002400f0ff1f00f1ff6ffaff1ffffff6ffff01"),
]


def _tables(count: int, seed: int) -> TableSet:
    """Random tables, from 2 to some hundred symbols, peaked and flat."""
    random = np.random.default_rng(seed)
    sizes = np.concatenate([[2, 3, 300], random.integers(2, 40, count - 3)])
    return TableSet.from_histograms([random.gamma(0.3, size=n) for n in sizes], -(sizes // 2))


def _section(tables: TableSet, count: int, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Values (most inside their tables, one in ten anywhere near, one in a hundred anywhere at all), and rows."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(tables), count).astype(np.int32)
    values = tables.offset[rows] + random.integers(0, 1 << 16, count) % tables.size[rows]
    kind = random.random(count)
    values = np.where(kind < 0.1, random.integers(-400, 400, count), values)
    values = np.where(kind < 0.01, random.integers(-VALUE_MAX, VALUE_MAX + 1, count), values)
    return values.astype(np.int32), rows


def _encoded(values: NDArray[np.int32], rows: Any, tables: TableSet) -> bytes:
    encoder = Encoder()
    encoder.code(values, rows, tables)
    return encoder.finish()


def _decoded(data: bytes, rows: NDArray[np.int32], tables: TableSet) -> NDArray[np.int32]:
    decoder = Decoder(data)
    values = decoder.code(rows.shape, rows, tables)
    decoder.finish()
    return values


class TestBytes:
    @pytest.mark.parametrize(("tables", "values", "expected"), GOLDEN)
    def test_golden(self, tables: TableSet, values: list[int], expected: str) -> None:
        data = _encoded(np.array(values), 0, tables)
        assert data.hex() == expected
        assert _decoded(data, np.zeros(len(values), np.int32), tables).tolist() == values

    def test_nothing_coded_is_the_bare_state(self) -> None:
        data = Encoder().finish()
        assert data.hex() == "0000008000000000"
        Decoder(data).finish()

    def test_uniform_bits(self) -> None:
        encoder = Encoder()
        encoder.code_bits([5], 4)
        # x = 2^31 / 2^12 * 2^16 + 5 * 2^12
        assert encoder.finish() == (2**35 + 5 * 2**12).to_bytes(8, "little")

    def test_encoder_equals_compressai(self) -> None:
        ans = pytest.importorskip("compressai.ans")
        tables = _tables(50, 1)
        cdfs = [tables.row(i).tolist() for i in range(len(tables))]
        lengths, offsets = (tables.size + 1).tolist(), tables.offset.tolist()
        for seed in range(60):
            values, rows = _section(tables, 3 + 40 * seed, seed)
            expected = ans.RansEncoder().encode_with_indexes(values.tolist(), rows.tolist(), cdfs, lengths, offsets)
            assert _encoded(values, rows, tables) == expected
            assert _decoded(expected, rows, tables).tolist() == values.tolist()
            back = ans.RansDecoder().decode_with_indexes(expected, rows.tolist(), cdfs, lengths, offsets)
            assert back == values.tolist()


class TestRoundTrip:
    @given(st.integers(0, 2**32), st.integers(0, 300), st.integers(3, 30))
    @settings(deadline=None, max_examples=60)
    def test_random_sections(self, seed: int, count: int, tables: int) -> None:
        table_set = _tables(tables, seed)
        values, rows = _section(table_set, count, seed)
        assert np.array_equal(_decoded(_encoded(values, rows, table_set), rows, table_set), values)

    @given(st.lists(st.integers(-VALUE_MAX, VALUE_MAX), max_size=20), st.integers(-(2**20), 2**20))
    @settings(deadline=None)
    def test_any_value_and_offset(self, values: list[int], offset: int) -> None:
        tables = TableSet.from_rows([[0, 30000, 65000, 65536]], [offset])
        data = _encoded(np.array(values, np.int32), 0, tables)
        assert _decoded(data, np.zeros(len(values), np.int32), tables).tolist() == values

    def test_extreme_values_at_extreme_offsets(self) -> None:
        for offset in (-(2**20), 2**20):
            tables = TableSet.from_rows([[0, 1, 65536]], [offset])
            values = np.array([VALUE_MAX, -VALUE_MAX, offset, offset - 1, offset + 1], np.int32)
            assert np.array_equal(_decoded(_encoded(values, 0, tables), np.zeros(5, np.int32), tables), values)

    @pytest.mark.parametrize("width", range(17))
    def test_uniform_bits_of_every_width(self, width: int) -> None:
        values = np.unique(np.linspace(0, 2**width - 1, 100).astype(np.int32))
        encoder = Encoder()
        encoder.code_bits(values, width)
        data = encoder.finish()
        assert encoder.bits == width * values.size
        decoder = Decoder(data)
        assert np.array_equal(decoder.code_bits(values.size, width), values)
        decoder.finish()

    def test_sections_of_different_tables_in_one_stream(self) -> None:
        first, second = _tables(5, 1), _tables(9, 2)
        a, a_rows = _section(first, 100, 3)
        b, b_rows = _section(second, 70, 4)
        encoder = Encoder()
        encoder.code(a, a_rows, first)
        encoder.code_bits([3, 1000], 10)
        encoder.code(b, b_rows, second)
        encoder.code([0, 0], 0, NARROW)
        decoder = Decoder(encoder.finish())
        assert np.array_equal(decoder.code(100, a_rows, first), a)
        assert decoder.code_bits(2, 10).tolist() == [3, 1000]
        assert np.array_equal(decoder.code((70,), b_rows, second), b)
        assert decoder.code(2, 0, NARROW).tolist() == [0, 0]
        decoder.finish()

    def test_shapes_are_kept_and_rows_broadcast(self) -> None:
        tables = _tables(4, 5)
        values = np.random.default_rng(0).integers(-3, 4, (4, 5, 6)).astype(np.int64)
        rows = np.arange(4)[:, None, None]
        data = _encoded(values, rows, tables)
        assert data == _encoded(values.reshape(-1), np.repeat(np.arange(4), 30), tables)
        decoder = Decoder(data)
        back = decoder.code(values, rows, tables)
        assert back.dtype == np.int32
        assert np.array_equal(back, values)


class TestBits:
    def test_three_coders_agree_with_the_stream(self) -> None:
        tables = _tables(40, 8)
        values, rows = _section(tables, 20000, 9)
        coders = (Estimator(), Encoder())
        for coder in coders:
            coder.code(values, rows, tables)
            coder.code_bits([1, 2, 3], 7)
        estimator, encoder = coders
        data = encoder.finish()
        decoder = Decoder(data)
        decoder.code(rows.shape, rows, tables)
        decoder.code_bits(3, 7)
        assert 0 <= 8 * len(data) - estimator.bits <= 64
        assert encoder.bits == pytest.approx(estimator.bits, rel=1e-6)
        assert decoder.bits == pytest.approx(estimator.bits, abs=1)

    def test_encoder_bits_add_up_section_by_section(self) -> None:
        tables = _tables(40, 8)
        values, rows = _section(tables, 500, 9)
        encoder, whole = Encoder(), Encoder()
        whole.code(values, rows, tables)
        parts = []
        for piece in (slice(0, 100), slice(100, 101), slice(101, 500)):
            before = encoder.bits
            encoder.code(values[piece], rows[piece], tables)
            parts.append(encoder.bits - before)
        assert sum(parts) == pytest.approx(whole.bits, rel=1e-9)
        assert encoder.finish() == whole.finish()


class TestCallersMistakes:
    @pytest.mark.parametrize("coder", [Estimator, Encoder])
    @pytest.mark.parametrize("value", [VALUE_MAX + 1, -VALUE_MAX - 1, 2**31 - 1, -(2**31)])
    def test_value_out_of_range(self, coder: type[Encoder], value: int) -> None:
        with pytest.raises(ValueError, match="67108864"):
            coder().code([0, value], 0, NARROW)

    @pytest.mark.parametrize("make", [Estimator, Encoder, lambda: Decoder(Encoder().finish())])
    @pytest.mark.parametrize("row", [-1, 1, 2**31 - 1])
    def test_row_out_of_range(self, make: Any, row: int) -> None:
        with pytest.raises(ValueError, match="row is not in the table set"):
            make().code(np.zeros(2, np.int32), [0, row], NARROW)

    @pytest.mark.parametrize("coder", [Estimator, Encoder])
    @pytest.mark.parametrize(("value", "width"), [(2, 1), (-1, 3), (65536, 16), (1, 0)])
    def test_bits_out_of_range(self, coder: type[Encoder], value: int, width: int) -> None:
        with pytest.raises(ValueError, match="fit"):
            coder().code_bits([value], width)

    @pytest.mark.parametrize("width", [-1, 17])
    def test_width_out_of_range(self, width: int) -> None:
        with pytest.raises(ValueError, match="0 to 16 bits"):
            Encoder().code_bits([0], width)

    @pytest.mark.parametrize("values", [[0.5], np.zeros(2, np.float32), [2**31], 3, (1, 2)])
    def test_values_that_are_no_integers(self, values: Any) -> None:
        with pytest.raises(ValueError, match="values"):
            Encoder().code(values, 0, NARROW)

    def test_rows_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match="broadcast"):
            Encoder().code([0, 0, 0], [0, 0], NARROW)

    def test_a_failed_encoder_gives_no_stream(self) -> None:
        encoder = Encoder()
        with pytest.raises(ValueError, match="beyond"):
            encoder.code([VALUE_MAX + 1], 0, NARROW)
        with pytest.raises(ValueError, match="beyond"):
            encoder.finish()


class TestDamage:
    tables = _tables(20, 11)
    values, rows = _section(tables, 60, 12)
    data = _encoded(values, rows, tables)

    def test_every_truncation(self) -> None:
        for length in range(len(self.data)):
            with pytest.raises(BadStream):
                _decoded(self.data[:length], self.rows, self.tables)

    @pytest.mark.parametrize("tail", [b"\0" * 4, b"\xff" * 8, b"\0"])
    def test_bytes_after_the_end(self, tail: bytes) -> None:
        with pytest.raises(BadStream):
            _decoded(self.data + tail, self.rows, self.tables)

    def test_every_bit_flip_is_refused_or_decodes_cleanly(self) -> None:
        clean = 0
        for bit in range(8 * len(self.data)):
            flipped = bytearray(self.data)
            flipped[bit // 8] ^= 1 << bit % 8
            try:
                values = _decoded(bytes(flipped), self.rows, self.tables)
            except BadStream:
                continue
            clean += 1
            assert np.abs(values).max() <= VALUE_MAX
            assert not np.array_equal(values, self.values)
            assert _encoded(values, self.rows, self.tables) == flipped  # one stream for one sequence of values
        assert clean < len(self.data)  # of 8 times as many: bits that stand for themselves, such as nibbles

    @given(st.binary(max_size=80))
    @settings(deadline=None, max_examples=300)
    def test_any_bytes(self, data: bytes) -> None:
        try:
            values = _decoded(data, self.rows, self.tables)
        except BadStream:
            return
        assert _encoded(values, self.rows, self.tables) == data

    def test_fewer_symbols_than_coded(self) -> None:
        with pytest.raises(BadStream, match="end"):
            _decoded(self.data, self.rows[:-1], self.tables)

    @pytest.mark.parametrize("state", [0, 1, 2**31 - 1, 2**63, 2**64 - 1])
    def test_impossible_first_state(self, state: int) -> None:
        with pytest.raises(BadStream, match="impossible state"):
            Decoder(state.to_bytes(8, "little") + self.data[8:])

    @pytest.mark.parametrize("nibbles", [[8] + [1] * 8, [15] * 20, [7] + [15] * 7, [2, 1, 0]])
    def test_escapes_that_no_encoder_writes(self, nibbles: list[int]) -> None:
        """Too many nibbles; endless count; beyond ±2^26; a leading zero."""
        x = 1 << 31
        words: list[int] = []
        for nibble in reversed(nibbles):
            if x >= 1 << 59:
                words.insert(0, x & 0xFFFFFFFF)
                x >>= 32
            x = x << 4 | nibble
        if x >= 1 << 47:
            words.insert(0, x & 0xFFFFFFFF)
            x >>= 32
        x = x << 16 | 65535  # the escape of a table whose escape has one count, at the top
        data = x.to_bytes(8, "little") + b"".join(word.to_bytes(4, "little") for word in words)
        with pytest.raises(BadStream, match="impossible value"):
            Decoder(data).code(1, 0, NARROW)

    def test_a_failed_decoder_stays_failed(self) -> None:
        decoder = Decoder(self.data[:8])
        with pytest.raises(BadStream):
            decoder.code(self.rows.size, self.rows, self.tables)
        with pytest.raises(BadStream):
            decoder.finish()
