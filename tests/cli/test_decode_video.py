"""nvc-decode of clips: formats, ranges, damage."""

import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from nvc.bitstream.boxes import SIGNATURE, Box, BoxType, read_box, read_first_box, write_box
from nvc.media.frame_digest import planes_md5
from nvc.media.video_reader import RawFormat, open_video

Call = Callable[..., Any]
PERIOD = 4  # frames from I to I in clip.nvc, which has 10


@pytest.fixture
def decode(call: Call, tiny_video_model: Path) -> Call:
    """decode(*arguments): nvc-decode with the tiny model."""
    return lambda *arguments: call("decode", "--model", tiny_video_model, *arguments)


@pytest.fixture
def coded(call: Call, make_clip: Call, tiny_video_model: Path, tmp_path: Path) -> Path:
    """clip.nvc: 10 frames of 64x48 at 25 frames/s, an I frame every 4, with sound."""
    make_clip("source.mkv", 10, audio="aac")
    call("encode", "source.mkv", "--model", tiny_video_model, "-o", "clip.nvc", "--intra-period", PERIOD).works()
    (tmp_path / "source.mkv").unlink()
    return tmp_path / "clip.nvc"


def boxes_of(data: bytes) -> list[Box]:
    """All boxes of a file."""
    stream = io.BytesIO(data)
    box = read_first_box(stream)
    boxes = []
    while box is not None:
        boxes.append(box)
        frames = sum(box.type == BoxType.FRAME for box in boxes)
        box = read_box(stream, box.offset + box.size, index=frames)
    return boxes


def frame_box(data: bytes, number: int) -> Box:
    """The box of a frame, by its coded index."""
    return [box for box in boxes_of(data) if box.type == BoxType.FRAME][number]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def without(data: bytes, box: Box) -> bytes:
    return data[: box.offset] + data[box.offset + box.size :]


def times_of(path: str) -> tuple[list[Fraction], list[Fraction]]:
    """Seconds of frames and of packets of sound, from the first frame on: sound that begins earlier moves both."""
    with av.open(path) as container:
        frames = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        container.seek(0)
        sound = [packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.size]
    return [time - frames[0] for time in frames], [time - frames[0] for time in sound]


def digest(path: str | Path, **options: Any) -> str:
    with open_video(path, audio=False, **options) as reader:
        return planes_md5(frame for frame, _ in reader)


def test_default_is_mkv_with_the_decoded_samples(decode: Call, coded: Path, listing: Call) -> None:
    done = decode("clip.nvc", "--md5").works()
    assert done.out == b""
    assert done.err.startswith("clip.nvc -> clip.mkv  64x48  10 frames  ")
    assert listing() == {"clip.nvc", "clip.mkv"}
    assert done.err.split()[-1] == digest("clip.mkv")
    with av.open("clip.mkv") as container:
        assert container.streams.video[0].codec_context.name == "ffv1"
    assert times_of("clip.mkv")[0] == [Fraction(index, 25) for index in range(10)]


@pytest.mark.parametrize("name", ["a.mkv", "a.y4m", "a.yuv", "out/clip.y4m"])
def test_exact_formats(decode: Call, coded: Path, name: str) -> None:
    target = ["-o", name] if "/" not in name else ["-o", "out/", "--format", "y4m"]
    done = decode("clip.nvc", "--md5", *target).works()
    raw = {"raw": RawFormat(64, 48), "fps": Fraction(25)} if name.endswith(".yuv") else {}
    assert done.lines[-1].split()[-1] == digest(name, **raw)
    assert ("holds no audio" in done.err) == (not name.endswith(".mkv"))


def test_mp4(decode: Call, coded: Path) -> None:
    """Near lossless, for players; sound too."""
    decode("clip.nvc", "-o", "a.mp4").works()
    decode("clip.nvc", "-o", "a.mkv").works()
    with open_video("a.mp4") as lossy, open_video("a.mkv") as exact:
        assert lossy.info.audio is not None
        assert lossy.info.audio.codec == "aac"
        for (a, _), (b, _) in zip(lossy, exact, strict=True):
            assert np.abs(a.y.astype(int) - b.y).mean() < 2


def test_numbered_pictures(decode: Call, coded: Path, listing: Call) -> None:
    decode("clip.nvc", "-o", "p%03d.png").works()
    names = {f"p{number:03}.png" for number in range(1, 11)}
    assert listing() == {"clip.nvc"} | names
    with Image.open("p010.png") as picture:
        assert (picture.size, picture.mode) == ((64, 48), "RGB")
    decode("clip.nvc", "-o", "p%03d.png").fails(4, "p%03d.png: exists; use -f")
    done = decode("clip.nvc", "-o", "p%03d.png", "-f", "--frames", 3).works()
    assert "7 more pictures have names of this pattern" in done.err
    decode("clip.nvc", "--format", "png", "-o", "out/").works()
    assert {name for name in listing() if name.startswith("out")} == {f"out/clip-{n:06}.png" for n in range(1, 11)}


def test_pipes(decode: Call, run: Call, coded: Path, tiny_video_model: Path) -> None:
    decode("clip.nvc", "-o", "a.y4m").works()
    data = coded.read_bytes()
    shared = ("decode", "-", "--format", "y4m", "--model", tiny_video_model)
    assert run(*shared, stdin=data).works().out == Path("a.y4m").read_bytes()
    decode("clip.nvc", "-o", "b.y4m", "--start", 5, "--frames", 2).works()
    assert run(*shared, "--start", 5, "--frames", 2, stdin=data).works().out == Path("b.y4m").read_bytes()
    run("decode", "-", "--format", "ppm", stdin=data).fails(2, "<stdin> is a video, and no ppm is made of one")
    run("decode", "-", "--format", "mp4", stdin=data).fails(2, "a video goes to stdout as mkv, y4m, yuv, not as mp4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "a.ppm"], "clip.nvc is a video, and no ppm is made of one: mkv, mp4, y4m, yuv, png"),
        (["-o", "a.png"], "as png it needs a pattern such as -o frame%04d.png"),
        (["-o", "-", "--format", "png"], "a video goes to stdout as mkv, y4m, yuv, not as png"),
        (["--start", "10"], "--start 10: there are only 10 frames"),
    ],
)
def test_what_a_video_cannot_be(decode: Call, coded: Path, listing: Call, options: list[str], message: str) -> None:
    decode("clip.nvc", *options).fails(2, message)
    assert listing() == {"clip.nvc"}


def test_what_a_picture_cannot_be(call: Call, photo: Call) -> None:
    photo("a.png", of="hall")
    call("encode", "a.png").works()
    call("decode", "a.nvc", "-o", "a.mkv").fails(2, "a.nvc is a picture, and no mkv is made of one")
    call("decode", "a.nvc", "--start", 1, "-f").fails(2, "--start: for video only, and a.nvc is a picture")


@pytest.mark.parametrize(("start", "count"), [(0, 3), (3, 1), (4, 4), (5, 3), (9, 1), (6, 99)])
def test_range(decode: Call, coded: Path, start: int, count: int) -> None:
    """The same frames as of the whole, from time 0 on."""
    decode("clip.nvc", "-o", "all.yuv").works()
    decode("clip.nvc", "-o", "part.mkv", "--start", start, "--frames", count).works()
    size = 64 * 48 * 3 // 2
    Path("part.yuv").write_bytes(Path("all.yuv").read_bytes()[size * start : size * (start + count)])
    assert digest("part.mkv") == digest("part.yuv", raw=RawFormat(64, 48), fps=Fraction(25))
    frames, sound = times_of("part.mkv")
    assert frames == [Fraction(index, 25) for index in range(min(count, 10 - start))]
    assert -0.03 < sound[0] < 0.03
    assert frames[-1] - 0.03 < sound[-1] < frames[-1] + 0.04


def test_range_reads_no_other_segment(decode: Call, coded: Path) -> None:
    """Random access: damage in the segments that are not asked for is not met."""
    data = coded.read_bytes()
    box = frame_box(data, 1)
    coded.write_bytes(flipped(data, box.offset + box.size // 2))
    decode("clip.nvc", "--start", 5, "--frames", 2).works()
    decode("clip.nvc", "--start", 3, "--frames", 2, "-f").fails(6, "frame 1 lost")


def test_json_and_check(decode: Call, coded: Path, listing: Call) -> None:
    record = json.loads(decode("clip.nvc", "--check", "--json", "--md5").works().out)
    assert (record["frames"], record["fps"], record["output"]) == (10, "25/1", None)
    assert listing() == {"clip.nvc"}
    decode("clip.nvc").works()
    assert record["md5"] == digest("clip.mkv")
    assert decode("clip.nvc", "--check").works().err.startswith("clip.nvc: good  64x48  10 frames")


def test_limits(decode: Call, coded: Path, listing: Call) -> None:
    decode("clip.nvc", "--max-frames", 9).fails(7, "--max-frames")
    decode("clip.nvc", "--max-pixels", 64 * 48 - 1).fails(7, "--max-pixels")
    assert listing() == {"clip.nvc"}


def test_unknown_model(call: Call, coded: Path, listing: Call) -> None:
    call("decode", "clip.nvc").fails(6, "which is not installed here")
    assert listing() == {"clip.nvc"}


def forged(data: bytes, number: int) -> bytes:
    """A frame's picture checksum changed, the file sound in every other respect but its end box."""
    box = frame_box(data, number)
    content = flipped(box.data, len(box.data) - 1)
    return data[: box.offset] + write_box(BoxType.FRAME, content, index=number) + data[box.offset + box.size :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], list[int], list[str]]] = {
    # what is done to the file, the frames that are left, what the line says
    "payload": (
        lambda data: flipped(data, frame_box(data, 5).offset + 30),
        [0, 1, 2, 3, 4, 8, 9],
        ["frame 5 lost", "frames 6 to 7 cannot be decoded without what is lost"],
    ),
    "intra frame": (
        lambda data: flipped(data, frame_box(data, 4).offset + 30),
        [0, 1, 2, 3, 8, 9],
        ["frame 4 lost", "frames 5 to 7 cannot be decoded without what is lost"],
    ),
    "wrong picture": (
        lambda data: forged(data, 6),
        [0, 1, 2, 3, 4, 5, 8, 9],
        ["frame 6: the decoded frame is not the encoded one", "frame 7 cannot be decoded without what is lost"],
    ),
    "frame box missing": (
        lambda data: without(data, frame_box(data, 2)),
        [0, 1, 4, 5, 6, 7, 8, 9],
        ["it is frame 3 where 2 is due", "frame 2 lost", "frame 3 cannot be decoded"],
    ),
    "frame box doubled": (
        lambda data: data[: frame_box(data, 3).offset] + data[frame_box(data, 2).offset :],
        list(range(10)),
        ["it is frame 2 where 3 is due"],
    ),
    "index": (
        lambda data: flipped(data, len(data) - 12),
        list(range(10)),
        ["checksum differs"],
    ),
    "cut short": (
        lambda data: data[: frame_box(data, 9).offset + 20],
        list(range(9)),
        ["cut short"],
    ),
    "end missing": (
        lambda data: without(data, boxes_of(data)[-1]),
        list(range(10)),
        ["cut short", "the end box is missing"],
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(decode: Call, coded: Path, listing: Call, name: str) -> None:
    """Exit 6 and no output; with --salvage the frames that are sound, those that are not named, and exit 6."""
    damage, left, said = DAMAGE[name]
    decode("clip.nvc", "-o", "whole.yuv").works()
    size = 64 * 48 * 3 // 2
    whole = Path("whole.yuv").read_bytes()
    coded.write_bytes(damage(coded.read_bytes()))
    Path("whole.yuv").unlink()
    decode("clip.nvc", "-o", "a.yuv").fails(6, "clip.nvc: ", *said)
    decode("clip.nvc", "--check").fails(6, "clip.nvc: ", *said)
    assert listing() == {"clip.nvc"}
    done = decode("clip.nvc", "-o", "a.yuv", "--salvage")
    assert done.code == 6
    error = next(line for line in done.lines if line.startswith("nvc-decode: "))
    assert all(part in error for part in said), error
    assert Path("a.yuv").read_bytes() == b"".join(whole[size * n : size * (n + 1)] for n in left)


def test_salvage_keeps_times(decode: Call, coded: Path) -> None:
    coded.write_bytes(DAMAGE["payload"][0](coded.read_bytes()))
    assert decode("clip.nvc", "-o", "a.mkv", "--salvage").code == 6
    assert [25 * time for time in times_of("a.mkv")[0]] == [0, 1, 2, 3, 4, 8, 9]


def test_salvage_of_a_sound_file(decode: Call, coded: Path, run: Call, tiny_video_model: Path) -> None:
    decode("clip.nvc", "-o", "a.mkv", "--salvage").works()
    piped = run(
        "decode", "-", "-o", "b.mkv", "--salvage", "--model", tiny_video_model, stdin=coded.read_bytes()
    ).works()
    assert "<stdin> -> b.mkv" in piped.err
    assert Path("a.mkv").read_bytes() == Path("b.mkv").read_bytes()


def test_nothing_to_salvage(decode: Call, coded: Path, listing: Call) -> None:
    data = coded.read_bytes()
    for wrong in (b"", SIGNATURE, data[:20], flipped(data, 12), data[: frame_box(data, 0).offset + 9]):
        coded.write_bytes(wrong)
        for options in ([], ["--salvage"]):
            decode("clip.nvc", "-o", "a.mkv", *options).fails(6, "clip.nvc: ")
        assert listing() == {"clip.nvc"}


def test_progress(decode: Call, coded: Path) -> None:
    assert "clip.nvc  frame 10/10  " in decode("clip.nvc", "--progress").works().err
