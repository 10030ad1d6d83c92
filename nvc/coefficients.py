"""Coefficients of block transforms as arrays, and the order in which a block's are coded (FORMAT.md 17)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

PLACES = 384  # of a square of 16x16 luma pixels: 256 of luma, 64 each of two planes of chroma
PREDICTED = 6  # blocks of a square that have a predictor


def _order(side: int) -> NDArray[np.int64]:
    """(side², ) row · side + column in the order of diagonals, every other one upwards."""
    places = [(row, column) for row in range(side) for column in range(side)]
    places.sort(key=lambda p: (p[0] + p[1], p[0] if (p[0] + p[1]) % 2 else p[1]))
    return np.array([row * side + column for row, column in places], np.int64)


ORDER_8, ORDER_16 = _order(8), _order(16)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Of a frame. blocks: (h, w, 384) int16, of every square of 16x16 luma pixels 256 of luma, those of one block of
    16x16 or of four of 8x8, then 64 of each plane of chroma, each block in coding order; whole: (h, w) uint8, 1 where
    luma is one block.

    predictors: (h, w, 6) uint8 of predicted blocks (FORMAT.md 18), of those of luma (of one of 16x16 the first), of U
    and of V; 0 of those that there are not. None: they are added to a frame (FORMAT.md 17). size: height and width of
    the frame, of predicted blocks alone.
    """

    blocks: NDArray[np.int16]
    whole: NDArray[np.uint8]
    predictors: NDArray[np.uint8] | None = None
    size: tuple[int, int] = (0, 0)

    @classmethod
    def nothing(cls, h: int, w: int) -> Self:
        """All of them 0, added to a frame."""
        return cls(np.zeros((h, w, PLACES), np.int16), np.zeros((h, w), np.uint8))

    @classmethod
    def predicted(cls, height: int, width: int) -> Self:
        """Predicted blocks of a frame, all of them 0."""
        h, w = -(-height // 16), -(-width // 16)
        predictors = np.zeros((h, w, PREDICTED), np.uint8)
        return cls(np.zeros((h, w, PLACES), np.int16), np.zeros((h, w), np.uint8), predictors, (height, width))
