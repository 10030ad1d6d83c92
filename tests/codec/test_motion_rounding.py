"""Refined motion: slopes against true differences of pixels, and what refining may and may not do."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from video_streams import clip

from nvc.codec.aivc_analysis import Trials
from nvc.codec.motion_rounding import NUMBERS, Mixture, Response, refine
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_coding.gaussian import published_tables
from nvc.entropy_models.hyperprior import HyperpriorTables, code_main
from nvc.entropy_models.main_context import MainContext
from nvc.frames import Frame420
from nvc.networks.filters import Filter
from nvc.networks.warp import grid_shape

HEIGHT, WIDTH = 72, 104
PAIRS = [(a, b) for a in range(NUMBERS) for b in range(a, NUMBERS)]


@pytest.fixture(scope="module")
def frames() -> list[Frame420]:
    return clip(HEIGHT, WIDTH, 3, motion=(1, 2))


def trials(frames: list[Frame420], references: int) -> Trials:
    steady = np.zeros((4, *grid_shape(HEIGHT, WIDTH)), np.int16)
    return Trials.of(frames[1], [frames[0], frames[2]][:references], steady, overlapped=False, kind=Filter.FOUR)


def numbers_near(references: int, seed: int = 1) -> NDArray[np.int32]:
    """(6, 2h, 2w) numbers that predict well but not best, 1/16 luma pixel."""
    random = np.random.default_rng(seed)
    numbers = np.zeros((6, *grid_shape(HEIGHT, WIDTH)), np.int32)
    # What frame 1 shows is 2 to the right and 1 down in frame 0; the second flow is turned round, and so the same.
    numbers[:4] = np.array([32, 16, 32, 16])[:, None, None]
    numbers[:4] += random.integers(-3, 4, numbers[:4].shape)
    if references == 2:
        numbers[4] = random.integers(-20, 21, numbers[4].shape)
    return numbers


def sse(mixture: Mixture, luma: NDArray[np.uint8]) -> float:
    return float(np.square(mixture.mixed.astype(np.float64) - luma).sum())


@pytest.mark.parametrize("references", [1, 2])
def test_slopes_foretell_what_moving_does(references: int, frames: list[Frame420]) -> None:
    """All cells moved together, each number by itself: change of the squared error, true and foretold.

    Not exactly: differences across two pixels miss some of the finest texture.
    """
    try_, numbers = trials(frames, references), numbers_near(references)
    made = try_.mixture(numbers)
    sums = made.sums(frames[1].y)
    for k in range(NUMBERS if references == 2 else 4):
        move = 4 if k < 4 else 16
        for sign in (1, -1):
            there = numbers.copy()
            there[k] += sign * move
            true = sse(try_.mixture(there), frames[1].y) - sse(made, frames[1].y)
            by = sign * move / 16
            foretold = by**2 * sums[..., PAIRS.index((k, k))].sum() - 2 * by * sums[..., len(PAIRS) + k].sum()
            little = 0.03 * sse(made, frames[1].y)
            assert abs(foretold - 0.8 * true) < 0.4 * abs(true) + little


def test_slopes_of_a_ramp() -> None:
    """Where differences across two pixels are exact: sums of a cell inside, by hand."""
    y, x = np.mgrid[:64, :64]
    first, second = ((100 + 2 * x + y) % 256).astype(np.uint8), ((90 + x - 0 * y) % 256).astype(np.uint8)
    luma, share = (first + 1).astype(np.uint8), 0.25
    made = Mixture(first, first, second, np.full((8, 8), share, np.float32), -1)
    sums = made.sums(luma)[4, 4]
    # Slopes of luma and reference, halved; the second's turned round and by its share.
    assert sums[PAIRS.index((0, 0))] == pytest.approx(64 * (0.75 * 2) ** 2)
    assert sums[PAIRS.index((0, 1))] == pytest.approx(64 * 0.75**2 * 2 * 1)
    assert sums[PAIRS.index((2, 2))] == pytest.approx(64 * (0.25 * 1.5) ** 2)
    assert sums[PAIRS.index((0, 2))] == pytest.approx(-64 * 0.75 * 2 * 0.25 * 1.5)
    assert sums[len(PAIRS)] == pytest.approx(64 * 0.75 * 2)  # the error is 1 everywhere
    apart = (second.astype(int) - first)[32:40, 32:40].mean() / 8
    assert sums[len(PAIRS) + 4] == pytest.approx(64 * apart, rel=0.02)


def test_threads_change_nothing(frames: list[Frame420]) -> None:
    made = trials(frames, 2).mixture(numbers_near(2))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(made.sums(frames[1].y))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def respond(step: float, channels: int = NUMBERS) -> Response:
    """Latent k moves number k of its four cells alike; those above and to the left foretell it."""
    numbers = np.zeros((NUMBERS, 2, 2, NUMBERS))
    numbers[np.arange(NUMBERS), :, :, np.arange(NUMBERS)] = step
    context = replace(MainContext.neutral(NUMBERS), predict=np.tile(np.array([16, 16, 0, 0]), (NUMBERS, 1)))
    tables = HyperpriorTables.with_candidates(published_tables(), published_tables(), 0, 0, context)
    index = np.full((NUMBERS, *(n // 2 for n in grid_shape(HEIGHT, WIDTH))), 16, np.uint8)
    return Response(np.arange(channels), numbers, index, tables)


def decoded(symbols: NDArray[np.int32], step: float) -> NDArray[np.int32]:
    numbers = np.rint(16 * step * symbols).astype(np.int32).repeat(2, 1).repeat(2, 2)
    return np.concatenate([numbers, np.zeros_like(numbers[:1])])


def bits(symbols: NDArray[np.int32], response: Response) -> float:
    estimator = Estimator()
    code_main(estimator, response.tables.main, response.index, symbols, response.tables.context)
    return estimator.bits


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize("worth", [0.002, 0.05])
def test_rate_and_distortion_fall(references: int, worth: float, frames: list[Frame420]) -> None:
    try_, step = trials(frames, references), 0.25
    start = np.rint(numbers_near(references)[:NUMBERS, ::2, ::2] / (16 * step)).astype(np.int32)

    def mixture(symbols: NDArray[np.int32]) -> Mixture:
        return try_.mixture(decoded(symbols, step))

    def cost(symbols: NDArray[np.int32]) -> float:
        return worth * sse(mixture(symbols), frames[1].y) + bits(symbols, respond(step))

    found = refine(start, respond(step), mixture, frames[1].y, worth)
    assert cost(found) < 0.95 * cost(start)
    assert np.abs(found - start).max() <= 2
    if references == 1:
        np.testing.assert_array_equal(found[4], start[4])  # the weight moves nothing, and costs what it costs


def test_free_errors_and_free_bits(frames: list[Frame420]) -> None:
    """Where errors are worth nothing symbols go where they are foretold, step by step; channels left out stay."""
    try_, step = trials(frames, 1), 0.25
    start = np.rint(numbers_near(1)[:NUMBERS, ::2, ::2] / (16 * step)).astype(np.int32)
    alone = respond(step, channels=1)
    found = refine(start, alone, lambda s: try_.mixture(decoded(s, step)), frames[1].y, 0.0)
    np.testing.assert_array_equal(found[1:], start[1:])
    assert bits(found, alone) < bits(start, alone) - 10
