"""Whole picture files: round trips, sizes, and every truncation, bit flip and lie refused in one line."""

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvc.bitstream.boxes import BoxType, write_box, write_varint
from nvc.bitstream.container import (
    AlphaFilter,
    Frame,
    decode_alpha,
    encode_alpha,
    picture_checksum,
    read_picture_file,
    summary,
    write_picture_file,
)
from nvc.bitstream.header import Header, VideoParameters
from nvc.errors import BadStream, LimitError, NvcError

HEADER = Header(1, b"\xa1\xb2\xc3\xd4", 4096, 33, 21)
PAYLOAD = bytes(range(32))
FRAME = Frame(PAYLOAD, 0xDEADBEEF)
RAMP = (np.add.outer(np.arange(21), np.arange(33)) * 5 % 256).astype(np.uint8)
FULL = write_picture_file(
    HEADER, FRAME, alpha=RAMP, icc=b"profile" * 40, cicp=b"\x09\x10\x00\x01", exif=b"II*\0" + bytes(60), xmp=b"<x/>"
)


def _header() -> bytes:
    return write_box(BoxType.HEADER, HEADER.write(), first=True)


def _frame(content: bytes = b"\0" + PAYLOAD + bytes(4)) -> bytes:
    return write_box(BoxType.FRAME, content)


def _refusal(data: bytes) -> str:
    with pytest.raises(BadStream) as got:
        read_picture_file(data)
    message = str(got.value)
    assert "\n" not in message
    return message


def test_everything_comes_back() -> None:
    file = read_picture_file(FULL)
    assert (file.header, file.frame) == (HEADER, FRAME)
    assert (file.icc, file.cicp, file.exif, file.xmp) == (
        b"profile" * 40,
        b"\x09\x10\x00\x01",
        b"II*\0" + bytes(60),
        b"<x/>",
    )
    assert file.alpha is not None
    np.testing.assert_array_equal(file.alpha, RAMP)
    assert file.unknown == ()


def test_absent_parts_are_none_and_empty_ones_are_not() -> None:
    file = read_picture_file(write_picture_file(HEADER, FRAME, xmp=b""))
    assert (file.alpha, file.icc, file.cicp, file.exif, file.xmp) == (None, None, None, None, b"")


def test_sizes_sum_to_the_file() -> None:
    plain = write_picture_file(HEADER, FRAME)
    assert read_picture_file(plain).sizes == {
        "header": 4 + 9,
        "frames": 32,
        "alpha": 0,
        "metadata": 0,
        "overhead": 1 + 4 + 2 + 1 + 4 + 4,
    }
    for data in (plain, FULL):
        assert sum(read_picture_file(data).sizes.values()) == len(data)


def test_every_truncation_is_refused() -> None:
    for length in range(len(FULL)):
        assert _refusal(FULL[:length])


def test_every_bit_flip_is_refused() -> None:
    data = bytearray(FULL)
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            assert _refusal(bytes(data))
            data[position] ^= 1 << bit


@given(st.binary(max_size=200), st.booleans())
def test_noise_never_raises_anything_else(noise: bytes, after_header: bool) -> None:
    with pytest.raises(NvcError):
        read_picture_file((_header() if after_header else b"NVC\0") + noise)


@given(st.binary(max_size=60), st.sampled_from(["ICCP", "CICP", "EXIF", "XMP ", "ALPH"]))
def test_noise_in_a_known_box(noise: bytes, name: str) -> None:
    """Right CRCs around wrong contents: what a hostile file would do."""
    kind = BoxType.CRITICAL if name == "ALPH" else BoxType.ANCILLARY
    with pytest.raises(BadStream):
        read_picture_file(_header() + write_box(kind, noise, name) + _frame())


def _meta(length: int, raw: bytes, name: str = "XMP ") -> bytes:
    return write_box(BoxType.ANCILLARY, write_varint(length) + zlib.compress(raw), name)


_ALPHA = encode_alpha(RAMP, HEADER)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"NVC\0", "cut short: the header box is missing"),
        (write_box(BoxType.FRAME, b"", first=True), "frame box at byte 4: the first box must be the header"),
        (_header(), "cut short: the frame box is missing"),
        (_header() + write_box(BoxType.HEADER, HEADER.write()), "header box at byte 18: a second header"),
        (_header() + _frame() + _frame(), "frame box at byte 61: nothing may follow the frame of a picture"),
        (_header() + _frame() + b"\0", "cut short: the header box at byte 61 lacks its last 4 bytes"),
        (
            _header() + write_box(BoxType.CRITICAL, b"", "WARP") + _frame(),
            "'WARP' box at byte 18: unknown to this nvc and needed for decoding; a newer nvc may read the file",
        ),
        (_header() + 2 * _meta(3, b"abc"), "'XMP ' box at byte 39: a second one"),
        (
            _header() + 2 * write_box(BoxType.CRITICAL, _ALPHA, "ALPH"),
            f"'ALPH' box at byte {18 + 10 + len(_ALPHA)}: a second one",
        ),
        (
            _header() + _meta(2, b"abc"),
            "'XMP ' box at byte 18: the zlib stream does not hold exactly the 2 bytes claimed",
        ),
        (
            _header() + _meta(4, b"abc"),
            "'XMP ' box at byte 18: the zlib stream does not hold exactly the 4 bytes claimed",
        ),
        (
            _header() + _meta((1 << 26) + 1, b"abc"),
            "'XMP ' box at byte 18: 'XMP ' of 67108865 bytes, more than 67108864",
        ),
        (_header() + _meta(3, b"abc", "CICP"), "'CICP' box at byte 18: 'CICP' of 3 bytes instead of 4"),
        (
            _header() + write_box(BoxType.ANCILLARY, b"\x03" + zlib.compress(b"abc")[:-1], "EXIF"),
            "'EXIF' box at byte 18: the zlib stream does not hold exactly the 3 bytes claimed",
        ),
        (
            _header() + write_box(BoxType.ANCILLARY, b"\x03" + zlib.compress(b"abc") + b"!", "EXIF"),
            "'EXIF' box at byte 18: the zlib stream does not hold exactly the 3 bytes claimed",
        ),
        (
            _header() + write_box(BoxType.ANCILLARY, b"\x03abc", "EXIF"),
            "'EXIF' box at byte 18: the zlib stream is damaged",
        ),
        (_header() + write_box(BoxType.CRITICAL, b"\0\0\0\0", "ALPH"), "'ALPH' box: cut short"),
        (_header() + write_box(BoxType.CRITICAL, b"\x03" + _ALPHA[1:], "ALPH"), "'ALPH' box: filter 3 is unknown"),
        (
            _header() + write_box(BoxType.CRITICAL, _ALPHA[:1] + bytes(4) + _ALPHA[5:], "ALPH"),
            "'ALPH' box: checksum of the alpha plane differs",
        ),
        (
            _header() + write_box(BoxType.CRITICAL, _ALPHA[:5] + zlib.compress(bytes(21 * 33 + 1)), "ALPH"),
            "'ALPH' box: the zlib stream does not hold exactly the 693 bytes claimed",
        ),
        (
            _header() + _frame(b"\0" + bytes(9) + bytes(4)),
            "frame box at byte 18: payload of 9 bytes, which must be a multiple of 4 and at least 8",
        ),
        (
            _header() + _frame(b""),
            "frame box at byte 18: payload of -5 bytes, which must be a multiple of 4 and at least 8",
        ),
        (
            _header() + _frame(b"\x04" + bytes(12)),
            "frame box at byte 18: type 0x04 is not one that a picture may have",
        ),
        (
            write_box(BoxType.HEADER, Header(1, b"abcd", 0, 1, 1, video=VideoParameters(1, 25)).write(), first=True),
            "header: the file holds video, and this reader knows pictures only",
        ),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    assert _refusal(data) == message


def test_unknown_ancillary_boxes_are_skipped_but_checked() -> None:
    boxes = write_box(BoxType.ANCILLARY, b"a", "note") + write_box(BoxType.ANCILLARY, b"b", "note")
    file = read_picture_file(_header() + boxes + _frame())
    assert file.unknown == ("note", "note")
    assert file.sizes["metadata"] == 10
    damaged = bytearray(_header() + boxes + _frame())
    damaged[18 + 5] ^= 1
    assert _refusal(bytes(damaged)) == "ancillary box at byte 18: checksum differs, the file is damaged"


def test_zlib_bomb_stops_at_the_claim() -> None:
    bomb = zlib.compress(bytes(1 << 28), 9)
    data = _header() + write_box(BoxType.ANCILLARY, write_varint(10) + bomb, "ICCP") + _frame()
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\n"
        "from nvc.bitstream.container import read_picture_file\n"
        "try: read_picture_file(sys.stdin.buffer.read())\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.decode() == "BadStream\n"


def test_pixel_limit() -> None:
    with pytest.raises(LimitError):
        read_picture_file(FULL, max_pixels=33 * 21 - 1)
    assert read_picture_file(FULL, max_pixels=33 * 21).header.pixels == 33 * 21


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_alpha_round_trip(alpha: np.ndarray) -> None:
    header = Header(1, b"abcd", 0, alpha.shape[1], alpha.shape[0])
    np.testing.assert_array_equal(decode_alpha(encode_alpha(alpha, header), header), alpha)


def _walk() -> np.ndarray:
    """(90, 90) uint8 whose steps from left to right are 1 or 2, and whose rows have nothing in common."""
    rng = np.random.default_rng(1)
    return (np.cumsum(rng.integers(1, 3, (90, 90)), axis=1) + rng.integers(0, 256, (90, 1))).astype(np.uint8)


@pytest.mark.parametrize(
    ("alpha", "best"),
    [
        (_walk(), AlphaFilter.SUB),
        (_walk().T, AlphaFilter.UP),
        (np.random.default_rng(1).choice(np.uint8([0, 255]), (90, 90)), AlphaFilter.NONE),
    ],
)
def test_the_smallest_filter_wins(alpha: np.ndarray, best: AlphaFilter) -> None:
    header = Header(1, b"abcd", 0, alpha.shape[1], alpha.shape[0])
    data = encode_alpha(alpha, header)
    assert data[0] == best
    np.testing.assert_array_equal(decode_alpha(data, header), alpha)


@pytest.mark.parametrize("kind", list(AlphaFilter))
def test_unfilter_follows_the_formulas_of_the_document(kind: AlphaFilter) -> None:
    """Chapter 5 written out sample by sample."""
    f = np.random.default_rng(3).integers(0, 256, (6, 9), np.uint8)
    a = np.zeros_like(f)
    for y in range(6):
        for x in range(9):
            before = {
                AlphaFilter.NONE: 0,
                AlphaFilter.SUB: a[y, x - 1] if x else 0,
                AlphaFilter.UP: a[y - 1, x] if y else 0,
            }
            a[y, x] = (int(f[y, x]) + int(before[kind])) % 256
    header = Header(1, b"abcd", 0, 9, 6)
    data = bytes([kind]) + picture_checksum(a).to_bytes(4, "little") + zlib.compress(f.tobytes())
    np.testing.assert_array_equal(decode_alpha(data, header), a)


def test_writer_refuses_what_the_reader_would() -> None:
    with pytest.raises(ValueError, match="payload of 7 bytes"):
        write_picture_file(HEADER, Frame(bytes(7), 0))
    with pytest.raises(ValueError, match="alpha"):
        write_picture_file(HEADER, FRAME, alpha=RAMP.T)
    with pytest.raises(ValueError, match="CICP"):
        write_picture_file(HEADER, FRAME, cicp=b"abc")
    with pytest.raises(ValueError, match="not of a picture"):
        write_picture_file(Header(1, b"abcd", 0, 1, 1, video=VideoParameters(1, 25)), FRAME)


def test_summary_is_json_and_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from nvc.bitstream.container import summary\n"
        "print(json.dumps(summary(sys.stdin.buffer.read())))\n"
        "assert not {'torch', 'numba', 'PIL', 'imageio'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=FULL, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert told == json.loads(json.dumps(summary(FULL)))
    assert (told["width"], told["height"], told["quality"], told["model_id"]) == (33, 21, 2.0, "a1b2c3d4")
    assert told["checksums"] == {"picture": "deadbeef", "alpha": f"{picture_checksum(RAMP):08x}"}
    assert told["metadata"] == ["ICCP", "CICP", "EXIF", "XMP"]
    assert sum(told["parts"].values()) == told["bytes"] == len(FULL)
