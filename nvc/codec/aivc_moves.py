"""Moves of the conditional codec's motion symbols: its modes as `motion_moves` sees them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.codec.aivc_analysis import Seen
from nvc.codec.block_matching import match
from nvc.codec.lhbdc_analysis import Floats
from nvc.codec.motion_moves import Field, Pictures, descend, inverse_of
from nvc.codec.motion_rounding import Response
from nvc.networks.aivc_integer import flow_behind
from nvc.networks.symmetric import SIGNS
from nvc.threads import spread

_SHARE = 128.0  # of the fifth number of a mode, in a share of one


@dataclass(frozen=True, eq=False)
class Goals:
    """What a frame's motion may be.

    pictures: luma of it and of its references; wanted: fields (2 or 5, 2h, 2w) that predict well, in the units of
    `Field.numbers`.
    """

    pictures: Pictures
    wanted: list[Floats]


def goals(found: Seen, worth: float) -> Goals:
    """By optical flow and by matching blocks. worth: bits that a squared grey level of luma is worth."""
    wanted = found.wanted.astype(np.float32).copy()
    flows = 2 * (len(found.frames) - 1)
    wanted[:flows] *= 16
    pictures = Pictures(found.frames[0].y, [frame.y for frame in found.frames[1:]], found.trials.kind)
    matched = wanted.copy()
    for which, planes in enumerate(pictures.phases):
        part = slice(2 * which, 2 * which + 2)
        start = np.rint(wanted[part] * pictures.scale).astype(np.int32)
        matched[part] = match(pictures.luma, planes, start, pictures.cell, worth * pictures.price) / pictures.scale
    return Goals(pictures, [wanted, _even(wanted), matched, _even(matched)])


def moved(
    symbols: NDArray[np.int32], response: Response, numbers: NDArray[np.int32], found: Seen, aims: Goals, worth: float
) -> NDArray[np.int32]:
    """Better symbols (M, h, w) of a mode. numbers: what those given make, (6, 2h, 2w); aims: see `goals`."""
    field = Field(_made(numbers, found), _responding(response, len(found.frames) - 1))
    targets = [*aims.wanted, *_alone(field.numbers)]
    others = np.empty((len(targets), *symbols.shape), np.int32)

    def work(which: int) -> None:
        others[which] = _towards(symbols, response, field, targets[which])

    spread(work, range(len(targets)))
    return descend(symbols, response, field, aims.pictures, worth, list(others))


def _alone(numbers: Floats) -> list[Floats]:
    """Each of two references by itself."""
    if len(numbers) == 2:
        return []
    made = [numbers.copy(), numbers.copy()]
    for share, one in enumerate(made):
        one[4] = share
    return made


def _even(numbers: Floats) -> Floats:
    """Means of 2x2 cells."""
    count, high, wide = numbers.shape
    means = numbers.reshape(count, high // 2, 2, wide // 2, 2).mean((2, 4))
    return means.repeat(2, 1).repeat(2, 2)


def _made(numbers: NDArray[np.int32], found: Seen) -> Floats:
    if len(found.frames) == 2:
        return flow_behind(numbers).astype(np.float32)
    flows = found.trials.steady + SIGNS * numbers[:4]
    return np.concatenate([flows, numbers[4:5] / _SHARE + 0.5]).astype(np.float32)


def _responding(response: Response, references: int) -> Floats:
    by_symbol = 16 * response.numbers  # sixteenths
    if references == 1:
        return ((by_symbol[..., :2] + by_symbol[..., 2:4]) / 2).astype(np.float32)
    flows = by_symbol[..., :4] * SIGNS[:, 0, 0]
    return np.concatenate([flows, by_symbol[..., 4:] / _SHARE], -1).astype(np.float32)


def _towards(symbols: NDArray[np.int32], response: Response, field: Field, wanted: Floats) -> NDArray[np.int32]:
    """Symbols that make a field most nearly."""
    channels = response.channels
    inverse = inverse_of(field.response[channels])
    count, high, wide = wanted.shape
    cells = (wanted - field.numbers).reshape(count, high // 2, 2, wide // 2, 2)
    steps = np.einsum("fiajb,abfc->cij", cells, inverse.reshape(2, 2, count, -1))
    found = symbols.copy()
    found[channels] += np.rint(steps).astype(np.int32)
    return found
