"""Video files: round trips, sizes, and every truncation, bit flip, missing, doubled or moved box refused."""

import io
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.boxes import Box, BoxType
from nvc.bitstream.container import FrameType
from nvc.bitstream.header import Header, VideoParameters
from nvc.bitstream.video_boxes import AudioPacket
from nvc.bitstream.video_frame import CodedFrame, VideoFrame, planes_checksum, read_frame, write_frame
from nvc.bitstream.video_reader import Part, VideoReader
from nvc.bitstream.video_writer import VideoWriter
from nvc.errors import BadStream

sys.path.insert(0, str(Path(__file__).parent))

from tiny_video import (
    BOXES,
    FRAMES,
    HEADER,
    ID,
    PACKETS,
    STREAM,
    TEXT,
    WHOLE,
    I,
    P,
    joined,
    make,
    payload,
    refusal,
)


def test_everything_comes_back() -> None:
    reader = VideoReader(io.BytesIO(WHOLE))
    assert reader.header == HEADER
    parts = list(reader)
    assert parts[:2] == [STREAM, TEXT]
    assert [part for part in parts if isinstance(part, AudioPacket)] == PACKETS
    frames = [part for part in parts if isinstance(part, VideoFrame)]
    assert [(frame.type, frame.display, frame.time) for frame in frames] == FRAMES
    for index, frame in enumerate(frames):
        assert (frame.index, frame.payload, frame.checksum) == (index, payload(index), index)
        assert (frame.reparameterised, frame.table_set) == (frame.type == P, index % 2)
    assert (reader.frames, reader.duration, reader.bytes) == (17, 780, len(WHOLE))
    assert not reader.unknown


def test_a_given_end() -> None:
    reader = VideoReader(io.BytesIO(make(end=741)))
    list(reader)
    assert reader.duration == 741


@pytest.mark.parametrize(("size", "overhead"), [(8, 10), (24, 10), (28, 11), (4088, 11), (4092, 12), (524_280, 12)])
def test_bytes_beside_the_payload(size: int, overhead: int) -> None:
    """FORMAT.md, chapter 2: 12 bytes for payloads of 4092 to 524280 bytes, whatever the type, at a constant rate."""
    writer = VideoWriter(io.BytesIO(), Header(2, ID, 0, 1920, 1080, video=VideoParameters(1001, 30000)))
    for kind in (I, P, P, I):
        assert writer.frame(kind, bytes(size), 0) - size == overhead


def test_bytes_of_the_end_box() -> None:
    """4 bytes an I frame for 100 frames of 4 KiB between them."""
    ends = []
    for intra in (2, 12):
        stream = io.BytesIO()
        writer = VideoWriter(stream, Header(2, ID, 0, 1920, 1080, video=VideoParameters(1001, 30000)))
        for _ in range(intra):
            writer.frame(I, bytes(4096), 0)
            for _ in range(63):
                writer.frame(P, bytes(4096), 0)
        before = writer.bytes
        ends.append(writer.finish() - before)
    assert ends[1] - ends[0] == 10 * (3 + 2) + 1  # offset, step; and the head of the box takes two bytes


def test_sizes_sum_to_the_file() -> None:
    reader = VideoReader(io.BytesIO(WHOLE))
    list(reader)
    sizes = reader.sizes
    assert sum(sizes.values()) == len(WHOLE)
    assert sizes["frames"] == sum(len(payload(i)) for i in range(17))
    audio = [box for box in BOXES if box.name in ("AUDS", "AUDP")]
    assert sizes["audio"] == sum(4 + len(box.data) for box in audio)
    assert sizes["metadata"] == 4 + 6 + len("Grüße aus Köln".encode())


def test_frames_come_before_the_file_ends() -> None:
    """What is read is yielded: a cut file gives its sound beginning, and then says that it is cut."""
    frames = [box for box in BOXES if box.type == BoxType.FRAME]
    got: list[Part] = []
    with pytest.raises(BadStream, match="cut short"):
        got.extend(VideoReader(io.BytesIO(WHOLE[: frames[3].offset + 2])))
    assert sum(isinstance(part, VideoFrame) for part in got) == 3


def test_every_truncation_is_refused() -> None:
    for length in range(len(WHOLE)):
        assert refusal(WHOLE[:length])


def test_every_bit_flip_is_refused() -> None:
    data = bytearray(WHOLE)
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            assert refusal(bytes(data))
            data[position] ^= 1 << bit


@pytest.mark.parametrize("box", BOXES[1:], ids=lambda box: f"{box.label}@{box.offset}")
def test_every_missing_and_every_doubled_box_is_refused(box: Box) -> None:
    at = BOXES.index(box)
    missing = refusal(joined(BOXES[1:at] + BOXES[at + 1 :]))
    doubled = refusal(joined(BOXES[1 : at + 1] + BOXES[at:]))
    if box.type == BoxType.FRAME:
        index = sum(other.type == BoxType.FRAME for other in BOXES[:at])
        if index < len(FRAMES) - 1:
            assert f"it is frame {index + 1} where {index} is due: frames are missing or out of place" in missing
            end = box.offset + box.size
            assert doubled == (
                f"frame box at byte {end}: it is frame {index} where {index + 1} is due: "
                "frames are missing or out of place"
            )
        else:
            assert "17 frames, and there are 16" in missing
    elif box.name == "TEXT":
        assert "boxes are missing or out of place" in missing
        assert "boxes are missing or out of place" in doubled


@pytest.mark.parametrize(("first", "second"), list(pairwise(range(1, len(BOXES)))))
def test_every_pair_of_swapped_boxes_is_refused(first: int, second: int) -> None:
    order = list(range(1, len(BOXES)))
    order[first - 1], order[second - 1] = second, first
    message = refusal(joined(BOXES[at] for at in order))
    if BOXES[first].type == BOXES[second].type == BoxType.FRAME:
        assert "out of place" in message
        assert f"at byte {BOXES[first].offset}:" in message, "noticed at once"


def test_frames_of_another_file_are_refused_in_the_end() -> None:
    other = WHOLE.replace(payload(4), bytes(24))
    assert len(other) == len(WHOLE)
    box = next(box for box in BOXES if box.type == BoxType.FRAME and payload(4) in box.data)
    body = other[box.offset : box.offset + box.size - 4]
    forged = body + crc32c(body, crc32c((4).to_bytes(4, "little"))).to_bytes(4, "little")
    data = WHOLE[: box.offset] + forged + WHOLE[box.offset + box.size :]
    assert "the checksum over all boxes differs: boxes are missing or out of place" in refusal(data)


def test_checksum_of_planes() -> None:
    rng = np.random.default_rng(1)
    y, u, v = (rng.integers(0, 256, shape, np.uint8) for shape in ((5, 7), (3, 4), (3, 4)))
    assert planes_checksum((y, u, v)) == crc32c(y.tobytes() + u.tobytes() + v.tobytes())
    wide = np.zeros((5, 16), np.uint8)
    wide[:, :7] = y
    assert planes_checksum((wide[:, :7], u, v)) == planes_checksum((y, u, v))
    assert planes_checksum((y, v, u)) != planes_checksum((y, u, v))


@given(
    st.builds(
        CodedFrame,
        type=st.sampled_from(FrameType),
        payload=st.integers(2, 20).map(lambda words: bytes(range(4 * words))),
        checksum=st.integers(0, 2**32 - 1),
        reparameterised=st.booleans(),
        table_set=st.integers(0, 1),
        gap=st.none() | st.integers(1, 32),
        step=st.integers(-(2**34), 2**34 - 1),
    )
)
def test_frame_round_trip(frame: CodedFrame) -> None:
    content = write_frame(frame, HEADER)
    assert read_frame(content, HEADER, "") == frame
    assert len(content) <= len(frame.payload) + 11
