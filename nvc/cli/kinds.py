"""Picture or video: told from the first bytes of an input, else from its name."""

import io
import os
import sys
import tempfile
from typing import BinaryIO, Final, cast

from nvc.bitstream.header import Kind, sniff_kind
from nvc.cli.files import STREAM, is_pattern, is_special
from nvc.errors import BadStream, InputError

HEAD: Final = 400  # bytes that tell: two packets of an MPEG transport stream

# What a walk through a folder takes. A file named by itself is judged by its content first.
PICTURE_SUFFIXES: Final = frozenset(
    [
        *(".avif", ".bmp", ".dib", ".gif", ".ico", ".jpe", ".jpeg", ".jpg", ".jfif", ".jp2", ".pbm", ".pcx", ".pgm"),
        *(".apng", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".webp"),
    ]
)
VIDEO_SUFFIXES: Final = frozenset(
    [
        *(".3gp", ".avi", ".flv", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
        *(".y4m", ".yuv"),
    ]
)
_VIDEO_STARTS: Final = (
    *(b"\x1aE\xdf\xa3", b"YUV4MPEG2", b"OggS", b"FLV\x01", b"DKIF", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),
    *(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x06\x0e\x2b\x34\x02\x05\x01\x01", b"nut/multimedia container"),
)
_PICTURE_STARTS: Final = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"8BPS", b"qoif"),
    *(b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51", b"\x00\x00\x01\x00", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
)
_PACKET: Final = 188  # bytes, of an MPEG transport stream
_STILL_BRANDS: Final = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"jxl ")


def kind_of_source(path: str, head: bytes | None = None, default: Kind = Kind.PICTURE) -> Kind | None:
    """Of an input of nvc-encode. None for a pipe that has not been read.

    head: its first bytes where they have been read; default: of an input whose bytes and name say nothing
    """
    if head is None and is_pattern(path):
        return Kind.VIDEO
    if head is None:
        if path == STREAM or is_special(path):
            return None
        head = first_bytes(path)
    kind = kind_of_content(head)
    if kind is not None:
        return kind
    suffix = os.path.splitext(path)[1].lower()
    if suffix in VIDEO_SUFFIXES:
        return Kind.VIDEO
    transport = len(head) > _PACKET and head[0] == head[_PACKET] == ord("G")
    return Kind.PICTURE if suffix in PICTURE_SUFFIXES else Kind.VIDEO if transport else default


def kind_of_content(head: bytes) -> Kind | None:
    """What first bytes of a known format say."""
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        return Kind.VIDEO if head[8:12] == b"AVI " else Kind.PICTURE
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return Kind.PICTURE
    if head.startswith(_VIDEO_STARTS) or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return Kind.VIDEO
    return Kind.PICTURE if head.startswith(_PICTURE_STARTS) else None


def kind_of_nvc(path: str, head: bytes | None = None) -> Kind | None:
    """Of an input of nvc-decode, as above; None too for what is no .nvc file, which the decoder words."""
    if head is None and (path == STREAM or is_special(path)):
        return None
    try:
        return sniff_kind(first_bytes(path) if head is None else head)
    except BadStream:
        return None


def open_input(source: str) -> BinaryIO:
    """A file, a FIFO or stdin (`-`), to be read from its beginning. Raises InputError."""
    if source == STREAM and sys.stdin is None:
        raise InputError("cannot be read: it is closed")
    try:
        return open(sys.stdin.fileno() if source == STREAM else source, "rb", closefd=source != STREAM)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error


def peeked(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Its first bytes, and a stream with all of them."""
    head = b""
    try:
        while len(head) < HEAD and (more := stream.read(HEAD - len(head))):
            head += more
        if stream.seekable():
            stream.seek(0)
            return head, stream
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    return head, cast(BinaryIO, io.BufferedReader(_Rejoined(head, stream), 1 << 16))


def spooled(stream: BinaryIO) -> BinaryIO:
    """A stream that can be sought: itself, or its content in a file in TMPDIR that goes with it."""
    if stream.seekable():
        return stream
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # closed by whoever reads it
    try:
        while data := stream.read(1 << 20):
            file.write(data)
    except OSError as error:
        raise InputError(f"cannot be read, or TMPDIR is full: {error.strerror or error}") from error
    file.seek(0)
    return file


def first_bytes(path: str) -> bytes:
    """As many as tell; none of a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:  # said by whoever reads it
        return b""


class _Rejoined(io.RawIOBase):
    """A stream behind the bytes that were read from it."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._rest.read(len(buffer)) or b""
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
