"""Fit the context model of one level to quantised training latents. All of it vectorised; no torch."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.context import (
    MAGNITUDES,
    NEAR,
    PREDICT_SHIFT,
    SCORE_MAX,
    SIZE_BINS,
    ContextModel,
    deviations,
)

SHIFTS = ((-1, 0), (0, -1), (-1, -1), (-1, 1))  # rows, columns: up, left, up-left, up-right
PREDICTED_CHANNELS = 32  # only the channels with the most bits are worth a prediction
SUPPORT = 400  # values further from the prediction are escaped
FINE_BINS = 48  # score classes before merging

Ints = NDArray[Any]


class Canvas:
    """Latents of many pictures on one sheet with empty borders, so that every neighbour is one shift away.

    latents: list of (C, h, w) integers.
    """

    def __init__(self, latents: list[Ints]) -> None:
        self.pictures = latents
        self.channels = latents[0].shape[0]
        width = max(p.shape[2] for p in latents) + 2
        height = sum(p.shape[1] + 1 for p in latents) + 1
        self.width = width
        self.sheet = np.zeros((self.channels, height * width), np.int16)
        inside = np.zeros((height, width), bool)
        top = 1
        for p in latents:
            h, w = p.shape[1:]
            self.sheet.reshape(self.channels, height, width)[:, top : top + h, 1 : 1 + w] = p
            inside[top : top + h, 1 : 1 + w] = True
            top += h + 1
        self.index = np.flatnonzero(inside)

    def at(self, sheet: Ints, shift: tuple[int, int] = (0, 0)) -> Ints:
        """Values of one channel's sheet at all picture positions, shifted: (P,)."""
        values: Ints = sheet[self.index + shift[0] * self.width + shift[1]]
        return values


def entropy_bits(counts: Ints) -> float:
    """Bits to code the counts with their own frequencies, summed over rows (..., values)."""
    counts = np.atleast_2d(counts).astype(np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(counts > 0, counts * (np.log2(total) - np.log2(counts)), 0.0)
    return float(bits.sum())


def histogram(values: Ints, classes: Ints | None = None, count: int = 1) -> Ints:
    """(count, 2·SUPPORT + 1) counts of values in -SUPPORT..SUPPORT by class; further values are cut to the ends."""
    clipped = np.clip(values, -SUPPORT, SUPPORT) + SUPPORT
    n = 2 * SUPPORT + 1
    if classes is not None:
        clipped = classes.astype(np.int64) * n + clipped
    return np.bincount(clipped, minlength=count * n).reshape(count, n)


def fit_modes(canvas: Canvas) -> Ints:
    """(C,) most probable values."""
    return np.array([histogram(canvas.at(s))[0].argmax() - SUPPORT for s in canvas.sheet], np.int32)


def fit_prediction(canvas: Canvas, mode: Ints) -> Ints:
    """(C, 4) least-squares weights of the neighbours in 1/32, zero where prediction does not pay 1 %."""
    weights = np.zeros((canvas.channels, NEAR), np.int32)
    bits = np.array([entropy_bits(histogram(canvas.at(s))) for s in canvas.sheet])
    for k in np.argsort(-bits)[:PREDICTED_CHANNELS]:
        sheet = canvas.sheet[k].astype(np.int32)
        if mode[k]:
            continue  # the borders of the sheet are zeros
        x = np.stack([canvas.at(sheet, s) for s in SHIFTS], axis=1).astype(np.float64)
        y = canvas.at(sheet).astype(np.float64)
        solution = np.linalg.solve(x.T @ x + len(y) * 1e-3 * np.eye(NEAR), x.T @ y)
        candidate = np.clip(np.rint(solution * (1 << PREDICT_SHIFT)), -255, 255).astype(np.int32)
        rounding = 1 << (PREDICT_SHIFT - 1)
        residual = canvas.at(sheet) - ((x.astype(np.int64) @ candidate + rounding) >> PREDICT_SHIFT)
        if entropy_bits(histogram(residual)) < 0.99 * bits[k]:
            weights[k] = candidate
    return weights


def merge_classes(counts: Ints, keep: int) -> Ints:
    """Merge neighbouring rows of (n, values) counts until `keep` are left, each time where it costs fewest bits.

    Returns the first row of every class, (keep,) ascending, 0 first.
    """
    rows = [r.astype(np.float64) for r in counts]
    begin = list(range(len(rows)))
    own = [entropy_bits(r) for r in rows]
    both = [entropy_bits(a + b) for a, b in pairwise(rows)]
    while len(rows) > keep:
        i = int(np.argmin([b - own[j] - own[j + 1] for j, b in enumerate(both)]))
        rows[i] += rows.pop(i + 1)
        own[i] = both[i]
        begin.pop(i + 1)
        own.pop(i + 1)
        both.pop(i)
        if i < len(both):
            both[i] = entropy_bits(rows[i] + rows[i + 1])
        if i > 0:
            both[i - 1] = entropy_bits(rows[i - 1] + rows[i])
    return np.array(begin)


def non_negative_least_squares(x: Ints, y: Ints) -> NDArray[np.float64]:
    """Weights >= 0 of the columns of x (P, n) that approximate y (P,): negative ones are dropped and refitted."""
    gram = (x.T @ x).astype(np.float64)
    gram += np.eye(len(gram)) * (1e-4 * len(y) + 1e-9)
    right = (x.T @ y).astype(np.float64)
    used = np.ones(len(gram), bool)
    weights = np.zeros(len(gram))
    for _ in range(len(gram)):
        weights[:] = 0
        weights[used] = np.linalg.solve(gram[np.ix_(used, used)], right[used])
        if (weights >= 0).all():
            break
        used &= weights > 0
    return np.maximum(weights, 0)


@dataclass(frozen=True)
class Recipe:
    """What kind of context model to fit.

    kind: "base" one table a channel, "count" paper 2's four contexts, "magnitude" ours.
    """

    kind: str = "magnitude"
    contexts: int = 16
    sources: int = 16


RECIPES = {"base": Recipe("base", 1, 0), "count": Recipe("count", 4, 1), "magnitude": Recipe("magnitude", 16, 16)}


def fit(latents: list[Ints], recipe: Recipe) -> ContextModel:
    """The context model of one level. latents: quantised training pictures, (C, h, w) integers each."""
    canvas = Canvas(latents)
    c = canvas.channels
    mode = fit_modes(canvas) if recipe.kind != "base" else np.zeros(c, np.int32)
    predict = np.zeros((c, NEAR), np.int32)
    quantiser = np.tile(np.arange(MAGNITUDES, dtype=np.int32), (c, 1))
    near = np.zeros((c, NEAR), np.int32)
    source = np.full((c, recipe.sources), -1, np.int32)
    weight = np.zeros((c, recipe.sources), np.int32)
    threshold = np.full((c, recipe.contexts - 1), SCORE_MAX + 1, np.int32)
    if recipe.kind == "magnitude":
        predict = fit_prediction(canvas, mode)
    residual = _residual_sheet(canvas, latents, mode, predict)
    if recipe.kind == "base":
        order = np.arange(c, dtype=np.int32)
    elif recipe.kind == "count":
        order = _fit_count(canvas, residual, quantiser)
        near[:, :2], weight[:], threshold[:] = 1, 1, np.arange(1, 4)
        source[order[1:], 0] = order[:-1]
    else:
        bits = np.array([entropy_bits(histogram(canvas.at(s))) for s in residual])
        order = np.argsort(-bits, kind="stable").astype(np.int32)
        _fit_magnitude(canvas, residual, order, near, source, weight, threshold)
    model_rows = _symbol_counts(canvas, residual, quantiser, near, source, weight, threshold)
    symbols = _tables(model_rows, recipe.contexts)
    activation = None if recipe.kind == "base" else fit_activation(latents, mode)
    return ContextModel(
        order, mode, predict, quantiser, near, source, weight, threshold, activation, symbols
    )  # fmt: skip


def _residual_sheet(canvas: Canvas, latents: list[Ints], mode: Ints, predict: Ints) -> Ints:
    """(C, sheet) deviations from the prediction on the canvas; 0 outside the pictures."""
    plain = _bare_model(mode, predict)
    return Canvas([deviations(plain, p).astype(np.int16) for p in latents]).sheet


def _bare_model(mode: Ints, predict: Ints) -> ContextModel:
    """A model that predicts and does nothing else."""
    c = len(mode)
    zeros = np.zeros((c, NEAR), np.int32)
    return ContextModel(
        np.arange(c), mode, predict, np.zeros((c, MAGNITUDES)), zeros, np.zeros((c, 0)), np.zeros((c, 0)),
        np.zeros((c, 0)), None, TableSet.from_rows([[0, 32768, 65536]] * c, [0] * c),
    )  # fmt: skip


def _scores(canvas: Canvas, magnitude: Ints, k: int, near: Ints, source: Ints, weight: Ints) -> Ints:
    """(P,) int64 scores of channel k, not cut."""
    total = np.zeros(len(canvas.index), np.int64)
    for shift, value in zip(SHIFTS, near[k], strict=True):
        if value:
            total += int(value) * canvas.at(magnitude[k], shift).astype(np.int64)
    for channel, value in zip(source[k], weight[k], strict=True):
        if channel >= 0 and value:
            total += int(value) * canvas.at(magnitude[channel]).astype(np.int64)
    return total


def _fit_count(canvas: Canvas, residual: Ints, quantiser: Ints) -> Ints:
    """Thresholds (into `quantiser`, as magnitudes of one bit) and greedy order of paper 2, 5.5-5.6."""
    c = canvas.channels
    spread = 3  # values beyond ±3 share a class while the order is sought
    for k in range(c):
        values = canvas.at(residual[k])
        sizes = [np.minimum(np.abs(canvas.at(residual[k], s)), MAGNITUDES) for s in SHIFTS[:2]]
        best = min(
            range(1, 9),
            key=lambda e: entropy_bits(histogram(values, (sizes[0] >= e) * 1 + (sizes[1] >= e), 3)),
        )
        quantiser[k] = np.arange(MAGNITUDES) >= best
    flags = [quantiser[k][np.minimum(np.abs(residual[k]), MAGNITUDES - 1)].astype(np.uint8) for k in range(c)]
    sample = slice(None, None, max(1, len(canvas.index) // 60000))
    deviates = np.stack([canvas.at(f)[sample] for f in flags]).astype(np.float32)  # (C, P)
    alone = np.empty(c)
    after = np.empty((c, c))  # bits of channel k after each other channel
    for k in range(c):
        values = np.clip(canvas.at(residual[k])[sample], -spread, spread) + spread
        classes = (canvas.at(flags[k], SHIFTS[0])[sample] + canvas.at(flags[k], SHIFTS[1])[sample]).astype(np.int64)
        n = 2 * spread + 1
        label = classes * n + values
        one_hot = np.zeros((3 * n, label.size), np.float32)
        one_hot[label, np.arange(label.size)] = 1
        whole = one_hot.sum(axis=1).reshape(3, n, 1)
        with_flag = (one_hot @ deviates.T).reshape(3, n, c)
        four = np.zeros((4, n, c))
        four[:3] += whole - with_flag
        four[1:] += with_flag
        total = four.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            after[k] = np.where(four > 0, four * (np.log2(total) - np.log2(four)), 0).sum(axis=(0, 1))
        alone[k] = entropy_bits(whole[:, :, 0])
    order = [int(alone.argmax())]
    left = set(range(c)) - set(order)
    while left:
        rest = np.array(sorted(left))
        order.append(int(rest[(alone[rest] - after[rest, order[-1]]).argmax()]))
        left.remove(order[-1])
    return np.array(order, np.int32)


def _fit_magnitude(
    canvas: Canvas, residual: Ints, order: Ints, near: Ints, source: Ints, weight: Ints, threshold: Ints
) -> None:
    """Sources, score weights and thresholds, in place."""
    magnitude = np.minimum(np.abs(residual), MAGNITUDES - 1).astype(np.uint8)
    values = np.stack([canvas.at(m) for m in magnitude]).astype(np.float32)  # (C, P)
    centred = values - values.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-6))
    correlation = covariance / scale[:, None] / scale
    sources = source.shape[1]
    keep = threshold.shape[1] + 1
    for place, k in enumerate(order):
        earlier = order[:place]
        best = earlier[np.argsort(-correlation[k, earlier], kind="stable")[:sources]]
        columns = [canvas.at(magnitude[k], s).astype(np.float32) for s in SHIFTS] + [values[j] for j in best]
        solution = non_negative_least_squares(np.stack(columns, axis=1), values[k])
        if not solution.any():
            continue
        predicted = np.stack(columns, axis=1) @ solution.astype(np.float32)
        # The largest scores share one class anyway; scale so that all but 1 in 2000 stay below the cut.
        top = max(float(np.quantile(predicted, 0.9995)), 1e-3)
        solution *= min(SCORE_MAX / top, 255 / solution.max())
        near[k] = np.rint(solution[:NEAR])
        source[k, : len(best)] = best
        weight[k, : len(best)] = np.rint(solution[NEAR:])
        score = np.minimum(_scores(canvas, magnitude, k, near, source, weight), SCORE_MAX)
        positive = score[score > 0]
        if not len(positive):
            continue
        cuts = np.unique(np.quantile(positive, np.linspace(0, 1, FINE_BINS)).astype(np.int64))
        cuts = cuts[cuts > 0]
        fine = np.searchsorted(cuts, score, side="right")
        counts = histogram(canvas.at(residual[k]), fine, len(cuts) + 1)
        begin = merge_classes(counts, min(keep, len(counts)))
        chosen = cuts[begin[1:] - 1]
        threshold[k, : len(chosen)] = chosen


def _symbol_counts(
    canvas: Canvas, residual: Ints, quantiser: Ints, near: Ints, source: Ints, weight: Ints, threshold: Ints
) -> Ints:
    """(C, K, values) counts over the positions of pictures in which the channel is active."""
    c, k_contexts = canvas.channels, threshold.shape[1] + 1
    magnitude = np.stack(
        [quantiser[k][np.minimum(np.abs(residual[k]), MAGNITUDES - 1)].astype(np.uint8) for k in range(c)]
    )
    counts = np.zeros((c, k_contexts, 2 * SUPPORT + 1), np.int64)
    for k in range(c):
        score = np.minimum(_scores(canvas, magnitude, k, near, source, weight), SCORE_MAX)
        classes = np.searchsorted(threshold[k], score, side="right")
        counts[k] = histogram(canvas.at(residual[k]), classes, k_contexts)
    return counts


def _tables(counts: Ints, contexts: int) -> TableSet:
    """Tables of all channels and contexts. A context with few counts leans on its channel's whole histogram."""
    rows, offsets = [], []
    for channel in counts:
        whole = channel.sum(axis=0).astype(np.float64) + 1e-9
        used = np.flatnonzero(channel.sum(axis=0))
        low, high = (int(used[0]), int(used[-1])) if len(used) else (SUPPORT, SUPPORT)
        low, high = min(low, SUPPORT), max(high, SUPPORT)
        for context in range(contexts):
            count = channel[context].astype(np.float64)
            seen = np.flatnonzero(count)
            # One value more on each side than was seen here, within what the channel ever shows.
            first = max(low, (int(seen[0]) if len(seen) else SUPPORT) - 1)
            last = min(high, (int(seen[-1]) if len(seen) else SUPPORT) + 1)
            blended = count[first : last + 1] + whole[first : last + 1] / whole.sum()
            rows.append(np.append(blended, 0.1))
            offsets.append(first - SUPPORT)
    return TableSet.from_histograms(rows, offsets)


def fit_activation(latents: list[Ints], mode: Ints) -> TableSet:
    """Tables of the activation bit by channel and by floor(log2(positions)).

    Shares of active windows are counted at 1, 4, 16, 64 positions and for whole pictures; between them, and above,
    log2 of the expected number of active positions is taken as a straight line.
    """
    c = len(mode)
    known: dict[float, NDArray[np.float64]] = {}
    flags = [p != mode[:, None, None] for p in latents]
    for side in (1, 2, 4, 8):
        active, total = np.zeros(c), 0
        for f in flags:
            h, w = f.shape[1] // side * side, f.shape[2] // side * side
            if h and w:
                blocks = f[:, :h, :w].reshape(c, h // side, side, w // side, side).any(axis=(2, 4))
                active += blocks.sum(axis=(1, 2))
                total += blocks[0].size
        known[2 * np.log2(side)] = (active + 0.02) / (total + 0.04)
    whole = np.array([f.reshape(c, -1).any(axis=1) for f in flags])
    size = float(np.mean([np.log2(f[0].size) for f in flags]))
    known[size] = (whole.sum(axis=0) + 0.2) / (len(flags) + 0.4)
    places = np.array(sorted(known))
    # P(active) = 1 - exp(-m), with m the mean number of clusters of active positions
    clusters = np.log2(np.stack([-np.log1p(-np.minimum(known[p], 1 - 1e-6)) for p in places], axis=1))  # (C, places)
    clusters = np.maximum.accumulate(clusters, axis=1)  # a few whole pictures may look less active than their windows
    rows = []
    for k in range(c):
        line = np.interp(np.arange(SIZE_BINS) + 0.5, places, clusters[k])
        beyond = np.arange(SIZE_BINS) + 0.5 - places[-1]
        line += np.maximum(beyond, 0) * 0.7
        p = np.clip(1 - np.exp(-(2.0**line)), 1e-4, 1 - 1e-4)
        rows += [np.array([1 - q, q, 1e-9]) for q in p]
    return TableSet.from_histograms(rows, np.zeros(len(rows), np.int64))
