"""Symbols of what a prediction lacks, by rate and distortion, once the frame they make has been seen.

What the networks of a decoder make of symbols is not known before it is made. So the frame is decoded, and every symbol
that is not 0, or that would gain much by not being 0, is moved by one where that lowers

    λ · squared error + bits

by the tables that code it, contexts as they are, and by the error to second order through the linear path, as if it
moved alone. No decoder knows. (nvc.codec.rdoq does the same for pictures, with the bits of later symbols.) I frames,
which are few and take half of the bytes, get several sweeps; what the last one makes worse goes back, block by block.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nvc.codec.frame_errors import BLOCK, QUARTERS, WEIGHTS, block_errors, coverage, squared
from nvc.codec.latents import Latents
from nvc.codec.step_bits import bits_of_positions, prediction_weights, step_bits
from nvc.codec.video_backend import Reference
from nvc.entropy_coding.jit import njit
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.frames import Frame420
from nvc.networks import steps
from nvc.networks.ssf_integer import Information
from nvc.threads import spread

WORTH = 0.85  # of errors here, against plain rounding before it
LATER = 0.5  # bits that a magnitude larger by one costs the symbols whose contexts see it
PROMISE = 4.0  # bits that a symbol of 0 must promise to gain before it is tried
_WEIGHTS = np.tile(WEIGHTS, BLOCK * BLOCK).astype(np.int16)
_CHANNELS, _POSITIONS = 16, 512  # by one thread at a time


@dataclass(frozen=True, eq=False)
class Refinement:
    """Of one information of a frame.

    share: (2h, 2w) in 1/64 of what is coded that counts; decode: what latents make; worth: bits that a squared grey
    level of (6Y + U + V)/8 is worth; sweeps: how often symbols are moved.
    """

    part: Information
    tables: HyperpriorTables
    code: int
    frame: Frame420
    share: NDArray[np.uint8]
    decode: Callable[[Latents], Reference]
    worth: float
    sweeps: int = 1

    def __call__(self, coded: Latents, decoded: Reference) -> tuple[Latents, Reference]:
        """Better latents and what they make. decoded: what those given make."""
        found, made = coded, decoded
        for number in range(self.sweeps):
            errors = block_errors(made.frame, self.frame)
            slopes = np.float32(WORTH * self.worth) * self._slopes(errors)
            tried = replace(found, symbols=self._swept(found.symbols, found.index, slopes))
            seen = self.decode(tried)
            if 0 < number == self.sweeps - 1:
                tried = self._without_worse(found, tried, errors, block_errors(seen.frame, self.frame))
                seen = self.decode(tried)
            found, made = tried, seen
        return found, made

    def _without_worse(
        self, before: Latents, after: Latents, errors: NDArray[np.int16], moved: NDArray[np.int16]
    ) -> Latents:
        """Those after, but as before at positions that came out worse. errors, moved: of the blocks that both make.

        What that makes of blocks beside them is not looked at.
        """
        worse = WORTH * self.worth * (squared(moved) - squared(errors))
        one, two = (bits_of_positions(self.tables, before.index, found.symbols) for found in (before, after))
        return replace(after, symbols=np.where(worse + two < one, after.symbols, before.symbols))

    def _swept(
        self, symbols: NDArray[np.int32], index: NDArray[np.uint8], slopes: NDArray[np.float32]
    ) -> NDArray[np.int32]:
        """Symbols after one sweep."""
        main, (_, rows) = self.tables.main, self.tables.main_values(index, symbols)
        tried, weights = symbols.copy(), prediction_weights(self.tables, len(symbols))
        curvatures = WORTH * self.worth * self.part.energy * self._step**2
        covered = coverage(self.frame.height, self.frame.width) * self._counted**2

        def some(first: int) -> None:
            part = slice(first, first + _CHANNELS)
            _sweep(
                tried[part], weights[part], rows[part], slopes[part], curvatures[part], covered, main.start, main.size,
                main.offset, main.bits,
            )  # fmt: skip

        spread(some, range(0, len(tried), _CHANNELS))
        return tried

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

    def _slopes(self, error: NDArray[np.int16]) -> NDArray[np.float32]:
        """(M, h, w) by which the weighted squared error of blocks (h, w, 8·8·6) grows with symbols."""
        counted, errors = self._counted, error.reshape(-1, error.shape[-1])
        unit = 2 * self._step * 2.0**-self.part.decoder.shift / QUARTERS
        linear = torch.from_numpy((self.part.decoder.linear * unit[:, None]).astype(np.float32))
        shares = counted.reshape(-1).astype(np.float32)
        slopes = np.empty((len(linear), len(errors)), np.float32)

        def some(first: int) -> None:
            part = slice(first, first + _POSITIONS)
            weighted = torch.from_numpy((errors[part] * _WEIGHTS).astype(np.float32))
            slopes[:, part] = (linear @ weighted.T).numpy() * shares[part]

        spread(some, range(0, len(errors), _POSITIONS))
        return slopes.reshape(-1, *counted.shape)


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
