"""Tables: quantised cumulative distributions of 16 bits, many to a set.

A row of a TableSet describes one alphabet: the values offset, offset + 1, ..., and last an escape symbol for every
value outside. Symbol s has the probability (cdf[s + 1] - cdf[s]) / 65536, never 0.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc.entropy_coding.jit import njit
from nvc.entropy_coding.rans import BUCKET_BITS, PRECISION

TOTAL = 1 << PRECISION
OFFSET_MAX = 1 << 20  # |offset| of a row; with VALUE_MAX it bounds the remainder of an escape to 28 bits


@dataclass(frozen=True, eq=False)
class TableSet:
    """T tables of any lengths, one after another in flat arrays, checked when made and read-only from then on.

    cdf:    (E,) uint32, the rows; each from 0 to 65536, strictly increasing, size + 1 entries.
    start:  (T,) int64, where each row begins in cdf; rows follow one another without gaps.
    size:   (T,) int32, symbols of the row, escape included: 2 to 65535.
    offset: (T,) int32, value of the row's first symbol.
    Raises ValueError if any of that does not hold.
    """

    cdf: NDArray[np.uint32]
    start: NDArray[np.int64]
    size: NDArray[np.int32]
    offset: NDArray[np.int32]

    def __post_init__(self) -> None:
        types = {"cdf": np.uint32, "start": np.int64, "size": np.int32, "offset": np.int32}
        for name, dtype in types.items():
            object.__setattr__(self, name, _read_only(_exact(getattr(self, name), dtype, name)))
        self.validate()

    @classmethod
    def from_rows(cls, rows: Sequence[ArrayLike], offsets: ArrayLike) -> "TableSet":
        """rows: one cdf for each table, (size + 1,) integers; offsets: (T,) integers."""
        arrays = [_exact(row, np.uint32, f"row {i}") for i, row in enumerate(rows)]
        lengths = np.array([row.size for row in arrays], dtype=np.int64)
        cdf = np.concatenate([np.zeros(0, np.uint32), *arrays])
        return cls(cdf, np.cumsum(lengths) - lengths, lengths - 1, np.asarray(offsets))

    @classmethod
    def from_histograms(
        cls, counts: Sequence[ArrayLike], offsets: ArrayLike, escape_floor: float = 2.0**-PRECISION
    ) -> "TableSet":
        """Tables that code the given counts in the fewest bits.

        counts: for each table (size,) non-negative counts of its values, last of all the escapes.
        escape_floor: least probability of an escape, 0 < escape_floor < 1.
        Every symbol gets at least 1/65536; a row without any count becomes uniform.
        """
        if not 0 < escape_floor < 1:
            raise ValueError(f"escape_floor {escape_floor} is not between 0 and 1")
        rows = []
        for count in counts:
            weights = np.array(count, dtype=np.float64)
            if weights.ndim != 1:
                raise ValueError("a histogram has one dimension")
            inside = weights[:-1].sum()
            weights[-1:] = np.maximum(weights[-1:], inside * escape_floor / (1 - escape_floor))
            rows.append(quantize_counts(weights))
        return cls.from_rows(rows, offsets)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> "TableSet":
        """The inverse of `tensors`. KeyError or ValueError for tensors that are not tables."""
        frequency, size = (tensors[name].astype(np.int64) for name in ("frequency", "size"))
        if frequency.ndim != 1 or size.ndim != 1 or (size < 1).any() or frequency.size != size.sum():
            raise ValueError("the frequencies are not as many as the tables' symbols")
        start = np.cumsum(size + 1) - size - 1
        cdf = np.zeros(int((size + 1).sum()), np.int64)
        inside = np.ones(cdf.size, bool)
        inside[start] = False
        cdf[inside] = frequency
        cdf = np.cumsum(cdf)
        cdf -= np.repeat(cdf[start], size + 1)
        return cls(cdf.astype(np.uint32), start, size.astype(np.int32), tensors["offset"])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """As tensors of a weight file (FORMAT.md 9).

        frequency: (sum of the sizes,) uint16, size: (T,) uint16, offset: (T,) int16. Raises ValueError where an offset
        needs more than 16 bits.
        """
        if np.abs(self.offset.astype(np.int64)).max() > 32767:
            raise ValueError("a table begins further from 0 than 16 bits tell")
        inside = np.ones(self.cdf.size, bool)
        inside[self.start + self.size] = False  # the ends of the rows: no symbol starts there
        return {
            "frequency": np.diff(self.cdf.astype(np.int64), append=0)[inside].astype(np.uint16),
            "size": self.size.astype(np.uint16),
            "offset": self.offset.astype(np.int16),
        }

    def __len__(self) -> int:
        return int(self.size.size)

    def row(self, index: int) -> NDArray[np.uint32]:
        """The cdf of one table, (size + 1,) uint32."""
        begin = int(self.start[index])
        return self.cdf[begin : begin + int(self.size[index]) + 1]

    def validate(self) -> None:
        """Raise ValueError unless every row can be coded with; the decoder's memory safety rests on this."""
        tables = self.size.size
        if tables == 0 or self.start.size != tables or self.offset.size != tables:
            raise ValueError(
                f"a table set needs as many starts and offsets as sizes, at least one: "
                f"{self.start.size} starts, {tables} sizes, {self.offset.size} offsets"
            )
        _refuse((self.size < 2) | (self.size >= TOTAL), "has fewer than 2 symbols or more than 65535")
        _refuse(np.abs(self.offset.astype(np.int64)) > OFFSET_MAX, f"has an offset beyond ±{OFFSET_MAX}")
        lengths = self.size.astype(np.int64) + 1
        _refuse(self.start != np.cumsum(lengths) - lengths, "does not begin where the table before it ends")
        if self.cdf.size != lengths.sum():
            raise ValueError(f"the tables take {lengths.sum()} entries, cdf has {self.cdf.size}")
        _refuse(self.cdf[self.start] != 0, "does not begin with 0")
        _refuse(self.cdf[self.start + self.size] != TOTAL, f"does not end with {TOTAL}")
        rising = np.diff(self.cdf.astype(np.int64), append=TOTAL + 1) > 0
        rising[self.start + self.size] = True  # from one row to the next it falls
        _refuse(~np.logical_and.reduceat(rising, self.start), "is not strictly increasing")

    @functools.cached_property
    def bits(self) -> NDArray[np.float32]:
        """(E,) float32: bits[start[row] + symbol] is -log2 of the symbol's probability; 0 at each row's end.

        For estimates only: it comes from the platform's log2.
        """
        freq = np.diff(self.cdf.astype(np.int64), append=TOTAL)
        freq[self.start + self.size] = TOTAL
        return _read_only((PRECISION - np.log2(freq)).astype(np.float32))

    @functools.cached_property
    def entropy(self) -> NDArray[np.float64]:
        """(T,) bits a symbol of each table by its own probabilities; for estimates only, as `bits`."""
        frequency = np.diff(self.cdf.astype(np.int64), append=0)
        frequency[self.start + self.size] = 0
        return _read_only(np.add.reduceat(frequency * self.bits.astype(np.float64), self.start) / TOTAL)

    @functools.cached_property
    def lookup(self) -> NDArray[np.uint16]:
        """(T << BUCKET_BITS,) uint16: the symbol of the first slot of each bucket, where the decoder's scan begins."""
        return _read_only(_lookup(self.cdf, self.start, self.size))


def quantize_pmf(pmf: ArrayLike) -> NDArray[np.uint32]:
    """Quantise probabilities to a cdf of 16 bits, exactly as compressai's pmf_to_quantized_cdf does.

    pmf: (n,) float32, finite, >= 0, 1 <= n <= 65536, not all 0, sum < 32768; it need not be normalised.
    Returns (n + 1,) uint32 from 0 to 65536, strictly increasing. Raises ValueError.

    Float32 products by a power of two and integers: the same table on every machine.
    """
    values = np.array(pmf, dtype=np.float32)
    if values.ndim != 1 or not 1 <= values.size <= TOTAL:
        raise ValueError(f"a pmf has one dimension and 1 to {TOTAL} entries, not shape {values.shape}")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError("a pmf has finite entries that are not negative")
    if values.sum(dtype=np.float64) >= 32768:
        raise ValueError("a pmf sums to less than 32768")
    cdf = _quantize(values)
    if cdf.size == 0:
        raise ValueError("a pmf has at least one entry of 1/131072 or more")
    return cdf


def quantize_counts(counts: ArrayLike) -> NDArray[np.uint32]:
    """The cdf of 16 bits that codes `counts` in the fewest bits, with every symbol possible.

    counts: (n,) float64, finite, >= 0, 2 <= n <= 65535; all 0 stands for uniform. Returns (n + 1,) uint32.
    Raises ValueError. Only + - × ÷ of float64: the same table on every machine.
    """
    values = np.array(counts, dtype=np.float64)
    if values.ndim != 1 or not 2 <= values.size < TOTAL:
        raise ValueError(f"counts have one dimension and 2 to {TOTAL - 1} entries, not shape {values.shape}")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError("counts are finite and not negative")
    if not values.any():
        values += 1
    freq = _allocate(values)
    return np.concatenate([[0], np.cumsum(freq)]).astype(np.uint32)


@njit
def _quantize(pmf: NDArray[np.float32]) -> NDArray[np.uint32]:
    n = pmf.size
    cdf = np.zeros(n + 1, np.uint32)
    total = np.int64(0)
    for i in range(n):
        scaled = np.float64(pmf[i]) * 65536.0  # exact
        whole = np.int64(scaled)
        cdf[i] = whole + (1 if scaled - whole >= 0.5 else 0)
        total += cdf[i]
    if total == 0:
        return np.zeros(0, np.uint32)
    running = np.int64(0)
    for i in range(n):
        freq = np.int64(cdf[i]) * 65536 // total
        cdf[i] = running
        running += freq
    cdf[n] = 65536  # the last symbol takes what the divisions left over
    for i in range(n):
        if cdf[i] == cdf[i + 1]:
            _steal(cdf, i)
    return cdf


@njit
def _steal(cdf: NDArray[np.uint32], i: int) -> None:
    """Give symbol i one count of the rarest symbol that has two or more (the first such)."""
    best, best_freq = -1, np.int64(1 << 40)
    for j in range(cdf.size - 1):
        freq = np.int64(cdf[j + 1]) - np.int64(cdf[j])
        if 1 < freq < best_freq:
            best, best_freq = j, freq
            if freq == 2:
                break
    if best < i:
        for j in range(best + 1, i + 1):
            cdf[j] -= np.uint32(1)
    else:
        for j in range(i + 1, best + 1):
            cdf[j] += np.uint32(1)


@njit
def _allocate(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Share 65536 among the symbols, at least 1 each, minimising sum(count * -log2(freq)).

    Starts from the nearest integers, then moves single counts where the cost changes least. The change of
    log2(freq) by one count is taken as 1 / (freq ± 1/2): right to third order, and free of log.
    """
    n = counts.size
    total = 0.0
    for i in range(n):
        total += counts[i]
    freq = np.empty(n, np.int64)
    left = np.int64(65536)
    for i in range(n):
        freq[i] = max(1, np.int64(counts[i] / total * 65536.0 + 0.5))
        left -= freq[i]
    while left != 0:
        best, best_change = -1, np.inf
        for i in range(n):
            if left > 0:
                change = -counts[i] / (freq[i] + 0.5)
            elif freq[i] > 1:
                change = counts[i] / (freq[i] - 0.5)
            else:
                continue
            if change < best_change:
                best, best_change = i, change
        freq[best] += 1 if left > 0 else -1
        left += -1 if left > 0 else 1
    return freq


@njit
def _lookup(cdf: NDArray[np.uint32], start: NDArray[np.int64], size: NDArray[np.int32]) -> NDArray[np.uint16]:
    buckets = 1 << BUCKET_BITS
    lookup = np.empty(size.size * buckets, np.uint16)
    for row in range(size.size):
        base = start[row]
        symbol = np.int64(0)
        for bucket in range(buckets):
            slot = bucket << (PRECISION - BUCKET_BITS)
            while cdf[base + symbol + 1] <= slot:
                symbol += 1
            lookup[row * buckets + bucket] = symbol
    return lookup


def _exact(values: ArrayLike, dtype: Any, name: str) -> NDArray[Any]:
    """A private one-dimensional copy in `dtype`; ValueError where that would change a value."""
    source = np.asarray(values)
    if source.ndim != 1 or (source.size and source.dtype.kind not in "iu"):
        raise ValueError(f"{name}: one dimension of integers expected, not {source.ndim} of {source.dtype}")
    if source.size and (source.min() < np.iinfo(dtype).min or source.max() > np.iinfo(dtype).max):
        raise ValueError(f"{name}: does not fit into {np.dtype(dtype).name}")
    return np.array(source, dtype=dtype, order="C")


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _refuse(bad: NDArray[np.bool_], what: str) -> None:
    if bad.any():
        raise ValueError(f"table {int(np.argmax(bad))} {what}")
