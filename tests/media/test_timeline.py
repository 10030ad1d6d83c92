"""Time stamps: kept where they go forward, mended where they do not."""

from fractions import Fraction

import pytest

from nvc.media.timeline import Timeline

MENDED = "time stamps repeat or run backward: mended"
MISSING = "time stamps are missing: filled by the frame rate"


def placed(*stamps: int | None, ticks: int = 40) -> tuple[list[int], list[str]]:
    """Of frames that last `ticks` thousandths of a second."""
    timeline = Timeline(Fraction(1, 1000), Fraction(1000, ticks))
    return [timeline.place(stamp) for stamp in stamps], timeline.warnings


@pytest.mark.parametrize("stamps", [(0, 40, 80), (7, 8, 500, 501), (-30, 10, 50), (10**15, 10**15 + 1)])
def test_forward_stamps_are_kept(stamps: tuple[int, ...]) -> None:
    assert placed(*stamps) == ([*stamps], [])


def test_missing_ones_follow_the_frame_rate_without_drift() -> None:
    timeline = Timeline(Fraction(1, 1000), Fraction(30))
    assert [timeline.place(None) for _ in range(7)] == [0, 33, 67, 100, 133, 167, 200]
    assert timeline.warnings == [MISSING]
    assert placed(100, None, None, 220) == ([100, 140, 180, 220], [MISSING])


def test_a_repeated_stamp_lands_half_a_frame_on() -> None:
    assert placed(0, 40, 40, 80, 120) == ([0, 40, 60, 80, 120], [MENDED])


def test_a_single_stamp_that_runs_backward() -> None:
    assert placed(0, 40, 20, 120, 160) == ([0, 40, 80, 120, 160], [MENDED])


def test_a_clock_that_starts_again_keeps_its_beat() -> None:
    assert placed(0, 40, 80, 0, 40, 80, 100) == ([0, 40, 80, 120, 160, 200, 220], [MENDED])


def test_ticks_as_long_as_frames() -> None:
    timeline = Timeline(Fraction(1, 25), Fraction(25))
    assert [timeline.place(stamp) for stamp in (0, 0, 0, 1, 5)] == [0, 1, 2, 3, 5]


def test_missing_after_a_mended_stretch_still_goes_forward() -> None:
    stamps = placed(0, 400, 0, None, None, 40, None, 500)[0]
    assert stamps == sorted(set(stamps))
