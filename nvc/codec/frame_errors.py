"""Errors of a decoded frame, block by block, as its latents see them: whole numbers, exact on any number of threads.

A block is what a position of the latents stands for: 8x8 places of six planes (nvc.networks.planes), in the order row,
column, plane. What lies beyond the frame counts as 0. For encoders.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.frames import Frame420
from nvc.networks.planes import LATENT_STRIDE, PLANES
from nvc.threads import spread

BLOCK = LATENT_STRIDE // 2
WEIGHTS = np.array([3, 3, 3, 3, 2, 2])  # nvc.networks.ssf_integer.ENERGY, in quarters
QUARTERS = 4.0
_PLANES = 6  # PLANES; a number here, for compiled code (nvc.entropy_coding.jit)
_ROWS = 4  # of blocks, by one thread at a time


def block_errors(decoded: Frame420, frame: Frame420) -> NDArray[np.int16]:
    """decoded - frame, (h, w, 8·8·6)."""
    h, w = (-(-n // LATENT_STRIDE) for n in frame.y.shape)
    errors = np.zeros((h, w, BLOCK, BLOCK, PLANES), np.int16)

    def strip(top: int) -> None:
        part, luma, chroma = errors[top : top + _ROWS], LATENT_STRIDE * top, BLOCK * top
        for plane, (one, two) in enumerate(zip(decoded.planes, frame.planes, strict=True)):
            rows = slice(chroma, chroma + BLOCK * _ROWS) if plane else slice(luma, luma + LATENT_STRIDE * _ROWS)
            if plane:
                _chroma_errors(one[rows], two[rows], 3 + plane, part)
            else:
                _luma_errors(one[rows], two[rows], part)

    spread(strip, range(0, h, _ROWS))
    return errors.reshape(h, w, -1)


def squared(errors: NDArray[np.int16]) -> NDArray[np.float64]:
    """(h, w) squared errors of blocks in (6Y + U + V)/8, squared grey levels."""
    total = np.empty(errors.shape[:2])

    def strip(top: int) -> None:
        _squared_rows(errors[top : top + _ROWS], total[top : top + _ROWS])

    spread(strip, range(0, len(total), _ROWS))
    return total / QUARTERS


def coverage(height: int, width: int) -> NDArray[np.float64]:
    """(h, w) share of each block that lies in a frame of so many luma pixels, weighted as errors are."""
    luma = np.outer(*(_inside(n, LATENT_STRIDE) for n in (height, width)))
    chroma = np.outer(*(_inside(-(-n // 2), BLOCK) for n in (height, width)))
    share: NDArray[np.float64] = (3 * luma + 4 * chroma) / (WEIGHTS.sum() * BLOCK * BLOCK)
    return share


def _inside(side: int, block: int) -> NDArray[np.int64]:
    """Samples of each block along one side."""
    return np.minimum(block, side - block * np.arange(-(-side // block)))


@njit
def _luma_errors(decoded, frame, out):  # type: ignore[no-untyped-def]
    height, width = frame.shape
    for y in range(height):
        for x in range(width):
            plane = 2 * (y & 1) + (x & 1)
            error = np.int16(decoded[y, x]) - np.int16(frame[y, x])
            out[y >> 4, x >> 4, (y & 15) >> 1, (x & 15) >> 1, plane] = error


@njit
def _chroma_errors(decoded, frame, plane, out):  # type: ignore[no-untyped-def]
    height, width = frame.shape
    for y in range(height):
        for x in range(width):
            out[y >> 3, x >> 3, y & 7, x & 7, plane] = np.int16(decoded[y, x]) - np.int16(frame[y, x])


@njit
def _squared_rows(errors, out):  # type: ignore[no-untyped-def]
    """In quarters."""
    for i in range(errors.shape[0]):
        for j in range(errors.shape[1]):
            block = errors[i, j]
            luma = chroma = np.int32(0)
            for k in range(0, block.size, _PLANES):
                for plane in range(4):
                    luma += np.int32(block[k + plane]) * np.int32(block[k + plane])
                for plane in range(4, _PLANES):
                    chroma += np.int32(block[k + plane]) * np.int32(block[k + plane])
            out[i, j] = 3.0 * luma + 2.0 * chroma
