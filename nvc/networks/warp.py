"""Motion compensation in integers: the prediction of a frame from a reference, a flow and a scale (FORMAT.md, "Motion
compensation"; its words and signs are used here).

Every sample is one rounding of an exact integer sum, so that threads, machines and the order of the work do not matter.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks.sharp_kernels import sharp_rows, words
from nvc.networks.warp_kernels import PAD, Layout, Plane, halve, warp_rows
from nvc.threads import spread

FLOW_LIMIT = 4095  # 1/16 luma pixel, either way
LEVELS = 4
SCALE_LIMIT = 16 * (LEVELS - 1)  # 1/16 level
Pyramid = tuple[Plane, Layout]  # the pixels of its levels, (n,), and where they are, (levels, 4): see warp_kernels
_ROWS = 64  # of a plane, by one thread at a time
_WORDS = 1 << 30  # pixels of a plane whose places sharp_kernels can count


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of flow and scale for a frame of so many luma pixels: two of each for every 16 pixels."""
    return 2 * -(-height // 16), 2 * -(-width // 16)


def predict(reference: Frame420, flow: NDArray[np.int16], scale: NDArray[np.uint8]) -> Frame420:
    """What the flow makes of the reference: `prediction(p) = reference(p + flow(p))`, blurred where scale says so.

    flow: (2, 2h, 2w) in 1/16 luma pixel, x then y, h = ceil(height / 16) and w = ceil(width / 16); ±FLOW_LIMIT in
    streams, any int16 here. scale: (2h, 2w) in 1/16 pyramid level, 0..SCALE_LIMIT; 0 = sharp.
    ValueError for other shapes, types or scales.
    """
    grid = grid_shape(reference.height, reference.width)
    if flow.shape != (2, *grid) or scale.shape != grid or flow.dtype != np.int16 or scale.dtype != np.uint8:
        raise ValueError(f"flow {flow.shape} {flow.dtype}, scale {scale.shape} {scale.dtype}: the grid is {grid}")
    if scale.max() > SCALE_LIMIT:
        raise ValueError(f"scale {scale.max()} is beyond {SCALE_LIMIT}")
    count = LEVELS if scale.any() else 1
    y, u, v = (
        predict_plane(stack(halvings(plane, count)), plane.shape, flow, scale, chroma=number > 0)
        for number, plane in enumerate(reference.planes)
    )
    return Frame420(y, u, v)


def predict_plane(
    pyramid: Pyramid, shape: tuple[int, ...], flow: NDArray[np.int16], scale: NDArray[np.uint8], *, chroma: bool
) -> Plane:
    """One plane of `shape` of a prediction, luma or of chroma's size. pyramid: of LEVELS, or of one if scale is 0."""
    out = np.empty(shape, np.uint8)
    flow, scale = np.ascontiguousarray(flow), np.ascontiguousarray(scale)
    pixels, layout = pyramid
    sharp = None if scale.any() or pixels.size > _WORDS else words(pixels, layout)

    def strip(top: int) -> None:
        rows = out[top : top + _ROWS]
        if sharp is not None:
            sharp_rows(sharp, layout, flow, int(chroma), top, rows)
        else:
            warp_rows(pixels, layout, flow, scale, int(chroma), top, rows)

    spread(strip, range(0, shape[0], _ROWS))
    return out


def halvings(plane: Plane, count: int) -> list[Plane]:
    """`count` levels of the pyramid, from the plane itself, each padded by PAD repeated pixels."""
    levels = [np.pad(plane, PAD, mode="edge")]
    while len(levels) < count:
        levels.append(np.pad(halve(levels[-1]), PAD, mode="edge"))
    return levels


def stack(levels: list[Plane]) -> Pyramid:
    """Padded levels, one behind the other."""
    starts = itertools.accumulate((level.size for level in levels), initial=0)
    layout = [
        (start, level.shape[1], *(n - 2 * PAD for n in level.shape))
        for start, level in zip(starts, levels, strict=False)
    ]
    return np.concatenate([level.ravel() for level in levels]), np.array(layout, np.int64)
