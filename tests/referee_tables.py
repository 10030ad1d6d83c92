"""Replaced tables, written from FORMAT.md 13 alone: Python's integers, nothing of nvc."""

import math
from fractions import Fraction

from referee import Stream, must

SIDE, MAIN = "side", "main"
PHI = [math.floor((Fraction(math.erf(i / 1024 / math.sqrt(2))) + 1) * 2**29 + Fraction(1, 2)) for i in range(8193)]
RECIPROCAL = [round(2 ** (30 + i / 64)) for i in range(64)]
FORMS = [9000, 1000, 500, 36000, 14000, 5035, 1]


def phi(d: int, code: int) -> int:
    if d < 0:
        return 2**30 - phi(-d, code)
    e = (code + 63) // 64
    t = min(d, 2**27) * RECIPROCAL[64 * e - code] // 2 ** (14 + e)
    if t >= 2**27:
        return 2**30
    a, r = divmod(t, 16384)
    return PHI[a] + ((PHI[a + 1] - PHI[a]) * r + 8192) // 16384


def replacement(kind: str, k: int, codes: list[int], offset: int, m: int, escape: int) -> list[int]:
    """Frequencies of all m + 1 symbols of the table that replaces one of this offset and escape."""
    if kind == SIDE:
        means = [(code * (m - 1) * 4096 + 511) // 1023 for code in codes[:k]]
        scales, stick = codes[k : 2 * k], codes[2 * k :]
    else:
        means, scales, stick = [-4096 * offset] * k, codes[:k], codes[k:]
    left, weights = 65536, []
    for code in stick:
        weights.append(left * (2 * code + 1) // 2048)
        left -= weights[-1]
    weights.append(left)
    mass = [
        sum(
            w * (phi(4096 * j + 2048 - mean, scale) - phi(4096 * j - 2048 - mean, scale))
            for w, mean, scale in zip(weights, means, scales, strict=True)
        )
        for j in range(m)
    ]
    total = 65536 - escape
    large = [j for j in range(m) if mass[j] * total >= 2 * sum(mass)]
    rest, spare = sum(mass[j] for j in large), total - (m - len(large))
    frequency, running, earlier = [1] * m + [escape], 0, 0
    for j in large:
        running += mass[j]
        frequency[j] = running * spare // rest - earlier
        earlier += frequency[j]
    return frequency


class Part:
    """A part of one information: learned tables as (frequencies, offset), the candidates' numbers, and the state."""

    def __init__(self, kind: str, tables: list[tuple[list[int], int]], candidates: list[int]) -> None:
        self.kind, self.tables, self.candidates = kind, tables, candidates
        self.intra()

    def intra(self) -> None:
        self.before: list[tuple[int, list[int]] | None] = [None] * len(self.candidates)
        self.chance, self.counter = [8192, 49152, 49152], [2, 2, 2]

    def plain(self) -> list[tuple[list[int], int]]:
        """The tables of a frame that is not re-parameterised."""
        self.before = [None] * len(self.candidates)
        return self.tables

    def replaced(self, stream: Stream) -> list[tuple[list[int], int]]:
        """The tables of a frame that is."""
        tables = list(self.tables)
        for i, number in enumerate(self.candidates):
            before = self.before[i]
            now = None
            if self._mask(stream, 1 if before else 0):
                now = before if before and self._mask(stream, 2) else self._codes(stream)
                frequency, offset = self.tables[number]
                tables[number] = (replacement(self.kind, *now, offset, len(frequency) - 1, frequency[-1]), offset)
            self.before[i] = now
        return tables

    def _mask(self, stream: Stream, q: int) -> int:
        one = 512 * (2 * (self.chance[q] // 1024) + 1)
        bit = stream.value([65535 - one, one, 1], 0)
        must(0 <= bit <= 1, "mask")
        self.chance[q] += (65535 * bit - self.chance[q]) // (self.counter[q] + 2)
        self.counter[q] = min(self.counter[q] + 1, 30)
        return bit

    def _codes(self, stream: Stream) -> tuple[int, list[int]]:
        form = stream.value(FORMS, 0)
        must(0 <= form <= 5, "form")
        k = form % 3 + 1
        count = 3 * k - 1 if self.kind == SIDE else 2 * k - 1
        return k, [bits(stream, 10) if form < 3 else 16 * bits(stream, 6) + 8 for _ in range(count)]


def bits(stream: Stream, w: int) -> int:
    v = stream.x % 65536 // 2 ** (16 - w)
    stream.x = 2 ** (16 - w) * (stream.x // 65536) + stream.x % 2 ** (16 - w)
    stream.refill()
    return v
