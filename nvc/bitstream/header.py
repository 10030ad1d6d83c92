"""The header box (FORMAT.md, chapter 3).

Its fields are declared once, in LAYOUT and VIDEO_LAYOUT; reading, writing, listing and the tables of FORMAT.md follow
from them (tests/test_format_doc.py compares the tables).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from nvc.bitstream import fields
from nvc.bitstream.boxes import SIGNATURE, check_signature, read_varint
from nvc.bitstream.fields import Field, Group
from nvc.errors import BadStream, LimitError

MAX_SIDE = 1 << 24  # pixels; keeps both sizes in four bytes and their product in 48 bits
MAX_PIXELS = 1 << 28  # default of --max-pixels: 16384 x 16384, about 3 GiB of float32 RGB
MODEL_ID_BYTES = 4

MIN_QUALITY, MAX_QUALITY = 1.0, 8.0
QUALITY_STEPS = 4096  # grid points between two levels
MAX_QUALITY_CODE = int(MAX_QUALITY - MIN_QUALITY) * QUALITY_STEPS


class Kind(IntEnum):
    """What the file holds."""

    PICTURE = 0
    VIDEO = 1


LAYOUT = (
    Group(
        "u8",
        (
            Field("codec", 1, 15, "codec number: 1 = image, 2 = ssf, 3 = lhbdc, 4 = aivc", bits=4),
            Field("kind", 0, 1, "0 = picture, 1 = video", bits=1),
            Field("grey", 0, 1, "0 = three planes R, G, B; 1 = one plane", bits=1),
            Field("reserved", 0, 0, "must be 0", bits=2),
        ),
    ),
    Group("bytes", (Field("model_id", 4, 4, "model id (chapter 9): which weights decode the file"),)),
    Group(
        "u16",
        (
            Field("quality_code", 0, MAX_QUALITY_CODE, "quality = 1 + quality_code / 4096, 1.0 to 8.0", bits=15),
            Field("table_set", 0, 1, "0 = tables of level floor(quality), 1 = of floor(quality) + 1", bits=1),
        ),
    ),
    Group("varint", (Field("width", 1, MAX_SIDE, "columns, in pixels; stored as width - 1", bias=1),)),
    Group("varint", (Field("height", 1, MAX_SIDE, "rows, in pixels; stored as height - 1", bias=1),)),
)

MAX_INT = (1 << 31) - 1  # of FFmpeg's fractions, so that every time base and rate passes through
MAX_FRAME_DURATION = 1 << 28  # ticks; 2^31 frames of it stay below the 2^60 of FORMAT.md, chapter 4

VIDEO_LAYOUT = (
    Group("varint", (Field("time_num", 1, MAX_INT, "time base: a tick is time_num / time_den seconds"),)),
    Group("varint", (Field("time_den", 1, MAX_INT, ""),)),
    Group("varint", (Field("frame_duration", 1, MAX_FRAME_DURATION, "nominal duration of a frame, in ticks"),)),
    Group("varint", (Field("aspect_num", 1, 65535, "width of a sample / height of a sample"),)),
    Group("varint", (Field("aspect_den", 1, 65535, ""),)),
    Group("u8", (Field("primaries", 0, 255, "colour primaries, H.273", bits=8),)),
    Group("u8", (Field("transfer", 0, 255, "transfer characteristics, H.273", bits=8),)),
    Group("u8", (Field("matrix", 1, 255, "matrix coefficients, H.273", bits=8),)),
    Group(
        "u8",
        (
            Field("full_range", 0, 1, "0 = Y from 16 to 235, 1 = from 0 to 255", bits=1),
            Field("gop_log2", 0, 5, "GOP of 2^gop_log2 frames, 1 to 32", bits=3),
            Field("low_latency", 0, 1, "1 = frames are in display order", bits=1),
            Field("reserved", 0, 0, "must be 0", bits=3),
        ),
    ),
    Group("varint", (Field("intra_period", 0, MAX_INT, "most frames from I to I; 0 = no limit"),)),
)

UNSPECIFIED = 2  # H.273's code point for a colour description that the source did not give


def quality_code(quality: float) -> int:
    """Nearest point of the file's grid to a quality 1.0..8.0. ValueError outside."""
    if not MIN_QUALITY <= quality <= MAX_QUALITY:
        raise ValueError(f"quality {quality} outside {MIN_QUALITY:g}..{MAX_QUALITY:g}")
    return round((quality - MIN_QUALITY) * QUALITY_STEPS)


@dataclass(frozen=True)
class VideoParameters:
    """What the header says of a video beside its size. ValueError where a value is outside its range in VIDEO_LAYOUT.

    time_num / time_den: seconds of one tick   frame_duration: ticks   aspect_num / aspect_den: width / height of a
    sample   primaries, transfer, matrix: code points of H.273   gop_log2: log2 of the GOP size in frames
    intra_period: most frames from one I frame to the next, 0 without limit
    """

    time_num: int
    time_den: int
    frame_duration: int = 1
    aspect_num: int = 1
    aspect_den: int = 1
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False
    gop_log2: int = 0
    low_latency: bool = True
    intra_period: int = 0

    def __post_init__(self) -> None:
        problem = fields.problem(VIDEO_LAYOUT, self)
        if problem:
            raise ValueError(problem)

    @property
    def time_base(self) -> Fraction:
        """Seconds of one tick."""
        return Fraction(self.time_num, self.time_den)

    @property
    def fps(self) -> Fraction:
        """Nominal frames per second."""
        return 1 / (self.time_base * self.frame_duration)

    @property
    def gop(self) -> int:
        """Frames from one anchor (I or P) to the next, where nothing else is said."""
        return 1 if self.low_latency else 1 << self.gop_log2


@dataclass(frozen=True)
class Header:
    """Content of the header box. ValueError where a value is outside the range that LAYOUT gives it.

    codec: 1..15   model_id: 4 bytes   quality_code: 0..28672   table_set: 0 or 1   width, height: pixels
    video: what a video has beside these; None for a picture
    """

    codec: int
    model_id: bytes
    quality_code: int
    width: int
    height: int
    table_set: int = 0
    grey: bool = False
    video: VideoParameters | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(problem)

    @property
    def quality(self) -> float:
        """Quality 1.0..8.0, exact (a multiple of 1/4096)."""
        return MIN_QUALITY + self.quality_code / QUALITY_STEPS

    @property
    def table_level(self) -> int:
        """Level 1..8 whose tables code this file."""
        return math.floor(self.quality) + self.table_set

    @property
    def pixels(self) -> int:
        """width * height."""
        return self.width * self.height

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded uint8 array: (height, width, 3), or (height, width) for grey."""
        return (self.height, self.width) if self.grey else (self.height, self.width, 3)

    @property
    def kind(self) -> Kind:
        """Video where there are parameters of video."""
        return Kind.PICTURE if self.video is None else Kind.VIDEO

    def write(self) -> bytes:
        """Content of the header box."""
        content = fields.write_fields(LAYOUT, self)
        return content if self.video is None else content + fields.write_fields(VIDEO_LAYOUT, self.video)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(name, value, meaning) of each field, for listings."""
        for layout, source in ((LAYOUT, self), (VIDEO_LAYOUT, self.video)):
            for field in fields.fields_of(layout) if source is not None else ():
                value = getattr(source, field.name)
                yield field.name, value.hex() if isinstance(value, bytes) else str(int(value)), field.meaning

    def _problem(self) -> str:
        problem = fields.problem(LAYOUT, self)
        if problem:
            return problem
        if self.table_level > MAX_QUALITY:
            return "table_set 1 at quality 8: there is no level 9"
        if self.video is not None and (self.grey or self.table_set):
            return "grey and table_set are 0 in a video"
        return ""


def read_header(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Header from the content of its box, every field checked.

    Raises BadStream for a value that the format forbids, LimitError for more than `max_pixels` pixels.
    """
    values, position = fields.read_fields(LAYOUT, content, 0, "header")
    video = None
    if values.pop("kind") == Kind.VIDEO:
        video, position = _read_video(content, position)
    if position != len(content):
        raise BadStream(f"header: {len(content) - position} bytes too many")
    values["grey"] = bool(values["grey"])
    try:
        header = Header(**values, video=video)  # type: ignore[arg-type]  # names and types are LAYOUT's, checked above
    except ValueError as error:
        raise BadStream(f"header: {error}") from error
    if header.pixels > max_pixels:
        raise LimitError(
            f"{header.width}x{header.height} is {header.pixels} pixels, "
            f"more than the limit of {max_pixels} (--max-pixels)"
        )
    return header


def _read_video(content: bytes, position: int) -> tuple[VideoParameters, int]:
    values, position = fields.read_fields(VIDEO_LAYOUT, content, position, "header")
    flags = {name: bool(values[name]) for name in ("full_range", "low_latency")}
    return VideoParameters(**(values | flags)), position  # type: ignore[arg-type]  # as VIDEO_LAYOUT declares them


def sniff_kind(data: bytes) -> Kind:
    """What the file claims to hold, from its first 10 bytes, before anything else is checked. Raises BadStream."""
    check_signature(data[: len(SIGNATURE)])
    _, position = read_varint(data, len(SIGNATURE), "header box")
    if position >= len(data):
        raise BadStream("cut short inside the header box")
    values, _ = fields.read_fields(LAYOUT[:1], data, position, "header")
    return Kind(int(values["kind"]))
