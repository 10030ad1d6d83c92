"""Motion between two references: known displacements, any distances and sizes. tests/test_video_referee.py has the
definition, which it is compared with on photographs and noise.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import referee_bidirectional

from nvc.frames import Frame420
from nvc.networks.symmetric import STARTS, motion_between, steadiest, towards
from nvc.networks.symmetric_kernels import REACH
from nvc.networks.warp import grid_shape, predict

DEMO = np.asarray(Image.open(Path(__file__).parents[1] / "data" / "demo.png").convert("YCbCr"))  # 476x384
FURTHEST = 32 * REACH + 16  # 1/16 luma pixel


def _texture() -> NDArray[np.uint8]:
    """What can be found at every scale and in both directions, as hardly any part of a photograph can."""
    random = np.random.default_rng(0)
    layers = [cv2.GaussianBlur(random.normal(size=(400, 500)), (0, 0), width) for width in (2, 5, 12)]
    return (128 + 35 * sum(layer / layer.std() for layer in layers)).clip(0, 255).astype(np.uint8)


TEXTURE = _texture()


def textured(x: int, y: int, width: int = 208, height: int = 176) -> Frame420:
    luma = TEXTURE[y : y + height, x : x + width].copy()
    return Frame420(luma, luma[::2, ::2].copy(), luma[::2, ::2].copy())


def cut(x: int, y: int, width: int = 208, height: int = 176) -> Frame420:
    window = DEMO[y : y + height, x : x + width]
    luma, u, v = (np.ascontiguousarray(plane) for plane in window.transpose(2, 0, 1))
    return Frame420(luma, u[::2, ::2].copy(), v[::2, ::2].copy())


def noise(height: int, width: int, seed: int = 0) -> Frame420:
    random = np.random.default_rng(seed)
    half = (-(-height // 2), -(-width // 2))
    return Frame420(*(random.integers(0, 256, shape).astype(np.uint8) for shape in ((height, width), half, half)))


def referee(first: Frame420, second: Frame420, before: int, after: int, start: int) -> NDArray[np.int64]:
    planes = (frame.y.astype(np.int64) for frame in (first, second))
    return referee_bidirectional.motion_between(*planes, before, after, start)[::-1]


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("start", [1, 2, 3])
@pytest.mark.parametrize(("dx", "dy"), [(8, -4), (-6, 10), (3, -5), (24, 16)])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (16, 16)])
def test_a_shift_is_found(before: int, after: int, dx: int, dy: int, start: int) -> None:
    """What lies at p of the first lies at p - (dx, dy) of the second, whatever the distances."""
    motion = motion_between(textured(120, 90), textured(120 + dx, 90 + dy), before, after, start)
    assert motion.shape == (2, *grid_shape(176, 208))
    assert motion.dtype == np.int16
    error = np.abs(motion[:, 3:-3, 3:-3] + 16 * np.array([[[dx]], [[dy]]])).max(0)
    assert np.median(error) <= 3
    assert (error < 12).mean() > 0.9


@pytest.mark.parametrize(("before", "after"), [(1, 1), (3, 1), (1, 3), (2, 6)])
def test_steady_motion_predicts_the_frame_between(before: int, after: int) -> None:
    """From either side, better by far than the reference itself."""
    first, middle, second = (textured(100 + 2 * frames, 90 + frames) for frames in (0, before, before + after))
    motion = motion_between(first, second, before, after, 1)
    sharp = np.zeros(motion.shape[1:], np.uint8)
    for reference, flow in zip((first, second), towards(motion, before, after), strict=True):
        assert psnr(predict(reference, flow, sharp).y, middle.y) > psnr(reference.y, middle.y) + 4


def test_shares_add_up() -> None:
    """Flow on to the second - flow back to the first = the motion; halves of the first part are rounded up."""
    motion = np.arange(-FURTHEST, FURTHEST, dtype=np.int16).reshape(2, -1, 1)
    for before, after in ((1, 1), (1, 2), (5, 3), (16, 16)):
        back, on = towards(motion, before, after)
        np.testing.assert_array_equal(on.astype(int) - back, motion)
        np.testing.assert_array_equal(-back, np.floor(motion * (before / (before + after)) + 0.5))


@pytest.mark.parametrize("start", range(len(STARTS)))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (17, 2), (16, 16), (33, 130)])
def test_every_size(height: int, width: int, start: int) -> None:
    first, second = noise(height, width), noise(height, width, 1)
    motion = motion_between(first, second, 1, 2, start)
    assert motion.shape == (2, *grid_shape(height, width))
    assert np.abs(motion).max() <= FURTHEST
    np.testing.assert_array_equal(motion, referee(first, second, 1, 2, start))


def test_the_furthest_displacement() -> None:
    """A slope that moves by more than can be found: vectors end at their bound, as those of the definition do."""
    columns, chroma = np.arange(288), np.zeros((24, 144), np.uint8)
    slopes = [np.tile((40 + first + 0.4 * columns).astype(np.uint8), (48, 1)) for first in (80, 0)]
    frames = [Frame420(slope, chroma, chroma) for slope in slopes]
    for (before, after), ends in (((1, 1), 1), ((3, 1), -1)):
        pair = frames[::ends]
        motion = motion_between(*pair, before, after, 3)
        assert (ends * motion[0]).max() == 32 * REACH
        np.testing.assert_array_equal(motion, referee(*pair, before, after, 3))


def test_no_start_no_motion() -> None:
    assert not motion_between(cut(100, 90), cut(108, 94), 1, 1, 0).any()


def test_still_and_flat_pictures_have_no_motion() -> None:
    flat = Frame420(np.full((64, 80), 9, np.uint8), np.full((32, 40), 9, np.uint8), np.full((32, 40), 9, np.uint8))
    for start in (1, 2, 3):
        assert not motion_between(flat, flat, 1, 1, start).any()
        assert not motion_between(cut(100, 90), cut(100, 90), 1, 1, start).any()


@pytest.mark.parametrize("start", range(len(STARTS)))
def test_the_steadiest_is_what_the_flows_are(start: int) -> None:
    """Flows that a start gives need nothing coded with it."""
    first, second = cut(100, 60), cut(130, 80)
    motion = motion_between(first, second, 1, 2, start)
    found, same = steadiest(first, second, 1, 2, np.concatenate(towards(motion, 1, 2)) / np.float32(16))
    assert found == start
    np.testing.assert_array_equal(same, motion)


def test_threads_change_nothing() -> None:
    first, second = cut(60, 20, 140, 300), cut(70, 30, 140, 300)
    alone = motion_between(first, second, 1, 1, 2)
    before = torch.get_num_threads()
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(motion_between(first, second, 1, 1, 2), alone)
    finally:
        torch.set_num_threads(before)
