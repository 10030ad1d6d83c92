"""The engines that run on torch: `onednn` (int8 kernels), `float32` and `float64`. See nvc.networks.integer.

Tensors between layers are (B, H, W, C) and contiguous; a convolution sees them as channels_last.
"""

import os
from typing import Any

# oneDNN would read it when it loads and might then multiply float32 in bfloat16: not exact.
os.environ.pop("ONEDNN_DEFAULT_FPMATH_MODE", None)

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nvc.networks.block_kernels import place_blocks, requantise_planes
from nvc.networks.integer import IntConv, placed

_OUTPUTS = 64  # that oneDNN takes together where it can


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


class _FloatEngine:
    """Integers held in floating point, exact because of `IntConv.prove`."""

    name: str
    dtype: torch.dtype

    def prepare(self, conv: IntConv) -> dict[str, Any]:
        weight = torch.from_numpy(conv.weight).to(self.dtype)
        return {
            "conv": conv,
            "weight": weight.contiguous(memory_format=torch.channels_last),
            "bias": torch.from_numpy(conv.bias).to(self.dtype),
            "scale": torch.from_numpy(2.0 ** -conv.shift.astype(np.float64)),
        }

    def prepare_matrix(self, matrix: np.ndarray) -> Tensor:
        return torch.from_numpy(matrix).double()

    def latents(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values)

    def _accumulate(self, x: Tensor, layer: dict[str, Any], bias: bool) -> Tensor:
        x = _channels_first(x.to(self.dtype))
        return F.conv2d(x, layer["weight"], layer["bias"] if bias else None, padding=1).permute(0, 2, 3, 1)

    def convolve(self, x: Tensor, layer: dict[str, Any]) -> Tensor:
        conv: IntConv = layer["conv"]
        if conv.wide:
            acc = 256 * self._accumulate(x >> 8, layer, bias=False).double()
            acc += self._accumulate(x & 255, layer, bias=True)
        else:
            acc = self._accumulate(x, layer, bias=True)
        if conv.raw:
            return acc
        return acc.mul_(layer["scale"].to(acc.dtype)).round_().clamp_(0, 255)

    def matmul(self, x: Tensor, matrix: Tensor) -> Tensor:
        return x.double() @ matrix

    def blocks(self, network: Tensor, x: Tensor, matrix: Any, up: int, shift: int, low: int, high: int) -> np.ndarray:
        return self.samples(network, placed(self.matmul(x, matrix), network.shape[3]), up, shift, low, high)

    def samples(self, network: Tensor, linear: Tensor, up: int, shift: int, low: int, high: int) -> np.ndarray:
        total = torch.add(linear, network.double(), alpha=2**up)
        clipped = total.mul_(2.0**-shift).round_().clamp_(low, high)
        result: np.ndarray = clipped.to(torch.int16 if low else torch.uint8).numpy()
        return result


def _filled_up(values: Tensor) -> Tensor:
    """With zeros for outputs that there are not, to a multiple of _OUTPUTS.

    Of other numbers oneDNN takes 64 or fewer together, as suits the input's size and the number of threads. Weights put
    in order for one size are put in order anew for another, in every call, and that can take longer than the call.
    """
    missing = -len(values) % _OUTPUTS if len(values) > _OUTPUTS else 0
    return torch.cat([values, values.new_zeros((missing, *values.shape[1:]))]) if missing else values


class Float32Engine(_FloatEngine):
    """Any CPU with float32."""

    name = "float32"
    dtype = torch.float32


class Float64Engine(_FloatEngine):
    """53 bits: one product instead of two planes would do, the same code serves."""

    name = "float64"
    dtype = torch.float64


class OneDnnEngine(_FloatEngine):
    """int8 kernels (AMX, AVX-512 VNNI, AVX-VNNI) through torch's internal operator.

    They accumulate in int32 and requantise in float32 with rounding half to even: exact under `IntConv.prove`.
    On processors without VNNI the products saturate in pairs; the self-test then rejects this engine.
    """

    name = "onednn"
    dtype = torch.float32

    def prepare_matrix(self, matrix: np.ndarray) -> Any:
        """Its two 8-bit planes beside each other, matrix = 256·high + low, low signed; float64 where they do not do."""
        low = ((matrix.astype(np.int32) + 128) & 255) - 128
        planes = np.concatenate([(matrix - low) >> 8, low], axis=1)
        if planes.max() > 127 or np.abs(planes).sum(axis=0).max() >= 1 << 16 or not hasattr(torch, "_int_mm"):
            return super().prepare_matrix(matrix)
        return torch.from_numpy(planes.astype(np.int8)), torch.from_numpy(128 * planes.sum(axis=0, dtype=np.int32))

    def matmul(self, x: Tensor, matrix: Any) -> Tensor:
        if isinstance(matrix, Tensor):
            return super().matmul(x, matrix)
        high, low, offset = self._products(x, matrix)
        both = ((high << 8) + low + offset).double().tensor_split(2, dim=1)
        return torch.add(both[1], both[0], alpha=256).reshape(*x.shape[:-1], -1)

    def blocks(self, network: Tensor, x: Tensor, matrix: Any, up: int, shift: int, low: int, high: int) -> np.ndarray:
        if isinstance(matrix, Tensor):
            return super().blocks(network, x, matrix, up, shift, low, high)
        above, below, offset = (part.numpy() for part in self._products(x, matrix))
        out = np.empty(network.shape, np.int16 if low else np.uint8)
        _, rows, columns, planes = network.shape
        positions, block = x.shape[1] * x.shape[2], rows // x.shape[1]
        for i, picture in enumerate(network.reshape(-1, rows, columns * planes).numpy()):
            part, target = slice(i * positions, (i + 1) * positions), out[i].reshape(rows, -1)
            place_blocks(above[part], below[part], offset, picture, block, up, shift, low, high, target)
        return out

    @staticmethod
    def _products(x: Tensor, matrix: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Of the latents' high bytes, and their low ones minus 128, with both planes; and what that leaves out."""
        planes, offset = matrix
        rows = x.reshape(-1, len(planes))
        high = torch._int_mm((rows >> 8).to(torch.int8), planes)
        return high, torch._int_mm(((rows & 255) - 128).to(torch.int8), planes), offset

    def prepare(self, conv: IntConv) -> dict[str, Any]:
        # A raw layer, and each plane of a wide one, gives its accumulators as float32; else the kernel requantises.
        plain = conv.raw or conv.wide
        unit = torch.ones(len(conv.shift)) if plain else torch.from_numpy(2.0 ** -conv.shift.astype(np.float32))
        scale, bias = _filled_up(unit), _filled_up(torch.from_numpy(conv.bias).float() * unit)
        scale[len(unit) :] = 1
        padding = [0, 0] if conv.wide else [1, 1]
        weight = _filled_up(torch.from_numpy(conv.weight))
        packed = torch.ops.onednn.qconv_prepack(weight, scale, 1.0, 0, [1, 1], padding, [1, 1], 1, None)
        # The high plane is shifted by 128 to be unsigned; what that adds is known beforehand.
        offset = 128 * conv.weight.astype(np.int64).sum(axis=(1, 2, 3))
        return {
            "conv": conv,
            "packed": packed,
            "scale": scale,
            "zero": torch.zeros(len(scale), dtype=torch.int64),
            "bias": bias,
            "offset": torch.from_numpy(256.0 * offset - conv.bias),
            "requantise": torch.from_numpy(2.0 ** -conv.shift.astype(np.float64)),
            "padding": padding,
        }

    def _kernel(self, x: Tensor, layer: dict[str, Any], bias: Tensor | None, requantise: bool) -> Tensor:
        out = torch.ops.onednn.qconv2d_pointwise(
            _channels_first(x), 1.0, 0, layer["packed"], layer["scale"], layer["zero"], bias,
            [1, 1], layer["padding"], [1, 1], 1, 1.0, 0,
            torch.uint8 if requantise else torch.float32, "relu" if requantise else "none", [], "",
        )  # fmt: skip
        return out.permute(0, 2, 3, 1)[..., : len(layer["conv"].bias)]  # type: ignore[no-any-return]

    def convolve(self, x: Tensor, layer: dict[str, Any]) -> Tensor:
        conv: IntConv = layer["conv"]
        if not conv.wide:
            return self._kernel(x, layer, layer["bias"], requantise=not conv.raw).contiguous()
        around = (0, 0, 1, 1, 1, 1)  # the border of the high plane is 0 + 128
        high = F.pad(((x >> 8) + 128).to(torch.uint8), around, value=128)
        low = F.pad((x & 255).to(torch.uint8), around)
        above, below = (self._kernel(plane, layer, None, requantise=False) for plane in (high, low))
        if conv.raw:
            return 256 * above.double() + below - layer["offset"]
        above, below = above.contiguous(), below.contiguous()
        out = torch.empty(above.shape, dtype=torch.uint8)
        flat = [part.reshape(-1, len(conv.bias)).numpy() for part in (above, below, out)]
        requantise_planes(flat[0], flat[1], layer["offset"].numpy(), layer["requantise"].numpy(), flat[2])
        return out


def full_float32() -> None:
    """Products of float32 in float32, not in the shorter types that some processors have for it."""
    torch.set_float32_matmul_precision("highest")


def make(name: str) -> _FloatEngine:
    """An engine by its name. RuntimeError where torch lacks what it needs."""
    full_float32()
    if name == "onednn":
        if not torch.backends.mkldnn.is_available():
            raise RuntimeError("torch was built without oneDNN")
        return OneDnnEngine()
    return Float32Engine() if name == "float32" else Float64Engine()
