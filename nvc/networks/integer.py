"""Exact integer convolution: one definition, several engines that agree bit for bit (FORMAT.md 10).

The result is defined by arithmetic, not by a kernel:

    acc = Σ weight·input + bias                       in integers
    out = clamp(round_half_even(acc / 2^shift), 0, 255)

Any engine that computes integers exactly gives the same numbers. Weights are int8. Inputs are uint8, or int16 taken
as two 8-bit planes, 256·high + low. `IntConv.prove` shows that no plane product leaves (-2^24, 2^24), where float32
is exact in any order of summation; planes are put together in float64 or int64.

This module needs no torch: `NumpyEngine` is the referee. Arrays are (B, H, W, C) here and in every engine.
"""

import math
import os
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np

from nvc.errors import NvcError

EXACT = 1 << 24  # float32 holds every integer up to here
SHIFT_MAX = 31
LATENT_MAX = 32767  # int16, the range of a dequantised latent (FORMAT.md 10)
ENGINES = ("onednn", "float32", "float64", "numpy")


@dataclass(frozen=True, eq=False)
class IntConv:
    """A 3x3 convolution, stride 1, zero padding 1.

    weight: (O, I, 3, 3) int8; bias: (O,) int32; shift: (O,) int8, 0..31, a power of two for each output channel;
    wide: the input is int16 (else uint8); raw: give the accumulators themselves (else requantise to uint8).
    """

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    wide: bool = False
    raw: bool = False

    def prove(self) -> None:
        """Raise ValueError unless every accumulator of every engine stays exact for every legal input."""
        outputs = len(self.weight)
        if self.weight.dtype != np.int8 or self.weight.shape[2:] != (3, 3):
            raise ValueError(f"a layer's weight is {self.weight.dtype} of shape {self.weight.shape}")
        if self.bias.shape != (outputs,) or self.shift.shape != (outputs,):
            raise ValueError("a layer has not one bias and one shift for each output")
        if self.shift.min() < 0 or self.shift.max() > SHIFT_MAX:
            raise ValueError(f"a shift is outside 0..{SHIFT_MAX}")
        total = np.abs(self.weight.astype(np.int64)).sum(axis=(1, 2, 3))
        # 255 bounds both planes: the low one is 0..255, the high one -128..127 (0..255 after an engine's offset).
        worst = total * 255 + np.abs(self.bias.astype(np.int64))
        if (worst >= EXACT).any():
            raise ValueError(f"an accumulator may reach {worst.max()}, float32 is exact only below {EXACT}")


def round_shift(values: np.ndarray, shift: Any) -> np.ndarray:
    """values / 2^shift, rounded half to even; int64 in and out."""
    shift = np.asarray(shift, dtype=np.int64)
    half = (np.int64(1) << shift) >> 1
    odd = (values >> shift) & 1
    return np.where(shift > 0, (values + half - 1 + odd) >> shift, values)


def depth_to_space(x: Any) -> Any:
    """(B, H, W, 4C) -> (B, 2H, 2W, C): channel (2·dy + dx)·C + c goes to pixel (dy, dx). Numpy or torch."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4)
    x = x.swapaxes(2, 3) if isinstance(x, np.ndarray) else x.transpose(2, 3)
    return x.reshape(b, 2 * h, 2 * w, c // 4)


def space_to_depth(x: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (H/2, W/2, 4C): pixel (dy, dx) goes to the channels (2·dy + dx)·C + c."""
    h, w, c = x.shape
    return np.ascontiguousarray(x.reshape(h // 2, 2, w // 2, 2, c).swapaxes(1, 2)).reshape(h // 2, w // 2, 4 * c)


def beside(x: Any, more: Any) -> Any:
    """(B, H, W, C) and (B, H, W, D) -> (B, H, W, C + D). Numpy or torch."""
    if isinstance(x, np.ndarray):
        return np.concatenate([x, more], -1)
    import torch  # what x is of: loaded

    return torch.cat([x, more], -1)


def placed(linear: Any, planes: int) -> Any:
    """Blocks (B, H, W, block²·planes), in the order row, column, plane -> (B, block·H, block·W, planes)."""
    b, h, w, n = linear.shape
    block = math.isqrt(n // planes)
    return linear.reshape(b, h, w, block, block, planes).swapaxes(2, 3).reshape(b, block * h, block * w, planes)


class Engine(Protocol):
    """What a decoder needs of an engine. Tensors are the engine's own, (B, H, W, C)."""

    name: str

    def prepare(self, conv: IntConv) -> Any:
        """The layer in the engine's own form; do it once for every layer."""

    def latents(self, values: np.ndarray) -> Any:
        """int16 (B, H, W, C) to the engine."""

    def convolve(self, x: Any, layer: Any) -> Any:
        """One layer, as defined above."""

    def matmul(self, x: Any, matrix: Any) -> Any:
        """int16 latents (B, H, W, C) times an int16 (C, N) matrix: exact sums, |sum| < 2^53."""

    def prepare_matrix(self, matrix: np.ndarray) -> Any:
        """The matrix in the engine's own form."""

    def blocks(self, network: Any, x: Any, matrix: Any, up: int, shift: int, low: int, high: int) -> np.ndarray:
        """`samples` of the network's output (B, block·H, block·W, planes) and the blocks that `matmul` gives."""

    def samples(self, network: Any, linear: Any, up: int, shift: int, low: int, high: int) -> np.ndarray:
        """clamp(round_half_even((network·2^up + linear) / 2^shift), low, high): uint8 for low = 0, else int16."""


class NumpyEngine:
    """int64 all through: slow, and beyond doubt."""

    name = "numpy"

    def prepare(self, conv: IntConv) -> IntConv:
        return conv

    def prepare_matrix(self, matrix: np.ndarray) -> np.ndarray:
        return matrix.astype(np.int64)

    def latents(self, values: np.ndarray) -> np.ndarray:
        return values.astype(np.int64)

    def convolve(self, x: np.ndarray, layer: IntConv) -> np.ndarray:
        b, h, w, _ = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        weight = layer.weight.astype(np.int64)
        acc = np.broadcast_to(layer.bias.astype(np.int64), (b, h, w, len(layer.bias))).copy()
        for i in range(3):
            for j in range(3):
                acc += padded[:, i : i + h, j : j + w] @ weight[:, :, i, j].T
        return acc if layer.raw else np.clip(round_shift(acc, layer.shift), 0, 255)

    def matmul(self, x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        product: np.ndarray = x @ matrix
        return product

    def blocks(
        self, network: np.ndarray, x: np.ndarray, matrix: np.ndarray, up: int, shift: int, low: int, high: int
    ) -> np.ndarray:
        return self.samples(network, placed(self.matmul(x, matrix), network.shape[3]), up, shift, low, high)

    def samples(self, network: np.ndarray, linear: np.ndarray, up: int, shift: int, low: int, high: int) -> np.ndarray:
        clipped = np.clip(round_shift((network << up) + linear, shift), low, high)
        return clipped.astype(np.int16 if low else np.uint8)


def probe(layer: IntConv) -> IntConv:
    """A layer of the same kind whose sums overflow first: as many weights of 127 as the proof allows, in quads.

    Kernels without VNNI add products of neighbouring channels in 16 bits: here every such pair saturates. A part of
    the outputs is enough for that.
    """
    outputs, inputs = min(32, len(layer.weight)), layer.weight.shape[1]
    flat = np.zeros((outputs, 9 * inputs), np.int8)  # (output, tap, channel)
    quads = max(1, 9 * inputs // 4)
    used = min(quads, (EXACT - 1) // (255 * 4 * 127))
    chosen = np.arange(used) * quads // used
    flat[:, (4 * chosen[:, None] + np.arange(4)).ravel() % (9 * inputs)] = 127
    if layer.raw:
        flat[1::2] *= -1  # else these would all be clamped to 0
    weight = np.ascontiguousarray(flat.reshape(outputs, 3, 3, inputs).transpose(0, 3, 1, 2))
    return replace(layer, weight=weight, bias=np.zeros(outputs, np.int32), shift=np.full(outputs, 16, np.int8))


def agrees(engine: Engine, layers: list[IntConv], matrix: np.ndarray | None = None) -> bool:
    """Self-test: the engine against int64 arithmetic, on the real layers, with the inputs that overflow first.

    matrix: of the linear path, where there is one; int16.
    """
    rng = np.random.default_rng(5)
    for layer in layers:
        channels = layer.weight.shape[1]
        extremes = (-32768, 32767, -1, 255) if layer.wide else (0, 255)
        kind = np.int16 if layer.wide else np.uint8
        x = rng.choice(extremes, (1, 2, 3, channels)).astype(kind)
        # The sign pattern of one output's weights drives that accumulator to its largest value.
        peak = np.abs(layer.weight.astype(np.int64)).sum(axis=(1, 2, 3)).argmax()
        x[0, 1, 1] = np.where(layer.weight[peak, :, 1, 1] > 0, extremes[1], extremes[0])
        if not _agrees(engine, layer, x) or not _agrees(engine, probe(layer), np.full_like(x, extremes[1])):
            return False
    return matrix is None or all(_multiplies(engine, tried) for tried in (matrix, matrix_probe(matrix)))


def matrix_probe(matrix: np.ndarray) -> np.ndarray:
    """A matrix of as many rows with 127 in both bytes, of either sign: products in 8 bits saturate first with those."""
    largest = 127 * 256 + 127
    return np.tile(np.array([largest, -largest], np.int16), (len(matrix), 2))


def _multiplies(engine: Engine, matrix: np.ndarray) -> bool:
    channels = len(matrix)
    extremes = np.array([-32768, 32767, -1, 255], np.int16)
    x = np.random.default_rng(6).choice(extremes, (1, 2, 3, channels))
    peak = matrix[:, np.abs(matrix.astype(np.int64)).sum(axis=0).argmax()]
    x[0, 0, 0], x[0, 1, 1] = extremes[1], np.where(peak > 0, extremes[1], extremes[0])
    got = np.asarray(engine.matmul(engine.latents(x), engine.prepare_matrix(matrix)))
    return np.array_equal(x.astype(np.int64) @ matrix.astype(np.int64), got.astype(np.int64))


def _agrees(engine: Engine, layer: IntConv, x: np.ndarray) -> bool:
    want = NumpyEngine().convolve(x.astype(np.int64), layer)
    got = np.asarray(engine.convolve(engine.latents(x), engine.prepare(layer)))
    return np.array_equal(want, got.astype(np.int64))


@cache
def _make(name: str) -> Engine:
    if name == "numpy":
        return NumpyEngine()
    from nvc.networks import torch_engines

    engine: Engine = torch_engines.make(name)
    return engine


def choose_engine(layers: list[IntConv], name: str | None = None, matrix: np.ndarray | None = None) -> Engine:
    """The fastest engine that passes its self-test here, or the one that `name` or NVC_ENGINE asks for.

    matrix: see `agrees`.
    Raises NvcError when the one asked for is unknown or fails.
    """
    asked = name or os.environ.get("NVC_ENGINE") or None
    if asked is not None and asked not in ENGINES:
        raise NvcError(f"NVC_ENGINE={asked}: unknown engine (one of {', '.join(ENGINES)})")
    for candidate in (asked,) if asked else ENGINES:
        try:
            engine = _make(candidate)
            if agrees(engine, layers, matrix):
                return engine
            reason = "its results are not exact on this processor"
        except (RuntimeError, ImportError, AttributeError) as exc:
            reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        if asked:
            raise NvcError(f"NVC_ENGINE={asked}: the self-test failed: {reason}")
    raise NvcError("no integer engine works here")  # numpy cannot fail
