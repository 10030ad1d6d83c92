"""What one frame sends, as integers: what entropy coding carries, whatever the codec."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.coefficients import Coefficients


@dataclass(frozen=True, eq=False)
class Latents:
    """One information. z: (N, hz, wz) int32; symbols: (M, h, w) int32; index: (M, h, w) uint8, 0..63; mean: (M, h, w)
    int16, 1/16.

    index and mean follow from z; the quantised main latent is symbols + mean/16, in steps. (Published models: mean is
    int32 in 1/256.)
    """

    z: NDArray[np.int32]
    symbols: NDArray[np.int32]
    index: NDArray[np.uint8]
    mean: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Content:
    """latents: by information; choices: small numbers, whose widths a backend gives (VideoBackend.choice_bits);
    coefficients: behind the latents, in frames that have some (VideoBackend.chances).
    """

    latents: Mapping[str, Latents]
    choices: tuple[int, ...] = ()
    coefficients: Coefficients | None = None
