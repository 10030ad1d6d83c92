"""The image decoder in integers: latents to 8-bit pixels (FORMAT.md 10). No torch unless the engine needs it.

    symbols ─ ×step ─ y: int16, 1/8 pixel level ─┬─ 3x3 conv ×4, uint8 between, depth to space ─┐
                                                 └─ matrix 16-bit: (M) -> 16x16x3 ──────────────┴─ + ─ round ─ uint8

A transposed 5x5 convolution of stride 2 is a 3x3 convolution to four times the channels followed by depth to space.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.networks.integer import LATENT_MAX, Engine, IntConv, depth_to_space, round_shift

BLOCK = 16  # pixels per latent position, both ways
HALO = 2  # latent positions: four 5x5 layers reach 1.875 of them
STRIP_PIXELS = 1 << 21  # one strip's pixels: bounds the working memory near 200 MB, whatever the picture
LATENT_UNIT = 8  # steps of a latent per pixel level
STEP_ONE = 4096  # entries of an octave in the table of steps
MANTISSA_BITS = 14
LEVELS = 8

# 2^(i/4096) in 1/2^14: none of these lies within 1e-6 of a rounding boundary, so every libm gives the same integers.
MANTISSA = np.rint(2.0 ** (np.arange(STEP_ONE) / STEP_ONE) * (1 << MANTISSA_BITS)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ImageDecoder:
    """Decoder tensors of one image model.

    convs: four IntConv, the first wide, the last raw (12 outputs, biases hold the offset of mid-grey).
    linear: (M, 768) int16, outputs in the order row, column, colour of a 16x16x3 block.
    up, shift: pixel = (network·2^up + linear) / 2^shift.
    log_step: (8, M) int32, log2 of the quantiser step in latent units, in 1/4096, by level.
    """

    convs: tuple[IntConv, ...]
    linear: NDArray[np.int16]
    up: int
    shift: int
    log_step: NDArray[np.int32]

    def prove(self) -> None:
        """Raise ValueError unless the arithmetic is exact in every engine for every legal stream."""
        for conv in self.convs:
            conv.prove()
        largest = np.abs(self.linear.astype(np.int64)).sum(axis=0).max() * (LATENT_MAX + 1)
        if largest + (1 << 24 + self.up) >= 1 << 52:
            raise ValueError("the sum of the linear path may leave the range where float64 is exact")
        if self.log_step.min() < 0 or self.log_step.max() > MANTISSA_BITS * STEP_ONE:
            raise ValueError("a quantiser step is outside 1..2^14 latent units")

    def steps(self, quality_code: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Mantissas and shifts, (M,) each, of the steps at quality 1 + quality_code/4096: step = mantissa / 2^shift."""
        level = min(quality_code // STEP_ONE, LEVELS - 2)
        share = quality_code - level * STEP_ONE
        below, above = (self.log_step[i].astype(np.int64) for i in (level, level + 1))
        log_step = (below * (STEP_ONE - share) + above * share + STEP_ONE // 2) // STEP_ONE
        return MANTISSA[log_step % STEP_ONE], MANTISSA_BITS - log_step // STEP_ONE

    def step_sizes(self, quality_code: int) -> NDArray[np.float64]:
        """The same steps as real numbers in latent units, for the encoder."""
        mantissa, shift = self.steps(quality_code)
        return mantissa / 2.0**shift

    def dequantise(self, symbols: NDArray[np.int32], quality_code: int) -> NDArray[np.int16]:
        """(M, h, w) symbols, |symbol| <= 32767 -> (h, w, M) int16 latents, clamped to ±32767."""
        mantissa, shift = self.steps(quality_code)
        channels, h, w = symbols.shape
        latents = np.empty((h, w, channels), np.int16)
        for k in range(0, channels, 16):  # in groups: int64 of all channels at once would be the peak of memory
            group = slice(k, k + 16)
            product = symbols[group].astype(np.int64) * mantissa[group, None, None]
            values = np.clip(round_shift(product, shift[group, None, None]), -LATENT_MAX, LATENT_MAX)
            latents[:, :, group] = values.transpose(1, 2, 0)
        return latents


class Synthesis:
    """An ImageDecoder made ready for one engine."""

    def __init__(self, decoder: ImageDecoder, engine: Engine) -> None:
        self.decoder, self.engine = decoder, engine
        self._layers = [engine.prepare(conv) for conv in decoder.convs]
        self._linear = engine.prepare_matrix(decoder.linear)

    def batch(self, latents: NDArray[np.int16]) -> NDArray[np.uint8]:
        """(B, h, w, M) int16 -> (B, 16h, 16w, 3) uint8, all at once."""
        b, h, w, _ = latents.shape
        x: Any = self.engine.latents(latents)
        linear = self.engine.matmul(x, self._linear).reshape(b, h, w, BLOCK, BLOCK, 3)
        linear = linear.swapaxes(2, 3).reshape(b, BLOCK * h, BLOCK * w, 3)
        for layer in self._layers:
            x = depth_to_space(self.engine.convolve(x, layer))
        return self.engine.pixels(x, linear, self.decoder.up, self.decoder.shift)

    def strips(self, latents: NDArray[np.int16], rows: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Pixels of (h, w, M) latents from top to bottom, a few latent rows at a time: the same pixels as at once."""
        h, w, _ = latents.shape
        rows = rows or max(2 * HALO, STRIP_PIXELS // (BLOCK * BLOCK * w))
        for top in range(0, h, rows):
            first, last = max(0, top - HALO), min(h, top + rows + HALO)
            pixels = self.batch(latents[None, first:last])[0]
            yield pixels[BLOCK * (top - first) : BLOCK * (min(top + rows, h) - first)]

    def picture(self, latents: NDArray[np.int16], height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, M) latents -> (height, width, 3) uint8, what is over cut off."""
        out = np.empty((height, width, 3), np.uint8)
        top = 0
        for strip in self.strips(latents):
            end = min(top + len(strip), height)
            out[top:end] = strip[: end - top, :width]
            top = end
        return out
