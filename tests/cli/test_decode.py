"""nvc-decode: formats, checks, damaged files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nvc.bitstream.boxes import Box, BoxType, read_boxes, write_box

Call = Callable[..., Any]


@pytest.fixture
def coded(call: Call, make_picture: Call, tmp_path: Path) -> Path:
    """A file with every part that a picture has: a.nvc."""
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    make_picture("source.png", 48, 32, "RGBA", exif=exif)
    call("encode", "source.png", "-o", "a.nvc").works()
    (tmp_path / "source.png").unlink()
    return tmp_path / "a.nvc"


def box_of(data: bytes, name: str) -> Box:
    import io

    return next(box for box in read_boxes(io.BytesIO(data)) if name in (box.name, box.type.name))


def flipped(data: bytes, name: str) -> bytes:
    """One bit of the content of a box changed."""
    box = box_of(data, name)
    at = box.offset + box.size - 10
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


@pytest.mark.parametrize("option", [[], ["--format", "png"], ["-o", "a.png"], ["-o", "./"]])
def test_default_is_png_beside_the_input(call: Call, coded: Path, listing: Call, option: list[str]) -> None:
    done = call("decode", "a.nvc", *option).works()
    assert done.out == b""
    name = "./a.png" if option[-1:] == ["./"] else "a.png"
    assert done.err.startswith(f"a.nvc -> {name}  48x32  ")
    assert listing() == {"a.nvc", "a.png"}
    with Image.open("a.png") as picture:
        assert (picture.format, picture.size, picture.mode) == ("PNG", (48, 32), "RGBA")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.png", "PNG"), ("a.ppm", "PPM"), ("a.PNM", "PPM"), ("a.tif", "TIFF")),
        *(("a.webp", "WEBP"), ("a.bmp", "BMP"), ("a.jpg", "JPEG")),
    ],
)
def test_format_by_name(call: Call, coded: Path, name: str, kind: str) -> None:
    done = call("decode", "a.nvc", "-o", name).works()
    assert any("alpha" in line for line in done.lines if line.startswith("warning: a.nvc: ")) == (
        kind in ("PPM", "BMP", "JPEG")
    )
    with Image.open(name) as picture:
        assert picture.format == kind


def test_format_beats_the_name(call: Call, coded: Path) -> None:
    call("decode", "a.nvc", "--format", "webp", "-o", "a.bin").works()
    with Image.open("a.bin") as picture:
        assert picture.format == "WEBP"
    call("decode", "a.nvc", "--format", "tiff").works()
    assert Path("a.tif").exists()


def test_format_that_cannot_hold_the_picture(call: Call, coded: Path, listing: Call) -> None:
    call("decode", "a.nvc", "-o", "a.pgm").fails(4, "a.nvc: ", "use ppm")
    assert listing() == {"a.nvc"}


def test_existing_output(call: Call, coded: Path) -> None:
    Path("a.png").write_bytes(b"old")
    call("decode", "a.nvc").fails(4, "a.nvc: a.png: exists; use -f")
    call("decode", "a.nvc", "-n").works()
    assert Path("a.png").read_bytes() == b"old"
    call("decode", "a.nvc", "-f").works()
    assert Path("a.png").read_bytes() != b"old"


def test_md5_and_json(call: Call, coded: Path) -> None:
    done = call("decode", "a.nvc", "--md5", "--json").works()
    record = json.loads(done.out)
    with Image.open("a.png") as picture:
        digest = hashlib.md5(picture.tobytes()).hexdigest()
    assert record["md5"] == digest
    assert done.lines[-1].endswith(f"  md5 {digest}")
    assert (record["path"], record["output"], record["width"], record["height"]) == ("a.nvc", "a.png", 48, 32)
    assert record["output_bytes"] == Path("a.png").stat().st_size


def test_grey_and_pgm(call: Call, make_picture: Call) -> None:
    make_picture("g.png", 33, 17, "L")
    call("encode", "g.png").works()
    call("decode", "g.nvc", "-o", "g.pgm").works()
    with Image.open("g.pgm") as picture:
        assert (picture.mode, picture.size) == ("L", (33, 17))


def test_check_writes_nothing(call: Call, coded: Path, listing: Call) -> None:
    done = call("decode", "--check", "a.nvc", "--md5").works()
    assert done.err.startswith("a.nvc: good  48x32  ")
    Path("bad.nvc").write_bytes(flipped(coded.read_bytes(), "FRAME"))
    both = call("decode", "--check", "bad.nvc", "a.nvc")
    assert both.code == 6
    assert both.lines[0].startswith("nvc-decode: bad.nvc: ")
    assert both.lines[1].startswith("a.nvc: good")
    assert listing() == {"a.nvc", "bad.nvc"}


def damaged(name: str, data: bytes) -> bytes:
    """One way for a file to be wrong."""
    frame = box_of(data, "FRAME")
    match name:
        case "empty":
            return b""
        case "other":
            return b"GIF89a" + bytes(40)
        case "version":
            return b"NVC\x07" + data[4:]
        case "cut":
            return data[:-9]
        case "no frame":
            return data[: frame.offset]
        case "trailing":
            return data + b"\0"
        case "picture checksum":  # the box is sound, the pixels are not those of the encoder
            return data[: frame.offset] + write_box(BoxType.FRAME, frame.data[:-1] + bytes([frame.data[-1] ^ 1]))
        case "payload":
            payload = bytearray(frame.data)
            payload[len(payload) // 2] ^= 0x55
            return data[: frame.offset] + write_box(BoxType.FRAME, bytes(payload))
        case "model":
            header = box_of(data, "HEADER")
            changed = header.data[:1] + b"none" + header.data[5:]
            return write_box(BoxType.HEADER, changed, first=True) + data[4 + header.size :]
        case _:
            return flipped(data, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "empty file"),
        ("other", "not a .nvc file"),
        ("version", "format number 7"),
        ("cut", "cut short"),
        ("no frame", "frame box is missing"),
        ("trailing", ""),
        ("picture checksum", ""),
        ("payload", ""),
        ("model", "made with model 6e6f6e65, which is not installed"),
        ("HEADER", "checksum"),
        ("FRAME", "checksum"),
        ("EXIF", "checksum"),
        ("ALPH", "checksum"),
    ],
)
def test_damage_is_one_line_and_no_output(call: Call, coded: Path, listing: Call, name: str, message: str) -> None:
    coded.write_bytes(damaged(name, coded.read_bytes()))
    call("decode", "a.nvc").fails(6, "a.nvc: ", message)
    assert listing() == {"a.nvc"}


@pytest.mark.parametrize(
    ("name", "lost", "alpha", "exif"),
    [
        ("EXIF", "'EXIF' box at byte", True, False),
        ("ALPH", "'ALPH' box at byte", False, True),
        ("trailing", "1 bytes after the frame", True, True),
    ],
)
def test_salvage(call: Call, coded: Path, name: str, lost: str, alpha: bool, exif: bool) -> None:
    call("decode", "a.nvc", "-o", "whole.png").works()
    coded.write_bytes(damaged(name, coded.read_bytes()))
    done = call("decode", "a.nvc", "--salvage")
    assert done.code == 6
    assert f"nvc-decode: a.nvc: damaged, lost: {lost}" in done.err
    with Image.open("whole.png") as whole, Image.open("a.png") as rest:
        assert rest.mode == ("RGBA" if alpha else "RGB")
        assert (rest.getexif().get(0x010E) == "a picture") == exif
        assert np.array_equal(np.asarray(whole)[..., :3], np.asarray(rest)[..., :3])


@pytest.mark.parametrize(
    "name", ["empty", "other", "version", "cut", "no frame", "picture checksum", "payload", "model", "HEADER", "FRAME"]
)
def test_nothing_to_salvage(call: Call, coded: Path, listing: Call, name: str) -> None:
    coded.write_bytes(damaged(name, coded.read_bytes()))
    call("decode", "a.nvc", "--salvage").fails(6, "a.nvc: ")
    assert listing() == {"a.nvc"}


def test_salvage_of_a_sound_file_is_plain_decoding(call: Call, coded: Path) -> None:
    call("decode", "a.nvc", "--salvage").works()


def test_limits(call: Call, coded: Path, listing: Call) -> None:
    call("decode", "a.nvc", "--max-pixels", 48 * 32 - 1).fails(7, "48x32", "--max-pixels")
    assert listing() == {"a.nvc"}


def test_model_by_path(call: Call, coded: Path) -> None:
    from nvc.codec import models

    call("decode", "--check", "a.nvc", "--model", models.load().path).works()
    call("decode", "--check", "a.nvc", "--model", "a.nvc").fails(3, "a.nvc: ", "weight file")


def test_many(call: Call, coded: Path, listing: Call) -> None:
    for name in ("in/b.nvc", "in/sub/c.nvc"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(coded.read_bytes())
    coded.write_bytes(b"")
    done = call("decode", "a.nvc", "in", "missing.nvc", "-o", "out/", "--threads", 1, "--device", "cpu")
    assert done.code == 6
    assert {name for name in listing() if name.startswith("out")} == {"out/b.png", "out/sub/c.png"}
    assert [line.split(": ")[1] for line in done.lines if line.startswith("nvc-decode")] == ["a.nvc", "missing.nvc"]


def test_per_frame_bits_sum_to_the_payload(call: Call, coded: Path) -> None:
    record = json.loads(call("info", "--json", "--per-frame", "a.nvc").works().out)
    (frame,) = record["per_frame"]
    assert (frame["frame"], frame["type"]) == (0, "I")
    payload = 8 * record["parts"]["frames"]
    assert payload - 64 - 32 <= sum(frame["bits"].values()) <= payload + 1  # the coder's last state and padding
    assert len(call("info", "--per-frame", "a.nvc").works().out.splitlines()) == 2
