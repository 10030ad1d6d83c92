"""Coefficients beside or in place of latents, as a weight file has them (FORMAT.md 9, 17)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.entropy_coding.adaptive import beginning
from nvc.entropy_models.coefficients import CONTEXTS
from nvc.networks.steps import LEVELS, STEP_ONE, prove
from nvc.networks.transform import UNIT_BITS

LAYER_BITS = 2  # of the choice of layers
PREFIX = "transform."
CHANCES: Mapping[FrameType, str] = MappingProxyType({FrameType.P: "p", FrameType.B: "b"})
# A step, times the root of the bits that a squared error is worth. 2.6 and 3.6 give 0.4 and 0.6 % more bytes.
_STEP = 3.0


class Layers(IntEnum):
    """What stands behind a mode."""

    LATENTS = 0
    COEFFICIENTS = 1
    BOTH = 2


@dataclass(frozen=True, eq=False)
class Transform:
    """log_step: (8, 2) int32, of luma and chroma; chances: by frame type (CONTEXTS,) uint16, at the beginning.

    Raises ValueError for what no decoder takes.
    """

    log_step: NDArray[np.int32]
    chances: Mapping[FrameType, NDArray[np.uint16]]

    def __post_init__(self) -> None:
        if self.log_step.shape != (LEVELS, 2) or self.log_step.dtype != np.int32:
            raise ValueError("the steps of its transform are of no kind known here")
        prove(self.log_step)
        for chances in self.chances.values():
            if chances.shape != (CONTEXTS,) or chances.dtype != np.uint16:
                raise ValueError("the chances of its coefficients are of no kind known here")
            beginning(chances)

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> Self | None:
        """Of a decoder's tensors; None where it has none. KeyError, ValueError."""
        if not any(name.startswith(PREFIX) for name in tensors):
            return None
        return cls(tensors[f"{PREFIX}log_step"], {kind: tensors[f"{PREFIX}{name}"] for kind, name in CHANCES.items()})

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `of`."""
        return {f"{PREFIX}log_step": self.log_step} | {
            f"{PREFIX}{name}": self.chances[kind] for kind, name in CHANCES.items()
        }


def untrained(worths: NDArray[np.float64]) -> Transform:
    """Before anything is known of chances.

    worths: (8, 2) bits that a squared grey level of luma and of chroma is worth at each level.
    """
    return Transform(step_tensor(worths), {kind: np.full(CONTEXTS, 1 << 14, np.uint16) for kind in CHANCES})


def step_tensor(worths: NDArray[np.float64]) -> NDArray[np.int32]:
    """log_step that suits squared errors that are worth so many bits, (8, 2)."""
    return np.rint(STEP_ONE * (UNIT_BITS + np.log2(_STEP / np.sqrt(worths)))).astype(np.int32)
