"""The hyper-synthesis in integers: side latents to scale indexes and means (FORMAT.md 14).

    z: int16 ─ 3x3 conv, uint8 ─ depth to space ─ 3x3 conv, raw ─ depth to space ─┬─ ÷2^shift ─ mean, 1/16 symbol
                                                                                  └─ + level ─ ÷2^shift ─ scale index

Also symbols and means to latents. Everything that the parse of a file depends on is here and in the integer engines.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.networks import steps
from nvc.networks.integer import LATENT_MAX, Engine, IntConv, choose_engine, depth_to_space
from nvc.networks.steps import LEVELS
from nvc.threads import spread, thread_count

MEAN_ONE = 16  # parts of a symbol that means are given in
MEAN_BITS = 4
SCALES = 64
SIDE_STRIDE = 4  # main positions per side position, both ways
TILE = 32  # side positions, both ways, that are worked on at once: bounds memory, whatever the frame
HALO = 2  # side positions around them: two layers see less


@dataclass(frozen=True, eq=False)
class HyperDecoder:
    """Tensors of one hyper-synthesis for M main channels.

    convs: two IntConv, the first wide; the second raw with 4·2M outputs, of each four first M means, then M indexes.
    offset: (8, M) int32, what a level adds to the accumulators of the indexes.
    """

    convs: tuple[IntConv, ...]
    offset: NDArray[np.int32]

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """From its part of a weight file. KeyError or ValueError unless it is such a part, proven exact."""
        convs = tuple(
            IntConv(
                tensors[f"conv{i}.weight"], tensors[f"conv{i}.bias"], tensors[f"conv{i}.shift"], wide=i == 0, raw=i == 1
            )
            for i in range(2)
        )
        decoder = cls(convs, tensors["offset"])
        decoder.prove()
        return decoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `from_tensors`."""
        named: dict[str, NDArray[Any]] = {"offset": self.offset}
        for i, conv in enumerate(self.convs):
            named |= {f"conv{i}.weight": conv.weight, f"conv{i}.bias": conv.bias, f"conv{i}.shift": conv.shift}
        return named

    @property
    def latents(self) -> int:
        """M."""
        return int(self.offset.shape[1])

    @property
    def side(self) -> int:
        """Channels of z."""
        return int(self.convs[0].weight.shape[1])

    def prove(self) -> None:
        """Raise ValueError unless the arithmetic is exact in every engine for every legal stream."""
        for conv in self.convs:
            conv.prove()
        if self.offset.dtype != np.int32 or self.offset.ndim != 2 or len(self.offset) != LEVELS:
            raise ValueError("a hyper-synthesis has not one row of offsets for each level")
        first, last = self.convs
        if len(first.bias) != 4 * last.weight.shape[1] or len(last.bias) != 8 * self.latents:
            raise ValueError("the layers of a hyper-synthesis do not fit together")
        if any(conv.bias.dtype != np.int32 or conv.shift.dtype != np.int8 for conv in self.convs):
            raise ValueError("a tensor of a hyper-synthesis has another type than FORMAT.md 9 gives it")
        if (last.shift.reshape(4, -1) != last.shift[: 2 * self.latents]).any():
            raise ValueError("the last layer of a hyper-synthesis has other shifts for other positions")

    def prepare(self) -> "HyperSynthesis":
        """Ready to work on the engine that is best here, or that NVC_ENGINE asks for."""
        return HyperSynthesis(self, choose_engine(list(self.convs)))


class HyperSynthesis:
    """A HyperDecoder made ready for one engine."""

    def __init__(self, decoder: HyperDecoder, engine: Engine) -> None:
        self.decoder, self.engine = decoder, engine
        self._layers = [engine.prepare(conv) for conv in decoder.convs]

    def parameters(
        self, z: NDArray[np.int32], quality_code: steps.QualityCode, height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """Side latents (N, hz, wz), |z| <= 32767 -> scale indexes 0..63 and means in 1/16 symbol, (M, height, width).

        height, width: positions of y, at most 4·hz and 4·wz.
        """
        side = np.ascontiguousarray(z.transpose(1, 2, 0).astype(np.int16))
        hz, wz, _ = side.shape
        m = self.decoder.latents
        index, mean = np.empty((m, height, width), np.uint8), np.empty((m, height, width), np.int16)
        shift = self.decoder.convs[1].shift[: 2 * m].astype(np.int64)
        offset = steps.interpolate(self.decoder.offset, quality_code)
        rows = min(TILE, -(-hz // thread_count()))

        def tile(corner: tuple[int, int]) -> None:
            top, left = corner
            sums = self._sums(side, top, min(top + rows, hz), left, min(left + TILE, wz))
            seen = sums[: height - SIDE_STRIDE * top, : width - SIDE_STRIDE * left]
            _parameters(seen, shift, offset, SIDE_STRIDE * top, SIDE_STRIDE * left, index, mean)

        spread(tile, itertools.product(range(0, hz, rows), range(0, wz, TILE)))
        return index, mean

    def _sums(self, side: NDArray[np.int16], top: int, bottom: int, left: int, right: int) -> NDArray[np.int32]:
        """Accumulators of the rows top..bottom and columns left..right of z: (4 rows, 4 columns, 2M)."""
        y, x = max(0, top - HALO), max(0, left - HALO)
        values: Any = self.engine.latents(np.ascontiguousarray(side[None, y : bottom + HALO, x : right + HALO]))
        for layer in self._layers:
            values = depth_to_space(self.engine.convolve(values, layer))
        first, start = SIDE_STRIDE * (top - y), SIDE_STRIDE * (left - x)
        tall, wide = SIDE_STRIDE * (bottom - top), SIDE_STRIDE * (right - left)
        part = np.asarray(values)[0, first : first + tall, start : start + wide]
        return np.ascontiguousarray(part, np.int32)  # below 2^24


def dequantise(
    symbols: NDArray[np.int32], mean: NDArray[np.int16], log_step: NDArray[np.int32], quality_code: steps.QualityCode
) -> NDArray[np.int16]:
    """Symbols and means (M, h, w) -> latents (h, w, M), clamped to ±32767. log_step: (8, M)."""
    channels, h, w = symbols.shape
    latents = np.empty((h, w, channels), np.int16)
    _dequantise(symbols, mean, *steps.steps(log_step, quality_code), latents)
    return latents


@njit
def _round_shift(value, shift):  # type: ignore[no-untyped-def]
    """value / 2^shift, rounded half to even."""
    if shift == 0:
        return value
    half = np.int64(1) << (shift - 1)
    return (value + half - 1 + ((value >> shift) & 1)) >> shift


@njit
def _parameters(sums, shift, offset, top, left, index, mean):  # type: ignore[no-untyped-def]
    h, w, _ = sums.shape
    m = len(index)
    for y in range(h):
        means, indexes = mean[:, top + y, left : left + w], index[:, top + y, left : left + w]
        for x in range(w):
            for c in range(m):
                value = _round_shift(np.int64(sums[y, x, c]), shift[c])
                means[c, x] = min(max(value, -LATENT_MAX), LATENT_MAX)
                value = _round_shift(np.int64(sums[y, x, m + c]) + offset[c], shift[m + c])
                indexes[c, x] = min(max(value, 0), SCALES - 1)


@njit
def _dequantise(symbols, mean, mantissa, shift, latents):  # type: ignore[no-untyped-def]
    m, h, w = symbols.shape
    for y in range(h):
        for x in range(w):
            for c in range(m):
                value = (np.int64(symbols[c, y, x]) * MEAN_ONE + mean[c, y, x]) * mantissa[c]
                value = _round_shift(value, shift[c] + MEAN_BITS)
                latents[y, x, c] = min(max(value, -LATENT_MAX), LATENT_MAX)
