"""What is left of damaged video files: exactly the frames that can be decoded, with the places that they had."""

import io
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.boxes import BoxType, write_box
from nvc.bitstream.container import FrameType
from nvc.bitstream.header import Header, VideoParameters
from nvc.bitstream.video_boxes import AudioPacket
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_reader import Part
from nvc.bitstream.video_salvage import Lost, salvage_video
from nvc.bitstream.video_writer import VideoWriter
from nvc.errors import BadStream, LimitError

sys.path.insert(0, str(Path(__file__).parent))

from tiny_video import BOXES, FRAMES, HEADER, HEADER_BYTES, ID, PACKETS, WHOLE, bytes_of, joined, read

PARTS = read(WHOLE)
FRAME_BOXES = [box for box in BOXES if box.type == BoxType.FRAME]
SEGMENTS = [range(5), range(5, 12), range(12, 17)]  # coded indexes, from I frame to I frame
LEADING = {13, 14, 15}  # B frames after the third I frame that need the anchor before it


def salvage(data: bytes) -> tuple[list[Part], list[Lost]]:
    got = list(salvage_video(io.BytesIO(data)))
    return [part for part in got if not isinstance(part, Lost)], [part for part in got if isinstance(part, Lost)]


def places(parts: list[Part]) -> list[tuple]:
    return [(part.index, part.type, part.display, part.time, part.payload) for part in parts
            if isinstance(part, VideoFrame)]  # fmt: skip


def kept(*lost: int) -> list[tuple]:
    """Frames that can be decoded where those of the coded indexes `lost` are gone."""
    good = []
    for segment in SEGMENTS:
        first_lost = min((index for index in lost if index in segment), default=segment.stop)
        for index in segment:
            if index < first_lost and not (index in LEADING and set(lost) & set(SEGMENTS[1])):
                good.append(index)
    return [place for place in places(PARTS) if place[0] in good]


def told(losses: list[Lost]) -> set[int]:
    return {index for loss in losses for index in (*loss.missing, *loss.dropped, *loss.leading)}


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_sound_file_is_itself() -> None:
    assert salvage(WHOLE) == (PARTS, [])


@pytest.mark.parametrize("index", range(len(FRAMES)))
def test_a_damaged_frame(index: int) -> None:
    box = FRAME_BOXES[index]
    got, losses = salvage(flip(WHOLE, box.offset + box.size - 6))
    assert places(got) == kept(index)
    assert [part for part in got if isinstance(part, AudioPacket)] == PACKETS
    assert told(losses) == set(range(17)) - {place[0] for place in kept(index)}
    assert [i for loss in losses for i in loss.missing] == [index]
    assert losses[0].size == box.size
    assert losses[0].reason == f"frame box at byte {box.offset}: checksum differs, the file is damaged"


@pytest.mark.parametrize("index", range(len(FRAMES)))
def test_a_missing_frame(index: int) -> None:
    box = FRAME_BOXES[index]
    got, losses = salvage(WHOLE[: box.offset] + WHOLE[box.offset + box.size :])
    assert places(got) == kept(index)
    assert [i for loss in losses for i in loss.missing] == [index]


def test_a_doubled_frame_costs_nothing() -> None:
    at = BOXES.index(FRAME_BOXES[7])
    got, losses = salvage(joined(BOXES[1 : at + 1] + BOXES[at:]))
    assert places(got) == kept()
    [loss] = losses
    assert (loss.size, list(loss.missing), list(loss.dropped)) == (FRAME_BOXES[7].size, [], [])
    assert "it is frame 7 where 8 is due" in loss.line


def test_swapped_frames() -> None:
    boxes = BOXES[1:]
    a, b = boxes.index(FRAME_BOXES[7]), boxes.index(FRAME_BOXES[8])
    boxes[a], boxes[b] = boxes[b], boxes[a]
    got, losses = salvage(joined(boxes))
    assert places(got) == kept(7)
    assert [i for loss in losses for i in loss.missing] == [7]


@pytest.mark.parametrize("name", ["AUDS", "TEXT", "AUDP"])
def test_damage_beside_the_frames_costs_no_frame(name: str) -> None:
    box = next(box for box in BOXES if box.name == name)
    got, losses = salvage(flip(WHOLE, box.offset + 7))
    assert places(got) == kept()
    audio = [part for part in got if isinstance(part, AudioPacket)]
    assert audio == {"AUDS": [], "TEXT": PACKETS, "AUDP": PACKETS[1:]}[name]
    assert losses
    assert all(not loss.missing and not loss.dropped for loss in losses)


def test_a_missing_box_of_audio_is_told_in_the_end() -> None:
    at = next(i for i, box in enumerate(BOXES) if box.name == "AUDP")
    got, losses = salvage(joined(BOXES[1:at] + BOXES[at + 1 :]))
    assert places(got) == kept()
    [loss] = losses
    assert "the checksum over all boxes differs: boxes are missing" in loss.line


def test_a_hole_over_several_boxes() -> None:
    """From the middle of frame 3 to the middle of frame 7; heads and lengths are gone."""
    start, stop = FRAME_BOXES[3].offset + 5, FRAME_BOXES[7].offset + 5
    for filler in (bytes(stop - start), b"\x35" * (stop - start), random.Random(1).randbytes(stop - start)):
        got, losses = salvage(WHOLE[:start] + filler + WHOLE[stop:])
        assert places(got) == kept(*range(3, 8)) == [place for place in kept() if place[0] in (0, 1, 2, 12, 16)]
        assert [i for loss in losses for i in loss.missing] == [3, 4, 5, 6, 7]
        assert [i for loss in losses for i in loss.dropped] == [8, 9, 10, 11]
        [loss] = losses
        end = "frames 3 to 7 lost; frames 8 to 11 and frames 13 to 15 cannot be decoded without what is lost"
        assert loss.line.endswith(end)


def test_bytes_cut_out_and_put_in() -> None:
    start, stop = FRAME_BOXES[3].offset + 5, FRAME_BOXES[7].offset + 5
    for data in (WHOLE[:start] + WHOLE[stop:], WHOLE[:start] + b"spam" + WHOLE[start:]):
        got, losses = salvage(data)
        assert places(got)[:3] == kept()[:3]
        assert places(got)[-1] == kept()[-1]
        assert losses[0].missing[0] == 3


def test_a_cut_file() -> None:
    for length in range(len(HEADER_BYTES), len(WHOLE)):
        got, losses = salvage(WHOLE[:length])
        there = [box for box in FRAME_BOXES if box.offset + box.size <= length]
        assert places(got) == kept()[: len(there)]
        assert "the end box is missing" in losses[-1].line or length > BOXES[-1].offset
        assert losses
        assert got == PARTS[: len(got)]


def test_a_damaged_end_box() -> None:
    for at in range(BOXES[-1].offset, len(WHOLE)):
        got, losses = salvage(flip(WHOLE, at))
        assert got == PARTS
        assert losses


def test_the_last_frames_are_missed_by_the_count() -> None:
    got, losses = salvage(joined([box for box in BOXES[1:] if box not in FRAME_BOXES[-2:]]))
    assert places(got) == kept()[:-2]
    assert [i for loss in losses for i in loss.missing] == [15, 16]


def test_bytes_behind_the_end() -> None:
    got, losses = salvage(WHOLE + b"tail")
    assert got == PARTS
    [loss] = losses
    assert (loss.size, loss.missing) == (4, range(0))


def test_every_flip_ends_well() -> None:
    """Every frame that is given is one of the sound file, at its place; what is not given is told."""
    right = set(places(PARTS))
    for at in range(len(HEADER_BYTES), len(WHOLE)):
        for bit in (0, 3, 7):
            data = WHOLE[:at] + bytes([WHOLE[at] ^ 1 << bit]) + WHOLE[at + 1 :]
            got, losses = salvage(data)
            assert losses
            assert set(places(got)) <= right
            assert told(losses) | {place[0] for place in places(got)} == set(range(17))


@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), st.binary(max_size=40), st.integers(0, 300)), max_size=4))
def test_any_damage_ends_well(cuts: list[tuple[int, bytes, int]]) -> None:
    data = WHOLE
    for at, noise, gone in cuts:
        at = max(at, len(HEADER_BYTES))
        data = data[:at] + noise + data[at + gone :]
    got, losses = salvage(data)
    assert set(places(got)) <= set(places(PARTS))
    assert bool(losses) == (data != WHOLE)


def test_hostile_contents_with_right_checksums() -> None:
    """A P frame where a B frame is due: it and what depends on it is lost."""
    box = FRAME_BOXES[9]
    forged = write_box(BoxType.FRAME, b"\1" + bytes(12), index=9)
    got, losses = salvage(WHOLE[: box.offset] + forged + WHOLE[box.offset + box.size :])
    assert losses == [
        Lost(
            f"frame box at byte {box.offset}: a frame of type P where a B frame is due",
            len(forged),
            range(9, 10),
            range(10, 12),
            range(13, 16),
        )
    ]
    assert places(got) == kept(9)


def test_nothing_left() -> None:
    for data in (b"", b"PNG", WHOLE[:10], flip(WHOLE, 6)):
        with pytest.raises(BadStream):
            list(salvage_video(io.BytesIO(data)))


def test_limits() -> None:
    with pytest.raises(LimitError):
        list(salvage_video(io.BytesIO(WHOLE), max_frames=5))
    with pytest.raises(LimitError):
        list(salvage_video(io.BytesIO(WHOLE), max_pixels=5))


def test_damage_that_looks_like_boxes_everywhere_comes_to_an_end() -> None:
    """1 MB in which a box of 100 kB may begin at every fourth byte: 25 GB of checksums if all were tried."""
    header = Header(2, ID, 0, 640, 480, video=VideoParameters(1, 25))
    stream = io.BytesIO()
    writer = VideoWriter(stream, header)
    writer.frame(FrameType.I, bytes(8), 0)
    head = write_box(BoxType.FRAME, bytes(100_001), index=0)[:3]
    hostile = (head + b"\0") * 250_000
    reads = [0]

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            reads[0] += len(data)
            return data

    got = list(salvage_video(Counting(stream.getvalue() + hostile)))
    assert isinstance(got[0], VideoFrame)
    assert isinstance(got[-1], Lost)
    assert reads[0] < 100e6


def test_header_of_the_tests_has_leading_frames() -> None:
    """The sets above are those of the sound file."""
    assert HEADER.video is not None
    assert HEADER.video.gop == 4
    anchors = [i for i, (kind, _, _) in enumerate(FRAMES) if kind == FrameType.I]
    assert [segment.start for segment in SEGMENTS] == anchors
    assert {i for i, (_, display, _) in enumerate(FRAMES) if i > 12 and display < 15} == LEADING
    assert bytes_of(FRAME_BOXES[0]) in WHOLE
