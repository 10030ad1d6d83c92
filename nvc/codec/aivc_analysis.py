"""What an encoder of the conditional codec sends of motion, weight and skip, by luma alone (docs/aivc.md)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.codec.lhbdc import Pair, flows_and_weight
from nvc.codec.lhbdc_analysis import Floats, LumaPair, Price, block_errors, cell_errors
from nvc.codec.motion_moves import is_large
from nvc.codec.motion_rounding import NUMBERS, Mixture, Response
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.frames import Frame420
from nvc.networks.aivc import SKIP_UNIT
from nvc.networks.aivc_integer import SKIP_LATENT, flow_behind
from nvc.networks.blend import WEIGHT_ONE, blend_plane
from nvc.networks.filters import Filter
from nvc.networks.lhbdc import ERRORS, WEIGHT_UNIT
from nvc.networks.motion_search import estimate_all
from nvc.networks.overlap import overlapped_plane
from nvc.networks.ssf_integer import Information
from nvc.networks.steps import QualityCode, steps
from nvc.networks.symmetric import SIGNS
from nvc.networks.warp import FLOW_LIMIT, Pyramid, halvings, predict_plane, stack
from nvc.networks.warp_kernels import Plane

SKIP_BITS = 6.0  # a block whose error is worth less than so many bits is skipped
SMOOTHNESS = 100.0  # of flow: half of what serves where symbols are not refined
MOVED = 0.25  # luma pixels for a latent that is one: what moves a prediction less is left alone in refining


@dataclass(frozen=True, eq=False)
class Trials:
    """What a mode would predict, by luma alone.

    references: pyramids of one level; steady: flows that decoders know, (4, 2h, 2w) in 1/16 luma pixel; overlapped:
    whether blocks predict that overlap, and by which filter.
    """

    luma: Plane
    references: list[Pyramid]
    steady: NDArray[np.int16]
    overlapped: bool
    kind: Filter

    @classmethod
    def of(
        cls, frame: Frame420, references: Sequence[Frame420], steady: NDArray[np.int16], overlapped: bool, kind: Filter
    ) -> "Trials":
        """references: one or two."""
        return cls(frame.y, [stack(halvings(reference.y, 1)) for reference in references], steady, overlapped, kind)

    def mixture(self, numbers: NDArray[np.int32]) -> Mixture:
        """numbers: as decoded, (6, 2h, 2w)."""
        if len(self.references) == 1:
            # As of two references that are the same one: flow is half of both numbers together.
            prediction = self.warp(0, flow_behind(numbers))
            return Mixture(prediction, prediction, prediction, np.full(numbers.shape[1:], 0.5, np.float32), 1)
        flows, weight = flows_and_weight(numbers, self.steady)
        first, second = self.warp(0, flows[:2]), self.warp(1, flows[2:])
        share = weight.astype(np.float32) / WEIGHT_ONE
        return Mixture(blend_plane(first, second, weight, chroma=False), first, second, share, -1)

    def warp(self, which: int, flow: NDArray[np.int16]) -> Plane:
        """What a flow makes of a reference."""
        if self.overlapped:
            return overlapped_plane(self.references[which], self.luma.shape, flow, self.kind, chroma=False)
        sharp = np.zeros(flow.shape[1:], np.uint8)
        return predict_plane(self.references[which], self.luma.shape, flow, sharp, chroma=False)


@dataclass(frozen=True, eq=False)
class Seen:
    """numbers (6, 2h, 2w) and errors (3, 2h, 2w) as nvc.networks.aivc.ModeNet takes them.

    wanted: (2 or 5, 2h, 2w) flows to the references, luma pixels, and the share of the second, before coding; trials:
    what modes would predict; frames: current and references; start: of the search for steady motion.
    """

    numbers: Floats
    errors: Floats
    wanted: Floats
    trials: Trials
    frames: tuple[Frame420, ...]
    start: int = 0


def behind(frame: Frame420, reference: Frame420, code: int, overlapped: bool, kind: Filter) -> Seen:
    """Of a P frame. code: its quality; overlapped, kind: see Trials."""
    (flow,) = _flows(frame, [reference], overlapped)
    still = np.zeros((1, *flow.shape[1:]), np.float32)  # the weight is not needed
    trials = Trials.of(frame, [reference], np.zeros((4, *still.shape[1:]), np.int16), overlapped, kind)
    prediction = trials.warp(0, np.clip(np.rint(flow * 16), -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16))
    skip = _skip(block_errors(prediction, frame.y), Price.at(code, 1.0))
    errors = cell_errors(prediction, frame.y)[None].repeat(ERRORS, 0)
    numbers = np.concatenate([flow, flow, still, skip]).astype(np.float32)
    return Seen(numbers, errors, flow, trials, (frame, reference))


def between(frame: Frame420, pair: Pair, code: int, step: float, overlapped: bool, kind: Filter) -> Seen:
    """Of a B frame. step: of the motion latents, luma pixels."""
    flows = np.concatenate(_flows(frame, pair.frames, overlapped))
    start, steady = pair.steadiest(flows)
    price = Price.at(code, step)
    numbers, errors, squared = LumaPair(frame, pair.frames).numbers(flows, steady, price)
    share = numbers[4:] / np.float32(WEIGHT_UNIT) + np.float32(0.5)
    wanted = np.concatenate([steady / np.float32(16) + SIGNS * numbers[:4], share])
    numbers = np.concatenate([numbers, _skip(squared, price)]).astype(np.float32)
    trials = Trials.of(frame, pair.frames, steady, overlapped, kind)
    return Seen(numbers, errors, wanted, trials, (frame, *pair.frames), start)


def response_of(
    part: Information, code: QualityCode, references: int, index: NDArray[np.uint8], tables: HyperpriorTables
) -> Response:
    """Of a mode's symbols at a quality. references: of the frame; index, tables: see Response."""
    mantissa, shift = steps(part.decoder.log_step, code)
    numbers = part.linear[..., :NUMBERS] / 16  # luma pixels
    moving = numbers if references > 1 else (numbers[..., :2] + numbers[..., 2:4]) / 2
    moves = np.abs(moving).max((1, 2, 3)) * part.unit > MOVED
    moves[SKIP_LATENT:] = False  # these say what is skipped
    by_symbol = numbers * (mantissa / 2.0**shift)[:, None, None, None]
    return Response(np.flatnonzero(moves), by_symbol, index, tables)


def _flows(frame: Frame420, references: Sequence[Frame420], overlapped: bool) -> list[Floats]:
    # Of large pictures `motion_moves` makes up for what a search at half of their size does not see.
    return estimate_all(frame, references, "half" if overlapped and is_large(frame.y) else "slow", SMOOTHNESS)


def _skip(squared: Floats, price: Price) -> NDArray[np.float32]:
    """(1, 2h, 2w), of squared errors of blocks."""
    skip = price.lagrangian * squared < SKIP_BITS
    numbers: NDArray[np.float32] = np.where(skip, np.float32(-SKIP_UNIT), np.float32(0)).repeat(2, 0).repeat(2, 1)[None]
    return numbers
