"""Edges of predicted blocks: against the referee, which edges there are, and what stays."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from referee_blocks import smoothed
from video_streams import clip

from nvc.frames import Frame420
from nvc.networks.edges import smooth_edges
from nvc.networks.steps import steps

LOG_STEP = np.stack([np.linspace(57344, 0, 8), np.linspace(50000, 9000, 8)], 1).round().astype(np.int32)


def blocky(height: int, width: int, random: np.random.Generator, spread: int) -> Frame420:
    """A photograph whose blocks of 8x8 are lighter or darker by so many grey levels at most."""
    planes = []
    for plane in clip(height, width, 1)[0].planes:
        blocks = random.integers(-spread, spread + 1, [side // 8 + 1 for side in plane.shape]).repeat(8, 0).repeat(8, 1)
        planes.append((plane // 4 + 90 + blocks[: plane.shape[0], : plane.shape[1]]).clip(0, 255).astype(np.uint8))
    return Frame420(*planes)


def flat(value: int = 100) -> Frame420:
    return Frame420(np.full((48, 64), value, np.uint8), *np.full((2, 24, 32), value, np.uint8))


@pytest.mark.parametrize("code", [0, 9999, 15000, 28672])
@pytest.mark.parametrize("size", [(1, 1), (10, 11), (35, 60), (64, 96)])
def test_against_the_referee(size: tuple[int, int], code: int) -> None:
    """With the coarsest steps, the finest and some between; noise, too, where sums are the largest."""
    random = np.random.default_rng(size[0])
    whole = (random.random([-(-side // 16) for side in size]) < 0.5).astype(np.uint8)
    mantissa, shift = steps(LOG_STEP, code)
    plain_steps = [(int(t), int(e)) for t, e in zip(mantissa, shift, strict=True)]
    frames = [blocky(*size, random, spread) for spread in (2, 30)]
    frames.append(Frame420(*(random.choice([0, 3, 252, 255], p.shape).astype(np.uint8) for p in frames[0].planes)))
    for frame in frames:
        before = [plane.copy() for plane in frame.planes]
        found = smooth_edges(frame, whole, LOG_STEP, code)
        expected = smoothed([plane.astype(np.int64) for plane in frame.planes], whole, plain_steps)
        for plane, other in zip(found.planes, expected, strict=True):
            np.testing.assert_array_equal(plane, other)
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, before, strict=True))


def test_edges_are_those_of_blocks() -> None:
    """Of a step of grey levels that is nowhere but at one column or row."""
    whole, code = np.zeros((3, 4), np.uint8), 15000
    whole[1, 2] = 1
    for x in range(1, 64):
        frame = flat()
        frame.y[:, x:] += 4
        changed = (smooth_edges(frame, whole, LOG_STEP, code).y != frame.y).any(1)
        inside = x % 16 == 8 and x // 16 == 2
        assert changed.tolist() == [x % 8 == 0 and not (inside and 16 <= y < 32) for y in range(48)]
    for y in range(1, 48):
        frame = flat()
        frame.y[y:] += 4
        changed = (smooth_edges(frame, whole, LOG_STEP, code).y != frame.y).any(0)
        inside = y % 16 == 8 and y // 16 == 1
        assert changed.tolist() == [y % 8 == 0 and not (inside and 32 <= x < 48) for x in range(64)]
    whole[:] = 1  # which is nothing to chroma
    frame = flat()
    frame.v[:, 8:] += 4
    found = smooth_edges(frame, whole, LOG_STEP, code)
    assert np.flatnonzero((found.v != frame.v).any(0)).tolist() == [7, 8]
    np.testing.assert_array_equal(found.u, frame.u)


@pytest.mark.parametrize(("height", "line"), [(4, [0, 0, 1, 2, 2, 3, 4, 4]), (40, [0, 0, 2, 5, 35, 38, 40, 40])])
def test_a_step_becomes_a_slope(height: int, line: list[int]) -> None:
    """Of steps of 32 grey levels, which change a sample by 5 and 2 at most."""
    frame = flat()
    frame.y[:, 8:] += height
    found = smooth_edges(frame, np.zeros((3, 4), np.uint8), np.full((8, 2), 11 * 4096, np.int32), 0)
    assert (found.y[20, 4:12].astype(int) - 100).tolist() == line


def test_a_high_step_is_of_the_picture() -> None:
    frame = flat()
    frame.y[:, 8:] += 140
    found = smooth_edges(frame, np.zeros((3, 4), np.uint8), np.full((8, 2), 11 * 4096, np.int32), 0)
    np.testing.assert_array_equal(found.y, frame.y)


def test_a_flat_picture_stays() -> None:
    for code in (0, 28672):
        found = smooth_edges(flat(), np.zeros((3, 4), np.uint8), LOG_STEP, code)
        for plane, other in zip(found.planes, flat().planes, strict=True):
            np.testing.assert_array_equal(plane, other)
