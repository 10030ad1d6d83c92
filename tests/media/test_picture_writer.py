"""Writing pictures: read back by nvc and by Pillow alone."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from nvc.errors import OutputError
from nvc.media.pictures import Metadata, Picture, encode_picture, format_of, formats, read_picture, write_picture

DATA = Path(__file__).parents[1] / "data"
PHOTO = np.asarray(Image.open(DATA / "stair.png"))
ALPHA = (np.add.outer(np.arange(120), np.arange(160)) % 256).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
EXIF = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 1, 0, 0)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">h\xc3\xa9</x:xmpmeta>'
FULL = Metadata(icc=SRGB, exif=EXIF, xmp=XMP, cicp=b"\x0c\x0d\x00\x01")

LOSSLESS = [name for name in formats() if name != "jpeg"]


def as_pillow(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("format", [name for name in LOSSLESS if name != "pgm"])
def test_colour(format: str) -> None:
    data, warnings = encode_picture(Picture(PHOTO), format)
    assert warnings == ()
    image = as_pillow(data)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), PHOTO)


@pytest.mark.parametrize("format", LOSSLESS)
def test_grey_stays_grey(format: str) -> None:
    data, warnings = encode_picture(Picture(PHOTO[..., 1]), format)
    assert warnings == ()
    image = as_pillow(data)
    assert image.mode == ("RGB" if format == "webp" else "L")
    np.testing.assert_array_equal(np.asarray(image.convert("L")), PHOTO[..., 1])


@pytest.mark.parametrize("format", ["png", "tiff", "webp"])
@pytest.mark.parametrize("grey", [False, True])
def test_alpha(format: str, grey: bool) -> None:
    pixels = PHOTO[..., 0] if grey else PHOTO
    data, warnings = encode_picture(Picture(pixels, ALPHA), format)
    assert warnings == ()
    back = read_picture(data)
    assert back.alpha is not None
    np.testing.assert_array_equal(back.alpha, ALPHA)
    np.testing.assert_array_equal(back.pixels[..., 0] if grey and not back.grey else back.pixels, pixels)
    assert as_pillow(data).mode == ("LA" if grey and format != "webp" else "RGBA")


def test_first_bytes_of_ppm_and_pgm() -> None:
    grey = Picture(np.array([[1, 2, 3]], np.uint8))
    assert encode_picture(grey, "pgm")[0] == b"P5\n3 1\n255\n\x01\x02\x03"
    colour = Picture(np.array([[[1, 2, 3]]], np.uint8))
    assert encode_picture(colour, "ppm")[0] == b"P6\n1 1\n255\n\x01\x02\x03"


def test_narrow_pictures_are_not_taken_for_planes() -> None:
    for shape in ((5, 3), (3, 4), (1, 1), (7, 2, 3), (1, 4, 3)):
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        np.testing.assert_array_equal(read_picture(encode_picture(Picture(pixels), "png")[0]).pixels, pixels)


def test_jpeg_is_close() -> None:
    data, warnings = encode_picture(Picture(PHOTO), "jpeg")
    assert warnings == ()
    assert np.abs(np.asarray(as_pillow(data)).astype(int) - PHOTO).mean() < 2
    assert as_pillow(data).format == "JPEG"


@pytest.mark.parametrize(
    ("format", "kept", "warning"),
    [
        ("png", FULL, ()),
        ("tiff", Metadata(SRGB, None, XMP), ("tiff cannot keep colour tag (CICP): dropped",)),
        ("webp", Metadata(SRGB, EXIF, XMP), ("webp cannot keep colour tag (CICP): dropped",)),
        ("jpeg", Metadata(SRGB, EXIF, XMP), ("jpeg cannot keep colour tag (CICP): dropped",)),
        ("bmp", Metadata(), ("bmp cannot keep ICC profile, colour tag (CICP), Exif and XMP: dropped",)),
        ("ppm", Metadata(), ("ppm cannot keep ICC profile, colour tag (CICP), Exif and XMP: dropped",)),
    ],
)
def test_metadata_is_put_back_or_named(format: str, kept: Metadata, warning: tuple[str, ...]) -> None:
    data, warnings = encode_picture(Picture(PHOTO, None, FULL), format)
    assert warnings == warning
    back = read_picture(data)
    assert back.metadata == kept
    assert back.warnings == ()


def test_exif_of_a_tiff_is_its_tags() -> None:
    tags = Image.Exif()
    tags[315] = "an artist"
    data, _ = encode_picture(Picture(PHOTO, None, Metadata(exif=tags.tobytes()[6:])), "tiff")
    assert as_pillow(data).getexif()[315] == "an artist"


def test_alpha_is_dropped_with_a_word() -> None:
    for format in ("ppm", "bmp", "jpeg"):
        data, warnings = encode_picture(Picture(PHOTO, ALPHA), format)
        assert warnings == (f"{format} cannot keep alpha: dropped",)
        assert as_pillow(data).mode == "RGB"


def test_gray_profile_goes_only_where_grey_stays_grey() -> None:
    picture = Picture(PHOTO[..., 0], None, Metadata(icc=GRAY))
    assert as_pillow(encode_picture(picture, "png")[0]).info["icc_profile"] == GRAY
    data, warnings = encode_picture(picture, "webp")
    assert warnings == ("webp cannot keep ICC profile: dropped",)
    assert "icc_profile" not in as_pillow(data).info


def test_blocks_too_long_for_a_jpeg_segment() -> None:
    picture = Picture(PHOTO, None, Metadata(exif=EXIF + bytes(70000), xmp=XMP + b" " * 70000, icc=SRGB * 40))
    data, warnings = encode_picture(picture, "jpeg")
    assert warnings == ("jpeg cannot keep Exif and XMP: dropped",)
    assert as_pillow(data).info["icc_profile"] == SRGB * 40  # spread over several segments


def test_hidden_colours_survive() -> None:
    for format in ("png", "webp", "tiff"):
        data, _ = encode_picture(Picture(PHOTO, np.zeros((120, 160), np.uint8)), format)
        np.testing.assert_array_equal(read_picture(data).pixels, PHOTO)


def test_refused() -> None:
    with pytest.raises(OutputError, match="unknown picture format 'gif': use one of png, ppm"):
        encode_picture(Picture(PHOTO), "gif")
    with pytest.raises(OutputError, match="does not fit into pgm"):
        encode_picture(Picture(PHOTO), "pgm")
    with pytest.raises(OutputError) as got:
        encode_picture(Picture(np.zeros((1, 16384, 3), np.uint8)), "webp")  # WebP ends at 16383
    assert "\n" not in str(got.value)


def test_targets(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_picture(Picture(PHOTO), stream, "png")
    write_picture(Picture(PHOTO), tmp_path / "out.whatever", "png")
    assert (tmp_path / "out.whatever").read_bytes() == stream.getvalue()
    with pytest.raises(OutputError, match="no such file or directory"):
        write_picture(Picture(PHOTO), tmp_path / "absent" / "out.png", "png")


def test_formats() -> None:
    assert formats()["png"] == (".png",)
    assert format_of(".JPG") == "jpeg"
    assert format_of(".nvc") is None
    suffixes = [suffix for entry in formats().values() for suffix in entry]
    assert len(suffixes) == len(set(suffixes))
    assert all(format_of(suffix) in formats() for suffix in suffixes)
