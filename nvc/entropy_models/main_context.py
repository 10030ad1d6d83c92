"""Contexts of the main symbols: prediction, and which of 64 tables codes which deviation (FORMAT.md 12, "Contexts").

The scale index says how large a symbol is expected to be. Here that is put beside how large the symbols coded before
turned out: neighbours of the same channel, and the same position of the channels before, each by its own weight. The
ratio of what was observed to what had been expected is the class of a symbol; scale index and class together choose its
table. Where neighbours foretell a symbol's value too, what is coded is its deviation from the prediction.

    deviations, rows = known(context, symbols, index)      encoder, estimator and fits
    symbols = decode(decoder, context, tables, index)

All integers: the parse is the same on every machine.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.batch import code_rows
from nvc.entropy_coding.coder import Coder
from nvc.entropy_coding.gaussian import SCALES
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import BAD_ESCAPE, I64, WalkState, fail, failed, step
from nvc.entropy_coding.tables import TableSet
from nvc.threads import spread, thread_count

SYMBOL_LIMIT = 32767  # |symbol|; the proof of the integer networks rests on it
LINES = 8  # of all channels, by one thread at a time at least
AT_ONCE = 1 << 20  # symbols that are coded in one call: a frame that turns out damaged has cost no more memory
NEAR = 4  # up, left, up-left, up-right
PREDICT_SHIFT = 5  # prediction weights are in 1/32
ONE = 1 << 12  # unit of magnitudes: 1/4096 symbol
LARGEST = 15  # magnitudes are cut here, in symbols
THRESHOLDS = (72, 91, 114, 144, 181, 228, 287, 362, 456, 575, 724, 912)  # of the ratio, in 1/256: thirds of octaves
CLASSES = len(THRESHOLDS) + 1
SHIFT_MAX = 5
WEIGHT_MAX = 32  # of near + (cross << shift); with PRIOR_MAX both sums are below 2^21, their products below 2^31
PRIOR_MAX = 65535
MIX = NEAR + 3
KINDS = ("predict", "expected", "mix", "row")

Ints = NDArray[Any]


@dataclass(frozen=True, eq=False)
class MainContext:
    """Of one information. M channels. All but `row` are the same at all levels.

    predict:  (M, 4) int32     weights of the neighbours up, left, up-left, up-right in the prediction, in 1/32
    expected: (64,) int32      mean magnitude by scale index, in 1/4096 symbol
    mix:      (7,) int32       weights of the neighbours' magnitudes (up, left, up-left, up-right) and of the sum over
                               the channels before; the shift by which that sum forgets; the prior, in 1/4096
    row:      (64, 13) uint8   table by scale index and class
    Raises ValueError for numbers out of their range; compiled code rests on it.
    """

    predict: Ints
    expected: Ints
    mix: Ints
    row: Ints

    def __post_init__(self) -> None:
        for name in KINDS:
            value = np.asarray(getattr(self, name))
            if value.dtype.kind not in "iu":
                raise ValueError(f"{name} of the contexts is not of integers")
            dtype = np.uint8 if name == "row" else np.int32
            if value.size and (value.min() < np.iinfo(dtype).min or value.max() > np.iinfo(dtype).max):
                raise ValueError(f"{name} of the contexts is out of range")
            object.__setattr__(self, name, np.ascontiguousarray(value, dtype))
        self.validate()

    @classmethod
    def neutral(cls, channels: int) -> Self:
        """One that changes nothing: no prediction, and the scale index alone chooses the table."""
        row = np.repeat(np.arange(SCALES), CLASSES).reshape(SCALES, CLASSES)
        return cls(np.zeros((channels, NEAR), int), np.zeros(SCALES, int), np.array([0, 0, 0, 0, 0, 0, 1]), row)

    @property
    def channels(self) -> int:
        """M."""
        return len(self.predict)

    def with_rows(self, row: Ints) -> Self:
        """The same with other tables for scale indexes and classes."""
        return type(self)(self.predict, self.expected, self.mix, row)

    def validate(self) -> None:
        """Raise ValueError for contexts that no decoder can follow."""
        shapes = {"predict": (self.channels, NEAR), "expected": (SCALES,), "mix": (MIX,), "row": (SCALES, CLASSES)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of the contexts has shape {getattr(self, name).shape}, not {shape}")
        if (np.abs(self.predict.astype(np.int64)) > 128).any():
            raise ValueError("predict of the contexts is not within ±128")
        if self.expected.min() < 0 or self.expected.max() > LARGEST * ONE:
            raise ValueError(f"expected of the contexts is not within 0..{LARGEST * ONE}")
        *weights, shift, prior = self.mix.tolist()
        if min(weights) < 0 or not 0 <= shift <= SHIFT_MAX or not 1 <= prior <= PRIOR_MAX:
            raise ValueError("mix of the contexts has a weight, a shift or a prior out of its range")
        if sum(weights[:NEAR]) + (weights[NEAR] << shift) > WEIGHT_MAX:
            raise ValueError(f"weights of the contexts add up to more than {WEIGHT_MAX}")
        if self.row.max() >= SCALES:
            raise ValueError("row of the contexts names a table that is none")

    def tensors(self) -> dict[str, Ints]:
        """As tensors of a weight file."""
        types = {"predict": np.int8, "expected": np.uint16, "mix": np.int32, "row": np.uint8}
        return {name: getattr(self, name).astype(types[name]) for name in KINDS}


def known(context: MainContext, symbols: Ints, index: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """What codes known symbols: deviations, int32, and the rows of their tables, uint8.

    symbols, index: (M, h, w), |symbol| <= 32767. Both results have their shape.
    """
    _check_channels(context, index)
    rows = np.empty(index.shape, np.uint8)
    deviations = np.empty(index.shape, np.int32)
    if index.size:
        values, plain = np.ascontiguousarray(symbols, np.int32), np.ascontiguousarray(index)
        lines = max(LINES, -(-index.shape[1] // thread_count()))

        def strip(top: int) -> None:
            part = slice(top, top + lines)
            _known(*_arrays(context), plain, values, top, deviations[:, part], rows[:, part])

        spread(strip, range(0, index.shape[1], lines))
    return deviations, rows


def decode(decoder: Coder, context: MainContext, tables: TableSet, index: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Read main symbols (M, h, w). index: (M, h, w), their scale indexes. Raises BadStream."""
    _check_channels(context, index)
    values = np.empty(index.shape, np.int32)  # the system maps what is written
    if index.size:
        sums, plain = _sums(index), np.ascontiguousarray(index)
        channels = max(1, AT_ONCE // index[0].size)
        for first in range(0, len(values), channels):
            part = slice(first, first + channels)
            predict, *others = _arrays(context)
            count = values[part].size
            decoder.run(_walk, tables, count, predict[part], *others, plain[part], values[part], sums)
    return values


def _check_channels(context: MainContext, index: Ints) -> None:
    if index.ndim != 3 or len(index) != context.channels:
        raise ValueError(f"scale indexes of shape {index.shape}, the contexts are of {context.channels} channels")


def _sums(index: Ints) -> NDArray[np.int32]:
    """Observed and expected magnitudes of the channels before, (2, h, w), at the beginning."""
    return np.zeros((2, *index.shape[1:]), np.int32)


def _arrays(context: MainContext) -> tuple[Ints, Ints, Ints, Ints]:
    return context.predict, context.expected, context.mix, context.row


@primitive
def foretold(values: Any, i: I64, j: I64, weights: Any) -> I64:
    """Prediction at (i, j) of one channel (h, w) in 1/32, and one half: what lies above PREDICT_SHIFT is the symbol."""
    total = np.int64(1) << (PREDICT_SHIFT - 1)
    if i > 0:
        total += np.int64(weights[0]) * values[i - 1, j]
        if j > 0:
            total += np.int64(weights[2]) * values[i - 1, j - 1]
        if j + 1 < values.shape[1]:
            total += np.int64(weights[3]) * values[i - 1, j + 1]
    if j > 0:
        total += np.int64(weights[1]) * values[i, j - 1]
    return total


@primitive
def _predicted(values: Any, i: I64, j: I64, weights: Any) -> I64:
    """Prediction at (i, j) of one channel (h, w)."""
    return foretold(values, i, j, weights) >> PREDICT_SHIFT


@primitive
def _mixed(above: Any, here: Any, before: Any, mix: Any, out: Any) -> None:
    """What a line's magnitudes add up to. above, here: (w + 2,) with a border; before, out: (w,).

    All but the neighbour to the left where its weight is 0.
    """
    n0, n1, n2, n3 = mix[0], mix[1], mix[2], mix[3]
    cross, prior = mix[NEAR], mix[NEAR + 2]
    for j in range(out.size):
        out[j] = np.int32(prior + cross * before[j])
    if n0 or n1 or n2 or n3:
        for j in range(out.size):
            out[j] += np.int32(n0 * above[j + 1] + n1 * here[j] + n2 * above[j] + n3 * above[j + 2])


@primitive
def _rows_of(observed: Any, wanted: Any, index: Any, row: Any, out: Any) -> None:
    """Tables of a line, (w,)."""
    for j in range(out.size):
        out[j] = 0
    for threshold in THRESHOLDS:
        for j in range(out.size):
            out[j] += np.int32((observed[j] << 8) >= threshold * wanted[j])
    for j in range(out.size):
        out[j] = row[index[j], out[j]]


@primitive
def _row_of(observed: I64, wanted: I64, index: I64, row: Any) -> I64:
    """Table of one symbol."""
    found = np.int64(0)
    for threshold in THRESHOLDS:
        found += np.int64((observed << 8) >= threshold * np.int64(wanted))
    return np.int64(row[index, found])


@primitive
def _magnitude(deviation: I64) -> I64:
    return min(abs(np.int64(deviation)), np.int64(LARGEST)) * ONE


@primitive
def _remember(here: Any, sums: Any, shift: I64) -> None:
    """Add a line's magnitudes, (w + 2,) with a border, to the sums over channels, (w,)."""
    for j in range(sums.size):
        sums[j] = np.int32(sums[j] - (sums[j] >> shift) + here[j + 1])


@njit
def _known(
    predict: Any, expected: Any, mix: Any, row: Any, index: Any, values: Any, first: I64, deviations: Any, rows: Any
) -> None:
    """Fills lines from `first` on of deviations and rows, as many as these have: (M, lines, w)."""
    channels, lines, w = rows.shape
    shift = np.int64(mix[NEAR + 1])
    sums = np.zeros((2, lines, w), np.int32)  # observed and expected magnitudes of the channels before
    line = np.empty((3, w), np.int32)  # observed, expected, rows
    for c in range(channels):
        plain = not (predict[c, 0] or predict[c, 1] or predict[c, 2] or predict[c, 3])
        # of the line above and of this one: magnitudes, then those expected
        above, here = np.zeros((2, w + 2), np.int32), np.zeros((2, w + 2), np.int32)
        for k in range(-1 if first else 0, lines):
            i = first + k
            for j in range(w):
                guess = 0 if plain else _predicted(values[c], i, j, predict[c])
                here[0, j + 1] = _magnitude(values[c, i, j] - guess)
                here[1, j + 1] = expected[index[c, i, j]]
                if k >= 0:
                    deviations[c, k, j] = values[c, i, j] - guess
            if k >= 0:
                for n in range(2):
                    _mixed(above[n], here[n], sums[n, k], mix, line[n])
                    _remember(here[n], sums[n, k], shift)
                _rows_of(line[0], line[1], index[c, i], row, line[2])
                for j in range(w):
                    rows[c, k, j] = line[2, j]
            above, here = here, above


@njit
def _walk(
    state: WalkState, predict: Any, expected: Any, mix: Any, row: Any, index: Any, values: Any, sums: Any
) -> None:
    """Decode all channels of `values`; the sums go on from where the channels before left them."""
    channels, h, w = index.shape
    n0, n1, n2, n3 = np.int64(mix[0]), np.int64(mix[1]), np.int64(mix[2]), np.int64(mix[3])
    alone = not (n0 or n1 or n2 or n3)  # from its neighbours: a line's tables are known before it is read
    cross, shift, prior = np.int64(mix[NEAR]), np.int64(mix[NEAR + 1]), np.int64(mix[NEAR + 2])
    line = np.empty((3, w), np.int32)  # observed, expected, rows
    for c in range(channels):
        plain = not (predict[c, 0] or predict[c, 1] or predict[c, 2] or predict[c, 3])
        above, here = np.zeros((2, w + 2), np.int32), np.zeros((2, w + 2), np.int32)
        for i in range(h):
            deviations = values[c, i]
            for j in range(w):
                here[1, j + 1] = expected[index[c, i, j]]
            _mixed(above[1], here[1], sums[1, i], mix, line[1])
            if alone:
                _mixed(above[0], here[0], sums[0, i], mix, line[0])
                _rows_of(line[0], line[1], index[c, i], row, line[2])
                code_rows(state, deviations, line[2], 1)
                for j in range(w):
                    here[0, j + 1] = _magnitude(deviations[j])
            else:
                for j in range(w):
                    observed = prior + cross * sums[0, i, j] + n1 * here[0, j]
                    observed += n0 * above[0, j + 1] + n2 * above[0, j] + n3 * above[0, j + 2]
                    deviations[j] = step(state, _row_of(observed, line[1, j], index[c, i, j], row), 0)
                    here[0, j + 1] = _magnitude(deviations[j])
            if failed(state):
                return
            for j in range(w):
                value = np.int64(deviations[j])
                if not plain:
                    value += _predicted(values[c], i, j, predict[c])
                if abs(value) > SYMBOL_LIMIT:
                    fail(state, BAD_ESCAPE)
                    return
                deviations[j] = value
            for k in range(2):
                _remember(here[k], sums[k, i], shift)
            above, here = here, above
