"""The compiled part of `planes`, and of what `video_analysis` makes of them."""

import numpy as np

from nvc.entropy_coding.jit import njit


@njit
def pad_rows(y, u, v, top, out):  # type: ignore[no-untyped-def]
    """Fills rows of the planes from `top` on, (rows, W/2, 6); the last row and column of each plane are repeated."""
    high, wide = y.shape
    half_high, half_wide = u.shape
    for row in range(out.shape[0]):
        above = y[min(2 * (top + row), high - 1)]
        below = y[min(2 * (top + row) + 1, high - 1)]
        one, two = u[min(top + row, half_high - 1)], v[min(top + row, half_high - 1)]
        for x in range(out.shape[1]):
            left, right, place = min(2 * x, wide - 1), min(2 * x + 1, wide - 1), out[row, x]
            place[0], place[1], place[2], place[3] = above[left], above[right], below[left], below[right]
            place[4], place[5] = one[min(x, half_wide - 1)], two[min(x, half_wide - 1)]


@njit
def beside_rows(planes, prediction, out):  # type: ignore[no-untyped-def]
    """Fills rows (8h, 8w, 12) with what the prediction lacks, in 0..1, and with the prediction without grey."""
    unit = np.float32(1 / 255)
    for row in range(out.shape[0]):
        for x in range(out.shape[1]):
            for k in range(6):
                known = np.int32(prediction[row, x, k])
                out[row, x, k] = unit * np.float32(np.int32(planes[row, x, k]) - known)
                out[row, x, 6 + k] = unit * np.float32(known - np.int32(128))
