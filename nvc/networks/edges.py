"""Edges of predicted blocks smoothed where the picture is smooth on both sides, in integers (FORMAT.md 18, "Edges").

The filter is the normal one of H.265 (Norkin et al. 2012), its two thresholds proportional to the step.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.frames import Frame420
from nvc.networks.steps import QualityCode, steps

_APART = 8  # samples from edge to edge
_GREY_BITS = 6  # steps are in 1/64 grey level
_CHANGE, _CHANGE_BITS = 10, 12  # of a step: by how much a sample changes at most


def smooth_edges(
    frame: Frame420, whole: NDArray[np.uint8], log_step: NDArray[np.int32], quality_code: QualityCode
) -> Frame420:
    """A frame with smoother edges of blocks. whole: (h, w), squares whose luma is one block of 16x16; log_step: (8, 2).

    Those of whole columns first, then those of whole rows.
    """
    planes = [plane.copy() for plane in frame.planes]
    mantissa, shift = steps(log_step, quality_code)
    apart = np.zeros_like(whole)  # chroma has no blocks of 16x16
    for number, plane in enumerate(planes):
        step = int(mantissa[min(number, 1)]) >> int(shift[min(number, 1)])
        smooth, change = max(step >> _GREY_BITS, 1), max(step * _CHANGE >> _CHANGE_BITS, 1)
        inside = whole if number == 0 else apart
        _smooth(plane, inside, smooth, change)
        _smooth(plane.T, inside.T, smooth, change)
    return Frame420(*planes)


@njit
def _smooth(plane, whole, smooth, change):  # type: ignore[no-untyped-def]
    """Edges between columns. smooth: second differences of both sides below which an edge is smoothed."""
    height, width = plane.shape
    half = change >> 1
    for y in range(height):
        for x in range(_APART, width - 2, _APART):
            if (x & _APART) and whole[y >> 4, x >> 4]:
                continue
            p2, p1, p0 = np.int64(plane[y, x - 3]), np.int64(plane[y, x - 2]), np.int64(plane[y, x - 1])
            q0, q1, q2 = np.int64(plane[y, x]), np.int64(plane[y, x + 1]), np.int64(plane[y, x + 2])
            if abs(p2 - 2 * p1 + p0) + abs(q2 - 2 * q1 + q0) >= smooth:
                continue
            step = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) >> 4
            if abs(step) >= 10 * change:
                continue
            step = min(max(step, -change), change)
            before = min(max((((p2 + p0 + 1) >> 1) - p1 + step) >> 1, -half), half)
            behind = min(max((((q2 + q0 + 1) >> 1) - q1 - step) >> 1, -half), half)
            plane[y, x - 2] = min(max(p1 + before, 0), 255)
            plane[y, x - 1] = min(max(p0 + step, 0), 255)
            plane[y, x] = min(max(q0 - step, 0), 255)
            plane[y, x + 1] = min(max(q1 + behind, 0), 255)
