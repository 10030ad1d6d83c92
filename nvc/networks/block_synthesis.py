"""Latents to samples in integers, for all transform decoders: pictures, I frames, motion, residuals (FORMAT.md 10).

    y: int16 ─┬─ 3x3 conv ×n, uint8 between, depth to space ─┐
              └─ matrix 16-bit: (M) -> one block ────────────┴─ + ─ round

A transposed 5x5 convolution of stride 2 is a 3x3 convolution to four times the channels followed by depth to space.
No torch unless the engine needs it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nvc.networks import steps
from nvc.networks.integer import LATENT_MAX, SHIFT_MAX, Engine, IntConv, choose_engine, depth_to_space
from nvc.networks.steps import LEVELS
from nvc.networks.threads import spread, thread_count

HALO = 2  # latent positions: three or four 5x5 layers reach less than two of them
STRIP_PIXELS = 1 << 20  # of one strip: bounds each thread's working memory near 100 MB, whatever the picture


@dataclass(frozen=True, eq=False)
class BlockDecoder:
    """Tensors of one synthesis.

    upsampling: for each layer, whether depth to space follows it; a latent position is a block of 2^(those) samples.
    planes: samples at one place; limit: the largest residual.

    convs: IntConv, the first wide, the last raw (4·planes outputs, biases hold the offset of mid-grey if there is one).
    linear: (M, planes·block²) int16, its outputs in the order row, column, plane.
    up, shift: sample = (network·2^up + linear) / 2^shift.
    log_step: (8, M) int32, log2 of the quantiser step in latent units, in 1/4096, by level.
    """

    upsampling: ClassVar[tuple[bool, ...]]
    planes: ClassVar[int]
    limit: ClassVar[int] = 255
    levels: ClassVar[int] = LEVELS

    convs: tuple[IntConv, ...]
    linear: NDArray[np.int16]
    up: int
    shift: int
    log_step: NDArray[np.int32]

    @property
    def block(self) -> int:
        """Samples per latent position, both ways."""
        return 1 << sum(self.upsampling)

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
        if len(self.convs) != len(self.upsampling):
            raise ValueError("the decoder's layers do not fit together")
        width = len(self.linear)
        for conv, upsampled in zip(self.convs, self.upsampling, strict=True):
            if conv.weight.shape[1] != width:
                raise ValueError("the decoder's layers do not fit together")
            width = len(conv.bias) // (4 if upsampled else 1)
        if width != self.planes:
            raise ValueError("the decoder's layers do not fit together")
        if self.linear.shape[1:] != (self.planes * self.block**2,) or self.log_step.shape != (LEVELS, len(self.linear)):
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
        steps.prove(self.log_step)

    def prepare(self) -> "Synthesis":
        """Ready to make samples on the engine that is best here, or that NVC_ENGINE asks for."""
        return Synthesis(self, choose_engine(list(self.convs), matrix=self.linear))


class Synthesis:
    """A BlockDecoder made ready for one engine."""

    def __init__(self, decoder: BlockDecoder, engine: Engine) -> None:
        self.decoder, self.engine = decoder, engine
        self._layers = [engine.prepare(conv) for conv in decoder.convs]
        self._linear = engine.prepare_matrix(decoder.linear)

    def batch(self, latents: NDArray[np.int16], residual: bool = False) -> NDArray[Any]:
        """(B, h, w, M) int16 -> (B, block·h, block·w, planes), all at once: uint8 samples, or an int16 residual."""
        y: Any = self.engine.latents(latents)
        x = y
        for layer, upsampled in zip(self._layers, self.decoder.upsampling, strict=True):
            x = self.engine.convolve(x, layer)
            x = depth_to_space(x) if upsampled else x
        low, high = (-self.decoder.limit, self.decoder.limit) if residual else (0, 255)
        return self.engine.blocks(x, y, self._linear, self.decoder.up, self.decoder.shift, low, high)

    def strips(self, latents: NDArray[np.int16], rows: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Samples of (h, w, M) latents from top to bottom, a few latent rows at a time: the same as at once."""
        h, w, _ = latents.shape
        rows = rows or self._strip_rows(w)
        for top in range(0, h, rows):
            yield self._part(latents, top, min(top + rows, h), 0, w)

    def picture(self, latents: NDArray[np.int16], height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, M) latents -> (height, width, planes) uint8, what is over cut off."""
        out = np.empty((height, width, self.decoder.planes), np.uint8)
        self._fill(latents, out, residual=False)
        return out

    def residual(self, latents: NDArray[np.int16]) -> NDArray[np.int16]:
        """(h, w, M) latents -> (block·h, block·w, planes) int16, within ± the decoder's limit."""
        h, w, _ = latents.shape
        out = np.empty((self.decoder.block * h, self.decoder.block * w, self.decoder.planes), np.int16)
        self._fill(latents, out, residual=True)
        return out

    def _fill(self, latents: NDArray[np.int16], out: NDArray[Any], residual: bool) -> None:
        h, w, _ = latents.shape
        block = self.decoder.block
        rows = min(self._strip_rows(w), max(2 * HALO, -(-h // thread_count())))
        columns = max(w if rows > 2 * HALO else 0, STRIP_PIXELS // (block * block * rows))  # very wide: tiles

        def fill(corner: tuple[int, int]) -> None:
            top, left = corner
            part = self._part(latents, top, min(top + rows, h), left, min(left + columns, w), residual)
            target = out[block * top : block * (top + rows), block * left : block * (left + columns)]
            target[:] = part[: target.shape[0], : target.shape[1]]

        spread(fill, itertools.product(range(0, h, rows), range(0, w, columns)))

    def _part(
        self, latents: NDArray[np.int16], top: int, bottom: int, left: int, right: int, residual: bool = False
    ) -> NDArray[Any]:
        """Samples of the latent rows top..bottom and columns left..right, the same as when done with all others."""
        y, x = max(0, top - HALO), max(0, left - HALO)
        seen = np.ascontiguousarray(latents[None, y : bottom + HALO, x : right + HALO])
        samples, block = self.batch(seen, residual)[0], self.decoder.block
        return samples[block * (top - y) : block * (bottom - y), block * (left - x) : block * (right - x)]

    def _strip_rows(self, w: int) -> int:
        """Latent rows of a strip of w columns: as many as bound the working memory, but not fewer than its halo."""
        return max(2 * HALO, STRIP_PIXELS // (self.decoder.block**2 * w))
