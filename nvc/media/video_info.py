"""What is known of a video beside its frames."""

from dataclasses import dataclass, field
from fractions import Fraction

from nvc.media.audio import AudioInfo
from nvc.media.colour import Colour


@dataclass(frozen=True)
class VideoInfo:
    """Of upright frames, as they are coded.

    width, height: pixels
    frame_rate:    frames a second (of VFR: the mean that the source states)
    time_base:     unit of pts, in seconds
    colour:        CICP code points as the source states them; `guess` is one line where the matrix is assumed, else ""
    pixel_aspect:  width of a pixel over its height
    frames:        how many are expected (a hint for progress; sources lie), or None
    orientation:   Exif code 1..8 of the turn that was undone; 1 = none
    interlaced:    whether frames hold two fields
    audio:         the track that goes along, or None
    warnings:      one line each for what reading has lost so far
    """

    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    colour: Colour = field(default_factory=Colour)
    guess: str = ""
    pixel_aspect: Fraction = Fraction(1)
    frames: int | None = None
    orientation: int = 1
    interlaced: bool = False
    audio: AudioInfo | None = None
    warnings: tuple[str, ...] = ()

    @property
    def frame_ticks(self) -> int:
        """Nominal duration of a frame in ticks of time_base, at least 1."""
        return max(1, round(1 / (self.frame_rate * self.time_base)))
