"""A synthesis that is asked again, with latents of which most are as they were: only what they change is made anew.

For encoders, which change symbols once they have seen what those make. The samples are those of the whole, as parts of
a picture always are (nvc.networks.block_synthesis).
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.networks.block_synthesis import Synthesis
from nvc.threads import spread

TILE = 12  # latent positions, both ways
FULL = 0.5  # of the tiles; where more have changed, all are made, without the borders that tiles have in common


class Resynthesis:
    """Residuals of one frame."""

    def __init__(self, synthesis: Synthesis, given: NDArray[Any] | None) -> None:
        """given: see Synthesis.batch."""
        self._synthesis, self._given = synthesis, given
        self._latents: NDArray[np.int16] | None = None
        self._samples: NDArray[np.int16]

    def __call__(self, latents: NDArray[np.int16]) -> NDArray[np.int16]:
        """As Synthesis.residual; the next call may change the array."""
        before, self._latents = self._latents, latents
        tiles = None if before is None else changed(latents, before, self._synthesis.decoder.halo)
        if tiles is None or tiles.mean() > FULL:
            self._samples = self._synthesis.residual(latents, self._given)
        else:
            spread(self._tile, [(int(i), int(j)) for i, j in np.argwhere(tiles)])
        return self._samples

    def _tile(self, place: tuple[int, int]) -> None:
        assert self._latents is not None
        block, halo = self._synthesis.decoder.block, self._synthesis.decoder.halo
        rows, columns = (_around(n, end, halo) for n, end in zip(place, self._latents.shape[:2], strict=True))
        part = self._synthesis.part(self._latents, *rows, *columns, residual=True, given=self._given)
        target = tuple(slice(block * first, block * last) for first, last in (rows, columns))
        self._samples[target] = part


def _around(tile: int, end: int, halo: int) -> tuple[int, int]:
    """Positions of a tile, and some more at the border: so that networks see all tiles in one size there too."""
    first = max(0, min(TILE * tile - halo, end - TILE - 2 * halo))
    last = min(first + TILE + 2 * halo, end)
    return first + halo * (first > 0), last - halo * (last < end)


def changed(latents: NDArray[np.int16], before: NDArray[np.int16], halo: int) -> NDArray[np.bool_]:
    """(tiles, tiles) whether any latent has changed that samples of the tile depend on."""
    positions = (latents != before).any(2)
    h, w = positions.shape
    seen = np.zeros((h + 2 * halo, w + 2 * halo), np.bool_)
    for i, j in itertools.product(range(2 * halo + 1), repeat=2):
        seen[i : i + h, j : j + w] |= positions
    inner = seen[halo : halo + h, halo : halo + w]
    padded = np.pad(inner, [(0, -n % TILE) for n in (h, w)])
    found: NDArray[np.bool_] = padded.reshape(len(padded) // TILE, TILE, -1, TILE).any((1, 3))
    return found
