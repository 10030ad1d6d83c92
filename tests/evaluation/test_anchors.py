"""Anchors: real files, really decoded, with the options that their names promise."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from nvc.errors import InputError, UsageError
from nvc.evaluation.anchors import Avif, Jpeg, Webp
from nvc.evaluation.codecs import Nvc, parse
from nvc.evaluation.metrics import as_rgb, psnr

CODECS = [Jpeg(), Webp(), Avif(), Avif(speed=8, chroma="444"), Jpeg(progressive=1)]
MAGIC = {"jpeg": (0, b"\xff\xd8\xff"), "webp": (8, b"WEBPVP8 "), "avif": (4, b"ftypavif")}


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_file_is_what_it_says_and_decodes_to_the_picture(
    codec: Jpeg, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    data = codec.encode(photo, 75)
    at, magic = MAGIC[codec.base]
    assert data[at : at + len(magic)] == magic
    path = tmp_path / "file"
    path.write_bytes(data)
    with Image.open(path) as image:
        outside = np.array(image.convert("RGB"))
    inside = codec.decode(data)
    assert inside.dtype == np.uint8
    assert np.array_equal(inside, outside)
    assert 25 < psnr(photo, inside) < 50
    assert codec.encode(photo, 75) == data


@pytest.mark.parametrize("codec", CODECS[:3], ids=lambda codec: codec.name)
def test_the_ladder_rises_in_size_and_quality(codec: Jpeg, photo: NDArray[np.uint8]) -> None:
    files = [codec.encode(photo, setting) for setting in codec.ladder]
    sizes = [len(data) for data in files]
    qualities = [psnr(photo, codec.decode(data)) for data in files]
    assert len(codec.ladder) >= 8
    assert sizes == sorted(sizes)
    assert qualities == sorted(qualities)
    assert sizes[-1] > 8 * sizes[0]


@pytest.mark.parametrize("codec", CODECS[:3], ids=lambda codec: codec.name)
def test_grey_pictures(codec: Jpeg, photo: NDArray[np.uint8]) -> None:
    grey = photo[:, :, 1]
    decoded = codec.decode(codec.encode(grey, 80))
    assert decoded.shape[:2] == grey.shape
    assert psnr(as_rgb(grey), as_rgb(decoded)) > 28


def test_options_change_the_files(photo: NDArray[np.uint8]) -> None:
    def sampling(codec: Jpeg) -> int:
        import io

        return int(JpegImagePlugin.get_sampling(Image.open(io.BytesIO(codec.encode(photo, 75)))))

    assert sampling(Jpeg()) == 2  # Pillow's number of 4:2:0
    assert sampling(Jpeg(chroma="444")) == 0
    assert len(Jpeg(progressive=1).encode(photo, 75)) != len(Jpeg().encode(photo, 75))
    assert len(Webp().encode(photo, 75)) < len(Webp(method=0).encode(photo, 75))
    assert Avif(chroma="444").encode(photo, 75) != Avif().encode(photo, 75)
    assert Avif(speed=3).encode(photo, 75) != Avif().encode(photo, 75)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_names_are_specs(codec: Jpeg) -> None:
    assert parse(codec.name) == codec


def test_parse() -> None:
    assert parse("nvc:rdoq=3").name == "nvc:rdoq=3"
    assert parse("nvc:model=weights/a=b.safetensors") == Nvc(model="weights/a=b.safetensors")
    assert parse("webp:method=6").name == "webp"  # the default is not part of the name
    assert parse("avif:chroma=444,speed=4").name == parse("avif:speed=4,chroma=444").name == "avif:speed=4,chroma=444"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("jxl", "unknown codec 'jxl': choose from nvc, jpeg, webp, avif"),
        ("jpeg:speed=3", "jpeg takes progressive=…, chroma=…, not 'speed=3'"),
        ("avif:speed", "not 'speed'"),
        ("avif:speed=fast", "speed is a whole number, not 'fast'"),
        ("avif:speed=11", "speed is one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, not 11"),
        ("jpeg:chroma=411", "chroma is one of 420, 422, 444, not 411"),
    ],
)
def test_parse_refuses(spec: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(spec)
    assert reason in str(refused.value)


def test_settings_are_whole_numbers_of_the_scale(photo: NDArray[np.uint8]) -> None:
    for setting in (70.5, -1, 101):
        with pytest.raises(UsageError, match="whole number"):
            Jpeg().encode(photo, setting)


@pytest.mark.parametrize("codec", CODECS[:3], ids=lambda codec: codec.name)
def test_damaged_and_foreign_files_are_refused(codec: Jpeg, photo: NDArray[np.uint8]) -> None:
    data = codec.encode(photo, 50)
    foreign = (Webp() if codec.base == "jpeg" else Jpeg()).encode(photo, 50)
    for wrong in (b"", data[:20], data[: len(data) // 2], foreign):
        with pytest.raises(InputError, match="cannot read"):
            codec.decode(wrong)


def test_versions_name_the_library() -> None:
    assert [codec.version().split(", ")[1].split()[0] for codec in CODECS[:3]] == [
        "libjpeg-turbo",
        "libwebp",
        "libavif",
    ]
