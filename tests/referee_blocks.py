"""Predicted blocks of I frames, written from FORMAT.md 18 alone: Python and numpy int64, nothing of nvc."""

from dataclasses import dataclass

import numpy as np
from referee import Array, Stream, must
from referee_coefficients import Chances, lacking
from referee_coefficients import block as read_block

SHAPES = {"luma_8": (25, 64), "luma_16": (25, 256), "chroma": (25, 64), "log_step": (8, 2), "chances": (8, 388)}
KINDS = "luma_8", "luma_16", "chroma", "chroma"  # of the trees, t
SAME = 356


@dataclass
class Block:
    """What a payload says of one. coefficients: None where it has none; last: the bottom right one of four of 8x8."""

    plane: int
    top: int
    left: int
    kind: str
    predictor: int
    coefficients: Array | None
    last: bool = False


def checked(tensors: dict[str, Array]) -> dict[str, Array]:  # 9
    """Those of `decoder.predictors.`: all of them, or none."""
    if not tensors:
        return tensors
    must(tensors.keys() == SHAPES.keys(), "predictors: some of the tensors")
    for name, shape in SHAPES.items():
        value = tensors[name]
        if name in KINDS:
            must(value.shape[1:] == shape and len(value) in (2, 4, 8, 16, 32), f"{name}: shape")
            must(bool((np.abs(value).sum(1) <= 32767).all()), f"{name}: too large")
        else:
            low, high = (0, 57344) if name == "log_step" else (128, 65408)
            must(value.shape == shape and bool(((low <= value) & (value <= high)).all()), name)
    return tensors


class Parse:
    """The squares of one frame. counts: K of each tree."""

    def __init__(self, stream: Stream, chances: Chances, counts: list[int], height: int, width: int) -> None:
        self.stream, self.chances, self.counts = stream, chances, counts
        self.height, self.width = height, width
        h, w = (height + 15) // 16, (width + 15) // 16
        # One row and column of what is not there, before the first.
        self.whole = np.zeros((h + 1, w + 1), int)
        self.cells = np.zeros((2 * h + 1, 2 * w + 1), int)  # 1: has coefficients
        self.found: list[Block] = []
        for y, x in np.ndindex(h, w):
            self.chroma(y, x, self.luma(y, x))

    def bit(self, number: int) -> int:
        return self.chances.bit(self.stream, number)

    def tree(self, t: int) -> int:
        node = 1
        while node < self.counts[t]:
            node = 2 * node + self.bit(260 + 32 * t + node)
        return node - self.counts[t]

    def coefficients(self, coded: int, number: int, side: int) -> Array | None:
        return read_block(self.stream, self.chances, number, side) if coded else None

    def luma(self, y: int, x: int) -> int:
        """Whether the square has any coefficients of luma."""
        whole, cells = self.whole, self.cells
        whole[y + 1, x + 1] = self.bit(6 + int(whole[y + 1, x] + whole[y, x + 1]))
        if whole[y + 1, x + 1]:
            predictor = self.tree(1)
            coded = self.bit(12)
            cells[2 * y + 1 : 2 * y + 3, 2 * x + 1 : 2 * x + 3] = coded
            self.found.append(Block(0, 16 * y, 16 * x, "luma_16", predictor, self.coefficients(coded, 1, 16)))
            return coded
        some = 0
        for a, b in np.ndindex(2, 2):
            i, j = 2 * y + a, 2 * x + b
            if 8 * i >= self.height or 8 * j >= self.width:
                continue
            predictor = self.tree(0)
            coded = self.bit(9 + int(cells[i + 1, j] + cells[i, j + 1]))
            cells[i + 1, j + 1] = coded
            last = (a, b) == (1, 1)
            self.found.append(Block(0, 8 * i, 8 * j, "luma_8", predictor, self.coefficients(coded, 0, 8), last))
            some |= coded
        return some

    def chroma(self, y: int, x: int, some: int) -> None:
        predictor = self.tree(2)
        u = self.bit(13 + 2 * some)
        self.found.append(Block(1, 8 * y, 8 * x, "chroma", predictor, self.coefficients(u, 2, 8)))
        if not self.bit(SAME):
            predictor = self.tree(3)
        v = self.bit(13 + 2 * some + u)
        self.found.append(Block(2, 8 * y, 8 * x, "chroma", predictor, self.coefficients(v, 2, 8)))


def beside(plane: Array, top: int, left: int, side: int, last: bool) -> tuple[Array, Array, int]:
    """above, left, corner."""
    if top == 0 and left == 0:
        return np.full(2 * side, 128), np.full(side, 128), 128
    height, width = plane.shape
    limit = left + (side if last else 2 * side) - 1
    rows = np.minimum(top + np.arange(side), height - 1)
    columns = np.minimum(left + np.arange(2 * side), min(limit, width - 1))
    if top == 0:
        before = plane[rows, left - 1]
        return np.full(2 * side, before[0]), before, int(before[0])
    above = plane[top - 1, columns]
    if left == 0:
        return above, np.full(side, above[0]), int(above[0])
    return above, plane[rows, left - 1], int(plane[top - 1, left - 1])


def predicted(weight: Array, above: Array, left: Array, corner: int) -> Array:
    """(side, side). weight: (25, side²), of one predictor."""
    side, d = len(left), 10
    if side == 16:
        above, left, corner, d = above[0::2] + above[1::2], left[0::2] + left[1::2], 2 * corner, 11
    f = np.concatenate([[corner], above, left])
    total = f @ weight
    return np.clip((total + (1 << (d - 1))) >> d, 0, 255).reshape(side, side)


def edge(line: Array, x: int, smooth: int, change: int) -> None:
    """Smooths one edge, that between samples x - 1 and x of a line."""
    p2, p1, p0, q0, q1, q2 = (int(sample) for sample in line[x - 3 : x + 3])
    d = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) // 16
    if abs(p2 - 2 * p1 + p0) + abs(q2 - 2 * q1 + q0) >= smooth or abs(d) >= 10 * change:
        return
    half = change // 2
    d = min(max(d, -change), change)
    new = [
        p1 + min(max(((p2 + p0 + 1) // 2 - p1 + d) // 2, -half), half),
        p0 + d,
        q0 - d,
        q1 + min(max(((q2 + q0 + 1) // 2 - q1 - d) // 2, -half), half),
    ]
    line[x - 2 : x + 2] = np.clip(new, 0, 255)


def smoothed(planes: list[Array], whole: Array, steps: list[tuple[int, int]]) -> list[Array]:
    """The same planes. whole: of squares; steps: T and e of luma and chroma."""
    for number, plane in enumerate(planes):
        t, e = steps[min(number, 1)]
        s = t // (1 << e)
        smooth, change = max(s // 64, 1), max(10 * s // 4096, 1)
        for lines, inside in ((plane, whole), (plane.T, whole.T)):  # of columns first
            for y, line in enumerate(lines):
                for x in range(8, len(line) - 2, 8):
                    if number or x % 16 == 0 or not inside[y // 16, x // 16]:
                        edge(line, x, smooth, change)
    return planes


def frame(
    stream: Stream,
    choice: int,
    tensors: dict[str, Array],
    level: int,
    steps: list[tuple[int, int]],
    height: int,
    width: int,
) -> list[Array]:
    """Planes of the frame whose squares come next. choice: 1 or 2; steps: T and e of luma and chroma."""
    chances = Chances(tensors["chances"][level - 1])
    parse = Parse(stream, chances, [len(tensors[kind]) for kind in KINDS], height, width)
    half = (height + 1) // 2, (width + 1) // 2
    planes = [np.zeros(shape, np.int64) for shape in ((height, width), half, half)]
    for block in parse.found:
        plane, side = planes[block.plane], 16 if block.kind == "luma_16" else 8
        around = beside(plane, block.top, block.left, side, block.last)
        made = predicted(tensors[block.kind][block.predictor], *around)
        if block.coefficients is not None:
            made = np.clip(made + lacking(block.coefficients, *steps[min(block.plane, 1)]), 0, 255)
        part = plane[block.top : block.top + side, block.left : block.left + side]
        part[:] = made[: part.shape[0], : part.shape[1]]
    return smoothed(planes, parse.whole[1:, 1:], steps) if choice == 2 else planes
