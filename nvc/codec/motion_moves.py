"""Symbols of motion by trying: what each block may be told, by what it shows and what it costs.

A search for the flow that predicts best knows nothing of bits, and what an analysis makes of that flow predicts worse
than it. So blocks are gone through, and of each all that is likely is tried: the symbols of the blocks round it, what
these foretell, those that come nearest to the flows that were found, one cell moving as the one beside it, every symbol
one up or down. The best stays, by

    bits + sum over squares of 8x8 pixels of SQUARE · log(1 + λ · squared error / SQUARE)

of luma, of the overlapped prediction at quarters of a pixel, half as large for large pictures. Where an error is small
λ says what it is worth; where it is large, a residual is coded and takes it away, and costs more bits only by the
logarithm of what there is to take away. No decoder knows. docs/motion.md has measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.codec.motion_moves_kernels import try_lines
from nvc.codec.motion_rounding import Response
from nvc.codec.phases import phases
from nvc.codec.step_bits import prediction_weights
from nvc.networks.filters import Filter
from nvc.networks.warp import halvings
from nvc.networks.warp_kernels import PAD, Plane
from nvc.threads import spread

SWEEPS = 2
LEAST = 1.5  # bits of each channel, with error: blocks that take less are left alone
SQUARE = 10.0  # bits that go with the error of a square of 8x8 pixels, if it is large
SHARE_UNIT = 64.0  # a share of one is as far as so many sixteenths of a pixel
LARGE = 1 << 19  # pixels
_STRIP = 4  # lines of blocks, by one thread at a time


@dataclass(frozen=True, eq=False)
class Field:
    """What symbols make of a grid: numbers (F, 2h, 2w), x and y of one flow or two in 1/16 luma pixel, of two also the
    share of the second prediction, 0..1; and the response to one symbol more of M latents, (M, 2, 2, F)."""

    numbers: NDArray[np.float32]
    response: NDArray[np.float32]


def is_large(luma: Plane) -> bool:
    """Whether half of its size is enough."""
    return luma.size > LARGE


class Pictures:
    """Luma of a frame and of its references, prepared. kind: filter of predictions; of half size, which only comes near
    what is predicted, always that of four taps."""

    def __init__(self, luma: Plane, references: Sequence[Plane], kind: Filter = Filter.FOUR) -> None:
        self.half = is_large(luma)
        planes = [self._sized(plane) for plane in (luma, *references)]
        self.cell = 4 if self.half else 8
        self.scale = 0.125 if self.half else 0.25  # sixteenths to quarters of what is looked at
        self.price = 4.0 if self.half else 1.0  # squared errors, of one of it
        cell = self.cell
        self.luma = np.pad(planes[0], cell, mode="edge")
        self.phases = phases(planes[1:], Filter.FOUR if self.half else kind)

    def _sized(self, plane: Plane) -> Plane:
        """Continued to whole blocks, and half as large."""
        whole = np.pad(plane, [(0, -side % 16) for side in plane.shape], mode="edge")
        return halvings(whole, 2)[1][PAD:-PAD, PAD:-PAD] if self.half else whole


def inverse_of(response: NDArray[np.float32]) -> NDArray[np.float64]:
    """(4·F, K): numbers of four cells -> symbols that make them most nearly; response: (K, 4, F) or (K, 2, 2, F)."""
    units = np.ones(response.shape[-1])
    units[4:] = SHARE_UNIT
    scaled = (response * units).reshape(len(response), -1)
    inverse: NDArray[np.float64] = np.linalg.pinv(scaled) * np.tile(units, 4)[:, None]
    return inverse


def descend(
    symbols: NDArray[np.int32], response: Response, field: Field, pictures: Pictures, worth: float,
    others: Sequence[NDArray[np.int32]] = (),
) -> NDArray[np.int32]:  # fmt: skip
    """Better symbols (M, h, w) than those given, which make `field`. others: symbols that may be better here and there.

    worth: bits that a squared grey level of luma is worth.
    """
    channels, tables = response.channels, response.tables
    found, main = symbols.copy(), tables.main
    few = np.ascontiguousarray(symbols[channels])
    moves = np.ascontiguousarray(field.response[channels].reshape(len(channels), 4, -1))
    inverse = inverse_of(moves)
    numbers, weights = field.numbers.astype(np.float64), prediction_weights(tables, len(symbols))[channels]
    choices = np.zeros((len(others), *few.shape), np.int32)
    for n, other in enumerate(others):
        choices[n] = other[channels]
    price = worth * pictures.price
    for _ in range(1 if pictures.half else SWEEPS):
        found[channels] = few
        rows = np.ascontiguousarray(tables.main_values(response.index, found)[1][channels])

        def strip(top: int, rows: NDArray[np.uint8] = rows) -> None:
            try_lines(
                pictures.luma, pictures.phases, few, numbers, moves, inverse, choices, weights, rows, main.start,
                main.size, main.offset, main.bits, price, pictures.cell, pictures.scale, LEAST, SQUARE, top,
                min(top + _STRIP, few.shape[1]),
            )  # fmt: skip

        # Blocks see those above and below: every second strip, so that what a strip sees beside it stands still.
        for first in (0, _STRIP):
            spread(strip, range(first, few.shape[1], 2 * _STRIP))
    found[channels] = few
    return found
