"""nvc-info on files made box by box, which need no codec."""

import io
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nvc.bitstream.boxes import BoxType, read_boxes, write_box
from nvc.bitstream.container import Frame, FrameType, write_picture_file
from nvc.bitstream.header import Header, VideoParameters
from nvc.bitstream.video_boxes import AudioStream
from nvc.bitstream.video_writer import VideoWriter
from nvc.cli import common, info
from nvc.cli.files import Item

ROOT = Path(__file__).parents[2]
KEYS = [
    *("path", "bytes", "format", "codec", "model", "model_id", "width", "height", "frames", "fps", "colour"),
    *("alpha", "quality", "bpp", "parts", "checksums"),
]


def picture_file(**changes: Any) -> bytes:
    """A valid file with a payload that is none."""
    fields = {"codec": 1, "model_id": b"\xde\xad\xbe\xef", "quality_code": 14336, "width": 40, "height": 30}
    extra = {name: changes.pop(name) for name in ("alpha", "icc", "exif", "xmp", "cicp") if name in changes}
    return write_picture_file(Header(**(fields | changes)), Frame(bytes(64), 0x0BADCAFE), **extra)  # type: ignore[arg-type]


def with_box(kind: BoxType, name: str) -> bytes:
    """The file with one more box after its header."""
    end = 4 + next(read_boxes(io.BytesIO(picture_file()))).size
    return picture_file()[:end] + write_box(kind, b"x", name) + picture_file()[end:]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_line_and_json(run: Callable[..., Any]) -> None:
    data = picture_file(alpha=np.full((30, 40), 9, np.uint8), exif=b"Exif", icc=b"profile")
    Path("a b é.nvc").write_bytes(data)
    line = run("info", "a b é.nvc").works()
    bpp = 8 * len(data) / 1200
    assert line.err == ""
    assert line.out.decode() == (
        "a b é.nvc  40x30  rgb+alpha  image not installed (deadbeef)  q 4.5  "
        f"{len(data)} B  {bpp:.3f} bpp  ICCP, EXIF\n"
    )
    record = json.loads(run("info", "--json", "a b é.nvc").works().out)
    assert set(KEYS) <= set(record)
    assert record["path"] == "a b é.nvc"
    assert (record["width"], record["height"], record["frames"], record["fps"]) == (40, 30, 1, None)
    assert (record["codec"], record["model"], record["model_id"]) == ("image", None, "deadbeef")
    assert (record["colour"], record["alpha"], record["quality"], record["format"]) == ("rgb", True, 4.5, 0)
    assert record["bpp"] == pytest.approx(bpp)
    assert sum(record["parts"].values()) == record["bytes"] == len(data)
    assert {"header", "frames", "metadata", "overhead"} <= set(record["parts"])
    assert record["checksums"]["picture"] == "0badcafe"


def test_many_streams_and_folders(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("in/a.nvc", "in/sub/b.nvc", "in/c.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(picture_file(grey=True))
    assert common.run(info.command, ["in", "--json"]) == 0
    out, err = capfdbinary.readouterr()
    assert [json.loads(line)["path"] for line in out.splitlines()] == ["in/a.nvc", "in/sub/b.nvc"]
    assert {json.loads(line)["colour"] for line in out.splitlines()} == {"grey"}
    assert err == b"warning: in: 1 file left out, by their names of another kind\n"


def test_stdin_and_quiet(run: Callable[..., Any]) -> None:
    assert run("info", "-", stdin=picture_file()).works().out.startswith(b"<stdin>  40x30  rgb  image")
    quiet = run("info", "-", "--quiet", stdin=picture_file()).works()
    assert (quiet.out, quiet.err) == (b"", "")
    run("info", "-", "--quiet", stdin=picture_file()[:-1]).fails(6, "<stdin>: ", "cut short")


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", 6, "empty file"),
        (b"\x89PNG\r\n\x1a\n", 6, "not a .nvc file"),
        (b"NVC\x05" + picture_file()[4:], 6, "format number 5"),
        (picture_file()[:20], 6, "cut short"),
        (picture_file()[:-6] + b"\0" + picture_file()[-5:], 6, "checksum differs"),
        (picture_file() + b"more", 6, "byte"),
        (picture_file(width=1 << 15, height=1 << 15), 7, "--max-pixels"),
        (with_box(BoxType.CRITICAL, "GIMP"), 6, "'GIMP' box at byte 18: unknown to this nvc"),
    ],
    ids=["empty", "png", "version", "cut", "flipped", "trailing", "huge", "critical"],
)
def test_bad_file(data: bytes, code: int, message: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Path("a.nvc").write_bytes(data)
    assert common.run(info.command, ["a.nvc"]) == code
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.decode().startswith("nvc-info: a.nvc: ")
    assert message in err.decode()
    assert err.count(b"\n") == 1


def test_unknown_ancillary_box_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.nvc").write_bytes(with_box(BoxType.ANCILLARY, "MINE"))
    assert common.run(info.command, ["a.nvc"]) == 0
    assert capfd.readouterr().out.endswith("bpp  MINE\n")


def test_goes_on_and_ends_with_the_worst(capfd: pytest.CaptureFixture[str]) -> None:
    Path("good.nvc").write_bytes(picture_file())
    Path("bad.nvc").write_bytes(b"")
    names = ["missing.nvc", "bad.nvc", "good.nvc"]
    assert common.run(info.command, [*names, "--json"]) == 6
    out, err = capfd.readouterr()
    missing, bad, good = (json.loads(line) for line in out.splitlines())
    assert (missing["exit_code"], bad["exit_code"], good["bytes"]) == (3, 6, len(picture_file()))
    assert len(err.splitlines()) == 2
    assert common.run(info.command, [*names, "--fail-fast"]) == 3
    assert capfd.readouterr().err.count("\n") == 1


def test_memory_error_is_exit_7(run: Callable[..., Any]) -> None:
    """A file larger than the memory that the process may have (a sparse one: no disk is used)."""
    resource = pytest.importorskip("resource")
    with open("a.nvc", "wb") as file:
        file.truncate(1 << 30)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))

    run("info", "a.nvc", "--max-pixels", 1 << 30, preexec_fn=limit).fails(7, "a.nvc: out of memory")


def test_stdout_that_is_full_or_closed(run: Callable[..., Any]) -> None:
    Path("a.nvc").write_bytes(picture_file())
    for option in ([], ["--json"]):
        with open("/dev/full", "wb") as full:
            run("info", "a.nvc", *option, stdout=full).fails(4, "No space left")
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as pipe:
            run("info", "a.nvc", *option, stdout=pipe).fails(4, "Broken pipe")


def test_closed_streams_do_not_matter_until_they_are_needed(run: Callable[..., Any]) -> None:
    Path("a.nvc").write_bytes(picture_file())
    run("info", "a.nvc", preexec_fn=lambda: os.close(1)).fails(4, "it is closed")
    run("info", "-", preexec_fn=lambda: os.close(0)).fails(3, "it is closed")
    assert run("info", "missing.nvc", preexec_fn=lambda: os.close(2)).code == 3


def test_models(run: Callable[..., Any]) -> None:
    from nvc.codec import models

    listed = run("info", "--models").works().out.decode().splitlines()
    assert [line.split("  ")[:2] for line in listed] == [[info.name, info.id] for info in models.installed()]
    records = [json.loads(line) for line in run("info", "--models", "--json").works().out.splitlines()]
    assert [record["id"] for record in records] == [info.id for info in models.installed()]


def test_loads_no_torch(python: Callable[[str], str]) -> None:
    Path("a.nvc").write_bytes(picture_file())
    printed = python(
        "import sys; from nvc.cli import common, info; assert common.run(info.command, ['a.nvc']) == 0; "
        "print({'torch', 'numba', 'PIL', 'imageio', 'av'} & set(sys.modules))"
    )
    assert printed.splitlines()[-1] == "set()"


# ---- video


def video_file(frames: int = 4, times: tuple[int, ...] = ()) -> bytes:
    """A valid video of 40x30 at 25 frames/s with payloads that are none, an I frame every third, and an audio track."""
    stream = io.BytesIO()
    header = Header(2, b"\xde\xad\xbe\xef", 14336, 40, 30, video=VideoParameters(1, 1000, 40, intra_period=3))
    writer = VideoWriter(stream, header)
    writer.audio_stream(AudioStream(0, 1, 48000, 48000, 2, "opus", "stereo", b""))
    for index in range(frames):
        kind = FrameType.P if index % 3 else FrameType.I
        writer.frame(kind, bytes(12), 0, display=index, time=times[index] if times else None)
    writer.finish()
    return stream.getvalue()


def test_video_line_and_json(run: Callable[..., Any]) -> None:
    data = video_file()
    Path("clip.nvc").write_bytes(data)
    bpp, rate = 8 * len(data) / 4800, 8 * len(data) / 160
    said = run("info", "clip.nvc").works()
    assert (said.err, said.out.decode()) == (
        "",
        f"clip.nvc  40x30  25 fps  4 frames (I 2 P 2)  0.16 s  {rate:.1f} kbit/s  audio opus 48000 Hz  "
        f"ssf not installed (deadbeef)  q 4.5  {len(data)} B  {bpp:.3f} bpp\n",
    )
    record = json.loads(run("info", "--json", "clip.nvc").works().out)
    assert set(KEYS) <= set(record)
    assert (record["codec"], record["model"], record["frames"], record["fps"]) == ("ssf", None, 4, "25/1")
    assert sum(record["parts"].values()) == record["bytes"] == len(data)
    assert json.loads(run("info", "--json", "-", stdin=data).works().out) == record | {"path": "-"}


def test_video_of_uneven_times_tells_its_mean_rate(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.nvc").write_bytes(video_file(times=(0, 50, 80, 120)))
    assert common.run(info.command, ["a.nvc"]) == 0
    assert "  ~25 fps  " in capfd.readouterr().out


@pytest.mark.parametrize(
    ("data", "options", "code", "message"),
    [
        (video_file()[:-1], [], 6, "cut short"),
        (video_file()[:9], [], 6, "cut short"),
        (video_file()[:70] + b"\xff" + video_file()[71:], [], 6, "damaged"),
        (video_file(), ["--max-frames", "3"], 7, "--max-frames"),
        (video_file(), ["--max-pixels", "1199"], 7, "--max-pixels"),
        (video_file(), ["--per-frame"], 6, "deadbeef"),
    ],
    ids=["cut", "headless", "flipped", "long", "huge", "no model"],
)
def test_bad_video(
    data: bytes, options: list[str], code: int, message: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("a.nvc").write_bytes(data)
    assert common.run(info.command, [*options, "a.nvc"]) == code
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.decode().startswith("nvc-info: a.nvc: ")
    assert message in err.decode()
    assert err.count(b"\n") == 1


def test_bits_of_every_frame(tiny_video_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a frame's parts take is what its payload has, but for the end of the stream."""
    from nvc.codec import models
    from nvc.codec.sequence_encoder import SequenceEncoder, SequenceSettings
    from nvc.codec.video_model import VideoModel
    from nvc.media.colour import rgb_to_frame
    from nvc.media.video_info import VideoInfo

    photo = np.asarray(Image.open(ROOT / "tests" / "data" / "sign.png").convert("RGB"))
    model = VideoModel(tiny_video_model)
    monkeypatch.setattr(models, "installed", lambda: (model.info,))
    with open("a.nvc", "wb") as file:
        about = VideoInfo(96, 64, Fraction(25), Fraction(1, 25))
        encoder = SequenceEncoder(file, model, about, 4.0, SequenceSettings())
        for t in range(3):
            list(encoder.push(rgb_to_frame(photo[40:104, 50 + 2 * t : 146 + 2 * t], 6, False), t))
        list(encoder.finish())
    question = info.Question(True, 1 << 20, 10)
    done = info.describe_file(question, Item("a.nvc", None))
    frames: Any = done.record["per_frame"]
    assert [(frame["frame"], frame["type"]) for frame in frames] == [(0, "I"), (1, "P"), (2, "P")]
    assert [list(frame["bits"]) for frame in frames] == [["intra"], *2 * [["motion", "residual"]]]
    parts: Any = done.record["parts"]
    for frame in frames:
        inside = sum(sum(bits.values()) for bits in frame["bits"].values()) / 8
        assert 4 + 5 + 1 <= frame["bytes"] - inside <= 8 + 12  # the coder's end; box, type and checksum
        assert all(set(bits) >= {"side", "main"} for bits in frame["bits"].values())
    assert sum(frame["bytes"] for frame in frames) < parts["frames"] + 12 * 3
    assert len(done.product) == 4
    assert done.product[1].startswith("  frame 0  I  ")


def test_video_loads_no_torch(python: Callable[[str], str]) -> None:
    Path("a.nvc").write_bytes(video_file())
    printed = python(
        "import sys; from nvc.cli import common, info; assert common.run(info.command, ['a.nvc']) == 0; "
        "print({'torch', 'numba', 'PIL', 'imageio', 'av'} & set(sys.modules))"
    )
    assert printed.splitlines()[-1] == "set()"
