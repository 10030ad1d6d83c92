"""What is left to do with products of 8-bit planes, in one go: sums, rounding, place. For engines that make such."""

from typing import Any

import numpy as np

from nvc.entropy_coding.jit import njit


@njit
def place_blocks(
    high: Any, low: Any, offset: Any, network: Any, block: int, up: int, shift: int, least: int, most: int, out: Any
) -> None:
    """clamp(round_half_even((network·2^up + linear) / 2^shift), least, most) of all samples.

    high, low: (h·w, 2N) int32, products of the latents' two 8-bit planes with both planes of the matrix; offset: (2N,)
    int32, what they lack because the low plane is taken minus 128. network: (block·h, w·N/block), whole numbers,
    the samples of a line one behind the other; out: the same. N is in the order row, column, plane.
    """
    rows, samples = out.shape
    half = high.shape[1] // 2
    line = half // block
    odd = np.int64(1 if shift > 0 else 0)
    down = (np.int64(1) << shift) // 2 - odd
    for row in range(rows):
        first = (row % block) * line
        for j in range(samples // line):
            place = (row // block) * (samples // line) + j
            net, made = network[row, j * line : (j + 1) * line], out[row, j * line : (j + 1) * line]
            a, b = high[place, first : first + line], low[place, first : first + line]
            c, d = high[place, half + first : half + first + line], low[place, half + first : half + first + line]
            e, f = offset[first : first + line], offset[half + first : half + first + line]
            for n in range(line):
                total = (np.int64(a[n]) << 16) + (np.int64(b[n] + e[n] + c[n]) << 8) + (d[n] + f[n])
                total += np.int64(net[n]) << up
                total = (total + down + ((total >> shift) & odd)) >> shift
                made[n] = min(max(total, least), most)


@njit
def requantise_planes(high: Any, low: Any, offset: Any, scale: Any, out: Any) -> None:
    """clamp(round_half_even((256·high + low - offset) · scale), 0, 255), uint8.

    high, low: (n, C) float32, whole numbers; offset, scale: (C,) float64, scale a power of two. Exact: below 2^53.
    """
    for i in range(len(out)):
        for c in range(out.shape[1]):
            total = np.rint((256.0 * high[i, c] + low[i, c] - offset[c]) * scale[c])
            out[i, c] = np.uint8(min(max(total, 0.0), 255.0))
