"""What is refused before any work, and that nothing heavy is loaded to refuse it."""

import ast
import os
import pty
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nvc.bitstream.header import Kind
from nvc.cli import common, decode, decoding, encode, encoding, info
from nvc.cli.encoding import Order
from nvc.codec.catalogue import Entry
from nvc.errors import UsageError
from nvc.version import __version__

ROOT = Path(__file__).parents[2]
COMMANDS = {"encode": encode.command, "decode": decode.command, "info": info.command}
HEAVY = ("torch", "numba", "numpy", "PIL", "imageio", "av", "safetensors", "tqdm")


@pytest.mark.parametrize(
    ("tool", "line", "message"),
    [
        ("encode", "", "Missing argument 'IN...'"),
        ("decode", "", "Missing argument 'IN...'"),
        ("info", "", "missing argument IN..."),
        ("encode", "--no-such a.png", "No such option"),
        ("encode", "-q 0.99 a.png", "0.99 is not at least 1 and at most 8"),
        ("encode", "-q 8.01 a.png", "8.01 is not at least 1 and at most 8"),
        ("encode", "-q nan a.png", "nan is not"),
        ("encode", "-q high a.png", "'high' is not a number"),
        ("encode", "-q 4 --target-size 9KiB a.png", "--quality and --target-size exclude each other"),
        ("encode", "-q 4 --target-bpp 1 a.png", "--quality and --target-bpp exclude each other"),
        ("encode", "--target-bpp 1 --target-psnr 30 a.png", "--target-bpp and --target-psnr exclude each other"),
        ("encode", "--target-size 9 --target-psnr 30 a.png", "exclude each other"),
        ("encode", "--target-size 9KB a.png", "'9KB' is not a size"),
        ("encode", "--target-size 0 a.png", "'0' is not a size"),
        ("encode", "--target-size -5 a.png", "'-5' is not a size"),
        ("encode", "--target-size nanKiB a.png", "'nanKiB' is not a size"),
        ("encode", "--target-bpp 0 a.png", "0 is not above 0"),
        ("encode", "--target-bpp inf a.png", "inf is not above 0"),
        ("encode", "--target-psnr -3 a.png", "-3 is not above 0"),
        ("encode", "--rdoq 4 a.png", "4 is not in the range"),
        ("encode", "--metadata some a.png", "'some' is not one of"),
        ("encode", "--alpha maybe a.png", "'maybe' is not one of"),
        ("encode", "-j 0 a.png", "0 is not in the range"),
        ("encode", "--threads 0 a.png", "0 is not in the range"),
        ("encode", "--max-pixels 0 a.png", "0 is not in the range"),
        ("encode", "-c nosuch a.png", "'nosuch' is not one of 'auto', 'image'"),
        ("encode", "-c ssf a.png", "--codec: ssf codes video, and a.png is a picture"),
        ("encode", "-c image a.mp4", "--codec: image codes pictures, and a.mp4 is video"),
        ("encode", "--bitrate 0 a.mp4", "0 is not above 0"),
        ("encode", "--bitrate 100 -q 4 a.mp4", "--quality and --bitrate exclude each other"),
        ("encode", "-c ssf --gop 8 a.mp4", "--gop 8: the codec ssf has GOPs of 1 only"),
        ("encode", "--gop 0 a.mp4", "0 is not in the range"),
        ("encode", "--gop 16 --intra-period 17 a.mp4", "17: no multiple of the GOP of 16; --closed-gop takes any"),
        ("encode", "--intra-period -1 a.mp4", "-1 is not in the range"),
        ("encode", "--latency high a.mp4", "'high' is not one of"),
        ("encode", "--start -1 a.mp4", "-1 is not in the range"),
        ("encode", "--frames 0 a.mp4", "0 is not in the range"),
        ("encode", "--fps 0 a.y4m", "'0' is not a frame rate between"),
        ("encode", "--fps 1/0 a.y4m", "'1/0' is not a frame rate: a number, or NUM/DEN"),
        ("encode", "--size 16 a.yuv", "'16' is not WIDTHxHEIGHT"),
        ("encode", "--size 0x16 a.yuv", "'0x16' is not WIDTHxHEIGHT"),
        ("encode", "--pix-fmt yuv420p a.yuv", "that needs --size too"),
        ("encode", "--size 64x48 a%04d.png", "--size: for headerless YUV only, and a%04d.png says its size itself"),
        ("encode", "--rdoq 2 a.mp4", "--rdoq: for pictures only, and a.mp4 is video"),
        ("encode", "--first-frame a.mkv", "--first-frame: for pictures only, and a.mkv is video"),
        ("encode", "--gop 1 a.mp4 a/b.png", "--gop: for video only, and a/b.png is a picture"),
        ("encode", "--model nosuch a.png", "'nosuch' is neither an installed model"),
        ("encode", "-f -n a.png", "--force and --skip-existing exclude each other"),
        ("encode", "--quiet -v a.png", "--quiet and --verbose exclude each other"),
        ("encode", "--quiet --progress a.png", "--quiet and --progress exclude each other"),
        ("encode", "--quiet --md5 a.png", "--md5 is said on the summary line"),
        ("encode", "a.png a.jpg", "both would be written to a.nvc"),
        ("encode", "a.png b.png -o c.nvc", "'c.nvc' is one file"),
        ("encode", "a.png -o a.png", "is an input"),
        ("encode", "a.png -o - --json", "--json and the output both go to stdout"),
        ("decode", "a.nvc -o -", "decoding to stdout needs --format png|ppm"),
        ("decode", "-", "decoding to stdout needs --format png|ppm"),
        ("decode", "a.nvc -o b", "its name tells no format"),
        ("decode", "a.nvc --format jxl", "'jxl' is not one of"),
        ("decode", "a.nvc --frames 0", "0 is not in the range"),
        ("decode", "a.nvc b.nvc -o c.png", "'c.png' is one file"),
        ("decode", "a.png", "is an input"),
        ("decode", "--model nosuch a.nvc", "'nosuch' is neither an installed model"),
        ("decode", "--device cuda a.nvc", "no engine for it"),
        ("decode", "--check -o b.png a.nvc", "--check and --output exclude each other"),
        ("decode", "--check --format png a.nvc", "--check and --format exclude each other"),
        ("decode", "--check -f a.nvc", "--check and --force exclude each other"),
        ("decode", "--check -n a.nvc", "--check and --skip-existing exclude each other"),
        ("decode", "--check --salvage a.nvc", "--check and --salvage exclude each other"),
        ("info", "--models a.nvc", "--models lists what is installed"),
        ("info", "--models --per-frame", "--models lists what is installed"),
        ("info", "- -", "can be read once"),
    ],
)
def test_usage_error(tool: str, line: str, message: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit 2, one line on stderr, nothing on stdout, no file: the same path as a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert common.run(COMMANDS[tool], line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"nvc-{tool}: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", encoding.VIDEO_OPTIONS)
def test_video_option_on_a_picture(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    option = "--" + name.replace("_", "-")
    odd = {"--latency": ["low"], "--size": ["4x4"], "--reparam": []}
    assert common.run(encode.command, ["a.png", option, *odd.get(option, ["1"])]) == 2
    assert f"nvc-encode: {option}: for video only, and a.png is a picture" in capfd.readouterr().err


def test_video_switch_off_on_a_picture(capfd: pytest.CaptureFixture[str]) -> None:
    assert common.run(encode.command, ["a.png", "--no-reparam"]) == 2
    assert "--reparam: for video only" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--start", "--frames", "--max-frames"])
def test_video_option_on_decode(option: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.nvc"
    path.write_bytes((ROOT / "tests" / "golden" / "grey.nvc").read_bytes())
    assert common.run(decode.command, [str(path), option, "1"]) == 2
    assert f"nvc-decode: {option}: for video only, and {path} is a picture" in capfd.readouterr().err


@pytest.mark.parametrize("tool", COMMANDS)
def test_as_a_process(tool: str, run: Callable[..., Any]) -> None:
    run(tool, "--no-such", "a.png").fails(2, "No such option", f"nvc-{tool} --help")
    version = run(tool, "-V").works()
    assert (version.out, version.err) == (f"nvc-{tool} {__version__}\n".encode(), "")
    short, long = run(tool, "-h").works(), run(tool, "--help").works()
    assert short == long
    assert short.out.startswith(f"Usage: nvc-{tool} [OPTIONS] IN...".encode() if tool != "info" else b"Usage: nvc-info")
    assert b"Exit codes:" in short.out


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ("encode", "--help"),
        ("encode", "-q 9 a.png"),
        ("encode", "--model nosuch a.png"),
        ("encode", "-c nosuch a.png"),
        ("encode", "a.png b.png -o c.nvc"),
        ("encode", "a.png --gop 8"),
        ("decode", "--help"),
        ("decode", "a.nvc -o -"),
        ("decode", "a.nvc --format jxl"),
        ("info", "--help"),
        ("info", "--models"),
        ("info", "missing.nvc"),
    ],
)
def test_light(tool: str, line: str, python: Callable[[str], str]) -> None:
    """Help, refusals and lists load no number library: that is what makes them instant."""
    lists_models = line in ("--models", "--model nosuch a.png") or (tool, line) == ("encode", "--help")
    allowed = {"numpy", "safetensors"} if lists_models else set()
    printed = python(
        f"import sys; from nvc.cli import common, {tool}; common.run({tool}.command, {line.split()!r}); "
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert set(ast.literal_eval(printed.splitlines()[-1])) <= allowed


def test_codec_for_video_on_a_picture(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever codecs for video there will be: told by their kind and their GOPs."""
    monkeypatch.setitem(encoding.CATALOGUE, "film", Entry("film", 9, "video", "a codec for video", (8, 4, 1)))
    with pytest.raises(UsageError, match="--codec: film codes video"):
        Order(codec="film").kind_of("a.png", "a.png")
    for name in ("auto", "image"):
        assert Order(codec=name).kind_of("a.png", "a.png") == Kind.PICTURE
    assert Order(codec="film").gop_size == 8
    assert Order(codec="film", latency="low").gop_size == 1
    Order(codec="film", gop=4, intra_period=12).check_structure()
    for wrong in ({"gop": 2}, {"gop": 4, "intra_period": 10}, {"gop": 4, "latency": "low"}):
        with pytest.raises(UsageError):
            Order(codec="film", **wrong).check_structure()
    Order(codec="film", gop=4, intra_period=10, closed_gop=True).check_structure()
    assert Order(codec="film", intra_period=10, closed_gop=True).gop_size == 8
    assert Order(codec="film", intra_period=10, closed_gop=True, latency="low").gop_size == 1
    for wrong in ({"gop": 2}, {"gop": 4, "latency": "low"}):
        with pytest.raises(UsageError):
            Order(codec="film", closed_gop=True, **wrong).check_structure()


def test_help_states_the_default_quality_and_what_the_levels_give() -> None:
    text = encode.help_tail()
    assert f"default {encode.DEFAULT_QUALITY}" in text
    from nvc.codec import models

    for model in models.installed():
        for value in model.psnr_range or ():
            assert f"{value:.1f}" in text


def test_entry_points_are_the_commands() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for tool, module in {"encode": encode, "decode": decode, "info": info}.items():
        assert scripts[f"nvc-{tool}"] == f"nvc.cli.{tool}:main"
        assert callable(module.main)


def options_of(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


@pytest.mark.parametrize("tool", COMMANDS)
def test_manual_lists_every_option(tool: str) -> None:
    manual = (ROOT / "docs" / "cli.md").read_text()
    section = re.search(rf"^## nvc-{tool}\n(.*?)(?=^## |\Z)", manual, re.M | re.S)
    common_section = re.search(r"^## All commands\n(.*?)(?=^## )", manual, re.M | re.S)
    assert section
    assert common_section
    text = section.group(1) + common_section.group(1)
    for option in options_of(COMMANDS[tool]):
        for name in [*option.opts, *option.secondary_opts]:
            assert option.hidden or f"`{name}" in text or f", {name}" in text, name


def test_defaults_are_those_of_the_codec() -> None:
    from nvc.codec import models

    assert (models.DEFAULT_QUALITY, models.DEFAULT_RDOQ) == (encode.DEFAULT_QUALITY, encode.DEFAULT_RDOQ)
    from nvc.bitstream import video_reader
    from nvc.codec.gop import Gop

    assert (Gop().intra_period, video_reader.MAX_FRAMES) == (encoding.INTRA_PERIOD, encoding.MAX_FRAMES)
    assert decoding.MAX_FRAMES == video_reader.MAX_FRAMES


def test_formats_are_those_of_the_writer() -> None:
    from nvc.media.pictures import formats

    assert formats() == decode.FORMATS
    from nvc.media.video_writer import video_formats

    assert video_formats() == decode.VIDEO_FORMATS


@pytest.mark.parametrize("text", ["1", "1.0", "4.5", "2.5586", "7.9999", "8"])
def test_quality_text_finds_the_same_grid_point(text: str) -> None:
    from nvc.bitstream.header import quality_code

    for code in {quality_code(float(text)), *range(0, 28673, 997)}:
        assert quality_code(float(common.quality_text(1 + code / 4096))) == code


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("20000", 20000), ("20KiB", 20480), ("1.5MiB", 1572864), ("3 kib", 3072), ("0.0015KiB", 1)],
)
def test_sizes(text: str, size: int) -> None:
    assert common.Size().convert(text, None, None) == size


def test_completion(run: Callable[..., Any]) -> None:
    """click's, under the command's own name however it is started."""
    script = run("encode", env={"_NVC_ENCODE_COMPLETE": "bash_source"}).works()
    assert b"_NVC_ENCODE_COMPLETE=bash_complete" in script.out
    offered = run(
        "decode", env={"_NVC_DECODE_COMPLETE": "bash_complete", "COMP_WORDS": "nvc-decode --form", "COMP_CWORD": "1"}
    ).works()
    assert offered.out == b"plain,--format\n"


@pytest.mark.parametrize(
    ("tool", "arguments", "stream", "message"),
    [
        ("encode", ["a.png", "-o", "-"], "stdout", "stdout is a terminal"),
        ("encode", ["-"], "stdout", "stdout is a terminal"),
        ("encode", ["-"], "stdin", "stdin is a terminal"),
        ("decode", ["a.nvc", "-o", "-", "--format", "ppm"], "stdout", "stdout is a terminal"),
        ("decode", ["-", "--format", "png"], "stdin", "stdin is a terminal"),
        ("info", ["-"], "stdin", "stdin is a terminal"),
    ],
)
def test_no_binary_on_a_terminal(
    run: Callable[..., Any], tool: str, arguments: list[str], stream: str, message: str
) -> None:
    leader, follower = pty.openpty()
    try:
        run(tool, *arguments, **{stream: follower}).fails(2, message)
    finally:
        os.close(leader)
        os.close(follower)
