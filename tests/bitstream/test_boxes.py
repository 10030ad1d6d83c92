"""Varints, signature and boxes: exact bytes first, then everything that must be refused."""

import io

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.boxes import (
    MAX_VARINT,
    SIGNATURE,
    BoxType,
    read_boxes,
    read_varint,
    sniff,
    write_box,
    write_varint,
)
from nvc.errors import BadStream


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (16383, "ff7f"),
        (16384, "808001"),
        (MAX_VARINT, "ffffffff7f"),
    ],
)
def test_varint_bytes(value: int, data: str) -> None:
    assert write_varint(value).hex() == data
    assert read_varint(bytes.fromhex("aa" + data + "55"), 1, "x") == (value, 1 + len(data) // 2)


@given(st.integers(0, MAX_VARINT))
def test_varint_round_trip(value: int) -> None:
    assert read_varint(write_varint(value), 0, "x") == (value, len(write_varint(value)))


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_varint_range(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        write_varint(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "width: cut short"),
        ("80", "width: cut short"),
        ("8000", "width: number not in its shortest form"),
        ("ff00", "width: number not in its shortest form"),
        ("ffffffffff01", "width: number longer than 5 bytes"),
    ],
)
def test_varint_refused(data: str, message: str) -> None:
    with pytest.raises(BadStream) as got:
        read_varint(bytes.fromhex(data), 0, "width")
    assert str(got.value) == message


def test_box_bytes() -> None:
    body = bytes.fromhex("1b") + b"notehi"
    assert write_box(BoxType.ANCILLARY, b"hi", "note") == body + crc32c(body).to_bytes(4, "little")
    first = SIGNATURE + b"\x08\x01\x02"
    assert write_box(BoxType.HEADER, b"\x01\x02", first=True) == first + crc32c(first).to_bytes(4, "little")


def test_boxes_are_read_back_with_their_places() -> None:
    parts = [
        write_box(BoxType.HEADER, b"abc", first=True),
        write_box(BoxType.ANCILLARY, b"", "note"),
        write_box(BoxType.CRITICAL, b"x" * 3_000_000, "LONG"),
        write_box(BoxType.FRAME, b""),
    ]
    boxes = list(read_boxes(io.BytesIO(b"".join(parts))))
    assert [(box.type, box.name, len(box.data)) for box in boxes] == [
        (BoxType.HEADER, "", 3),
        (BoxType.ANCILLARY, "note", 0),
        (BoxType.CRITICAL, "LONG", 3_000_000),
        (BoxType.FRAME, "", 0),
    ]
    assert boxes[0].offset == 4
    assert boxes[0].size + 4 == len(parts[0])
    assert [box.size for box in boxes[1:]] == [len(part) for part in parts[1:]]
    assert boxes[-1].offset + boxes[-1].size == sum(map(len, parts))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(BoxType.FRAME, "note"), (BoxType.CRITICAL, ""), (BoxType.ANCILLARY, "not"), (BoxType.CRITICAL, "a\nbc")],
)
def test_write_box_refuses(kind: BoxType, name: str) -> None:
    with pytest.raises(ValueError, match="box named"):
        write_box(kind, b"", name)


def _refusal(data: bytes) -> str:
    with pytest.raises(BadStream) as got:
        list(read_boxes(io.BytesIO(data)))
    return str(got.value)


GOOD = write_box(BoxType.HEADER, b"abc", first=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"NV", "cut short inside the signature"),
        (b"\x89PNG\r\n", "not a .nvc file (its first bytes are not the signature)"),
        (b"NVC info", "not a .nvc file (its first bytes are not the signature)"),
        (GOOD + b"\x80", "cut short inside the box head at byte 12"),
        (GOOD + b"\x80\x00", "box head at byte 12: number not in its shortest form"),
        (GOOD[:-1], "cut short: the header box at byte 4 lacks its last 1 bytes"),
        (GOOD[:6], "cut short: the header box at byte 4 lacks its last 2 bytes"),
        (GOOD[:-1] + b"\0", "header box at byte 4: checksum differs, the file is damaged"),
        # a head that claims 8 GiB: refused without asking for them
        (GOOD + write_varint(MAX_VARINT), "cut short: the ancillary box at byte 12 lacks its last 8589934591 bytes"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    assert _refusal(data) == message


def test_format_number_of_the_future() -> None:
    message = _refusal(b"NVC\x07" + GOOD[4:])
    assert message.startswith("format number 7, but this nvc reads format 0 only")


@pytest.mark.parametrize("content", [b"", b"abc", b"a\x00bc1234", b"\xc3\xa9ab"])
def test_bad_names(content: bytes) -> None:
    body = write_varint(len(content) << 2 | 3) + content
    data = GOOD + body + crc32c(body).to_bytes(4, "little")
    assert _refusal(data) == "ancillary box at byte 12: its name is not four ASCII characters"


def test_sniff() -> None:
    assert sniff(SIGNATURE)
    assert sniff(b"NVC\x05...")
    assert not any(map(sniff, (b"", b"NVC", b"NVC file", b"\x89PNG")))
