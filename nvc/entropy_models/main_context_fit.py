"""Contexts of main symbols from training symbols.

    context = fit_context(samples)                  prediction, expectations, weights; from some frames
    row = fit_rows(cells)                           tables by scale index and class; from the counts of all frames
    main = fit_main(by_row(cells, row), offset)     nvc.entropy_models.hyperprior_fit

What is tried is judged by the bits of the samples with the tables that fit them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.gaussian import SCALES, scales
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.hyperprior_fit import ESCAPE_EXCESS, fit_main
from nvc.entropy_models.main_context import CLASSES, LARGEST, NEAR, ONE, PREDICT_SHIFT, MainContext, known

Ints = NDArray[np.int32]
Sample = tuple[Ints, NDArray[np.uint8]]  # symbols and scale indexes of one frame, both (M, h, w)
Counts = NDArray[Any]  # integers

CLIP = 40  # symbols are cut here where weights of the prediction are sought: a few large ones would decide them
WORTH = 0.97  # a channel is predicted if that takes less than this share of its bits
EXPECTED_COUNT = 50.0  # symbols that the mean magnitude of a Gaussian is worth
SEEN = 64  # cells with fewer symbols keep the table of their scale index
LEVEL_SAVED = 256.0  # bits that a cell must save at one level to leave the table it has at all: less is noise
ROUNDS = 4
SAMPLE_REACH = 63  # largest deviation that is counted by itself while weights are sought
# Neighbours up, left, up-left, up-right, the channels before, shift, prior.
MIXES = (
    (0, 0, 0, 0, 1, 3, 1024), (0, 0, 0, 0, 1, 4, 1024), (0, 0, 0, 0, 1, 4, 2048), (0, 0, 0, 0, 1, 5, 2048),
    (2, 2, 1, 1, 1, 3, 1024), (2, 2, 1, 1, 1, 2, 2048), (2, 2, 1, 1, 2, 3, 2048), (4, 4, 2, 2, 1, 3, 2048),
)  # fmt: skip
NEAR_WORTH = 0.993  # neighbours are looked at if that takes less than this share of the bits: it halves the speed


def fit_context(samples: Sequence[Sample]) -> MainContext:
    """Prediction, expectations and weights; its rows are fitted to the samples too."""
    context = MainContext.neutral(len(samples[0][0]))
    context = dataclasses.replace(context, predict=_fit_predict(samples))
    context = dataclasses.replace(context, expected=_fit_expected(context, samples))
    found = []
    for mix in MIXES:
        trial = dataclasses.replace(context, mix=np.array(mix))
        cells = np.zeros((SCALES, CLASSES, 2 * SAMPLE_REACH + 1), np.int64)
        for symbols, index in samples:
            count_cells(cells, trial, symbols, index)
        row = fit_rows(cells)
        bits = row_bits(cells, row) * (1 if not any(mix[:NEAR]) else 1 / NEAR_WORTH)
        found.append((bits, trial.with_rows(row)))
    return min(found, key=lambda pair: pair[0])[1]


def count_cells(cells: Counts, context: MainContext, symbols: Ints, index: NDArray[np.uint8]) -> None:
    """Add the deviations of a frame to (64, 13, V) counts by scale index and class; values around 0, the last cut."""
    classes = np.tile(np.arange(CLASSES, dtype=np.uint8), (SCALES, 1))
    deviations, found = known(context.with_rows(classes), symbols, index)
    values = cells.shape[2]
    place = (index.astype(np.int64) * CLASSES + found) * values + np.clip(
        deviations, -(values // 2), values // 2
    ) + values // 2  # fmt: skip
    cells += np.bincount(place.ravel(), minlength=cells.size).reshape(cells.shape)


def by_row(cells: Counts, row: NDArray[np.uint8]) -> Counts:
    """Counts by table, (64, V), of counts by scale index and class."""
    counts = np.zeros((SCALES, cells.shape[2]), np.int64)
    np.add.at(counts, row.ravel(), cells.reshape(-1, cells.shape[2]))
    return counts


def fit_rows(
    cells: Counts, start: NDArray[np.uint8] | None = None, everywhere: Counts | None = None
) -> NDArray[np.uint8]:
    """The table of each scale index and class, (64, 13): tables and assignment in turn, as k-means does.

    cells: counts of all levels; or of one, and start and everywhere are the assignment that fits all levels and their
    counts by table. Cells that were seldom seen keep the table of the start (without one, that of their scale index);
    at one level, so do those that would save little by another.
    """
    saved = 0.0 if start is None else LEVEL_SAVED
    if start is None:
        start = np.repeat(np.arange(SCALES, dtype=np.uint8), CLASSES).reshape(SCALES, CLASSES)
    row, seen, old = start, cells.sum(axis=2), start[:, :, None].astype(np.int64)
    for _ in range(ROUNDS):
        bits = _cell_bits(cells, row, everywhere)
        better = np.take_along_axis(bits, old, axis=2)[:, :, 0] - bits.min(axis=2) >= saved
        row = np.where((seen >= SEEN) & better, bits.argmin(axis=2).astype(np.uint8), start)
    return row


def row_bits(cells: Counts, row: NDArray[np.uint8]) -> float:
    """Bits of all counts with the tables that fit them."""
    bits = _cell_bits(cells, row)
    return float(np.take_along_axis(bits, row[:, :, None].astype(np.int64), axis=2).sum())


def _cell_bits(cells: Counts, row: NDArray[np.uint8], everywhere: Counts | None = None) -> NDArray[np.float64]:
    """Bits of each cell with each of the 64 tables that fit the rows, (64, 13, 64)."""
    reach = cells.shape[2] // 2
    cost = value_bits(fit_main(by_row(cells, row), -reach, everywhere), reach)
    return cells.astype(np.float64) @ cost.T


def value_bits(tables: TableSet, reach: int) -> NDArray[np.float64]:
    """Bits of the values -reach … reach with each table, (T, 2·reach + 1); escapes as they are on average."""
    cost = np.empty((len(tables), 2 * reach + 1))
    for i, line in enumerate(cost):
        start, size = int(tables.start[i]), int(tables.size[i])
        line[:] = tables.bits[start + size - 1] + ESCAPE_EXCESS
        first = int(tables.offset[i])
        low, high = max(first, -reach), min(first + size - 2, reach)
        line[low + reach : high + reach + 1] = tables.bits[start + low - first : start + high - first + 1]
    return cost


def _fit_predict(samples: Sequence[Sample]) -> Ints:
    """Least squares, each symbol weighted by what its scale index expects; 0 for channels that it does not help."""
    channels = len(samples[0][0])
    predict = np.zeros((channels, NEAR), np.int32)
    weight = 1 / (0.25 + scales().astype(np.float64) ** 2)
    for c in range(channels):
        x = np.concatenate([_neighbours(symbols[c]) for symbols, _ in samples])
        y = np.concatenate([symbols[c].ravel() for symbols, _ in samples])
        index = np.concatenate([index[c].ravel() for _, index in samples])
        near, here = np.clip(x, -CLIP, CLIP).astype(np.float64), np.clip(y, -CLIP, CLIP).astype(np.float64)
        root = np.sqrt(weight[index])
        found = np.linalg.lstsq(near * root[:, None], here * root, rcond=None)[0]
        weights = np.clip(np.rint(found * (1 << PREDICT_SHIFT)), -128, 127).astype(np.int32)
        deviation = y - ((x @ weights + (1 << (PREDICT_SHIFT - 1))) >> PREDICT_SHIFT)
        if _entropy(index, deviation) < WORTH * _entropy(index, y):
            predict[c] = weights
    return predict


def _neighbours(plane: Ints) -> Ints:
    """Up, left, up-left, up-right of each position, 0 outside: (h·w, 4)."""
    padded = np.pad(plane, ((1, 0), (1, 1)))
    parts = padded[:-1, 1:-1], padded[1:, :-2], padded[:-1, :-2], padded[:-1, 2:]
    return np.stack([part.ravel() for part in parts], axis=1)


def _entropy(index: NDArray[np.uint8], values: Ints) -> float:
    """Bits of values by the histograms of their scale index."""
    clipped, span = np.clip(values, -SAMPLE_REACH, SAMPLE_REACH) + SAMPLE_REACH, 2 * SAMPLE_REACH + 1
    counts = np.bincount(index.astype(np.int64) * span + clipped, minlength=SCALES * span).reshape(SCALES, span)
    whole = counts.sum(axis=1, keepdims=True)
    here = counts > 0
    return float((counts * np.log2(np.where(here, whole, 1) / np.where(here, counts, 1))).sum())


def _fit_expected(context: MainContext, samples: Sequence[Sample]) -> Ints:
    """Mean magnitude by scale index, in 1/4096; of a Gaussian where few were seen."""
    total, count = np.zeros(SCALES), np.zeros(SCALES)
    for symbols, index in samples:
        deviations, _ = known(context, symbols, index)
        total += np.bincount(index.ravel(), np.minimum(np.abs(deviations), LARGEST).ravel(), SCALES)
        count += np.bincount(index.ravel(), minlength=SCALES)
    gaussian = np.minimum(scales().astype(np.float64) * (2 / np.pi) ** 0.5, LARGEST)
    mean = (total + EXPECTED_COUNT * gaussian) / (count + EXPECTED_COUNT)
    return np.minimum(np.rint(mean * ONE), LARGEST * ONE).astype(np.int32)
