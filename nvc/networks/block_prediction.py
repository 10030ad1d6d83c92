"""Blocks predicted from the samples beside them by learned matrices, in whole numbers (FORMAT.md 18, "Prediction").

Each predictor is one matrix: from 25 numbers, the samples above and to the left, to the samples of a block. They are to
directions of H.264 and H.265 what a learned transform is to cosines; the idea of matrices is that of H.266 (MIP, Pfaff
et al. 2018). Which of them a block has is the encoder's choice.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.coefficients import ORDER_8, ORDER_16, Coefficients
from nvc.entropy_coding.jit import njit, primitive
from nvc.entropy_coding.rans import I64
from nvc.frames import Frame420
from nvc.networks.steps import QualityCode
from nvc.networks.transform import MATRIX_8, MATRIX_16, add_block, scales

SEEN = 25  # numbers that a predictor sees: corner, 16 above, 8 to the left
UNIT_BITS = 10  # of weights
GREY = 128  # where nothing is beside a block
MOST_WEIGHT = 32767  # |weights| of a sample added up: the sum of a prediction stays below 2^24

Predictors = tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]
"""Luma of 8x8, luma of 16x16, chroma of 8x8: (K, SEEN, side²)."""


def check(predictors: Predictors) -> None:
    """Raise ValueError for some that no decoder takes."""
    for matrices, side in zip(predictors, (8, 16, 8), strict=True):
        if matrices.dtype != np.int16 or matrices.ndim != 3 or matrices.shape[1:] != (SEEN, side * side):
            raise ValueError("its predictors are of no kind known here")
        if len(matrices) not in (2, 4, 8, 16, 32):
            raise ValueError(f"{len(matrices)} predictors: 2, 4, 8, 16 or 32")
        if np.abs(matrices.astype(np.int32)).sum(1).max() > MOST_WEIGHT:
            raise ValueError("its predictors have weights that add up to too much")


def reconstruct(
    coefficients: Coefficients, predictors: Predictors, log_step: NDArray[np.int32], quality_code: QualityCode
) -> Frame420:
    """The frame. log_step: (8, 2), of luma and chroma."""
    if coefficients.predictors is None:
        raise ValueError("coefficients without predictors")
    mantissa, shift = scales(log_step, quality_code)
    height, width = coefficients.size
    half = (-(-height // 2), -(-width // 2))
    luma, first, second = (np.empty(shape, np.uint8) for shape in ((height, width), half, half))
    _reconstruct(
        coefficients.blocks, coefficients.whole, coefficients.predictors, *predictors, mantissa, shift, luma, first,
        second, MATRIX_8, MATRIX_16, ORDER_8, ORDER_16,
    )  # fmt: skip
    return Frame420(luma, first, second)


@primitive
def see(plane: Any, y: I64, x: I64, side: I64, last: bool, seen: Any) -> None:
    """Fills seen, (25,) int32, with what is beside a block. last: the bottom right one of four of a square."""
    height, width = plane.shape
    corner = np.int32(GREY)
    if y > 0:
        corner = np.int32(plane[y - 1, x - 1 if x > 0 else 0])
    elif x > 0:
        corner = np.int32(plane[0, x - 1])
    pair = side >> 3  # samples that are added up
    limit = min(width - 1, x + side - 1 if last else x + 2 * side - 1)
    seen[0] = pair * corner
    for i in range(16):
        total = np.int32(0)
        for k in range(pair):
            total += np.int32(plane[y - 1, min(x + pair * i + k, limit)]) if y > 0 else corner
        seen[1 + i] = total
    for i in range(8):
        total = np.int32(0)
        for k in range(pair):
            total += np.int32(plane[min(y + pair * i + k, height - 1), x - 1]) if x > 0 else corner
        seen[17 + i] = total


@primitive
def predict_block(plane: Any, y: I64, x: I64, side: I64, matrix: Any, seen: Any, sums: Any) -> None:
    """Puts a prediction into a plane. seen: see `see`; matrix: (SEEN, side²); sums: room, (256,) int32."""
    shift = UNIT_BITS + (side >> 4)
    for k in range(side * side):
        sums[k] = np.int32(1) << (shift - 1)
    for i in range(SEEN):
        value = seen[i]
        for k in range(side * side):
            sums[k] += value * np.int32(matrix[i, k])
    rows, columns = min(side, plane.shape[0] - y), min(side, plane.shape[1] - x)
    for i in range(rows):
        for j in range(columns):
            plane[y + i, x + j] = min(max(sums[side * i + j] >> shift, 0), 255)


@njit
def _reconstruct(  # type: ignore[no-untyped-def]
    blocks, whole, chosen, luma_8, luma_16, chroma, mantissa, shift, luma, first, second, matrix_8, matrix_16, order_8,
    order_16,
):  # fmt: skip
    work, sums, seen = np.empty((2, 256), np.int64), np.empty(256, np.int32), np.empty(SEEN, np.int32)
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[1]):
            square = blocks[i, j]
            if whole[i, j]:
                see(luma, 16 * i, 16 * j, 16, False, seen)
                predict_block(luma, 16 * i, 16 * j, 16, luma_16[chosen[i, j, 0]], seen, sums)
                add_block(square[:256], matrix_16, order_16, mantissa[0], shift[0], luma, 16 * i, 16 * j, work)
            else:
                for k in range(4):
                    y, x = 16 * i + 8 * (k >> 1), 16 * j + 8 * (k & 1)
                    if y < luma.shape[0] and x < luma.shape[1]:
                        see(luma, y, x, 8, k == 3, seen)
                        predict_block(luma, y, x, 8, luma_8[chosen[i, j, k]], seen, sums)
                        part = square[64 * k : 64 * k + 64]
                        add_block(part, matrix_8, order_8, mantissa[0], shift[0], luma, y, x, work)
            for k in range(2):
                plane = first if k == 0 else second
                see(plane, 8 * i, 8 * j, 8, False, seen)
                predict_block(plane, 8 * i, 8 * j, 8, chroma[chosen[i, j, 4 + k]], seen, sums)
                part = square[256 + 64 * k : 320 + 64 * k]
                add_block(part, matrix_8, order_8, mantissa[1], shift[1], plane, 8 * i, 8 * j, work)
