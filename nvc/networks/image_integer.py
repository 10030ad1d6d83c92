"""The image decoder in integers: latents to 8-bit pixels (FORMAT.md 10). No torch unless the engine needs it.

    symbols ─ ×step ─ y: int16, 1/8 pixel level ─┬─ 3x3 conv ×4, uint8 between, depth to space ─┐
                                                 └─ matrix 16-bit: (M) -> 16x16x3 ──────────────┴─ + ─ round ─ uint8

A transposed 5x5 convolution of stride 2 is a 3x3 convolution to four times the channels followed by depth to space.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nvc.networks.integer import LATENT_MAX, SHIFT_MAX, Engine, IntConv, choose_engine, depth_to_space, round_shift
from nvc.networks.threads import spread, thread_count

BLOCK = 16  # pixels per latent position, both ways
HALO = 2  # latent positions: four 5x5 layers reach 1.875 of them
STRIP_PIXELS = 1 << 20  # of one strip: bounds each thread's working memory near 100 MB, whatever the picture
LATENT_UNIT = 8  # steps of a latent per pixel level
UNIT = 255 * LATENT_UNIT  # latent units in a pixel of 0..1
STEP_ONE = 4096  # entries of an octave in the table of steps
MANTISSA_BITS = 14
LEVELS = 8

# 2^(i/4096) in 1/2^14: none of these lies within 7e-5 of a rounding boundary, so every libm gives the same integers.
MANTISSA = np.rint(2.0 ** (np.arange(STEP_ONE) / STEP_ONE) * (1 << MANTISSA_BITS)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ImageDecoder:
    """Decoder tensors of one image model.

    convs: four IntConv, the first wide, the last raw (12 outputs, biases hold the offset of mid-grey).
    linear: (M, 768) int16, outputs in the order row, column, colour of a 16x16x3 block.
    up, shift: pixel = (network·2^up + linear) / 2^shift.
    log_step: (8, M) int32, log2 of the quantiser step in latent units, in 1/4096, by level.
    """

    levels: ClassVar[int] = LEVELS
    rdoq_passes: ClassVar[int] = 3
    unit: ClassVar[float] = float(UNIT)

    convs: tuple[IntConv, ...]
    linear: NDArray[np.int16]
    up: int
    shift: int
    log_step: NDArray[np.int32]

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """From the decoder's part of a weight file. KeyError or ValueError unless it is such a part, proven exact."""
        count = sum(name.endswith(".weight") for name in tensors)
        convs = tuple(
            IntConv(
                tensors[f"conv{i}.weight"], tensors[f"conv{i}.bias"], tensors[f"conv{i}.shift"],
                wide=i == 0, raw=i == count - 1,
            )
            for i in range(count)
        )  # fmt: skip
        up, shift = (int(v) for v in tensors["scale"])
        decoder = cls(convs, tensors["linear"], up, shift, tensors["log_step"])
        decoder.prove()
        return decoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `from_tensors`."""
        named: dict[str, NDArray[Any]] = {
            "linear": self.linear,
            "scale": np.array([self.up, self.shift], np.int32),
            "log_step": self.log_step,
        }
        for i, conv in enumerate(self.convs):
            named |= {f"conv{i}.weight": conv.weight, f"conv{i}.bias": conv.bias, f"conv{i}.shift": conv.shift}
        return named

    def prove(self) -> None:
        """Raise ValueError unless the arithmetic is exact in every engine for every legal stream."""
        for conv in self.convs:
            conv.prove()
        widths = [len(self.linear), *(len(conv.bias) // 4 for conv in self.convs)]
        layers = [(4 * o, i, 3, 3) for i, o in pairwise(widths)]
        if [conv.weight.shape for conv in self.convs] != layers or widths[-1] != 3 or len(layers) != 4:
            raise ValueError("the decoder's layers do not fit together")
        if self.linear.shape[1:] != (3 * BLOCK * BLOCK,) or self.log_step.shape != (LEVELS, widths[0]):
            raise ValueError("the linear path or the steps are not of the decoder's latents")
        kinds = {(self.linear.dtype.str, "<i2"), (self.log_step.dtype.str, "<i4")}
        kinds |= {pair for conv in self.convs for pair in ((conv.bias.dtype.str, "<i4"), (conv.shift.dtype.str, "|i1"))}
        if any(found != wanted for found, wanted in kinds):
            raise ValueError("a tensor of the decoder has another type than FORMAT.md 9 gives it")
        if not 0 <= self.up <= 28 or not 0 <= self.shift <= SHIFT_MAX:
            raise ValueError("the network's scale is finer than that of the linear path, or far from it")
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

    def quantise(self, latents: NDArray[np.float32], quality_code: int) -> NDArray[np.float32]:
        """(M, h, w) latents in latent units -> whole numbers, not clamped."""
        steps = self.step_sizes(quality_code).astype(np.float32)
        rounded: NDArray[np.float32] = np.rint(latents / steps[:, None, None])
        return rounded

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

    def prepare(self) -> "Synthesis":
        """Ready to make pixels on the engine that is best here, or that NVC_ENGINE asks for."""
        return Synthesis(self, choose_engine(list(self.convs)))


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
        rows = rows or _strip_rows(w)
        for top in range(0, h, rows):
            yield self._part(latents, top, min(top + rows, h), 0, w)

    def picture(self, latents: NDArray[np.int16], height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, M) latents -> (height, width, 3) uint8, what is over cut off."""
        h, w, _ = latents.shape
        rows = min(_strip_rows(w), max(2 * HALO, -(-h // thread_count())))
        columns = max(w if rows > 2 * HALO else 0, STRIP_PIXELS // (BLOCK * BLOCK * rows))  # very wide: tiles
        out = np.empty((height, width, 3), np.uint8)

        def fill(corner: tuple[int, int]) -> None:
            top, left = corner
            part = self._part(latents, top, min(top + rows, h), left, min(left + columns, w))
            target = out[BLOCK * top : BLOCK * (top + rows), BLOCK * left : BLOCK * (left + columns)]
            target[:] = part[: target.shape[0], : target.shape[1]]

        spread(fill, itertools.product(range(0, h, rows), range(0, w, columns)))
        return out

    def _part(self, latents: NDArray[np.int16], top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """Pixels of the latent rows top..bottom and columns left..right, the same as when done with all others."""
        y, x = max(0, top - HALO), max(0, left - HALO)
        pixels = self.batch(np.ascontiguousarray(latents[None, y : bottom + HALO, x : right + HALO]))[0]
        return pixels[BLOCK * (top - y) : BLOCK * (bottom - y), BLOCK * (left - x) : BLOCK * (right - x)]


def _strip_rows(w: int) -> int:
    """Latent rows of a strip of w columns: as many as bound the working memory, but not fewer than its halo."""
    return max(2 * HALO, STRIP_PIXELS // (BLOCK * BLOCK * w))
