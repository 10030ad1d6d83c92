"""Prediction from two references, written from FORMAT.md 15 alone: Python and numpy int64, nothing of nvc."""

from collections.abc import Iterator

import numpy as np
from referee_planes import Array, bilinear, predict, read

Vector = tuple[int, int]  # y, x
OFF = (-2, 9)  # first and last pixel of a window, from its block's corner


def back(v: int, b: int, t: int) -> int:
    return (2 * v * b + t) // (2 * t)


def halved(plane: Array) -> Array:  # 11, Pyramid
    y, x = np.meshgrid(*(2 * np.arange((side + 1) // 2) for side in plane.shape), indexing="ij")
    four = read(plane, y, x) + read(plane, y, x + 1) + read(plane, y + 1, x) + read(plane, y + 1, x + 1)
    return (four + 2) // 4


def window(level: Array, top: int, left: int) -> Array:
    p = np.arange(OFF[0], OFF[1] + 1)
    return read(level, top + p[:, None], left + p)


class Level:
    """One level of both references."""

    def __init__(self, first: Array, second: Array, b: int, t: int) -> None:
        self.a, self.b, self.before, self.total = first, second, b, t

    def difference(self, i: int, j: int, v: Vector) -> int:
        y, x = v
        top, left = 8 * i - back(y, self.before, self.total), 8 * j - back(x, self.before, self.total)
        return int(np.abs(window(self.a, top, left) - window(self.b, top + y, left + x)).sum())

    def search(self, i: int, j: int, parents: Array | None) -> Vector:
        """The displacement of a block. parents: (rows, columns, 2) of the level above."""
        tried: list[Vector] = []
        if parents is None:
            origin = (0, 0)
            tried += [origin, *((y, x) for y in range(-5, 6) for x in range(-5, 6))]
        else:
            doubled = np.clip(2 * parents, -64, 64)

            def parent(row: int, column: int) -> Vector:
                y, x = (int(read(doubled[:, :, part], np.array(row), np.array(column))) for part in (0, 1))
                return y, x

            r, c = i // 2, j // 2
            origin = parent(r, c)
            tried += [origin, parent(r - 1, c), parent(r + 1, c), parent(r, c - 1), parent(r, c + 1), (0, 0)]
        cost: dict[Vector, int] = {}

        def least(vectors: list[Vector], best: Vector) -> Vector:
            for v in vectors:
                if v not in cost:
                    far = abs(v[0] - origin[0]) + abs(v[1] - origin[1])
                    cost[v] = self.difference(i, j, v) + 12 * far
                if cost[v] < cost[best]:
                    best = v
            return best

        cost[origin] = self.difference(i, j, origin)
        best = least(tried, origin)
        for _ in range(2):
            around = [(best[0] + y, best[1] + x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
            best = least([v for v in around if max(map(abs, v)) <= 64], best)
        return best

    def refined(self, i: int, j: int, v: Vector) -> Iterator[int]:
        """Both parts in 1/16 pixel."""
        here = self.difference(i, j, v)
        for dy, dx in ((1, 0), (0, 1)):
            less, more = (v[0] - dy, v[1] - dx), (v[0] + dy, v[1] + dx)
            inside = max(map(abs, (*less, *more))) <= 64
            minus, plus = (self.difference(i, j, near) if inside else here for near in (less, more))
            e = minus - 2 * here + plus
            whole = 16 * (v[0] * dy + v[1] * dx)
            yield whole + (min(max((16 * (minus - plus) + e) // (2 * e), -8), 8) if e > 0 else 0)


def motion_between(first: Array, second: Array, b: int, a: int, start: int) -> Array:
    """F, (2, 2h, 2w), y then x. first, second: luma of the references."""
    h, w = (-(-side // 16) for side in first.shape)
    if start == 0:
        return np.zeros((2, 2 * h, 2 * w), np.int64)
    pyramids = [first], [second]
    for pyramid in pyramids:
        for _ in range(4):
            pyramid.append(halved(pyramid[-1]))
    found: Array | None = None
    for k in range(start + 1, 0, -1):
        level = Level(pyramids[0][k], pyramids[1][k], b, a + b)
        vectors = np.zeros((-(-2 * h // 2**k), -(-2 * w // 2**k), 2), np.int64)
        for i, j in np.ndindex(vectors.shape[:2]):
            vectors[i, j] = level.search(i, j, found)
        found = vectors
    assert found is not None
    for i, j in np.ndindex(h, w):
        found[i, j] = list(level.refined(i, j, (int(found[i, j, 0]), int(found[i, j, 1]))))
    return np.stack([finer(smooth(found[:, :, part])) for part in (0, 1)])


def smooth(v: Array) -> Array:
    i, j = np.meshgrid(*map(np.arange, v.shape), indexing="ij")
    total = sum((2 - abs(p)) * (2 - abs(q)) * read(v, i + p, j + q) for p in (-1, 0, 1) for q in (-1, 0, 1))
    return (total + 8) // 16


def finer(m: Array) -> Array:
    i, j = np.meshgrid(*map(np.arange, m.shape), indexing="ij")
    f = np.zeros((2 * m.shape[0], 2 * m.shape[1]), np.int64)
    for alpha, beta in np.ndindex(2, 2):
        up, side = 2 * alpha - 1, 2 * beta - 1
        four = 9 * m + 3 * read(m, i + up, j) + 3 * read(m, i, j + side) + read(m, i + up, j + side)
        f[alpha::2, beta::2] = (2 * four + 8) // 16
    return f


def flows_and_weight(references: list[list[Array]], b: int, a: int, start: int, s: Array) -> tuple[list[Array], Array]:
    """Flows to both, (2h, 2w, 2), and the weight. references: the two; s: samples of bimotion, (2h, 2w, 5)."""
    f = motion_between(references[0][0], references[1][0], b, a, start)[::-1].transpose(1, 2, 0)  # x, y
    share = (2 * f * b + a + b) // (2 * (a + b))
    flows = [np.clip(-share + s[:, :, 0:2], -4095, 4095), np.clip(f - share - s[:, :, 2:4], -4095, 4095)]
    return flows, np.clip(32 + (s[:, :, 4] + 1) // 2, 0, 64)


def prediction(references: list[list[Array]], b: int, a: int, start: int, s: Array) -> list[Array]:
    """Y, U, V. references, s: see `flows_and_weight`."""
    flows, weight = flows_and_weight(references, b, a, start, s)
    return [
        blended(*(plane_of(r[n], flow, n) for r, flow in zip(references, flows, strict=True)),
                weight, 4 if n else 8)
        for n in range(3)
    ]  # fmt: skip


def plane_of(plane: Array, flow: Array, number: int) -> Array:
    sharp = np.zeros(flow.shape[:2], np.int64)
    return predict(plane, flow.transpose(2, 0, 1), sharp, *((4, 32) if number else (8, 16)))


def blended(first: Array, second: Array, weight: Array, cell: int) -> Array:
    y, x = np.meshgrid(*map(np.arange, first.shape), indexing="ij")
    n = 2 * cell
    m = (bilinear(weight, 2 * y + 1 - cell, 2 * x + 1 - cell, n) + n * n // 2) // (n * n)
    return (64 * first + (second - first) * m + 32) // 64
