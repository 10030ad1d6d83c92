"""Random access through the index, and the summary of a video file."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nvc.bitstream.boxes import BoxType, write_zigzag
from nvc.bitstream.video_boxes import AudioPacket
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_index import open_index, read_from
from nvc.bitstream.video_summary import video_summary
from nvc.errors import BadStream

sys.path.insert(0, str(Path(__file__).parent))

from tiny_video import (
    BOXES,
    FRAMES,
    HEADER,
    PACKETS,
    STREAM,
    TEXT,
    WHOLE,
    B,
    I,
    P,
    end_box,
    low_video,
    read,
)


def test_index() -> None:
    index = open_index(io.BytesIO(WHOLE))
    assert (index.header, index.about, index.size) == (HEADER, (STREAM, TEXT), len(WHOLE))
    assert (index.end.frames, index.end.duration) == (17, 780)
    assert [(entry.index, entry.display, entry.time) for entry in index.end.entries] == [
        (0, 0, 0),
        (5, 5, 200),
        (12, 15, 700),
    ]
    before = [index.entry_before(display).display for display in (0, 4, 5, 14, 15, 16)]
    assert before == [0, 0, 5, 5, 15, 15]


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_reading_from_every_intra_frame() -> None:
    stream = Counting(WHOLE)
    index = open_index(stream)
    everything = [part for part in read(WHOLE) if isinstance(part, VideoFrame)]
    for entry in index.end.entries:
        stream.count = 0
        got = [part for part in read_from(stream, index, entry) if isinstance(part, VideoFrame)]
        # B frames that are shown before the first I frame need the anchor before it
        assert got == [frame for frame in everything if frame.index >= entry.index and frame.display >= entry.display]
        assert stream.count == len(WHOLE) - entry.offset
    audio = [part for part in read_from(stream, index, index.end.entries[2]) if isinstance(part, AudioPacket)]
    assert audio == PACKETS[13:]


def test_the_index_is_found_without_reading_the_frames() -> None:
    stream = Counting(low_video(400)[0])
    assert len(open_index(stream).end.entries) == 200
    assert stream.count < 1200


def test_every_flip_and_cut_under_the_index() -> None:
    """Either the file is refused, or what is read is right."""
    stream = io.BytesIO(WHOLE)
    index = open_index(stream)
    right = list(read_from(stream, index, index.end.entries[1]))
    damaged = [WHOLE[:length] for length in range(len(WHOLE))]
    damaged += [
        WHOLE[:at] + bytes([WHOLE[at] ^ 1 << bit]) + WHOLE[at + 1 :] for at in range(len(WHOLE)) for bit in range(8)
    ]
    refused = 0
    for data in damaged:
        stream = io.BytesIO(data)
        try:
            index = open_index(stream)
            got = list(read_from(stream, index, index.end.entries[1]))
        except BadStream:
            refused += 1
            continue
        assert got == right
    frames = [box for box in BOXES if box.type == BoxType.FRAME]
    skipped = frames[5].offset - frames[0].offset - frames[0].size  # bytes that nobody looks at: all before frame 5
    assert refused < len(damaged)
    assert refused >= len(damaged) - 8 * (skipped + frames[0].size)


@pytest.mark.parametrize("wrong", ["offset", "step", "lead"])
def test_an_index_that_lies(wrong: str) -> None:
    box = BOXES[-1]
    start = 1 + 4 + len(write_zigzag(780 - 17 * 40)) + 1
    at = {"offset": start, "step": start + 2 + 2, "lead": start + 2 + 2 + 2}[wrong]
    data = bytearray(box.data[:-4])
    data[at] ^= 2
    stream = io.BytesIO(WHOLE[: box.offset] + end_box(bytes(data)))

    def use() -> None:
        index = open_index(stream)
        for entry in index.end.entries:
            list(read_from(stream, index, entry))

    with pytest.raises(BadStream):
        use()


def test_summary_is_json_and_loads_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from nvc.bitstream.video_summary import video_summary\n"
        "print(json.dumps(video_summary(sys.stdin.buffer)))\n"
        "assert not {'torch', 'numba', 'PIL', 'imageio', 'av'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=WHOLE, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert told == json.loads(json.dumps(video_summary(io.BytesIO(WHOLE))))
    assert (told["width"], told["height"], told["frames"], told["fps"]) == (33, 21, 17, "25/1")
    assert (told["duration"], told["variable_rate"]) == (0.78, True)
    assert told["frame_types"] == {"I": 3, "P": 4, "B": 10}
    for kind in (I, P, B):
        size = sum(
            box.size
            for box, (which, _, _) in zip((box for box in BOXES if box.type == BoxType.FRAME), FRAMES, strict=True)
            if which == kind
        )
        assert told["bytes_by_type"][kind.name] == size
    assert sum(told["parts"].values()) == told["bytes"] == len(WHOLE)
    assert told["bpp"] == 8 * len(WHOLE) / (33 * 21 * 17)
    assert (told["reparameterised"], told["text"]) == (4, [["title", "Grüße aus Köln"]])
    assert told["audio"] == [{"codec": "aac", "rate": 48000, "channels": 2, "layout": "stereo"}]
    assert set(json.loads(json.dumps(told))) >= {"format", "codec", "model_id", "quality", "metadata", "unknown"}


def test_constant_rate() -> None:
    assert video_summary(io.BytesIO(low_video()[0]))["variable_rate"] is False
