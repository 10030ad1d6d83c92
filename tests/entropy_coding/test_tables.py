"""Tables: the quantiser against compressai's, tables from histograms, and what a TableSet refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc.entropy_coding.tables import OFFSET_MAX, TableSet, quantize_counts, quantize_pmf


def _pmfs() -> list[NDArray[np.float32]]:
    """Peaked, flat, sparse, unnormalised, long: 400 rows of 1 to 4000 entries."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(400):
        n = int(random.integers(1, 60)) if i % 20 else int(random.integers(1000, 4000))
        row = random.gamma(random.choice([0.02, 0.3, 3.0]), size=n)
        if i % 3 == 0:
            row[random.random(n) < 0.5] = 0
        row[random.integers(n)] += 1e-3
        row /= row.sum() * random.choice([1.0, 1.0, 0.01, 70.0])
        rows.append(row.astype(np.float32))
    return rows


class TestQuantizePmf:
    def test_known_table(self) -> None:
        table = quantize_pmf([0.1, 0.2, 0, 0])
        assert table.dtype == np.uint32
        assert table.tolist() == [0, 21845, 65534, 65535, 65536]

    def test_equals_compressai(self) -> None:
        oracle = pytest.importorskip("compressai._CXX").pmf_to_quantized_cdf
        for pmf in _pmfs():
            assert quantize_pmf(pmf).tolist() == oracle(pmf.tolist(), 16)

    @given(st.lists(st.floats(0, 4, width=32), min_size=1, max_size=40))
    @settings(deadline=None)
    def test_equals_compressai_on_odd_floats(self, pmf: list[float]) -> None:
        oracle = pytest.importorskip("compressai._CXX").pmf_to_quantized_cdf
        try:
            expected = oracle(pmf, 16)
        except ValueError:
            with pytest.raises(ValueError, match="pmf"):
                quantize_pmf(pmf)
        else:
            assert quantize_pmf(pmf).tolist() == expected

    def test_rounds_halves_away_from_zero(self) -> None:
        # 0.5 and 1.5 counts of 65536: 1 and 2 when rounded away from zero, 0 and 2 when rounded to even
        assert quantize_pmf(np.array([0.5, 1.5, 65533]) / 65536).tolist() == [0, 1, 3, 65536]

    def test_most_entries_that_fit(self) -> None:
        assert quantize_pmf(np.full(65536, 1 / 65536)).tolist() == list(range(65537))

    @pytest.mark.parametrize(
        "pmf", [[], [0, 0], [1e-9, 0], [0.5, -0.1], [np.nan, 1], [np.inf, 1], [[0.5, 0.5]], [40000.0], np.ones(65537)]
    )
    def test_refuses(self, pmf: Any) -> None:
        with pytest.raises(ValueError, match="pmf"):
            quantize_pmf(pmf)


class TestQuantizeCounts:
    @given(st.lists(st.one_of(st.just(0), st.integers(0, 10**6)), min_size=2, max_size=50))
    @settings(deadline=None)
    def test_is_a_table_not_dearer_than_the_plain_quantiser(self, counts: list[int]) -> None:
        weights = np.array(counts, dtype=np.float64)
        table = quantize_counts(weights)
        freq = np.diff(table.astype(np.int64))
        assert (table[0], table[-1]) == (0, 65536)
        assert freq.min() >= 1
        if weights.any():
            plain = np.diff(quantize_pmf(weights / weights.sum()).astype(np.int64))
            assert -(weights @ np.log2(freq)) <= -(weights @ np.log2(plain)) + 1e-6 * weights.sum()

    def test_exact_where_counts_allow(self) -> None:
        assert quantize_counts([1, 2, 1]).tolist() == [0, 16384, 49152, 65536]

    def test_no_counts_mean_uniform(self) -> None:
        assert quantize_counts([0, 0, 0, 0]).tolist() == [0, 16384, 32768, 49152, 65536]

    @pytest.mark.parametrize("counts", [[], [1], [1, -1], [1, np.nan], [1, np.inf], [[1, 2]], np.ones(65536)])
    def test_refuses(self, counts: Any) -> None:
        with pytest.raises(ValueError, match="counts"):
            quantize_counts(counts)


class TestTableSet:
    def test_rows_come_back(self) -> None:
        rows = [[0, 1, 65536], [0, 100, 200, 65536]]
        tables = TableSet.from_rows(rows, [-1, 3])
        assert len(tables) == 2
        assert [tables.row(i).tolist() for i in range(2)] == rows
        assert tables.start.tolist() == [0, 3]
        assert tables.size.tolist() == [2, 3]
        assert tables.offset.tolist() == [-1, 3]
        assert [a.dtype for a in (tables.cdf, tables.start, tables.size, tables.offset)] == [
            np.uint32, np.int64, np.int32, np.int32,
        ]  # fmt: skip

    def test_bits_are_the_cost_of_each_symbol(self) -> None:
        tables = TableSet.from_rows([[0, 32768, 65536], [0, 16384, 49152, 65536]], [0, 0])
        assert tables.bits.dtype == np.float32
        assert tables.bits.tolist() == [1, 1, 0, 2, 1, 2, 0]

    def test_lookup_is_where_the_scan_begins(self) -> None:
        random = np.random.default_rng(3)
        tables = TableSet.from_histograms([random.gamma(0.1, size=n) for n in (2, 5, 700, 20000)], np.zeros(4, int))
        for i in range(len(tables)):
            expected = np.searchsorted(tables.row(i), np.arange(256) << 8, side="right") - 1
            assert tables.lookup[i << 8 : (i + 1) << 8].tolist() == expected.tolist()

    def test_is_independent_of_its_sources_and_read_only(self) -> None:
        cdf = np.array([0, 9, 65536], np.uint32)
        tables = TableSet(cdf, np.array([0]), np.array([2]), np.array([0]))
        cdf[1] = 0
        assert tables.cdf[1] == 9
        for array in (tables.cdf, tables.start, tables.size, tables.offset, tables.bits, tables.lookup):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0

    @pytest.mark.parametrize(
        ("cdf", "start", "size", "offset", "message"),
        [
            ([], [], [], [], "at least one"),
            ([0, 1, 65536], [0], [2], [0, 0], "as many"),
            ([0, 65536], [0], [1], [0], "table 0 has fewer than 2"),
            ([0, 1, 65536, 0], [0, 3], [2, 0], [0, 0], "table 1 has fewer than 2"),
            ([0, 1, 65536], [0], [-5], [0], "table 0 has fewer than 2"),
            (list(range(65537)), [0], [65536], [0], "more than 65535"),
            ([0, 1, 65536], [0], [2], [OFFSET_MAX + 1], "offset"),
            ([0, 1, 65536], [1], [2], [0], "does not begin where"),
            ([0, 1, 65536], [-3], [2], [0], "does not begin where"),
            ([0, 1, 65536, 7], [0], [2], [0], "take 3 entries, cdf has 4"),
            ([0, 1, 65536], [0], [3], [0], "take 4 entries, cdf has 3"),
            ([1, 2, 65536], [0], [2], [0], "does not begin with 0"),
            ([0, 1, 65535], [0], [2], [0], "does not end with 65536"),
            ([0, 0, 65536], [0], [2], [0], "not strictly increasing"),
            ([0, 1, 65536, 0, 5, 4, 65536], [0, 3], [2, 3], [0, 0], "table 1 is not strictly increasing"),
            ([0, 70000, 65536], [0], [2], [0], "not strictly increasing"),
            ([0, -1, 65536], [0], [2], [0], "cdf: does not fit"),
            ([0, 1.5, 65536], [0], [2], [0], "cdf: one dimension of integers"),
            ([[0, 1, 65536]], [0], [2], [0], "cdf: one dimension of integers"),
        ],
    )
    def test_refuses(self, cdf: Any, start: Any, size: Any, offset: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            TableSet(cdf, start, size, offset)


class TestFromHistograms:
    def test_most_of_the_mass_goes_where_the_counts_are(self) -> None:
        tables = TableSet.from_histograms([[0, 999, 1, 0]], [-1])
        freq = np.diff(tables.row(0).astype(np.int64))
        assert freq.tolist() == [1, 65468, 66, 1]

    def test_escape_gets_its_floor_or_its_counts(self) -> None:
        floored = TableSet.from_histograms([[500, 500, 0]], [0], escape_floor=0.25)
        assert floored.row(0).tolist() == [0, 24576, 49152, 65536]
        counted = TableSet.from_histograms([[1, 1, 2]], [0], escape_floor=0.25)
        assert counted.row(0).tolist() == [0, 16384, 32768, 65536]

    @pytest.mark.parametrize("floor", [0.0, 1.0, -1.0, np.nan])
    def test_refuses_a_floor_that_is_no_probability(self, floor: float) -> None:
        with pytest.raises(ValueError, match="escape_floor"):
            TableSet.from_histograms([[1, 1]], [0], escape_floor=floor)

    def test_refuses_a_histogram_that_is_a_matrix(self) -> None:
        with pytest.raises(ValueError, match="one dimension"):
            TableSet.from_histograms([[[1, 1]]], [0])
