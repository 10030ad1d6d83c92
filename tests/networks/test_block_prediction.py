"""Predicted blocks to frames: against FORMAT.md 18 sample by sample, bounds, predictors that are refused."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from referee_coefficients import MATRIX, order
from video_streams import random_predicted

from nvc.coefficients import Coefficients
from nvc.networks.block_prediction import Predictors, check, reconstruct
from nvc.networks.transform import scales

LOG_STEP = np.stack([np.full(8, 9 * 4096 + 1234), np.full(8, 10 * 4096 - 77)], 1).astype(np.int32)
COUNTS = 4, 2, 8
SHAPES = (25, 64), (25, 256), (25, 64)


def wild(random: np.random.Generator, largest: int = 1300) -> Predictors:
    """Of no use: their weights are as large as they may be, and show which sample is taken for which."""
    luma_8, luma_16, chroma = (
        random.integers(-largest, largest + 1, (count, *shape)).astype(np.int16)
        for count, shape in zip(COUNTS, SHAPES, strict=True)
    )
    return luma_8, luma_16, chroma


def mild(random: np.random.Generator) -> Predictors:
    """Any weights that add up to 1, so that samples seldom reach the ends."""
    made = []
    for one in wild(random, 60):
        one[:, 5] += 1024 - one.astype(int).sum(1).astype(np.int16)
        made.append(one)
    return made[0], made[1], made[2]


def literal(made: Coefficients, predictors: Predictors, steps: list[tuple[int, int]]) -> list[list[list[int]]]:
    """FORMAT.md 18, "Prediction", with Python's integers. steps: T and 2^(e + 26) of luma and chroma."""
    height, width = made.size
    half = (height + 1) // 2, (width + 1) // 2
    planes = [[[-1] * columns for _ in range(rows)] for rows, columns in ((height, width), half, half)]
    assert made.predictors is not None

    def block(number: int, y: int, x: int, side: int, weight: Any, c: Any, last: bool = False) -> None:
        plane, (rows, columns) = planes[number], (height, width) if number == 0 else half
        limit = x + side - 1 if last else x + 2 * side - 1
        above = [plane[y - 1][min(x + i, limit, columns - 1)] if y else 0 for i in range(2 * side)]
        left = [plane[min(y + i, rows - 1)][x - 1] if x else 0 for i in range(side)]
        corner = plane[y - 1][x - 1] if x and y else 0
        if y == 0 and x == 0:
            above, left, corner = [128] * 2 * side, [128] * side, 128
        elif y == 0:
            above, corner = [left[0]] * 2 * side, left[0]
        elif x == 0:
            left, corner = [above[0]] * side, above[0]
        d = 10
        f = [corner, *above, *left]
        if side == 16:
            d = 11
            f = [2 * corner, *(line[2 * i] + line[2 * i + 1] for line in (above, left) for i in range(len(line) // 2))]
        assert len(f) == 25
        assert min(f) >= 0  # all of them are made already
        t, divisor = steps[min(number, 1)]
        places = [(*place, int(value)) for place, value in zip(order(side), c, strict=True) if value]
        for r in range(min(side, rows - y)):
            for s in range(min(side, columns - x)):
                total = sum(f[n] * int(weight[n][side * r + s]) for n in range(25))
                assert abs(total + (1 << (d - 1))) <= 1 << 24
                shown = min(max((total + (1 << (d - 1))) // (1 << d), 0), 255)
                v = sum(value * t * int(MATRIX[side][i, r]) * int(MATRIX[side][j, s]) for i, j, value in places)
                plane[y + r][x + s] = min(max(shown + (v + divisor // 2) // divisor, 0), 255)

    luma_8, luma_16, chroma = predictors
    for i, j in np.ndindex(made.whole.shape):
        chosen, c = made.predictors[i, j], made.blocks[i, j]
        if made.whole[i, j]:
            block(0, 16 * i, 16 * j, 16, luma_16[chosen[0]], c[:256])
        else:
            for k in range(4):
                y, x = 16 * i + 8 * (k // 2), 16 * j + 8 * (k % 2)
                if y < height and x < width:
                    block(0, y, x, 8, luma_8[chosen[k]], c[64 * k : 64 * k + 64], k == 3)
        for k in (4, 5):
            block(k - 3, 8 * i, 8 * j, 8, chroma[chosen[k]], c[64 * k : 64 * k + 64])
    return planes


@pytest.mark.parametrize("kind", [wild, mild])
@pytest.mark.parametrize("size", [(1, 1), (9, 40), (40, 9), (34, 50)])
@pytest.mark.parametrize(("share", "scale"), [(0.02, 1.0), (0.05, 20000.0)])
def test_against_the_words_of_the_format(
    size: tuple[int, int], share: float, scale: float, kind: Callable[..., Predictors]
) -> None:
    random = np.random.default_rng(size[0])
    predictors, made = kind(random), random_predicted(size, COUNTS, random, share, scale)
    mantissa, shift = scales(LOG_STEP, 5000)
    steps = [(int(t), 1 << int(s)) for t, s in zip(mantissa, shift, strict=True)]
    found = reconstruct(made, predictors, LOG_STEP, 5000)
    for plane, other in zip(found.planes, literal(made, predictors, steps), strict=True):
        np.testing.assert_array_equal(plane, other)


@pytest.mark.parametrize("sign", [-1, 1])
def test_nothing_overflows_at_the_ends(sign: int) -> None:
    """The largest weights that there may be, on white: sums are nearly ±2^24."""
    predictors = mild(np.random.default_rng(1))
    for one in predictors:
        one[:], one[:, 3], one[:, 20] = 0, sign * 16384, sign * 16383
    made = Coefficients.predicted(48, 48)
    made.blocks[0, 0, [0, 256, 320]] = 2000  # white, or as much against black
    made.whole[1, 1:] = made.whole[2, :2] = 1
    mantissa, shift = scales(LOG_STEP, 0)
    check(predictors)
    found = reconstruct(made, predictors, LOG_STEP, 0)
    steps = [(int(t), 1 << int(s)) for t, s in zip(mantissa, shift, strict=True)]
    for plane, other in zip(found.planes, literal(made, predictors, steps), strict=True):
        np.testing.assert_array_equal(plane, other)
    assert {int(value) for value in np.unique(found.y)} == ({255} if sign > 0 else {0, 255})


def test_what_stands_beyond_the_frame_is_not_shown() -> None:
    random = np.random.default_rng(5)
    predictors, made = mild(random), random_predicted((24, 40), COUNTS, random, 0.05, 3.0)
    made.whole[:] = 0
    other = replace(made, blocks=made.blocks.copy())
    other.blocks[1, :, 128:256] = 500
    other.blocks[:, 2, 64:128] = other.blocks[:, 2, 192:256] = -500
    one, two = (reconstruct(each, predictors, LOG_STEP, 0) for each in (made, other))
    for plane, again in zip(one.planes, two.planes, strict=True):
        np.testing.assert_array_equal(plane, again)


def changed(kind: int, value: NDArray[Any]) -> Any:
    predictors = list(mild(np.random.default_rng(2)))
    predictors[kind] = value
    return tuple(predictors)


@pytest.mark.parametrize("kind", range(3))
def test_predictors_that_no_decoder_takes(kind: int) -> None:
    good = mild(np.random.default_rng(2))[kind]
    check(changed(kind, good))
    shapes = [np.zeros(shape, np.int16) for shape in [(4, 24, 64), (4, 25, 128), (25, 64), (4, 25, 64, 1)]]
    for value in [*shapes, good.astype(np.int32), good.astype(np.uint16)]:
        with pytest.raises(ValueError, match="of no kind"):
            check(changed(kind, value))
    for count in (0, 1, 3, 64):
        with pytest.raises(ValueError, match=f"{count} predictors"):
            check(changed(kind, np.zeros((count, *SHAPES[kind]), np.int16)))
    largest = np.zeros((2, *SHAPES[kind]), np.int16)
    largest[1, 4:6, 7] = -32767, 0
    check(changed(kind, largest))
    for pair in ((-32767, 1), (-32768, 0), (16384, -16384)):
        largest[1, 4:6, 7] = pair
        with pytest.raises(ValueError, match="too much"):
            check(changed(kind, largest))


def test_coefficients_that_are_added_to_a_frame_are_no_predicted_blocks() -> None:
    with pytest.raises(ValueError, match="without predictors"):
        reconstruct(Coefficients.nothing(1, 1), mild(np.random.default_rng(2)), LOG_STEP, 0)
