"""Colour: integers beside the formulas of H.273 in floating point."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc.frames import Frame420
from nvc.media.colour import Colour, frame_to_rgb, rgb_to_frame

PHOTO = np.asarray(Image.open(Path(__file__).parents[1] / "data" / "stair.png").convert("RGB"))
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
ALL = [(matrix, full) for matrix in WEIGHTS for full in (False, True)]


def float_yuv(rgb: np.ndarray, matrix: int, full: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y of each pixel, Cb and Cr of 2x2 means, unrounded (even sizes)."""
    kr, kb = WEIGHTS[matrix]
    red, green, blue = np.moveaxis(rgb.astype(float) / 255, 2, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    mean = [c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean(axis=(1, 3)) for c in (cb, cr)]
    if full:
        return 255 * luma, 128 + 255 * mean[0], 128 + 255 * mean[1]
    return 16 + 219 * luma, 128 + 224 * mean[0], 128 + 224 * mean[1]


@pytest.mark.parametrize(("matrix", "full"), ALL)
def test_to_yuv_rounds_the_formula(matrix: int, full: bool) -> None:
    frame = rgb_to_frame(PHOTO, matrix, full)
    for plane, exact in zip(frame.planes, float_yuv(PHOTO, matrix, full), strict=True):
        assert np.abs(plane - np.clip(exact, 0, 255)).max() < 0.505


@pytest.mark.parametrize(("matrix", "full"), ALL)
def test_to_rgb_rounds_the_formula(matrix: int, full: bool) -> None:
    """Flat chroma, so that its interpolation does not matter."""
    luma = np.arange(256, dtype=np.uint8).repeat(2).reshape(2, 256, order="F")
    kr, kb = WEIGHTS[matrix]
    for cb, cr in ((128, 128), (16, 240), (255, 0), (90, 140)):
        frame = Frame420(luma, np.full((1, 128), cb, np.uint8), np.full((1, 128), cr, np.uint8))
        y = luma / 255 if full else (luma - 16.0) / 219
        b, r = ((cb - 128) / 255, (cr - 128) / 255) if full else ((cb - 128) / 224, (cr - 128) / 224)
        red, blue = y + (2 - 2 * kr) * r, y + (2 - 2 * kb) * b
        green = (y - kr * red - kb * blue) / (1 - kr - kb)
        exact = np.clip(255 * np.stack([red, green, blue], 2), 0, 255)
        assert np.abs(frame_to_rgb(frame, matrix, full) - exact).max() < 0.505


@pytest.mark.parametrize(("matrix", "full"), ALL)
def test_grey_has_no_colour_and_comes_back(matrix: int, full: bool) -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    frame = rgb_to_frame(ramp, matrix, full)
    assert (frame.u == 128).all()
    assert (frame.v == 128).all()
    assert (frame.y[0, 0], frame.y[0, -1]) == ((0, 255) if full else (16, 235))
    back = frame_to_rgb(frame, matrix, full)
    assert np.abs(back.astype(int) - ramp).max() <= (0 if full else 1)
    assert (back[0, 0] == 0).all()
    assert (back[0, -1] == 255).all()


def test_chroma_comes_back_by_9_3_3_1() -> None:
    """A single chroma sample spreads over 4x4 luma samples; the borders repeat."""
    u = np.full((4, 4), 128, np.uint8)
    u[1, 1] = 128 + 32
    frame = Frame420(np.full((8, 8), 128, np.uint8), u, np.full((4, 4), 128, np.uint8))
    blue = frame_to_rgb(frame, 6, True)[..., 2].astype(int) - 128
    tent = np.array([0, 1, 3, 3, 1, 0, 0, 0])
    np.testing.assert_array_equal(blue, np.floor(np.outer(tent, tent) * 32 * 1.772 / 16 + 0.5).astype(int))
    edge = Frame420(frame.y, np.roll(u, (-1, -1), (0, 1)), frame.v)
    tent = np.array([4, 3, 1, 0, 0, 0, 0, 0])
    blue = frame_to_rgb(edge, 6, True)[..., 2].astype(int) - 128
    np.testing.assert_array_equal(blue, np.floor(np.outer(tent, tent) * 32 * 1.772 / 16 + 0.5).astype(int))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (5, 7), (33, 23)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    height, width = size
    rgb = PHOTO[:height, :width]
    frame = rgb_to_frame(rgb, 1, False)
    assert frame.u.shape == (-(-height // 2), -(-width // 2))
    assert frame_to_rgb(frame, 1, False).shape == rgb.shape
    # the last column's chroma is that column's own where the width is odd
    if width % 2 and height > 1:
        alone = rgb_to_frame(np.ascontiguousarray(rgb[:, -1:]), 1, False)
        np.testing.assert_array_equal(frame.u[:, -1:], alone.u)


def test_a_photograph_survives_the_round_trip() -> None:
    back = frame_to_rgb(rgb_to_frame(PHOTO, 1, False), 1, False)
    assert 10 * np.log10(255**2 / np.mean((back.astype(float) - PHOTO) ** 2)) > 36


@pytest.mark.parametrize(
    ("colour", "size", "matrix", "said"),
    [
        (Colour(), (352, 288), 6, "BT.601, limited"),
        (Colour(full_range=True), (720, 576), 6, "BT.601, full"),
        (Colour(), (1280, 544), 1, "BT.709"),
        (Colour(), (1080, 1920), 1, "BT.709"),
        (Colour(), (320, 1280), 1, "BT.709"),
        (Colour(primaries=9), (352, 288), 9, "BT.2020"),
        (Colour(matrix=14), (352, 288), 6, "matrix 14, not known here"),
        (Colour(matrix=1), (352, 288), 1, ""),
        (Colour(matrix=5), (1920, 1080), 5, ""),
    ],
)
def test_the_matrix_is_stated_or_guessed_aloud(colour: Colour, size: tuple[int, int], matrix: int, said: str) -> None:
    assert colour.matrix_for(*size) == matrix
    assert said in colour.guess(*size)
    assert bool(said) == bool(colour.guess(*size))


def test_matrices_without_luma_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="matrix 8"):
        rgb_to_frame(PHOTO, 8, False)
