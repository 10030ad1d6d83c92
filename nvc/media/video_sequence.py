"""Numbered pictures as one video."""

import itertools
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame

from nvc.errors import InputError
from nvc.media.libav_guard import OPTIONS, guarded
from nvc.media.video_probe import Content, refusal
from nvc.media.video_source import BUFFER, DEFAULT_RATE, check_pixels

_FIELD = re.compile(r"%(?:0(\d+))?d")


class SequenceSource:
    """Numbered picture files as one video, each decoded by libav as stored (a JPEG's planes are not touched)."""

    def __init__(self, pattern: Path, *, fps: Fraction | None, max_pixels: int) -> None:
        self._files = numbered_files(pattern)
        self._max_pixels = max_pixels
        self.frame_rate = fps or DEFAULT_RATE
        self.time_base = 1 / self.frame_rate
        self.untimed = True
        self.hidden_alpha = False
        self.warnings = [] if fps else [f"states no frame rate: {self.frame_rate} frames a second are assumed (--fps)"]
        self.stated_frames = self.expected_frames = len(self._files)
        self.container = self.video = None

    def close(self) -> None:
        """Nothing is held open."""

    def events(self, audio: None) -> Iterator[VideoFrame]:
        """Decoded pictures in the order of their numbers."""
        for path in self._files:
            with guarded(InputError, f"{path.name}: not a picture that nvc reads, or damaged"), path.open("rb") as file:
                with av.open(Content(file), "r", options=dict(OPTIONS), buffer_size=BUFFER) as container:
                    if not refusal(container.format.name, b"") or not container.streams.video:
                        raise InputError(f"{path.name}: not a picture")
                    context = container.streams.video[0].codec_context
                    check_pixels(context.width, context.height, self._max_pixels, f"{path.name}: ")
                    context.options = {"err_detect": "crccheck+explode"}
                    frames = list(container.decode(video=0))
                if len(frames) != 1:
                    raise InputError(f"{path.name}: holds {len(frames)} frames, not one picture")
                yield frames[0]


def is_pattern(name: str) -> bool:
    """Whether a file name stands for a numbered sequence: one %d or %0Nd, and no file of that very name."""
    return len(_FIELD.findall(os.path.basename(name))) == 1 and not os.path.lexists(name)


def numbered_files(pattern: Path) -> list[Path]:
    """Files that a pattern such as frame%04d.png names, by number, wherever the numbers start.

    Raises InputError where there are none, or where a number between the first and the last is missing.
    """
    before, width, after = _FIELD.split(pattern.name)
    wanted = re.compile(re.escape(before) + r"([0-9]+)" + re.escape(after))
    names: dict[int, str] = {}
    try:
        for name in os.listdir(pattern.parent):
            found = wanted.fullmatch(name)
            # as %d writes them: frame9999.png goes on as frame10000.png
            if found and found[1] == f"{int(found[1]):0{int(width or 1)}d}":
                names[int(found[1])] = name
    except OSError as error:
        raise InputError((error.strerror or str(error)).lower()) from error
    if not names:
        raise InputError("no file has a name of this pattern")
    numbers = sorted(names)
    for number, following in itertools.pairwise(numbers):
        if following != number + 1:
            raise InputError(f"{names[number]} is not followed by number {number + 1} but by {names[following]}")
    return [pattern.parent / names[number] for number in numbers]
