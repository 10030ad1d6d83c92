"""Two predictions mixed: the definition of FORMAT.md 15, its ends, any size and number of threads."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks import blend as module
from nvc.networks.blend import WEIGHT_ONE, blend
from nvc.networks.warp import grid_shape


def frame(height: int, width: int, seed: int) -> Frame420:
    random = np.random.default_rng(seed)
    half = (-(-height // 2), -(-width // 2))
    return Frame420(
        *(random.choice([0, 255, random.integers(256)], s).astype(np.uint8) for s in ((height, width), half, half))
    )


def weights(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, WEIGHT_ONE + 1, grid_shape(height, width)).astype(np.uint8)


def expected(one: NDArray[np.uint8], two: NDArray[np.uint8], weight: NDArray[np.uint8], cell: int) -> NDArray[np.uint8]:
    """Sample by sample, in Python's integers."""
    rows, columns = weight.shape
    out, n = np.empty_like(one), 2 * cell

    def at(j: int, i: int) -> int:
        return int(weight[min(max(j, 0), rows - 1), min(max(i, 0), columns - 1)])

    for y, x in product(*map(range, one.shape)):
        (j, f), (i, g) = divmod(2 * y + 1 - cell, n), divmod(2 * x + 1 - cell, n)
        above, below = (at(k, i) * (n - g) + at(k, i + 1) * g for k in (j, j + 1))
        share = (above * (n - f) + below * f + n * n // 2) // n**2
        out[y, x] = (64 * int(one[y, x]) + (int(two[y, x]) - int(one[y, x])) * share + 32) // 64
    return out


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (17, 2), (31, 49), (64, 48)])
def test_the_mixture_is_the_definition(height: int, width: int) -> None:
    first, second, weight = frame(height, width, 1), frame(height, width, 2), weights(height, width)
    mixed = blend(first, second, weight)
    for got, one, two, cell in zip(mixed.planes, first.planes, second.planes, (8, 4, 4), strict=True):
        np.testing.assert_array_equal(got, expected(one, two, weight, cell))


def test_the_ends_are_the_predictions() -> None:
    """0: the first; 64: the second; half of both between, halves rounded up."""
    first, second = frame(45, 77, 1), frame(45, 77, 2)
    for weight in (0, 32, 64):
        mixed = blend(first, second, np.full(grid_shape(45, 77), weight, np.uint8))
        for got, one, two in zip(mixed.planes, first.planes, second.planes, strict=True):
            mean = ((one.astype(int) + two + 1) // 2).astype(np.uint8)
            np.testing.assert_array_equal(got, {0: one, 32: mean, 64: two}[weight])


def test_threads_change_nothing() -> None:
    first, second, weight = frame(300, 70, 1), frame(300, 70, 2), weights(300, 70)
    assert module._ROWS < 150  # else there is nothing to share
    alone = blend(first, second, weight)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = blend(first, second, weight)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone.planes, together.planes, strict=True):
        np.testing.assert_array_equal(one, other)
