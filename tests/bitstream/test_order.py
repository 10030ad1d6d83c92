"""Display order and times: against the structures of the papers, and every frame that may not come."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.container import FrameType
from nvc.bitstream.header import VideoParameters
from nvc.bitstream.order import DisplayOrder, Place

I, P, B = FrameType.I, FrameType.P, FrameType.B  # noqa: E741  # the fields' own names
LOW = VideoParameters(1, 25, frame_duration=40)
GOP8 = VideoParameters(1, 1000, frame_duration=40, gop_log2=3, low_latency=False)


def test_low_latency_is_coding_order() -> None:
    order = DisplayOrder(LOW)
    places = [order.place(kind, None, 0) for kind in (I, P, P, I, P)]
    assert places == [Place(i, 40 * i) for i in range(5)]
    assert not order.due


def test_hierarchy_of_lhbdc() -> None:
    order = DisplayOrder(GOP8)
    shown = [order.place(kind, None, 0).display for kind in (I, I, B, B, B, B, B, B, B, P)]
    assert shown == [0, 8, 4, 2, 1, 3, 6, 5, 7, 16]
    assert order.due


def test_closed_gop_of_aivc_and_a_short_one() -> None:
    """I, GOP of 8 ending in P, the next I as its neighbour, then a GOP of 3."""
    order = DisplayOrder(GOP8)
    frames = [(I, None), (P, None), *[(B, None)] * 7, (I, 1), (P, 3), (B, None), (B, None)]
    places = [order.place(kind, gap, 0) for kind, gap in frames]
    assert [place.display for place in places] == [0, 8, 4, 2, 1, 3, 6, 5, 7, 9, 12, 10, 11]
    assert all(place.time == 40 * place.display for place in places)
    assert order.anchor == Place(12, 480)


@pytest.mark.parametrize("period", [9, 8])
def test_closed_gops_and_the_intra_period(period: int) -> None:
    """The period need not be a multiple of the GOP: an I frame stands behind the last P frame, with a gap of 1."""
    order = DisplayOrder(VideoParameters(1, 25, gop_log2=3, low_latency=False, intra_period=period))
    last = None if period == 9 else period - 1
    for start in (0, period, 2 * period):
        assert order.place(I, 1 if start else None, 0).display == start
        assert order.place(P, last, 0).display == start + period - 1
        with pytest.raises(ValueError, match="a frame of type I where a B frame is due"):
            order.place(I, 1, 0)
        assert sorted(order.place(B, None, 0).display for _ in range(period - 2)) == [
            *range(start + 1, start + period - 1)
        ]
        with pytest.raises(ValueError, match=f"type P, {period} frames after the last I frame"):
            order.place(P, 1, 0)


def test_times_of_p_go_on_from_the_anchor_and_those_of_i_from_the_grid() -> None:
    order = DisplayOrder(LOW)
    assert [order.place(kind, None, step).time for kind, step in ((I, 7), (P, 0), (P, -3), (P, 0), (I, 0))] == [
        7,
        47,
        84,
        124,
        160,
    ]


def test_times_of_b_lie_between() -> None:
    order = DisplayOrder(GOP8)
    times = {order.place(kind, None, step).display: 0 for kind, step in ((I, 0), (P, -20), (B, 5))}
    assert list(times) == [0, 8, 4]
    assert [order.place(B, None, 0) for _ in range(2)] == [Place(2, 77), Place(1, 38)]  # of 0, 155 and of 0, 77


@pytest.mark.parametrize(
    ("video", "before", "frame", "message"),
    [
        (LOW, [], (P, None, 0), "a P frame without a frame before it"),
        (LOW, [], (B, None, 0), "a B frame where none is due"),
        (LOW, [I], (B, None, 0), "a B frame where none is due"),
        (LOW, [I], (P, 1, 0), "the display gap 1 is explicit without need"),
        (LOW, [I], (P, 2, 0), "a display gap of 2 outside 1..1"),
        (LOW, [I], (P, None, -40), "its time 0 does not lie between those of its neighbours"),
        (LOW, [I, P], (I, None, -40), "its time 40 does not lie between those of its neighbours"),
        (LOW, [], (I, None, 1 << 61), "a time beyond 2^60 ticks"),
        (GOP8, [], (I, 1, 0), "the display gap 1 is explicit without need"),
        (GOP8, [], (I, 2, 0), "a display gap of 2 outside 1..1"),
        (GOP8, [I], (P, 8, 0), "the display gap 8 is explicit without need"),
        (GOP8, [I], (P, 9, 0), "a display gap of 9 outside 1..8"),
        (GOP8, [I, P], (P, None, 0), "a frame of type P where a B frame is due"),
        (GOP8, [I, P], (I, None, 0), "a frame of type I where a B frame is due"),
        (GOP8, [I, P], (B, 4, 0), "a B frame with a display gap"),
        (GOP8, [I, P], (B, None, 160), "its time 320 does not lie between those of its neighbours"),
        (GOP8, [I, P], (B, None, -160), "its time 0 does not lie between those of its neighbours"),
    ],
)
def test_refused(video: VideoParameters, before: list[FrameType], frame: tuple, message: str) -> None:
    order = DisplayOrder(video)
    for kind in before:
        order.place(kind, None, 0)
    anchor, due = order.anchor, order.due
    with pytest.raises(ValueError) as got:  # noqa: PT011  # the whole message is compared
        order.place(*frame)
    assert str(got.value) == message
    assert (order.anchor, order.due) == (anchor, due)


def test_intra_period() -> None:
    order = DisplayOrder(VideoParameters(1, 25, intra_period=3))
    for kind in (I, P, P, I, P, P):
        order.place(kind, None, 0)
    with pytest.raises(ValueError, match="type P, 3 frames after the last I frame: the intra period is 3"):
        order.place(P, None, 0)
    order.place(I, None, 0)


def test_intra_period_and_gop() -> None:
    """A GOP does not carry an I frame beyond the period."""
    order = DisplayOrder(VideoParameters(1, 25, gop_log2=2, low_latency=False, intra_period=6))
    for kind in (I, P, B, B, B):
        order.place(kind, None, 0)
    with pytest.raises(ValueError, match="type I, 8 frames after the last I frame: the intra period is 6"):
        order.place(I, None, 0)
    order.place(I, 2, 0)
    begun = DisplayOrder(VideoParameters(1, 25, intra_period=6), 40)
    begun.place(I, None, 0)
    with pytest.raises(ValueError, match="type P"):
        [begun.place(P, None, 0) for _ in range(6)]


def test_beginning_elsewhere() -> None:
    """At coded index 9, an I frame with a gap of 4: the three B frames before it have no time, then all is as ever."""
    order = DisplayOrder(GOP8, 9)
    assert order.place(I, 4, 3) == Place(12, 483)
    assert [order.place(B, None, 0) for _ in range(3)] == [Place(10, None), Place(9, None), Place(11, None)]
    assert order.place(P, None, 0) == Place(20, 803)


@given(st.integers(0, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_explicit_brings_the_frame_back(gop_log2: int, low: bool, seed: int) -> None:
    """Any legal sequence with any rising times: explicit() and place() agree, every display index is used once."""
    rng = random.Random(seed)
    video = VideoParameters(1, 1000, frame_duration=40, gop_log2=gop_log2, low_latency=low)
    anchors = [0]
    while len(anchors) < 6:
        anchors.append(anchors[-1] + rng.randint(1, video.gop))
    times = [rng.randint(-9, 9)]
    while len(times) <= anchors[-1]:
        times.append(times[-1] + rng.choice((40, 40, 1, 200)))
    frames = [(I, 0)]
    for a, b in pairwise(anchors):
        frames.append((rng.choice((I, P)), b))
        halves = [(a, b)]
        while halves:
            low_end, high_end = halves.pop()
            if high_end - low_end > 1:
                middle = (low_end + high_end) // 2
                frames.append((B, middle))
                halves += [(middle, high_end), (low_end, middle)]
    writer, reader = DisplayOrder(video), DisplayOrder(video)
    shown = set()
    for kind, display in frames:
        gap, step = writer.explicit(kind, display, times[display])
        assert writer.place(kind, gap, step) == reader.place(kind, gap, step) == Place(display, times[display])
        shown.add(display)
    assert shown == set(range(anchors[-1] + 1))
    assert not reader.due


def test_explicit_refuses_another_display_index() -> None:
    order = DisplayOrder(GOP8)
    order.place(I, None, 0)
    with pytest.raises(ValueError, match=r"a display gap of 9 outside 1\.\.8"):
        order.explicit(P, 9, None)
    order.place(P, None, 0)
    with pytest.raises(ValueError, match="a frame of display index 3 where 4 is due"):
        order.explicit(B, 3, None)
