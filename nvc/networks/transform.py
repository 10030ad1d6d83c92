"""Block transforms of 8x8 and 16x16 samples: discrete cosines in whole numbers (FORMAT.md 17, "Transform").

The inverse is exact: one integer sum for a sample, rounded once. The way forth is the encoder's own, and in floats.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.coefficients import ORDER_8, ORDER_16, Coefficients
from nvc.entropy_coding.jit import njit, primitive
from nvc.frames import Frame420
from nvc.networks.steps import QualityCode, steps
from nvc.threads import spread

UNIT_BITS = 6  # steps are in 1/64 grey level
MATRIX_BITS = 10  # of each of the two matrices
_ROWS = 4  # of squares, by one thread at a time


def _matrix(side: int) -> NDArray[np.int64]:
    """(frequency, sample) orthonormal cosines in 2^-10."""
    frequency, sample = np.arange(side)[:, None], np.arange(side)
    rows = np.cos(np.pi * (2 * sample + 1) * frequency / (2 * side)) * np.sqrt(2 / side)
    rows[0] = np.sqrt(1 / side)
    return np.rint(rows * (1 << MATRIX_BITS)).astype(np.int64)


MATRIX_8, MATRIX_16 = _matrix(8), _matrix(16)


def scales(log_step: NDArray[np.int32], quality_code: QualityCode) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of luma and chroma: what coefficients are multiplied with, and the shift behind the transform.

    log_step: (8, 2).
    """
    mantissa, shift = steps(log_step, quality_code)
    return mantissa, shift + UNIT_BITS + 2 * MATRIX_BITS


def step_sizes(log_step: NDArray[np.int32], quality_code: QualityCode) -> NDArray[np.float64]:
    """(2,) of luma and chroma, grey levels."""
    mantissa, shift = steps(log_step, quality_code)
    size: NDArray[np.float64] = mantissa / 2.0 ** (shift + UNIT_BITS)
    return size


def add_transformed(
    frame: Frame420, coefficients: Coefficients, log_step: NDArray[np.int32], quality_code: QualityCode
) -> Frame420:
    """A frame and what its coefficients add to it, clamped to 8 bits."""
    planes = [plane.copy() for plane in frame.planes]
    mantissa, shift = scales(log_step, quality_code)

    def strip(top: int) -> None:
        part = slice(top, top + _ROWS)
        _add_rows(
            coefficients.blocks[part], coefficients.whole[part], mantissa, shift, planes[0][16 * top :],
            planes[1][8 * top :], planes[2][8 * top :], MATRIX_8, MATRIX_16, ORDER_8, ORDER_16,
        )  # fmt: skip

    spread(strip, range(0, len(coefficients.blocks), _ROWS))
    return Frame420(*planes)


@primitive
def add_block(
    block: Any, matrix: Any, order: Any, scale: Any, shift: Any, plane: Any, y: Any, x: Any, work: Any
) -> None:
    """One block of coefficients onto a plane. work: (2, 256) int64."""
    side = matrix.shape[0]
    some = False
    half = np.int64(1) << (shift - 1)
    sums, coefficient = work[0], work[1]
    coefficient[: side * side] = 0
    for i in range(block.size):
        if block[i]:
            coefficient[order[i]] = np.int64(block[i]) * scale
            some = True
    if not some:
        return
    sums[: side * side] = 0  # (vertical frequency, column)
    for u in range(side):
        for v in range(side):
            value = coefficient[u * side + v]
            if value:
                for j in range(side):
                    sums[u * side + j] += value * matrix[v, j]
    rows, columns = min(side, plane.shape[0] - y), min(side, plane.shape[1] - x)
    for i in range(rows):
        line = coefficient[:side]
        line[:] = half
        for u in range(side):
            factor = matrix[u, i]
            for j in range(side):
                line[j] += factor * sums[u * side + j]
        for j in range(columns):
            plane[y + i, x + j] = min(max(np.int64(plane[y + i, x + j]) + (line[j] >> shift), 0), 255)


@njit
def _add_rows(blocks, whole, mantissa, shift, luma, first, second, matrix_8, matrix_16, order_8, order_16):  # type: ignore[no-untyped-def]
    work = np.empty((2, 256), np.int64)
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[1]):
            square = blocks[i, j]
            if whole[i, j]:
                add_block(square[:256], matrix_16, order_16, mantissa[0], shift[0], luma, 16 * i, 16 * j, work)
            else:
                for k in range(4):
                    y, x = 16 * i + 8 * (k >> 1), 16 * j + 8 * (k & 1)
                    if y < luma.shape[0] and x < luma.shape[1]:
                        block = square[64 * k : 64 * k + 64]
                        add_block(block, matrix_8, order_8, mantissa[0], shift[0], luma, y, x, work)
            add_block(square[256:320], matrix_8, order_8, mantissa[1], shift[1], first, 8 * i, 8 * j, work)
            add_block(square[320:], matrix_8, order_8, mantissa[1], shift[1], second, 8 * i, 8 * j, work)
