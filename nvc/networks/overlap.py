"""Overlapped block motion compensation in integers (FORMAT.md 16, "Overlapped prediction").

Each vector predicts the blocks round its cell, and what the four next to a pixel predict is mixed by distance
(Orchard and Sullivan 1994; there with windows that were optimised). Where motion has an edge, vectors that are mixed
stretch the picture across it; here one picture fades into another.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks.filters import TABLES, Filter
from nvc.networks.overlap_kernels import overlapped_rows
from nvc.networks.warp import Pyramid, grid_shape, halvings, stack
from nvc.networks.warp_kernels import Plane
from nvc.threads import spread

_ROWS = 8  # of squares, by one thread at a time


def predict_overlapped(reference: Frame420, flow: NDArray[np.int16], kind: Filter = Filter.FOUR) -> Frame420:
    """What the flow makes of the reference.

    flow: (2, 2h, 2w) in 1/16 luma pixel, x then y, h = ceil(height / 16) and w = ceil(width / 16).
    ValueError for another shape or type.
    """
    grid = grid_shape(reference.height, reference.width)
    if flow.shape != (2, *grid) or flow.dtype != np.int16:
        raise ValueError(f"flow {flow.shape} {flow.dtype}: the grid is {grid}")
    y, u, v = (
        overlapped_plane(stack(halvings(plane, 1)), plane.shape, flow, kind, chroma=number > 0)
        for number, plane in enumerate(reference.planes)
    )
    return Frame420(y, u, v)


def overlapped_plane(
    pyramid: Pyramid, shape: tuple[int, ...], flow: NDArray[np.int16], kind: Filter, *, chroma: bool
) -> Plane:
    """One plane of `shape` of a prediction, luma or of chroma's size. pyramid: of one level."""
    out = np.empty(shape, np.uint8)
    pixels, layout = pyramid
    flow, taps = np.ascontiguousarray(flow), TABLES[kind]

    def strip(first: int) -> None:
        overlapped_rows(pixels, layout, flow, taps, int(chroma), first, min(first + _ROWS, flow.shape[1] + 1), out)

    spread(strip, range(0, flow.shape[1] + 1, _ROWS))
    return out
