"""What is left of damaged files."""

import io

import numpy as np
import pytest

from nvc.bitstream.boxes import BoxType, read_boxes, write_box
from nvc.bitstream.container import Frame, read_picture_file, write_picture_file
from nvc.bitstream.header import Header
from nvc.bitstream.salvage import salvage
from nvc.errors import BadStream

HEADER = Header(codec=1, model_id=b"abcd", quality_code=0, width=5, height=3)
ALPHA = np.arange(15, dtype=np.uint8).reshape(3, 5)
WHOLE = write_picture_file(HEADER, Frame(bytes(16), 7), alpha=ALPHA, icc=b"profile", exif=b"exif", xmp=b"xmp")
BOXES = {box.name or box.type.name: box for box in read_boxes(io.BytesIO(WHOLE))}


def flip(name: str, data: bytes = WHOLE) -> bytes:
    """One bit of the checksum of a box changed."""
    at = BOXES[name].offset + BOXES[name].size - 1
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def test_sound_file_is_itself() -> None:
    assert salvage(WHOLE) == (WHOLE, [])


@pytest.mark.parametrize("name", ["ICCP", "EXIF", "XMP ", "ALPH"])
def test_damaged_box_is_left_out(name: str) -> None:
    data, lost = salvage(flip(name))
    box = BOXES[name]
    assert data == WHOLE[: box.offset] + WHOLE[box.offset + box.size :]
    assert lost == [f"{name!r} box at byte {box.offset}"]
    read_picture_file(data)


def test_several_losses_are_all_named() -> None:
    data, lost = salvage(flip("EXIF", flip("ICCP")) + b"tail")
    assert len(lost) == 3
    assert lost[2] == "4 bytes after the frame"
    assert read_picture_file(data).xmp == b"xmp"


def test_unknown_boxes_stay_for_the_reader_to_judge() -> None:
    at = BOXES["FRAME"].offset
    for kind in (BoxType.ANCILLARY, BoxType.CRITICAL):
        box = write_box(kind, b"data", "MINE")
        assert salvage(WHOLE[:at] + box + WHOLE[at:]) == (WHOLE[:at] + box + WHOLE[at:], [])
        damaged = box[:-1] + bytes([box[-1] ^ 1])
        assert salvage(WHOLE[:at] + damaged + WHOLE[at:]) == (WHOLE, [f"{kind.name.lower()} box at byte {at}"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"PNG", "not a .nvc file"),
        (flip("HEADER"), "header is damaged"),
        (flip("FRAME"), "the frame at byte"),
        (WHOLE[:-1], "cut short"),
        (WHOLE[: BOXES["FRAME"].offset], "frame is missing"),
        (WHOLE[: BOXES["EXIF"].offset + 3], "cut short"),
    ],
)
def test_nothing_left(data: bytes, message: str) -> None:
    with pytest.raises(BadStream, match=message):
        salvage(data)


def test_every_truncation_and_every_flip_ends_well() -> None:
    """A sound file or BadStream, nothing else."""
    damaged = [WHOLE[:length] for length in range(len(WHOLE))]
    damaged += [
        WHOLE[:at] + bytes([WHOLE[at] ^ 1 << bit]) + WHOLE[at + 1 :] for at in range(len(WHOLE)) for bit in range(8)
    ]
    for data in damaged:
        try:
            rest, lost = salvage(data)
        except BadStream:
            continue
        assert lost
        assert rest != data
