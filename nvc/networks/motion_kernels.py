"""The compiled part of `motion_search`: what every vector of the grid would gain by moving."""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.networks.warp_kernels import Plane

SUMS = 5  # gx², gx·gy, gy², gx·error, gy·error


@njit
def accumulate(current: Plane, predicted: Plane, cell: int, first: int, out: NDArray[np.int64]) -> None:
    """Sums over bands of picture rows, weighted as the grid's vectors are where they are interpolated.

    out: (bands, 2, C + 2, SUMS), filled. Band b lies between the centres of grid rows first + b - 1 and first + b, and
    holds the sums for the upper one, then the lower one; of C columns, with one more on either side for what the border
    takes. Weights are in 1/(2 cell)². A gradient is in quarters of a grey level per pixel: the differences across two
    pixels in both pictures, added up; an error in grey levels.
    """
    height, width = current.shape
    columns = out.shape[2] - 2
    whole = 2 * cell
    out[:] = 0
    for band in range(out.shape[0]):
        for row in range(cell):
            y = cell * (first + band) - cell // 2 + row
            if not 0 <= y < height:
                continue
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            down = 2 * row + 1
            for column in range(columns + 1):  # between the centres of columns column - 1 and column
                left = cell * column - cell // 2
                xx = xy = yy = xe = ye = 0
                right_xx = right_xy = right_yy = right_xe = right_ye = 0
                for x in range(max(left, 0), min(left + cell, width)):
                    before, behind = max(x - 1, 0), min(x + 1, width - 1)
                    gx = int(
                        np.int32(current[y, behind]) - np.int32(current[y, before])
                        + np.int32(predicted[y, behind]) - np.int32(predicted[y, before])
                    )  # fmt: skip
                    gy = int(
                        np.int32(current[below, x]) - np.int32(current[above, x])
                        + np.int32(predicted[below, x]) - np.int32(predicted[above, x])
                    )  # fmt: skip
                    error = int(np.int32(current[y, x]) - np.int32(predicted[y, x]))
                    share = 2 * (x - left) + 1
                    xx += gx * gx
                    xy += gx * gy
                    yy += gy * gy
                    xe += gx * error
                    ye += gy * error
                    right_xx += share * gx * gx
                    right_xy += share * gx * gy
                    right_yy += share * gy * gy
                    right_xe += share * gx * error
                    right_ye += share * gy * error
                sums = (xx, xy, yy, xe, ye)
                rights = (right_xx, right_xy, right_yy, right_xe, right_ye)
                for k in range(SUMS):
                    here, right = whole * sums[k] - rights[k], rights[k]
                    out[band, 0, column, k] += (whole - down) * here
                    out[band, 1, column, k] += down * here
                    out[band, 0, column + 1, k] += (whole - down) * right
                    out[band, 1, column + 1, k] += down * right
