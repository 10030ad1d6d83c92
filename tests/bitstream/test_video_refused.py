"""Hostile video files: right checksums around what FORMAT.md forbids, and what the writer does not write."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.boxes import BoxType, write_box, write_varint, write_zigzag
from nvc.bitstream.container import Frame as PictureFrame
from nvc.bitstream.container import read_picture_file, write_picture_file
from nvc.bitstream.header import Header
from nvc.bitstream.video_boxes import AudioPacket, AudioStream, write_audio
from nvc.bitstream.video_frame import CodedFrame, VideoFrame, max_payload, read_frame, write_frame
from nvc.bitstream.video_index import open_index
from nvc.bitstream.video_reader import Part, VideoReader
from nvc.bitstream.video_writer import VideoWriter
from nvc.errors import BadStream, LimitError, NvcError

sys.path.insert(0, str(Path(__file__).parent))

from tiny_video import (
    AT,
    AUDS,
    BOXES,
    HEADER,
    HEADER_BYTES,
    ID,
    INTRA,
    LOW,
    PACKETS,
    STREAM,
    TEXT,
    WHOLE,
    I,
    P,
    boxes_of,
    bytes_of,
    end_box,
    frame_box,
    joined,
    low_video,
    named,
    read,
    refusal,
)


@given(st.binary(max_size=200), st.integers(0, len(BOXES) - 1))
def test_noise_never_raises_anything_else(noise: bytes, after: int) -> None:
    with pytest.raises(NvcError):
        read(WHOLE[: BOXES[after].offset] + noise)


@given(st.binary(max_size=60), st.sampled_from(["AUDS", "AUDP", "TEXT", "END ", ""]), st.integers(0, 3))
def test_noise_in_a_known_box(noise: bytes, name: str, after: int) -> None:
    """Right checksums around wrong contents: what a hostile file would do."""
    kind = BoxType.CRITICAL if name == "END " else BoxType.ANCILLARY if name else BoxType.FRAME
    frames = b"".join(bytes_of(box) for box in BOXES if box.type == BoxType.FRAME)[: BOXES[4].size * after]
    with pytest.raises(BadStream):
        read(HEADER_BYTES + frames + write_box(kind, noise, name, index=None if name else after))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (b"", "cut short: the end box is missing"),
        (frame_box(0, INTRA), "cut short: the end box is missing"),
        (write_box(BoxType.HEADER, HEADER.write()), f"header box at byte {AT}: a second header"),
        (
            write_box(BoxType.CRITICAL, b"", "WARP"),
            f"'WARP' box at byte {AT}: unknown to this nvc and needed for decoding; a newer nvc may read the file",
        ),
        (
            write_box(BoxType.CRITICAL, b"", "ALPH"),
            f"'ALPH' box at byte {AT}: unknown to this nvc and needed for decoding; a newer nvc may read the file",
        ),
        (frame_box(0, b""), f"frame box at byte {AT}: empty"),
        (
            frame_box(0, b"\x40" + INTRA[1:]),
            f"frame box at byte {AT}: type 0x40 is not one that a frame of video may have",
        ),
        (
            frame_box(0, b"\x03" + INTRA[1:]),
            f"frame box at byte {AT}: type 0x03 is not one that a frame of video may have",
        ),
        (frame_box(0, b"\x01" + INTRA[1:]), f"frame box at byte {AT}: a P frame without a frame before it"),
        (frame_box(0, b"\x02" + INTRA[1:]), f"frame box at byte {AT}: a B frame where none is due"),
        (
            frame_box(0, INTRA[:-1]),
            f"frame box at byte {AT}: payload of 7 bytes, which must be a multiple of 4 and at least 8",
        ),
        (frame_box(0, b"\x08"), f"frame box at byte {AT}: display gap: cut short"),
        (frame_box(0, b"\x08\x20" + INTRA[1:]), f"frame box at byte {AT}: display gap 33 outside 1..32"),
        (frame_box(0, b"\x08\0" + INTRA[1:]), f"frame box at byte {AT}: the display gap 1 is explicit without need"),
        (frame_box(0, b"\x10\0" + INTRA[1:]), f"frame box at byte {AT}: a time step of 0 is explicit without need"),
        (
            frame_box(0, b"\x10\x80\x00" + INTRA[1:]),
            f"frame box at byte {AT}: time step: number not in its shortest form",
        ),
        (
            write_box(BoxType.FRAME, b"\0" + bytes(65536 + 8 * 48 * 32 + 4) + bytes(4), index=0),
            f"frame box at byte {AT}: payload of 77828 bytes, more than 77824",
        ),
        (
            write_box(BoxType.FRAME, bytes(65536 + 8 * 48 * 32 + 12), index=0),
            f"frame box at byte {AT}: 77836 bytes, more than the 77835 that it may have",
        ),
        (
            write_varint((1 << 26) + 1 << 2 | 3),
            f"ancillary box at byte {AT}: 67108865 bytes, more than the 67108864 that it may have",
        ),
        (write_varint(65 << 2), f"header box at byte {AT}: 65 bytes, more than the 64 that it may have"),
        (frame_box(0, INTRA) + named(AUDS, "AUDS"), f"'AUDS' box at byte {AT + 18}: it stands behind the first frame"),
        (
            frame_box(0, INTRA) + named(b"\1ab", "TEXT"),
            f"'TEXT' box at byte {AT + 18}: it stands behind the first frame",
        ),
        (2 * named(AUDS, "AUDS"), f"'AUDS' box at byte {AT + 9 + len(AUDS)}: a second one of stream 0"),
        (named(AUDS + b"\0", "AUDS"), f"'AUDS' box at byte {AT}: 1 bytes too many"),
        (named(AUDS[:-1], "AUDS"), f"'AUDS' box at byte {AT}: extradata: cut short"),
        (named(b"\x40" + AUDS[1:], "AUDS"), f"'AUDS' box at byte {AT}: stream 64 outside 0..63"),
        (
            named(AUDS.replace(b"aac", b"a\xffc"), "AUDS"),
            f"'AUDS' box at byte {AT}: text that is not of the characters stated",
        ),
        (
            named(AUDS.replace(b"aac", b"a\nc"), "AUDS"),
            f"'AUDS' box at byte {AT}: codec and layout are not of printable ASCII characters",
        ),
        (named(b"\0", "AUDP"), f"'AUDP' box at byte {AT}: no packets"),
        (named(b"\0\3\0\0a", "AUDP"), f"'AUDP' box at byte {AT}: stream 0 is described nowhere"),
        (named(b"\0\5\0\0a", "AUDP"), f"'AUDP' box at byte {AT}: a packet of 2 bytes, of which 1 are there"),
        (named(b"\0\1\0\0", "AUDP"), f"'AUDP' box at byte {AT}: a packet of 0 bytes, of which 0 are there"),
        (named(b"\0\3\0", "AUDP"), f"'AUDP' box at byte {AT}: duration of a packet: cut short"),
        (
            named(b"\0abc", "TEXT"),
            f"'TEXT' box at byte {AT}: a text's key '' is not of 1 to 64 printable ASCII characters",
        ),
        (named(b"\2a", "TEXT"), f"'TEXT' box at byte {AT}: key: cut short"),
        (named(b"\1a\xff", "TEXT"), f"'TEXT' box at byte {AT}: text that is not of the characters stated"),
    ],
)
def test_refused(boxes: bytes, message: str) -> None:
    assert refusal(HEADER_BYTES + boxes) == message


def test_end_boxes_that_lie() -> None:
    """One field of a sound end box changed, its own checksum right."""
    whole, at = low_video()
    box = boxes_of(whole)[-1]
    frames, chain, duration, index = box.data[:1], box.data[1:5], box.data[5:6], box.data[6:-4]
    assert (frames, duration, index) == (b"\3", b"\0", b"\2" + bytes([len(LOW.write()) + 9]) + b"\0\x24\4")
    assert whole[at:] == end_box(frames + chain + duration + index)
    where = f"'END ' box at byte {at}: "
    lies = {
        b"\2" + chain + duration + index: "2 frames, and there are 3: frames are missing, or too many",
        frames + bytes(4) + duration + index: "the checksum over all boxes differs: boxes are missing or out of place",
        frames + chain + write_zigzag(-1) + index: "a duration of 2 ticks, which ends before the last frame begins",
        frames + chain + duration + b"\1" + index[1:]: "the index is not that of the file",
        frames + chain + duration + index[:-1] + b"\2": "the index is not that of the file",
        frames + chain + duration + index + b"\0": "the index is not that of the file",
        frames + chain + duration + index[:-2] + b"\x26\4": "the index is not that of the file",
        frames + chain[:3]: "chain: cut short",
        frames + chain: "duration: cut short",
        b"": "frames: cut short",
    }
    for data, message in lies.items():
        if len(data) < 6:
            box_of = write_box(BoxType.CRITICAL, data, "END ")
            assert refusal(whole[:at] + box_of) == where + message
        else:
            assert refusal(whole[:at] + end_box(data)) == where + message
    wrong_size = write_box(BoxType.CRITICAL, box.data[:-4] + bytes(4), "END ")
    assert refusal(whole[:at] + wrong_size) == where + "the index is not that of the file"
    assert refusal(whole + b"\0") == where + "nothing may follow it"
    longer = boxes_of(low_video(4)[0])[-1]
    assert "4 frames, and there are 3" in refusal(whole[:at] + write_box(BoxType.CRITICAL, longer.data, "END "))


def test_a_b_frame_is_due_at_the_end() -> None:
    stream = io.BytesIO()
    writer = VideoWriter(stream, HEADER)
    for kind in (I, P):
        writer.frame(kind, bytes(8), 0)
    with pytest.raises(ValueError, match="a B frame is due"):
        writer.finish()
    chain = crc32c(b"".join(box.checksum.to_bytes(4, "little") for box in boxes_of(stream.getvalue())))
    index = write_varint(1) + write_varint(len(HEADER.write()) + 9) + b"\0"
    data = b"\2" + chain.to_bytes(4, "little") + write_zigzag(200 - 80) + index
    assert refusal(stream.getvalue() + end_box(data)).endswith("a B frame is due")


def test_table_set_at_quality_8() -> None:
    with pytest.raises(BadStream, match="there is no level 9"):
        read_frame(b"\x20" + INTRA[1:], LOW, "frame")
    with pytest.raises(ValueError, match="there is no level 9"):
        write_frame(CodedFrame(I, bytes(8), 0, table_set=1), LOW)


def test_pictures_and_videos_are_told_apart() -> None:
    picture = write_picture_file(Header(1, ID, 0, 4, 2), PictureFrame(bytes(8), 0))
    assert refusal(picture) == "header: the file holds a picture, not a video"
    with pytest.raises(BadStream, match="holds video"):
        read_picture_file(WHOLE)
    assert refusal(b"NVC\0") == "cut short: the header box is missing"
    assert "the first box must be the header" in refusal(write_box(BoxType.FRAME, b"", first=True))


def test_limits() -> None:
    with pytest.raises(LimitError, match="pixels"):
        VideoReader(io.BytesIO(WHOLE), max_pixels=33 * 21 - 1)
    reader = VideoReader(io.BytesIO(WHOLE), max_pixels=33 * 21, max_frames=16)
    with pytest.raises(LimitError, match=r"more than the limit of 16 frames \(--max-frames\)"):
        list(reader)
    assert reader.frames == 16
    with pytest.raises(LimitError, match="17 frames, more than the limit of 16"):
        open_index(io.BytesIO(WHOLE), max_frames=16)


def test_unknown_ancillary_boxes_are_skipped_wherever_they_stand() -> None:
    with_notes = joined(BOXES[1:-1])
    for box in (BOXES[-2], BOXES[3]):
        at = box.offset
        with_notes = with_notes[:at] + named(b"hi", "note") + with_notes[at:]
    reader = VideoReader(io.BytesIO(with_notes))
    got: list[Part] = []
    with pytest.raises(BadStream, match="the end box is missing"):
        got.extend(reader)
    assert [replace(part, offset=0) if isinstance(part, VideoFrame) else part for part in got] == [
        replace(part, offset=0) if isinstance(part, VideoFrame) else part for part in read(WHOLE)
    ]
    assert reader.unknown == {"note": 2}
    assert reader.sizes["metadata"] == 4 + 6 + len(TEXT.value.encode()) + 2 * (4 + 2)


def test_writer_refuses_what_the_reader_would() -> None:
    with pytest.raises(ValueError, match="not of a video"):
        VideoWriter(io.BytesIO(), Header(1, ID, 0, 1, 1))
    stream = io.BytesIO()
    writer = VideoWriter(stream, HEADER)
    for wrong, message in (
        (lambda: writer.finish(), "without frames"),
        (lambda: writer.audio(PACKETS[0]), "not announced"),
        (lambda: writer.frame(P, bytes(8), 0), "without a frame before it"),
        (lambda: writer.frame(I, bytes(9), 0), "payload of 9 bytes"),
        (lambda: writer.frame(I, bytes(max_payload(HEADER) + 4), 0), "payload of 77828 bytes, more than 77824"),
        (lambda: writer.frame(I, bytes(8), 0, display=3), "a display gap of 4 outside"),
        (lambda: writer.frame(I, bytes(8), 0, time=1 << 40), "varint"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    assert stream.getvalue() == HEADER_BYTES
    writer.audio_stream(STREAM)
    with pytest.raises(ValueError, match="a second audio stream 0"):
        writer.audio_stream(STREAM)
    with pytest.raises(ValueError, match="varint"):
        writer.audio(AudioPacket(0, 1 << 40, 0, b"a"))
    with pytest.raises(ValueError, match="empty packet"):
        writer.audio(AudioPacket(0, 0, 0, b""))
    writer.frame(I, bytes(8), 0)
    with pytest.raises(ValueError, match="behind the first frame"):
        writer.text(TEXT)
    with pytest.raises(ValueError, match="cannot end at 0"):
        writer.finish(0)
    writer.finish()
    assert len(read(stream.getvalue())) == 2


@pytest.mark.parametrize(
    "wrong", [{"number": 64}, {"time_num": 0}, {"rate": 0}, {"channels": 256}, {"codec": ""}, {"layout": "x" * 65}]
)
def test_audio_streams_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(ValueError, match="outside"):
        AudioStream(**(vars(STREAM) | wrong))


def test_packets_of_two_streams_keep_apart_and_near_their_frames() -> None:
    """Boxes are closed before I frames, and at 32 packets."""
    stream = io.BytesIO()
    writer = VideoWriter(stream, LOW)
    other = AudioStream(7, 1, 1000, 44100, 1, "opus")
    for described in (STREAM, other):
        writer.audio_stream(described)
    sent = []
    for index in range(100):
        sent += [AudioPacket(7, 23 * index + index % 3, 23, b"o"), AudioPacket(0, 1024 * index, 1024, b"aa")]
        for packet in sent[-2:]:
            writer.audio(packet)
        writer.frame(I if index % 40 == 0 else P, bytes(8), 0)
    writer.finish()
    got = [part for part in read(stream.getvalue()) if isinstance(part, AudioPacket)]
    for number in (0, 7):
        assert [part for part in got if part.stream == number] == [part for part in sent if part.stream == number]
    sizes = [(box.name, box.size) for box in boxes_of(stream.getvalue()) if box.name == "AUDP"]
    assert len(sizes) == 2 * 6  # at packets 1 (frame 0), 33, 41 (frame 40), 73, 81 (frame 80), 100
    assert sum(size for _, size in sizes) <= 200 * (1.5 + 1 + 1.5 + 1.5) + 12 * (2 + 4 + 1 + 3 + 4)


def test_bytes_of_packets() -> None:
    data = write_audio([AudioPacket(0, 0, 0, b"a")] * 3)
    assert data == b"\0" + 3 * b"\3\0\0a"
