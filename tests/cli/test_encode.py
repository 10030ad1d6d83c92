"""nvc-encode on real pictures: the contract, sentence by sentence."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from nvc.cli.files import Item
from nvc.errors import LimitError

SUMMARY = re.compile(
    r"(?P<source>.+) -> (?P<target>.+)  (?P<width>\d+)x(?P<height>\d+)  (?P<bytes>[\d,]+) B  (?P<bpp>[\d.]+) bpp"
    r"(  (?P<psnr>[\d.]+|inf) dB)?  q (?P<q>[\d.]+)( \((?P<passes>\d+) passes\))?"
    r"  [\d.]+ s(  md5 (?P<md5>[0-9a-f]{32}))?"
)
Call = Callable[..., Any]


def parsed(line: str) -> dict[str, str]:
    match = SUMMARY.fullmatch(line)
    assert match, line
    return match.groupdict()


def test_summary_line(call: Call, photo: Call) -> None:
    photo("name with space é.png")
    done = call("encode", "name with space é.png").works()
    assert done.out == b""
    (line,) = done.lines
    said = parsed(line)
    size = Path("name with space é.nvc").stat().st_size
    assert (said["source"], said["target"]) == ("name with space é.png", "name with space é.nvc")
    assert (said["width"], said["height"], said["q"], said["psnr"]) == ("256", "192", "4.0", None)
    assert (said["bytes"], said["bpp"]) == (f"{size:,}", f"{8 * size / (256 * 192):.3f}")


def test_same_command_same_bytes_whatever_says_the_default(call: Call, photo: Call) -> None:
    source = photo()
    outputs = []
    equal = [[], [], ["-q", "4"], ["--quality=4.0"], ["-c", "auto"], ["-c", "image"], ["--audio", "drop"]]
    equal += [["--threads", "1"], ["--threads", "3"], ["--no-verify"], ["--strict"]]
    for number, options in enumerate(equal):
        call("encode", source, "-o", f"{number}.nvc", *options).works()
        outputs.append(Path(f"{number}.nvc").read_bytes())
    assert len(set(outputs)) == 1


def test_json_is_one_object_per_input(call: Call, photo: Call) -> None:
    photo("a.png"), photo("b.png", of="hall")
    done = call("encode", "a.png", "missing.png", "b.png", "--json", "-q", 2)
    assert done.code == 3
    first, missing, second = (json.loads(line) for line in done.out.splitlines())
    assert (missing["path"], missing["exit_code"]) == ("missing.png", 3)
    for record, width, height in [(first, 256, 192), (second, 97, 61)]:
        assert record["bytes"] == Path(record["output"]).stat().st_size
        assert (record["width"], record["height"], record["quality"], record["passes"]) == (width, height, 2.0, 1)
        assert record["bpp"] == pytest.approx(8 * record["bytes"] / (width * height))
        assert 15 < record["psnr"] < 60
        assert sum(record["bits"].values()) <= 8 * record["bytes"]
    assert [line.split(":")[0] for line in done.lines if "->" not in line] == ["nvc-encode"]


def test_target_size(call: Call, photo: Call) -> None:
    """0 to 3 % below, never above; the quality that is named writes the same bytes."""
    photo("a.png")
    call("encode", "a.png", "-q", 4.3, "-o", "at.nvc").works()
    target = int(Path("at.nvc").stat().st_size * 1.01)
    said = parsed(call("encode", "a.png", "-o", "found.nvc", "--target-size", target).works().lines[-1])
    found = Path("found.nvc").read_bytes()
    assert 0.97 * target <= len(found) <= target
    assert 1 <= int(said["passes"]) <= 8
    call("encode", "a.png", "-o", "again.nvc", "-q", said["q"]).works()
    assert Path("again.nvc").read_bytes() == found
    bpp = 8 * target / (256 * 192)
    call("encode", "a.png", "-o", "bpp.nvc", "--target-bpp", bpp + 1e-9).works()
    assert Path("bpp.nvc").read_bytes() == found


def test_target_psnr(call: Call, photo: Call) -> None:
    photo("a.png")
    at = json.loads(call("encode", "a.png", "-q", 4.3, "-o", "at.nvc", "--json").works().out)
    target = at["psnr"] - 0.1
    done = call("encode", "a.png", "-o", "found.nvc", "--target-psnr", target, "--json").works()
    said = parsed(done.lines[-1])
    record = json.loads(done.out)
    assert record["psnr"] == pytest.approx(target, abs=0.05)
    assert record["bytes"] <= at["bytes"]
    assert 1 <= record["passes"] <= 8
    assert said["psnr"] == f"{record['psnr']:.2f}"
    call("encode", "a.png", "-o", "again.nvc", "-q", said["q"]).works()
    assert Path("again.nvc").read_bytes() == Path("found.nvc").read_bytes()


@pytest.mark.parametrize("target", [["--target-size", "40"], ["--target-bpp", "0.001"], ["--target-psnr", "99"]])
def test_target_out_of_reach(call: Call, photo: Call, listing: Call, target: list[str]) -> None:
    photo("a.png", of="hall")
    call("encode", "a.png", *target).fails(5, "a.png: ")
    assert listing() == {"a.png"}


def test_existing_output(call: Call, photo: Call, listing: Call) -> None:
    photo("a.png", of="hall")
    Path("a.nvc").write_bytes(b"old")
    call("encode", "a.png").fails(4, "a.png: a.nvc: exists; use -f")
    skipped = call("encode", "a.png", "-n").works()
    assert skipped.err == "a.png: skipped, a.nvc exists\n"
    assert Path("a.nvc").read_bytes() == b"old"
    call("encode", "a.png", "--force").works()
    assert Path("a.nvc").read_bytes().startswith(b"NVC")
    assert listing() == {"a.png", "a.nvc"}


@pytest.mark.parametrize(
    ("option", "kept"),
    [([], ["ICCP", "EXIF", "XMP"]), (["all"], ["ICCP", "EXIF", "XMP"]), (["color"], ["ICCP"]), (["none"], [])],
)
def test_metadata(call: Call, make_picture: Call, option: list[str], kept: list[str]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a picture"
    make_picture("a.jpg", icc_profile=profile, exif=exif, xmp=b"<x:xmpmeta/>", quality=90)
    call("encode", "a.jpg", *(["--metadata", *option] if option else [])).works()
    record = json.loads(call("info", "--json", "a.nvc").works().out)
    assert record["metadata"] == kept
    assert (record["width"], record["height"]) == (16, 24)  # turned upright, once
    call("decode", "a.nvc").works()
    with Image.open("a.png") as decoded:
        assert decoded.size == (16, 24)
        assert decoded.getexif().get(0x0112, 1) == 1
        assert decoded.getexif().get(0x010E) == ("a picture" if "EXIF" in kept else None)
        assert decoded.info.get("icc_profile") == (profile if "ICCP" in kept else None)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha(call: Call, make_picture: Call, mode: str) -> None:
    source = make_picture("a.png", 40, 30, mode)
    call("encode", "a.png").works()
    call("decode", "a.nvc", "-o", "b.png").works()
    with Image.open(source) as before, Image.open("b.png") as after:
        assert after.mode == mode
        assert np.array_equal(np.asarray(before)[..., -1], np.asarray(after)[..., -1])
    call("encode", "a.png", "-f", "--alpha", "drop").works()
    assert json.loads(call("info", "--json", "a.nvc").works().out)["alpha"] is False


def test_absent_alpha_and_metadata_are_no_error(call: Call, photo: Call) -> None:
    photo("a.png", of="hall")
    plain = call("encode", "a.png", "-o", "1.nvc").works()
    same = call("encode", "a.png", "-o", "2.nvc", "--alpha", "drop", "--metadata", "none").works()
    assert len(plain.lines) == len(same.lines) == 1
    assert Path("1.nvc").read_bytes() == Path("2.nvc").read_bytes()


def test_loss_is_one_warning_and_strict_refuses(call: Call, listing: Call, tmp_path: Path) -> None:
    samples = np.arange(48 * 32, dtype=np.uint16).reshape(32, 48) * 40
    Image.fromarray(samples).save(tmp_path / "deep.png")
    call("encode", "--strict", "deep.png").fails(3, "deep.png: ", "16 bits", "--strict")
    assert listing() == {"deep.png"}
    done = call("encode", "deep.png").works()
    assert done.lines[0].startswith("warning: deep.png: 16 bits")
    assert len(done.lines) == 2
    assert call("encode", "-f", "--quiet", "deep.png").works().err == ""


def test_animation(call: Call, listing: Call, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    call("encode", "a.webp").fails(3, "2 frames", "--first-frame")
    assert listing() == {"a.webp"}
    assert call("encode", "--first-frame", "a.webp").works().lines[0].startswith("warning: a.webp: only the first")


def test_larger_than_its_source_is_one_warning(call: Call, tmp_path: Path) -> None:
    (tmp_path / "dot.ppm").write_bytes(b"P6 1 1 255\nabc")
    done = call("encode", "dot.ppm").works()
    size = Path("dot.nvc").stat().st_size
    assert done.lines[0] == f"warning: dot.ppm: dot.nvc is larger than its source ({size} B, 14 B)"
    assert len(done.lines) == 2


def test_many_inputs_go_on_and_end_with_the_worst(call: Call, photo: Call, listing: Call, tmp_path: Path) -> None:
    photo("in/a.png", of="hall"), photo("in/sub/b.png", of="stair"), photo("in/exists.png")
    (tmp_path / "in/bad.png").write_bytes(b"no picture")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/exists.nvc").write_bytes(b"old")
    done = call("encode", "in", "missing.png", "-o", "out")
    assert done.code == 4
    errors = [line for line in done.lines if line.startswith("nvc-encode: ")]
    assert [line.split(": ")[1] for line in errors] == ["in/bad.png", "in/exists.png", "missing.png"]
    made = {name for name in listing() if name.startswith("out")}
    assert made == {"out/a.nvc", "out/sub/b.nvc", "out/exists.nvc"}
    assert Path("out/exists.nvc").read_bytes() == b"old"
    (tmp_path / "out/a.nvc").unlink()
    stopped = call("encode", "in", "-o", "out", "--fail-fast")
    assert (stopped.code, "out/a.nvc" in listing(), len(stopped.lines)) == (3, True, 2)


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("empty.png", b"", 3, "empty file"),
        ("text.png", b"hello, world\n", 3, "not a picture"),
        ("cut.png", None, 3, ""),
        ("clip.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", 3, "not a video"),
    ],
)
def test_unreadable_input(
    call: Call, photo: Call, listing: Call, name: str, content: bytes | None, code: int, message: str
) -> None:
    path = photo(name)
    path.write_bytes(path.read_bytes()[:9000] if content is None else content)
    call("encode", name, "-o", "out.nvc").fails(code, f"{name}: ", message)
    assert listing() == {name}


def test_limits(call: Call, photo: Call, monkeypatch: pytest.MonkeyPatch, listing: Call) -> None:
    photo("a.png", of="hall")
    call("encode", "a.png", "--max-pixels", 97 * 61 - 1).fails(7, "a.png: 97x61", "--max-pixels")
    call("encode", "a.png", "--max-pixels", 97 * 61, "-o", "b.nvc").works()
    from nvc.media import pictures

    def refuse(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pictures, "read_picture", refuse)
    call("encode", "a.png").fails(7, "a.png: out of memory")
    assert listing() == {"a.png", "b.nvc"}


def test_model_by_name_and_by_path(call: Call, photo: Call) -> None:
    from nvc.codec import models

    photo("a.png", of="hall")
    call("encode", "a.png").works()
    for info in models.installed():
        if info.codec != "image":
            call("encode", "a.png", "--model", info.name, "-o", "name.nvc").fails(3, "not 'image'")
            continue
        call("encode", "a.png", "--model", info.name, "-o", "name.nvc", "-f").works()
        call("encode", "a.png", "--model", info.path, "-o", "path.nvc", "-f").works()
        assert Path("name.nvc").read_bytes() == Path("path.nvc").read_bytes()
        assert json.loads(call("info", "--json", "name.nvc").works().out)["model"] == info.name
    call("encode", "a.png", "--model", "a.png", "-o", "b.nvc").fails(3, "a.png: ", "weight file")


@pytest.mark.parametrize("verify", [True, False])
def test_verify_decodes_before_the_file_is_in_place(
    call: Call, photo: Call, listing: Call, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    """A decoder that gives other pixels, as a failing machine would."""
    from nvc.codec import picture

    decode = picture.decode_pixels
    monkeypatch.setattr(picture, "decode_pixels", lambda *arguments: decode(*arguments) ^ 1)
    photo("a.png", of="hall")
    if verify:
        call("encode", "a.png").fails(1, "a.png: the coded picture does not decode to what was encoded")
    else:
        call("encode", "a.png", "--no-verify").works()
    assert listing() == ({"a.png"} if verify else {"a.png", "a.nvc"})


def test_input_that_cannot_be_read(call: Call, listing: Call) -> None:
    call("encode", "/proc/self/mem", "-o", "a.nvc").fails(3, "/proc/self/mem: input/output error")
    assert listing() == set()


@pytest.mark.parametrize("rdoq", range(4))
def test_rdoq_levels(call: Call, photo: Call, rdoq: int) -> None:
    photo("a.png", of="hall")
    call("encode", "a.png", "--rdoq", rdoq, "--threads", 1).works()
    call("decode", "--check", "a.nvc").works()


def test_md5_is_that_of_the_decoded_pixels(call: Call, photo: Call) -> None:
    import hashlib

    photo("a.png", of="hall")
    said = parsed(call("encode", "a.png", "--md5", "--no-verify").works().lines[-1])
    decoded = call("decode", "a.nvc", "--md5", "-o", "b.png").works()
    assert decoded.lines[-1].endswith(f"  md5 {said['md5']}")
    with Image.open("b.png") as picture:
        assert hashlib.md5(picture.convert("RGB").tobytes()).hexdigest() == said["md5"]
    quiet = call("encode", "a.png", "-f", "--md5", "--quiet", "--json").works()
    assert (json.loads(quiet.out)["md5"], quiet.err) == (said["md5"], "")


def test_talk(call: Call, photo: Call) -> None:
    photo("a.png", of="hall")
    assert call("encode", "a.png", "--quiet").works().err == ""
    assert len(call("encode", "a.png", "-f", "-v").works().lines) > 1
    assert "\r" not in call("encode", "a.png", "-f").works().err
    assert "file/s" in call("encode", "a.png", "-f", "--progress").works().err
    assert "Traceback" in call("encode", "missing.png", "-vv").err
    assert "Traceback" not in call("encode", "missing.png", "-v").err


def test_names_that_look_like_options(call: Call, photo: Call, listing: Call) -> None:
    photo("-q.png", of="hall")
    call("encode", "--", "-q.png").works()
    call("decode", "-o", "-o.png", "--", "-q.nvc").works()
    photo("-", of="hall")
    call("encode", "./-").works()
    assert listing() == {"-q.png", "-q.nvc", "-o.png", "-", "-.nvc"}


def test_folder_that_cannot_take_the_output(call: Call, photo: Call, listing: Call) -> None:
    photo("a.png", of="hall")
    call("encode", "a.png", "-o", "no/such/a.nvc").fails(4, "no/such/a.nvc: no folder")
    call("encode", "a.png", "-o", "a.png/").fails(4, "a.png/a.nvc: no folder")
    call("encode", "a.png", "-o", "/proc/a.nvc").fails(4, "/proc/a.nvc")
    call("encode", "a.png", "-o", "/dev/full").fails(4, "/dev/full: cannot be written: No space left on device")
    assert listing() == {"a.png"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_in_a_makefile(photo: Call, listing: Call, tmp_path: Path, environment: dict[str, str]) -> None:
    photo("a.png", of="hall")
    command = f"{sys.executable} -m nvc.cli.encode"
    (tmp_path / "Makefile").write_text(f"%.nvc: %.png ; {command} -f -q 4.5 $< -o $@\n")
    subprocess.run(["make", "a.nvc"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert listing() == {"Makefile", "a.png", "a.nvc"}


def test_work_is_independent_of_the_command_line(tmp_path: Path, photo: Call) -> None:
    """The function that workers run: it reads and codes, and writes nothing."""
    from nvc.cli.encode import encode_file
    from nvc.cli.encoding import Order

    source = photo("a.png", of="hall")
    order = Order(quality=3.0, rdoq=0, threads=1)
    done = encode_file(order, Item(str(source), str(tmp_path / "a.nvc")))
    assert done.payload is not None
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(LimitError):
        encode_file(Order(quality=3.0, rdoq=0, threads=1, max_pixels=9), Item(str(source), None))
