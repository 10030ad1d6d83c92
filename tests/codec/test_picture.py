"""One picture there and back: the laws of DESIGN.md on real photographs, with whichever weights are installed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.bitstream.container import picture_checksum, read_picture_file
from nvc.bitstream.header import Header
from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture, decode_symbols, frame_bits, psnr, to_grey
from nvc.codec.rdoq import trade
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_models import context
from nvc.errors import InputError, LimitError, UnknownModel
from nvc.media.pictures import Metadata, Picture

Pixels = NDArray[np.uint8]
Make = Callable[..., Any]
TINY = Path(__file__).parents[1] / "golden" / "tiny.safetensors"
SIZES = [(1, 1), (1, 7), (7, 1), (15, 17), (16, 16), (17, 33), (120, 160)]
QUALITIES = [1.0, 1.5, 2.37, 4.0, 5.0001, 6.9999, 7.25, 8.0]


def table_bits(data: bytes) -> float:
    """Bits of a file's symbols by its tables."""
    file = read_picture_file(data)
    model = models.by_id(file.header.model_id)
    estimator = Estimator()
    context.code(estimator, model.tables(file.header.table_level), decode_symbols(file, model))
    return estimator.bits


def sse(a: Pixels, b: Pixels) -> int:
    return int(((a.astype(np.int64) - b) ** 2).sum())


class TestRoundTrip:
    """Law 1: what is decoded is exactly what the encoder kept."""

    def check(self, encoder: PictureEncoder, quality: float) -> Pixels:
        coded = encoder.encode(quality)
        shown = decode_picture(coded.data, threads=1).pixels
        file = read_picture_file(coded.data)
        kept = encoder.reconstruct(decode_symbols(file, encoder.model), file.header.quality_code)
        if encoder.picture.grey:
            kept = to_grey(kept)
        assert shown.dtype == np.uint8
        assert np.array_equal(shown, kept)
        assert picture_checksum(shown) == file.frame.checksum
        assert psnr(shown, encoder.picture.pixels) == coded.psnr
        assert coded.quality == file.header.quality == pytest.approx(quality, abs=1 / 8192)
        return shown

    @pytest.mark.parametrize("size", SIZES)
    def test_sizes(self, photo: Make, encoder_of: Make, size: tuple[int, int]) -> None:
        pixels = photo("stair", *size)
        encoder = encoder_of(pixels)
        for quality in (1.0, 4.5, 8.0):
            shown = self.check(encoder, quality)
            assert shown.shape == pixels.shape
        assert psnr(shown, pixels) > (30 if min(size) > 7 else 20)

    @pytest.mark.parametrize("quality", QUALITIES)
    def test_qualities(self, photo: Make, encoder_of: Make, quality: float) -> None:
        self.check(encoder_of(photo("hall")), quality)

    @pytest.mark.parametrize("size", SIZES)
    def test_grey(self, photo: Make, encoder_of: Make, size: tuple[int, int]) -> None:
        grey = photo("hall", *size)[:, :, 1] if size != (120, 160) else photo("stair")[:, :, 1]
        shown = self.check(encoder_of(np.ascontiguousarray(grey)), 5.5)
        assert shown.shape == grey.shape
        assert psnr(shown, grey) > 28

    @pytest.mark.parametrize("size", SIZES)
    def test_alpha_is_lossless(self, photo: Make, encoder_of: Make, size: tuple[int, int]) -> None:
        random = np.random.default_rng(0)
        alpha = random.integers(0, 256, size, np.uint8)
        encoder = encoder_of(photo("stair", *size), alpha, rdoq=0)
        data = encoder.encode(3.0).data
        found = decode_picture(data).alpha
        assert found is not None
        assert np.array_equal(found, alpha)
        opaque = encoder_of(photo("stair", *size), alpha, rdoq=0, alpha="drop").encode(3.0).data
        assert decode_picture(opaque).alpha is None
        assert np.array_equal(decode_picture(opaque).pixels, decode_picture(data).pixels)

    def test_pictures_unlike_photographs(self, encoder_of: Make) -> None:
        y, x = np.mgrid[:40, :56]
        noise = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)
        flat = np.zeros((40, 56, 3), np.uint8)
        chequers = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        primary = np.stack([flat[:, :, 0], (x > 20) * np.uint8(255), (y > 9) * np.uint8(255)], axis=2)
        for pixels in (noise, flat, flat + 255, chequers, primary):
            encoder = encoder_of(pixels.astype(np.uint8))
            for quality in (1.0, 8.0):
                self.check(encoder, quality)

    def test_metadata(self, photo: Make) -> None:
        blocks = Metadata(icc=b"profile " * 50, exif=b"II*\0" + bytes(12), xmp=b"<x/>", cicp=bytes([1, 13, 0, 1]))
        picture = Picture(photo("hall", 16, 16), None, blocks)
        for keep, expected in (
            ("all", blocks),
            ("color", Metadata(icc=blocks.icc, cicp=blocks.cicp)),
            ("none", Metadata()),
        ):
            data = PictureEncoder(picture, EncodeSettings(metadata=keep, threads=1)).encode(2.0).data
            assert decode_picture(data).metadata == expected

    def test_limits(self, photo: Make) -> None:
        big = Metadata(xmp=bytes((1 << 26) + 1))
        with pytest.raises(LimitError, match="XMP"):
            PictureEncoder(Picture(photo("hall", 16, 16), None, big), EncodeSettings(rdoq=0)).encode(1.0)
        PictureEncoder(Picture(photo("hall", 16, 16), None, big), EncodeSettings(rdoq=0, metadata="color")).encode(1.0)
        with pytest.raises(LimitError, match="a side has at most 16777216"):
            PictureEncoder(Picture(np.broadcast_to(np.uint8(0), (1, (1 << 24) + 1))))

    @pytest.mark.parametrize("quality", [0.99, 8.01, float("nan")])
    def test_no_such_quality(self, photo: Make, encoder_of: Make, quality: float) -> None:
        with pytest.raises(ValueError, match="quality"):
            encoder_of(photo("hall", 16, 16), rdoq=0).encode(quality)


class TestBytes:
    """Law 4 and what the encoder reports."""

    @pytest.mark.parametrize("rdoq", [0, 2])
    @pytest.mark.parametrize("quality", [1.0, 4.5, 8.0])
    def test_disk_is_tables_and_stated_overhead(self, photo: Make, encoder_of: Make, quality: float, rdoq: int) -> None:
        encoder = encoder_of(photo("sign"), rdoq=rdoq)
        coded = encoder.encode(quality)
        file = read_picture_file(coded.data)
        payload = len(file.frame.payload)
        short = (payload + 5 < 4096) + (payload + 5 < 32)  # bytes that a small frame's head saves
        assert len(coded.data) == payload + 32 - short
        bits = table_bits(coded.data)
        assert 3.8 <= payload - bits / 8 <= 8.1  # the coder's state, rounding
        assert sum(coded.bits.values()) == pytest.approx(8 * payload)
        assert coded.bits["activation"] + coded.bits["values"] == pytest.approx(bits, rel=1e-6)
        assert frame_bits(coded.data) == pytest.approx(coded.bits)
        assert sum(file.sizes.values()) == len(coded.data)

    def test_plain_picture_costs_32_bytes(self, photo: Make, encoder_of: Make) -> None:
        data = encoder_of(photo("sign"), rdoq=0).encode(8.0).data
        payload = len(read_picture_file(data).frame.payload)
        assert payload >= 4092
        assert len(data) - payload == 32

    def test_same_bytes_again_and_with_two_threads(self, photo: Make, encoder_of: Make) -> None:
        pixels = photo("demo", 300, 400)
        files = [encoder_of(pixels, threads=threads).encode(4.3).data for threads in (1, 2, 1, None)]
        assert len(set(files)) == 1

    def test_same_pixels_with_two_threads(self, photo: Make, encoder_of: Make) -> None:
        data = encoder_of(photo("demo"), rdoq=0).encode(6.0).data
        assert np.array_equal(decode_picture(data, threads=1).pixels, decode_picture(data, threads=2).pixels)

    def test_verify_changes_no_bytes(self, photo: Make, encoder_of: Make) -> None:
        pixels = photo("stair")
        assert encoder_of(pixels).encode(3.0).data == encoder_of(pixels, verify=False).encode(3.0).data

    @pytest.mark.parametrize("rdoq", [0, 2])
    def test_size_and_psnr_rise_with_quality(self, photo: Make, encoder_of: Make, rdoq: int) -> None:
        encoder = encoder_of(photo("demo"), rdoq=rdoq, verify=False)
        coded = [encoder.encode(1 + i / 2) for i in range(15)]
        sizes, decibels = [len(c.data) for c in coded], [c.psnr for c in coded]
        assert sizes == sorted(set(sizes))
        assert decibels == sorted(set(decibels))


class TestTables:
    @pytest.mark.parametrize("quality", [1.1, 2.5, 4.95, 7.5, 7.9])
    def test_cheaper_of_two_levels(self, photo: Make, encoder_of: Make, quality: float) -> None:
        encoder = encoder_of(photo("stair"), rdoq=0)
        header = read_picture_file(encoder.encode(quality).data).header
        symbols = encoder.symbols(header.quality_code)
        costs = []
        for level in (int(quality), int(quality) + 1):
            estimator = Estimator()
            context.code(estimator, encoder.model.tables(level), symbols)
            costs.append(estimator.bits)
        assert header.table_set == (costs[1] < costs[0])
        assert header.table_level == int(quality) + header.table_set

    def test_both_sets_are_chosen(self, photo: Make, encoder_of: Make) -> None:
        encoder = encoder_of(photo("stair"), rdoq=0)
        qualities = [level + share for level in range(1, 8) for share in (1 / 16, 15 / 16)]
        assert {read_picture_file(encoder.encode(q).data).header.table_set for q in qualities} == {0, 1}

    @pytest.mark.parametrize("level", range(1, 9))
    def test_whole_levels_have_their_own(self, photo: Make, encoder_of: Make, level: int) -> None:
        header = read_picture_file(encoder_of(photo("hall"), rdoq=0).encode(level).data).header
        assert (header.table_set, header.table_level) == (0, level)


class TestRdoq:
    @pytest.mark.parametrize("name", ["stair", "sign"])
    @pytest.mark.parametrize("quality", [1.0, 3.5, 6.0, 8.0])
    def test_every_pass_pays_on_disk(self, photo: Make, encoder_of: Make, name: str, quality: float) -> None:
        """J = bits + λ·SSE/3 of the file's bytes and the decoder's pixels; a stream's end moves bytes by one word."""
        pixels = photo(name)
        files = [encoder_of(pixels, rdoq=passes).encode(quality).data for passes in range(4)]
        worth = trade(read_picture_file(files[0]).header.quality_code)
        costs = [8 * len(data) + worth * sse(decode_picture(data).pixels, pixels) for data in files]
        assert costs[1] < 0.995 * costs[0]
        assert costs[2] <= costs[1] + 64
        assert costs[3] <= costs[2] + 64
        assert len(files[2]) < len(files[0])

    def test_pays_at_equal_psnr(self, photo: Make, encoder_of: Make) -> None:
        """Fewer bytes for the same picture quality, by the line between the plain files on either side."""
        pixels = photo("demo")
        plain, coded = encoder_of(pixels, rdoq=0, verify=False), encoder_of(pixels, rdoq=2, verify=False)
        points = [plain.encode(1 + i / 2) for i in range(15)]
        decibels, sizes = [p.psnr for p in points], [np.log(len(p.data)) for p in points]
        for quality in (2.0, 4.0, 6.0):
            found = coded.encode(quality)
            assert decibels[0] < found.psnr < decibels[-1]
            assert len(found.data) < 0.99 * np.exp(np.interp(found.psnr, decibels, sizes))

    def test_grey_and_border(self, photo: Make, encoder_of: Make) -> None:
        for pixels in (photo("hall")[:, :, 1], photo("hall", 17, 33), photo("hall", 1, 1)):
            plain, coded = (encoder_of(np.ascontiguousarray(pixels), rdoq=n).encode(4.0) for n in (0, 3))
            assert len(coded.data) <= len(plain.data) + 4


class TestModels:
    def test_of_another_path(self, photo: Make, encoder_of: Make, tmp_path: Path) -> None:
        copy = tmp_path / "copy.safetensors"
        shutil.copyfile(models.load().path, copy)
        pixels = photo("hall", 33, 40)
        data = encoder_of(pixels, model=str(copy)).encode(3.3).data
        assert data == encoder_of(pixels).encode(3.3).data
        assert np.array_equal(decode_picture(data, model=str(copy)).pixels, decode_picture(data).pixels)
        name = models.load().info.name
        assert data == encoder_of(pixels, model=name).encode(3.3).data

    def test_unknown(self, photo: Make, encoder_of: Make) -> None:
        data = encoder_of(photo("hall", 16, 16), rdoq=0).encode(2.0).data
        identity = read_picture_file(data).header.model_id
        with pytest.raises(UnknownModel, match=identity.hex()):
            decode_picture(data, model=str(TINY))
        golden = (TINY.parent / "colour.nvc").read_bytes()
        with pytest.raises(UnknownModel, match="not installed"):
            decode_picture(golden)

    def test_not_there(self, photo: Make, encoder_of: Make, tmp_path: Path) -> None:
        for name in ("no-such-model", str(tmp_path / "none.safetensors")):
            with pytest.raises(InputError, match=Path(name).name):
                encoder_of(photo("hall", 16, 16), model=name)
        data = encoder_of(photo("hall", 16, 16), rdoq=0).encode(2.0).data
        with pytest.raises(InputError, match="no-such-model"):
            decode_picture(data, model="no-such-model")

    def test_without_analysis(self, photo: Make, encoder_of: Make) -> None:
        """The golden weight file decodes only."""
        with pytest.raises(InputError, match="cannot encode"):
            encoder_of(photo("hall", 16, 16), model=str(TINY))


class TestPsnr:
    def test_against_its_definition(self) -> None:
        random = np.random.default_rng(0)
        a, b = random.integers(0, 256, (2, 700, 9, 3), np.uint8)
        assert psnr(a, b) == pytest.approx(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))
        assert psnr(a, a) == np.inf

    def test_grey_of_colour(self) -> None:
        values = np.array([[[0, 0, 1], [0, 1, 1], [255, 255, 255], [255, 255, 254], [9, 10, 12]]], np.uint8)
        assert to_grey(values).tolist() == [[0, 1, 255, 255, 10]]


def test_header_is_what_was_coded(photo: Make, encoder_of: Make) -> None:
    data = encoder_of(photo("stair", 15, 17), rdoq=0).encode(2.5).data
    header = read_picture_file(data).header
    expected = Header(1, models.load().id, 6144, 17, 15, header.table_set, False)
    assert header == expected
