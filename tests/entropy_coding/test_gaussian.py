"""Gaussian tables against compressai's, the integer Φ against exact arithmetic, shares of counts."""

import hashlib
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc.entropy_coding.gaussian import (
    DISTANCE_MAX,
    PHI,
    RECIPROCAL,
    SCALE_CODES,
    SCALES,
    half_normal,
    phi,
    published_tables,
    scales,
    share,
)

SCALES_SHA256 = "c8bdaad683932b580eaf8e0cfb2934d4872c4033cb5955af5d75056c85e98e06"
TABLES_SHA256 = "482d4620b3eb5802ce87f395fc613344f81fa5e5bfeeedae43cb3416ad9eb947"


def padded(cdf_rows: list[NDArray[Any]]) -> NDArray[np.int32]:
    """Rows with zeros behind them, as compressai keeps them."""
    out = np.zeros((len(cdf_rows), max(map(len, cdf_rows))), np.int32)
    for row, cdf in zip(out, cdf_rows, strict=True):
        row[: len(cdf)] = cdf
    return out


class TestPublishedTables:
    def test_digests(self) -> None:
        tables = published_tables()
        rows = padded([tables.row(i) for i in range(SCALES)])
        assert rows.shape == (64, 3133)
        assert hashlib.sha256(scales().astype("<f4").tobytes()).hexdigest() == SCALES_SHA256
        assert hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest() == TABLES_SHA256

    def test_equal_compressai(self) -> None:
        torch = pytest.importorskip("torch")
        models = pytest.importorskip("compressai.entropy_models")
        scale_table = torch.exp(torch.linspace(math.log(0.11), math.log(256), SCALES))
        oracle = models.GaussianConditional(None)
        oracle.update_scale_table(scale_table)
        tables = published_tables()
        np.testing.assert_array_equal(scales(), scale_table.numpy())
        np.testing.assert_array_equal(tables.offset, oracle._offset.numpy())
        np.testing.assert_array_equal(tables.size + 1, oracle._cdf_length.numpy())
        np.testing.assert_array_equal(padded([tables.row(i) for i in range(SCALES)]), oracle._quantized_cdf.numpy())


def exact_phi(x: Fraction, bits: int) -> int:
    """2^bits · Φ(x), rounded down, from its series in integers alone; 0 <= x <= 8."""
    one = 1 << (bits + 100)
    term = one * x.numerator // x.denominator
    total, k = term, 1
    while term:
        term = -term * x.numerator**2 // (x.denominator**2 * 2 * k)
        total += term // (2 * k + 1)
        k += 1
        if term in (0, -1):
            break
    root = math.isqrt(2 * _pi(bits + 100) << (bits + 100))
    return (total * one // root + one // 2) >> 100


def _pi(bits: int) -> int:
    """2^bits · π, by Machin."""

    def arctan(inverse: int) -> int:
        term = (1 << (bits + 20)) // inverse
        total, k = term, 1
        while term:
            term //= -(inverse * inverse)
            total += term // (2 * k + 1)
            k += 1
            if term == -1:
                break
        return total

    return (4 * (4 * arctan(5) - arctan(239))) >> 20


class TestPhi:
    def test_table_is_the_rounded_normal_distribution(self) -> None:
        for i in [0, 1, 2, 3, 100, 511, 1024, 2000, 3333, 4096, 5000, 6000, 8000, 8192]:
            assert PHI[i] == (exact_phi(Fraction(i, 1024), 40) + (1 << 9)) >> 10, i

    def test_table_does_not_hang_on_rounding(self) -> None:
        exact = (half_normal(np.arange(8193) / 1024) + 0.5) * 2**30
        assert np.abs(exact - np.floor(exact) - 0.5).min() > 1.7e-5  # half_normal errs by 1e-5 of these
        sample = range(0, 8193, 97)
        error = [abs(exact[i] - exact_phi(Fraction(i, 1024), 60) / 2**30) for i in sample]
        assert max(error) < 1e-5

    def test_digests_of_format_md(self) -> None:
        assert PHI.size == 8193
        assert crc32c(PHI.astype("<u4").tobytes()) == 0xEF84978A
        assert crc32c(RECIPROCAL.astype("<u4").tobytes()) == 0x659818A7

    def test_reciprocals_are_rounded_powers_of_two(self) -> None:
        for i, value in enumerate(RECIPROCAL.tolist()):  # (value ± 1/2)^64 around 2^(30·64 + i)
            assert (2 * value - 1) ** 64 < 2 ** (31 * 64 + i) < (2 * value + 1) ** 64

    @pytest.mark.parametrize("code", [0, 1, 63, 64, 65, 300, 512, 777, 1023])
    def test_error_order_and_symmetry(self, code: int) -> None:
        scale = 2 ** (code / 64 - 4)
        distance = np.unique(np.linspace(0, min(9 * scale * 4096, 2**30), 3001).astype(np.int64)).tolist()
        values = [phi(d, code) for d in distance]
        exact = [0.5 * math.erfc(-d / 4096 / scale / math.sqrt(2)) for d in distance]
        assert max(abs(v / 2**30 - e) for v, e in zip(values, exact, strict=True)) < 2**-24
        assert values == sorted(values)
        assert [phi(-d, code) for d in distance[1:]] == [2**30 - v for v in values[1:]]

    def test_far_away(self) -> None:
        for code in (0, SCALE_CODES - 1):
            assert phi(2**45, code) == phi(DISTANCE_MAX, code) == 2**30
            assert phi(-(2**45), code) == 0


class TestShare:
    @settings(deadline=None)
    @given(
        st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**40)), min_size=1, max_size=60).filter(any),
        st.integers(0, 65000),
    )
    def test_sums_and_every_symbol_has_one(self, masses: list[int], spare: int) -> None:
        total = max(65536 - spare, 2 * len(masses))
        out = np.zeros(len(masses), np.int64)
        share(np.array(masses, np.int64), total, out)
        assert out.sum() == total
        assert out.min() >= 1

    def test_largest_masses(self) -> None:
        mass = np.full(32768, 2**31, np.int64)  # 2^46 in all
        out = np.zeros(32768, np.int64)
        share(mass, 65536, out)
        assert (out == 2).all()
        share(np.array([2**46 - 1, 1], np.int64), 65536, out[:2])
        assert out[:2].tolist() == [65535, 1]

    def test_follows_the_masses(self) -> None:
        mass = np.array([1, 10, 100, 1000, 10000, 1000, 100, 10, 1], np.int64)
        out = np.zeros(9, np.int64)
        share(mass, 65536 - 3, out)
        assert np.abs(out - mass / mass.sum() * 65533).max() < 1
