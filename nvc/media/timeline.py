"""Time stamps that only go forward, out of whatever a file says."""

from fractions import Fraction


class Timeline:
    """Places frames in display order, in ticks of a time base.

    A stamp that moves forward is kept as it is. A missing one is filled by the frame rate. One that repeats lands half
    a frame on; one that runs backward starts a new stretch of the clock one frame on, and the old clock holds again as
    soon as its stamps do.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction) -> None:
        self._frame = 1 / (frame_rate * time_base)  # ticks of a frame
        self._last: int | None = None
        self._known = 0  # the last stamp that the file gave
        self._filled = 0  # frames without a stamp since then
        self._offset = 0
        self.warnings: list[str] = []

    def place(self, stamp: int | None) -> int:
        """Ticks of the next frame, above those of every frame before it."""
        if stamp is None:
            self._note("time stamps are missing: filled by the frame rate")
            if self._last is None:
                placed = 0
            else:
                self._filled += 1
                placed = self._known + round(self._filled * self._frame)
        else:
            placed = stamp if self._last is None or stamp > self._last else stamp + self._offset
        if self._last is not None and placed <= self._last:
            self._note("time stamps repeat or run backward: mended")
            placed = self._last + max(1, round(self._frame / 2 if placed == self._last else self._frame))
            self._offset = 0 if stamp is None else placed - stamp
        if stamp is not None or self._last is None:
            self._known, self._filled = placed, 0
        self._last = placed
        return placed

    def _note(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)
