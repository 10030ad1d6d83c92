"""Block transforms: the inverse against plain sums, bounds, threads, sizes that are no whole blocks."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from referee_coefficients import MATRIX, added, order
from video_streams import clip, random_coefficients

from nvc.coefficients import Coefficients
from nvc.entropy_models.coefficients import LARGEST
from nvc.frames import Frame420
from nvc.networks import steps
from nvc.networks.transform import MATRIX_8, MATRIX_16, add_transformed, scales, step_sizes

LOG_STEP = np.stack([np.full(8, 9 * 4096 + 1234), np.full(8, 10 * 4096 - 77)], 1).astype(np.int32)


def blocks_of(coefficients: Coefficients) -> list[tuple[int, int, int, np.ndarray]]:
    """As the referee has them."""
    found = []

    def put(plane: int, top: int, left: int, values: np.ndarray) -> None:
        side = {64: 8, 256: 16}[values.size]
        block = np.zeros((side, side), np.int64)
        for place, value in zip(order(side), values, strict=True):
            block[place] = value
        found.append((plane, top, left, block))

    for i, j in np.ndindex(coefficients.whole.shape):
        square = coefficients.blocks[i, j]
        if coefficients.whole[i, j]:
            put(0, 16 * i, 16 * j, square[:256])
        else:
            for k in range(4):
                put(0, 16 * i + 8 * (k >> 1), 16 * j + 8 * (k & 1), square[64 * k : 64 * k + 64])
        for k in (1, 2):
            put(k, 8 * i, 8 * j, square[192 + 64 * k : 256 + 64 * k])
    return found


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (48, 64), (100, 90)])
@pytest.mark.parametrize(("share", "scale"), [(0.02, 1.0), (1.0, 300.0)])
def test_against_plain_sums(size: tuple[int, int], share: float, scale: float) -> None:
    random = np.random.default_rng(size[0])
    frame, made = clip(*size, 1)[0], random_coefficients(size, random, share, scale)
    mantissa, shift = scales(LOG_STEP, 5000)
    want = added([plane.astype(np.int64) for plane in frame.planes], blocks_of(made), [
        (int(t), int(s) - 26) for t, s in zip(mantissa, shift, strict=True)
    ])  # fmt: skip
    found = add_transformed(frame, made, LOG_STEP, 5000)
    for plane, other in zip(found.planes, want, strict=True):
        np.testing.assert_array_equal(plane, other)


def test_threads_make_no_difference() -> None:
    frame, made = clip(112, 128, 1)[0], random_coefficients((112, 128), np.random.default_rng(3), 0.05, 2.0)
    shown, before = [], torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        shown.append(add_transformed(frame, made, LOG_STEP, 0))
    torch.set_num_threads(before)
    for one, two in zip(shown[0].planes, shown[1].planes, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("matrix", [MATRIX_8, MATRIX_16])
def test_matrices_are_orthonormal_cosines(matrix: np.ndarray) -> None:
    side = len(matrix)
    np.testing.assert_array_equal(matrix, MATRIX[side])
    product = matrix @ matrix.T / 4**10
    assert np.abs(product - np.eye(side)).max() < 0.002


@pytest.mark.parametrize("end", [-LARGEST, LARGEST])
def test_nothing_overflows_at_the_ends(end: int) -> None:
    """Python's integers give the same as int64 does, with the coarsest and the finest steps."""
    for log in (0, steps.MANTISSA_BITS * steps.STEP_ONE):
        log_step = np.full((8, 2), log, np.int32)
        frame = Frame420(np.full((16, 16), 100, np.uint8), *np.full((2, 8, 8), 90, np.uint8))
        made = Coefficients.nothing(1, 1)
        made.blocks[:], made.whole[:] = end, 1
        made.blocks[0, 0, ::3] *= -1
        mantissa, shift = scales(log_step, 0)
        exact = []
        for number, top, left, block in blocks_of(made):
            values = [[int(v) * int(mantissa[min(number, 1)]) for v in row] for row in block]
            m, n = [[int(v) for v in row] for row in MATRIX[len(block)]], len(block)
            total = sum(values[u][v] * m[u][3] * m[v][5] for u in range(n) for v in range(n))
            base, s = int(frame.planes[number][top + 3, left + 5]), int(shift[min(number, 1)])
            exact.append((number, top, left, min(max(base + ((total + (1 << (s - 1))) >> s), 0), 255)))
        shown = add_transformed(frame, made, log_step, 0)
        for number, top, left, value in exact:
            assert shown.planes[number][top + 3, left + 5] == value


def test_a_step_is_a_step() -> None:
    """The mean of a block moves by a coefficient of frequency 0 as its step says."""
    for side, whole in ((8, 0), (16, 1)):
        frame = Frame420(np.full((16, 16), 100, np.uint8), *np.full((2, 8, 8), 100, np.uint8))
        made = Coefficients.nothing(1, 1)
        made.blocks[0, 0, 0], made.whole[:] = 4, whole
        made.blocks[0, 0, 256] = -4
        luma, chroma = step_sizes(LOG_STEP, 0)
        shown = add_transformed(frame, made, LOG_STEP, 0)
        assert shown.y[0, 0] == round(100 + 4 * luma / side)
        assert shown.u[0, 0] == round(100 - 4 * chroma / 8)
        assert (shown.v == 100).all()
