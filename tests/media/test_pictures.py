"""Reading pictures: every kind of pixel, what is lost and said, what is refused. Files are made with Pillow here."""

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from nvc.errors import InputError, LimitError, NvcError
from nvc.media.pictures import Picture, read_picture, turn

DATA = Path(__file__).parents[1] / "data"
PHOTO = np.asarray(Image.open(DATA / "hall.png"))  # (61, 97, 3)
ALPHA = (np.add.outer(np.arange(61), np.arange(97)) % 256).astype(np.uint8)
RNG = np.random.default_rng(7)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def photo(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(PHOTO).convert(mode)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(bits: int, colour: int, rows: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG made by hand. rows: (H, bytes a row) uint8, unfiltered."""
    height, row_bytes = rows.shape
    width = row_bytes * 8 // (bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def big_endian(samples: np.ndarray) -> np.ndarray:
    """(H, ...) uint16 -> (H, bytes) as PNG stores them."""
    return np.frombuffer(samples.astype(">u2").tobytes(), np.uint8).reshape(len(samples), -1)


def refusal(source: bytes | Path, kind: type[NvcError] = InputError, **options: Any) -> str:
    with pytest.raises(kind) as got:
        read_picture(source, **options)
    line = str(got.value)
    assert line
    assert "\n" not in line
    assert "object at" not in line  # no Python talk
    return line


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "TGA", "QOI", "PCX", "SGI"])
def test_rgb(format: str) -> None:
    picture = read_picture(saved(photo(), format))
    np.testing.assert_array_equal(picture.pixels, PHOTO)
    assert (picture.width, picture.height, picture.grey) == (97, 61, False)
    assert picture.alpha is None
    assert picture.warnings == ()
    assert picture.pixels.flags.c_contiguous


def test_path_and_bytes_are_read_alike_and_the_name_does_not_matter(tmp_path: Path) -> None:
    data = saved(photo(), "JPEG", quality=90)
    wrong = tmp_path / "a name.png"
    wrong.write_bytes(data)
    np.testing.assert_array_equal(read_picture(wrong).pixels, np.asarray(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read_picture(wrong).pixels, read_picture(data).pixels)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "JPEG"])
def test_grey_stays_one_plane(format: str) -> None:
    data = saved(photo("L"), format)
    picture = read_picture(data)
    assert picture.grey
    np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_one_bit(format: str) -> None:
    picture = read_picture(saved(photo("1"), format))
    np.testing.assert_array_equal(picture.pixels, np.asarray(photo("1")).astype(np.uint8) * 255)


def test_grey_and_alpha() -> None:
    image = Image.merge("LA", (photo("L"), Image.fromarray(ALPHA)))
    picture = read_picture(saved(image, "PNG"))
    np.testing.assert_array_equal(picture.pixels, np.asarray(photo("L")))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, ALPHA)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_colour_and_alpha(format: str) -> None:
    image = Image.fromarray(np.dstack([PHOTO, ALPHA]))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    picture = read_picture(saved(image, format, **options))
    np.testing.assert_array_equal(picture.pixels, PHOTO)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, ALPHA)


def test_alpha_that_is_opaque_everywhere_is_none() -> None:
    assert read_picture(saved(photo("RGBA"), "PNG")).alpha is None


def test_palette() -> None:
    image = photo().quantize(17)
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        picture = read_picture(saved(image, format))
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
        assert picture.alpha is None


def test_palette_with_alpha_table() -> None:
    image = photo().quantize(16)
    table = bytes(range(0, 256, 16))
    picture = read_picture(saved(image, "PNG", transparency=table))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.frombuffer(table, np.uint8)[np.asarray(image)])
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))


def test_palette_with_one_transparent_entry() -> None:
    image = photo().quantize(16)
    for format in ("PNG", "GIF"):
        picture = read_picture(saved(image, format, transparency=3))
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha == 0, np.asarray(image) == 3)


def test_transparent_colour_8_bits() -> None:
    colour = tuple(int(v) for v in PHOTO[10, 20])
    picture = read_picture(saved(photo(), "PNG", transparency=colour))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, np.equal(PHOTO, colour).all(axis=2))
    assert picture.alpha[10, 20] == 0


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_transparent_grey_below_8_bits(bits: int) -> None:
    """The key counts in the file's own bits: Pillow alone gets this wrong."""
    levels = 1 << bits
    values = RNG.integers(0, levels, (6, 16))
    shifts = np.arange(8 // bits)[::-1] * bits
    rows = (values.reshape(6, -1, 8 // bits) << shifts).sum(axis=2).astype(np.uint8)
    picture = read_picture(png(bits, 0, rows, (b"tRNS", struct.pack(">H", levels - 1))))
    np.testing.assert_array_equal(picture.pixels, values * 255 // (levels - 1))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, values == levels - 1)


def test_size_one_pixel_and_narrow_ones() -> None:
    for width, height in ((1, 1), (1, 40), (40, 1), (2, 3)):
        samples = RNG.integers(0, 256, (height, width, 3), np.uint8)
        np.testing.assert_array_equal(read_picture(saved(Image.fromarray(samples), "PNG")).pixels, samples)


# --- more than 8 bits, other colours: one warning, or refused -------------------------------------------------------


def grey16() -> np.ndarray:
    """(8, 256) uint16: every high byte, and values around each rounding edge."""
    return (
        (np.arange(256, dtype=np.uint32) * 257 + np.array([0, 1, 127, 128, 129, 130, 200, 256])[:, None])
        .clip(0, 65535)
        .astype(np.uint16)
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_grey_16_is_divided_by_257_and_rounded(format: str) -> None:
    samples = grey16()
    picture = read_picture(saved(Image.fromarray(samples), format))
    np.testing.assert_array_equal(picture.pixels, np.rint(samples / 257.0).astype(np.uint8))
    assert picture.warnings == ("16 bits a sample are reduced to 8",)


def test_grey_16_with_transparent_value() -> None:
    samples = grey16()
    picture = read_picture(png(16, 0, big_endian(samples), (b"tRNS", struct.pack(">H", int(samples[1, 5])))))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, samples == samples[1, 5])


def test_rgb_16() -> None:
    samples = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
    picture = read_picture(png(16, 2, big_endian(samples)))
    assert np.abs(picture.pixels.astype(int) - samples / 257.0).max() <= 1
    assert picture.warnings == ("16 bits a sample are reduced to 8",)


def test_ppm_16() -> None:
    samples = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
    picture = read_picture(b"P6\n7 5\n65535\n" + samples.astype(">u2").tobytes())
    assert np.abs(picture.pixels.astype(int) - samples / 257.0).max() <= 1
    assert picture.warnings == ("16 bits a sample are reduced to 8",)


def test_ppm_with_another_maximum_is_scaled_without_a_word() -> None:
    picture = read_picture(b"P6\n# a comment\n2 1\n100\n" + bytes([0, 50, 100, 25, 75, 99]))
    np.testing.assert_array_equal(picture.pixels.ravel(), [0, 128, 255, 64, 191, 252])
    assert picture.warnings == ()


def test_grey_and_alpha_16() -> None:
    samples = RNG.integers(0, 65536, (4, 6, 2), np.uint16)
    picture = read_picture(png(16, 4, big_endian(samples)))
    assert picture.grey
    assert picture.alpha is not None
    assert np.abs(picture.pixels.astype(int) - samples[..., 0] / 257.0).max() <= 1
    assert np.abs(picture.alpha.astype(int) - samples[..., 1] / 257.0).max() <= 1


def test_cmyk() -> None:
    data = saved(photo("CMYK"), "JPEG", quality=95)
    picture = read_picture(data)
    assert picture.warnings == ("CMYK is converted to sRGB",)
    assert np.abs(picture.pixels.astype(int) - PHOTO).mean() < 4  # no negative


def test_cmyk_with_a_profile_that_does_not_fit_is_still_one_warning() -> None:
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(saved(photo("CMYK"), "JPEG", quality=95, icc_profile=rgb_profile))
    assert picture.warnings == ("CMYK is converted to sRGB, its ICC profile is dropped",)
    assert picture.metadata.icc is None
    assert np.abs(picture.pixels.astype(int) - PHOTO).mean() < 4


def test_lab() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(photo(), srgb, lab, outputMode="LAB")
    assert converted is not None
    picture = read_picture(saved(converted, "TIFF"))
    assert picture.warnings == ("CIELab is converted to sRGB",)
    assert np.abs(picture.pixels.astype(int) - PHOTO).max() <= 8


@pytest.mark.parametrize(
    "data",
    [
        png(16, 2, big_endian(RNG.integers(0, 65536, (5, 7, 3), np.uint16))),
        saved(Image.fromarray(grey16()), "TIFF"),
        saved(photo("CMYK"), "TIFF"),
        saved(photo("CMYK"), "JPEG"),
    ],
)
def test_strict_refuses_what_would_lose(data: bytes) -> None:
    loss = read_picture(data).warnings[0]
    assert refusal(data, strict=True) == f"{loss} (refused by --strict)"


def test_strict_lets_lossless_kinds_pass() -> None:
    for data in (saved(photo("L"), "PNG"), saved(photo("RGBA"), "PNG"), saved(photo().quantize(9), "GIF")):
        assert read_picture(data, strict=True).warnings == ()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_float_and_32_bits_are_refused(mode: str) -> None:
    assert "not coded" in refusal(saved(photo("L").convert(mode), "TIFF"))


# --- orientation, animation -----------------------------------------------------------------------------------------

# Where the stored first row and first column are in the upright picture (Exif 2.3, 4.6.4 A).
STORED = {
    1: PHOTO,
    2: PHOTO[:, ::-1],
    3: PHOTO[::-1, ::-1],
    4: PHOTO[::-1],
    5: PHOTO.transpose(1, 0, 2),
    6: np.rot90(PHOTO, 1),
    7: np.rot90(PHOTO.transpose(1, 0, 2), 2),
    8: np.rot90(PHOTO, 3),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "kept"
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(Image.fromarray(STORED[orientation]), format, exif=exif, **options)
    picture = read_picture(data)
    np.testing.assert_array_equal(picture.pixels, PHOTO)
    kept = Image.Exif()
    kept.load(picture.metadata.exif)
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010E] == "kept"
    assert picture.warnings == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_avif(orientation: int) -> None:
    """Pillow writes irot and imir boxes for it, and makes Exif of them when reading."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(saved(Image.fromarray(STORED[orientation]), "AVIF", exif=exif, quality=95))
    assert np.abs(picture.pixels.astype(int) - PHOTO).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_is_turned_with_the_pixels(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.dstack([STORED[orientation], STORED[orientation][..., 0]])
    picture = read_picture(saved(Image.fromarray(stored), "PNG", exif=exif))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, PHOTO[..., 0])


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_orientation_out_of_range_counts_as_1(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_picture(saved(photo(), "PNG", exif=exif)).pixels, PHOTO)


def test_orientation_in_xmp_alone_turns_nothing() -> None:
    info = PngImagePlugin.PngInfo()
    packet = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    info.add_itxt("XML:com.adobe.xmp", packet)
    picture = read_picture(saved(photo(), "PNG", pnginfo=info))
    np.testing.assert_array_equal(picture.pixels, PHOTO)
    assert picture.metadata.xmp == packet.encode()


def test_turn_is_a_view() -> None:
    assert np.shares_memory(turn(PHOTO, 7), PHOTO)


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_animations_and_pages(format: str) -> None:
    second = Image.fromarray(PHOTO[::-1])
    data = saved(photo(), format, save_all=True, append_images=[second])
    line = refusal(data)
    assert line == "holds 2 frames or pages, not one picture (--first-frame takes the first)"
    picture = read_picture(data, first_frame=True)
    assert picture.warnings == ("only the first of 2 frames or pages is coded",)
    tolerance = {"GIF": 60, "WEBP": 60, "AVIF": 60}.get(format, 0)
    assert np.abs(picture.pixels.astype(int) - PHOTO).max() <= tolerance


# --- damage, limits, things that are no pictures --------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM"])
def test_cut_files_are_refused(format: str) -> None:
    data = saved(photo(), format)
    for part in (0.02, 0.3, 0.6, 0.9):
        refusal(data[: int(len(data) * part)])


def test_wrong_crc_of_png_pixels_is_noticed() -> None:
    data = bytearray(saved(photo("L"), "PNG", compress_level=0))
    at = data.rindex(b"IEND") - 8
    data[at] ^= 1  # last byte of IDAT's CRC
    assert "checksum of its 'IDAT' chunk" in refusal(bytes(data))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM"])
def test_damage_gives_a_picture_or_one_line(format: str) -> None:
    """Nothing but NvcError comes out, whatever the bytes."""
    good = saved(photo().resize((24, 16)), format)
    rng = np.random.default_rng(len(good))
    for _ in range(60):
        data = bytearray(good)
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning that leaks out would be raised
            with contextlib.suppress(NvcError):
                assert read_picture(bytes(data), max_pixels=1 << 20).pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "data", [b"hello, this is text\n" * 20, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0"]
)
def test_no_picture(data: bytes) -> None:
    assert refusal(data) == "not a picture in a format that nvc reads, or damaged in its first bytes"


def test_unreadable_paths(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.png") == "no such file or directory"
    assert refusal(tmp_path) == "is a directory"
    (tmp_path / "empty.png").write_bytes(b"")
    assert refusal(tmp_path / "empty.png") == "empty file"


def test_bombs_meet_the_limit_before_pixels() -> None:
    bomb = png(1, 0, np.zeros((1, 1), np.uint8)).replace(
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, 1, 0, 0, 0, 0)),
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0)),
    )
    line = refusal(bomb, LimitError)
    assert line == "60000x60000 is 3600000000 pixels, more than the limit of 268435456 (--max-pixels)"


def test_limit_is_the_callers_and_pillows_own_stays_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    data = saved(photo(), "PNG")
    assert read_picture(data, max_pixels=97 * 61).width == 97
    refusal(data, LimitError, max_pixels=97 * 61 - 1)
    Image.MAX_IMAGE_PIXELS = 10  # Pillow would refuse the file
    try:
        assert read_picture(data).width == 97
        assert Image.MAX_IMAGE_PIXELS == 10
    finally:
        Image.MAX_IMAGE_PIXELS = before


def test_picture_is_frozen() -> None:
    picture = Picture(PHOTO)
    with pytest.raises(AttributeError):
        picture.alpha = ALPHA  # type: ignore[misc]
