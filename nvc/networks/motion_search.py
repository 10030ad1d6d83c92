"""Motion for the encoder: the flow with which a reference predicts a frame best, smooth where that costs little.

    OpenCV's DIS optical flow of small pictures ─ mean of every grid cell ─ Gauss-Newton steps at half and full size

A step linearises the prediction in the vectors of the grid, interpolation included, and lowers its squared error plus
`smoothness` times the squared differences of neighbouring vectors. All vectors move at once, by a separable bound of
that sum (Erdogan and Fessler 1999: the weights with which a pixel depends on four vectors add up to one, so each of the
four may take the whole pixel with its own weight), so that a step cannot raise it. docs/motion.md has measurements.
Nothing here matters to a decoder.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks.motion_kernels import SUMS, accumulate
from nvc.networks.warp import FLOW_LIMIT, Pyramid, grid_shape, halvings, predict_plane, stack
from nvc.networks.warp_kernels import PAD, Plane
from nvc.threads import spread

Vectors = NDArray[np.float64]  # (2, 2h, 2w), luma pixels

CELL = 8  # luma pixels of the grid, both ways
SMOOTHNESS = 200.0  # squared grey levels for neighbours that differ by one pixel
_SMALLEST = 64  # rows and columns: DIS reads beyond pictures that are much smaller
_LARGEST = 1 << 17  # pixels for DIS, about: 480x270; its time would be most of the search's
_FURTHEST = 2.0  # luma pixels in one step: linear models do not hold further
_BANDS = 8  # of grid rows, by one thread at a time


@dataclass(frozen=True)
class Preset:
    """How much is done."""

    halvings: int  # before optical flow; more for pictures that are larger than _LARGEST then
    half: int  # steps at half size
    full: int  # steps at full size


PRESETS = {"fast": Preset(2, 1, 1), "medium": Preset(2, 2, 2), "slow": Preset(1, 2, 2), "half": Preset(1, 2, 0)}


def estimate_all(
    current: Frame420, references: Sequence[Frame420], preset: str = "medium", smoothness: float = SMOOTHNESS
) -> list[NDArray[np.float32]]:
    """`estimate` for each reference, side by side."""
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(references)

    def work(which: int) -> None:
        found[which] = estimate(current, references[which], preset, smoothness)

    if len(references) == 1:
        work(0)  # with all threads for itself
    else:
        spread(work, range(len(references)))
    return found


def estimate(
    current: Frame420, reference: Frame420, preset: str = "medium", smoothness: float = SMOOTHNESS
) -> NDArray[np.float32]:
    """Flow from current to reference (`current(p)` is about `reference(p + flow(p))`), by luma alone.

    Returns (2, 2h, 2w) in luma pixels, x then y, h = ceil(height / 16), w = ceil(width / 16), within the range that
    streams can hold. The same for the same frames, whatever the threads. KeyError for a preset that does not exist.
    """
    steps = PRESETS[preset]
    grid, count = grid_shape(current.height, current.width), steps.halvings
    while current.y.size >> 2 * count > _LARGEST:
        count += 1
    levels = [halvings(frame.y, 1 + count) for frame in (current, reference)]
    flow = optical_flow(levels[0], levels[1], grid)
    for level, count in ((1, steps.half), (0, steps.full)):
        if count:
            picture = _inside(levels[0][level])
            pyramid = stack(levels[1][level : level + 1])
            for _ in range(count):
                flow = _step(flow, picture, pyramid, level, smoothness)
    limit = FLOW_LIMIT / 16
    return flow.clip(-limit, limit).astype(np.float32)


def optical_flow(current: list[Plane], reference: list[Plane], grid: tuple[int, int]) -> Vectors:
    """DIS of the last level (see `halvings`) that is large enough, or of the first; averaged over the grid's cells."""
    level = max([0, *(k for k, plane in enumerate(current) if min(_inside(plane).shape) >= _SMALLEST)])
    cell = CELL >> level
    shape = [max(_SMALLEST, cell * n) for n in grid]
    pair = [
        np.pad(plane, [(0, size - side) for size, side in zip(shape, plane.shape, strict=True)], mode="edge")
        for plane in (_inside(current[level]), _inside(reference[level]))
    ]
    dense = _dense_flow(*pair)[: cell * grid[0], : cell * grid[1]]  # (rows, columns, 2)
    means = dense.reshape(grid[0], cell, grid[1], cell, 2).mean((1, 3), dtype=np.float64)
    return means.transpose(2, 0, 1) * (1 << level)


def _dense_flow(current: Plane, reference: Plane) -> NDArray[np.float32]:
    """DIS, medium. It cuts the picture into as many strips as there are threads, and finds other flow at the cuts."""
    with _one_thread:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return dis.calc(current, reference, None)  # type: ignore[call-overload]


class _OneThread:
    """OpenCV with one thread while any is within; as it was when all are out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = self._threads = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._threads = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                cv2.setNumThreads(self._threads)


_one_thread = _OneThread()


def _step(flow: Vectors, picture: Plane, pyramid: Pyramid, level: int, smoothness: float) -> Vectors:
    """All vectors moved at once. picture, pyramid: the frame and its reference, at full (level 0) or half size (1)."""
    sixteenths = np.round(flow * 16).clip(-FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
    still = np.zeros(flow.shape[1:], np.uint8)
    predicted = predict_plane(pyramid, picture.shape, sixteenths, still, chroma=level == 1)
    xx, xy, yy, xe, ye = _sums(picture, predicted, CELL >> level, flow.shape[1:])
    p = np.pad(flow, ((0, 0), (1, 1), (1, 1)), mode="edge")
    unevenness = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:] - 4 * flow
    # The bound on the unevenness is twice its own curvature, 4 + 4; a little more keeps flat pictures solvable.
    xx, yy = xx + 8.1 * smoothness, yy + 8.1 * smoothness
    xe, ye = xe + smoothness * unevenness[0], ye + smoothness * unevenness[1]
    move = np.stack([yy * xe - xy * ye, xx * ye - xy * xe]) / (xx * yy - xy * xy)
    return flow + move.clip(-_FURTHEST, _FURTHEST)


def _sums(picture: Plane, predicted: Plane, cell: int, grid: tuple[int, ...]) -> NDArray[np.float64]:
    """(SUMS, 2h, 2w): gradients per luma pixel, their products and those with the error, as if at full size."""
    bands = np.empty((grid[0] + 1, 2, grid[1] + 2, SUMS), np.int64)

    def part(first: int) -> None:
        accumulate(picture, predicted, cell, first, bands[first : first + _BANDS])

    spread(part, range(0, len(bands), _BANDS))
    total = bands[:-1, 1] + bands[1:, 0]
    total[0] += bands[0, 0]  # beyond the outermost centres their vectors hold alone
    total[-1] += bands[-1, 1]
    total[:, 1] += total[:, 0]
    total[:, -2] += total[:, -1]
    shrunk = CELL // cell  # a gradient is so many times smaller per luma pixel, and a pixel stands for shrunk² of them
    units = np.array([1 / 16, 1 / 16, 1 / 16, shrunk / 4, shrunk / 4]) / (2 * cell) ** 2
    return (total[:, 1:-1] * units).transpose(2, 0, 1)


def _inside(padded: Plane) -> Plane:
    return padded[PAD:-PAD, PAD:-PAD]
