"""The encoder's motion: found on photographs that move in known ways, and the same every time."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nvc.frames import Frame420
from nvc.networks import motion_search
from nvc.networks.motion_search import PRESETS, estimate
from nvc.networks.warp import FLOW_LIMIT, grid_shape, predict

DEMO = np.asarray(Image.open(Path(__file__).parents[1] / "data" / "demo.png").convert("YCbCr"))  # 476x384


def frame(pixels: NDArray[np.uint8]) -> Frame420:
    y, u, v = (np.ascontiguousarray(plane) for plane in pixels.transpose(2, 0, 1))
    return Frame420(y, u[::2, ::2].copy(), v[::2, ::2].copy())


def cut(x: int, y: int, width: int = 320, height: int = 272) -> Frame420:
    return frame(DEMO[y : y + height, x : x + width])


def turned(degrees: float, zoom: float) -> Frame420:
    """`cut(72, 56)` with the camera turned and nearer."""
    matrix = cv2.getRotationMatrix2D((232, 192), degrees, zoom)
    return frame(cv2.warpAffine(DEMO, matrix, (476, 384), flags=cv2.INTER_CUBIC)[56 : 56 + 272, 72 : 72 + 320])


def psnr(current: Frame420, reference: Frame420, flow: NDArray[np.float32]) -> float:
    rounded = np.round(flow * 16).astype(np.int16)
    predicted = predict(reference, rounded, np.zeros(flow.shape[1:], np.uint8)).y
    return float(10 * np.log10(255**2 / np.mean((predicted - current.y.astype(float)) ** 2)))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_shift_is_found(preset: str) -> None:
    current = cut(70, 50)
    flow = estimate(current, cut(77, 46), preset)
    assert flow.shape == (2, *grid_shape(272, 320))
    assert flow.dtype == np.float32
    textured = current.y.reshape(34, 8, 40, 8).std((1, 3)) > 20
    textured[[0, 1, -2, -1]] = textured[:, [0, 1, -2, -1]] = False
    assert textured.sum() > 80
    error = np.abs(flow[:, textured] - [[-7], [4]]).max(0)
    assert np.median(error) < 0.15
    assert (error < 0.5).mean() > 0.9


def test_more_work_predicts_better() -> None:
    current, reference = turned(1.5, 1.02), cut(72, 56)
    levels = [motion_search.halvings(picture.y, 3) for picture in (current, reference)]
    start = motion_search.optical_flow(levels[0], levels[1], grid_shape(272, 320)).astype(np.float32)
    copied = psnr(current, reference, np.zeros_like(start))
    reached = [psnr(current, reference, estimate(current, reference, preset)) for preset in ("fast", "medium", "slow")]
    assert copied + 6 < psnr(current, reference, start) + 2 < reached[0] < reached[1] < reached[2]


def test_smoothness_is_obeyed() -> None:
    current, reference = turned(1.5, 1.02), cut(72, 56)
    rough, smooth = (estimate(current, reference, smoothness=value) for value in (20, 5000))
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.9 * np.abs(np.diff(rough, axis=2)).mean()
    assert psnr(current, reference, smooth) < psnr(current, reference, rough)


def test_a_still_picture_has_no_motion() -> None:
    assert not estimate(cut(70, 50), cut(70, 50)).any()


def test_flat_pictures_have_finite_motion() -> None:
    flat = Frame420(np.full((64, 80), 9, np.uint8), np.full((32, 40), 9, np.uint8), np.full((32, 40), 9, np.uint8))
    assert not estimate(flat, flat).any()
    brighter = Frame420(flat.y + np.uint8(90), flat.u, flat.v)
    assert np.abs(estimate(brighter, flat)).max() < 1


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (8, 8), (9, 300), (200, 3), (40, 50), (65, 63), (144, 176), (270, 319)]
)
def test_every_size_has_its_grid(height: int, width: int) -> None:
    flow = estimate(cut(70, 50, width, height), cut(72, 51, width, height))
    assert flow.shape == (2, *grid_shape(height, width))
    assert np.isfinite(flow).all()
    assert np.abs(flow).max() <= FLOW_LIMIT / 16


def test_what_cannot_be_matched_stays_in_range() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 256, 3)).astype(np.uint8)
    flow = estimate(frame(noise[0]), frame(noise[1]), smoothness=0.1)
    assert np.isfinite(flow).all()
    assert np.abs(flow).max() <= FLOW_LIMIT / 16


def test_the_same_flow_every_time_and_for_any_number_of_threads() -> None:
    current, reference = turned(-2, 0.98), cut(72, 56)
    first = estimate(current, reference)
    before, opencv = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            np.testing.assert_array_equal(estimate(current, reference), first)
            assert cv2.getNumThreads() == threads  # OpenCV's other users keep theirs
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(opencv)


def test_a_step_sums_what_the_interpolation_spreads() -> None:
    """The sums of `accumulate`, against the weights of every pixel written out; odd sizes, both resolutions."""
    rng = np.random.default_rng(5)
    for cell, (height, width) in ((8, (45, 61)), (4, (22, 31))):
        grid = grid_shape(45, 61)
        current, predicted = rng.integers(0, 256, (2, height, width)).astype(np.uint8)
        got = motion_search._sums(current, predicted, cell, grid)

        def shares(size: int, cells: int, cell: int = cell) -> NDArray[np.float64]:
            """(size, cells): of every vector in every pixel."""
            place = ((np.arange(size) + 0.5) / cell - 0.5).clip(0, cells - 1)
            return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells)))

        both = current.astype(float) + predicted
        padded = np.pad(both, 1, mode="edge")
        scale = cell / 8 / 4  # both pictures, two pixels apart; luma pixels
        gx, gy = (padded[1:-1, 2:] - padded[1:-1, :-2]) * scale, (padded[2:, 1:-1] - padded[:-2, 1:-1]) * scale
        error = current.astype(float) - predicted
        products = np.stack([gx * gx, gx * gy, gy * gy, gx * error, gy * error]) * (8 / cell) ** 2
        expected = np.einsum("kyx,yi,xj->kij", products, shares(height, grid[0]), shares(width, grid[1]))
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-6)
