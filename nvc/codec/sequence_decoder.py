"""A video file to frames, one at a time, in display order; every frame compared with its checksum."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from nvc.bitstream.container import FrameType
from nvc.bitstream.header import QUALITY_STEPS, Header
from nvc.bitstream.video_frame import VideoFrame, planes_checksum
from nvc.codec.frame_coding import FrameCoder
from nvc.codec.video_backend import Place, Reference
from nvc.codec.video_model import VideoModel
from nvc.errors import BadStream
from nvc.frames import Frame420


@dataclass(frozen=True)
class DecodedFrame:
    """frame, and where it belongs: display index, time in ticks. bits: as nvc.codec.frame_coding, where counted."""

    frame: Frame420
    display: int
    time: int
    type: FrameType


class SequenceDecoder:
    """Decodes coded frames in coding order. Starts anew at every I frame, so that frames may be left out before one."""

    def __init__(self, header: Header, model: VideoModel) -> None:
        """Raises BadStream where the header does not fit its model."""
        self._header, self._backend = header, model.backend
        if header.quality > self._backend.levels:
            raise BadStream(f"quality {header.quality:g}, but its model ends at {self._backend.levels}; damaged")
        self._coder = FrameCoder(self._backend, model.tables)
        self._anchors: list[int] = []  # display indexes of what may be referred to, ascending
        self._references: dict[int, Reference] = {}

    def frame(self, coded: VideoFrame, bits: dict[tuple[str, str], float] | None = None) -> DecodedFrame:
        """The next frame. Raises BadStream, naming the frame, for a damaged one; never shows a wrong one.

        bits: filled in with the bits of each part, if given.
        """
        header = self._header
        level = header.quality_code // QUALITY_STEPS + 1 + coded.table_set
        if level > self._backend.levels or coded.type not in self._backend.informations:
            raise BadStream(f"frame {coded.display}: its type or tables are not of its codec; damaged")
        try:
            content = self._coder.decode(
                coded.type, coded.payload, coded.reparameterised, level, header.quality_code,
                (header.height, header.width), bits,
            )  # fmt: skip
        except BadStream as exc:
            raise BadStream(f"frame {coded.display}: {exc}") from exc
        place = self._place_of(coded)
        decoded = self._backend.decode(content, place, header.quality_code, header.height, header.width)
        if planes_checksum(decoded.frame.planes) != coded.checksum:
            raise BadStream(f"frame {coded.display}: the decoded frame is not the encoded one: its checksum differs")
        self._remember(coded, decoded)
        return DecodedFrame(decoded.frame, coded.display, coded.time, coded.type)

    def _place_of(self, coded: VideoFrame) -> Place:
        if coded.type == FrameType.I:
            return Place(coded.type)
        place = bisect.bisect_left(self._anchors, coded.display)
        near = self._anchors[place - 1 : place] + (
            self._anchors[place : place + 1] if coded.type == FrameType.B else []
        )
        if len(near) != (2 if coded.type == FrameType.B else 1):
            raise BadStream(f"frame {coded.display}: the frames that it refers to are missing")
        references = [self._references[display] for display in near]
        return Place(coded.type, references, [display - coded.display for display in near])

    def _remember(self, coded: VideoFrame, decoded: Reference) -> None:
        if coded.type != FrameType.B:
            # Of all frames before a new anchor only the anchor before it is referred to from here on.
            kept = self._anchors[-1:]
            self._anchors = [*kept, coded.display]
            self._references = {display: self._references[display] for display in kept}
        else:
            bisect.insort(self._anchors, coded.display)
        self._references[coded.display] = decoded


class DisplayQueue:
    """Frames from coding to display order; each is given as soon as those before it have been."""

    def __init__(self) -> None:
        self._waiting: dict[int, DecodedFrame] = {}
        self._due: int | None = None  # the first frame coded is the first one shown

    def put(self, frame: DecodedFrame) -> Iterator[DecodedFrame]:
        """Take the next frame in coding order; yields those whose turn it is."""
        self._due = frame.display if self._due is None else self._due
        self._waiting[frame.display] = frame
        while self._due in self._waiting:
            yield self._waiting.pop(self._due)
            self._due += 1

    def rest(self) -> Iterator[DecodedFrame]:
        """Those that still wait, for frames that are missing; a new stretch may begin anywhere."""
        for display in sorted(self._waiting):
            yield self._waiting.pop(display)
        self._due = None
