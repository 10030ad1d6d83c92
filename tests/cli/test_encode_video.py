"""nvc-encode on clips: the contract, sentence by sentence."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from nvc.bitstream.container import FrameType
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_reader import VideoReader
from nvc.codec.catalogue import CATALOGUE

Call = Callable[..., Any]
SUMMARY = re.compile(
    r"(?P<source>.+) -> (?P<target>.+)  (?P<width>\d+)x(?P<height>\d+)  (?P<frames>\d+) frames?  (?P<bytes>[\d,]+) B"
    r"  (?P<kbps>[\d.]+) kbit/s(  (?P<psnr>[\d.]+) dB)?  q (?P<q>[\d.]+)( \((?P<passes>\d+) passes\))?"
    r"  [\d.]+ s(  md5 (?P<md5>[0-9a-f]{32}))?"
)


def parsed(line: str) -> dict[str, str]:
    match = SUMMARY.fullmatch(line)
    assert match, line
    return match.groupdict()


def frames_of(path: str) -> list[VideoFrame]:
    with open(path, "rb") as file:
        return [part for part in VideoReader(file) if isinstance(part, VideoFrame)]


@pytest.fixture
def encode(call: Call, tiny_video_model: Path) -> Call:
    """encode(*arguments): nvc-encode with the tiny model."""
    return lambda *arguments: call("encode", "--model", tiny_video_model, *arguments)


def test_summary_line(encode: Call, make_clip: Call, listing: Call) -> None:
    make_clip("a clip.y4m")
    done = encode("a clip.y4m").works()
    assert done.out == b""
    (line,) = done.lines
    said = parsed(line)
    size = Path("a clip.nvc").stat().st_size
    assert (said["source"], said["target"], said["frames"]) == ("a clip.y4m", "a clip.nvc", "6")
    assert (said["width"], said["height"], said["q"], said["psnr"]) == ("64", "48", "4.0", None)
    assert (said["bytes"], said["kbps"]) == (f"{size:,}", f"{8 * size / 0.24 / 1000:.1f}")
    assert listing() == {"a clip.y4m", "a clip.nvc"}


def test_same_bytes_whatever_says_the_default(encode: Call, make_clip: Call) -> None:
    source = make_clip("a.y4m")
    equal = [[], ["-q", 4], ["-c", "ssf"], ["--gop", 1], ["--latency", "low"], ["--latency", "normal"], ["--reparam"]]
    equal += [["--intra-period", 32], ["--threads", 2], ["--verify"], ["--strict"], ["--start", 0], ["--frames", 99]]
    equal += [["--closed-gop"]]
    outputs = []
    for number, options in enumerate(equal):
        encode(source, "-o", f"{number}.nvc", *options).works()
        outputs.append(Path(f"{number}.nvc").read_bytes())
    assert len(set(outputs)) == 1


def test_json(encode: Call, make_clip: Call) -> None:
    make_clip("a.y4m")
    done = encode("a.y4m", "missing.mp4", "--json", "-q", 2, "--intra-period", 4)
    assert done.code == 3
    record, missing = (json.loads(line) for line in done.out.splitlines())
    assert (missing["path"], missing["exit_code"]) == ("missing.mp4", 3)
    assert record["bytes"] == Path("a.nvc").stat().st_size
    assert (record["frames"], record["intra_frames"], record["quality"], record["passes"]) == (6, 2, 2.0, 1)
    assert record["duration"] == pytest.approx(0.24)
    assert record["kbps"] == pytest.approx(8 * record["bytes"] / 240)
    assert record["bpp"] == pytest.approx(8 * record["bytes"] / (6 * 64 * 48))
    assert 10 < record["psnr"] < 60


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ([], "IPPPPP"),
        (["--intra-period", "3"], "IPPIPP"),
        (["--intra-period", "1"], "IIIIII"),
        (["--intra-period", "0"], "IPPPPP"),
        (["--start", "2", "--frames", "3"], "IPP"),
        (["--start", "5"], "I"),
    ],
)
def test_frames(encode: Call, make_clip: Call, options: list[str], kinds: str) -> None:
    make_clip("a.y4m")
    encode("a.y4m", *options).works()
    frames = frames_of("a.nvc")
    assert "".join(frame.type.name for frame in frames) == kinds
    assert [frame.time for frame in frames] == list(range(len(kinds)))


def test_scene_that_begins_gets_an_intra_frame(encode: Call, make_clip: Call) -> None:
    first, second = make_clip("a.y4m", 4), make_clip("b.y4m", 4)
    rest = second.read_bytes().partition(b"\n")[2]
    inverted = b"".join(b"FRAME\n" + bytes(255 - byte for byte in frame) for frame in rest.split(b"FRAME\n")[1:])
    first.write_bytes(first.read_bytes() + inverted)
    encode("a.y4m").works()
    assert [frame.type for frame in frames_of("a.nvc")].index(FrameType.I, 1) == 4


def in_closed_groups(frames: int, period: int, gop: int) -> str:
    """Types in the order of display: behind each I frame as many whole groups as fit, and what is left as one."""
    kinds = ""
    while len(kinds) < frames:
        left = min(period, frames - len(kinds)) - 1
        kinds += "I" + ("B" * (gop - 1) + "P") * (left // gop) + ("B" * (left % gop - 1) + "P") * (left % gop > 0)
    return kinds


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.kind == "video"])
@pytest.mark.parametrize("fixed", [True, False])
def test_closed_gop(name: str, fixed: bool, call: Call, make_clip: Call, tiny_models: dict[str, str]) -> None:
    """Nothing that is shown before an I frame is coded behind it, whatever the period; all readers of files take it."""
    gop, model = CATALOGUE[name].gops[0], ["--model", tiny_models[name]]
    count = 2 * gop + 4
    make_clip("a.y4m", count, (32, 32))
    for period in (gop + 1, 2 * gop, 3):
        asked = ["--closed-gop", "--gop", gop, "--intra-period", period, *["--fixed-gop"] * fixed]
        said = parsed(call("encode", "a.y4m", "-f", "--verify", "--md5", *asked, *model).works().lines[-1])
        frames = frames_of("a.nvc")
        assert [frame.display for frame in frames if frame.type == FrameType.I] == list(range(0, count, period))
        for index, frame in enumerate(frames):
            assert frame.display // period == index // period
            assert frame.type != FrameType.I or frame.display == index
        kinds = "".join(frame.type.name for frame in sorted(frames, key=lambda frame: frame.display))
        assert kinds == in_closed_groups(count, period, gop) or not fixed
        assert json.loads(call("info", "a.nvc", "--json").works().out)["intra_period"] == period
        assert said["md5"] in call("decode", "a.nvc", "-f", "-o", "whole.yuv", "--md5", *model).works().err
        whole = Path("whole.yuv").read_bytes()
        part = ["--start", period, "--frames", 2]
        call("decode", "a.nvc", "-f", "-o", "part.yuv", *part, *model).works()
        assert Path("part.yuv").read_bytes() == whole[period * 1536 : (period + 2) * 1536]


def test_closed_gop_takes_any_period(call: Call, make_clip: Call, tiny_models: dict[str, str]) -> None:
    """Where the GOP is not said, too: the usual one; else it is one that the period is a multiple of, or an error."""
    make_clip("a.y4m", 8, (32, 32))
    for name, path in tiny_models.items():
        if CATALOGUE[name].kind != "video":
            continue
        call("encode", "a.y4m", "-f", "--closed-gop", "--intra-period", 7, "--model", path).works()
        assert json.loads(call("info", "a.nvc", "--json").works().out)["gop"] == CATALOGUE[name].gops[0]
        plain = call("encode", "a.y4m", "-f", "--intra-period", 7, "--model", path)
        assert plain.code == (0 if 1 in CATALOGUE[name].gops else 2)


def test_reparam_changes_bytes_and_no_pixel(encode: Call, make_clip: Call) -> None:
    make_clip("a.y4m", 8, (128, 96))
    with_it, without = (
        parsed(encode("a.y4m", "-o", f"{name}.nvc", "--md5", name, "-q", 1).works().lines[-1])
        for name in ("--reparam", "--no-reparam")
    )
    assert with_it["md5"] == without["md5"]
    assert Path("--reparam.nvc").stat().st_size < Path("--no-reparam.nvc").stat().st_size


def test_pipes(encode: Call, run: Call, make_clip: Call, tiny_video_model: Path, tmp_path: Path) -> None:
    """The same bytes as with files, and nothing in TMPDIR afterwards; a target spools its pipe."""
    source = make_clip("a.mp4").read_bytes()
    encode("a.mp4").works()
    size = Path("a.nvc").stat().st_size
    (tmp_path / "tmp").mkdir()
    env = {"TMPDIR": str(tmp_path / "tmp")}
    coded = run("encode", "-", "--model", tiny_video_model, "--md5", stdin=source, env=env).works()
    assert coded.out == Path("a.nvc").read_bytes()
    assert coded.err.startswith("<stdin> -> <stdout>  64x48  6 frames")
    target = run("encode", "-", "--model", tiny_video_model, "--target-size", size, stdin=source, env=env).works()
    assert 0.97 * size <= len(target.out) <= size
    assert list((tmp_path / "tmp").iterdir()) == []


class TestTargets:
    """Met from below, in at most eight passes, and by the quality that is named."""

    @pytest.mark.parametrize("kind", ["--target-size", "--bitrate", "--target-bpp", "--target-psnr"])
    @staticmethod
    def test_met(encode: Call, make_clip: Call, kind: str) -> None:
        make_clip("a.y4m", 10, (96, 80))
        record = json.loads(encode("a.y4m", "-q", 3.7, "-o", "at.nvc", "--json").works().out)
        wanted = {
            "--target-size": record["bytes"] * 1.015,
            "--bitrate": record["kbps"] * 1.015,
            "--target-bpp": record["bpp"] * 1.015,
            "--target-psnr": record["psnr"],
        }[kind]
        value = int(wanted) if kind == "--target-size" else f"{wanted:.6f}"
        done = encode("a.y4m", "-o", "found.nvc", kind, value, "--json").works()
        found = json.loads(done.out)
        key = {"--target-size": "bytes", "--bitrate": "kbps", "--target-bpp": "bpp", "--target-psnr": "psnr"}[kind]
        if kind == "--target-psnr":
            assert abs(found["psnr"] - wanted) <= 0.05
        else:
            assert 0.97 * wanted <= found[key] <= wanted
        said = parsed(done.lines[-1])
        assert 1 <= int(said["passes"]) == found["passes"] <= 8
        encode("a.y4m", "-o", "again.nvc", "-q", said["q"]).works()
        assert Path("again.nvc").read_bytes() == Path("found.nvc").read_bytes()

    @staticmethod
    def test_out_of_reach(encode: Call, make_clip: Call, listing: Call) -> None:
        make_clip("a.y4m")
        for option in (["--target-size", 100], ["--bitrate", 1e6], ["--target-bpp", 1e-3], ["--target-psnr", 70]):
            encode("a.y4m", *option).fails(5, "a.y4m: ", "cannot be met")
        assert listing() == {"a.y4m"}


class TestSources:
    """What is read, and what of it is kept."""

    @staticmethod
    def test_headerless_yuv(encode: Call, make_clip: Call) -> None:
        frames = make_clip("a.y4m").read_bytes().split(b"FRAME\n")[1:]
        Path("a.yuv").write_bytes(b"".join(frames))
        encode("a.y4m").works()
        encode("a.yuv", "-o", "b.nvc", "--size", "64x48", "--fps", 25).works()
        assert Path("a.nvc").read_bytes() == Path("b.nvc").read_bytes()
        encode("a.yuv", "-o", "c.nvc").fails(3, "a.yuv: headerless YUV", "--size")
        encode("a.yuv", "-o", "c.nvc", "--size", "64x50").fails(3, "a.yuv: ", "cut short")
        encode("a.y4m", "-o", "c.nvc", "--size", "64x48").fails(2, "--size: for headerless YUV only")
        assert not Path("c.nvc").exists()

    @staticmethod
    def test_numbered_pictures(encode: Call, make_picture: Call, listing: Call) -> None:
        for number in range(8, 12):
            make_picture(f"in/take {number}.png", 32, 24)
        done = encode("in/take %d.png", "--fps", "30000/1001").works()
        assert parsed(done.lines[-1])["target"] == "in/take.nvc"
        assert len(frames_of("in/take.nvc")) == 4
        Path("in/take 9.png").unlink()
        encode("in/take %d.png", "-f").fails(3, "take 8.png is not followed by number 9 but by take 10.png")
        assert "in/take.nvc" in listing()

    @staticmethod
    def test_times_and_rate(encode: Call, make_clip: Call) -> None:
        """Variable frame rate is kept; milliseconds of a regular rate are that rate again."""
        irregular = [0, 40, 47, 120, 160, 1000]
        make_clip("vfr.mkv", pts=irregular)
        encode("vfr.mkv").works()
        with open("vfr.nvc", "rb") as file:
            reader = VideoReader(file)
            tick = reader.header.video.time_base * 1000
            assert [part.time * tick for part in reader] == irregular
        thirty = [round(index * 1000 / 30) for index in range(9)]
        make_clip("thirty.mkv", count=9, pts=thirty)
        encode("thirty.mkv").works()
        with open("thirty.nvc", "rb") as file:
            reader = VideoReader(file)
            times = [part.time * reader.header.video.time_base for part in reader]
        assert [round(1000 * time) for time in times] == thirty
        if reader.header.video.fps == 30:  # as libav measures it
            assert times == [Fraction(index, 30) for index in range(9)]

    @staticmethod
    def test_folder(encode: Call, make_clip: Call, photo: Call, listing: Call) -> None:
        make_clip("in/a.y4m"), make_clip("in/sub/b.MKV".lower()), photo("in/c.png")
        done = encode("-c", "ssf", "in", "-o", "out/").works()
        assert [name for name in sorted(listing()) if name.startswith("out")] == ["out/a.nvc", "out/sub/b.nvc"]
        assert "warning: in: 1 file left out" in done.err

    @staticmethod
    def test_existing_output(encode: Call, make_clip: Call) -> None:
        make_clip("a.y4m")
        Path("a.nvc").write_bytes(b"old")
        encode("a.y4m").fails(4, "a.nvc: exists; use -f")
        assert "skipped" in encode("a.y4m", "-n").works().err
        assert Path("a.nvc").read_bytes() == b"old"
        encode("a.y4m", "-f").works()
        assert len(frames_of("a.nvc")) == 6

    @staticmethod
    def test_loss_is_named_or_refused(encode: Call, make_clip: Call) -> None:
        Path("a.yuv").write_bytes(np.random.default_rng(0).bytes(32 * 32 * 3 * 2))
        done = encode("a.yuv", "--size", "32x32", "--fps", 25, "--pix-fmt", "yuv444p").works()
        assert done.lines[0].startswith("warning: a.yuv: ")
        assert "4:4:4" in done.lines[0]
        encode("a.yuv", "-f", "--size", "32x32", "--fps", 25, "--pix-fmt", "yuv444p", "--strict").fails(3, "--strict")


class TestRefused:
    """One line, the exit code of the contract, nothing left behind."""

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("empty.mp4", b"", "empty file"),
            ("text.mkv", b"hello, world\n" * 30, "not a video"),
            ("zero.y4m", b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n", ""),
            ("cut.mkv", 0.6, "cut short"),
            ("cut.y4m", 0.6, "cut short"),
            ("cut.mp4", 0.6, "cut short"),
        ],
    )
    @staticmethod
    def test_source(
        encode: Call, make_clip: Call, listing: Call, name: str, content: bytes | float, message: str
    ) -> None:
        path = make_clip(name)
        whole = path.read_bytes()
        path.write_bytes(content if isinstance(content, bytes) else whole[: int(len(whole) * content)])
        encode(name).fails(3, f"{name}: ", message)
        assert listing() == {name}

    @staticmethod
    def test_size_that_changes(encode: Call, make_picture: Call, listing: Call) -> None:
        make_picture("1.png", 32, 24), make_picture("2.png", 32, 24), make_picture("3.png", 24, 32)
        encode("%d.png", "-o", "a.nvc", "--fps", 25).fails(3, "%d.png: frame 2 is 24x32, those before it 32x24")
        assert listing() == {"1.png", "2.png", "3.png"}

    @staticmethod
    def test_limits(encode: Call, make_clip: Call, listing: Call) -> None:
        make_clip("a.y4m")
        encode("a.y4m", "--max-frames", 5).fails(7, "--max-frames")
        encode("a.y4m", "--max-pixels", 64 * 48 - 1).fails(7, "64x48", "--max-pixels")
        assert listing() == {"a.y4m"}
        encode("a.y4m", "--max-frames", 6, "--max-pixels", 64 * 48).works()

    @staticmethod
    def test_start_behind_the_end(encode: Call, make_clip: Call, listing: Call) -> None:
        make_clip("a.y4m")
        encode("a.y4m", "--start", 6).fails(2, "--start 6: there are only 6 frames")
        assert listing() == {"a.y4m"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted(
    start: Call, make_clip: Call, tiny_video_model: Path, tmp_path: Path, number: signal.Signals, jobs: int
) -> None:
    """In the middle of a video: exit 130, the old outputs as they were, no temporary file, with workers too."""
    sources = [make_clip(f"{name}.y4m", 400, (96, 64)) for name in "ab"[:jobs]]
    for source in sources:
        source.with_suffix(".nvc").write_bytes(b"old")
    before = {path.name for path in tmp_path.iterdir()}
    process: subprocess.Popen[bytes] = start("encode", "--model", tiny_video_model, "-f", "-j", jobs, *sources)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 300 for path in tmp_path.glob(".*.tmp-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.decode().splitlines() == ["nvc-encode: interrupted"]
    while {path.name for path in tmp_path.iterdir()} != before:  # a worker removes its file on its own
        assert time.monotonic() < deadline, list(tmp_path.iterdir())
        time.sleep(0.02)
    assert all(source.with_suffix(".nvc").read_bytes() == b"old" for source in sources)


def test_progress(encode: Call, make_clip: Call) -> None:
    make_clip("a.y4m")
    shown = encode("a.y4m", "--progress").works().err
    assert re.search(r"a\.y4m  frame 6/6  [\d.]+ fps  \d+ kbit/s  ETA 0:00:00  about [\d,]+ B", shown)
    assert len(encode("a.y4m", "-f").works().lines) == 1


def test_sound_goes_along(encode: Call, call: Call, make_clip: Call, tiny_video_model: Path) -> None:
    """Packets of audio come back byte for byte, at their times; or are left out."""

    def packets(path: str) -> tuple[list[bytes], list[float]]:
        with av.open(path) as container:  # a packet must not outlive its container
            found = [
                (packet.stream.type, bytes(packet), packet.pts * packet.time_base)
                for packet in container.demux()
                if packet.size
            ]
        begin = next(time for kind, _, time in found if kind == "video")
        sound = [(data, float(time - begin)) for kind, data, time in found if kind == "audio"]
        return [data for data, _ in sound], [time for _, time in sound]

    make_clip("a.mkv", 12, audio="aac")
    encode("a.mkv").works()
    call("decode", "a.nvc", "-o", "b.mkv", "--model", tiny_video_model).works()
    before, after = packets("a.mkv"), packets("b.mkv")
    assert after[0] == before[0] != []
    assert after[1] == pytest.approx(before[1], abs=0.0015)  # Matroska's milliseconds
    encode("a.mkv", "-f", "--audio", "drop").works()
    call("decode", "a.nvc", "-o", "b.mkv", "-f", "--model", tiny_video_model).works()
    assert packets("b.mkv") == ([], [])


def test_verify_finds_what_is_wrong(
    encode: Call, make_clip: Call, listing: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that the decoder sees otherwise: nothing is put in place."""
    from nvc.codec import sequence_encoder

    make_clip("a.y4m")
    monkeypatch.setattr(sequence_encoder, "planes_checksum", lambda planes: 7)
    encode("a.y4m", "--verify").fails(1, "a.y4m: the finished file does not decode to what was encoded: frame 0")
    assert listing() == {"a.y4m"}


def test_picture_option_on_a_pipe(run: Call, make_clip: Call, photo: Call, tiny_video_model: Path) -> None:
    """Where the kind shows only once the input is read."""
    source = make_clip("a.y4m").read_bytes()
    run("encode", "-", "--rdoq", "1", stdin=source).fails(2, "--rdoq: for pictures only, and <stdin> is video")
    run("encode", "-", "--gop", "1", stdin=photo().read_bytes()).fails(2, "--gop: for video only, and <stdin> is a pic")


def test_pictures_and_clips_are_told_by_content(encode: Call, make_clip: Call, call: Call, photo: Call) -> None:
    make_clip("a.y4m").rename("film.png")
    assert parsed(encode("film.png").works().lines[-1])["frames"] == "6"
    photo("b.png", of="hall").rename("photo.mp4")
    call("encode", "photo.mp4").works()
    with Image.open("photo.mp4") as picture:
        assert picture.format == "PNG"
