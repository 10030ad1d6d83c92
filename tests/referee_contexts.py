"""Main symbols that have contexts, written from FORMAT.md 12 alone: Python's integers, nothing of nvc."""

from referee import Array, Stream, must

T = (72, 91, 114, 144, 181, 228, 287, 362, 456, 575, 724, 912)
NEIGHBOURS = ((-1, 0), (0, -1), (-1, -1), (-1, 1))  # rows down, columns right: up, left, up-left, up-right

Plane = list[list[int]]


def around(plane: Plane, y: int, x: int, weights: list[int]) -> int:
    """The weighted sum of the neighbours of a position; 0 outside."""
    total = 0
    for weight, (down, right) in zip(weights, NEIGHBOURS, strict=True):
        if y + down >= 0 and 0 <= x + right < len(plane[0]):
            total += weight * plane[y + down][x + right]
    return total


def main_symbols(stream: Stream, tables: list[tuple[list[int], int]], index: Array, t: dict[str, Array]) -> list[Plane]:
    """All symbols s[c][y][x]. index: (M, h, w); t: tensors behind `context.`."""
    channels, h, w = index.shape
    predict, expected, row = (t[name].tolist() for name in ("predict", "expected", "row"))
    *a, b, r, prior = t["mix"].tolist()
    F, G = ([[0] * w for _ in range(h)] for _ in range(2))
    symbols = []
    for c in range(channels):
        s, m, e = ([[0] * w for _ in range(h)] for _ in range(3))
        for y in range(h):
            for x in range(w):
                q = int(index[c, y, x])
                observed = around(m, y, x, a) + b * F[y][x] + prior
                wanted = around(e, y, x, a) + b * G[y][x] + prior
                k = sum(256 * observed >= threshold * wanted for threshold in T)
                d = stream.value(*tables[row[q][k]])
                s[y][x] = (around(s, y, x, predict[c]) + 16) // 32 + d
                must(abs(s[y][x]) <= 32767, "symbol")
                m[y][x], e[y][x] = min(abs(d), 15) * 4096, expected[q]
        for y in range(h):
            for x in range(w):
                F[y][x] += m[y][x] - F[y][x] // 2**r
                G[y][x] += e[y][x] - G[y][x] // 2**r
        symbols.append(s)
    return symbols
