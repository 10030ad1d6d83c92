"""The image decoder of published checkpoints: the transposed convolutions of `ImageNet` in float32.

    symbols ─ + median ─ deconv, ReLU, deconv, ReLU, deconv, ReLU, deconv ─ ×255 ─ round ─ clamp ─ uint8

The parse of such a file is exact like every other, its tables are integers. The pixels are those of float32 sums,
which another processor or torch may round differently: then the picture's checksum in the file tells. On one machine
they do not depend on the number of threads: every tile is computed by one thread alone.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nvc.threads import spread

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 16  # pixels per latent position, both ways
HALO = 2  # latent positions: four 5x5 layers reach 1.875 of them
TILE = 32  # latent positions: with 192 channels a tile works in some 100 MB
LAYERS = 4


@dataclass(frozen=True, eq=False)
class FloatDecoder:
    """Decoder tensors of one checkpoint, which codes one rate.

    weights: four float32 arrays (I, O, 5, 5), biases: (O,), of the transposed convolutions in order of work.
    median: (M,) float32; a latent is its symbol plus the median of its channel.
    """

    levels: ClassVar[int] = 1
    rdoq_passes: ClassVar[int] = 0  # nvc.codec.rdoq rests on steps and a linear path, which these models have not
    unit: ClassVar[float] = 1.0

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    median: NDArray[np.float32]

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """From the decoder's part of a weight file. KeyError or ValueError unless it is such a part."""
        names = [f"g_s.{2 * i}" for i in range(LAYERS)]
        weights = tuple(tensors[f"{name}.weight"] for name in names)
        decoder = cls(weights, tuple(tensors[f"{name}.bias"] for name in names), tensors["median"])
        decoder.prove()
        return decoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `from_tensors`."""
        named = {"median": self.median}
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named |= {f"g_s.{2 * i}.weight": weight, f"g_s.{2 * i}.bias": bias}
        return named

    def prove(self) -> None:
        """Raise ValueError unless the tensors are finite and fit together."""
        arrays = [*self.weights, *self.biases, self.median]
        if any(a.dtype != np.float32 or not np.isfinite(a).all() for a in arrays):
            raise ValueError("a decoder tensor is not of finite float32 numbers")
        widths = [len(self.median), *(w.shape[1] if w.ndim == 4 else -1 for w in self.weights)]
        shapes = [(i, o, 5, 5) for i, o in itertools.pairwise(widths)]
        if [w.shape for w in self.weights] != shapes or [b.shape for b in self.biases] != [(o,) for o in widths[1:]]:
            raise ValueError("the decoder's layers do not fit together")
        if len(self.weights) != LAYERS or widths[-1] != 3:
            raise ValueError(f"the decoder has not {LAYERS} layers that end in 3 colours")

    def quantise(self, latents: NDArray[np.float32], quality_code: int) -> NDArray[np.float32]:
        """(M, h, w) latents -> whole numbers, not clamped. The one rate has no steps."""
        rounded: NDArray[np.float32] = np.rint(latents - self.median[:, None, None])
        return rounded

    def dequantise(self, symbols: NDArray[np.int32], quality_code: int) -> NDArray[np.int16]:
        """(M, h, w) symbols, |symbol| <= 32767 -> (h, w, M); the medians are added tile by tile, in float."""
        return np.ascontiguousarray(symbols.astype(np.int16).transpose(1, 2, 0))

    def prepare(self) -> "FloatSynthesis":
        """Ready to make pixels; loads torch."""
        return FloatSynthesis(self)


class FloatSynthesis:
    """A FloatDecoder as a torch network."""

    def __init__(self, decoder: FloatDecoder) -> None:
        import torch

        from nvc.networks.torch_engines import full_float32

        full_float32()
        self._median = torch.from_numpy(decoder.median)
        pairs = zip(decoder.weights, decoder.biases, strict=True)
        self._layers = [(torch.from_numpy(w), torch.from_numpy(b)) for w, b in pairs]

    def tile(self, symbols: NDArray[np.int16]) -> "Tensor":
        """(h, w, M) -> (16h, 16w, 3) uint8, all at once."""
        import torch
        from torch.nn import functional as F

        with torch.inference_mode():
            x = (torch.from_numpy(symbols).float() + self._median).permute(2, 0, 1)[None]
            for i, (weight, bias) in enumerate(self._layers):
                x = F.conv_transpose2d(x.relu_() if i else x, weight, bias, stride=2, padding=2, output_padding=1)
            return x[0].permute(1, 2, 0).mul(255).round_().clamp_(0, 255).to(torch.uint8)

    def picture(self, latents: NDArray[np.int16], height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, M) of `dequantise` -> (height, width, 3) uint8, what is over cut off."""
        rows, columns = latents.shape[:2]
        out = np.empty((height, width, 3), np.uint8)

        def fill(corner: tuple[int, int]) -> None:
            top, left = corner
            first, start = max(0, top - HALO), max(0, left - HALO)
            piece = np.ascontiguousarray(latents[first : top + TILE + HALO, start : left + TILE + HALO])
            pixels = self.tile(piece).numpy()[BLOCK * (top - first) :, BLOCK * (left - start) :]
            place = out[BLOCK * top : BLOCK * (top + TILE), BLOCK * left : BLOCK * (left + TILE)]
            place[:] = pixels[: place.shape[0], : place.shape[1]]

        spread(fill, itertools.product(range(0, rows, TILE), range(0, columns, TILE)))
        return out
