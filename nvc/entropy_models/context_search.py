"""The exact change of bits when one latent changes, for RDOQ: its own symbol and every context that looks at it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import nibbles
from nvc.entropy_models.context import (
    MAGNITUDES,
    SCORE_MAX,
    VALUE_LIMIT,
    ContextModel,
    activity,
    deviations,
    scores,
)

MODE_GAIN = 1.0  # bits' worth of distortion that a latent at its mode must promise before it is tried
CHANGES_MAX = 64  # a latent further from its mode than this is not worth a search


@dataclass(frozen=True, eq=False)
class Dependents:
    """For every channel the later channels whose score looks at it: channel[first[k]:first[k + 1]] and weights."""

    first: NDArray[np.int64]
    channel: NDArray[np.int32]
    weight: NDArray[np.int32]


def dependents(model: ContextModel) -> Dependents:
    """Invert the model's sources."""
    user, place = np.nonzero((model.source >= 0) & (model.weight > 0))
    source, weight = model.source[user, place], model.weight[user, place]
    by_source = np.argsort(source, kind="stable")
    first = np.searchsorted(source[by_source], np.arange(model.channels + 1))
    return Dependents(first.astype(np.int64), user[by_source].astype(np.int32), weight[by_source].astype(np.int32))


def sweep(
    model: ContextModel,
    users: Dependents,
    latents: NDArray[np.int32],
    gradient: NDArray[np.float32],
    curvature: NDArray[np.float32],
    coverage: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """One visit of every latent that may pay; each change (-1, +1, to the mode) is taken at once if it lowers the cost.

    latents: (C, h, w). A change by d of latent (k, i, j) is taken to change the cost of distortion, in bits, by
    gradient[k, i, j]·d + curvature[k]·coverage[i, j]·d², that of rate is exact.
    Returns the new latents, and the change of bits at every position (h, w). One thread, in coding order: the
    result depends on nothing else.
    """
    values = latents.copy()
    deviation = deviations(model, values)
    score = scores(deviation, model.quantiser, model.near, model.source, model.weight)
    bits = np.zeros(values.shape[1:], np.float64)
    _sweep(
        values, deviation, score, gradient, curvature, coverage, bits, activity(model, values), users.first,
        users.channel, users.weight, model.order, model.mode, model.predict, model.quantiser, model.near, model.lookup,
        model.contexts, *_costs(model),
    )  # fmt: skip
    return values, bits


def _costs(model: ContextModel) -> Any:
    tables = model.symbols
    return tables.start, tables.size, tables.offset, tables.bits


@primitive
def symbol_bits(row: Any, deviation: Any, start: Any, size: Any, offset: Any, cost: Any) -> Any:
    """Bits of one symbol."""
    symbol = np.int64(deviation) - offset[row]
    escape = np.int64(size[row]) - 1
    if 0 <= symbol < escape:
        return np.float64(cost[start[row] + symbol])
    raw = np.uint64(-2 * symbol - 1) if symbol < 0 else np.uint64(2 * (symbol - escape))
    return np.float64(cost[start[row] + escape]) + 4.0 * (1 + nibbles(raw))


@njit
def _sweep(
    values: Any, deviation: Any, score: Any, gradient: Any, curvature: Any, coverage: Any, bits: Any, active: Any,
    first: Any, user: Any, user_weight: Any, order: Any, mode: Any, predict: Any, quantiser: Any, near: Any,
    lookup: Any, contexts: int, start: Any, size: Any, offset: Any, cost: Any,
) -> None:  # fmt: skip
    _, h, w = values.shape
    for k in order:
        if active[k] == 0 or predict[k, 0] != 0 or predict[k, 1] != 0 or predict[k, 2] != 0 or predict[k, 3] != 0:
            continue  # a change of a predicted channel shifts its neighbours' symbols: left as they are
        for i in range(h):
            for j in range(w):
                old = deviation[k, i, j]
                slope, bend = gradient[k, i, j], curvature[k] * coverage[i, j]
                # Leaving the mode costs bits: worth a look only where the picture would gain some.
                if abs(old) > CHANGES_MAX or (old == 0 and bend - abs(slope) > -MODE_GAIN):
                    continue
                best, best_rate, best_total = old, 0.0, 0.0
                for trial in range(3):
                    new = old - 1 if trial == 0 else (old + 1 if trial == 1 else 0)
                    if (trial == 2 and abs(old) <= 1) or abs(new + mode[k]) > VALUE_LIMIT:
                        continue
                    change = np.float64(new - old)
                    total = slope * change + bend * change * change
                    rate = _rate_change(
                        k, i, j, old, new, deviation, score, active, first, user, user_weight, quantiser, near,
                        lookup, contexts, start, size, offset, cost,
                    )  # fmt: skip
                    total += rate
                    if total < best_total:
                        best, best_rate, best_total = new, rate, total
                if best != old:
                    bits[i, j] += best_rate
                    step = np.int32(quantiser[k, min(abs(best), MAGNITUDES - 1)])
                    step -= np.int32(quantiser[k, min(abs(old), MAGNITUDES - 1)])
                    deviation[k, i, j] = best
                    values[k, i, j] = best + mode[k]
                    if step != 0:
                        _shift_scores(k, i, j, step, score, first, user, user_weight, near)


@primitive
def _rate_change(
    k: int, i: int, j: int, old: int, new: int, deviation: Any, score: Any, active: Any, first: Any, user: Any,
    user_weight: Any, quantiser: Any, near: Any, lookup: Any, contexts: int, start: Any, size: Any, offset: Any,
    cost: Any,
) -> float:  # fmt: skip
    """Bits when the deviation at (k, i, j) goes from old to new, all else as it is."""
    _, h, w = deviation.shape
    row = k * contexts + lookup[k, min(score[k, i, j], SCORE_MAX)]
    total = symbol_bits(row, new, start, size, offset, cost) - symbol_bits(row, old, start, size, offset, cost)
    step = np.int32(quantiser[k, min(abs(new), MAGNITUDES - 1)]) - np.int32(quantiser[k, min(abs(old), MAGNITUDES - 1)])
    if step == 0:
        return total
    for n in range(4):  # who has (i, j) as its up, left, up-left, up-right
        a = i if n == 1 else i + 1
        b = j + (0 if n == 0 else (-1 if n == 3 else 1))
        if near[k, n] != 0 and a < h and 0 <= b < w:
            was = lookup[k, min(score[k, a, b], SCORE_MAX)]
            now = lookup[k, min(score[k, a, b] + near[k, n] * step, SCORE_MAX)]
            if was != now:
                d = deviation[k, a, b]
                total += symbol_bits(k * contexts + now, d, start, size, offset, cost)
                total -= symbol_bits(k * contexts + was, d, start, size, offset, cost)
    for u in range(first[k], first[k + 1]):
        c = user[u]
        if active[c] != 0:
            was = lookup[c, min(score[c, i, j], SCORE_MAX)]
            now = lookup[c, min(score[c, i, j] + user_weight[u] * step, SCORE_MAX)]
            if was != now:
                d = deviation[c, i, j]
                total += symbol_bits(np.int64(c) * contexts + now, d, start, size, offset, cost)
                total -= symbol_bits(np.int64(c) * contexts + was, d, start, size, offset, cost)
    return total


@primitive
def _shift_scores(
    k: int, i: int, j: int, step: Any, score: Any, first: Any, user: Any, user_weight: Any, near: Any
) -> None:
    """Carry a changed magnitude into every score that looks at it."""
    _, h, w = score.shape
    for n in range(4):
        a = i if n == 1 else i + 1
        b = j + (0 if n == 0 else (-1 if n == 3 else 1))
        if a < h and 0 <= b < w:
            score[k, a, b] += near[k, n] * step
    for u in range(first[k], first[k + 1]):
        score[user[u], i, j] += user_weight[u] * step
