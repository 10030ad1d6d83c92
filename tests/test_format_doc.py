"""FORMAT.md against the code: the header table and the worked examples, byte by byte."""

import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from numpy.typing import NDArray

from nvc.bitstream.boxes import BoxType, read_varint, write_box
from nvc.bitstream.container import (
    Frame,
    FrameType,
    encode_alpha,
    picture_checksum,
    read_picture_file,
    write_picture_file,
)
from nvc.bitstream.fields import Layout, field_table
from nvc.bitstream.header import LAYOUT, VIDEO_LAYOUT, Header, VideoParameters, quality_code
from nvc.bitstream.video_frame import VideoFrame, planes_checksum
from nvc.bitstream.video_index import open_index
from nvc.bitstream.video_reader import VideoReader
from nvc.bitstream.video_writer import VideoWriter

FORMAT = (Path(__file__).parents[1] / "FORMAT.md").read_text()
PAYLOAD = bytes.fromhex("0000008000000000")
MODEL = bytes.fromhex("4d3c2b1a")
GREY = np.array([[0, 64, 128, 255], [1, 65, 129, 254]], np.uint8)
ALPHA = np.array([[255, 255, 0, 0]] * 2, np.uint8)


def examples() -> list[list[tuple[int, bytes, str]]]:
    """Each ```nvc block as (offset, bytes, comment) lines."""
    found = []
    for block in re.findall(r"^```nvc\n(.*?)^```", FORMAT, re.S | re.M):
        lines = [re.fullmatch(r"([0-9a-f]{4}): ([0-9a-f ]+?) *# (.+)", line) for line in block.splitlines()]
        assert all(lines)
        found.append([(int(m[1], 16), bytes.fromhex(m[2]), m[3]) for m in lines if m])
    return found


def joined(lines: list[tuple[int, bytes, str]]) -> bytes:
    return b"".join(part for _, part, _ in lines)


def test_there_are_three_examples_and_the_stated_lengths_hold() -> None:
    stated = [int(n) for n in re.findall(r"(\d+) bytes:\n\n```nvc", FORMAT)]
    assert stated == [len(joined(lines)) for lines in examples()] == [38, 95, 92]


@pytest.mark.parametrize("lines", examples())
def test_offsets_run_on(lines: list[tuple[int, bytes, str]]) -> None:
    for (offset, part, _), (following, _, _) in pairwise(lines):
        assert offset + len(part) == following


@pytest.mark.parametrize("lines", examples())
def test_crc_lines(lines: list[tuple[int, bytes, str]]) -> None:
    data = joined(lines)
    checked = 0
    for _, part, comment in lines:
        if span := re.match(r"CRC32C of (?:the coded index (\d) and )?bytes ([0-9a-f]{4}) to ([0-9a-f]{4})", comment):
            before = b"" if span[1] is None else int(span[1]).to_bytes(4, "little")
            value = crc32c(before + data[int(span[2], 16) : int(span[3], 16) + 1])
            assert part == value.to_bytes(4, "little")
            if named := re.search(r": 0x([0-9a-f]{8})", comment):
                assert int(named[1], 16) == value
            checked += 1
    assert checked == sum(comment.startswith("box head") for _, _, comment in lines)


@pytest.mark.parametrize("lines", examples())
def test_box_heads(lines: list[tuple[int, bytes, str]]) -> None:
    for _, part, comment in lines:
        if stated := re.match(r"box head: (\d+) = (\d+)(?: bytes of content)? × 4 \+ (?:type )?(\d)", comment):
            value, length, kind = (int(text) for text in stated.groups())
            assert (value, len(part)) == read_varint(part, 0, "head")
            assert value == length * 4 + kind


def test_first_example_is_written_as_printed() -> None:
    pixels = np.full((512, 768, 3), 128, np.uint8)
    header = Header(1, MODEL, quality_code(4.5), 768, 512, table_set=1)
    data = joined(examples()[0])
    assert write_picture_file(header, Frame(PAYLOAD, picture_checksum(pixels))) == data
    file = read_picture_file(data)
    assert (file.header, file.frame.payload, file.header.table_level) == (header, PAYLOAD, 5)
    assert file.frame.checksum == picture_checksum(pixels)


def test_second_example_parses_and_its_boxes_are_written_as_printed() -> None:
    lines = examples()[1]
    data = joined(lines)
    file = read_picture_file(data)
    assert file.header == Header(1, MODEL, quality_code(2.25), 4, 2, grey=True)
    assert (file.xmp, file.unknown, file.header.table_level) == (b"<x/>", ("note",), 2)
    assert file.alpha is not None
    np.testing.assert_array_equal(file.alpha, ALPHA)
    assert file.frame.checksum == picture_checksum(GREY)
    assert encode_alpha(ALPHA, file.header)[:5] == data[0x38:0x3D]  # filter and checksum; zlib's bytes are its own

    heads = [offset for offset, _, comment in lines if comment.startswith("box head")]
    rebuilt = b""
    for start, end in pairwise([*heads, len(data)]):
        kind, content = data[start] & 3, data[start + 1 : end - 4]
        name = content[:4].decode() if kind in (2, 3) else ""
        rebuilt += write_box(BoxType(kind), content[len(name) :], name, first=not rebuilt)
    assert rebuilt == data


def test_third_example_is_written_and_read_as_printed() -> None:
    def planes(luma: int) -> list[NDArray[np.uint8]]:
        return [np.full((1080, 1920), luma, np.uint8), *2 * [np.full((540, 960), 128, np.uint8)]]

    video = VideoParameters(
        1001, 30000, primaries=1, transfer=1, matrix=1, gop_log2=0, low_latency=True, intra_period=32
    )
    header = Header(2, MODEL, quality_code(3.0), 1920, 1080, video=video)
    stream = io.BytesIO()
    writer = VideoWriter(stream, header)
    writer.frame(FrameType.I, PAYLOAD, planes_checksum(planes(128)))
    writer.frame(FrameType.P, PAYLOAD, planes_checksum(planes(129)), time=3, reparameterised=True, table_set=1)
    writer.finish()
    data = joined(examples()[2])
    assert stream.getvalue() == data

    reader = VideoReader(io.BytesIO(data))
    first, second = reader
    assert isinstance(first, VideoFrame)
    assert isinstance(second, VideoFrame)
    assert (reader.header, reader.duration, reader.chain) == (header, 4, int.from_bytes(data[0x4C:0x50], "little"))
    assert (second.type, second.time, second.offset, second.step) == (FrameType.P, 3, 0x33, 2)
    chain = b"".join(data[at : at + 4] for at in (0x1D, 0x2F, 0x42))
    assert crc32c(chain) == reader.chain
    assert [entry.offset for entry in open_index(io.BytesIO(data)).end.entries] == [0x21] == [first.offset]


@pytest.mark.parametrize("layout", [LAYOUT, VIDEO_LAYOUT])
def test_header_tables_are_the_declared_ones(layout: Layout) -> None:
    assert field_table(layout) in FORMAT


def test_stated_crc_check_value() -> None:
    assert "0xE3069283" in FORMAT
    assert crc32c(b"123456789") == 0xE3069283


def test_stated_overhead() -> None:
    header = Header(1, MODEL, 0, 768, 512)
    for payload, overhead in ((8, 30), (4088, 31), (4092, 32), (524_280, 32), (524_284, 33)):
        data = write_picture_file(header, Frame(bytes(payload), 0))
        assert len(data) - payload == overhead
