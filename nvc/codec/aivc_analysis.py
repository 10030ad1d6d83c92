"""What an encoder of the conditional codec sends of motion, weight and skip, by luma alone (docs/aivc.md)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.codec.lhbdc import Pair
from nvc.codec.lhbdc_analysis import Floats, LumaPair, Price, block_errors
from nvc.codec.predicted import cell_errors
from nvc.frames import Frame420
from nvc.networks.aivc import SKIP_UNIT
from nvc.networks.lhbdc import ERRORS
from nvc.networks.motion_search import estimate
from nvc.networks.ssf_integer import predict
from nvc.networks.warp import FLOW_LIMIT, grid_shape

SKIP_BITS = 6.0  # a block whose error is worth less than so many bits is skipped


@dataclass(frozen=True, eq=False)
class Seen:
    """numbers (6, 2h, 2w) and errors (3, 2h, 2w) as nvc.networks.aivc.ModeNet takes them.

    start: of the search for steady motion.
    """

    numbers: Floats
    errors: Floats
    start: int = 0


def behind(frame: Frame420, reference: Frame420, code: int) -> Seen:
    """Of a P frame. code: its quality."""
    flow = estimate(frame, reference)
    vectors = np.clip(np.rint(flow * 16), -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
    prediction = predict(reference, vectors, np.zeros(grid_shape(frame.height, frame.width), np.uint8))
    still = np.zeros((1, *flow.shape[1:]), np.float32)  # the weight is not needed
    numbers = np.concatenate([flow, flow, still, _skip(block_errors(prediction.y, frame.y), Price.at(code, 1.0))])
    return Seen(numbers.astype(np.float32), cell_errors(frame, [prediction]).repeat(ERRORS, 0))


def between(frame: Frame420, pair: Pair, code: int, step: float) -> Seen:
    """Of a B frame. step: of the motion latents, luma pixels."""
    flows = np.concatenate([estimate(frame, reference) for reference in pair.frames])
    start, steady = pair.steadiest(flows)
    price = Price.at(code, step)
    numbers, errors, squared = LumaPair(frame, pair.frames).numbers(flows, steady, price)
    return Seen(np.concatenate([numbers, _skip(squared, price)]).astype(np.float32), errors, start)


def _skip(squared: Floats, price: Price) -> NDArray[np.float32]:
    """(1, 2h, 2w), of squared errors of blocks."""
    skip = price.lagrangian * squared < SKIP_BITS
    numbers: NDArray[np.float32] = np.where(skip, np.float32(-SKIP_UNIT), np.float32(0)).repeat(2, 0).repeat(2, 1)[None]
    return numbers
