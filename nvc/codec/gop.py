"""Groups of pictures as data: in which order frames are coded, as what, and from which references.

    low delay, period 4      I0 P1 P2 P3 | I4 P5 …                     each P refers to the frame before
    hierarchical, GOP 4      I0 | P4 B2 B1 B3 | P8 B6 B5 B7 …          each B refers to both neighbours that are coded
    … intra period 8         I0 | P4 B2 B1 B3 | I8 B6 B5 B7 | P12 …    open: the I frame ends a group as P frames do
    … intra period 9         I0 | P4 B2 B1 B3 | P8 B6 B5 B7 | I9 …     closed: no frame shown before it refers to it
    all intra                I0 | I1 | I2 …

A plan is made group by group, as frames arrive: a group is as many frames as must be known before its first can be
coded. FORMAT.md 4 gives the order; nothing here is stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nvc.bitstream.container import FrameType


@dataclass(frozen=True)
class FramePlan:
    """One frame in coding order. display: index; references: display indexes; level: temporal, 0 for anchors."""

    display: int
    type: FrameType
    references: tuple[int, ...] = ()
    level: int = 0


@dataclass(frozen=True)
class Gop:
    """size: frames from anchor to anchor, a power of two; intra_period: most frames from I to I, 0 without limit.

    closed: groups end with P frames alone; else intra_period is a multiple of size (ValueError otherwise).
    """

    size: int = 1
    intra_period: int = 32
    closed: bool = False

    def __post_init__(self) -> None:
        if self.size not in (1, 2, 4, 8, 16, 32):
            raise ValueError(f"a GOP of {self.size} frames: 1, 2, 4, 8, 16 or 32")
        if self.intra_period < 0 or (self.intra_period % self.size and not self.closed):
            raise ValueError(f"an intra period of {self.intra_period} frames is no multiple of the GOP of {self.size}")

    def intra_due(self, display: int, last_intra: int) -> bool:
        """Whether the anchor at `display` must be an I frame."""
        return display == 0 or (self.intra_period > 0 and display - last_intra >= self.intra_period)

    def complete(self, waiting: int, display: int, last_intra: int) -> bool:
        """Whether the frame at `display` is an anchor, the last of so many that wait, whatever comes behind it."""
        alone = self.closed and any(self.intra_due(frame, last_intra) for frame in (display, display + 1))
        return display == 0 or waiting == self.size or alone

    def group(self, anchor: int, previous: int, intra: bool) -> Iterator[FramePlan]:
        """The frames after anchor `previous` up to the anchor at display index `anchor`, in coding order.

        intra: the anchor is an I frame. Without a frame before it `previous` is anchor - 1.
        """
        if intra:
            yield FramePlan(anchor, FrameType.I)
        else:
            yield FramePlan(anchor, FrameType.P, (previous,))
        yield from _between(previous, anchor, 1)


def _between(low: int, high: int, level: int) -> Iterator[FramePlan]:
    """B frames between two coded ones: the middle, then the earlier half, then the later."""
    if high - low < 2:
        return
    middle = (low + high) // 2
    yield FramePlan(middle, FrameType.B, (low, high), level)
    yield from _between(low, middle, level + 1)
    yield from _between(middle, high, level + 1)
