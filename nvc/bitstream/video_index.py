"""Random access: the index in the end box, and reading from an I frame on (FORMAT.md, chapters 4 and 5)."""

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from nvc.bitstream.boxes import Box, BoxType, read_box
from nvc.bitstream.container import FrameType
from nvc.bitstream.end_box import END_BOX, MOST_FRAMES, TRAILER_BYTES, End, Entry, read_end
from nvc.bitstream.header import MAX_PIXELS, Header
from nvc.bitstream.video_boxes import MAX_NAMED, AudioStream, Text
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_reader import MAX_FRAMES, Part, Parts, entry_of, parameters, read_video_header
from nvc.errors import BadStream, LimitError


@dataclass(frozen=True)
class VideoIndex:
    """What a reader knows of a video before it reads a frame.

    about: the boxes of audio streams and texts   end: number of frames, duration, I frames   size: bytes of the file
    """

    header: Header
    about: tuple[AudioStream | Text, ...]
    end: End
    size: int

    def entry_before(self, display: int) -> Entry:
        """The last I frame that is shown at `display` or before: where to begin reading to show that frame."""
        return self.end.entries[bisect.bisect_right(self.end.entries, display, key=lambda entry: entry.display) - 1]


def open_index(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES) -> VideoIndex:
    """Read the beginning and the end of a video file, not what lies between.

    stream: one that can seek. Raises BadStream where header, first boxes or end box are damaged, LimitError.
    """
    stream.seek(0)
    header, first = read_video_header(stream, max_pixels)
    parts = Parts(header)
    about: list[AudioStream | Text] = []
    offset = first.offset + first.size
    while True:
        box = read_box(stream, offset, index=0, limits=parts.limits)
        if box is None:
            raise BadStream("cut short: the frames are missing")
        if box.type in (BoxType.FRAME, BoxType.CRITICAL):
            break
        about += [part for part in parts.take(box) if isinstance(part, AudioStream | Text)]
        offset += box.size
    box = _end_box(stream, parts)
    end = read_end(box, parameters(header).frame_duration)
    if end.frames > max_frames:
        raise LimitError(f"{end.frames} frames, more than the limit of {max_frames} (--max-frames)")
    return VideoIndex(header, tuple(about), end, box.offset + box.size)


def read_from(stream: BinaryIO, index: VideoIndex, entry: Entry) -> Iterator[Part]:
    """The parts of a video from an I frame of its index on, to the end: frames that can be decoded, and audio.

    stream: one that can seek, as given to open_index. Raises BadStream at the first thing that is wrong.
    """
    stream.seek(entry.offset)
    streams = [part.number for part in index.about if isinstance(part, AudioStream)]
    parts = Parts(index.header, entry.index, streams, max_frames=MOST_FRAMES)
    offset = entry.offset
    while True:
        box = read_box(stream, offset, index=parts.index, limits=parts.limits)
        if box is None:
            raise BadStream("cut short: the end box is missing")
        where = f"{box.label} at byte {box.offset}"
        if (box.type, box.name) == (BoxType.CRITICAL, END_BOX):
            if parts.index != index.end.frames or parts.order.due:
                raise BadStream(f"{where}: the index is not that of the file")
            return
        for part in parts.take(box):
            if offset == entry.offset and not _is(part, entry):
                raise BadStream(f"{where}: the index is not that of the file")
            yield part
        offset += box.size


def _is(part: Part, entry: Entry) -> bool:
    return isinstance(part, VideoFrame) and part.type == FrameType.I and entry_of(part) == entry


def _end_box(stream: BinaryIO, parts: Parts) -> Box:
    """The end box, found from the size in the file's last bytes."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, length - TRAILER_BYTES))
    size = int.from_bytes(stream.read(TRAILER_BYTES)[:4], "little")
    if not TRAILER_BYTES < size <= min(length, 2 * MAX_NAMED):
        raise BadStream("cut short: the end box is missing")
    stream.seek(length - size)
    try:
        box = read_box(stream, length - size, limits=parts.limits)
    except BadStream as error:
        raise BadStream("cut short or damaged at its end: the end box is missing") from error
    if box is None or (box.type, box.name, box.size) != (BoxType.CRITICAL, END_BOX, size):
        raise BadStream("cut short or damaged at its end: the end box is missing")
    return box
