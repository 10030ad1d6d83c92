"""The compiled part of `motion_moves`: blocks line by line, each with all that may be made of it."""

import numpy as np

from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_models.context_search import symbol_bits
from nvc.entropy_models.main_context import PREDICT_SHIFT, SYMBOL_LIMIT, foretold

BORDER = 24  # repeated pixels round the planes of nvc.codec.phases
MOST = 4095  # sixteenths of a pixel that a vector can have
LATER = 0.5  # bits that a deviation larger by one costs the symbols whose contexts see it


@primitive
def _near(value, least, most):  # type: ignore[no-untyped-def]
    return min(max(value, least), most)


@primitive
def _share(value):  # type: ignore[no-untyped-def]
    return np.float32(min(max(value, 0.0), 1.0))


@primitive
def _rectangles(planes, vx, vy, top, left, cell):  # type: ignore[no-untyped-def]
    """Where a vector's rectangle begins, of a square at top, left; vectors in quarters of a pixel."""
    rows, columns = planes.shape[1:]
    y, x = _near(top + (vy >> 2) + BORDER, 0, rows - cell), _near(left + (vx >> 2) + BORDER, 0, columns - cell)
    return (((vy & 3) * 4 + (vx & 3)) * rows + y) * columns + x


@primitive
def _mixed(flat, at, stride, cell, shift, out):  # type: ignore[no-untyped-def]
    """A square of cell × cell samples from four rectangles."""
    a, b, c, d = at[0], at[1], at[2], at[3]
    if a == b and a == c and a == d:
        for i in range(cell):
            for j in range(cell):
                out[i, j] = flat[a + i * stride + j]
        return
    half = np.int32(1) << np.int32(shift - 1)
    for i in range(cell):
        down = np.int32(2 * i + 1)
        up = np.int32(2 * cell) - down
        line = i * stride
        for j in range(cell):
            right = np.int32(2 * j + 1)
            left = np.int32(2 * cell) - right
            over = np.int32(flat[a + line + j]) * left + np.int32(flat[b + line + j]) * right
            under = np.int32(flat[c + line + j]) * left + np.int32(flat[d + line + j]) * right
            out[i, j] = (over * up + under * down + half) >> np.int32(shift)


@primitive
def _square(luma, planes, flat, numbers, references, i, j, cell, shift, scale, at, one, two):  # type: ignore[no-untyped-def]
    """Squared error of the square between cells i - 1, i and j - 1, j. luma: with one cell more on each side."""
    rows, columns = numbers.shape[1:]
    over, under, before, behind = max(i - 1, 0), min(i, rows - 1), max(j - 1, 0), min(j, columns - 1)
    top, left = i * cell - cell // 2, j * cell - cell // 2
    stride = planes.shape[3]
    for r in range(references):
        for k in range(4):
            y, x = (under if k >= 2 else over), (behind if k & 1 else before)
            vx = np.int64(np.floor(_near(numbers[2 * r, y, x], -MOST, MOST) * scale + 0.5))
            vy = np.int64(np.floor(_near(numbers[2 * r + 1, y, x], -MOST, MOST) * scale + 0.5))
            at[k] = _rectangles(planes[r], vx, vy, top, left, cell)
        _mixed(flat[r], at, stride, cell, shift, two if r else one)
    total = np.int32(0)
    top, left = top + cell, left + cell
    if references == 1:
        for u in range(cell):
            for v in range(cell):
                off = np.int32(luma[top + u, left + v]) - one[u, v]
                total += off * off
        return float(total)
    shares = numbers[4]
    w0, w1 = _share(shares[over, before]), _share(shares[over, behind])
    w2, w3 = _share(shares[under, before]), _share(shares[under, behind])
    sum_ = np.float32(0)
    for u in range(cell):
        down = np.float32((2 * u + 1) / (2 * cell))
        first, step = w0 + (w2 - w0) * down, (w1 - w0) + ((w3 - w2) - (w1 - w0)) * down
        for v in range(cell):
            share = first + step * np.float32((2 * v + 1) / (2 * cell))
            off = np.float32(luma[top + u, left + v]) - np.float32(one[u, v])
            off -= share * np.float32(two[u, v] - one[u, v])
            sum_ += off * off
    return float(sum_)


@primitive
def _error(luma, planes, flat, numbers, references, i, j, cell, shift, scale, at, one, two, worth, square, most):  # type: ignore[no-untyped-def]
    """Bits behind the errors of the nine squares that block i, j has a part in; all of them up to `most`."""
    total = 0.0
    for a in range(2 * i, 2 * i + 3):
        for b in range(2 * j, 2 * j + 3):
            if cell == 8:
                squared = _square(luma, planes, flat, numbers, references, a, b, 8, 8, scale, at, one, two)
            else:
                squared = _square(luma, planes, flat, numbers, references, a, b, 4, 6, scale, at, one, two)
            total += square * np.log(1.0 + worth / square * squared)
        if total > most:
            return total
    return total


@primitive
def _bits(plane, weights, rows, i, j, start, size, offset, bits):  # type: ignore[no-untyped-def]
    """Of the symbol at i, j of a channel, and of those that it helps to foretell."""
    away = plane[i, j] - (foretold(plane, i, j, weights) >> PREDICT_SHIFT)
    total = symbol_bits(rows[i, j], away, start, size, offset, bits) + LATER * min(abs(away), 15)
    for n in range(4):
        y, x = i + (n != 1), j + (n == 1) + (n == 2) - (n == 3)
        if weights[n] and y < plane.shape[0] and 0 <= x < plane.shape[1]:
            away = plane[y, x] - (foretold(plane, y, x, weights) >> PREDICT_SHIFT)
            total += symbol_bits(rows[y, x], away, start, size, offset, bits) + LATER * min(abs(away), 15)
    return total


@primitive
def _put(symbols, numbers, response, wanted, i, j):  # type: ignore[no-untyped-def]
    """Symbols of a block, and with them the numbers of its four cells."""
    for c in range(symbols.shape[0]):
        step = wanted[c] - symbols[c, i, j]
        if step:
            symbols[c, i, j] = wanted[c]
            for q in range(4):
                for n in range(numbers.shape[0]):
                    numbers[n, 2 * i + (q >> 1), 2 * j + (q & 1)] += step * response[c, q, n]


@njit
def try_lines(  # type: ignore[no-untyped-def]
    luma, planes, symbols, numbers, response, inverse, others, weights, rows, start, size, offset, bits, worth, cell,
    scale, least, square, top, end,
):  # fmt: skip
    """Moves the symbols of lines top … end - 1 of blocks. See nvc.codec.motion_moves.

    response: (K, 4, F) of a symbol on the numbers of four cells; inverse: (4·F, K); others: (N, K, h, w).
    """
    count, h, w = symbols.shape
    kinds, references = numbers.shape[0], planes.shape[0]
    flat = planes.reshape(references, -1)
    shift = 8 if cell == 8 else 6
    at = np.empty(4, np.int64)
    one, two = np.empty((8, 8), np.int32), np.empty((8, 8), np.int32)
    best, tried = np.empty(count, np.int64), np.empty(count, np.int64)
    trial_costs, best_costs = np.empty(count), np.empty(count)
    move = np.empty(4 * kinds)
    singles = 4 * 4
    for i in range(top, end):
        for j in range(w):
            for c in range(count):
                best[c] = symbols[c, i, j]
                best_costs[c] = _bits(symbols[c], weights[c], rows[c], i, j, start, size, offset, bits)
            spent = best_costs.sum()
            found = _error(
                luma, planes, flat, numbers, references, i, j, cell, shift, scale, at, one, two, worth, square, 1e30
            )
            if found + spent < least * count:
                continue
            found += spent
            trials = 1 + 8 + len(others) + singles + 2 * count
            for n in range(trials):
                changed = False
                if n == 0:
                    for c in range(count):
                        tried[c] = foretold(symbols[c], i, j, weights[c]) >> PREDICT_SHIFT
                elif n < 9:
                    k = n - 1 if n < 5 else n
                    y, x = i - 1 + k // 3, j - 1 + k % 3
                    if not (0 <= y < h and 0 <= x < w):
                        continue
                    for c in range(count):
                        tried[c] = symbols[c, y, x]
                elif n < 9 + len(others):
                    for c in range(count):
                        tried[c] = others[n - 9, c, i, j]
                elif n < 9 + len(others) + singles:
                    # One cell as the one beside it.
                    k = n - 9 - len(others)
                    q, way = k >> 2, k & 3
                    y, x = 2 * i + (q >> 1), 2 * j + (q & 1)
                    yy, xx = y + (way == 0) - (way == 1), x + (way == 2) - (way == 3)
                    if not (0 <= yy < 2 * h and 0 <= xx < 2 * w):
                        continue
                    far = False
                    for f in range(kinds):
                        apart = numbers[f, yy, xx] - numbers[f, y, x]
                        far = far or abs(apart) >= 4
                        move[f] = apart
                    if not far:
                        continue
                    for c in range(count):
                        total = 0.0
                        for f in range(kinds):
                            total += inverse[q * kinds + f, c] * move[f]
                        tried[c] = best[c] + np.int64(np.floor(total + 0.5))
                else:
                    k = n - 9 - len(others) - singles
                    for c in range(count):
                        tried[c] = best[c]
                    tried[k >> 1] += 1 - 2 * (k & 1)
                for c in range(count):
                    tried[c] = _near(tried[c], -SYMBOL_LIMIT, SYMBOL_LIMIT)
                    changed = changed or tried[c] != best[c]
                if not changed:
                    continue
                _put(symbols, numbers, response, tried, i, j)
                cost = 0.0
                for c in range(count):
                    trial_costs[c] = best_costs[c]
                    if tried[c] != best[c]:
                        trial_costs[c] = _bits(symbols[c], weights[c], rows[c], i, j, start, size, offset, bits)
                    cost += trial_costs[c]
                if cost < found:
                    cost += _error(
                        luma, planes, flat, numbers, references, i, j, cell, shift, scale, at, one, two, worth,
                        square, found - cost,
                    )  # fmt: skip
                if cost < found:
                    found = cost
                    best[:], best_costs[:] = tried, trial_costs
                else:
                    _put(symbols, numbers, response, best, i, j)
