"""Rounding by rate and distortion against every choice tried by itself."""

import math

import numpy as np
import pytest

from nvc.codec.rate_rounding import FLOOR, LARGEST, rounded
from nvc.entropy_coding.gaussian import scales


def bits(index: int, symbol: int) -> float:
    unit = 1 / (float(scales()[index]) * 2**0.5)
    p = 0.5 * (math.erf((abs(symbol) + 0.5) * unit) - math.erf((abs(symbol) - 0.5) * unit))
    return -math.log2(max(p, FLOOR))


@pytest.mark.parametrize("worth", [0.01, 1.0, 7.5])
def test_the_better_of_two(worth: float) -> None:
    """The nearest symbol, or the next one towards 0: whichever costs less, bits and error together."""
    random = np.random.default_rng(1)
    values = random.laplace(0, 3, (2, 40, 50)).astype(np.float32)
    index = random.integers(0, 64, values.shape).astype(np.uint8)
    worths = np.array([worth, 2 * worth], np.float32)
    got = rounded(values, index, worths)
    moved = 0
    for c, y, x in np.ndindex(values.shape):
        value = float(values[c, y, x])
        plain = round(value)
        nearer = plain - (plain > 0) + (plain < 0)
        cost = {s: bits(int(index[c, y, x]), s) + float(worths[c]) * (s - value) ** 2 for s in (plain, nearer)}
        assert got[c, y, x] in cost
        assert cost[int(got[c, y, x])] <= min(cost.values()) + 1e-3
        moved += got[c, y, x] != plain
    assert moved > 0 or worth > 1


def test_plain_where_errors_are_dear_and_beyond_the_table() -> None:
    values = np.array([[[0.6, -1.4, -0.49, LARGEST + 5.4, -3000.2]]], np.float32)
    index = np.full(values.shape, 63, np.uint8)
    assert rounded(values, index, np.array([1e9], np.float32)).ravel().tolist() == [1, -1, 0, LARGEST + 5, -3000]
    assert rounded(values, 0 * index, np.array([1e-9], np.float32)).ravel().tolist() == [0, 0, 0, LARGEST + 5, -3000]
    assert rounded(values[:, :0], index[:, :0], np.array([1.0], np.float32)).shape == (1, 0, 5)
