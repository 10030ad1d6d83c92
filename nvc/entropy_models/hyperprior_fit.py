"""The hyperprior's tables from histograms of training symbols."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc.entropy_coding.gaussian import SCALES, half_normal, scales
from nvc.entropy_coding.tables import TOTAL, TableSet

ESCAPE_EXCESS = 14  # bits that an escaped value takes beyond one of the rarest in a table
VALUES_MAX = 2047  # of a table
GAUSSIAN_COUNT = 32.0  # symbols that the Gaussian behind a main table is worth
# Symbols that the table of all levels behind that of one is worth at most, its commonest not counted: where nearly all
# are 0, the others tell. Of 64 to 32768, on held-out clips: fewer lose at levels like the rest, more lose at level 1.
LEVEL_COUNT = 4096.0
# Symbols that any value in the span of a side table, and all values outside of it, are worth at least; and those
# outside of a main table, whose Gaussian fills the span.
UNSEEN, ESCAPED, MAIN_ESCAPED = 0.02, 0.5, 0.001
MARGIN = 3  # values beyond the outermost that was seen, which a side table may span


def fit_side(counts: ArrayLike, offset: int) -> TableSet:
    """A table for each channel.

    counts: (N, V) >= 0, of the values offset, offset + 1, …, over all training symbols of a level.
    """
    rows = []
    for count in np.asarray(counts, np.float64):
        seen = np.flatnonzero(count)
        span = slice(max(seen[0] - MARGIN, 0), seen[-1] + MARGIN + 1) if seen.size else slice(None)
        rows.append(_table(_smoothed(count)[span] + UNSEEN, offset + (span.start or 0), ESCAPED))
    return TableSet.from_histograms([row for row, _ in rows], [first for _, first in rows])


def fit_main(counts: ArrayLike, offset: int, everywhere: ArrayLike | None = None) -> TableSet:
    """A table for each of the 64 scale indexes; those that were seldom seen lean on the Gaussian of their scale.

    counts: (64, V) >= 0, of the values offset, offset + 1, …, -VALUES_MAX < offset <= 0.
    everywhere: the same of all levels, where counts are of one level; its tables then lean on those that fit these.
    """
    seen = np.asarray(counts, np.float64)
    if len(seen) != SCALES or offset > 0 or seen.shape[1] + offset < 1:
        raise ValueError(f"main tables need the counts of {SCALES} scale indexes, of values around 0")
    if everywhere is not None and np.shape(everywhere) != seen.shape:
        raise ValueError(f"counts of all levels have shape {np.shape(everywhere)}, not {seen.shape} as those of one")
    reach = max(-offset, seen.shape[1] + offset - 1, int(np.ceil(6 * scales()[-1])))
    behind = _gaussians(reach)
    if everywhere is not None:
        behind = _leaning(np.asarray(everywhere, np.float64), offset, behind)
        others = behind.sum(axis=1) - behind.max(axis=1)
        behind *= (LEVEL_COUNT / np.maximum(others, LEVEL_COUNT))[:, None]
    rows = [_table(row, -reach, MAIN_ESCAPED) for row in _leaning(seen, offset, behind)]
    return TableSet.from_histograms([row for row, _ in rows], [first for _, first in rows])


def _gaussians(reach: int) -> NDArray[np.float64]:
    """GAUSSIAN_COUNT symbols of each scale, (64, 2·reach + 1), of the values -reach … reach."""
    rows = []
    for scale in scales().astype(np.float64):
        edges = half_normal((np.arange(reach + 1) + 0.5) / scale)
        right = np.maximum(np.diff(edges, prepend=-edges[0]), 0)  # far out, less than the rounding errors
        rows.append(GAUSSIAN_COUNT * np.concatenate([right[:0:-1], right]))
    return np.array(rows)


def _leaning(counts: NDArray[np.float64], offset: int, behind: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of the values offset, offset + 1, …, added to what is behind them, (64, 2·reach + 1)."""
    rows, reach = behind.copy(), behind.shape[1] // 2
    for row, count in zip(rows, counts, strict=True):
        row[reach + offset : reach + offset + count.size] += _smoothed(count)
    return rows


def _smoothed(count: NDArray[np.float64]) -> NDArray[np.float64]:
    """With a few parts in a hundred of each value's count spread over its neighbours, so that gaps are filled."""
    padded = np.pad(count, 2)
    spread = np.convolve(padded, np.array([1, 4, 6, 4, 1]) / 16, "valid")
    return 0.98 * count + 0.02 * spread


def _table(count: NDArray[np.float64], offset: int, escaped: float) -> tuple[NDArray[np.float64], int]:
    """The histogram of a table, escapes last, and its first value.

    A value costs every symbol of the table 1/65536 of probability; it is in the table if leaving it out costs more.
    """
    whole = count.sum()
    price = whole / np.log(2) / TOTAL / ESCAPE_EXCESS
    index = np.arange(count.size + 1)
    below = np.concatenate([[0], np.cumsum(count)])
    peak = int(count.argmax())
    first = min(int((below - price * index).argmin()), max(peak - 1, 0))
    last = max(int((whole - below + price * index).argmin()), min(peak + 2, count.size))
    first, last = max(first, peak - VALUES_MAX // 2), min(last, peak + VALUES_MAX // 2 + 1)
    outside = whole - (below[last] - below[first])
    return np.append(count[first:last], max(outside, escaped)), offset + first
