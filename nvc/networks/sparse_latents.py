"""First layer and linear path of a synthesis where hardly any latent is not 0, as in most P and B frames.

The same sums as an engine makes, without the zeros: integers, so that the order does not matter (FORMAT.md 10).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.networks.integer import LATENT_MAX, IntConv

DENSITY = 1 / 16  # of latents that are not 0, up to which this is faster; an engine's time does not depend on them
_SUM_LIMIT = 1 << 31


@dataclass(frozen=True, eq=False)
class SparseLayer:
    """A first layer, whose input is int16. taps: (M, 3, 3, O) int8, where an input goes; bias, shift: (O,) int32."""

    taps: NDArray[np.int8]
    bias: NDArray[np.int32]
    shift: NDArray[np.int32]

    @classmethod
    def of(cls, conv: IntConv) -> "SparseLayer | None":
        """None where its sums may leave 32 bits, or are what it gives."""
        reach = np.abs(conv.weight.astype(np.int64)).sum((1, 2, 3)) * (LATENT_MAX + 1)
        if conv.raw or (reach + np.abs(conv.bias.astype(np.int64)) >= _SUM_LIMIT).any():
            return None
        # An output sees the input at an offset of (i - 1, j - 1): seen from the input the taps are turned round.
        taps = np.ascontiguousarray(conv.weight[:, :, ::-1, ::-1].transpose(1, 2, 3, 0))
        return cls(taps, conv.bias.astype(np.int32), conv.shift.astype(np.int32))


class SparseLatents:
    """Latents (h, w, M) int16 by those that are not 0."""

    def __init__(self, latents: NDArray[np.int16], count: int) -> None:
        """count: of those."""
        self._shape = latents.shape[:2]
        self._starts = np.empty(latents.shape[0] * latents.shape[1] + 1, np.int64)
        self._channels, self._values = np.empty(count, np.int32), np.empty(count, np.int32)
        _gather(latents, self._starts, self._channels, self._values)

    @classmethod
    def of(cls, latents: NDArray[np.int16]) -> "SparseLatents | None":
        """None where too many of them are not 0."""
        count = int(np.count_nonzero(latents))
        return cls(latents, count) if count <= DENSITY * latents.size else None

    def convolve(self, layer: SparseLayer) -> NDArray[np.uint8]:
        """(1, h, w, O), see nvc.networks.integer."""
        out = np.empty((*self._shape, len(layer.bias)), np.uint8)
        _convolve(self._starts, self._channels, self._values, layer.taps, layer.bias, layer.shift, out)
        return out[None]

    def blocks(
        self, network: NDArray[Any], matrix: NDArray[np.int16], up: int, shift: int, low: int, high: int
    ) -> NDArray[Any]:
        """(1, block·h, block·w, planes), see nvc.networks.integer.Engine.blocks. matrix: (M, N)."""
        out = np.empty(network.shape, np.int16 if low else np.uint8)
        rows = network.shape[1]
        lines = network.reshape(rows, -1), out.reshape(rows, -1)
        _place(self._starts, self._channels, self._values, matrix, *lines, self._shape[1], up, shift, low, high)
        return out


@njit
def _gather(latents, starts, channels, values):  # type: ignore[no-untyped-def]
    h, w, m = latents.shape
    n = 0
    for i in range(h):
        for j in range(w):
            starts[i * w + j] = n
            for c in range(m):
                if latents[i, j, c]:
                    channels[n], values[n] = c, latents[i, j, c]
                    n += 1
    starts[h * w] = n


@njit
def _convolve(starts, channels, values, taps, bias, shift, out):  # type: ignore[no-untyped-def]
    h, w, outputs = out.shape
    sums = np.empty((w + 2, outputs), np.int32)  # of a row of positions, with one beyond either end
    for row in range(h):
        for j in range(w):
            sums[j + 1] = bias
        for i in range(max(row - 1, 0), min(row + 2, h)):
            for j in range(w):
                for n in range(starts[i * w + j], starts[i * w + j + 1]):
                    value = values[n]
                    for k in range(3):
                        weights, into = taps[channels[n], row - i + 1, k], sums[j + k]
                        for o in range(outputs):
                            into[o] += value * np.int32(weights[o])
        for j in range(w):
            line, made = sums[j + 1], out[row, j]
            for o in range(outputs):
                odd = (line[o] >> shift[o]) & np.int32(1 if shift[o] > 0 else 0)
                down = np.int64(1 << shift[o]) // 2 - (1 if shift[o] > 0 else 0)
                made[o] = min(max((np.int64(line[o]) + down + odd) >> shift[o], 0), 255)


@njit
def _place(starts, channels, values, matrix, network, out, w, up, shift, least, most):  # type: ignore[no-untyped-def]
    """As nvc.networks.block_kernels.place_blocks."""
    rows, samples = out.shape
    positions = len(starts) - 1
    block, line = rows // (positions // w), samples // w
    odd = np.int64(1 if shift > 0 else 0)
    down = (np.int64(1) << shift) // 2 - odd
    sums = np.empty(block * line, np.int64)
    for place in range(positions):
        sums[:] = 0
        for n in range(starts[place], starts[place + 1]):
            value, weights = values[n], matrix[channels[n]]
            for k in range(sums.size):
                sums[k] += value * np.int32(weights[k])
        first, left = place // w * block, place % w * line
        for i in range(block):
            net, made = network[first + i, left : left + line], out[first + i, left : left + line]
            for k in range(line):
                total = sums[i * line + k] + (np.int64(net[k]) << up)
                total = (total + down + ((total >> shift) & odd)) >> shift
                made[k] = min(max(total, least), most)
