"""The hyper-synthesis of published checkpoints in exact integers: z -> scale index and mean, the same on every machine.

    z ─ ·2^10 + median ─┬─ deconv ─ clamp ─ deconv ─ clamp ─ deconv ─ mean, 1/256 symbol
                        └─ deconv ─ clamp ─ deconv ─ clamp ─ deconv ─ clamp ─ 63 thresholds ─ scale index

Weights are int16 with a power of two for each output channel, activations fixed point of up to 26 bits. A layer is

    acc = Σ weight·input + bias,   out = clamp(round_half_even(acc / 2^shift), low, high)

Σ|weight|·max|input| + |bias| stays below 2^53 for every channel and every parity of the output position (`prove`), so
that products and sums in float64 are exact in any order, fused or not. numpy is enough; torch is not needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

EXACT = 1 << 53
SYMBOL_MAX = 32767  # of z and of y: an escape may tell more, it is clamped before the network and in the encoder
SIDE_BITS = 10  # fraction bits of z + median
MEDIAN_MAX = 1 << 24  # in 1/1024
SIDE_MAX = (SYMBOL_MAX << SIDE_BITS) + MEDIAN_MAX
MEAN_BITS, SCALE_BITS = 12, 16  # fraction bits between the layers of the two paths
MEAN_RANGE = (0, (1 << 26) - 1)  # ReLU; 16384 in float
SCALE_RANGE = (0, 255 << SCALE_BITS)  # the published clamp to 0..255
OUTPUT_BITS = 8  # fraction bits of means
OUTPUT_RANGE = (-SYMBOL_MAX << OUTPUT_BITS, SYMBOL_MAX << OUTPUT_BITS)
THRESHOLDS = 63
SHIFT_MAX = 60
LAYERS = 3
STRIP = 4096  # positions at once: a strip of 192 channels works in 60 MB

# Of a 5x5 transposed convolution of stride 2, by the parity of the output row (or column): the input rows that reach
# it, relative to half the output row, and the row of the kernel for each.
TAPS = (((-1, 4), (0, 2), (1, 0)), ((0, 3), (1, 1)))


@dataclass(frozen=True, eq=False)
class ExactDeconv:
    """A 5x5 transposed convolution, stride 2, padding 2, output padding 1: (I, h, w) -> (O, 2h, 2w).

    weight: (I, O, 5, 5) int16; bias: (O,) int64; shift: (O,) int8, 0..60. The limits of its output are not its own.
    """

    weight: NDArray[np.int16]
    bias: NDArray[np.int64]
    shift: NDArray[np.int8]

    def prove(self, largest: int) -> None:
        """Raise ValueError unless sums of inputs up to ±largest are exact in float64."""
        outputs = self.weight.shape[1] if self.weight.ndim == 4 else -1
        if self.weight.dtype != np.int16 or self.weight.shape[2:] != (5, 5):
            raise ValueError(f"a hyper layer's weight is {self.weight.dtype} of shape {self.weight.shape}")
        if self.bias.dtype != np.int64 or self.shift.dtype != np.int8:
            raise ValueError("a hyper layer's bias is not of int64, or its shift not of int8")
        if self.bias.shape != (outputs,) or self.shift.shape != (outputs,):
            raise ValueError("a hyper layer has not one bias and one shift for each output")
        if self.shift.min() < 0 or self.shift.max() > SHIFT_MAX:
            raise ValueError(f"a hyper layer's shift is outside 0..{SHIFT_MAX}")
        magnitude = np.abs(self.weight.astype(np.int64)).sum(axis=0)
        total = max(magnitude[:, a::2, b::2].sum(axis=(1, 2)).max() for a in (0, 1) for b in (0, 1))
        # Both bounds in Python's integers, which do not wrap.
        worst = int(total) * largest + max(abs(int(self.bias.min())), abs(int(self.bias.max())))
        if worst >= EXACT:
            raise ValueError(f"a hyper layer's sum may reach {worst}, float64 is exact only below 2^53")

    def __call__(self, x: NDArray[np.float64], low: int, high: int) -> NDArray[np.float64]:
        """(I, h, w) whole numbers -> (O, 2h, 2w) whole numbers in low..high."""
        inputs, height, width = x.shape
        outputs = self.weight.shape[1]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        scale = np.ldexp(1.0, -self.shift.astype(np.int64))[:, None]
        bias = self.bias.astype(np.float64)[:, None]
        out = np.empty((outputs, 2 * height, 2 * width))
        rows = max(1, STRIP // width)
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            taps = [(di, dj, i, j) for di, i in TAPS[a] for dj, j in TAPS[b]]
            matrix = np.concatenate([self.weight[:, :, i, j].T for _, _, i, j in taps], 1).astype(np.float64)
            for top in range(0, height, rows):
                n = min(rows, height - top)
                seen = np.concatenate(
                    [padded[:, top + 1 + di : top + 1 + di + n, 1 + dj : 1 + dj + width] for di, dj, _, _ in taps]
                )
                acc = matrix @ seen.reshape(len(taps) * inputs, n * width)
                acc += bias
                acc *= scale  # by a power of two: exact
                np.clip(np.rint(acc, out=acc), low, high, out=acc)  # rint rounds half to even
                out[:, 2 * top + a : 2 * (top + n) : 2, b::2] = acc.reshape(outputs, n, width)
        return out


@dataclass(frozen=True, eq=False)
class ExactHyperSynthesis:
    """See above.

    median: (N,) int32, medians of z in 1/1024; mean, scale: three layers each; thresholds: (63,) int32, rising: a
    scale up to thresholds[i], in 1/65536, has an index of at most i.
    """

    median: NDArray[np.int32]
    mean: tuple[ExactDeconv, ...]
    scale: tuple[ExactDeconv, ...]
    thresholds: NDArray[np.int32]

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """From one information's part of a weight file, proven. KeyError or ValueError unless it is such a part."""
        paths = [
            tuple(
                ExactDeconv(*(tensors[f"hyper_{path}.{2 * i}.{part}"] for part in ("weight", "bias", "shift")))
                for i in range(LAYERS)
            )
            for path in ("mean", "scale")
        ]
        mean, scale = paths
        hyper = cls(tensors["median"], mean, scale, tensors["thresholds"])
        hyper.prove()
        return hyper

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `from_tensors`."""
        named: dict[str, NDArray[Any]] = {"median": self.median, "thresholds": self.thresholds}
        for path, layers in (("mean", self.mean), ("scale", self.scale)):
            for i, layer in enumerate(layers):
                name = f"hyper_{path}.{2 * i}"
                named |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift}
        return named

    @property
    def channels(self) -> tuple[int, int]:
        """Of z and of y."""
        return len(self.median), int(self.mean[-1].weight.shape[1])

    def prove(self) -> None:
        """Raise ValueError unless all sums are exact and the tensors fit together."""
        if self.median.dtype != np.int32 or self.median.ndim != 1:
            raise ValueError("the medians are not of int32")
        if np.abs(self.median.astype(np.int64)).max() > MEDIAN_MAX:
            raise ValueError(f"a median is beyond {MEDIAN_MAX}")
        if self.thresholds.dtype != np.int32 or self.thresholds.shape != (THRESHOLDS,):
            raise ValueError(f"there are not {THRESHOLDS} thresholds of int32")
        if (np.diff(self.thresholds.astype(np.int64)) <= 0).any():
            raise ValueError("the thresholds do not rise")
        for layers, hidden in ((self.mean, MEAN_RANGE), (self.scale, SCALE_RANGE)):
            for i, layer in enumerate(layers):
                layer.prove(hidden[1] if i else SIDE_MAX)
            widths = [len(self.median), *(layer.weight.shape[1] for layer in layers)]
            if len(layers) != LAYERS or [layer.weight.shape[0] for layer in layers] != widths[:-1]:
                raise ValueError("the layers of the hyper-synthesis do not fit together")
        if self.mean[-1].weight.shape[1] != self.scale[-1].weight.shape[1]:
            raise ValueError("there are not as many means as scales")

    def __call__(self, z: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Side symbols (N, h, w) -> scale indexes 0..63 (M, 8h, 8w) uint8 and means (M, 8h, 8w) int32, 1/256 symbol."""
        symbols = np.clip(z, -SYMBOL_MAX, SYMBOL_MAX).astype(np.float64)
        side = symbols * (1 << SIDE_BITS) + self.median[:, None, None]
        mean = _through(self.mean, side, MEAN_RANGE, OUTPUT_RANGE)
        scale = _through(self.scale, side, SCALE_RANGE, SCALE_RANGE)
        index = np.searchsorted(self.thresholds, scale.astype(np.int32))  # thresholds below the scale
        return index.astype(np.uint8), mean.astype(np.int32)


def _through(
    layers: Sequence[ExactDeconv], x: NDArray[np.float64], hidden: tuple[int, int], last: tuple[int, int]
) -> NDArray[np.float64]:
    for layer in layers[:-1]:
        x = layer(x, *hidden)
    return layers[-1](x, *last)
