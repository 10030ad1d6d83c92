"""Frames as numbered PNG pictures."""

import os
from contextlib import suppress
from pathlib import Path

from nvc.errors import OutputError
from nvc.frames import Frame420
from nvc.media.audio import AudioPacket
from nvc.media.colour import UNSTATED, frame_to_rgb
from nvc.media.picture_metadata import Metadata
from nvc.media.picture_writer import write_picture
from nvc.media.pictures import Picture
from nvc.media.raw_video import off_beat
from nvc.media.video_info import VideoInfo

FIRST = 1  # as FFmpeg numbers
_NAME = "frame%06d.png"
_ORDINARY = (1, 5, 6, 7, UNSTATED)  # primaries whose pictures are shown right without a tag


class PngSequence:
    """A picture per frame: `target` is a pattern with one %d or %0Nd, or a folder. No file is overwritten.

    A gap in front of what was not finished is never left: abort() removes the pictures that were written.
    """

    def __init__(self, target: Path, info: VideoInfo) -> None:
        self._pattern = str(target / _NAME if target.is_dir() else target)
        try:
            self._pattern % FIRST
        except (TypeError, ValueError) as error:
            raise OutputError("a PNG sequence needs a pattern such as frame%04d.png, or a folder") from error
        folder = os.path.dirname(self._pattern) or "."
        if not os.path.isdir(folder):
            raise OutputError(f"no folder {folder!r} to write into")
        self._info = info
        self._matrix = info.colour.matrix_for(info.width, info.height)
        colour = info.colour
        tagged = colour.primaries not in _ORDINARY or colour.transfer in (16, 18)
        # cICP: RGB (matrix 0), full range
        self._metadata = Metadata(cicp=bytes((colour.primaries, colour.transfer, 0, 1)) if tagged else None)
        self._written = 0
        self.warnings: list[str] = ["png holds no audio: left out"] if info.audio is not None else []

    def write(self, frame: Frame420, pts: int) -> None:
        """The next frame, at the next number."""
        path = Path(self._pattern % (FIRST + self._written))
        if os.path.lexists(path):
            raise OutputError(f"{path.name} exists")
        rgb = frame_to_rgb(frame, self._matrix, self._info.colour.full_range)
        note = off_beat(self._info, self._written, pts)
        self._written += 1
        write_picture(Picture(rgb, metadata=self._metadata), path, "png")
        if note and f"png {note}" not in self.warnings:
            self.warnings.append(f"png {note}")

    def write_audio(self, packet: AudioPacket) -> None:
        """There is no place for it."""

    def close(self) -> None:
        """Everything is written."""

    def abort(self) -> None:
        """Remove the pictures."""
        for number in range(self._written):
            with suppress(OSError):
                os.unlink(self._pattern % (FIRST + number))
