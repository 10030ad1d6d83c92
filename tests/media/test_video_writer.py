"""Writing video: read back by nvc and by libav alone."""

import gc
import io
import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nvc.errors import OutputError
from nvc.frames import Frame420
from nvc.media.colour import Colour, frame_to_rgb, rgb_to_frame
from nvc.media.frame_digest import planes_md5
from nvc.media.video_reader import RawFormat, VideoInfo, open_video
from nvc.media.video_writer import open_writer, video_format_of, video_formats

PHOTO = np.asarray(Image.open(Path(__file__).parents[1] / "data" / "stair.png").convert("RGB"))
COLOUR = Colour(1, 1, 1, False)


def film(width: int, height: int, count: int = 5) -> list[Frame420]:
    crops = (np.ascontiguousarray(PHOTO[n : n + height, 2 * n : 2 * n + width]) for n in range(count))
    return [rgb_to_frame(crop, 1, False) for crop in crops]


def info_of(width: int, height: int, **more: object) -> VideoInfo:
    return replace(VideoInfo(width, height, Fraction(25), Fraction(1, 1000), COLOUR), **more)  # type: ignore[arg-type]


def written(target: object, format: str, info: VideoInfo, frames: list[Frame420], **options: int) -> tuple[str, ...]:
    step = info.frame_ticks
    with open_writer(target, format, info, **options) as writer:  # type: ignore[arg-type]
        for index, frame in enumerate(frames):
            writer.write(frame, index * step)
    return writer.warnings


@pytest.mark.parametrize("format", ["mkv", "y4m", "yuv"])
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (2, 2), (3, 2), (33, 23), (35, 64), (64, 33), (130, 110)])
def test_pixels_come_back_exactly(format: str, size: tuple[int, int], tmp_path: Path) -> None:
    frames, path = film(*size), tmp_path / f"a.{format}"
    assert written(path, format, info_of(*size), frames) == ()
    raw = RawFormat(*size) if format == "yuv" else None
    with open_video(path, raw=raw) as reader:
        assert planes_md5(frame for frame, _ in reader) == planes_md5(frames)
    stream = io.BytesIO()
    written(stream, format, info_of(*size), frames)
    if format != "mkv":
        assert stream.getvalue() == path.read_bytes()


def test_large_frames_in_slices(tmp_path: Path) -> None:
    """Twelve slices, and bytes that do not depend on the number of threads."""
    tiled = np.tile(PHOTO, (6, 7, 1))
    frames = [rgb_to_frame(np.ascontiguousarray(tiled[n : n + 704, 3 * n : 3 * n + 1024]), 1, False) for n in range(2)]
    for threads in (1, 3):
        written(tmp_path / f"{threads}.mkv", "mkv", info_of(1024, 704), frames, threads=threads)
    with open_video(tmp_path / "3.mkv") as reader:
        assert planes_md5(frame for frame, _ in reader) == planes_md5(frames)
    packets = []
    for threads in (1, 3):
        with av.open(str(tmp_path / f"{threads}.mkv")) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0)])
    assert packets[0] == packets[1]


def test_mp4_is_near_lossless_and_plain(tmp_path: Path) -> None:
    frames, path = film(96, 64), tmp_path / "a.mp4"
    assert written(path, "mp4", info_of(96, 64), frames) == ()
    with open_video(path) as reader:
        for (frame, _), source in zip(reader, frames, strict=True):
            for got, wanted in zip(frame.planes, source.planes, strict=True):
                assert 10 * np.log10(255**2 / np.mean((got.astype(float) - wanted) ** 2)) > 45
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.profile, stream.codec_context.pix_fmt) == ("h264", "High", "yuv420p")


@pytest.mark.parametrize("format", ["mkv", "mp4"])
@pytest.mark.parametrize("colour", [COLOUR, Colour(9, 16, 9, False), Colour(1, 13, 6, True), Colour()])
def test_colour_rate_and_aspect_are_written(format: str, colour: Colour, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format}"
    rate = Fraction(30000, 1001)
    info = info_of(
        64, 48, colour=colour, frame_rate=rate, time_base=Fraction(1001, 30000), pixel_aspect=Fraction(16, 11)
    )
    said = "mkv: the shape of pixels, 16:11, is left out (mp4 and y4m keep it)"
    assert written(path, format, info, film(64, 48)) == ((said,) if format == "mkv" else ())
    with open_video(path) as reader:
        assert reader.info.colour == colour
        assert reader.info.pixel_aspect == (Fraction(16, 11) if format == "mp4" else 1)
        assert float(reader.info.frame_rate) == pytest.approx(float(rate), abs=0.05)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc) == (colour.primaries, colour.transfer)
        assert context.colorspace == colour.matrix
        assert (context.color_range == 2) == colour.full_range


def test_y4m_head(tmp_path: Path) -> None:
    info = info_of(64, 48, frame_rate=Fraction(30000, 1001), colour=Colour(1, 1, 1, True), pixel_aspect=Fraction(4, 3))
    written(tmp_path / "a.y4m", "y4m", info, film(64, 48, 1))
    head = (tmp_path / "a.y4m").read_bytes().split(b"\n")[0]
    assert head == b"YUV4MPEG2 W64 H48 F30000:1001 Ip A4:3 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL"
    with open_video(tmp_path / "a.y4m") as reader:
        assert reader.info.colour.full_range
        assert (reader.info.frame_rate, reader.info.pixel_aspect) == (Fraction(30000, 1001), Fraction(4, 3))


@pytest.mark.parametrize("format", ["mkv", "mp4", "y4m", "png"])
def test_variable_rate(format: str, tmp_path: Path) -> None:
    stamps, frames = [0, 40, 80, 480, 500], film(64, 48)
    target = tmp_path if format == "png" else tmp_path / f"a.{format}"
    with open_writer(target, format, info_of(64, 48)) as writer:
        for frame, pts in zip(frames, stamps, strict=True):
            writer.write(frame, pts)
    if format in ("y4m", "png"):
        assert writer.warnings == (f"{format} keeps no time stamps: frames of variable rate become evenly spaced",)
        return
    assert writer.warnings == ()
    with open_video(target) as reader:
        assert [pts * reader.info.time_base * 1000 for _, pts in reader] == stamps


def test_png_sequence(tmp_path: Path) -> None:
    frames = film(33, 23, 3)
    written(tmp_path, "png", info_of(33, 23), frames)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"frame{number:06d}.png" for number in (1, 2, 3)]
    for name, frame in zip(names, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), frame_to_rgb(frame, 1, False))
    with pytest.raises(OutputError, match=r"frame000001\.png exists"):
        written(tmp_path, "png", info_of(33, 23), frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with pytest.raises(OutputError, match="pattern"):
        open_writer(tmp_path / "one.png", "png", info_of(33, 23))
    with pytest.raises(OutputError, match="no folder"):
        open_writer(tmp_path / "none" / "%d.png", "png", info_of(33, 23))


def test_png_of_wide_gamut_is_tagged(tmp_path: Path) -> None:
    written(tmp_path / "%02d.png", "png", info_of(33, 23, colour=Colour(9, 16, 9, False)), film(33, 23, 1))
    data = (tmp_path / "01.png").read_bytes()
    at = data.index(b"cICP") + 4
    assert data[at : at + 4] == bytes((9, 16, 0, 1))


def test_giving_up(tmp_path: Path) -> None:
    """No picture of a sequence stays; a container is let go."""
    for format, target in (("png", tmp_path / "%d.png"), ("mkv", tmp_path / "a.mkv"), ("mp4", tmp_path / "a.mp4")):
        writer = open_writer(target, format, info_of(64, 48))
        writer.write(film(64, 48, 1)[0], 0)
        writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not list(tmp_path.glob("*.png"))


class Full(io.RawIOBase):
    """A disk with room for some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.room -= len(bytes(data))  # type: ignore[call-overload]
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return len(bytes(data))  # type: ignore[call-overload]


@pytest.mark.parametrize("format", ["mkv", "y4m", "yuv"])
def test_a_full_disk_is_one_line(format: str) -> None:
    with pytest.raises(OutputError, match=r"[Nn]o space left") as caught:
        written(Full(10_000), format, info_of(130, 110), film(130, 110, 5))
    assert "\n" not in str(caught.value)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="odd sizes"):
        open_writer(tmp_path / "a.mp4", "mp4", info_of(63, 48))
    with pytest.raises(OutputError, match="unknown video format 'webm'"):
        open_writer(tmp_path / "a.webm", "webm", info_of(64, 48))
    pipe = io.BytesIO()
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    for format in ("mp4", "png"):
        with pytest.raises(OutputError, match="stream"):
            open_writer(pipe, format, info_of(64, 48))
    with pytest.raises(OutputError, match="no such file"):
        open_writer(tmp_path / "none" / "a.mkv", "mkv", info_of(64, 48))
    frame = film(64, 48, 1)[0]
    with open_writer(tmp_path / "a.y4m", "y4m", info_of(64, 48)) as writer:
        writer.write(frame, 0)
        with pytest.raises(ValueError, match="time stamp"):
            writer.write(frame, 0)
        with pytest.raises(ValueError, match="32x48"):
            writer.write(film(32, 48, 1)[0], 1)


def test_names_of_formats() -> None:
    assert video_format_of(".MKV") == "mkv"
    assert video_format_of(".gif") is None
    assert all(video_format_of(suffixes[0]) == name for name, suffixes in video_formats().items())


def test_the_reader_holds_no_frame_that_it_has_given_away(tmp_path: Path) -> None:
    written(tmp_path / "a.mkv", "mkv", info_of(64, 48), film(64, 48, 20))
    alive = []
    with open_video(tmp_path / "a.mkv") as reader:
        for frame, _ in reader:
            alive.append(weakref.ref(frame.y))
            del frame
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 2
