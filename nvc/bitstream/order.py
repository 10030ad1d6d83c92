"""Display order and times of the frames of a video (FORMAT.md, chapter 4): what follows from the rule, what does not.

The same object serves writer and readers: it knows which frame is due, where the rule puts it, and what may not be.
"""

from dataclasses import dataclass

from nvc.bitstream.container import FrameType
from nvc.bitstream.header import VideoParameters

MAX_TIME = 1 << 60  # ticks


@dataclass(frozen=True)
class Place:
    """Where a frame is shown. display: index from 0; time: ticks, None for what lies before the start of reading."""

    display: int
    time: int | None


class DisplayOrder:
    """Places frames, given in coding order.

    video: what the header says
    index: coded index of the first frame given, which must be an I frame
    Everything raises ValueError (one line) for a frame that may not come, and then has not changed.
    """

    def __init__(self, video: VideoParameters, index: int = 0) -> None:
        self._video = video
        # All frames coded before an anchor are shown up to the anchor before it: index is a display index too.
        self._anchor = Place(index - 1, None)
        self._last_intra = 0
        self._halves: list[tuple[Place, Place]] = []  # neighbours of the B frames that are due, the next one last
        self.first: Place | None = None

    @property
    def due(self) -> bool:
        """Whether a B frame must come next; else an anchor (I or P) or the end."""
        return bool(self._halves)

    @property
    def anchor(self) -> Place:
        """The latest anchor, which is the last frame on display where nothing is due."""
        return self._anchor

    @property
    def largest_gap(self) -> int:
        """Frames from one anchor to the next where nothing is said."""
        return 1 if self._anchor.display < 0 else self._video.gop

    def place(self, kind: FrameType, gap: int | None, step: int) -> Place:
        """Take the next frame.

        gap:  its display gap where explicit, else None
        step: ticks from the expected time, 0 where not explicit
        """
        if gap == self.largest_gap:
            raise ValueError(f"the display gap {gap} is explicit without need")
        display, expected = self._expect(kind, gap)
        placed = Place(display, None if expected is None else expected + step)
        self._check_time(kind, placed)
        if kind == FrameType.B:
            low, high = self._halves.pop()
            self._push(placed, high)
            self._push(low, placed)
        else:
            self._push(self._anchor, placed)
            self._anchor = placed
            if kind == FrameType.I:
                self._last_intra = display
            self.first = self.first or placed
        return placed

    def explicit(self, kind: FrameType, display: int | None, time: int | None) -> tuple[int | None, int]:
        """(gap, step) with which `place` puts the next frame at `display` and `time`; None: where the rule puts it."""
        gap = None
        if display is not None and kind != FrameType.B:
            gap = display - self._anchor.display
            gap = None if gap == self.largest_gap else gap
        due, expected = self._expect(kind, gap)
        if display is not None and display != due:
            raise ValueError(f"a frame of display index {display} where {due} is due")
        return gap, 0 if time is None or expected is None else time - expected

    def _expect(self, kind: FrameType, gap: int | None) -> tuple[int, int | None]:
        """Display index and expected time of the next frame."""
        if kind == FrameType.B:
            if not self._halves:
                raise ValueError("a B frame where none is due")
            if gap is not None:
                raise ValueError("a B frame with a display gap")
            return self._between(*self._halves[-1])
        if self._halves:
            raise ValueError(f"a frame of type {kind.name} where a B frame is due")
        gap = self.largest_gap if gap is None else gap
        if not 1 <= gap <= self.largest_gap:
            raise ValueError(f"a display gap of {gap} outside 1..{self.largest_gap}")
        display = self._anchor.display + gap
        intra = kind == FrameType.I
        period = self._video.intra_period
        since = display - self._last_intra
        if period and self.first and since >= period + intra:
            raise ValueError(f"type {kind.name}, {since} frames after the last I frame: the intra period is {period}")
        if intra:
            return display, display * self._video.frame_duration
        if self._anchor.time is None:
            raise ValueError("a P frame without a frame before it")
        return display, self._anchor.time + gap * self._video.frame_duration

    @staticmethod
    def _between(low: Place, high: Place) -> tuple[int, int | None]:
        display = (low.display + high.display) // 2
        if low.time is None or high.time is None:
            return display, None
        share = (high.time - low.time) * (display - low.display) // (high.display - low.display)
        return display, low.time + share

    def _check_time(self, kind: FrameType, placed: Place) -> None:
        if placed.time is None:
            return
        if abs(placed.time) > MAX_TIME:
            raise ValueError("a time beyond 2^60 ticks")
        low, high = self._halves[-1] if kind == FrameType.B else (self._anchor, None)
        if (low.time is not None and placed.time <= low.time) or (
            high is not None and high.time is not None and placed.time >= high.time
        ):
            raise ValueError(f"its time {placed.time} does not lie between those of its neighbours")

    def _push(self, low: Place, high: Place) -> None:
        if high.display - low.display > 1:
            self._halves.append((low, high))
