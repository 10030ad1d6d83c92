"""Where anchors pay: long groups of B frames for what hardly moves, single P frames for what moves fast.

The frames of a group are coded as the codec would, but small and quickly, in groups of one length each: 4, then 2 and
8, then still shorter or longer ones for as long as that is better. What each stretch of them cost, in bits + λ times
squared error, makes the edges of a graph; its cheapest path is the answer. Measured in docs/lhbdc.md.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.gop import FramePlan, Gop
from nvc.codec.latents import Content
from nvc.codec.video_backend import Place, Reference, VideoBackend
from nvc.frames import Frame420
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.steps import STEP_ONE
from nvc.threads import spread

PIXELS = 480 * 272  # of a small picture, at most
SMALLEST = 32  # luma pixels of its sides, unless the video itself is smaller
FIRST = 4  # the length that is tried first: seldom far from the best

QUICK_B = 0.86  # of the cost of B frames, for which quick coding of small frames gives too much against P frames

Cost = Callable[[FrameType, Content], float]  # bits of a frame's latents


class GroupChooser:
    """Follows a sequence, group by group, with decoded small anchors of its own."""

    def __init__(self, backend: VideoBackend, gop: Gop, quality_code: int, cost: Cost) -> None:
        """cost: with the learned tables."""
        self._backend, self._gop, self._code, self._cost = backend.quick(), gop, quality_code, cost
        self._b_share = 1.0 if self._backend is backend else QUICK_B
        logs, level = np.log(LAMBDAS), quality_code / STEP_ONE
        self._lambda = float(np.exp(np.interp(level, range(len(logs)), logs)))
        self._anchor: Reference | None = None

    def lengths(self, frames: Sequence[Frame420], intra: bool) -> list[int]:
        """Of the groups that frames behind an anchor are best coded in; they add up to all. intra: as of `Gop.group`.

        Without an anchor before them, there is but one frame.
        """
        small = [smaller(frame) for frame in frames]
        if self._anchor is None or len(small) == 1:
            self._anchor = self._code_groups(small, [len(small)], intra)[1]
            return [len(small)]
        tried: dict[int, tuple[list[int], list[float], Reference]] = {}  # by size: lengths, what each costs, the anchor

        def attempt(size: int) -> None:
            lengths = _even(len(small), size)
            tried[size] = lengths, *self._code_groups(small, lengths, intra)

        def total(size: int) -> float:
            if size not in tried:
                attempt(size)
            return sum(tried[size][1])

        first = min(FIRST, _power(len(small)))
        attempt(first)
        others = [size for size in (first // 2, 2 * first) if 1 <= size <= _power(len(small))]
        if len(others) > 1:
            spread(attempt, others)
        for grow in (0.5, 2.0):
            size = first
            while 1 <= size * grow <= _power(len(small)) and total(int(size * grow)) < total(size):
                size = int(size * grow)
        edges: dict[tuple[int, int], float] = {}
        order = sorted(
            tried, key=lambda size: (max(size, first) // min(size, first), size)
        )  # whichever was ready first
        for size in order:
            lengths, costs, _ = tried[size]
            edges.update(zip(pairwise(np.cumsum([0, *lengths]).tolist()), costs, strict=True))
        self._anchor = tried[min(order, key=total)][2]
        return _cheapest(edges, len(small))

    def _code_groups(
        self, frames: Sequence[Frame420], lengths: Sequence[int], intra: bool
    ) -> tuple[list[float], Reference]:
        """What each group costs, and the last anchor as decoded."""
        decoded: dict[int, Reference] = {} if self._anchor is None else {-1: self._anchor}
        costs, last = [], -1
        for length in lengths:
            cost = 0.0
            for plan in self._gop.group(last + length, last, intra and last + length == len(frames) - 1):
                cost += self._code_frame(plan, frames[plan.display], decoded)
            costs.append(cost)
            last += length
            decoded = {last: decoded[last]}
        return costs, decoded[last]

    def _code_frame(self, plan: FramePlan, frame: Frame420, decoded: dict[int, Reference]) -> float:
        references = [decoded[display] for display in plan.references]
        distances = [display - plan.display for display in plan.references]
        content, made = self._backend.encode(frame, Place(plan.type, references, distances, plan.level), self._code)
        decoded[plan.display] = made
        cost = self._cost(plan.type, content) + self._lambda * _error(frame, made.frame)
        return cost * self._b_share if plan.type == FrameType.B else cost


def _power(count: int) -> int:
    """The smallest power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()


def _even(count: int, size: int) -> list[int]:
    """Groups of `size` frames, the last of what is left."""
    return [size] * (count // size) + [count % size] * (count % size > 0)


def _cheapest(edges: Mapping[tuple[int, int], float], count: int) -> list[int]:
    """Lengths of the edges on the path from 0 to `count` that costs least."""
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for (start, end), cost in sorted(edges.items()):
        if start in best:
            whole = best[start][0] + cost, [*best[start][1], end - start]
            best[end] = min(best.get(end, whole), whole)
    return best[count][1]


def _error(a: Frame420, b: Frame420) -> float:
    """Squared error of the planes, weighted (6·Y + U + V)/8 per sample of their own, for as many pixels as luma has."""
    y, u, v = (float(np.square(p.astype(np.float32) - q).mean()) for p, q in zip(a.planes, b.planes, strict=True))
    return (6 * y + u + v) / 8 * a.y.size


def smaller(frame: Frame420) -> Frame420:
    """At half its size or less: means of squares of pixels."""
    factor = 2
    while (frame.width // factor) * (frame.height // factor) > PIXELS:
        factor *= 2
    if min(frame.width, frame.height) < SMALLEST * factor:
        return frame
    rows, columns = (side // factor // 2 for side in frame.y.shape)
    y, u, v = (
        _means(plane, shape, factor)
        for plane, shape in zip(frame.planes, [(2 * rows, 2 * columns), *[(rows, columns)] * 2], strict=True)
    )
    return Frame420(y, u, v)


def _means(plane: NDArray[np.uint8], shape: tuple[int, int], factor: int) -> NDArray[np.uint8]:
    rows, columns = shape
    cut = plane[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    sums = cut.sum((1, 3), dtype=np.uint32)
    return ((sums + factor * factor // 2) // (factor * factor)).astype(np.uint8)
