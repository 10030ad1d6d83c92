"""Predictors of blocks from the samples beside them, learned from pictures (FORMAT.md 18).

A mixture of linear predictors by hard expectation-maximisation: every block goes to the predictor that leaves the
fewest bits, every predictor is fitted to its blocks again. Samples are in grey levels; a surrounding is 25 of them:
corner, 16 above, 8 to the left, and those of blocks of 16x16 are means of pairs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nvc.networks.block_prediction import MOST_WEIGHT, UNIT_BITS
from nvc.networks.transform import MATRIX_8, MATRIX_16, MATRIX_BITS

Floats = NDArray[np.float32]

ONE = 1 << UNIT_BITS  # what weights of a sample add up to
STEP = 6.0  # of the quantiser that bits are estimated for, grey levels
RIDGE = 1500.0  # in squared grey levels: about as much as 50 blocks whose surroundings deviate by 5.5
RARE = 1 / 16  # of its equal share of the blocks: a predictor that has no more begins again
COMPARED = 200  # blocks by whose predictions predictors are compared
CHUNK = 1024  # blocks whose residuals stay in a processor's cache
# Where the 25 are, on a line from the lowest one to the left (-8) round the corner (0) to the last one above (16).
PLACES = np.concatenate([np.arange(17), -np.arange(1, 9)])
SLOPES = np.array([-32, -26, -21, -17, -13, -9, -5, -2, 0, 2, 5, 9, 13, 17, 21, 26, 32]) / 32  # those of HEVC


def learn(
    planes_y: Sequence[NDArray[np.uint8]],
    planes_c: Sequence[NDArray[np.uint8]],
    counts: tuple[int, int, int] = (32, 16, 8),
    blocks: tuple[int, int, int] = (200_000, 80_000, 60_000),
    rounds: int = 20,
) -> dict[str, NDArray[np.int16]]:
    """`luma_8` (K, 25, 64), `luma_16` (K, 25, 256), `chroma` (K, 25, 64): weights in 2^-10.

    planes_y, planes_c: (H, W) of any sizes; counts: K of the three, powers of two; blocks: about so many, at most,
    to learn each of the three from; rounds: of assigning and fitting.
    """
    rng = np.random.default_rng(0)
    learned = {}
    for name, planes, side, count, most in zip(
        ("luma_8", "luma_16", "chroma"), (planes_y, planes_y, planes_c), (8, 16, 8), counts, blocks, strict=True
    ):
        drawn = [_draw(plane, side, name == "luma_8", -(-most // len(planes)), rng) for plane in planes]
        around, samples = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        learned[name] = _integers(_mixture(around, samples, side, count, rounds, rng))
    return learned


def _draw(
    plane: NDArray[np.uint8], side: int, in_squares: bool, most: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Surroundings (N, 25) and samples (N, side²) of at most so many blocks that lie whole in a plane."""
    down, across = (length // side for length in plane.shape)
    places = rng.permutation(down * across)[:most]
    y, x = (side * place[:, None] for place in np.divmod(places, max(across, 1)))
    inside = np.arange(side)
    samples = plane[y[:, :, None] + inside[:, None], x[:, :, None] + inside].reshape(len(y), side * side)
    return surroundings(plane, y, x, side, in_squares), samples.astype(np.float32)


def surroundings(
    plane: NDArray[np.uint8], y: NDArray[np.int64], x: NDArray[np.int64], side: int, in_squares: bool
) -> Floats:
    """(N, 25) of blocks with their first samples in rows y (N, 1) and columns x (N, 1).

    in_squares: blocks come four by four, so that the last of them has nothing above to the right.
    """
    height, width = plane.shape
    last = in_squares & (y // side % 2 == 1) & (x // side % 2 == 1)
    columns = np.minimum(x + np.arange(2 * side), np.minimum(np.where(last, x + side, x + 2 * side), width) - 1)
    rows = np.minimum(y + np.arange(side), height - 1)
    up, before = np.maximum(y - 1, 0), np.maximum(x - 1, 0)
    corner, above, left = plane[up, before], plane[up, columns], plane[rows, before]
    corner = np.where(y == 0, left[:, :1], np.where(x == 0, above[:, :1], corner))
    above, left = np.where(y == 0, left[:, :1], above), np.where(x == 0, above[:, :1], left)
    around = np.concatenate([corner.repeat(side // 8, 1), above, left], 1, dtype=np.float32)
    around[((y == 0) & (x == 0))[:, 0]] = 128
    return around.reshape(len(y), 25, side // 8).mean(2)


def _mixture(
    around: Floats, samples: Floats, side: int, count: int, rounds: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Predictors (count, 25, side²) of samples from surroundings, both less the mean of the surroundings.

    Their last axis is cosine coefficients until the end, as that is what bits can be estimated of.
    """
    mean = around.mean(1, keepdims=True)
    matrix = (MATRIX_8 if side == 8 else MATRIX_16) / 2.0**MATRIX_BITS
    forth = np.kron(matrix, matrix).T.astype(np.float32)
    known, wanted = around - mean, (samples - mean) @ forth

    start = (directional(side) @ forth).astype(np.float32)
    used = np.bincount(_bits(known, wanted, start).argmin(0), minlength=len(start))
    weights = start[np.sort(np.argsort(-used, kind="stable")[:count])]
    shares, few = np.full(count, 1 / count), int(len(known) * RARE / count)
    for _ in range(rounds):
        # Half of what its index takes: on other frames, index counted, all of it is within 0.3 %, none is worse.
        index = -0.5 * np.log2(shares)
        choice = (_bits(known, wanted, weights) + index[:, None].astype(np.float32)).argmin(0)
        shares = (np.bincount(choice, minlength=count) + 1) / (len(known) + count)
        for k in range(count):
            mine = np.flatnonzero(choice == k)
            if len(mine) <= few:
                mine = rng.integers(0, len(known), few + 1)
            weights[k] = _fit(known[mine], wanted[mine], weights[k])
    order = _neighbours(known[:: len(known) // COMPARED + 1] @ weights)
    made: NDArray[np.float64] = weights[order] @ np.linalg.inv(forth.astype(np.float64))
    return made


def directional(side: int) -> Floats:
    """(36, 25, side²): along the directions of HEVC from the first 17 above and from the left, planar, the mean."""
    at = (np.arange(side) + 0.5) * 8 / side + 0.5  # samples in units of `PLACES`
    y, x = (axis.ravel() for axis in np.meshgrid(at, at, indexing="ij"))

    def places(main: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """(17, side²): where lines through the samples meet the main border, or the other one, there negative."""
        meet = main + SLOPES[:, None] * other  # below 0 only for slopes below 0
        return np.where(meet < 0, meet / np.maximum(abs(SLOPES), 1 / 32)[:, None], meet)

    def weights(place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Linear interpolation between the two samples beside each place."""
        return np.maximum(0, 1 - abs(PLACES[:, None] - place.clip(-8, 16)[..., None, :]))

    from_left, from_above, share_y, share_x = weights(-y), weights(x), y / 8, x / 8
    level = weights(np.full(1, 9.0)) * share_x + from_left * (1 - share_x)
    upright = weights(np.full(1, -8.0)) * share_y + from_above * (1 - share_y)
    planar, mean = (level + upright) / 2, np.full((25, side * side), 1 / 25)
    return np.concatenate([weights(places(x, y)), weights(-places(y, x)), [planar, mean]], dtype=np.float32)


def _bits(known: Floats, wanted: Floats, weights: Floats) -> Floats:
    """(K, N): what the coefficients take that each predictor leaves, roughly."""
    bits = np.empty((len(weights), len(known)), np.float32)
    for start in range(0, len(known), CHUNK):
        part = slice(start, start + CHUNK)
        for k, weight in enumerate(weights):
            left = known[part] @ weight
            left -= wanted[part]
            np.abs(left, out=left)
            left *= 1.5 / STEP
            left += 1
            bits[k, part] = np.log(left, out=left).sum(1)
    bits /= np.log(2)
    return bits


def _fit(known: Floats, wanted: Floats, weight: Floats) -> Floats:
    """Ridge regression (25, side²). A block counts by the logarithm of its energy, as bits do, not by the energy."""
    worth = 1 / (np.square(wanted - known @ weight).mean(1) + STEP**2 / 4)
    weighed = (known * worth[:, None]).T
    fitted = np.linalg.solve(
        (weighed @ known).astype(np.float64) + RIDGE * worth.mean() * np.eye(25), (weighed @ wanted).astype(np.float64)
    )
    return fitted.astype(np.float32)


def _neighbours(predictions: Floats) -> NDArray[np.int64]:
    """The order in which similar predictors share the first bits of their index. predictions: (K, N, side²)."""

    def halves(some: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(some) <= 2:
            return some
        apart = flat[some] - flat[some].mean(0)
        axis = np.linalg.eigh(apart @ apart.T)[1][:, -1]
        some = some[np.argsort(axis, kind="stable")]
        return np.concatenate([halves(half) for half in np.split(some, 2)])

    flat = predictions.reshape(len(predictions), -1).astype(np.float64)
    return halves(np.arange(len(flat)))


def _integers(predictors: NDArray[np.float64]) -> NDArray[np.int16]:
    """Of predictors less means the weights of the samples themselves, within the bounds of FORMAT.md 18."""
    weights = ONE * (predictors + (1 - predictors.sum(1, keepdims=True)) / 25)
    # Towards the mean where they are too large: with room for rounding, and for the mean's own weights.
    share = np.minimum(1, (MOST_WEIGHT - 25 - ONE) / abs(weights).sum(1, keepdims=True))
    made = np.rint(share * weights + (1 - share) * ONE / 25).astype(np.int64)
    largest = abs(made).argmax(1, keepdims=True)
    lacking = ONE - made.sum(1, keepdims=True)
    np.put_along_axis(made, largest, np.take_along_axis(made, largest, 1) + lacking, 1)
    return made.astype(np.int16)
