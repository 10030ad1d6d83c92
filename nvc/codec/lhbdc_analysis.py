"""What an encoder of the bi-directional codec sends of motion: flows where they pay, steady motion elsewhere.

By luma alone. A flow that predicts a little better than steady motion may cost more bits than that saves: each 16x16
block takes the flows of both directions or none of them, by rate + λ · squared error (docs/lhbdc.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks.blend import WEIGHT_ONE, blend_plane
from nvc.networks.cell_sums import apart, leaning
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.lhbdc import WEIGHT_PRIOR, WEIGHT_UNIT
from nvc.networks.steps import STEP_ONE
from nvc.networks.symmetric import SIGNS
from nvc.networks.warp import FLOW_LIMIT, Pyramid, halvings, predict_plane, stack
from nvc.networks.warp_kernels import PAD, Plane

LUMA_WEIGHT = 0.75  # of a squared error in (6Y + U + V)/8
BITS_OF_STEP = 4.0  # numbers of a quarter of a step are taken to cost a bit: log2(1 + 4 · number / step), halved
BITS_SHARE = 0.5

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Price:
    """step: of the motion latents, luma pixels; lagrangian: bits that a squared grey level of luma is worth."""

    step: float
    lagrangian: float

    @classmethod
    def at(cls, quality_code: int, step: float) -> "Price":
        """Of a frame of that quality."""
        return cls(step, LUMA_WEIGHT * squared_error_worth(quality_code))


def squared_error_worth(quality_code: int) -> float:
    """Bits that a squared grey level in (6Y + U + V)/8 is worth: λ, between levels and beyond them."""
    logs = np.log(LAMBDAS)
    level = quality_code / STEP_ONE
    below = max(min(int(level), len(logs) - 2), 0)  # below level 1 the slope goes on, as that of steps does
    return float(np.exp(logs[below] + (level - below) * (logs[below + 1] - logs[below])))


class LumaPair:
    """Luma of a frame and of its two references, each prepared once."""

    def __init__(self, frame: Frame420, references: Sequence[Frame420]) -> None:
        self.luma = frame.y
        levels = [halvings(plane, 2) for plane in (frame.y, *(reference.y for reference in references))]
        self._pyramids: list[Pyramid] = [stack(level[:1]) for level in levels[1:]]
        self._half_luma = levels[0][1][PAD:-PAD, PAD:-PAD]
        self._halves: list[Pyramid] = [stack(level[1:]) for level in levels[1:]]

    def numbers(self, flows: Floats, steady: NDArray[np.int16], price: Price) -> tuple[Floats, Floats, Floats]:
        """What the motion analysis is given: numbers to code (5, 2h, 2w), errors of predictions (3, 2h, 2w) in 0..1;
        and the squared error of the mixed prediction in each 16x16 block, (h, w), squared grey levels.

        flows: (4, 2h, 2w) luma pixels, to both references; steady: the same as the decoder knows them, 1/16 pixel.
        """
        known = steady / np.float32(16)
        flows = np.where(self._pays(flows, known, price), flows, known).astype(np.float32)
        before, behind = self._warp(flows, self._pyramids, self.luma.shape)
        weight = best_weight(self.luma, before, behind)
        mixed = self._mix(before, behind, weight)
        errors = np.stack([cell_errors(prediction, self.luma) for prediction in (before, behind, mixed)])
        numbers = np.concatenate([SIGNS * (flows - known), WEIGHT_UNIT * (weight[None] - np.float32(0.5))])
        return numbers.astype(np.float32), errors, block_errors(mixed, self.luma)

    def _pays(self, flows: Floats, known: Floats, price: Price) -> NDArray[np.bool_]:
        """(2h, 2w) whether the flows of a cell's 16x16 block are worth their bits."""
        gain = self._squared_error(known) - self._squared_error(flows)
        bits = BITS_SHARE * np.log2(1 + BITS_OF_STEP / price.step * np.abs(flows - known)).sum(0)
        pays: NDArray[np.bool_] = price.lagrangian * gain > _blocks(bits)
        return pays.repeat(2, 0).repeat(2, 1)

    def _squared_error(self, flows: Floats) -> Floats:
        """Of the best mix of both predictions in each 16x16 block, (h, w); by luma at half its size."""
        planes = self._warp(flows, self._halves, self._half_luma.shape, half=True)
        products, squared, offs = (sums.astype(np.float32) for sums in leaning(self._half_luma, *planes))
        share = _from_mean(products, squared)
        h, w = (n // 2 for n in flows.shape[1:])
        return 4 * (offs / 4 - share * products + np.square(share) * squared)[:h, :w]

    def _warp(
        self, flows: Floats, pyramids: Sequence[Pyramid], shape: tuple[int, ...], *, half: bool = False
    ) -> tuple[Plane, Plane]:
        vectors = np.clip(np.rint(flows * 16), -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
        sharp = np.zeros(vectors.shape[1:], np.uint8)
        before, behind = (
            predict_plane(pyramid, shape, vectors[2 * i : 2 * i + 2], sharp, chroma=half)
            for i, pyramid in enumerate(pyramids)
        )
        return before, behind

    @staticmethod
    def _mix(before: Plane, behind: Plane, weight: Floats) -> Plane:
        return blend_plane(before, behind, np.rint(weight * WEIGHT_ONE).astype(np.uint8), chroma=False)


def best_weight(luma: Plane, before: Plane, behind: Plane) -> Floats:
    """As nvc.networks.lhbdc.best_weight, (2h, 2w), of planes of a frame and its predictions."""
    products, squared, _ = leaning(luma, before, behind)
    weight: Floats = np.float32(0.5) + _from_mean(products.astype(np.float32), squared.astype(np.float32))
    return weight


def _from_mean(products: Floats, squared: Floats) -> Floats:
    """By how much the best weight is more than one half, of `leaning`."""
    share: Floats = np.clip(np.float32(0.5) * products / (squared + np.float32(WEIGHT_PRIOR)), -0.5, 0.5)
    return share


def cell_errors(prediction: Plane, luma: Plane) -> Floats:
    """(2h, 2w) mean absolute errors, 0..1, of 8x8 cells."""
    errors: Floats = apart(prediction, luma)[0].astype(np.float32) / np.float32(64 * 255)
    return errors


def block_errors(prediction: Plane, luma: Plane) -> Floats:
    """(h, w) squared errors, summed over 16x16 blocks."""
    return _blocks(apart(prediction, luma)[1].astype(np.float32))


def _blocks(cells: Floats) -> Floats:
    """Sums of 2x2 cells."""
    high, wide = cells.shape
    found: Floats = cells.reshape(high // 2, 2, wide // 2, 2).sum((1, 3))
    return found
