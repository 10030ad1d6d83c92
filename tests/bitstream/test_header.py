"""The header box: exact bytes, every range, every lie."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.boxes import BoxType, write_box
from nvc.bitstream.header import MAX_INT, MAX_SIDE, Header, Kind, VideoParameters, quality_code, read_header, sniff_kind
from nvc.errors import BadStream, LimitError

ID = b"\x0a\x0b\x0c\x0d"

videos = st.builds(
    VideoParameters,
    time_num=st.integers(1, MAX_INT),
    time_den=st.integers(1, MAX_INT),
    frame_duration=st.integers(1, 1 << 28),
    aspect_num=st.integers(1, 65535),
    aspect_den=st.integers(1, 65535),
    primaries=st.integers(0, 255),
    transfer=st.integers(0, 255),
    matrix=st.integers(1, 255),
    full_range=st.booleans(),
    gop_log2=st.integers(0, 5),
    low_latency=st.booleans(),
    intra_period=st.integers(0, MAX_INT),
)
pictures = st.builds(
    Header,
    codec=st.integers(1, 15),
    model_id=st.binary(min_size=4, max_size=4),
    quality_code=st.integers(0, 28671),
    width=st.integers(1, MAX_SIDE),
    height=st.integers(1, MAX_SIDE),
    table_set=st.integers(0, 1),
    grey=st.booleans(),
)
headers = pictures | st.builds(
    lambda header, video: replace(header, video=video, grey=False, table_set=0), pictures, videos
)


def test_exact_bytes() -> None:
    header = Header(1, ID, quality_code(1.0), 1, 1, grey=True)
    assert header.write().hex() == "21" + "0a0b0c0d" + "0000" + "00" + "00"
    header = Header(2, ID, quality_code(8.0), MAX_SIDE, 129)
    assert header.write().hex() == "02" + "0a0b0c0d" + "0070" + "ffffff07" + "8001"


def test_exact_bytes_of_video() -> None:
    video = VideoParameters(1001, 60000, 2, 64, 45, 1, 13, 6, True, 3, False, 32)
    header = Header(2, ID, quality_code(8.0), 1920, 1080, video=video)
    assert header.write().hex() == (
        "120a0b0c0d0070ff0eb708" + "e907" + "e0d403" + "02" + "40" + "2d" + "010d06" + "07" + "20"
    )
    assert (header.kind, video.fps, video.gop) == (Kind.VIDEO, Fraction(30000, 1001), 8)
    assert replace(video, low_latency=True).gop == 1
    assert replace(video, low_latency=True).fps == 1 / (video.time_base * 2)


@given(headers)
def test_round_trip(header: Header) -> None:
    content = header.write()
    assert read_header(content, max_pixels=1 << 48) == header
    assert len(content) <= (15 if header.video is None else 15 + 29)


@pytest.mark.parametrize(("quality", "code"), [(1.0, 0), (1.5, 2048), (4.50001, 14336), (8.0, 28672)])
def test_quality_grid(quality: float, code: int) -> None:
    assert quality_code(quality) == code
    assert Header(1, ID, code, 1, 1).quality == 1 + code / 4096


@pytest.mark.parametrize("quality", [0.999, 8.001, float("nan")])
def test_quality_range(quality: float) -> None:
    with pytest.raises(ValueError, match="quality"):
        quality_code(quality)


@pytest.mark.parametrize(
    ("quality", "table_set", "level"), [(1.0, 0, 1), (4.99, 0, 4), (4.0, 1, 5), (8.0, 0, 8), (7.5, 1, 8)]
)
def test_table_level(quality: float, table_set: int, level: int) -> None:
    assert Header(1, ID, quality_code(quality), 1, 1, table_set).table_level == level


def test_shape() -> None:
    assert Header(1, ID, 0, 5, 3).shape == (3, 5, 3)
    assert Header(1, ID, 0, 5, 3, grey=True).shape == (3, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("000a0b0c0d00000000", "header: codec 0 outside 1..15"),
        ("410a0b0c0d00000000", "header: reserved 1 outside 0..0"),
        ("810a0b0c0d00000000", "header: reserved 2 outside 0..0"),
        ("010a0b0c0d01700000", "header: quality_code 28673 outside 0..28672"),
        ("010a0b0c0d00f00000", "header: table_set 1 at quality 8: there is no level 9"),
        ("010a0b0c0d00008080800800", "header: width 16777217 outside 1..16777216"),
        ("010a0b0c0d0000008000", "header: height: number not in its shortest form"),
        ("010a0b0c0d0000000000", "header: 1 bytes too many"),
        ("010a0b0c0d000000", "header: height: cut short"),
        ("010a0b0c0d00", "header: quality_code: cut short"),
        ("010a0b", "header: model_id: cut short"),
        ("", "header: codec: cut short"),
    ],
)
def test_refused(content: str, message: str) -> None:
    with pytest.raises(BadStream) as got:
        read_header(bytes.fromhex(content))
    assert str(got.value) == message


VIDEO = "120a0b0c0d00000000"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (VIDEO, "header: time_num: cut short"),
        (VIDEO + "00", "header: time_num 0 outside 1..2147483647"),
        (VIDEO + "0100", "header: time_den 0 outside 1..2147483647"),
        (VIDEO + "018080808008", "header: time_den 2147483648 outside 1..2147483647"),
        (VIDEO + "011900", "header: frame_duration 0 outside 1..268435456"),
        (VIDEO + "0119010001", "header: aspect_num 0 outside 1..65535"),
        (VIDEO + "0119010101020200", "header: matrix 0 outside 1..255"),
        (VIDEO + "011901010102020206" + "0c00", "header: 1 bytes too many"),
        (VIDEO + "01190101010202020c", "header: gop_log2 6 outside 0..5"),
        (VIDEO + "011901010102020220", "header: reserved 1 outside 0..0"),
        (VIDEO + "011901010102020202", "header: intra_period: cut short"),
        ("32" + VIDEO[2:] + "01190101010202020000", "header: grey and table_set are 0 in a video"),
        ("120a0b0c0d00800000" + "01190101010202020000", "header: grey and table_set are 0 in a video"),
    ],
)
def test_video_refused(content: str, message: str) -> None:
    with pytest.raises(BadStream) as got:
        read_header(bytes.fromhex(content))
    assert str(got.value) == message


def test_sniff_kind() -> None:
    video = VideoParameters(1, 25)
    for header in (Header(1, ID, 0, 1, 1), Header(2, ID, 0, MAX_SIDE, MAX_SIDE, video=video)):
        first = write_box(BoxType.HEADER, header.write(), first=True)
        assert sniff_kind(first[:10]) == header.kind
    for wrong in (b"", b"NVC", first[:4], first[:5], b"PNG......."):
        with pytest.raises(BadStream):
            sniff_kind(wrong)


def test_pixel_limit() -> None:
    content = Header(1, ID, 0, 1 << 14, (1 << 14) + 1).write()
    with pytest.raises(LimitError, match=r"16384x16385 is 268451840 pixels, more than the limit of 268435456"):
        read_header(content)
    assert read_header(content, max_pixels=1 << 29).height == (1 << 14) + 1


@pytest.mark.parametrize(
    "wrong", [{"codec": 16}, {"model_id": b"abc"}, {"quality_code": -1}, {"width": 0}, {"table_set": 2}]
)
def test_constructor_refuses(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"codec": 1, "model_id": ID, "quality_code": 0, "width": 1, "height": 1}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Header(**(good | wrong))  # type: ignore[arg-type]


def test_rows_list_every_field_once() -> None:
    names = [name for name, _, _ in Header(1, ID, 0, 1, 1).rows()]
    assert names == ["codec", "kind", "grey", "model_id", "quality_code", "table_set", "width", "height"]
    video = [name for name, _, _ in Header(1, ID, 0, 1, 1, video=VideoParameters(1, 25)).rows()]
    assert video[: len(names)] == names
    assert video[len(names) :] == list(VideoParameters.__dataclass_fields__)


@pytest.mark.parametrize("wrong", [{"time_num": 0}, {"gop_log2": 6}, {"matrix": 0}, {"intra_period": -1}])
def test_video_parameters_refuse(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VideoParameters(**({"time_num": 1, "time_den": 25} | wrong))
