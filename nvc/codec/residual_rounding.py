"""Symbols of what a prediction lacks, by rate and distortion, once the frame they make has been seen.

What the networks of a decoder make of symbols is not known before it is made. So the frame is decoded, and every symbol
that is not 0, or that would gain much by not being 0, is moved by one where that lowers

    λ · squared error + bits

by the tables that code it, contexts as they are, and by the error to second order through the linear path, as if it
moved alone. Then the frame is decoded again, and blocks that came out worse go back; what that makes of blocks beside
them is not looked at again. No decoder knows. (nvc.codec.rdoq does the same for pictures, in several passes and with
the bits of later symbols.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nvc.codec.latents import Latents
from nvc.codec.step_bits import bits_of_positions, prediction_weights, step_bits
from nvc.codec.video_backend import Reference
from nvc.entropy_coding.jit import njit
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.frames import Frame420
from nvc.networks import steps
from nvc.networks.planes import PLANES, pad_planes
from nvc.networks.ssf_integer import ENERGY, Information

BLOCK = 8  # half-resolution pixels of a position, both ways
WORTH = 0.85  # of errors here, against plain rounding before it
LATER = 0.5  # bits that a magnitude larger by one costs the symbols whose contexts see it
PROMISE = 4.0  # bits that a symbol of 0 must promise to gain before it is tried
_WHOLE = 4
_WEIGHTS = np.rint(_WHOLE * ENERGY)  # whole numbers: sums over a block are exact, whatever their order


@dataclass(frozen=True, eq=False)
class Refinement:
    """Of one information of a frame.

    share: (2h, 2w) in 1/64 of what is coded that counts; decode: what latents make; worth: bits that a squared grey
    level of (6Y + U + V)/8 is worth.
    """

    part: Information
    tables: HyperpriorTables
    code: int
    frame: Frame420
    share: NDArray[np.uint8]
    decode: Callable[[Latents], Reference]
    worth: float

    def __call__(self, coded: Latents, decoded: Reference) -> tuple[Latents, Reference]:
        """Better latents and what they make. decoded: what those given make."""
        worth, inside = WORTH * self.worth, inside_of(self.frame)
        error = self._error(decoded, inside)
        slopes = (worth * self._slopes(error)).astype(np.float32)
        tables, main = self.tables, self.tables.main
        _, rows = tables.main_values(coded.index, coded.symbols)
        tried = coded.symbols.copy()
        _sweep(
            tried, prediction_weights(tables, len(tried)), rows, slopes, worth * self.part.energy * self._step**2,
            _squares(inside).reshape(self._counted.shape) / _squares(np.ones_like(inside[:1])) * self._counted**2,
            main.start, main.size, main.offset, main.bits,
        )  # fmt: skip
        worse = worth * (_squares(self._error(self.decode(replace(coded, symbols=tried)), inside)) - _squares(error))
        before, after = (bits_of_positions(tables, coded.index, symbols) for symbols in (coded.symbols, tried))
        found = replace(coded, symbols=np.where(worse.reshape(before.shape) + after < before, tried, coded.symbols))
        return found, self.decode(found)

    @property
    def _step(self) -> NDArray[np.float64]:
        """(M,) latent units."""
        mantissa, shift = steps.steps(self.part.decoder.log_step, self.code)
        step: NDArray[np.float64] = mantissa / 2.0**shift
        return step

    @property
    def _counted(self) -> NDArray[np.float64]:
        """(h, w) share of what is coded that counts."""
        h, w = (n // 2 for n in self.share.shape)
        counted: NDArray[np.float64] = self.share.reshape(h, 2, w, 2).mean((1, 3)) / 64
        return counted

    def _error(self, decoded: Reference, inside: NDArray[np.float64]) -> NDArray[np.float64]:
        """(h·w, 64·6) of blocks, 0 beyond the frame."""
        apart = pad_planes(decoded.frame).astype(np.float64) - pad_planes(self.frame)
        return _blocks(apart) * inside

    def _slopes(self, error: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, h, w) by which the weighted squared error grows with symbols."""
        weighted = torch.from_numpy(error * np.tile(_WEIGHTS, BLOCK * BLOCK))
        linear = torch.from_numpy(self.part.decoder.linear.astype(np.float64))
        counted = self._counted
        sums = (linear @ weighted.T).numpy().reshape(-1, *counted.shape)
        unit = 2 * self._step * 2.0**-self.part.decoder.shift / _WHOLE
        slopes: NDArray[np.float64] = sums * unit[:, None, None] * counted
        return slopes


def inside_of(frame: Frame420) -> NDArray[np.float64]:
    """(h·w, 64·6) of blocks: 1 for samples of the frame, 0 beyond it."""
    rows, columns = frame.y.shape
    inside = np.zeros(pad_planes(frame).shape)
    for k in range(4):
        inside[: (rows - k // 2 + 1) // 2, : (columns - k % 2 + 1) // 2, k] = 1
    inside[: (rows + 1) // 2, : (columns + 1) // 2, 4:] = 1
    return _blocks(inside)


def _blocks(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8h, 8w, 6) -> (h·w, 64·6)."""
    h, w = (n // BLOCK for n in planes.shape[:2])
    return planes.reshape(h, BLOCK, w, BLOCK, PLANES).swapaxes(1, 2).reshape(h * w, -1)


def _squares(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h·w,) weighted squared errors of blocks."""
    total: NDArray[np.float64] = np.square(error) @ np.tile(ENERGY, BLOCK * BLOCK)
    return total


@njit
def _sweep(symbols, weights, rows, slopes, curvatures, coverage, start, size, offset, bits):  # type: ignore[no-untyped-def]
    """Moves symbols by one where that pays."""
    channels, h, w = symbols.shape
    for c in range(channels):
        plane = symbols[c]
        for i in range(h):
            for j in range(w):
                slope = slopes[c, i, j]
                if plane[i, j] == 0 and abs(slope) < PROMISE:
                    continue
                best, step = 0.0, 0
                for way in (-1, 1):
                    change = way * slope + curvatures[c] * coverage[i, j]
                    change += step_bits(plane, weights[c], rows[c], i, j, way, LATER, start, size, offset, bits)
                    if change < best:
                        best, step = change, way
                plane[i, j] += step
