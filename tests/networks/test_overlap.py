"""Overlapped prediction: equal to a plain definition, whatever the flow, the size and the number of threads."""

import re
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from referee_conditional import FILTERS

from nvc.frames import Frame420
from nvc.networks.filters import TABLES, Filter
from nvc.networks.overlap import predict_overlapped
from nvc.networks.overlap_kernels import overlapped_rows
from nvc.networks.warp import FLOW_LIMIT, grid_shape, halvings, predict, stack
from nvc.networks.warp_kernels import TAPS
from nvc.networks.warp_torch import predict_overlapped as predict_in_floats


def sampled(plane: NDArray[np.uint8], py: int, px: int, unit: int, one: Filter) -> int:
    """S0 of FORMAT.md 11 and 16."""
    (j, f), (i, g) = divmod(py, unit), divmod(px, unit)
    f, g, taps = f * 32 // unit, g * 32 // unit, FILTERS[one]
    total, count = 0, len(taps[0])
    for b, a in product(range(count), repeat=2):
        row, column = j + b - count // 2 + 1, i + a - count // 2 + 1
        row, column = np.clip(row, 0, plane.shape[0] - 1), np.clip(column, 0, plane.shape[1] - 1)
        total += int(taps[f][b]) * int(taps[g][a]) * int(plane[row, column])
    return total


def expected(
    plane: NDArray[np.uint8], flow: NDArray[np.int16], cell: int, one: Filter = Filter.FOUR
) -> NDArray[np.uint8]:
    """FORMAT.md 16, pixel by pixel."""
    out, n, unit = np.empty_like(plane), 2 * cell, 128 // cell
    for y, x in np.ndindex(plane.shape):
        (j, f), (i, g) = divmod(2 * y + 1 - cell, n), divmod(2 * x + 1 - cell, n)
        total = 0
        for down, right in product((0, 1), repeat=2):
            row, column = np.clip(j + down, 0, flow.shape[1] - 1), np.clip(i + right, 0, flow.shape[2] - 1)
            dx, dy = (int(field[row, column]) for field in flow)
            weight = (f if down else n - f) * (g if right else n - g)
            total += weight * ((sampled(plane, unit * y + dy, unit * x + dx, unit, one) + 2**9) // 2**10)
        out[y, x] = np.clip((total + 32 * n * n) // (64 * n * n), 0, 255)
    return out


def frame(height: int, width: int) -> Frame420:
    random = np.random.default_rng(height)
    half = -(-height // 2), -(-width // 2)
    return Frame420(*(random.integers(0, 256, shape).astype(np.uint8) for shape in ((height, width), half, half)))


def motion(height: int, width: int, kind: str) -> NDArray[np.int16]:
    random, shape = np.random.default_rng(width), (2, *grid_shape(height, width))
    flow = random.integers(-40, 41, shape)
    if kind == "far":
        flow = random.choice([-FLOW_LIMIT, -500, 33, FLOW_LIMIT], shape)
    elif kind == "any":
        flow = random.integers(-32768, 32768, shape)
    elif kind == "alike":  # in pairs of every sort
        flow[:] = random.integers(-20, 21, (2, 1, 1))
        flow[:, ::3] += 16
        flow[:, :, ::4] = 7
        flow[1, 1::5] = -9
    elif kind == "whole":
        flow = 16 * random.integers(-3, 4, shape)
    return flow.astype(np.int16)


@pytest.mark.parametrize("kind", ["near", "far", "any", "alike", "whole"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (17, 31), (37, 24)])
@pytest.mark.parametrize("one", Filter)
def test_the_prediction_is_the_definition(one: Filter, height: int, width: int, kind: str) -> None:
    reference, flow = frame(height, width), motion(height, width, kind)
    for number, (made, plane) in enumerate(
        zip(predict_overlapped(reference, flow, one).planes, reference.planes, strict=True)
    ):
        np.testing.assert_array_equal(made, expected(plane, flow, 4 if number else 8, one))


def test_filters() -> None:
    """Sums, symmetry, whole positions; and that of eight taps is what FORMAT.md says that it is, number by number."""
    for one, taps in TABLES.items():
        assert taps.shape == (32, 8 if one == Filter.EIGHT else 4)
        assert (taps.sum(1) == 256).all()
        np.testing.assert_array_equal(taps[1:], taps[:0:-1, ::-1])
        np.testing.assert_array_equal(taps, FILTERS[one])
        assert np.count_nonzero(taps[0]) == 1
    samples, at, order = np.arange(8), 3 + np.arange(17) / 32, np.arange(8)
    scale = np.where(order == 0, 1 / 8, 1 / 4)
    basis = np.cos((2 * samples + 1) * order[:, None] * np.pi / 16)
    ideal = (scale * np.cos((2 * at[:, None] + 1) * order * np.pi / 16)) @ basis
    ideal *= np.cos(np.pi * (samples - at[:, None]) / 10)
    ideal *= 256 / ideal.sum(1, keepdims=True)
    wanted = np.rint(ideal).astype(int)  # the nearest tap takes what rounding leaves, two that are as near share it
    wanted[:16, 3] += 256 - wanted[:16].sum(1)
    wanted[16, 3:5] += (256 - wanted[16].sum()) // 2
    np.testing.assert_array_equal(TABLES[Filter.EIGHT][:17], wanted)
    text = (Path(__file__).parents[2] / "FORMAT.md").read_text().split("\n### Filters\n")[1].split("\n### ")[0]
    rows = re.findall(r"\| (\d+) \| ((?:-?\d+ ?){8}) ", text)
    assert {int(n): [int(tap) for tap in row.split()] for n, row in rows} == dict(enumerate(wanted.tolist()))


def test_eight_taps_keep_texture() -> None:
    """A quarter of a pixel to and fro, eight times, of what is fine."""
    y, x = np.mgrid[:64, :96]
    wave = (128 + 60 * np.sin(2 * np.pi * x / 3.2) * np.cos(2 * np.pi * y / 5)).round().astype(np.uint8)
    half = np.full((32, 48), 128, np.uint8)
    errors = {}
    for one in Filter:
        seen = Frame420(wave, half, half)
        for step in (4, 4, -4, -4, 4, 4, -4, -4):
            seen = predict_overlapped(seen, np.full((2, *grid_shape(64, 96)), step, np.int16), one)
        errors[one] = float(np.square(seen.y[24:40, 24:72].astype(float) - wave[24:40, 24:72]).mean())
    assert errors[Filter.EIGHT] < 0.5 * errors[Filter.FOUR]
    assert errors[Filter.FOUR] < 0.7 * errors[Filter.TWO]


def test_no_motion_copies() -> None:
    reference = frame(50, 39)
    made = predict_overlapped(reference, np.zeros((2, *grid_shape(50, 39)), np.int16))
    for plane, same in zip(made.planes, reference.planes, strict=True):
        np.testing.assert_array_equal(plane, same)


def test_like_mixed_vectors_where_all_are_the_same() -> None:
    reference = frame(64, 48)
    flow = np.empty((2, *grid_shape(64, 48)), np.int16)
    flow[0], flow[1] = 21, -13
    plain = predict(reference, flow, np.zeros(flow.shape[1:], np.uint8))
    for one, other in zip(predict_overlapped(reference, flow).planes, plain.planes, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1  # rounded twice
        assert (one != other).mean() < 0.02


@pytest.mark.parametrize("one", [Filter.FOUR, Filter.EIGHT])
def test_sums_stay_in_their_range(one: Filter) -> None:
    """The largest and the smallest that taps can make of 8 bits, on all four sides: rounding and nothing else."""
    taps = TABLES[one][16]
    worst = np.where(np.outer(taps > 0, taps > 0) ^ np.outer(taps < 0, taps < 0), 255, 0)
    plane = np.tile(worst.astype(np.uint8), (32 // len(taps), 32 // len(taps)))
    for inverted in (plane, 255 - plane):
        reference = Frame420(inverted, inverted[:16, :16].copy(), inverted[:16, :16].copy())
        flow = np.full((2, 4, 4), 8, np.int16)
        flow[:, ::2, 1::2] += 64
        np.testing.assert_array_equal(predict_overlapped(reference, flow, one).y, expected(inverted, flow, 8, one))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int) -> None:
    reference, flow = frame(150, 130), motion(150, 130, "near")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = predict_overlapped(reference, flow)
        torch.set_num_threads(threads)
        together = predict_overlapped(reference, flow)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone.planes, together.planes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_of_squares_touch_no_other() -> None:
    reference, flow = frame(40, 40), motion(40, 40, "near")
    out = np.full((40, 40), 77, np.uint8)
    overlapped_rows(*stack(halvings(reference.y, 1)), flow, TAPS, 0, 2, 3, out)
    whole = predict_overlapped(reference, flow).y
    np.testing.assert_array_equal(out[12:20], whole[12:20])
    assert (np.delete(out, np.s_[12:20], 0) == 77).all()


def test_refuses_what_is_not_on_the_grid() -> None:
    flow = np.zeros((2, 4, 6), np.int16)
    for wrong in (flow[:, :3], flow[:1], flow.astype(np.int32)):
        with pytest.raises(ValueError, match=re.escape("the grid is (4, 6)")):
            predict_overlapped(frame(32, 40), wrong)


@pytest.mark.parametrize("kind", ["near", "alike", "far"])
def test_the_twin_predicts_what_the_integers_do(kind: str, photograph: NDArray[np.uint8]) -> None:
    y = np.ascontiguousarray(photograph[:96, :128, 1])
    half = np.ascontiguousarray(y[::2, ::2])
    reference, flow = Frame420(y, half, half), motion(96, 128, kind)
    made = predict_overlapped(reference, flow)
    chroma = torch.from_numpy(np.stack([half, half])[None] / np.float32(255))
    twin = predict_in_floats(
        torch.from_numpy(y[None, None] / np.float32(255)), chroma, torch.from_numpy(flow[None] / np.float32(16))
    )
    for plane, real in ((made.y, twin[0][0, 0]), (made.u, twin[1][0, 0])):
        difference = np.abs(plane - (real * 255).round().clamp(0, 255).numpy())
        assert difference.max() <= 2
        assert difference.mean() <= 0.35


def test_edges_of_motion(photograph: NDArray[np.uint8]) -> None:
    """Two halves that move apart, with whole vectors on both sides: nearer than vectors that are mixed."""
    y = photograph[:96, :128, 1]
    moved = np.concatenate([np.roll(y, 6, 0)[:, :64], np.roll(y, -6, 0)[:, 64:]], 1)
    half = np.ascontiguousarray(y[::2, ::2])
    flow = np.zeros((2, *grid_shape(96, 128)), np.int16)
    flow[1, :, :8], flow[1, :, 8:] = -96, 96
    reference = Frame420(np.ascontiguousarray(y), half, half)
    inside = np.s_[16:80]
    errors = [
        np.square(made.y[inside].astype(float) - moved[inside]).mean()
        for made in (predict_overlapped(reference, flow), predict(reference, flow, np.zeros(flow.shape[1:], np.uint8)))
    ]
    assert errors[0] < 0.7 * errors[1]
