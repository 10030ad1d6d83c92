"""Motion compensation: equal to a plain definition, whatever the flow, the size and the number of threads."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nvc.frames import Frame420
from nvc.networks import warp
from nvc.networks.warp import FLOW_LIMIT, SCALE_LIMIT, grid_shape, predict
from nvc.networks.warp_kernels import TAPS

Integers = NDArray[np.int64]


# ---- the definition of FORMAT.md, in plain 64-bit integers


def cubic_taps(phase: int) -> list[int]:
    if phase > 16:
        return cubic_taps(32 - phase)[::-1]
    t, u = phase, 32 - phase
    whole = 4 * 32**3  # the taps below are in 1/whole
    first, third, last = -3 * t * u**2, 5 * u**3 - 9 * u**2 * 32 + whole, -3 * u * t**2
    a, c, d = ((2 * 256 * tap + whole) // (2 * whole) for tap in (first, third, last))
    return [a, 256 - a - c - d, c, d]


def at(field: Integers, y: int, x: int) -> int:
    """A value, or that of the nearest border."""
    return int(field[min(max(y, 0), field.shape[0] - 1), min(max(x, 0), field.shape[1] - 1)])


def halved(plane: Integers) -> Integers:
    rows, columns = (-(-n // 2) for n in plane.shape)
    sums = [
        [sum(at(plane, 2 * y + j, 2 * x + i) for j in (0, 1) for i in (0, 1)) for x in range(columns)]
        for y in range(rows)
    ]
    return (np.array(sums) + 2) // 4


def bilinear(field: Integers, y: int, x: int, one: int) -> int:
    """At (y, x) in 1/one; the result in 1/one²."""
    (j, fy), (i, fx) = divmod(y, one), divmod(x, one)
    return (
        (at(field, j, i) * (one - fx) + at(field, j, i + 1) * fx) * (one - fy)
        + (at(field, j + 1, i) * (one - fx) + at(field, j + 1, i + 1) * fx) * fy
    )  # fmt: skip


def expected(plane: NDArray, flow: NDArray, scale: NDArray, cell: int) -> NDArray[np.uint8]:
    """cell: grid cells in pixels of the plane, 8 or 4; positions are in 1/unit pixel."""
    unit, one = 128 // cell, 2 * cell
    pyramid = [plane.astype(np.int64)]
    while len(pyramid) < 4:
        pyramid.append(halved(pyramid[-1]))
    out = np.empty_like(plane)
    for y, x in product(*map(range, plane.shape)):
        dx, dy, level = (
            (bilinear(field, 2 * y + 1 - cell, 2 * x + 1 - cell, one) + one * one // 2) // one**2
            for field in (*flow.astype(np.int64), scale.astype(np.int64))
        )
        samples = []
        for k in range(4):
            py, px = unit * y + dy, unit * x + dx
            if k == 0:
                (j, fy), (i, fx) = divmod(py, unit), divmod(px, unit)
                ty, tx = cubic_taps(fy * 32 // unit), cubic_taps(fx * 32 // unit)
                sharp = (ty[b] * tx[a] * at(plane, j + b - 1, i + a - 1) for b in range(4) for a in range(4))
                samples.append(sum(sharp) << 4)
            else:  # from the corner of the plane, level k has positions 2^k times as fine
                here = [p + unit // 2 - (unit // 2 << k) for p in (py, px)]
                samples.append(bilinear(pyramid[k], *here, unit << k) * 2**20 // (unit << k) ** 2)
        k, share = divmod(level, 16)
        total = samples[k] * (16 - share) + (samples[k + 1] * share if share else 0)
        out[y, x] = min(max((total + 2**23) // 2**24, 0), 255)
    return out


# ---- frames and motion


def frame(height: int, width: int, seed: int = 0) -> Frame420:
    """Noise of the extremes: every error shows."""
    rng = np.random.default_rng(seed)
    half = (-(-height // 2), -(-width // 2))
    return Frame420(
        *(rng.choice([0, 255, rng.integers(256)], shape).astype(np.uint8) for shape in ((height, width), half, half))
    )


def motion(height: int, width: int, kind: str, seed: int = 1) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    grid = grid_shape(height, width)
    if kind == "small":
        flow, scale = rng.integers(-40, 41, (2, *grid)), rng.integers(0, 20, grid)
    elif kind == "sharp":
        flow, scale = rng.integers(-200, 201, (2, *grid)), np.zeros(grid)
    elif kind == "sharp and far":
        flow, scale = rng.integers(-32768, 32768, (2, *grid)), np.zeros(grid)
    elif kind == "extreme":
        flow, scale = rng.choice([-FLOW_LIMIT, FLOW_LIMIT], (2, *grid)), rng.choice([0, SCALE_LIMIT], grid)
    else:
        flow, scale = rng.integers(-32768, 32768, (2, *grid)), rng.integers(0, SCALE_LIMIT + 1, grid)
    return flow.astype(np.int16), scale.astype(np.uint8)


SIZES = [(1, 1), (1, 40), (17, 2), (31, 49), (48, 33), (64, 64)]


@pytest.mark.parametrize("kind", ["small", "sharp", "sharp and far", "extreme", "any"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_prediction_is_the_definition(height: int, width: int, kind: str) -> None:
    reference, (flow, scale) = frame(height, width), motion(height, width, kind)
    got = predict(reference, flow, scale)
    for plane, source, cell in zip(got.planes, reference.planes, (8, 4, 4), strict=True):
        np.testing.assert_array_equal(plane, expected(source, flow, scale, cell))


def test_no_motion_copies() -> None:
    reference = frame(45, 77)
    grid = grid_shape(45, 77)
    still = predict(reference, np.zeros((2, *grid), np.int16), np.zeros(grid, np.uint8))
    for plane, source in zip(still.planes, reference.planes, strict=True):
        np.testing.assert_array_equal(plane, source)
        assert plane is not source


def test_whole_pixels_move_and_borders_repeat() -> None:
    reference = frame(32, 32)
    flow = np.full((2, 4, 4), 16 * 4, np.int16)
    flow[1] = -16 * 2
    moved = predict(reference, flow, np.zeros((4, 4), np.uint8))
    rows, columns = np.arange(32) - 2, np.arange(32) + 4
    np.testing.assert_array_equal(moved.y, reference.y[np.ix_(rows.clip(0), columns.clip(max=31))])
    rows, columns = np.arange(16) - 1, np.arange(16) + 2
    np.testing.assert_array_equal(moved.v, reference.v[np.ix_(rows.clip(0), columns.clip(max=15))])


def test_scale_blurs_as_the_mean_does(photograph: NDArray[np.uint8]) -> None:
    """The middle of an 8x8 block at scale 3, half-way between four pixels of level 3, is their mean."""
    y = np.asarray(Image.fromarray(photograph).convert("L"))
    half = np.full((96, 128), 7, np.uint8)
    reference = Frame420(y, half, half)
    grid = grid_shape(*y.shape)
    means = y.reshape(24, 8, 32, 8).mean((1, 3))
    corner = np.full((2, *grid), 8, np.int16)  # half a pixel down and right of pixel 3 is the middle of its block
    blurred = predict(reference, corner, np.full(grid, SCALE_LIMIT, np.uint8))
    assert np.abs(blurred.y[3::8, 3::8] - means).max() <= 1.5  # three roundings on the way down
    assert (blurred.u == 7).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int) -> None:
    reference, (flow, scale) = frame(300, 70), motion(300, 70, "any")
    alone = predict(reference, flow, scale)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = predict(reference, flow, scale)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone.planes, together.planes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_refuses_what_is_not_on_the_grid() -> None:
    reference, (flow, scale) = frame(33, 16), motion(33, 16, "small")
    for bad_flow, bad_scale in [
        (flow[:, :-1], scale),
        (flow, scale[:, :-1]),
        (flow.astype(np.int32), scale),
        (flow, scale.astype(np.int64)),
        (flow, np.full_like(scale, SCALE_LIMIT + 1)),
    ]:
        with pytest.raises(ValueError, match=r"grid|scale"):
            predict(reference, bad_flow, bad_scale)


def test_the_taps_in_format_md_are_these() -> None:
    text = (Path(__file__).parents[2] / "FORMAT.md").read_text().split("T[n] for n = 0 to 16")[1].split("\n## ")[0]
    stated = {
        int(n): [int(tap) for tap in taps.split()] for n, taps in re.findall(r"\| (\d+) \| ((?:-?\d+ ?){4}) ", text)
    }
    assert stated == {n: cubic_taps(n) for n in range(17)}
    assert TAPS.tolist() == [cubic_taps(n) for n in range(32)]
    assert np.abs(TAPS).sum(1).max() == 352


def test_strips_are_smaller_than_the_tallest_test() -> None:
    assert warp._ROWS < 300  # else the threads above had nothing to share
