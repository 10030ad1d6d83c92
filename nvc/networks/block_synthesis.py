"""Latents to samples in integers, for all transform decoders: pictures, I frames, motion, residuals (FORMAT.md 10).

    y: int16 ─┬─ 3x3 conv ×n, uint8 between, depth to space ─┐
              │    └ one of them also sees a shortcut: 3x3 conv ×m of what decoders know beside y
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
from nvc.networks.integer import LATENT_MAX, SHIFT_MAX, Engine, IntConv, beside, choose_engine, depth_to_space
from nvc.networks.steps import LEVELS
from nvc.threads import spread, thread_count

STRIP_PIXELS = 1 << 20  # of one strip: bounds each thread's working memory near 100 MB, whatever the picture


@dataclass(frozen=True, eq=False)
class BlockDecoder:
    """Tensors of one synthesis.

    upsampling: for each layer, whether depth to space follows it; a latent position is a block of 2^(those) samples.
    halo: latent positions around one that its samples depend on; of three or four 5x5 layers less than two.
    planes: samples at one place; limit: the largest residual.
    shortcut: of how many layers a shortcut is, 0: there is none; joined: the layer whose input it stands beside;
    seen: channels of what it sees, at the positions of that layer; wide: whether these are int16, else uint8.

    convs: IntConv, the first wide, the last raw (4·planes outputs, biases hold the offset of mid-grey if there is one).
    linear: (M, planes·block²) int16, its outputs in the order row, column, plane.
    up, shift: sample = (network·2^up + linear) / 2^shift.
    log_step: (8, M) int32, log2 of the quantiser step in latent units, in 1/4096, by level.
    known: IntConv of the shortcut, none raw.
    """

    upsampling: ClassVar[tuple[bool, ...]]
    halo: ClassVar[int] = 2
    planes: ClassVar[int]
    limit: ClassVar[int] = 255
    levels: ClassVar[int] = LEVELS
    shortcut: ClassVar[int] = 0
    joined: ClassVar[int] = 0
    seen: ClassVar[int] = 0
    wide: ClassVar[bool] = False

    convs: tuple[IntConv, ...]
    linear: NDArray[np.int16]
    up: int
    shift: int
    log_step: NDArray[np.int32]
    known: tuple[IntConv, ...] = ()

    @property
    def block(self) -> int:
        """Samples per latent position, both ways."""
        return 1 << sum(self.upsampling)

    @property
    def finer(self) -> int:
        """Positions of the layer that a shortcut joins, per latent position, both ways."""
        return 1 << sum(self.upsampling[: self.joined])

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """From the decoder's part of a weight file. KeyError or ValueError unless it is such a part, proven exact."""
        count = sum(name.startswith("conv") and name.endswith(".weight") for name in tensors)

        def layer(name: str, wide: bool, raw: bool = False) -> IntConv:
            weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
            return IntConv(weight, bias, shift, wide, raw)

        convs = tuple(layer(f"conv{i}", wide=i == 0, raw=i == count - 1) for i in range(count))
        known = tuple(layer(f"known{i}", wide=cls.wide and i == 0) for i in range(cls.shortcut))
        up, shift = (int(v) for v in tensors["scale"])
        decoder = cls(convs, tensors["linear"], up, shift, tensors["log_step"], known)
        decoder.prove()
        return decoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `from_tensors`."""
        named: dict[str, NDArray[Any]] = {
            "linear": self.linear,
            "scale": np.array([self.up, self.shift], np.int32),
            "log_step": self.log_step,
        }
        for kind, convs in (("conv", self.convs), ("known", self.known)):
            for i, conv in enumerate(convs):
                parts = {"weight": conv.weight, "bias": conv.bias, "shift": conv.shift}
                named |= {f"{kind}{i}.{part}": value for part, value in parts.items()}
        return named

    def prove(self) -> None:
        """Raise ValueError unless the arithmetic is exact in every engine for every legal stream."""
        for conv in (*self.convs, *self.known):
            conv.prove()
        apart = ValueError("the decoder's layers do not fit together")
        if len(self.convs) != len(self.upsampling) or len(self.known) != self.shortcut:
            raise apart
        more = self.seen
        for conv in self.known:
            if conv.weight.shape[1] != more:
                raise apart
            more = len(conv.bias)
        width = len(self.linear)
        for i, (conv, upsampled) in enumerate(zip(self.convs, self.upsampling, strict=True)):
            beside_it = more if self.known and i == self.joined else 0
            phases = 4 if upsampled else 1
            if conv.weight.shape[1] != width + beside_it or len(conv.bias) % phases:
                raise apart
            width = len(conv.bias) // phases
        if width != self.planes:
            raise apart
        if self.linear.shape[1:] != (self.planes * self.block**2,) or self.log_step.shape != (LEVELS, len(self.linear)):
            raise ValueError("the linear path or the steps are not of the decoder's latents")
        kinds = {(self.linear.dtype.str, "<i2"), (self.log_step.dtype.str, "<i4")}
        convs = (*self.convs, *self.known)
        kinds |= {pair for conv in convs for pair in ((conv.bias.dtype.str, "<i4"), (conv.shift.dtype.str, "|i1"))}
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
        return Synthesis(self, choose_engine([*self.convs, *self.known], matrix=self.linear))


class Synthesis:
    """A BlockDecoder made ready for one engine."""

    def __init__(self, decoder: BlockDecoder, engine: Engine) -> None:
        from nvc.networks.sparse_latents import SparseLatents, SparseLayer  # they load numba

        self.decoder, self.engine = decoder, engine
        self._layers = [engine.prepare(conv) for conv in decoder.convs]
        self._known = [engine.prepare(conv) for conv in decoder.known]
        self._linear = engine.prepare_matrix(decoder.linear)
        self._sparse, self._sparse_latents = SparseLayer.of(decoder.convs[0]), SparseLatents.of

    def batch(
        self, latents: NDArray[np.int16], residual: bool = False, given: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """(B, h, w, M) int16 -> (B, block·h, block·w, planes), all at once: uint8 samples, or an int16 residual.

        given: what the shortcut sees, (B, finer·h, finer·w, seen), where the decoder has one.
        """
        sparse = self._sparse_latents(latents[0]) if self._sparse and len(latents) == 1 else None
        y: Any = None if sparse else self.engine.latents(latents)
        x = y
        for i, (layer, upsampled) in enumerate(zip(self._layers, self.decoder.upsampling, strict=True)):
            if self._known and i == self.decoder.joined:
                x = beside(x, self._shortcut(given))
            if sparse and i == 0:
                assert self._sparse is not None
                x = self.engine.latents(sparse.convolve(self._sparse))
            else:
                x = self.engine.convolve(x, layer)
            x = depth_to_space(x) if upsampled else x
        low, high = (-self.decoder.limit, self.decoder.limit) if residual else (0, 255)
        up, shift = self.decoder.up, self.decoder.shift
        if sparse:
            return sparse.blocks(np.asarray(x), self.decoder.linear, up, shift, low, high)
        return self.engine.blocks(x, y, self._linear, up, shift, low, high)

    def _shortcut(self, given: NDArray[Any] | None) -> Any:
        assert given is not None
        x: Any = self.engine.latents(given)
        for layer in self._known:
            x = self.engine.convolve(x, layer)
        return x

    def strips(self, latents: NDArray[np.int16], rows: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Samples of (h, w, M) latents from top to bottom, a few latent rows at a time: the same as at once."""
        h, w, _ = latents.shape
        rows = rows or self._strip_rows(w)
        for top in range(0, h, rows):
            yield self.part(latents, top, min(top + rows, h), 0, w)

    def picture(self, latents: NDArray[np.int16], height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, M) latents -> (height, width, planes) uint8, what is over cut off."""
        out = np.empty((height, width, self.decoder.planes), np.uint8)
        self._fill(latents, out, residual=False)
        return out

    def residual(self, latents: NDArray[np.int16], given: NDArray[Any] | None = None) -> NDArray[np.int16]:
        """(h, w, M) latents -> (block·h, block·w, planes) int16, within ± the decoder's limit. given: see `batch`."""
        h, w, _ = latents.shape
        out = np.empty((self.decoder.block * h, self.decoder.block * w, self.decoder.planes), np.int16)
        self._fill(latents, out, residual=True, given=given)
        return out

    def _fill(
        self, latents: NDArray[np.int16], out: NDArray[Any], residual: bool, given: NDArray[Any] | None = None
    ) -> None:
        h, w, _ = latents.shape
        block, halo = self.decoder.block, self.decoder.halo
        rows = min(self._strip_rows(w), max(2 * halo, -(-h // thread_count())))
        columns = max(w if rows > 2 * halo else 0, STRIP_PIXELS // (block * block * rows))  # very wide: tiles

        def fill(corner: tuple[int, int]) -> None:
            top, left = corner
            part = self.part(latents, top, min(top + rows, h), left, min(left + columns, w), residual, given)
            target = out[block * top : block * (top + rows), block * left : block * (left + columns)]
            target[:] = part[: target.shape[0], : target.shape[1]]

        spread(fill, itertools.product(range(0, h, rows), range(0, w, columns)))

    def part(
        self, latents: NDArray[np.int16], top: int, bottom: int, left: int, right: int, residual: bool = False,
        given: NDArray[Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """Samples of the latent rows top..bottom and columns left..right, the same as when done with all others."""
        halo = self.decoder.halo
        y, x = max(0, top - halo), max(0, left - halo)
        seen = np.ascontiguousarray(latents[None, y : bottom + halo, x : right + halo])
        part = None
        if given is not None:
            k = self.decoder.finer
            part = np.ascontiguousarray(given[None, k * y : k * (bottom + halo), k * x : k * (right + halo)])
        samples, block = self.batch(seen, residual, part)[0], self.decoder.block
        return samples[block * (top - y) : block * (bottom - y), block * (left - x) : block * (right - x)]

    def _strip_rows(self, w: int) -> int:
        """Latent rows of a strip of w columns: as many as bound the working memory, but not fewer than its halo."""
        return max(2 * self.decoder.halo, STRIP_PIXELS // (self.decoder.block**2 * w))
