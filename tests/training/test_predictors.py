"""Learned predictors: the bounds of FORMAT.md 18, the samples that they see, and that they predict."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.training import predictors
from nvc.training.predictors import directional, learn, surroundings

COUNTS, BLOCKS, ROUNDS = (8, 4, 2), (1500, 400, 400), 4
NAMES = {"luma_8": 8, "luma_16": 16, "chroma": 8}
Predictors = dict[str, NDArray[np.int16]]


def planes_of(pixels: np.ndarray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma, and chroma of half its sides, roughly as BT.601."""
    luma = pixels @ [0.299, 0.587, 0.114]
    chroma = 128 + 0.564 * (pixels[::2, ::2, 2] - luma[::2, ::2])
    return np.rint(luma).astype(np.uint8), np.rint(chroma).astype(np.uint8)


@pytest.fixture(scope="module")
def again(pictures: dict[str, np.ndarray]) -> Callable[[], Predictors]:
    """again(): learned once more, from the same two photographs, and planes without a whole block."""
    luma, chroma = zip(*(planes_of(pictures[name]) for name in ("demo", "hall")), strict=True)
    small = np.zeros((7, 40), np.uint8)
    return lambda: learn([*luma, small], [*chroma, small], COUNTS, BLOCKS, ROUNDS)


@pytest.fixture(scope="module")
def learned(again: Callable[[], Predictors]) -> Predictors:
    return again()


def seen(plane: np.ndarray, y: int, x: int, side: int, in_squares: bool) -> list[int]:
    """f of FORMAT.md 18, sample by sample."""
    height, width = plane.shape
    last = in_squares and y // 8 % 2 == x // 8 % 2 == 1
    limit = x + side - 1 if last else x + 2 * side - 1
    left = [128 if x == y == 0 else int(plane[min(y + i, height - 1), x - 1]) for i in range(side)]
    above = [128 if x == y == 0 else int(plane[y - 1, min(x + i, limit, width - 1)]) for i in range(2 * side)]
    corner = int(plane[y - 1, x - 1])
    if y == 0:
        above, corner = [left[0]] * (2 * side), left[0]
    elif x == 0:
        left, corner = [above[0]] * side, above[0]
    if side == 8:
        return [corner, *above, *left]
    return [2 * corner, *(a + b for line in (above, left) for a, b in zip(line[::2], line[1::2], strict=True))]


def predictions(f: list[int], weights: np.ndarray) -> NDArray[np.int64]:
    """(K, side²) of all predictors, in the integers of the format."""
    shift = {64: 10, 256: 11}[weights.shape[2]]
    sums = np.einsum("n,knp->kp", np.array(f), weights.astype(np.int64))
    return np.clip((sums + (1 << (shift - 1))) >> shift, 0, 255)


def test_what_the_format_allows(learned: Predictors) -> None:
    assert {name: weights.shape for name, weights in learned.items()} == {
        name: (count, 25, side * side) for (name, side), count in zip(NAMES.items(), COUNTS, strict=True)
    }
    for weights in learned.values():
        assert weights.dtype == np.int16
        assert (weights.sum(1, dtype=np.int64) == 1024).all()
        assert abs(weights.astype(np.int64)).sum(1).max() <= 32767


def test_large_weights_are_drawn_to_the_mean() -> None:
    rng = np.random.default_rng(3)
    weights = predictors._integers(rng.normal(0, 1, (4, 25, 64)) * np.array([0.1, 1, 3, 300])[:, None, None])
    assert (weights.sum(1, dtype=np.int64) == 1024).all()
    sums = abs(weights.astype(np.int64)).sum(1)
    assert 31000 < sums[3].min() <= sums.max() <= 32767


def test_twice_the_same(learned: Predictors, again: Callable[[], Predictors]) -> None:
    for name, weights in again().items():
        np.testing.assert_array_equal(weights, learned[name])


@pytest.mark.parametrize(("side", "in_squares"), [(8, True), (8, False), (16, False)])
def test_surroundings_are_those_of_the_format(pictures: dict[str, np.ndarray], side: int, in_squares: bool) -> None:
    plane = planes_of(pictures["hall"])[0]  # of odd sides, so that some blocks are cut
    places = [(y, x) for y in range(0, plane.shape[0], side) for x in range(0, plane.shape[1], side)]
    y, x = (np.array(axis)[:, None] for axis in zip(*places, strict=True))
    want = np.array([seen(plane, *place, side, in_squares) for place in places])
    np.testing.assert_array_equal(surroundings(plane, y, x, side, in_squares) * (side // 8), want)


@pytest.mark.parametrize("side", [8, 16])
def test_beginning_follows_directions(side: int) -> None:
    """Straight down and straight right copy, the diagonals mix what is on them, all add up to 1."""
    start = directional(side)
    np.testing.assert_allclose(start.sum(1), 1, atol=1e-5)
    ramp = np.concatenate([[0], np.arange(1, 17), -np.arange(1, 9)]).astype(np.float32)  # of a plane, x - y
    inside = (np.arange(side) + 0.5) * 8 / side + 0.5
    planes = {
        8: np.tile(inside, side),
        25: -inside.repeat(side).clip(max=8),
        0: np.subtract.outer(inside, inside).T.ravel(),
    }
    for k, want in planes.items():
        np.testing.assert_allclose(ramp @ start[k], want, atol=1e-4)


def test_a_constant_is_predicted_exactly(learned: Predictors) -> None:
    for name, side in NAMES.items():
        for value in range(256):
            f = seen(np.full((32, 48), value), 16, 16, side, False)
            assert (predictions(f, learned[name]) == value).all()


def test_blocks_are_seen_as_they_are_coded(monkeypatch: pytest.MonkeyPatch, again: Callable[[], Predictors]) -> None:
    calls = []

    def spy(plane: np.ndarray, y: np.ndarray, x: np.ndarray, side: int, in_squares: bool) -> np.ndarray:
        calls.append((side, in_squares))
        assert not (y % side).any()
        assert not (x % side).any()
        assert not len(y) or y.min() == x.min() == 0  # borders are learned, too
        return surroundings(plane, y, x, side, in_squares)

    monkeypatch.setattr(predictors, "surroundings", spy)
    again()
    assert calls == [(8, True)] * 3 + [(16, False)] * 3 + [(8, False)] * 3


def test_another_picture_is_predicted(learned: Predictors, pictures: dict[str, np.ndarray]) -> None:
    """By the best of them for each block, clearly better than by the mean of what is seen; by one for all, no worse."""
    luma, chroma = planes_of(pictures["stair"])
    for (name, side), plane, share in zip(NAMES.items(), (luma, luma, chroma), (0.7, 0.85, 0.85), strict=True):
        errors, plain = [], []
        for y in range(0, plane.shape[0] - side + 1, side):
            for x in range(0, plane.shape[1] - side + 1, side):
                block, f = plane[y:, x:][:side, :side].ravel().astype(int), seen(plane, y, x, side, name == "luma_8")
                errors.append(np.square(predictions(f, learned[name]) - block).mean(1))
                plain.append(np.square(np.mean(f) / (side // 8) - block).mean())
        assert np.min(errors, 1).mean() < share * np.mean(plain)
        assert np.mean(errors, 0).min() < np.mean(plain)
