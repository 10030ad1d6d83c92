"""Targets: met within their tolerance in at most eight passes, or refused."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from nvc.bitstream.container import read_picture_file
from nvc.codec import rate_control
from nvc.codec.picture import EncodedPicture, EncodeSettings, PictureEncoder
from nvc.errors import TargetError
from nvc.media.pictures import Metadata, Picture

Make = Callable[..., Any]
STEPS = 4096  # quality grid points between levels


@dataclass
class Curve:
    """An encoder whose size and PSNR are known functions of quality, with ripples as RDOQ makes them.

    smallest, growth: bytes at quality 1, and log of the ratio to those at 8; bend: curvature of either; ripple: share
    of the size that differs from grid point to grid point; slope: dB from 1 to 8; wobble: dB.
    """

    smallest: float = 2000
    growth: float = 2.2
    bend: float = 0.0
    ripple: float = 0.0
    slope: float = 10.0
    wobble: float = 0.0
    asked: list[float] = field(default_factory=list)

    def at(self, quality: float) -> EncodedPicture:
        x = (quality - 1) / 7
        bent = x + self.bend * x * (x - 1)
        noise = 2 * (math.sin(quality * STEPS * 12.9898) * 43758.5453 % 1) - 1
        size = 40 + int(self.smallest * math.exp(self.growth * bent) * (1 + self.ripple * noise) / 4) * 4
        return EncodedPicture(bytes(size), quality, 28 + self.slope * bent + self.wobble * noise)

    def encode(self, quality: float) -> EncodedPicture:
        assert 1 <= quality <= 8
        assert (quality - 1) * STEPS == int((quality - 1) * STEPS)
        assert quality not in self.asked  # a pass is never wasted
        self.asked.append(quality)
        return self.at(quality)


def close(found: EncodedPicture, limit: int) -> bool:
    return 0.97 * limit <= len(found.data) <= limit


class TestCurves:
    """Wide sweeps over shapes of curves."""

    @pytest.mark.parametrize("smallest", [100, 500, 20_000])
    @pytest.mark.parametrize("growth", [1.0, 2.2, 3.5])
    @pytest.mark.parametrize("bend", [-0.6, 0.0, 0.6])
    @pytest.mark.parametrize("ripple", [0.0, 0.008])
    def test_size(self, smallest: float, growth: float, bend: float, ripple: float) -> None:
        random = np.random.default_rng(0)
        for quality in np.linspace(1, 8, 17):
            curve = Curve(smallest, growth, bend, ripple)
            limit = int(len(curve.at(quality).data) * (1 + random.uniform(0, 0.029)))
            found = rate_control.to_size(curve, limit)
            assert close(found, limit)
            assert found.passes == len(curve.asked) <= 8
            assert found.data == curve.at(found.quality).data

    @pytest.mark.parametrize("slope", [5.0, 12.0, 20.0])
    @pytest.mark.parametrize("bend", [-0.6, 0.0, 0.6])
    @pytest.mark.parametrize("wobble", [0.0, 0.03])
    def test_psnr(self, slope: float, bend: float, wobble: float) -> None:
        for quality in np.linspace(1, 8, 29):
            curve = Curve(bend=bend, slope=slope, wobble=wobble)
            db = curve.at(quality).psnr
            found = rate_control.to_psnr(curve, db)
            assert abs(found.psnr - db) <= 0.05
            assert found.passes == len(curve.asked) <= 8

    @pytest.mark.parametrize("limit", [1, 1000, 1900, 25_000, 10**9])
    def test_size_out_of_reach(self, limit: int) -> None:
        curve = Curve()
        with pytest.raises(TargetError, match=f"^{limit} bytes cannot be met within 3 %: tried files of"):
            rate_control.to_size(curve, limit)
        assert len(curve.asked) <= 4

    @pytest.mark.parametrize("db", [-5.0, 20.0, 27.9, 38.1, 99.0, 1e9])
    def test_psnr_out_of_reach(self, db: float) -> None:
        curve = Curve()
        with pytest.raises(TargetError, match=r"dB cannot be met within 0\.05 dB: tried \d+\.\d\d to \d+\.\d\d dB$"):
            rate_control.to_psnr(curve, db)
        assert len(curve.asked) <= 4

    def test_ends_of_the_scale(self) -> None:
        for quality in (1.0, 8.0):
            limit = len(Curve().at(quality).data)
            assert close(rate_control.to_size(Curve(), limit), limit)
            assert abs(rate_control.to_psnr(Curve(), Curve().at(quality).psnr).psnr - Curve().at(quality).psnr) <= 0.05

    def test_gap_in_the_curve(self) -> None:
        """Sizes jump over the target: refused within eight passes, not missed by a little."""

        class Jump(Curve):
            def at(self, quality: float) -> EncodedPicture:
                return EncodedPicture(bytes(1000 if quality < 3.3 else 2000), quality, 30.0 if quality < 3.3 else 35.0)

        jump = Jump()
        with pytest.raises(TargetError, match="1500 bytes cannot be met within 3 %: tried files of 1000 to 2000"):
            rate_control.to_size(jump, 1500)
        assert len(jump.asked) <= 8
        with pytest.raises(TargetError, match="33 dB"):
            rate_control.to_psnr(Jump(), 33.0)

    def test_perfect_picture(self) -> None:
        """A PSNR without end is a number above every target."""

        class Perfect(Curve):
            def at(self, quality: float) -> EncodedPicture:
                return EncodedPicture(bytes(99), quality, 30 + quality if quality < 6 else math.inf)

        assert rate_control.to_psnr(Perfect(), 33.7).psnr == pytest.approx(33.7, abs=0.05)


class TestPhotographs:
    """The codec itself."""

    @pytest.fixture(scope="class", params=[("sign", 2), ("stair", 0), ("stair", 2)], ids=str)
    @staticmethod
    def encoder(request: pytest.FixtureRequest, photo: Make) -> PictureEncoder:
        name, rdoq = request.param
        return PictureEncoder(Picture(photo(name)), EncodeSettings(rdoq=rdoq, threads=1, verify=False))

    def test_size(self, encoder: PictureEncoder) -> None:
        ends = [len(encoder.encode(quality).data) for quality in (1.0, 8.0)]
        for limit in np.geomspace(ends[0] * 1.01, ends[1], 6).astype(int):
            found = rate_control.to_size(encoder, int(limit))
            assert close(found, limit)
            assert found.passes <= 8
            assert encoder.encode(found.quality).data == found.data

    def test_psnr(self, encoder: PictureEncoder) -> None:
        ends = [encoder.encode(quality).psnr for quality in (1.0, 8.0)]
        for db in np.linspace(*ends, 6):
            found = rate_control.to_psnr(encoder, float(db))
            assert abs(found.psnr - db) <= 0.05
            assert found.passes <= 8
            assert encoder.encode(found.quality).data == found.data

    def test_out_of_reach(self, encoder: PictureEncoder) -> None:
        with pytest.raises(TargetError):
            rate_control.to_size(encoder, 100)
        with pytest.raises(TargetError):
            rate_control.to_size(encoder, 10**7)
        with pytest.raises(TargetError):
            rate_control.to_psnr(encoder, 60)

    def test_as_a_user_gives_it_back(self, encoder: PictureEncoder) -> None:
        """The quality as printed with all digits stands for the same grid point."""
        found = rate_control.to_psnr(encoder, encoder.encode(3.21).psnr)
        assert encoder.encode(float(f"{found.quality:.6g}")).data == found.data


def test_everything_in_the_file_counts(photo: Make) -> None:
    """Metadata and alpha are part of the size that is asked for."""
    pixels = photo("stair")
    alpha = np.random.default_rng(0).integers(0, 256, pixels.shape[:2], np.uint8)
    blocks = Metadata(icc=np.random.default_rng(1).bytes(3000))
    encoder = PictureEncoder(Picture(pixels, alpha, blocks), EncodeSettings(rdoq=0, threads=1))
    rest = len(encoder.encode(1.0).data)
    assert rest > 22_000
    found = rate_control.to_size(encoder, rest + 1500)
    assert close(found, rest + 1500)
    assert len(found.data) == sum(read_picture_file(found.data).sizes.values())
    with pytest.raises(TargetError):
        rate_control.to_size(encoder, 20_000)
