"""Conditional coding, our size, in integers through to the 8-bit planes (FORMAT.md 16).

mode latents ─ synthesis ─ flows, weight, share        codec latents ─ synthesis ─ what the prediction lacks
                  └ steady flows                                           └ prediction
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.frames import Frame420
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.hyper_integer import dequantise
from nvc.networks.planes import PLANES
from nvc.networks.ssf_integer import FLOW_UNIT, PIXEL_UNIT
from nvc.networks.steps import LEVELS
from nvc.networks.warp import FLOW_LIMIT
from nvc.networks.warp_kernels import interpolate
from nvc.threads import spread

GREY = 128  # every sample of what I frames are predicted as
SHARE_ONE = 64  # parts that shares are given in
SKIP_LATENT = 40  # the latent of the mode that says where nothing is coded
SKIPPED = -1024  # it does, below this: minus eight luma pixels
_ROWS = 64  # of a plane, by one thread at a time


@dataclass(frozen=True, eq=False)
class CodecDecoder(BlockDecoder):
    """What six planes of a prediction lack."""

    upsampling: ClassVar[tuple[bool, ...]] = (True, True, True, False)
    planes: ClassVar[int] = PLANES
    unit: ClassVar[float] = PIXEL_UNIT
    shortcut: ClassVar[int] = 2
    joined: ClassVar[int] = 2
    seen: ClassVar[int] = 4 * PLANES


@dataclass(frozen=True, eq=False)
class ModeDecoder(BlockDecoder):
    """Differences of the flows to both references in 1/16 luma pixel, weight and share in 1/128, on the 1/8 grid."""

    upsampling: ClassVar[tuple[bool, ...]] = (False, True)
    halo: ClassVar[int] = 3  # of the shortcut: three 3x3 layers, one of them behind it
    planes: ClassVar[int] = 6
    limit: ClassVar[int] = FLOW_LIMIT
    unit: ClassVar[float] = FLOW_UNIT
    shortcut: ClassVar[int] = 2
    joined: ClassVar[int] = 1
    seen: ClassVar[int] = 16
    wide: ClassVar[bool] = True

    def prove(self) -> None:
        """See BlockDecoder; there is a latent that says what is skipped."""
        super().prove()
        if len(self.linear) <= SKIP_LATENT:
            raise ValueError(f"the mode has {len(self.linear)} latents, none of which says what is skipped")


def flow_behind(numbers: NDArray[np.int32]) -> NDArray[np.int16]:
    """Flow of a P frame (2, 2h, 2w), 1/16 luma pixel, of its mode's numbers (6, 2h, 2w)."""
    return np.clip((numbers[:2] + numbers[2:4] + 1) >> 1, -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)


def skipped(
    symbols: NDArray[np.int32], mean: NDArray[np.int16], log_step: NDArray[np.int32], quality_code: int
) -> NDArray[np.bool_]:
    """(h, w) where nothing is coded, of the mode's symbols and means (M, h, w); log_step: (8, M)."""
    assert len(log_step) == LEVELS
    one = slice(SKIP_LATENT, SKIP_LATENT + 1)
    latent = dequantise(symbols[one], mean[one], log_step[:, one], quality_code)
    return latent[:, :, 0] < SKIPPED


def add_shared(prediction: Frame420, residual: NDArray[np.int16], share: NDArray[np.uint8]) -> Frame420:
    """prediction + share · residual (six planes, int16, at least as large), clamped to 8 bits.

    share: (2h, 2w) of the grid of 8x8 luma pixels in 1/64; bilinear between its cells.
    """
    planes = [np.empty_like(plane) for plane in prediction.planes]
    for number, (plane, out) in enumerate(zip(prediction.planes, planes, strict=True)):

        def strip(
            top: int, number: int = number, plane: NDArray[np.uint8] = plane, out: NDArray[np.uint8] = out
        ) -> None:
            rows = slice(top, top + _ROWS)
            if number == 0:
                _luma_rows(plane[rows], residual, share, top, out[rows])
            else:
                _chroma_rows(plane[rows], residual, 3 + number, share, top, out[rows])

        spread(strip, range(0, len(plane), _ROWS))
    return Frame420(*planes)


@njit
def _luma_rows(prediction, residual, share, top, out):  # type: ignore[no-untyped-def]
    shares = np.empty(out.shape[1], np.int32)
    for row in range(out.shape[0]):
        y = top + row
        interpolate(share, y, 3, shares)
        for x in range(out.shape[1]):
            lacking = np.int32(residual[y >> 1, x >> 1, 2 * (y & 1) + (x & 1)])
            value = np.int32(prediction[row, x]) + ((lacking * shares[x] + np.int32(32)) >> np.int32(6))
            out[row, x] = min(max(value, 0), 255)


@njit
def _chroma_rows(prediction, residual, plane, share, top, out):  # type: ignore[no-untyped-def]
    shares = np.empty(out.shape[1], np.int32)
    for row in range(out.shape[0]):
        interpolate(share, top + row, 2, shares)
        for x in range(out.shape[1]):
            lacking = np.int32(residual[top + row, x, plane])
            value = np.int32(prediction[row, x]) + ((lacking * shares[x] + np.int32(32)) >> np.int32(6))
            out[row, x] = min(max(value, 0), 255)
