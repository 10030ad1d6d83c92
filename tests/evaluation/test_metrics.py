"""Metrics against their formulas, written out a second time."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.errors import InputError, NvcError, UsageError
from nvc.evaluation.anchors import Jpeg
from nvc.evaluation.metrics import as_rgb, bpp, ms_ssim, ms_ssim_db, psnr


def test_psnr_is_the_formula_over_all_samples(photo: NDArray[np.uint8]) -> None:
    codec = Jpeg()
    other = codec.decode(codec.encode(photo, 30))
    mse = np.mean((photo.astype(np.float64) - other.astype(np.float64)) ** 2)
    assert psnr(photo, other) == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-9)
    assert psnr(other, photo) == psnr(photo, other)
    channels = [psnr(photo[:, :, c], other[:, :, c]) for c in range(3)]
    assert psnr(photo, other) != pytest.approx(np.mean(channels), abs=1e-6)  # one MSE, not a mean of three PSNRs


def test_psnr_of_known_differences() -> None:
    black, grey = np.zeros((5, 7, 3), np.uint8), np.full((5, 7, 3), 255, np.uint8)
    assert psnr(black, grey) == 0.0  # 0 − 255 must not wrap around to 1
    one = black.copy()
    one[2, 3, 1] = 1
    assert psnr(black, one) == pytest.approx(10 * math.log10(255**2 * 105))
    assert psnr(black, black) == math.inf


def test_psnr_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(UsageError, match="different"):
        psnr(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(UsageError, match="8-bit"):
        psnr(np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.uint16))  # type: ignore[arg-type]


def test_grey_measures_the_same_as_rgb(photo: NDArray[np.uint8]) -> None:
    grey, other = photo[:, :, 1], photo[:, :, 2]
    assert as_rgb(grey).shape == (*grey.shape, 3)
    assert psnr(as_rgb(grey), as_rgb(other)) == pytest.approx(psnr(grey, other), abs=1e-12)
    alpha = np.dstack([photo, grey])
    assert np.array_equal(as_rgb(alpha), photo)


def test_bpp_counts_the_whole_file() -> None:
    assert bpp(98_304, 768, 512) == 2.0


def reference_ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Wang, Simoncelli and Bovik 2003: 11 taps, sigma 1.5, five scales by 2x2 means; sides a multiple of 16."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.apply_along_axis(np.convolve, 0, plane, taps, "valid")
        return np.apply_along_axis(np.convolve, 1, rows, taps, "valid")

    def channel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        product = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            mean_x, mean_y = blur(x), blur(y)
            var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            structure = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (var_x + var_y + c2)
            luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
            product *= np.mean(structure * luminance if scale == 4 else structure) ** weight
            if scale < 4:
                x, y = ((p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in (x, y))
        return product

    return float(np.mean([channel(a[:, :, c].astype(float), b[:, :, c].astype(float)) for c in range(3)]))


@pytest.mark.parametrize("quality", [10, 60])
def test_ms_ssim_is_the_formula(photo: NDArray[np.uint8], quality: int) -> None:
    even = np.ascontiguousarray(photo[:176, :176])
    codec = Jpeg()
    other = codec.decode(codec.encode(even, quality))
    assert ms_ssim(even, other) == pytest.approx(reference_ms_ssim(even, other), abs=2e-5)
    assert ms_ssim(even, even) == pytest.approx(1.0, abs=1e-6)


def test_ms_ssim_refuses_small_pictures() -> None:
    with pytest.raises(InputError, match="161"):
        ms_ssim(np.zeros((160, 300, 3), np.uint8), np.zeros((160, 300, 3), np.uint8))


def test_ms_ssim_names_the_extra_it_needs(photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pytorch_msssim", None)
    with pytest.raises(NvcError, match="extra `research`"):
        ms_ssim(photo, photo)


def test_ms_ssim_in_decibel() -> None:
    assert ms_ssim_db(0.99) == pytest.approx(20.0)
    assert ms_ssim_db(1.0) == math.inf
