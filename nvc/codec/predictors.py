"""Predicted blocks of I frames, as a weight file has what they need (FORMAT.md 9, 18)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nvc.codec.transform import step_tensor
from nvc.entropy_coding.adaptive import beginning
from nvc.entropy_models.predicted_blocks import PREDICTED_CONTEXTS, Counts
from nvc.networks.block_prediction import Predictors, check
from nvc.networks.steps import LEVELS, prove

BLOCKS_BITS = 2  # of the choice of predicted blocks
PREFIX = "predictors."


class Blocks(IntEnum):
    """What an I frame is."""

    LATENTS = 0
    PREDICTED = 1
    SMOOTHED = 2  # predicted, with smoother edges


KINDS = ("luma_8", "luma_16", "chroma")


@dataclass(frozen=True, eq=False)
class Prediction:
    """predictors: see nvc.networks.block_prediction; log_step: (8, 2) int32, of luma and chroma; chances: (8,
    PREDICTED_CONTEXTS) uint16, of each level at the beginning of a frame.

    Raises ValueError for what no decoder takes.
    """

    predictors: Predictors
    log_step: NDArray[np.int32]
    chances: NDArray[np.uint16]

    def __post_init__(self) -> None:
        check(self.predictors)
        if self.log_step.shape != (LEVELS, 2) or self.log_step.dtype != np.int32:
            raise ValueError("the steps of its predicted blocks are of no kind known here")
        prove(self.log_step)
        if self.chances.shape != (LEVELS, PREDICTED_CONTEXTS) or self.chances.dtype != np.uint16:
            raise ValueError("the chances of its predicted blocks are of no kind known here")
        beginning(self.chances.reshape(-1))

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> Self | None:
        """Of a decoder's tensors; None where it has none. KeyError, ValueError."""
        if not any(name.startswith(PREFIX) for name in tensors):
            return None
        luma_8, luma_16, chroma = (tensors[PREFIX + kind] for kind in KINDS)
        return cls((luma_8, luma_16, chroma), tensors[f"{PREFIX}log_step"], tensors[f"{PREFIX}chances"])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `of`."""
        matrices = {PREFIX + kind: one for kind, one in zip(KINDS, self.predictors, strict=True)}
        return {**matrices, f"{PREFIX}log_step": self.log_step, f"{PREFIX}chances": self.chances}

    @property
    def counts(self) -> Counts:
        """How many predictors of each kind."""
        luma_8, luma_16, chroma = self.predictors
        return len(luma_8), len(luma_16), len(chroma)


def untrained_prediction(predictors: Predictors, worths: NDArray[np.float64]) -> Prediction:
    """Before anything is known of chances.

    worths: (8, 2) bits that a squared grey level of luma and of chroma is worth at each level.
    """
    return Prediction(predictors, step_tensor(worths), np.full((LEVELS, PREDICTED_CONTEXTS), 1 << 15, np.uint16))
