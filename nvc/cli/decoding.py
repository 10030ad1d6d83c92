"""What nvc-decode is asked for, and which of it fits which kind of file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvc.bitstream.header import Kind
from nvc.cli.files import STREAM, is_pattern, printable
from nvc.cli.kinds import kind_of_nvc
from nvc.cli.output import Existing
from nvc.errors import UsageError

# nvc.media.pictures.formats() and nvc.media.video_writer.video_formats(), written out because those modules load numpy,
# Pillow and libav: format -> suffixes of its files, the first one for derived names.
FORMATS: Final = {
    "png": (".png",),
    "ppm": (".ppm", ".pnm"),
    "pgm": (".pgm",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "jpeg": (".jpg", ".jpeg"),
}
VIDEO_FORMATS: Final = {
    "mkv": (".mkv",),
    "mp4": (".mp4", ".m4v", ".mov"),
    "y4m": (".y4m",),
    "yuv": (".yuv",),
    "png": (".png",),
}
ALL_FORMATS: Final = (*FORMATS, *(name for name in VIDEO_FORMATS if name not in FORMATS))
OF_KIND: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {Kind.PICTURE: FORMATS, Kind.VIDEO: VIDEO_FORMATS}
DEFAULTS: Final = {Kind.PICTURE: "png", Kind.VIDEO: "mkv"}
NUMBER: Final = "-%06d"  # in derived names of the pictures of a video
STREAMABLE: Final = ("mkv", "y4m", "yuv")  # formats of video that a pipe can take
MAX_FRAMES: Final = 1 << 20  # of nvc.bitstream.video_reader


@dataclass(frozen=True)
class Order:
    """What is wanted of every input; sent to worker processes. write: False for --check.

    format: None for the usual one of the kind; start, frames, max_frames: None where not given
    """

    format: str | None = None
    write: bool = True
    salvage: bool = False
    md5: bool = False
    model: str | None = None
    max_pixels: int = 1 << 28
    max_frames: int | None = None
    start: int | None = None
    frames: int | None = None
    threads: int | None = None
    existing: Existing = Existing.REFUSE

    def format_of(self, kind: Kind) -> str:
        """The format of the output."""
        return self.format or DEFAULTS[kind]

    def kind_of(self, source: str, name: str, target: str | None, head: bytes | None = None) -> Kind | None:
        """What a file holds; None for a pipe that has not been read, and for what is no .nvc file.

        head: its first bytes, where they have been. Raises UsageError where something was asked for that this kind of
        file has not, or that its output cannot be. name, target: of the input, of the output.
        """
        kind = kind_of_nvc(source, head)
        if kind is None:
            return None
        what = {Kind.PICTURE: "a picture", Kind.VIDEO: "a video"}[kind]
        for option in ("start", "frames", "max_frames") if kind == Kind.PICTURE else ():
            if getattr(self, option) is not None:
                option = option.replace("_", "-")
                raise UsageError(f"--{option}: for video only, and {printable(name)} is {what}")
        if self.write and self.format_of(kind) not in OF_KIND[kind]:
            known = ", ".join(OF_KIND[kind])
            raise UsageError(f"{printable(name)} is {what}, and no {self.format} is made of one: {known}")
        if self.write and kind == Kind.VIDEO and target is not None:
            self._check_video_target(name, target)
        return kind

    def _check_video_target(self, name: str, target: str) -> None:
        wanted = self.format_of(Kind.VIDEO)
        if target == STREAM and wanted not in STREAMABLE:
            raise UsageError(f"a video goes to stdout as {', '.join(STREAMABLE)}, not as {wanted}")
        if wanted == "png" and not is_pattern(target):
            raise UsageError(f"{printable(name)} is a video: as png it needs a pattern such as -o frame%04d.png")

    def suffix(self, source: str) -> str:
        """Of a derived name."""
        kind = kind_of_nvc(source) or Kind.PICTURE
        wanted = self.format_of(kind)
        suffix = {**VIDEO_FORMATS, **FORMATS}[wanted][0]
        return NUMBER + suffix if kind == Kind.VIDEO and wanted == "png" else suffix


def choose_format(wanted: str | None, output: str | None, inputs: tuple[str, ...]) -> str | None:
    """The format of the outputs, None for the usual one of each kind.

    Raises UsageError where neither `--format` nor a name tells.
    """
    if wanted is not None:
        return wanted
    if output == STREAM or (output is None and STREAM in inputs):
        raise UsageError(f"decoding to stdout needs --format {'|'.join(ALL_FORMATS)}")
    if output is None or output.endswith(os.sep) or os.path.isdir(output):
        return None
    suffix = os.path.splitext(output)[1].lower()
    for name, suffixes in [*FORMATS.items(), *VIDEO_FORMATS.items()]:
        if suffix in suffixes:
            return name
    raise UsageError(f"-o {output!r}: its name tells no format; add --format {'|'.join(ALL_FORMATS)}")
