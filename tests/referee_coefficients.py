"""Coefficients of block transforms, written from FORMAT.md 17 alone: Python and numpy int64, nothing of nvc."""

from math import cos, floor, pi, sqrt
from typing import Any

import numpy as np
from referee import Array, Stream, must
from referee_tables import bits


class Chances:
    """Of one frame type."""

    def __init__(self, start: Array) -> None:
        self.quick, self.slow = start.tolist(), start.tolist()

    def bit(self, stream: Stream, number: int) -> int:  # 7
        one = (self.quick[number] + self.slow[number]) // 2
        slot, high = stream.x % 65536, stream.x // 65536
        b = int(slot >= 65536 - one)
        stream.x = one * high + slot - (65536 - one) if b else (65536 - one) * high + slot
        stream.refill()
        for kept, step in ((self.quick, 16), (self.slow, 128)):
            kept[number] += (65535 - kept[number]) // step if b else -(kept[number] // step)
        return b


def order(side: int) -> list[tuple[int, int]]:
    """(i, j) of every coefficient."""
    places = [(i, j) for i in range(side) for j in range(side)]
    return sorted(places, key=lambda p: (p[0] + p[1], p[1] if (p[0] + p[1]) % 2 == 0 else p[0]))


ORDER = {side: order(side) for side in (8, 16)}
BANDS = {8: (0, 1, 3, 6, 9), 16: (0, 2, 6, 12, 18)}


def block(stream: Stream, chances: Chances, number: int, side: int) -> Array:
    """(side, side) coefficients."""
    f, longest = 17 + 81 * number, {8: 6, 16: 8}[side]
    length = 0
    while length < longest and chances.bit(stream, f + length):
        length += 1
    last, node = int(length > 0), 1
    for _ in range(length - 1):
        if node < 4:
            b = chances.bit(stream, f + 9 + 3 * length + node - 1)
            node = 2 * node + b
        else:
            b = bits(stream, 1)
        last = 2 * last + b
    c = np.zeros((side + 2, side + 2), np.int64)
    for n in range(last, -1, -1):
        i, j = ORDER[side][n]
        band = sum(number < i + j for number in BANDS[side])
        beside = (c[i, j + 1], c[i, j + 2], c[i + 1, j], c[i + 2, j], c[i + 1, j + 1])
        near = min(4, sum(min(3, abs(int(value))) for value in beside))
        if n < last and not chances.bit(stream, f + 36 + 5 * band + near):
            continue
        m = 1
        if chances.bit(stream, f + 66 + near + (5 if band > 2 else 0)):
            m = 2
            if chances.bit(stream, f + 76 + near):
                k = 0
                while bits(stream, 1):
                    k += 1
                    must(k <= 15, "prefix")
                m = 2 + 2**k + bits(stream, k)
                must(m <= 32767, "coefficient")
        c[i, j] = -m if bits(stream, 1) else m
    return c[:side, :side]


def read(stream: Stream, chances: Chances, h: int, w: int) -> list[tuple[int, int, int, Array]]:
    """(plane, row, column, coefficients) of every block, all samples of planes."""
    coded, whole, cells = (
        np.zeros((h + 1, w + 2), int),
        np.zeros((h + 1, w + 1), int),
        np.zeros((2 * h + 1, 2 * w + 1), int),
    )
    found: list[tuple[int, int, int, Array]] = []
    for y in range(h):
        for x in range(w):
            corner = int(coded[y, x] or coded[y, x + 2])
            if not chances.bit(stream, int(coded[y + 1, x] + coded[y, x + 1]) + 3 * corner):
                continue
            coded[y + 1, x + 1] = 1
            whole[y + 1, x + 1] = chances.bit(stream, 6 + int(whole[y + 1, x] + whole[y, x + 1]))
            some = 0
            if whole[y + 1, x + 1]:
                some = chances.bit(stream, 12)
                if some:
                    found.append((0, 16 * y, 16 * x, block(stream, chances, 1, 16)))
                cells[2 * y + 1 : 2 * y + 3, 2 * x + 1 : 2 * x + 3] = some
            else:
                for a, b in np.ndindex(2, 2):
                    i, j = 2 * y + a, 2 * x + b
                    cells[i + 1, j + 1] = chances.bit(stream, 9 + int(cells[i + 1, j] + cells[i, j + 1]))
                    if cells[i + 1, j + 1]:
                        found.append((0, 8 * i, 8 * j, block(stream, chances, 0, 8)))
                        some = 1
            before = 0
            for plane in (1, 2):
                before = chances.bit(stream, 13 + 2 * some + before)
                if before:
                    found.append((plane, 8 * y, 8 * x, block(stream, chances, 2, 8)))
    return found


def cosines(side: int) -> Array:
    def value(u: int, i: int) -> int:
        exact = 1024 * sqrt((2 if u else 1) / side) * cos(pi * (2 * i + 1) * u / (2 * side))
        return floor(exact + 0.5)

    return np.array([[value(u, i) for i in range(side)] for u in range(side)], np.int64)


MATRIX = {side: cosines(side) for side in (8, 16)}


def lacking(c: Array, t: int, e: int) -> Array:
    """What the coefficients of a block add to its samples."""
    matrix = MATRIX[len(c)]
    return (matrix.T @ (c * t) @ matrix + (1 << (e + 25))) >> (e + 26)


def added(planes: list[Array], blocks: list[tuple[int, int, int, Array]], steps: Any) -> list[Array]:
    """steps: T and e of luma and chroma."""
    made = [plane.copy() for plane in planes]
    for number, top, left, c in blocks:
        plane = made[number]
        part = plane[top : top + len(c), left : left + len(c)]
        shown = lacking(c, *steps[min(number, 1)])[: part.shape[0], : part.shape[1]]
        part[:] = np.clip(part + shown, 0, 255)
    return made
