"""Predicted blocks of a frame, by rate and distortion: which predictors, in blocks of which size, which coefficients.

Square by square in coding order, with the chances as they are there. For each block all predictors are compared by what
they leave, in cosines, for a rough number of bits; the best few of them are then coded as
`nvc.codec.transform_choice` does it, and compared by what they take and what they show. Only the encoder knows of this.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.codec.predictors import Prediction
from nvc.codec.transform_choice import (
    CHROMA_WEIGHT,
    COSINES,
    LUMA_WEIGHT,
    levels_of,
    residual_of,
    transform_block,
)
from nvc.coefficients import Coefficients
from nvc.entropy_coding.adaptive import Chances, bit_cost
from nvc.entropy_coding.coder import Estimator, no_tables
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_models.coefficients import (
    CHROMA,
    LUMA,
    ORDERS,
    SET_CONTEXTS,
    SQUARE_CONTEXTS,
    WHOLE,
    fields,
    has_any,
    seen_of_block,
)
from nvc.entropy_models.predicted_blocks import SAME, TREE_8, TREE_16, TREE_U, TREE_V, code_predicted_square
from nvc.frames import Frame420
from nvc.networks.block_prediction import SEEN, UNIT_BITS, predict_block, see
from nvc.networks.transform import MATRIX_8, MATRIX_16, add_block, scales, step_sizes

# Worth of errors in I frames against that in P frames: they are passed on.
BLOCK_WORTH = 4.5
TRIED = 4  # predictors of a block that are coded to be compared
_FINE = 8  # entries of `_ROUGH` for a step


def _rough() -> NDArray[np.float32]:
    """Bits of a coefficient and behind its error by |coefficient| / step, with steps of 3 over the root of worth."""
    size = np.arange(4096) / _FINE
    return np.where(size > 0.5, 2 * np.log2(1 + size) + 1, 9 * size * size).astype(np.float32)


_ROUGH = _rough()


def choose(
    frame: Frame420, prediction: Prediction, code: int, worth: float, chances: Chances
) -> tuple[Coefficients, Frame420, float]:
    """What a frame is coded as, what that shows, and its bits.

    code: quality code; worth: bits that a squared grey level of (6Y + U + V)/8 is worth; chances: as they are before
    the frame; they are left as they are behind it.
    """
    made, estimator = Coefficients.predicted(frame.height, frame.width), Estimator()
    planes = [np.zeros_like(plane) for plane in frame.planes]
    mantissa, shift = scales(prediction.log_step, code)
    sizes = step_sizes(prediction.log_step, code)
    weights = np.array([LUMA_WEIGHT, CHROMA_WEIGHT]) * worth
    cosine_8, cosine_16 = COSINES
    luma_8, luma_16, chroma = prediction.predictors
    seen_by = (_in_cosines(luma_8, cosine_8), _in_cosines(luma_16, cosine_16), _in_cosines(chroma, cosine_8))
    rows, columns = (-(-length // 8) for length in frame.y.shape)
    _choose_all(
        estimator.walk_state(no_tables(), 0), chances, frame.planes, tuple(planes), prediction.predictors, seen_by,
        np.array(prediction.counts, np.int64), sizes, weights, mantissa, shift, made.blocks, made.whole,
        made.predictors, fields(*made.whole.shape)[1], ORDERS, COSINES, (MATRIX_8, MATRIX_16), seen_of_block(), _ROUGH,
        rows, columns,
    )  # fmt: skip
    return made, Frame420(*planes), estimator.bits


def _in_cosines(matrices: NDArray[np.int16], cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K, SEEN, side²): what each number that a predictor sees adds to the cosine coefficients, row by row."""
    side = len(cosines)
    blocks = matrices.reshape(len(matrices), SEEN, side, side) / np.float32(1 << UNIT_BITS + (side >> 4))
    made = np.einsum("vy,kfyx,ux->kfvu", cosines, blocks, cosines, optimize=True).reshape(matrices.shape)
    return np.ascontiguousarray(made, np.float32)


@primitive
def _tree_cost(chances, tree, count, predictor):  # type: ignore[no-untyped-def]
    total: Any = 0.0
    node, half = np.int64(1), count >> 1
    while node < count:
        bit = np.int64((predictor & half) != 0)
        total += bit_cost(chances, tree + node, bit)
        node, half = 2 * node + bit, half >> 1
    return total


@primitive
def _predictor_cost(chances, tree, count, predictor, like):  # type: ignore[no-untyped-def]
    """like: the predictor of U for that of V, else -1."""
    if like >= 0:
        same: Any = bit_cost(chances, SAME, np.int64(predictor == like))
        return same if predictor == like else same + _tree_cost(chances, tree, count, predictor)
    return _tree_cost(chances, tree, count, predictor)


@primitive
def _best(  # type: ignore[no-untyped-def]
    chances, source, plane, y, x, last, tree, like, matrices, seen_by, base, any_cost, none_cost, size, worth, mantissa,
    shift, order, bands, cosines, matrix, seen, rough, work, block,
):  # fmt: skip
    """Puts the best of a block into plane and block; returns its predictor, and bits and λ · squared error.

    any_cost, none_cost: bits that say whether the block has coefficients.
    """
    samples, found, room, rest, beside, sums, wide, guesses, trial, plain = work
    side, count = np.int64(matrix.shape[0]), np.int64(len(matrices))
    places = side * side
    see(plane, y, x, side, last, beside)
    for i in range(side):  # the source, continued by its last row and column
        for j in range(side):
            samples[i * side + j] = source[min(y + i, source.shape[0] - 1), min(x + j, source.shape[1] - 1)]
    transform_block(samples, cosines, plain[:places], found, room)
    scale = np.float32(_FINE / size)
    for p in range(count):
        for k in range(places):
            rest[k] = found[k]
        for i in range(SEEN):
            value, row = np.float32(beside[i]), seen_by[p, i]
            for k in range(places):
                rest[k] -= value * row[k]
        total = np.float32(_predictor_cost(chances, tree, count, p, like))
        for k in range(places):
            total += rough[min(int(abs(rest[k]) * scale), 4095)]
        guesses[p] = total
    best, chosen = np.inf, np.int64(0)
    for _ in range(TRIED if count > TRIED else count):
        least: Any = 0
        for q in range(1, count):
            if guesses[q] < guesses[least]:
                least = q
        p = least
        guesses[p] = np.inf
        predict_block(plane, y, x, side, matrices[p], beside, sums)
        energy = residual_of(source, plane, y, x, side, samples)
        cost: Any = worth * energy + _predictor_cost(chances, tree, count, p, like)
        part = trial[:places]
        gain = 0.0
        if energy > (0.5 * size) ** 2:
            transform_block(samples, cosines, order, found, room)
            gain = levels_of(chances, base, found, size, worth, order, bands, seen, part)
        if gain < 0 and gain + any_cost < none_cost:
            cost += gain + any_cost
        else:
            cost += none_cost
            part[:] = 0
        if cost < best:
            best, chosen = cost, np.int64(p)
            for k in range(places):
                block[k] = part[k]
    predict_block(plane, y, x, side, matrices[chosen], beside, sums)
    add_block(block, matrix, order, mantissa, shift, plane, y, x, wide)
    return chosen, best


@njit
def _choose_all(  # type: ignore[no-untyped-def]
    state, chances, sources, planes, predictors, seen_by, counts, sizes, weights, mantissa, shift, blocks, whole,
    chosen, cells, orders, cosines, matrices, seen, rough, rows, columns,
):  # fmt: skip
    order_8, bands_8, order_16, bands_16 = orders
    (cosines_8, cosines_16), (matrix_8, matrix_16) = cosines, matrices
    work = (
        np.empty(256, np.float32), np.empty(256, np.float32), np.empty(256, np.float32), np.empty(256, np.float32),
        np.empty(SEEN, np.int32), np.empty(256, np.int32), np.empty((2, 256), np.int64),
        np.empty(32, np.float32), np.zeros(256, np.int16),
        np.arange(256),
    )  # fmt: skip
    large = np.zeros(256, np.int16)
    source, plane = sources[0], planes[0]
    set_8, set_16, set_c = (
        np.int64(SQUARE_CONTEXTS), np.int64(SQUARE_CONTEXTS + SET_CONTEXTS),
        np.int64(SQUARE_CONTEXTS + 2 * SET_CONTEXTS),
    )  # fmt: skip
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[1]):
            square = blocks[i, j]
            beside = np.int64(whole[i - 1, j] if i else 0) + np.int64(whole[i, j - 1] if j else 0)
            of_16, cost_16 = _best(
                chances, source, plane, 16 * i, 16 * j, False, np.int64(TREE_16), np.int64(-1), predictors[1],
                seen_by[1], set_16, bit_cost(chances, LUMA + 3, 1), bit_cost(chances, LUMA + 3, 0), sizes[0],
                weights[0], mantissa[0], shift[0], order_16, bands_16, cosines_16, matrix_16, seen, rough, work, large,
            )  # fmt: skip
            cost_16 += bit_cost(chances, WHOLE + beside, 1)
            cost_8 = bit_cost(chances, WHOLE + beside, 0)
            luma = np.int64(0)
            for k in range(4):
                top, left = 2 * i + (k >> 1), 2 * j + (k & 1)
                cells[top + 1, left + 1] = 0
                if top >= rows or left >= columns:
                    continue
                near = np.int64(cells[top, left + 1]) + cells[top + 1, left]
                part = square[64 * k : 64 * k + 64]
                chosen[i, j, k], cost = _best(
                    chances, source, plane, 8 * top, 8 * left, k == 3, np.int64(TREE_8), np.int64(-1), predictors[0],
                    seen_by[0], set_8, bit_cost(chances, LUMA + near, 1), bit_cost(chances, LUMA + near, 0), sizes[0],
                    weights[0], mantissa[0], shift[0], order_8, bands_8, cosines_8, matrix_8, seen, rough, work, part,
                )  # fmt: skip
                cost_8 += cost
                cells[top + 1, left + 1] = has_any(part)
                luma |= np.int64(cells[top + 1, left + 1])
            if cost_16 < cost_8:
                square[:256] = large
                whole[i, j], luma = 1, np.int64(has_any(large))
                chosen[i, j, :4] = 0
                chosen[i, j, 0] = of_16
                see(plane, 16 * i, 16 * j, np.int64(16), False, work[4])
                predict_block(plane, 16 * i, 16 * j, np.int64(16), predictors[1][of_16], work[4], work[5])
                add_block(large, matrix_16, order_16, mantissa[0], shift[0], plane, 16 * i, 16 * j, work[6])
            before, like = np.int64(0), np.int64(-1)
            for k in range(2):
                number = CHROMA + 2 * luma + before
                part = square[256 + 64 * k : 320 + 64 * k]
                chosen[i, j, 4 + k], cost = _best(
                    chances, sources[1 + k], planes[1 + k], 8 * i, 8 * j, False, np.int64(TREE_V if k else TREE_U),
                    like, predictors[2], seen_by[2], set_c, bit_cost(chances, number, 1), bit_cost(chances, number, 0),
                    sizes[1], weights[1], mantissa[1], shift[1], order_8, bands_8, cosines_8, matrix_8, seen, rough,
                    work, part,
                )  # fmt: skip
                before, like = np.int64(has_any(part)), np.int64(chosen[i, j, 4])
            code_predicted_square(
                state, chances, square, whole, chosen[i, j], cells, np.int64(i), np.int64(j), counts, orders, seen,
                rows, columns,
            )  # fmt: skip
