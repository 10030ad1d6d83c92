"""nvc: a neural codec for pictures and video whose files decode to the same pixels on every machine.

    data = nvc.encode(array, quality=4.0)      # (H, W, 3), (H, W) or (H, W, 4) uint8 -> bytes of an .nvc file
    array = nvc.decode(data)

    nvc.encode_frames(frames, file, fps=25)    # nvc.frames.Frame420 each, to a binary file
    for frame in nvc.decode_frames(file): ...

The commands nvc-encode, nvc-decode and nvc-info are thin over the same code. Importing nvc loads nothing heavy.
"""

from typing import TYPE_CHECKING

from nvc.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from fractions import Fraction
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray

    from nvc.frames import Frame420

__all__ = ["__version__", "decode", "decode_frames", "encode", "encode_frames"]


def encode(
    array: "NDArray[np.uint8]",
    quality: float | None = None,
    *,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    rdoq: int | None = None,
    model: str | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    threads: int | None = None,
) -> bytes:
    """Code a picture.

    array: (H, W, 3) RGB, (H, W) grey, or (H, W, 4) RGB with alpha (kept losslessly); uint8.
    quality: 1.0 to 8.0 (default 4.0); or one of target_size in bytes, target_bpp in bits per pixel, target_psnr in
    dB. rdoq: passes of rate-distortion optimisation, 0 to 3 (default 2). icc, exif, xmp: raw metadata to keep in the
    file. model: name of an installed model, or path of a weight file. threads: None for all cores; never changes bytes.
    Returns the bytes of an .nvc file. Raises nvc.errors.UsageError, TargetError or InputError.
    """
    from nvc.codec.api import encode_array

    return encode_array(
        array, quality, target_size=target_size, target_bpp=target_bpp, target_psnr=target_psnr, rdoq=rdoq,
        model=model, icc=icc, exif=exif, xmp=xmp, threads=threads,
    )  # fmt: skip


def decode(data: bytes, *, max_pixels: int = 1 << 28, threads: int | None = None) -> "NDArray[np.uint8]":
    """Decode an .nvc picture: (H, W, 3), (H, W) or, with alpha, (H, W, 4) uint8.

    threads: None for all cores; never changes pixels.
    Raises nvc.errors.BadStream for a damaged or unknown file, LimitError above `max_pixels`.
    """
    from nvc.codec.api import decode_array

    return decode_array(data, max_pixels=max_pixels, threads=threads)


def encode_frames(
    frames: "Iterable[Frame420]",
    stream: "BinaryIO",
    quality: float | None = None,
    *,
    fps: "Fraction | int" = 25,
    codec: str = "auto",
    gop: int | None = None,
    intra_period: int = 32,
    closed_gop: bool = False,
    reparam: bool = True,
    model: str | None = None,
    threads: int | None = None,
) -> int:
    """Code a video, frame by frame, to a binary file or pipe; memory does not grow with its length.

    frames: nvc.frames.Frame420, all of one size, fps of them a second. quality: 1.0 to 8.0 (default 4.0).
    codec: of the catalogue; gop: frames from anchor to anchor; both as of nvc-encode.
    intra_period: most frames from one I frame to the next, 0 without limit; a multiple of gop, or any with closed_gop:
    then no frame refers to an I frame that is shown after it. reparam: fit entropy tables to each frame.
    model, threads: as of `encode`. Returns the number of bytes written.
    Raises nvc.errors.UsageError, or InputError for frames that differ in size, or none. For sound, time stamps and
    files of video: nvc.codec.clip_encoder.
    """
    from nvc.codec.api import encode_iterable

    return encode_iterable(
        frames, stream, quality, fps=fps, codec=codec, gop=gop, intra_period=intra_period, closed_gop=closed_gop,
        reparam=reparam, model=model, threads=threads,
    )  # fmt: skip


def decode_frames(
    stream: "BinaryIO",
    *,
    start: int = 0,
    count: int | None = None,
    model: str | None = None,
    max_pixels: int = 1 << 28,
    max_frames: int = 1 << 20,
    threads: int | None = None,
) -> "Iterator[Frame420]":
    """Decode an .nvc video, frame by frame in display order, each compared with its checksum.

    stream: a binary file or pipe; of one that can seek a range is decoded without what lies before it.
    start: the first frame, counted from 0; count: how many at most. model: a weight file, where it is not installed.
    Raises nvc.errors.BadStream for a damaged or unknown file, LimitError above a limit, UsageError. For sound and time
    stamps: nvc.codec.clip_decoder.
    """
    from nvc.codec.api import decode_iterable

    return decode_iterable(
        stream, start=start, count=count, model=model, max_pixels=max_pixels, max_frames=max_frames, threads=threads
    )
