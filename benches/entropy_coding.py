"""Symbols per second of the entropy coder, one thread, as JSON on stdout.

    python benches/entropy_coding.py [symbols]

`rows`: tables known beforehand, one of 1280 tables for each stretch of symbols (as in a channel of a latent).
`shuffled`: the same symbols in random order, so that every symbol meets another table.
`walk`: 320 channels of 48 x 32, the table chosen by the deviations of the upper, left and previous-channel neighbours.
`encode` includes the making of the bytes. `flush` is that part alone. Best of five, compiled beforehand.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Coder, Decoder, Encoder, Estimator
from nvc.entropy_coding.jit import njit
from nvc.entropy_coding.rans import WalkState, step
from nvc.entropy_coding.tables import TableSet

CHANNELS, HEIGHT, WIDTH, CONTEXTS = 320, 32, 48, 4


def laplacian_tables(count: int, random: np.random.Generator) -> TableSet:
    """Tables of double-sided geometric distributions, 5 to some 100 symbols, as latents have them."""
    histograms, offsets = [], []
    for scale in np.exp(random.uniform(np.log(0.15), np.log(8), count)):
        reach = int(np.ceil(5 * scale)) + 1
        weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) / scale)
        histograms.append(np.append(weights, 1e-6 * weights.sum()))
        offsets.append(-reach)
    return TableSet.from_histograms(histograms, np.array(offsets))


def draw(tables: TableSet, rows: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int32]:
    """Values that follow their tables; escapes are replaced by the first value of the table."""
    slots = random.integers(0, 65536, rows.size)
    values = np.empty(rows.size, np.int32)
    for row in np.unique(rows):
        here = rows == row
        symbols = np.searchsorted(tables.row(row), slots[here], side="right") - 1
        values[here] = np.where(symbols == tables.size[row] - 1, 0, symbols) + tables.offset[row]
    return values


@njit
def context_walk(state: WalkState, values: NDArray[np.int32]) -> None:
    """values (C, H, W): row = 4 * channel + number of deviating neighbours (up, left, previous channel)."""
    channels, height, width = values.shape
    deviates = np.zeros((2, height + 1, width + 1), np.uint8)  # one line of padding above and to the left
    for c in range(channels):
        now, before = deviates[c & 1], deviates[1 - (c & 1)]
        for i in range(height):
            for j in range(width):
                context = now[i, j + 1] + now[i + 1, j] + before[i + 1, j + 1]
                value = step(state, CONTEXTS * c + context, values[c, i, j])
                values[c, i, j] = value
                now[i + 1, j + 1] = value != 0


def best_time(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(code: Callable[[Coder], Any], count: int) -> dict[str, float]:
    """Millions of symbols per second of each coder for one section."""

    def encode() -> bytes:
        encoder = Encoder()
        code(encoder)
        return encoder.finish()

    data = encode()
    filled = Encoder()
    code(filled)
    code(Estimator()), code(Decoder(data))  # compile
    times = {
        "estimate": best_time(lambda: code(Estimator())),
        "encode": best_time(encode),
        "flush": best_time(filled.finish),
        "decode": best_time(lambda: code(Decoder(data))),
    }
    speeds = {name: round(count / seconds / 1e6, 1) for name, seconds in times.items()}
    return {**speeds, "bits_per_symbol": round(8 * len(data) / count, 3)}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    random = np.random.default_rng(1)
    tables = laplacian_tables(CHANNELS * CONTEXTS, random)
    rows = np.sort(random.integers(0, len(tables), count).astype(np.int32))
    values = draw(tables, rows, random)
    order = random.permutation(count)
    mixed_values, mixed_rows = values[order], rows[order]
    picture = np.repeat(np.arange(CHANNELS, dtype=np.int32) * CONTEXTS, HEIGHT * WIDTH)
    latent = draw(tables, picture, random).reshape(CHANNELS, HEIGHT, WIDTH)

    report = {
        "unit": "million symbols per second",
        "rows": measure(lambda coder: coder.code(values, rows, tables), count),
        "shuffled": measure(lambda coder: coder.code(mixed_values, mixed_rows, tables), count),
        "walk": measure(lambda coder: coder.run(context_walk, tables, latent.size, latent.copy()), latent.size),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
