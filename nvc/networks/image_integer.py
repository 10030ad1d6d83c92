"""The image decoder in integers: latents to 8-bit pixels (FORMAT.md 10). No torch unless the engine needs it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.networks.block_synthesis import BlockDecoder, Synthesis
from nvc.networks.integer import LATENT_MAX, round_shift
from nvc.networks.steps import LEVELS, MANTISSA, MANTISSA_BITS, STEP_ONE, steps

__all__ = ["BLOCK", "LEVELS", "MANTISSA", "MANTISSA_BITS", "STEP_ONE", "UNIT", "ImageDecoder", "Synthesis"]

BLOCK = 16  # pixels per latent position, both ways
LATENT_UNIT = 8  # steps of a latent per pixel level
UNIT = 255 * LATENT_UNIT  # latent units in a pixel of 0..1


@dataclass(frozen=True, eq=False)
class ImageDecoder(BlockDecoder):
    """Decoder tensors of one image model: four layers, RGB."""

    upsampling: ClassVar[tuple[bool, ...]] = (True,) * 4
    planes: ClassVar[int] = 3
    rdoq_passes: ClassVar[int] = 3
    unit: ClassVar[float] = float(UNIT)

    def steps(self, quality_code: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Mantissas and shifts, (M,) each, of the steps at quality 1 + quality_code/4096: step = mantissa / 2^shift."""
        return steps(self.log_step, quality_code)

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
