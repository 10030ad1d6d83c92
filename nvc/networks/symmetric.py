"""Motion between two references, in integers, as a decoder finds it too (FORMAT.md, "Bidirectional networks").

A block of the frame between them is looked for in both at once: with the displacement v from the first to the second in
all, the part of it that lies before the frame leads back to the first, the rest on to the second. So the vectors are
those of the frame's own grid and serve it at any distance from either, which flow from reference to reference does
not. Coarse to fine: blocks of 8x8 pixels of a pyramid of means, from a level that the stream names.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks.symmetric_kernels import BORDER, search_rows, sixteenths_rows
from nvc.networks.warp import grid_shape
from nvc.networks.warp_kernels import PAD, Plane, halve
from nvc.threads import spread

STARTS = (0, 2, 3, 4)  # pyramid level where the search begins, by what the stream says; 0: none, all vectors are 0
START_REACH = 5  # pixels of that level, either way
FINEST = 1  # the level that ends it: its blocks are 16x16 luma pixels
SIGNS = np.array([1, 1, -1, -1], np.int32)[:, None, None]  # of coded numbers: x, y before; x, y behind
_ROWS = 8  # of blocks, by one thread at a time


def motion_between(first: Frame420, second: Frame420, before: int, after: int, start: int) -> NDArray[np.int16]:
    """Motion from first to second through the frame `before` frames later than first, `after` earlier than second.

    start: index of STARTS. Returns (2, 2h, 2w) in 1/16 luma pixel, x then y, on the grid of 8x8 luma pixels.
    """
    level = STARTS[start]
    return _search(_pyramids(first, second, level), first, before, after, level)


def steadiest(
    first: Frame420, second: Frame420, before: int, after: int, flows: NDArray[np.float32]
) -> tuple[int, NDArray[np.int16]]:
    """The start whose motion leaves the least to be coded of the flows to both, and that motion. For encoders.

    flows: (4, 2h, 2w) luma pixels, to the first and to the second reference.
    """
    pyramids = _pyramids(first, second, max(STARTS))
    found = [_search(pyramids, first, before, after, level) for level in STARTS]
    left = []
    for motion in found:
        off = np.abs(np.concatenate(towards(motion, before, after)) / np.float32(16) - flows)
        left.append(float(np.log2(1 + 4 * off).sum()))  # about the bits that steps of a quarter take
    best = int(np.argmin(left))
    return best, found[best]


def _pyramids(first: Frame420, second: Frame420, levels: int) -> list[list[Plane]]:
    return [_pyramid(frame.y, levels) for frame in (first, second)]


def _search(pyramids: list[list[Plane]], like: Frame420, before: int, after: int, level: int) -> NDArray[np.int16]:
    """See `motion_between`; begins at a level of the pyramids, 0 for none."""
    grid = grid_shape(like.height, like.width)
    if level == 0:
        return np.zeros((2, *grid), np.int16)
    total = before + after
    vectors = np.zeros((0, 0, 2), np.int32)
    while level >= FINEST:
        one, two = (pyramid[level] for pyramid in pyramids)
        found = np.empty((-(-grid[0] >> level), -(-grid[1] >> level), 2), np.int32)
        around = vectors

        def rows(top: int, one: Plane = one, two: Plane = two, around: NDArray[np.int32] = around,
                 found: NDArray[np.int32] = found, last: bool = level == FINEST) -> None:  # fmt: skip
            part = found[top : top + _ROWS]
            search_rows(one, two, around, START_REACH, before, total, top, part)
            if last:
                sixteenths_rows(one, two, before, total, top, part)

        spread(rows, range(0, len(found), _ROWS))
        vectors = found
        level -= 1
    return _finer(_smooth(vectors))


def towards(motion: NDArray[np.int16], before: int, after: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """The flows (2, 2h, 2w) to the first and to the second reference that a motion between them amounts to."""
    total = before + after
    back = (2 * motion.astype(np.int32) * before + total) // (2 * total)  # as symmetric_kernels.before_share
    return (-back).astype(np.int16), (motion - back).astype(np.int16)


def _pyramid(luma: Plane, levels: int) -> list[Plane]:
    """Levels 0 to `levels`, each with BORDER repeated pixels around; the first is not needed, and empty."""
    found, plane = [np.zeros((0, 0), np.uint8)], luma
    for _ in range(levels):
        plane = halve(np.pad(plane, PAD, mode="edge"))
        found.append(np.pad(plane, ((BORDER, BORDER + 16), (BORDER, BORDER + 16)), mode="edge"))
    return found


def _smooth(vectors: NDArray[np.int32]) -> NDArray[np.int32]:
    """Means of 3x3 vectors, weighted 1 2 1 both ways; halves rounded up."""
    p = np.pad(vectors, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = p[:-2] + 2 * p[1:-1] + p[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:] + 8) >> 4


def _finer(vectors: NDArray[np.int32]) -> NDArray[np.int16]:
    """(h, w, 2) of 16x16 luma pixels, y then x in 1/16 half pixel -> (2, 2h, 2w), x then y in 1/16 luma pixel."""
    for axis in (0, 1):
        p = np.pad(vectors, [(1, 1) if n == axis else (0, 0) for n in range(3)], mode="edge")
        low, mid, high = (p.take(range(k, k + vectors.shape[axis]), axis) for k in range(3))
        both = np.stack([3 * mid + low, 3 * mid + high], axis + 1)
        vectors = both.reshape([2 * n if k == axis else n for k, n in enumerate(vectors.shape)])
    return ((vectors[:, :, ::-1].transpose(2, 0, 1) * 2 + 8) >> 4).astype(np.int16)
