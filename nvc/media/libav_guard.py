"""Calls into libav through PyAV: what they raise becomes one line, and nothing that they open reaches a network."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from av.stream import Disposition

from nvc.errors import InputError, LimitError, NvcError

# What a file may be opened as. Not in the list: playlists and session descriptions, which name other files or hosts,
# and "image2", which reads a file name as a pattern. Single pictures and animations are there to be refused by name.
_DEMUXERS = """
    mov matroska avi mpegts mpeg mpegvideo h264 hevc vvc av1 obu ivf m4v h263 h261 yuv4mpegpipe rawvideo flv asf ogg nut
    mxf gxf dv wtv rm mjpeg vc1 cavsvideo dirac avs avs2 avs3 swf nuv roq smk bink dnxhd wav mp3 aac flac gif apng webp
    image2pipe png_pipe jpeg_pipe jpegls_pipe webp_pipe bmp_pipe tiff_pipe gif_pipe j2k_pipe jpegxl_pipe jpegxl_anim
    pgm_pipe ppm_pipe pbm_pipe pam_pipe sgi_pipe qoi_pipe psd_pipe pcx_pipe dpx_pipe exr_pipe hdr_pipe sunrast_pipe ico
"""
OPTIONS = {"protocol_whitelist": "none", "format_whitelist": ",".join(_DEMUXERS.split())}


@contextmanager
def guarded(error: type[NvcError], what: str) -> Iterator[None]:
    """Run a block of libav calls; what they raise becomes `error`, worded "what: why". NvcErrors pass.

    InputError for a stream whose decoder is missing says so; MemoryError becomes LimitError.
    """
    try:
        yield
    except NvcError:
        raise
    except MemoryError as foreign:
        raise LimitError("out of memory") from foreign
    except av.error.InvalidDataError as foreign:
        raise error(what) from foreign
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError, LookupError, TypeError, OverflowError) as foreign:
        raise error(f"{what}: {reason(foreign)}") from foreign


def reason(foreign: BaseException) -> str:
    """One line that says why a call failed, without libav's numbers and names for our files."""
    text = (isinstance(foreign, OSError) and foreign.strerror) or str(foreign) or type(foreign).__name__
    text = re.sub(r"\[Errno -?\d+\] ", "", str(text)).partition("; last error log:")[0]
    text = re.sub(r": '.*'( returned -?\d+)?$", "", re.sub(r"\s+", " ", text)).strip()[:200]
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def default_or_first(streams: list[Any]) -> Any:
    """Of at least one stream, the first that its container marks as default, else the first."""
    return next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])


def no_decoder(name: str) -> InputError:
    """What to raise for a codec that this libav cannot decode."""
    return InputError(f"no decoder here for its video codec ({name})")
