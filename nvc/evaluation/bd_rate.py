"""Bjøntegaard delta rate: how many per cent more or fewer bits one codec needs for the same PSNR.

The logarithm of the rate is interpolated over PSNR by PCHIP (Fritsch and Carlson 1980, with the three-point end
slopes of most implementations), a piecewise cubic that is monotone where the points are, and both curves are integrated
exactly over the PSNR range that they share. Nothing is extrapolated: what is compared is stated with the result.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Point = tuple[float, float]
"""(rate, quality): rate > 0 in any unit that both curves share, quality in dB."""


@dataclass(frozen=True)
class BdRate:
    """One comparison. `percent` < 0: the tested codec needs fewer bits than the anchor.

    low, high: the PSNR range compared, dB.
    share_anchor, share_test: how much of each curve's own PSNR span that is, 0..1.
    dropped_anchor, dropped_test: points left out because another point of the curve was no larger and no worse.
    reason: why percent is NaN, or empty.
    """

    percent: float
    low: float = math.nan
    high: float = math.nan
    share_anchor: float = 0.0
    share_test: float = 0.0
    dropped_anchor: int = 0
    dropped_test: int = 0
    reason: str = ""


def bd_rate(anchor: Iterable[Point], test: Iterable[Point]) -> BdRate:
    """BD-rate of `test` against `anchor`; NaN with a reason where the two curves share no range of PSNR.

    Points come in any order. Those that are not finite (a lossless point has an infinite PSNR) are left out, and so are
    the dominated ones (`frontier`), as the interpolation is of a function that must rise.
    """
    anchor, test = _finite(anchor), _finite(test)
    front_a, front_t = frontier(anchor), frontier(test)
    none = BdRate(math.nan, dropped_anchor=len(anchor) - len(front_a), dropped_test=len(test) - len(front_t))
    for name, front in (("anchor", front_a), ("test", front_t)):
        if len(front) < 2:
            return replace(none, reason=f"the {name} curve has {len(front)} usable points, 2 are needed")
    low, high = max(front_a[0][1], front_t[0][1]), min(front_a[-1][1], front_t[-1][1])
    if not low < high:
        span_a, span_t = (f"{front[0][1]:.2f}..{front[-1][1]:.2f} dB" for front in (front_a, front_t))
        return replace(none, reason=f"no common range: anchor {span_a}, test {span_t}")
    area_a, area_t = (_area(front, low, high) for front in (front_a, front_t))
    return replace(
        none,
        percent=100.0 * math.expm1((area_t - area_a) / (high - low)),
        low=low,
        high=high,
        share_anchor=(high - low) / (front_a[-1][1] - front_a[0][1]),
        share_test=(high - low) / (front_t[-1][1] - front_t[0][1]),
    )


def frontier(points: Iterable[Point]) -> list[Point]:
    """Points that no other point beats or equals in both rate and quality, in order: both then rise strictly."""
    front: list[Point] = []
    for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((rate, quality))
    return front


def pchip_slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    """Slopes of the monotone cubic through (x, y) at its n ≥ 2 points; x strictly rising, both (n,) float64."""
    width, secant = np.diff(x), np.diff(y) / np.diff(x)
    if len(x) == 2:
        return np.repeat(secant, 2)
    slopes = np.zeros_like(y)
    for k in range(1, len(x) - 1):
        before, after = secant[k - 1], secant[k]
        if before * after > 0:  # else a local extremum: flat, or the curve would overshoot
            w_before, w_after = 2 * width[k] + width[k - 1], width[k] + 2 * width[k - 1]
            slopes[k] = (w_before + w_after) / (w_before / before + w_after / after)
    slopes[0] = _end_slope(width[0], width[1], secant[0], secant[1])
    slopes[-1] = _end_slope(width[-1], width[-2], secant[-1], secant[-2])
    return slopes


def _end_slope(width: float, next_width: float, secant: float, next_secant: float) -> float:
    """Three-point slope at an end, held to the sign of the end's secant and to three times it: still monotone."""
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant < 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope


def pchip_integral(x: FloatArray, y: FloatArray, low: float, high: float) -> float:
    """Integral of the monotone cubic through (x, y) from low to high, exact; x[0] ≤ low ≤ high ≤ x[-1]."""
    slopes = pchip_slopes(x, y)
    width = np.diff(x)
    secant = np.diff(y) / width
    quadratic = (3 * secant - 2 * slopes[:-1] - slopes[1:]) / width
    cubic = (slopes[:-1] + slopes[1:] - 2 * secant) / width**2

    def primitive(t: FloatArray) -> FloatArray:
        value = t * (y[:-1] + t * (slopes[:-1] / 2 + t * (quadratic / 3 + t * cubic / 4)))
        return cast(FloatArray, value)

    start, stop = (np.clip(bound - x[:-1], 0.0, width) for bound in (low, high))
    return float(np.sum(primitive(stop) - primitive(start)))


def _area(front: list[Point], low: float, high: float) -> float:
    rate, quality = np.array(front, dtype=np.float64).T
    return pchip_integral(quality, np.log(rate), low, high)


def _finite(points: Iterable[Point]) -> list[Point]:
    return [(rate, quality) for rate, quality in points if rate > 0 and math.isfinite(rate) and math.isfinite(quality)]
