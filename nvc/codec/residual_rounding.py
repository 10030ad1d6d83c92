"""Symbols of what a prediction lacks, by rate and distortion, once the frame they make has been seen.

What the networks of a decoder make of symbols is not known before it is made. So the frame is decoded, and every symbol
that is not 0, or that would gain much by not being 0, is moved by one where that lowers

    λ · squared error + bits

by the tables that code it, contexts as they are; the error follows to second order through the linear path. Then the
frame is decoded again, and blocks that came out worse go back. No decoder knows. (nvc.codec.rdoq does the same for
pictures, in several passes and with the bits of later symbols.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nvc.codec.latents import Latents
from nvc.codec.video_backend import Reference
from nvc.entropy_coding.jit import njit
from nvc.entropy_models.context_search import symbol_bits
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.networks import steps
from nvc.networks.planes import PLANES, pad_planes
from nvc.networks.ssf_integer import ENERGY, Information

BLOCK = 8  # half-resolution pixels of a position, both ways
WORTH = 0.85  # of errors here, against plain rounding before it
LATER = 0.5  # bits that a magnitude larger by one costs the symbols whose contexts see it
PROMISE = 4.0  # bits that a symbol of 0 must promise to gain before it is tried
_WEIGHTS = np.rint(4 * ENERGY)  # whole numbers: sums over a block are exact, whatever their order


@dataclass(frozen=True, eq=False)
class Refinement:
    """Of one information of a frame.

    source: its planes (8h, 8w, 6); share: (2h, 2w) in 1/64 of what is coded that counts; decode: what latents make
    worth: bits that a squared grey level of (6Y + U + V)/8 is worth.
    """

    part: Information
    tables: HyperpriorTables
    code: int
    source: NDArray[np.uint8]
    share: NDArray[np.uint8]
    decode: Callable[[Latents], Reference]
    worth: float

    def __call__(self, coded: Latents, decoded: Reference) -> tuple[Latents, Reference]:
        """Better latents and what they make. decoded: what those given make."""
        worth = WORTH * self.worth
        error = self._error(decoded)
        slope = (worth * self._slopes(error)).astype(np.float32)
        deviations, rows = self.tables.main_values(coded.index, coded.symbols)
        main = self.tables.main
        tried, saved = coded.symbols.copy(), np.zeros(coded.symbols.shape[1:])
        curvature = worth * self.part.energy * self._step**2
        _sweep(tried, deviations, rows, slope, curvature, main.start, main.size, main.offset, main.bits, saved)
        after = self._error(self.decode(replace(coded, symbols=tried)))
        worse = worth * (_squares(after) - _squares(error)).reshape(saved.shape)
        found = replace(coded, symbols=np.where(worse < saved, tried, coded.symbols))
        return found, self.decode(found)

    @property
    def _step(self) -> NDArray[np.float64]:
        """(M,) latent units."""
        mantissa, shift = steps.steps(self.part.decoder.log_step, self.code)
        step: NDArray[np.float64] = mantissa / 2.0**shift
        return step

    def _error(self, decoded: Reference) -> NDArray[np.float64]:
        """(h·w, 64·6) of blocks."""
        apart = pad_planes(decoded.frame).astype(np.float64) - self.source
        h, w = (n // BLOCK for n in apart.shape[:2])
        return apart.reshape(h, BLOCK, w, BLOCK, PLANES).swapaxes(1, 2).reshape(h * w, -1)

    def _slopes(self, error: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, h, w) by which the weighted squared error grows with symbols."""
        weighted = torch.from_numpy(error * np.tile(_WEIGHTS, BLOCK * BLOCK))
        linear = torch.from_numpy(self.part.decoder.linear.astype(np.float64))
        h, w = (n // 2 for n in self.share.shape)
        sums = (linear @ weighted.T).numpy().reshape(-1, h, w)
        unit = 2 * self._step * 2.0**-self.part.decoder.shift / 4
        counted = self.share.reshape(h, 2, w, 2).mean((1, 3)) / 64
        slopes: NDArray[np.float64] = sums * unit[:, None, None] * counted
        return slopes


def _squares(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h·w,) weighted squared errors of blocks."""
    total: NDArray[np.float64] = np.square(error) @ np.tile(ENERGY, BLOCK * BLOCK)
    return total


@njit
def _sweep(symbols, deviations, rows, slopes, curvatures, start, size, offset, bits, saved):  # type: ignore[no-untyped-def]
    """Moves symbols by one where that pays; saved: (h, w) bits, filled."""
    channels, h, w = symbols.shape
    for c in range(channels):
        curvature = curvatures[c]
        for i in range(h):
            for j in range(w):
                symbol, slope = symbols[c, i, j], slopes[c, i, j]
                if symbol == 0 and abs(slope) < PROMISE:
                    continue
                row, deviation = rows[c, i, j], deviations[c, i, j]
                here = symbol_bits(row, deviation, start, size, offset, bits)
                best, step, less = 0.0, 0, 0.0
                for way in (-1, 1):
                    more = symbol_bits(row, deviation + way, start, size, offset, bits) - here
                    more += LATER * (abs(symbol + way) - abs(symbol))
                    change = way * slope + curvature + more
                    if change < best:
                        best, step, less = change, way, more
                symbols[c, i, j] += step
                saved[i, j] -= less
