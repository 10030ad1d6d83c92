"""Reading video: planes as libav decodes them, and one line for everything else."""

import hashlib
import io
import os
import struct
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from nvc.errors import InputError, LimitError, UsageError
from nvc.frames import Frame420
from nvc.media.colour import Colour, rgb_to_frame
from nvc.media.frame_digest import planes_md5
from nvc.media.video_reader import RawFormat, open_video

Clip = Callable[..., Path]
Planes = Callable[[Path], list[list[np.ndarray]]]


def read(source: Any, **options: Any) -> tuple[list[Frame420], list[int], Any]:
    with open_video(source, **options) as reader:
        pairs = list(reader)
    return [frame for frame, _ in pairs], [pts for _, pts in pairs], reader


def assert_same(frames: list[Frame420], planes: list[list[np.ndarray]]) -> None:
    assert len(frames) == len(planes)
    for frame, expected in zip(frames, planes, strict=True):
        for got, wanted in zip(frame.planes, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def piped(data: bytes) -> Any:
    """The reading end of a pipe that somebody fills."""
    out, into = os.pipe()

    def fill() -> None:
        with open(into, "wb") as file:
            try:
                file.write(data)
            except BrokenPipeError:
                return

    threading.Thread(target=fill, daemon=True).start()
    return open(out, "rb")


# ---- planes


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "ffv1", {}),
        ("a.mp4", "libx264", {"bf": "3", "crf": "20"}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.avi", "mpeg4", {}),
        ("a.mov", "libx264", {"crf": "30"}),
        ("a.ts", "mpeg2video", {}),
        ("a.y4m", "rawvideo", {}),
    ],
)
def test_420_is_copied(name: str, codec: str, options: dict[str, str], clip: Clip, libav_planes: Planes) -> None:
    path = clip(name, codec=codec, options=options)
    frames, pts, reader = read(path)
    assert_same(frames, libav_planes(path))
    assert [Fraction(p) * reader.info.time_base for p in pts] == [Fraction(n, 25) for n in range(5)]
    assert reader.info.frame_rate == 25
    assert (reader.info.width, reader.info.height) == (64, 48)
    assert reader.warnings == ()
    joined = b"".join(plane.tobytes() for frame in libav_planes(path) for plane in frame)
    assert planes_md5(frames) == hashlib.md5(joined).hexdigest()


@pytest.mark.parametrize("size", [(33, 23), (1, 1), (2, 2), (35, 48)])
def test_odd_sizes(size: tuple[int, int], clip: Clip, libav_planes: Planes) -> None:
    path = clip("odd.y4m", codec="rawvideo", size=size)
    frames, _, reader = read(path)
    assert_same(frames, libav_planes(path))
    assert (reader.info.width, reader.info.height) == size


def test_full_range_is_not_scaled(clip: Clip, libav_planes: Planes) -> None:
    path = clip("full.mp4", codec="libx264", pix_fmt="yuvj420p", options={"qp": "0"}, colour=(1, 1, 1, 2))
    frames, _, reader = read(path)
    assert_same(frames, libav_planes(path))
    assert reader.info.colour == Colour(1, 1, 1, True)
    assert reader.info.guess == ""
    read(path, strict=True)


def test_the_decoder_gives_the_same_for_any_number_of_threads(clip: Clip) -> None:
    path = clip("a.mp4", codec="libx264", count=12, options={"bf": "3"})
    assert planes_md5(read(path, threads=1)[0]) == planes_md5(read(path, threads=3)[0])


# ---- what is not 8-bit 4:2:0


def stored(path: Path) -> list[np.ndarray]:
    """The first frame's planes, 16 bits where they have more than 8."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        deep = frame.format.components[0].bits > 8
        rows = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size) for p in frame.planes]
        return [
            (row[:, : 2 * p.width].view("<u2") if deep else row[:, : p.width]).astype(int)
            for row, p in zip(rows, frame.planes, strict=True)
        ]


def mean_down(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    padded = np.pad(plane, [(0, -plane.shape[0] % rows), (0, -plane.shape[1] % columns)], mode="edge")
    return padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns).mean(axis=(1, 3))


@pytest.mark.parametrize(
    ("pix_fmt", "rows", "columns", "scale", "said"),
    [
        ("yuv420p10le", 1, 1, 4, "10 bits a sample are reduced to 8"),
        ("yuv422p", 2, 1, 1, "chroma 4:2:2 is resampled to 4:2:0"),
        ("yuv444p", 2, 2, 1, "chroma 4:4:4 is resampled to 4:2:0"),
        ("yuv440p", 1, 2, 1, "chroma 4:4:0 is resampled to 4:2:0"),
        ("yuv422p10le", 2, 1, 4, "10 bits a sample are reduced to 8; chroma 4:2:2 is resampled to 4:2:0"),
        ("yuv444p16le", 2, 2, 256, "16 bits a sample are reduced to 8; chroma 4:4:4 is resampled to 4:2:0"),
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (35, 27)])
def test_other_yuv_is_rounded_once(
    pix_fmt: str, rows: int, columns: int, scale: int, said: str, size: tuple[int, int], clip: Clip
) -> None:
    path = clip("deep.mkv", pix_fmt=pix_fmt, size=size, options={"strict": "-2", "slices": "1"})
    frames, _, reader = read(path)
    y, *chroma = stored(path)
    expected = [y / scale] + [mean_down(plane, rows, columns) / scale for plane in chroma]
    for plane, exact in zip(frames[0].planes, expected, strict=True):
        np.testing.assert_array_equal(plane, np.minimum(np.floor(exact + 0.5), 255))
    assert reader.warnings == (said,)
    with pytest.raises(InputError, match=r"refused by --strict"):
        open_video(path, strict=True)


def test_411_repeats_chroma(clip: Clip) -> None:
    path = clip("dv.mkv", pix_fmt="yuv411p")
    frames, _, _ = read(path)
    _, u, _ = stored(path)
    np.testing.assert_array_equal(frames[0].u, np.floor(mean_down(np.repeat(u, 2, 1), 2, 1) + 0.5))


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "bgr0"), ("libx264rgb", "bgr24"), ("ffv1", "gbrp12le")])
def test_rgb_becomes_709(codec: str, pix_fmt: str, clip: Clip) -> None:
    path = clip("rgb.mkv", codec=codec, pix_fmt=pix_fmt)
    frames, _, reader = read(path)
    with av.open(str(path)) as container:
        rgb = next(container.decode(video=0)).to_ndarray(format="rgb24")
    if pix_fmt == "gbrp12le":
        green, blue, red = stored(path)
        rgb = np.floor(np.stack([red, green, blue], 2) * 255 / 4095 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(frames[0].y, rgb_to_frame(rgb, 1, False).y)
    np.testing.assert_array_equal(frames[0].v, rgb_to_frame(rgb, 1, False).v)
    assert reader.info.colour == Colour(1, 13, 1, False)
    assert "RGB is converted" in reader.warnings[0]
    assert ("12 bits" in reader.warnings[0]) == (pix_fmt == "gbrp12le")


def test_grey_loses_nothing(clip: Clip) -> None:
    path = clip("grey.mkv", pix_fmt="gray")
    frames, _, reader = read(path, strict=True)
    np.testing.assert_array_equal(frames[0].y, stored(path)[0])
    assert (frames[0].u == 128).all()
    assert reader.warnings == ()
    assert reader.info.colour.full_range


def test_alpha_is_dropped_aloud(clip: Clip) -> None:
    _, _, reader = read(clip("alpha.mkv", pix_fmt="yuva420p"))
    assert reader.warnings == ("alpha is dropped",)


def test_colour_tags(clip: Clip) -> None:
    path = clip("hdr.mp4", codec="libx264", pix_fmt="yuv420p10le", colour=(9, 16, 9, 1))
    _, _, reader = read(path)
    assert reader.info.colour == Colour(9, 16, 9, False)
    _, _, plain = read(clip("plain.mp4", codec="libx264"))
    assert plain.info.colour == Colour()
    assert plain.info.guess == "states no colour matrix: taken as BT.601, limited range"


# ---- geometry


@pytest.mark.parametrize(("rotation", "quarters", "orientation"), [(90, 1, 8), (180, 2, 3), (-90, 3, 6)])
def test_frames_are_turned_upright(rotation: int, quarters: int, orientation: int, clip: Clip) -> None:
    """libav's angle is counterclockwise, as np.rot90's."""
    path, plain = clip("turned.mp4", codec="libx264", rotation=rotation), clip("plain.mp4", codec="libx264")
    frames, _, reader = read(path)
    for frame, stored_frame in zip(frames, read(plain)[0], strict=True):
        for plane, as_stored in zip(frame.planes, stored_frame.planes, strict=True):
            np.testing.assert_array_equal(plane, np.rot90(as_stored, quarters))
    assert (reader.info.width, reader.info.height) == ((48, 64) if quarters % 2 else (64, 48))
    assert reader.info.orientation == orientation


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> bytes:
    """An MP4 with the track's display matrix replaced."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44
    a, b, c, d = matrix
    return data[:at] + struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30) + data[at + 36 :]


def test_mirrored(clip: Clip) -> None:
    path = clip("plain.mp4", codec="libx264")
    plain = read(path)[0][0]
    for matrix, expected in (
        ((-1, 0, 0, 1), plain.y[:, ::-1]),
        ((0, 1, 1, 0), plain.y.T),
        ((1, 0, 0, -1), plain.y[::-1]),
    ):
        np.testing.assert_array_equal(read(io.BytesIO(with_matrix(path, matrix)))[0][0].y, expected)
    frames, _, reader = read(io.BytesIO(with_matrix(path, (0, 0, 0, 0))))
    np.testing.assert_array_equal(frames[0].y, plain.y)
    assert reader.warnings == ("its display matrix is no turn by quarters: left as stored",)


def test_pixel_aspect_turns_with_the_frame(clip: Clip) -> None:
    options = {"codec": "libx264", "aspect": Fraction(16, 11)}
    assert read(clip("wide.mp4", **options))[2].info.pixel_aspect == Fraction(16, 11)
    assert read(clip("tall.mp4", rotation=90, **options))[2].info.pixel_aspect == Fraction(11, 16)


def test_interlaced_is_said(clip: Clip) -> None:
    fields = int(av.codec.context.Flags.interlaced_dct)
    path = clip("fields.mpg", codec="mpeg2video", flags=fields)
    data = path.read_bytes()
    # progressive_frame and progressive_sequence off: what FFmpeg looks at
    _, _, reader = read(io.BytesIO(data))
    assert reader.info.interlaced == ("interlaced: coded as the frames are stored" in reader.warnings)
    y4m = clip("fields.y4m", codec="rawvideo").read_bytes().replace(b" Ip ", b" It ", 1)
    _, _, reader = read(io.BytesIO(y4m))
    assert reader.info.interlaced
    assert reader.warnings == ("interlaced: coded as the frames are stored",)


# ---- time


def test_variable_rate_is_kept(clip: Clip) -> None:
    stamps = [3, 4, 9, 10, 30]
    path = clip("vfr.mp4", codec="libx264", pts=stamps, time_base=Fraction(1, 90))
    _, pts, reader = read(path)
    assert [p * reader.info.time_base for p in pts] == [Fraction(stamp - 3, 90) for stamp in stamps]


def test_elementary_streams_get_a_rate(clip: Clip) -> None:
    path = clip("a.h264", codec="libx264", options={"bf": "2"})
    _, pts, reader = read(path)
    assert (pts, reader.info.time_base) == ([0, 1, 2, 3, 4], Fraction(1, 25))
    assert "25 frames a second are assumed" in reader.warnings[0]
    _, _, reader = read(path, fps=Fraction(30000, 1001))
    assert (reader.info.frame_rate, reader.warnings) == (Fraction(30000, 1001), ())
    with pytest.raises(UsageError, match="fps"):
        open_video(clip("a.mkv"), fps=Fraction(30))


def test_start_and_frames(clip: Clip) -> None:
    path = clip("a.mp4", codec="libx264", count=9, options={"bf": "3"})
    everything, times, _ = read(path)
    frames, pts, reader = read(path, start=2, frames=4)
    assert_same(frames, [list(frame.planes) for frame in everything[2:6]])
    assert pts == times[:4]
    assert reader.info.frames == 4
    assert len(read(path, start=7, frames=100)[0]) == 2
    with pytest.raises(UsageError, match="only 9 frames"):
        read(path, start=9)
    with pytest.raises(UsageError):
        open_video(path, frames=0)


def test_limits(clip: Clip) -> None:
    path = clip("a.mp4", codec="libx264")
    with pytest.raises(LimitError, match="5 frames"):
        open_video(path, max_frames=4)
    assert len(read(path, max_frames=4, frames=4)[0]) == 4
    with pytest.raises(LimitError, match="64x48 is 3072 pixels"):
        open_video(path, max_pixels=3071)
    with pytest.raises(LimitError):
        open_video(path.parent / "x", raw=RawFormat(1 << 20, 1 << 20))
    with pytest.raises(LimitError, match="limit of 4"):
        read(piped(clip("a.y4m", codec="rawvideo").read_bytes()), max_frames=4)


# ---- sources


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "ffv1"), ("a.y4m", "rawvideo"), ("a.mp4", "libx264"), ("a.ts", "mpeg2video")]
)
def test_pipes(name: str, codec: str, clip: Clip) -> None:
    """MP4 has its index at the end, so that it is spooled."""
    path = clip(name, codec=codec)
    with piped(path.read_bytes()) as pipe:
        assert planes_md5(read(pipe)[0]) == planes_md5(read(path)[0])
    with path.open("rb") as file:
        assert planes_md5(read(file)[0]) == planes_md5(read(path)[0])


def test_headerless(clip: Clip, tmp_path: Path) -> None:
    frames = read(clip("a.mkv"))[0]
    path = tmp_path / "a.yuv"
    path.write_bytes(b"".join(plane.tobytes() for frame in frames for plane in frame.planes))
    again, _, reader = read(path, raw=RawFormat(64, 48), fps=Fraction(50))
    assert planes_md5(again) == planes_md5(frames)
    assert (reader.info.frames, reader.info.frame_rate) == (5, 50)
    nv12 = read(path, raw=RawFormat(64, 48, "nv12"))[0][1]
    np.testing.assert_array_equal(nv12.u.ravel(), np.concatenate([frames[1].u.ravel(), frames[1].v.ravel()])[0::2])
    with pytest.raises(InputError, match="size"):
        open_video(path)
    with pytest.raises(InputError, match="cut short"):
        read(path, raw=RawFormat(64, 46))
    with pytest.raises(UsageError, match="pixel format"):
        open_video(path, raw=RawFormat(64, 48, "yuv999p"))


def pictures(folder: Path, suffix: str = "png", first: int = 8, count: int = 4) -> list[np.ndarray]:
    """Numbered crops frame08, frame09, frame10, ... of the photograph."""
    photo = Image.open(Path(__file__).parents[1] / "data" / "stair.png").convert("RGB")
    crops = [photo.crop((n, n, n + 40, n + 30)) for n in range(count)]
    for number, crop in enumerate(crops, first):
        crop.save(folder / f"frame{number:02d}.{suffix}")
    return [np.asarray(crop) for crop in crops]


def test_numbered_png(tmp_path: Path) -> None:
    crops = pictures(tmp_path)
    (tmp_path / "frame007.png").write_bytes(b"of another pattern")
    frames, pts, reader = read(tmp_path / "frame%02d.png", fps=Fraction(30))
    assert planes_md5(frames) == planes_md5(rgb_to_frame(crop, 1, False) for crop in crops)
    assert (pts, reader.info.frames, reader.info.time_base) == ([0, 1, 2, 3], 4, Fraction(1, 30))
    assert planes_md5(read(str(tmp_path / "frame%02d.png"), start=1, frames=2)[0]) == planes_md5(frames[1:3])


def test_numbered_jpeg_is_not_decoded_to_rgb(tmp_path: Path, libav_planes: Planes) -> None:
    pictures(tmp_path, "jpg", first=0)
    frames, _, reader = read(tmp_path / "frame%02d.jpg")
    assert_same(frames[:1], libav_planes(tmp_path / "frame00.jpg"))
    assert reader.info.colour.full_range
    assert all("RGB" not in line for line in reader.warnings)


def test_sequences_that_are_not_whole(tmp_path: Path) -> None:
    pictures(tmp_path)
    pattern = tmp_path / "frame%02d.png"
    path = tmp_path / "frame10.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"frame10\.png"):
        read(pattern)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"frame10\.png"):
        read(pattern)
    Image.new("RGB", (41, 30)).save(path)
    with pytest.raises(InputError, match="frame 2 is 41x30"):
        read(pattern)
    path.unlink()
    with pytest.raises(InputError, match=r"frame09\.png is not followed by number 10 but by frame11\.png"):
        open_video(pattern)
    with pytest.raises(InputError, match="no file has a name of this pattern"):
        open_video(tmp_path / "other%02d.png")


def test_of_two_video_tracks_the_first_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        for width in (32, 64):
            stream = container.add_stream("ffv1", rate=25)
            stream.codec_context.width, stream.codec_context.height = width, 48
        for stream in container.streams.video:
            frame = av.VideoFrame(stream.codec_context.width, 48, "yuv420p")
            frame.pts = 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    _, _, reader = read(path)
    assert reader.info.width == 32
    assert reader.warnings == ("2 video tracks: only track 1 is coded",)


# ---- refused


@pytest.mark.parametrize("where", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "ffv1"), ("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.y4m", "rawvideo")]
)
@pytest.mark.parametrize("pipe", [False, True])
def test_cut_files(name: str, codec: str, where: float, pipe: bool, clip: Clip) -> None:
    data = clip(name, codec=codec, count=12).read_bytes()
    cut = data[: int(where * len(data))]
    with pytest.raises(InputError) as caught, piped(cut) if pipe else io.BytesIO(cut) as source:
        read(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.mp4", "libx264")])
def test_a_damaged_frame_is_refused(name: str, codec: str, threads: int, clip: Clip) -> None:
    """Noise in a frame in the middle: the frames before it come, as many on any machine, then one line."""
    path = clip(name, codec=codec, count=12)
    with av.open(str(path)) as container:
        packets = [(packet.size, packet.pos) for packet in container.demux(video=0) if packet.size]
    size, begin = max(packets[3:])  # the largest, for noise in what is next to nothing may go unseen
    data = bytearray(path.read_bytes())
    data[begin + 8 : begin + size] = np.random.default_rng(1).bytes(size - 8)
    given: list[Any] = []
    with open_video(io.BytesIO(bytes(data)), threads=threads) as reader, pytest.raises(InputError) as caught:
        given.extend(frame for frame in reader)
    assert "\n" not in str(caught.value)
    assert 0 < len(given) < 12
    assert f"damaged after {len(given)} frames" in str(caught.value)


def test_a_change_of_size_is_refused(clip: Clip) -> None:
    both = clip("a.h264", codec="libx264").read_bytes() + clip("b.h264", codec="libx264", size=(32, 32)).read_bytes()
    with pytest.raises(InputError, match="frame 5 is 32x32, those before it 64x48"):
        read(io.BytesIO(both))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty file"),
        (b"some text, not a video\n" * 20, "not a video"),
        (b"\x1aE\xdf\xa3" + bytes(200), "not a video"),
        (b"YUV4MPEG2 W4000000000 H2 F25:1\nFRAME\n" + bytes(99), "not a video"),
        (b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420jpeg\n", "no"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
    ],
)
def test_no_video(data: bytes, said: str) -> None:
    for source in (io.BytesIO(data), piped(data)):
        with pytest.raises(InputError, match=said) as caught:
            read(source)
        assert "\n" not in str(caught.value)


def test_pictures_and_animations_are_no_video(tmp_path: Path) -> None:
    photo = Image.open(Path(__file__).parents[1] / "data" / "stair.png").convert("RGB")
    for name, options in {"a.png": {}, "a.jpg": {}, "a.bmp": {}}.items():
        photo.save(tmp_path / name, **options)
        with pytest.raises(InputError, match="a picture, not a video"):
            open_video(tmp_path / name)
    for name in ("a.gif", "b.png"):
        photo.save(tmp_path / name, save_all=True, append_images=[photo.rotate(90)])
        with pytest.raises(InputError, match="animated"):
            open_video(tmp_path / name)


def test_names(clip: Clip, tmp_path: Path) -> None:
    """A name is a name: no protocol, no pattern where a file has it."""
    for name in ("-a.mkv", "concat:a|b.mkv", "frame%d.mkv", "ü 1.mkv"):
        path = clip("a.mkv").rename(tmp_path / name)
        assert len(read(path)[0]) == 5
    with pytest.raises(InputError, match="no such file"):
        open_video(tmp_path / "missing.mkv")
    with pytest.raises(InputError, match="pattern"):
        open_video(tmp_path)
