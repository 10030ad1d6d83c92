"""One interface, three coders: Estimator counts bits, Encoder makes bytes, Decoder reads them back.

    for every section:     values = coder.code(values, rows, tables)       tables known beforehand
                           values = coder.code_bits(values, width)         uniform integers
                           coder.run(walk, tables, count, *arguments)      tables chosen symbol by symbol
    at the end:            data = encoder.finish()        decoder.finish()

Sections of different TableSets follow one another in one stream. A model that codes through this interface is
written once and serves estimating, encoding and decoding.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc.entropy_coding import batch, rans
from nvc.entropy_coding.tables import TableSet
from nvc.errors import BadStream

_CALLER_ERRORS = {
    rans.BAD_ROW: "a symbol's row is not in the table set",
    rans.BAD_VALUE: f"a value is beyond ±{rans.VALUE_MAX}, or does not fit into its bits",
    rans.BAD_BITS: "uniform integers have 0 to 16 bits",
    rans.NO_ROOM: "the walk coded more symbols than it had announced",
}
_STREAM_ERRORS = {
    rans.EXHAUSTED: "the coded data ends too early; the file is damaged or cut",
    rans.BAD_ESCAPE: "the coded data holds an impossible value; the file is damaged",
}

Values = NDArray[Any] | list[Any] | int | tuple[int, ...]  # the last two: a shape, for the Decoder
Tables = tuple[TableSet, ...]


class Coder(abc.ABC):
    """What the three coders share. `bits` grows as symbols are coded: sections are told apart by differences."""

    mode: ClassVar[int]

    def __init__(self) -> None:
        self._registers = np.zeros(3, np.uint64)
        self._bits = np.zeros(1, np.float64)
        self._words = np.zeros(0, np.uint32)

    @property
    @abc.abstractmethod
    def bits(self) -> float:
        """Bits coded so far."""

    @abc.abstractmethod
    def _prepare(self, values: Values) -> NDArray[np.int32]:
        """The values to code, or room for those to decode: int32, C order."""

    def code(self, values: Values, rows: ArrayLike, tables: TableSet) -> NDArray[np.int32]:
        """Code an array in C order, each value with its own table.

        values: integers of any shape, |value| <= 2^26. The Decoder uses only the shape, and takes a bare one too
            (an int or a tuple).
        rows: indexes into `tables`, any shape that broadcasts to the values'.
        Returns (values' shape) int32: the given values (not always a copy), or the decoded ones.
        Raises ValueError; the Decoder also BadStream.
        """
        array = self._prepare(values)
        index = _integers(rows, "rows")
        if index.size != 1 and index.shape != array.shape:
            index = np.ascontiguousarray(np.broadcast_to(index, array.shape))
        state = self.walk_state(tables, array.size)
        batch.code_rows(state, array.reshape(-1), index.reshape(-1), 0 if index.size == 1 else 1)
        self.check()
        return array

    def code_bits(self, values: Values, width: int) -> NDArray[np.int32]:
        """Code integers 0 <= value < 2^width, all equally likely, 0 <= width <= 16; shapes and errors as `code`."""
        array = self._prepare(values)
        batch.code_bits(self.walk_state(no_tables(), array.size), array.reshape(-1), width)
        self.check()
        return array

    def run(self, walk: Callable[..., Any], tables: TableSet | Tables, count: int, *arguments: Any) -> Any:
        """Call walk(state, *arguments), an `njit` function that codes at most `count` symbols with `rans.step`.

        With a tuple of n TableSets the walk gets n states: walk(state_0, ..., state_n-1, *arguments), any of which
        may code the next symbol; `count` is for all together. Returns what the walk returns. Errors as `code`.
        """
        sets = tables if isinstance(tables, tuple) else (tables,)
        states = [self.walk_state(sets[0], count), *(self.walk_state(other, 0) for other in sets[1:])]
        result = walk(*states, *arguments)
        self.check()
        return result

    def walk_state(self, tables: TableSet, count: int) -> rans.WalkState:
        """The state for a walk of at most `count` symbols that the caller runs itself, and follows with `check`.

        A later walk_state with count > 0 makes this one stale.
        """
        self._reserve(count)
        return rans.WalkState(
            self.mode,
            self._registers,
            self._bits,
            self._words,
            tables.cdf,
            tables.start,
            tables.size,
            tables.offset,
            tables.bits if self.mode == rans.ESTIMATE else _nothing(np.float32),
            tables.lookup if self.mode == rans.DECODE else _nothing(np.uint16),
        )

    def check(self) -> None:
        """Raise what a step could not: ValueError for the caller's mistakes, BadStream for damaged data."""
        code = int(self._registers[rans.ERROR])
        if code in _CALLER_ERRORS:
            raise ValueError(_CALLER_ERRORS[code])
        if code != rans.NO_ERROR:
            raise BadStream(_STREAM_ERRORS[code])

    def _reserve(self, count: int) -> None:  # noqa: B027 (only the Encoder has anything to do)
        """Make room for `count` more symbols."""


class Estimator(Coder):
    """Adds up the bits that symbols would take; nothing is stored.

    The Encoder's stream is longer by 31 bits to 8 bytes, plus what rounding costs: under 5e-5 bits a symbol.
    """

    mode = rans.ESTIMATE

    @property
    def bits(self) -> float:
        return float(self._bits[0])

    def _prepare(self, values: Values) -> NDArray[np.int32]:
        return _given(values)


class Encoder(Coder):
    """Collects symbols, front to back; `finish` codes them back to front. 4 bytes a symbol until then, 12 an escape."""

    mode = rans.ENCODE

    def __init__(self) -> None:
        super().__init__()
        self._counted = 0  # operations whose bits are in self._bits

    @property
    def bits(self) -> float:
        operations = self._operations()
        self._bits[0] += batch.operation_bits(operations[self._counted :], _bits_by_frequency())
        self._counted = operations.size
        return float(self._bits[0])

    def finish(self) -> bytes:
        """The stream: a multiple of 4 bytes, at least 8. More may be coded afterwards, for a longer stream."""
        self.check()
        operations = self._operations()
        words = np.empty(operations.size + 2, np.uint32)
        first = rans.flush(operations, words)
        return words[first:].astype("<u4").tobytes()

    def _operations(self) -> NDArray[np.uint32]:
        return self._words[: int(self._registers[rans.POSITION])]

    def _prepare(self, values: Values) -> NDArray[np.int32]:
        return _given(values)

    def _reserve(self, count: int) -> None:
        used = int(self._registers[rans.POSITION])
        needed = used + rans.OPERATIONS_PER_SYMBOL * count
        if needed > self._words.size:
            grown = np.empty(max(needed, 2 * self._words.size), np.uint32)  # the system maps only what is written
            grown[:used] = self._words[:used]
            self._words = grown


class Decoder(Coder):
    """Reads one whole stream. Raises BadStream for anything that no Encoder writes, as soon as it shows."""

    mode = rans.DECODE

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__()
        if len(data) < 8 or len(data) % 4:
            raise BadStream(f"coded data has 8, 12, 16, ... bytes, here are {len(data)}; the file is damaged or cut")
        self._words = np.frombuffer(data, "<u4").astype(np.uint32)
        state = int(self._words[0]) | int(self._words[1]) << 32
        if not rans.STATE_MIN <= state < rans.STATE_MAX:
            raise BadStream("the coded data begins with an impossible state; the file is damaged")
        self._registers[rans.X] = state
        self._registers[rans.POSITION] = 2
        self._start_bits = self._bits_left()

    @property
    def bits(self) -> float:
        return self._start_bits - self._bits_left()

    def finish(self) -> None:
        """Raise BadStream unless the stream ends exactly here: all words read, the state back where encoding began."""
        self.check()
        unread = self._words.size - int(self._registers[rans.POSITION])
        if unread or int(self._registers[rans.X]) != rans.STATE_MIN:
            raise BadStream("the coded data does not end where its symbols do; the file is damaged")

    def _bits_left(self) -> float:
        unread = self._words.size - int(self._registers[rans.POSITION])
        return 32.0 * unread + float(np.log2(float(self._registers[rans.X])))

    def _prepare(self, values: Values) -> NDArray[np.int32]:
        shape = np.shape(values) if isinstance(values, np.ndarray | list) else values
        return np.zeros(shape, np.int32)


def _given(values: Any) -> NDArray[np.int32]:
    if not isinstance(values, np.ndarray | list):
        raise ValueError("values are an array or a list; only the Decoder takes a bare shape")
    return _integers(values, "values")


def _integers(values: Any, name: str) -> NDArray[np.int32]:
    """As a C-ordered int32 array; ValueError for floats, and for integers that do not fit."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} are integers, not {array.dtype}")
    if array.dtype != np.int32 and array.size:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(f"{name} do not fit into 32 bits")
    return np.require(array, np.int32, ["C", "A", "W"])


@functools.cache
def _nothing(dtype: type) -> NDArray[Any]:
    array: NDArray[Any] = np.zeros(0, dtype)
    array.flags.writeable = False  # as in a TableSet: compiled code is specialised on it
    return array


@functools.cache
def no_tables() -> TableSet:
    """For walks that use no table: a state has one."""
    return TableSet.from_rows([[0, 32768, 65536]], [0])


@functools.cache
def _bits_by_frequency() -> NDArray[np.float64]:
    bits: NDArray[np.float64] = 16.0 - np.log2(np.maximum(np.arange(65536), 1.0))
    return bits
