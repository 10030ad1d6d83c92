"""ICC, Exif, XMP, CICP: kept as bytes, cleaned, or dropped with a word."""

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from nvc.media.picture_metadata import upright
from nvc.media.pictures import Metadata, read_picture

DATA = Path(__file__).parents[1] / "data"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1"/>h\xc3\xa9</x:xmpmeta>'


def photo(mode: str = "RGB") -> Image.Image:
    return Image.open(DATA / "hall.png").convert(mode)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif(order: str, orientation: int, note: bytes = b"maker note with its own offsets") -> bytes:
    """One directory: Orientation, and a maker note that must not move."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entries = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(order + "HHII", 0x927C, 7, len(note), 38)
    return head + struct.pack(order + "H", 2) + entries + struct.pack(order + "I", 0) + note


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_set_in_place(order: str, orientation: int) -> None:
    block, found = upright(exif(order, orientation))
    assert found == orientation
    assert block == exif(order, 1)  # not one other byte moves


@pytest.mark.parametrize("block", [b"", b"II*\0", b"XX*\0\x08\0\0\0", exif("<", 6)[:20], b"MM\0*\xff\xff\xff\xff"])
def test_damaged_exif(block: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        upright(block)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_icc_and_exif_come_as_they_are(format: str) -> None:
    metadata = read_picture(saved(photo(), format, icc_profile=SRGB, exif=b"Exif\0\0" + exif("<", 1))).metadata
    assert metadata.icc == SRGB
    if format != "AVIF":  # there Pillow writes Exif anew, without the Orientation
        assert metadata.exif == exif("<", 1)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_xmp(format: str) -> None:
    assert read_picture(saved(photo(), format, xmp=XMP)).metadata.xmp == XMP


def test_xmp_in_png() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    assert read_picture(saved(photo(), "PNG", pnginfo=info)).metadata.xmp == XMP


def test_xmp_orientation_follows_the_turn() -> None:
    xmp = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    turned = read_picture(saved(photo(), "JPEG", xmp=xmp, exif=b"Exif\0\0" + exif(">", 6)))
    assert (turned.width, turned.height) == (61, 97)
    assert turned.metadata.xmp == XMP
    assert turned.metadata.exif == exif(">", 1)
    still = read_picture(saved(photo(), "JPEG", xmp=xmp))
    assert still.metadata.xmp == xmp


def test_extended_xmp_is_dropped_whole() -> None:
    xmp = XMP.replace(b"tiff:Orientation", b"xmpNote:HasExtendedXMP")
    picture = read_picture(saved(photo(), "JPEG", xmp=xmp))
    assert picture.metadata.xmp is None
    assert picture.warnings == ("XMP in several parts (extended XMP) is dropped",)


@pytest.mark.parametrize("block", [b"Exif\0\0garbage that is no directory", b"Exif\0\0II*\0\xff\xff\xff\0"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_pictures_with_damaged_exif_are_coded_without(format: str, block: bytes) -> None:
    picture = read_picture(saved(photo(), format, exif=block))
    assert (picture.width, picture.height) == (97, 61)
    assert picture.metadata == Metadata()
    assert "damaged Exif is dropped, and with it any orientation" in picture.warnings


def test_exif_as_text_of_imagemagick() -> None:
    info = PngImagePlugin.PngInfo()
    block = exif("<", 6)
    for name, raw in (("exif", b"Exif\0\0" + block), ("xmp", XMP)):
        info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(raw):8}\n{raw.hex()}\n\0\0trailing")
    picture = read_picture(saved(photo(), "PNG", pnginfo=info))
    assert picture.metadata.exif == exif("<", 1)
    assert picture.metadata.xmp == XMP
    assert (picture.width, picture.height) == (61, 97)


@pytest.mark.parametrize(
    ("mode", "icc", "kept", "warning"),
    [
        ("L", GRAY, True, None),
        ("RGB", GRAY, False, "ICC profile of colour space 'GRAY' on a colour picture is dropped"),
        ("L", SRGB, False, "ICC profile of colour space 'RGB' on a grey picture is dropped"),
        ("RGB", SRGB[:100], False, "damaged ICC profile is dropped"),
        ("RGB", SRGB[:36] + b"nope" + SRGB[40:], False, "damaged ICC profile is dropped"),
    ],
    ids=["grey", "grey-of-colour", "colour-of-grey", "cut", "damaged"],  # profiles hold the second they were made in
)
def test_icc_must_fit(mode: str, icc: bytes, kept: bool, warning: str | None) -> None:
    picture = read_picture(saved(photo(mode), "PNG", icc_profile=icc))
    assert picture.metadata.icc == (icc if kept else None)
    assert picture.warnings == ((warning,) if warning else ())


def test_icc_of_a_palette_picture_is_kept() -> None:
    assert read_picture(saved(photo().quantize(8), "PNG", icc_profile=SRGB)).metadata.icc == SRGB


def _png_with(kind: bytes, content: bytes) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add(kind, content)
    return saved(photo(), "PNG", pnginfo=info)


def test_cicp_is_kept() -> None:
    picture = read_picture(_png_with(b"cICP", b"\x09\x10\x00\x01"))
    assert picture.metadata.cicp == b"\x09\x10\x00\x01"
    assert picture.warnings == ()


def test_cicp_that_is_not_rgb_is_dropped() -> None:
    picture = read_picture(_png_with(b"cICP", b"\x09\x10\x09\x01"))
    assert picture.metadata.cicp is None
    assert len(picture.warnings) == 1


@pytest.mark.parametrize(("gamma", "told"), [(45455, False), (45454, False), (100000, True), (35000, True)])
def test_gamma_other_than_srgb_is_told(gamma: int, told: bool) -> None:
    picture = read_picture(_png_with(b"gAMA", struct.pack(">I", gamma)))
    assert bool(picture.warnings) == told
    assert (picture.pixels == read_picture(DATA / "hall.png").pixels).all()


def test_tiff_tags_that_describe_the_picture_become_exif() -> None:
    tags = Image.Exif()
    tags[315] = "an artist"
    tags[34665] = {0x829A: 0.01}  # ExposureTime
    picture = read_picture(saved(photo(), "TIFF", exif=tags.tobytes()))
    kept = Image.Exif()
    kept.load(picture.metadata.exif)
    assert kept[315] == "an artist"
    assert kept.get_ifd(34665)[0x829A] == pytest.approx(0.01)
    assert not kept.keys() & {256, 257, 273, 278, 279}  # sizes and offsets of that one file


def test_gain_map_is_told() -> None:
    xmp = XMP.replace(b"tiff:Orientation", b"hdrgm:Version")
    assert read_picture(saved(photo(), "JPEG", xmp=xmp)).warnings == (
        "HDR gain map is dropped; the base picture is coded",
    )


def test_further_pictures_of_a_camera_are_told() -> None:
    data = saved(photo(), "MPO", save_all=True, append_images=[photo()])
    picture = read_picture(data)
    assert picture.warnings == ("further pictures in the file (MPF) are dropped",)
