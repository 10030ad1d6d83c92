"""BD-rate against the bjontegaard package (scipy's PCHIP), against shifts whose answer is known, and its statements."""

import math

import bjontegaard
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc.evaluation.bd_rate import Point, bd_rate, frontier, pchip_integral

# Kodak means that CompressAI publishes (bpp, RGB PSNR): bmshj2018-factorized and bmshj2018-hyperprior, MSE.
FACTORIZED = [
    (0.12262302, 26.90881739), (0.18852743, 28.21792570), (0.28780789, 29.61691523), (0.44037882, 31.27708729),
    (0.64813572, 32.95612282), (0.96697659, 35.38092229), (1.35116577, 37.39693190), (1.83326552, 39.62131429),
]  # fmt: skip
HYPERPRIOR = [
    (0.13129340, 27.58153675), (0.20889282, 29.19670341), (0.31985813, 30.97216207), (0.47835625, 32.83818257),
    (0.66868761, 34.52626406), (0.93882582, 36.74334835), (1.25917222, 38.58384824),
]  # fmt: skip


def oracle(anchor: list[Point], test: list[Point]) -> float:
    columns = [np.array(values) for points in (anchor, test) for values in zip(*points, strict=True)]
    return float(bjontegaard.bd_rate(*columns, method="pchip", require_matching_points=False, min_overlap=0))


def test_published_curves_as_bjontegaard_computes_them() -> None:
    result = bd_rate(FACTORIZED, HYPERPRIOR)
    assert result.percent == pytest.approx(oracle(FACTORIZED, HYPERPRIOR), abs=1e-9)
    assert -25 < result.percent < -15
    assert (result.low, result.high) == (HYPERPRIOR[0][1], HYPERPRIOR[-1][1])
    assert result.share_test == 1.0
    assert result.share_anchor == pytest.approx((38.58384824 - 27.58153675) / (39.62131429 - 26.90881739))
    assert result.reason == ""


steps = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.05, 4.0)), min_size=1, max_size=9)
curves = st.tuples(st.floats(0.05, 0.5), st.floats(24.0, 28.0), steps)


def rising(start_rate: float, start_quality: float, steps: list[tuple[float, float]]) -> list[Point]:
    points = [(start_rate, start_quality)]
    for more, better in steps:
        points.append((points[-1][0] * math.exp(more), points[-1][1] + better))
    return points


@given(curves, curves)
def test_any_rising_curves_as_bjontegaard_computes_them(a: tuple, b: tuple) -> None:
    anchor, test = rising(*a), rising(*b)
    result = bd_rate(anchor, test)
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    if high - low <= 1e-3:
        assert math.isnan(result.percent) or result.high - result.low <= 1e-3
        return
    assert (result.low, result.high) == (low, high)
    assert result.percent == pytest.approx(oracle(anchor, test), rel=1e-6, abs=1e-6)
    back = bd_rate(test, anchor)
    assert (1 + result.percent / 100) * (1 + back.percent / 100) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.3])
def test_a_scaled_rate_is_that_many_per_cent(factor: float) -> None:
    scaled = [(rate * factor, quality) for rate, quality in FACTORIZED]
    assert bd_rate(FACTORIZED, scaled).percent == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_a_straight_curve_moved_in_quality() -> None:
    """Rate doubles every 3 dB: 1 dB better at the same rate saves 1 − 2^(−1/3), whatever points describe the line."""

    def line(qualities: list[float], gain: float) -> list[Point]:
        return [(0.1 * 2 ** ((quality - gain - 25) / 3), quality) for quality in qualities]

    result = bd_rate(line([25, 28, 33, 40], 0.0), line([27, 30, 31.5, 36, 43], 1.0))
    assert result.percent == pytest.approx(100 * (2 ** (-1 / 3) - 1), abs=1e-9)
    assert (result.low, result.high) == (27, 40)
    assert result.share_anchor == pytest.approx(13 / 15)
    assert result.share_test == pytest.approx(13 / 16)


def test_only_the_common_range_counts() -> None:
    """Points beyond the range of the other curve's ends shape slopes only: a far away disaster does not matter."""
    half = [(rate / 2, quality) for rate, quality in FACTORIZED]
    worse_above = [*half, (50.0, 45.0), (90.0, 47.0)]
    assert bd_rate(FACTORIZED, worse_above).high == FACTORIZED[-1][1]
    assert bd_rate(FACTORIZED, worse_above).percent == pytest.approx(-50, abs=3)


def test_no_common_range_is_nan_with_its_reason() -> None:
    above = [(rate, quality + 20) for rate, quality in FACTORIZED]
    result = bd_rate(FACTORIZED, above)
    assert math.isnan(result.percent)
    assert result.reason == "no common range: anchor 26.91..39.62 dB, test 46.91..59.62 dB"
    assert (result.share_anchor, result.share_test) == (0.0, 0.0)


@pytest.mark.parametrize("points", [[], [(1.0, 30.0)], [(1.0, 30.0), (1.5, math.inf)], [(1.0, 30.0), (2.0, 29.0)]])
def test_too_few_points_is_nan_with_its_reason(points: list[Point]) -> None:
    result = bd_rate(FACTORIZED, points)
    assert math.isnan(result.percent)
    assert "test curve" in result.reason
    assert "2 are needed" in result.reason


def test_dominated_points_are_left_out_and_counted() -> None:
    spoiled = [*HYPERPRIOR, (0.5, 32.0), (0.66868761, 34.0), HYPERPRIOR[2]]  # worse and larger; no smaller; a copy
    result = bd_rate(FACTORIZED, spoiled)
    assert result.percent == bd_rate(FACTORIZED, HYPERPRIOR).percent
    assert (result.dropped_anchor, result.dropped_test) == (0, 3)


def test_order_does_not_matter() -> None:
    assert bd_rate(FACTORIZED[::-1], HYPERPRIOR[3:] + HYPERPRIOR[:3]) == bd_rate(FACTORIZED, HYPERPRIOR)


def test_frontier_rises_strictly() -> None:
    assert frontier([(3, 3), (1, 1), (2, 2.5), (2, 2), (2.5, 2.5), (4, 3)]) == [(1, 1), (2, 2.5), (3, 3)]


def test_pchip_integral_of_pieces_adds_up_and_keeps_a_flat_part_flat() -> None:
    x, y = np.array([0.0, 1.0, 2.5, 3.0, 5.0]), np.array([0.0, 2.0, 2.0, 2.0, 7.0])
    whole = pchip_integral(x, y, 0.0, 5.0)
    assert pchip_integral(x, y, 0.0, 1.7) + pchip_integral(x, y, 1.7, 5.0) == pytest.approx(whole, abs=1e-12)
    assert pchip_integral(x, y, 1.0, 3.0) == pytest.approx(4.0, abs=1e-12)  # a cubic spline would overshoot here
