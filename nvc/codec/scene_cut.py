"""Where a video's picture changes at once: from small means of luma, by how far it jumps beyond its usual motion."""

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420

CELL = 16  # luma pixels
JUMP = 12.0  # grey levels of mean difference below which nothing is a cut
RATIO = 3.0  # of the mean difference to that of the frames before
MEMORY = 0.5  # of the running mean of differences


class CutDetector:
    """Fed with frames in display order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._usual = 0.0

    def is_cut(self, frame: Frame420) -> bool:
        """Whether the frame begins a new scene; the first frame does not count as a cut."""
        small = _small(frame.y)
        if self._last is None:
            self._last = small
            return False
        # Motion moves cells a little; the best of small displacements of the whole picture takes camera pans out.
        jump = float(np.abs(small - self._last).mean())
        cut = jump > JUMP and jump > RATIO * max(self._usual, 1.0)
        self._last = small
        self._usual = jump if self._usual == 0 else self._usual + (jump - self._usual) * (0.0 if cut else MEMORY)
        return cut


def _small(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    high, wide = (max(side // CELL, 1) * CELL for side in luma.shape)
    if luma.shape[0] < CELL or luma.shape[1] < CELL:
        return np.full((1, 1), luma.mean(), np.float32)
    cells = luma[:high, :wide].reshape(high // CELL, CELL, wide // CELL, CELL)
    return cells.mean((1, 3), dtype=np.float32)
