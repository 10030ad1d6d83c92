"""Symbols of motion by rate and distortion: precise where a picture shows it, cheap where it does not.

An error of motion matters by the texture that it moves: next to nothing in a sky, a grey level for a tenth of a pixel
at an edge. So symbols, rounded plainly, are moved by one wherever that lowers

    λ · squared error of the prediction + bits

The error is taken from the prediction as made, to second order (Gauss-Newton) in the numbers of each cell of the grid;
the bits from how far symbols are from what their neighbours foretell (FORMAT.md 12). Then the prediction is made anew:
blocks that came out worse go back, and the rest is where the next round begins. No decoder knows. docs/motion.md has
measurements.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.codec.lhbdc_analysis import Floats, block_errors
from nvc.codec.step_bits import bits_of_positions, prediction_weights, step_bits
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import I64
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.networks.cell_sums import apart
from nvc.networks.warp_kernels import Plane
from nvc.threads import spread

NUMBERS = 5  # of a cell: flow to the first reference, x and y; the second flow; weight
SUMS = NUMBERS * (NUMBERS + 1) // 2 + NUMBERS  # products of slopes, upper triangle by rows; products with the error
ROUNDS = 2
SAVED = 12.0  # bits that a step is not thought to save
LATER = 1.0  # bits that a deviation larger by one costs the symbols whose contexts see it
HALF = 4  # luma pixels: half a cell, within which the grid's weights are taken to be the same
_ROWS = 8  # of half cells, by one thread at a time
_STRIP = 4  # lines of symbols, by one thread at a time


@dataclass(frozen=True, eq=False)
class Mixture:
    """A prediction and what it was mixed from, luma.

    share: (2h, 2w) of `second`, 0..1; turned: the sign of the second flow in the numbers that are coded of it.
    """

    mixed: Plane
    first: Plane
    second: Plane
    share: Floats
    turned: int

    def sums(self, luma: Plane) -> NDArray[np.float64]:
        """(2h, 2w, SUMS) for each cell, numbers in luma pixels, of squared grey levels."""
        rows, columns = self.share.shape
        halves = np.empty((2 * rows, SUMS, 2 * columns), np.float32)
        shares = np.ascontiguousarray(_halved(_halved(self.share).T).T)
        cells = np.empty((rows, columns, SUMS))

        def strip(top: int) -> None:
            part = slice(top, top + _ROWS)
            _half_sums(luma, self.mixed, self.first, self.second, shares, self.turned, top, halves[part])

        spread(strip, range(0, len(halves), _ROWS))
        spread(lambda top: _gather(halves, top, cells[top : top + _ROWS]), range(0, rows, _ROWS))
        return cells


@dataclass(frozen=True, eq=False)
class Response:
    """What symbols of motion do. M latents.

    channels: those that move a prediction in a way worth looking at
    numbers: (M, 2, 2, NUMBERS) how a symbol moves the numbers of its four cells, luma pixels
    index: (M, h, w) their scale indexes; tables: that code them.
    """

    channels: NDArray[np.int64]
    numbers: NDArray[np.float64]
    index: NDArray[np.uint8]
    tables: HyperpriorTables


def refine(
    symbols: NDArray[np.int32], response: Response, mixture: Callable[[NDArray[np.int32]], Mixture], luma: Plane,
    worth: float, square: float = 0.0, rounds: int = ROUNDS,
) -> NDArray[np.int32]:  # fmt: skip
    """Better symbols (M, h, w) than those given.

    mixture: the prediction that symbols make; worth: bits that a squared grey level of luma is worth, or the first one;
    square: see nvc.codec.motion_moves.SQUARE, 0 where all of them are worth as much.
    """
    found, index, tables = symbols, response.index, response.tables
    weights, main = prediction_weights(tables, len(symbols)), tables.main
    made, bits = mixture(found), bits_of_positions(tables, index, found)
    for number in range(rounds):
        moved = found.copy()
        _, rows = tables.main_values(index, found)
        sums = made.sums(luma)
        if square:
            off = apart(made.mixed, luma)[1].astype(np.float32)
            sums /= 1 + (worth / square) * off[:, :, None]

        def strip(
            top: int, moved: NDArray[np.int32] = moved, sums: NDArray[np.float64] = sums,
            rows: NDArray[np.uint8] = rows,
        ) -> None:  # fmt: skip
            _descend(
                moved, response.channels, weights, response.numbers, sums, worth, rows, main.start, main.size,
                main.offset, main.bits, top, min(top + _STRIP, moved.shape[1]),
            )  # fmt: skip

        # Contexts see the line above: every second strip, so that what a strip sees beside it stands still.
        for first in (0, _STRIP):
            spread(strip, range(first, moved.shape[1], 2 * _STRIP))
        before, after = (
            bits_behind(block_errors(mixed, luma), worth, square) for mixed in (made.mixed, mixture(moved).mixed)
        )
        worse = after - before
        found = np.where(worse + bits_of_positions(tables, index, moved) < bits, moved, found)
        if number + 1 < rounds:
            made, bits = mixture(found), bits_of_positions(tables, index, found)
    return found


def bits_behind(squared: Floats, worth: float, square: float) -> Floats:
    """Bits that errors of 16x16 blocks are worth."""
    return 4 * square * np.log1p(worth / (4 * square) * squared) if square else worth * squared


def _halved(values: Floats) -> Floats:
    """Cells along the first axis -> half cells, linear between the centres."""
    p = np.pad(values, ((1, 1), (0, 0)), mode="edge")
    halves = np.stack([0.25 * p[:-2] + 0.75 * p[1:-1], 0.75 * p[1:-1] + 0.25 * p[2:]], 1)
    return halves.reshape(-1, values.shape[1]).astype(np.float32)


@njit
def _gather(halves, top, out):  # type: ignore[no-untyped-def]
    """Half cells (2·rows, SUMS, 2·columns) -> cells from row `top` on, (rows, columns, SUMS).

    Sums of what depends on each cell; at the border that is the outermost alone.
    """
    last, end = halves.shape[0] - 1, halves.shape[2] - 1
    lines = np.empty((SUMS, end + 1), np.float32)
    for row in range(out.shape[0]):
        i = 2 * (top + row)
        over, under = halves[max(i - 1, 0)], halves[min(i + 2, last)]
        for k in range(SUMS):
            for j in range(end + 1):
                inner = halves[i, k, j] + halves[i + 1, k, j]
                lines[k, j] = np.float32(0.75) * inner + np.float32(0.25) * (over[k, j] + under[k, j])
        for column in range(out.shape[1]):
            j = 2 * column
            for k in range(SUMS):
                line = lines[k]
                inner = line[j] + line[j + 1]
                out[row, column, k] = np.float32(0.75) * inner + np.float32(0.25) * (
                    line[max(j - 1, 0)] + line[min(j + 2, end)]
                )


@njit
def _half_sums(luma, mixed, first, second, shares, turned, top, out):  # type: ignore[no-untyped-def]
    height, width = luma.shape
    slopes = np.empty((NUMBERS + 1, width), np.float32)  # of a row of pixels; its error
    for row in range(out.shape[0]):
        out[row] = 0
        for y in range(HALF * (top + row), min(HALF * (top + row) + HALF, height)):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            _slopes(luma, mixed, first, second, y, above, below, slopes)
            for column in range(out.shape[2]):
                share = shares[top + row, column]
                one, two = np.float32(0.25) * (np.float32(1) - share), np.float32(0.25 * turned) * share
                for x in range(HALF * column, min(HALF * column + HALF, width)):
                    slopes[0, x] *= one
                    slopes[1, x] *= one
                    slopes[2, x] *= two
                    slopes[3, x] *= two
            k = 0
            for a in range(NUMBERS):
                for b in range(a, NUMBERS):
                    _add_products(slopes[a], slopes[b], out[row, k])
                    k += 1
                _add_products(slopes[a], slopes[NUMBERS], out[row, SUMS - NUMBERS + a])


@njit
def _slopes(luma, mixed, first, second, y, above, below, out):  # type: ignore[no-untyped-def]
    """Differences across two pixels in luma and each plane, added up; that of the planes in eighths; the error."""
    width = luma.shape[1]
    for x in range(width):
        left, right = max(x - 1, 0), min(x + 1, width - 1)
        across = np.int32(luma[y, right]) - np.int32(luma[y, left])
        down = np.int32(luma[below, x]) - np.int32(luma[above, x])
        out[0, x] = across + np.int32(first[y, right]) - np.int32(first[y, left])
        out[1, x] = down + np.int32(first[below, x]) - np.int32(first[above, x])
        out[2, x] = across + np.int32(second[y, right]) - np.int32(second[y, left])
        out[3, x] = down + np.int32(second[below, x]) - np.int32(second[above, x])
        out[4, x] = np.float32(0.125) * np.float32(np.int32(second[y, x]) - np.int32(first[y, x]))
        out[5, x] = np.int32(luma[y, x]) - np.int32(mixed[y, x])


@njit
def _add_products(one, two, out):  # type: ignore[no-untyped-def]
    """Of two rows of pixels, to the sums of half cells."""
    whole = one.size // HALF
    for column in range(whole):
        x = HALF * column
        out[column] += one[x] * two[x] + one[x + 1] * two[x + 1] + one[x + 2] * two[x + 2] + one[x + 3] * two[x + 3]
    for x in range(HALF * whole, one.size):
        out[whole] += one[x] * two[x]


@primitive
def _at(a: I64, b: I64) -> I64:
    """Where the product of two slopes is in the sums, a <= b."""
    return a * NUMBERS - a * (a + 1) // 2 + b


@primitive
def _pull(cell, move):  # type: ignore[no-untyped-def]
    """Of a cell's error, moved by `move` of its numbers: curvature and slope, error + curvature - 2 · slope."""
    slope = curvature = 0.0
    for a in range(NUMBERS):
        if move[a]:  # symbols move few of them
            slope += cell[SUMS - NUMBERS + a] * move[a]
            curvature += cell[_at(a, a)] * move[a] * move[a]
            for b in range(a + 1, NUMBERS):
                if move[b]:
                    curvature += 2 * cell[_at(a, b)] * move[a] * move[b]
    return curvature, slope


@primitive
def _moved(cell, move, step):  # type: ignore[no-untyped-def]
    """The slopes of a cell, once its numbers have been moved by so many steps."""
    for a in range(NUMBERS):
        for b in range(NUMBERS):
            if move[b]:
                cell[SUMS - NUMBERS + a] -= step * move[b] * cell[_at(min(a, b), max(a, b))]


@njit
def _descend(symbols, channels, weights, numbers, sums, worth, rows, start, size, offset, bits, top, end):  # type: ignore[no-untyped-def]
    """Moves symbols of some lines by one where that pays; the slopes in `sums` follow."""
    w = symbols.shape[2]
    for c in channels:
        plane, moves = symbols[c], numbers[c]
        for i in range(top, end):
            for j in range(w):
                curvature = slope = 0.0
                for q in range(4):
                    found = _pull(sums[2 * i + (q >> 1), 2 * j + (q & 1)], moves[q >> 1, q & 1])
                    curvature, slope = curvature + found[0], slope + found[1]
                if worth * (2 * abs(slope) - curvature) < -SAVED:
                    continue
                best, step = 0.0, 0
                for way in (-1, 1):
                    gain = worth * (2 * way * slope - curvature)
                    gain -= step_bits(plane, weights[c], rows[c], i, j, way, LATER, start, size, offset, bits)
                    if gain > best:
                        best, step = gain, way
                if step:
                    plane[i, j] += step
                    for q in range(4):
                        _moved(sums[2 * i + (q >> 1), 2 * j + (q & 1)], moves[q >> 1, q & 1], step)
