"""Scale-space flow, our size, in integers through to the 8-bit planes (FORMAT.md, "Video networks").

I: intra latents ─ synthesis ─ planes
P: motion latents ─ synthesis ─ flow, scale ─ warp(reference) ─ prediction ─┐
   residual latents ─ synthesis ─ residual ─────────────────────────────────┴─ + ─ clamp ─ planes
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.frames import Frame420
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.hyper_integer import SIDE_STRIDE, HyperDecoder, dequantise
from nvc.networks.planes import LATENT_STRIDE, PLANES
from nvc.networks.resynthesis import Resynthesis
from nvc.networks.steps import QualityCode
from nvc.networks.warp import FLOW_LIMIT, SCALE_LIMIT, predict

PIXEL_UNIT = 255 * 8.0  # latent units in a sample of 0..1
ENERGY = np.array([0.75] * 4 + [0.5] * 2)  # of a squared error in each plane: 3/4 of 4 luma samples, 1/4 of 2
FLOW_UNIT = 16 * 8.0  # latent units in a luma pixel of flow


@dataclass(frozen=True, eq=False)
class IntraDecoder(BlockDecoder):
    """Six planes of an I frame."""

    upsampling: ClassVar[tuple[bool, ...]] = (True,) * 3
    planes: ClassVar[int] = PLANES
    unit: ClassVar[float] = PIXEL_UNIT


@dataclass(frozen=True, eq=False)
class ResidualDecoder(IntraDecoder):
    """What is added to six planes of a prediction."""


@dataclass(frozen=True, eq=False)
class MotionDecoder(BlockDecoder):
    """Flow in 1/16 luma pixel and scale in 1/16 pyramid level, on the 1/8 grid."""

    upsampling: ClassVar[tuple[bool, ...]] = (False, True)
    planes: ClassVar[int] = 3
    limit: ClassVar[int] = FLOW_LIMIT
    unit: ClassVar[float] = FLOW_UNIT


KINDS: dict[str, type[BlockDecoder]] = {"intra": IntraDecoder, "motion": MotionDecoder, "residual": ResidualDecoder}


class Information:
    """One information (a side and a main latent): hyper-synthesis and synthesis, on the engines that are best here."""

    def __init__(self, kind: type[BlockDecoder], tensors: dict[str, NDArray[Any]]) -> None:
        """tensors: of the information, those of its hyper-synthesis with `hyper.` before their names.

        KeyError or ValueError unless they are sound and proven exact.
        """
        hyper = {key.removeprefix("hyper."): value for key, value in tensors.items() if key.startswith("hyper.")}
        own = {key: value for key, value in tensors.items() if not key.startswith("hyper.")}
        self.decoder = kind.from_tensors(own)
        self.hyper = HyperDecoder.from_tensors(hyper)
        if self.hyper.latents != len(self.decoder.linear):
            raise ValueError("the hyper-synthesis is of other latents than the synthesis")
        self._synthesis = self.decoder.prepare()
        self._hyper = self.hyper.prepare()

    @property
    def unit(self) -> float:
        """Latent units in one unit of what the analysis gives."""
        return self.decoder.unit  # type: ignore[attr-defined, no-any-return]

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """(M,) squared error of planes in (6Y + U + V)/8, squared grey levels, of one latent unit: linear path."""
        total: NDArray[np.float64] = np.square(self.linear).sum((1, 2)) @ ENERGY
        return total

    @cached_property
    def linear(self) -> NDArray[np.float64]:
        """(M, block, block, planes) samples of one latent unit: linear path."""
        block = self.decoder.block
        found: NDArray[np.float64] = self.decoder.linear * 2.0**-self.decoder.shift
        return found.reshape(len(found), block, block, -1)

    def parameters(
        self, z: NDArray[np.int32], quality_code: QualityCode, height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """Scale indexes and means (1/16 symbol) of y, (M, height, width) each."""
        return self._hyper.parameters(z, quality_code, height, width)

    def samples(
        self, symbols: NDArray[np.int32], mean: NDArray[np.int16], quality_code: QualityCode, residual: bool,
        given: NDArray[Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """(M, h, w) symbols and means -> (block·h, block·w, planes): uint8, or an int16 residual.

        given: what the shortcut of a residual sees, see nvc.networks.block_synthesis.
        """
        latents = dequantise(symbols, mean, self.decoder.log_step, quality_code)
        if residual:
            return self._synthesis.residual(latents, given)
        h, w, _ = latents.shape
        return self._synthesis.picture(latents, self.decoder.block * h, self.decoder.block * w)

    def again(
        self, quality_code: QualityCode, given: NDArray[Any] | None
    ) -> Callable[[NDArray[np.int32], NDArray[np.int16]], NDArray[np.int16]]:
        """Residuals of symbols and means as `samples` makes them, for symbols that change little from call to call."""
        made = Resynthesis(self._synthesis, given)

        def samples(symbols: NDArray[np.int32], mean: NDArray[np.int16]) -> NDArray[np.int16]:
            return made(dequantise(symbols, mean, self.decoder.log_step, quality_code))

        return samples


def main_shape(height: int, width: int) -> tuple[int, int]:
    """Positions of y for a frame of so many luma pixels."""
    return -(-height // LATENT_STRIDE), -(-width // LATENT_STRIDE)


def side_shape(height: int, width: int) -> tuple[int, int]:
    """Positions of z."""
    h, w = main_shape(height, width)
    return -(-h // SIDE_STRIDE), -(-w // SIDE_STRIDE)


def flow_and_scale(motion: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Samples of the motion synthesis (2h, 2w, 3) -> flow (2, 2h, 2w), scale (2h, 2w)."""
    flow = np.ascontiguousarray(motion[:, :, :2].transpose(2, 0, 1))
    return flow, np.clip(motion[:, :, 2], 0, SCALE_LIMIT).astype(np.uint8)


def add_residual(prediction: Frame420, residual: NDArray[np.int16]) -> Frame420:
    """prediction + residual (six planes, int16, at least as large), clamped to 8 bits."""
    planes = [np.empty_like(plane) for plane in prediction.planes]
    _add_luma(prediction.y, residual, planes[0])
    _add_chroma(prediction.u, residual, 4, planes[1])
    _add_chroma(prediction.v, residual, 5, planes[2])
    return Frame420(*planes)


__all__ = ["Information", "add_residual", "flow_and_scale", "main_shape", "predict", "side_shape"]


@njit
def _add_luma(prediction, residual, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            value = np.int32(prediction[y, x]) + residual[y >> 1, x >> 1, 2 * (y & 1) + (x & 1)]
            out[y, x] = min(max(value, 0), 255)


@njit
def _add_chroma(prediction, residual, plane, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = min(max(np.int32(prediction[y, x]) + residual[y, x, plane], 0), 255)
