"""What is left of a damaged video file: its sound parts, and what is lost between them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from nvc.bitstream.boxes import Box, BoxType, read_box
from nvc.bitstream.container import FrameType
from nvc.bitstream.end_box import END_BOX, Ledger, read_end
from nvc.bitstream.header import MAX_PIXELS
from nvc.bitstream.resync import Search
from nvc.bitstream.video_frame import VideoFrame, read_frame
from nvc.bitstream.video_reader import MAX_FRAMES, Part, Parts, entry_of, parameters, read_video_header
from nvc.errors import BadStream


@dataclass(frozen=True)
class Lost:
    """A loss. All indexes are coded indexes.

    reason:  what is wrong, and at which byte
    size:    bytes of the file from there on in which nothing is sound; 0 where something is missing
    missing: frames whose boxes are gone
    dropped: frames that are there, and cannot be decoded without the missing ones
    leading: B frames behind the next I frame for which the same holds
    """

    reason: str
    size: int = 0
    missing: range = range(0)
    dropped: range = range(0)
    leading: range = range(0)

    @property
    def line(self) -> str:
        """The loss in one line."""
        parts = [self.reason]
        if self.size:
            parts.append(f"{self.size:,} bytes lost")
        if self.missing:
            parts.append(f"{_frames(self.missing)} lost")
        if self.dropped or self.leading:
            depending = " and ".join(_frames(frames) for frames in (self.dropped, self.leading) if frames)
            parts.append(f"{depending} cannot be decoded without what is lost")
        return "; ".join(parts)


def salvage_video(
    stream: BinaryIO, *, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES
) -> Iterator[Part | Lost]:
    """The sound parts of a video file in order, and a Lost for each loss; none of a sound file.

    stream: one that can seek. After a frame is lost, frames go on at the next I frame, with the indexes and times that
    they always had; its Lost comes before that frame. Raises BadStream when the header cannot be had, LimitError.
    """
    return _Salvage(stream, max_pixels, max_frames).run()


class _Salvage:
    def __init__(self, stream: BinaryIO, max_pixels: int, max_frames: int) -> None:
        stream.seek(0)
        header, first = read_video_header(stream, max_pixels)
        self._stream = stream
        self._frame_duration = parameters(header).frame_duration
        self._parts = Parts(header, max_frames=max_frames)
        self._search = Search(stream, self._parts)
        self._ledger = Ledger(self._frame_duration)
        self._ledger.box(first.checksum)
        self._whole = True  # nothing is lost so far
        self._waiting = False  # for an I frame
        self._losses: list[Lost] = []  # not told yet
        self._position = first.offset + first.size

    def run(self) -> Iterator[Part | Lost]:
        while self._position < self._search.size:
            box = self._next()
            if box is None:
                pass  # what could not be read is among the losses
            elif (box.type, box.name) == (BoxType.CRITICAL, END_BOX):
                self._end(box)
                yield from self._losses
                return
            else:
                yield from self._take(box)
            if not self._waiting:
                yield from self._losses
                self._losses.clear()
        self._lose(Lost(f"cut short at byte {self._position}: the end box is missing"))
        yield from self._losses

    def _next(self) -> Box | None:
        """The box at the position, which moves behind it; None and on to the next sound box where there is none."""
        try:
            self._stream.seek(self._position)
            box = read_box(self._stream, self._position, index=self._parts.index, limits=self._parts.limits)
        except BadStream as error:
            found = self._search.next_box(self._position, self._parts.index)
            start, index = found or (self._search.size, self._parts.index)
            self._lose(Lost(str(error), start - self._position, range(self._parts.index, index)))
            self._parts.index, self._position = index, start
            return None
        self._position += box.size if box else 0
        return box

    def _take(self, box: Box) -> Iterator[Part | Lost]:
        """What is in a sound box; where it ends the wait for an I frame, the losses first."""
        index = self._parts.index
        where = f"{box.label} at byte {box.offset}"
        try:
            if box.type == BoxType.FRAME and self._waiting:
                if read_frame(box.data, self._parts.header, where).type != FrameType.I:
                    self._drop(index)
                    return
                self._parts.restart(index)
            parts = list(self._parts.take(box))
        except BadStream as error:
            frames = int(box.type == BoxType.FRAME)
            self._lose(Lost(str(error), box.size, range(index, index + frames)))
            self._parts.index = index + frames
            return
        self._ledger.box(box.checksum)
        for part in parts:
            if isinstance(part, VideoFrame):
                self._ledger.frame(entry_of(part) if part.type == FrameType.I else None)
                if self._waiting and part.display > index:
                    cause = self._cause()
                    self._losses[cause] = replace(self._losses[cause], leading=range(index + 1, part.display + 1))
        if box.type == BoxType.FRAME:
            self._waiting = False
            yield from self._losses
            self._losses.clear()
        yield from parts

    def _drop(self, index: int) -> None:
        """Count a sound frame among those that depend on the loss before it."""
        cause = self._cause()
        self._losses[cause] = replace(
            self._losses[cause], dropped=range(self._losses[cause].dropped.start or index, index + 1)
        )
        self._parts.index = index + 1

    def _cause(self) -> int:
        """Which of the losses is the last that took a frame."""
        return max(i for i, loss in enumerate(self._losses) if loss.missing)

    def _lose(self, loss: Lost) -> None:
        self._whole = False
        self._waiting = self._waiting or bool(loss.missing)
        self._losses.append(loss)

    def _end(self, box: Box) -> None:
        """Compare the end box with what was read, as far as that goes."""
        try:
            frames = read_end(box, self._frame_duration).frames
            if frames != self._parts.index:
                where = f"{box.label} at byte {box.offset}"
                missing = range(self._parts.index, frames)
                self._lose(Lost(f"{where}: {frames} frames, and {self._parts.index} before it", 0, missing))
            elif self._whole:
                self._ledger.check(box, self._parts.order)
        except BadStream as error:
            self._lose(Lost(str(error)))
        if self._position < self._search.size:
            rest = self._search.size - self._position
            self._lose(Lost(f"{box.label} at byte {box.offset}: nothing may follow it", rest))


def _frames(indexes: range) -> str:
    return f"frame {indexes[0]}" if len(indexes) == 1 else f"frames {indexes[0]} to {indexes[-1]}"
