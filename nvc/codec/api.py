"""The functions behind nvc.encode and nvc.decode: numpy arrays in and out; and the same for frames of video."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nvc.codec import rate_control
from nvc.codec.catalogue import CATALOGUE, Entry, for_video
from nvc.codec.models import codec_of
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture, use_threads
from nvc.errors import InputError, UsageError
from nvc.frames import Frame420
from nvc.media.pictures import Metadata, Picture


def encode_array(
    array: NDArray[np.uint8],
    quality: float | None,
    *,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    rdoq: int | None,
    model: str | None,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    threads: int | None,
) -> bytes:
    """See nvc.encode."""
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise UsageError("a picture is a numpy array of uint8")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise UsageError(f"a picture has shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    if sum(x is not None for x in (quality, target_size, target_bpp, target_psnr)) > 1:
        raise UsageError("give one of quality, target_size, target_bpp and target_psnr")
    with_alpha = array.ndim == 3 and array.shape[2] == 4
    picture = Picture(
        np.ascontiguousarray(array[..., :3] if with_alpha else array),
        np.ascontiguousarray(array[..., 3]) if with_alpha else None,
        Metadata(icc=icc, exif=exif, xmp=xmp),
    )
    if rdoq is not None and not 0 <= rdoq <= 3:
        raise UsageError(f"rdoq {rdoq}: 0 to 3 passes")
    if quality is not None and not 1 <= quality <= 8:
        raise UsageError(f"quality {quality:g}: 1 to 8")
    for name, target in (("target_size", target_size), ("target_bpp", target_bpp), ("target_psnr", target_psnr)):
        if target is not None and not (math.isfinite(target) and target > 0):
            raise UsageError(f"{name} {target}: a number above 0")
    _check_threads(threads)
    encoder = PictureEncoder(picture, EncodeSettings(rdoq=rdoq, model=model, threads=threads))
    if target_bpp is not None:
        target_size = int(target_bpp * picture.width * picture.height / 8)
    if target_size is not None:
        return rate_control.to_size(encoder, target_size).data
    if target_psnr is not None:
        return rate_control.to_psnr(encoder, target_psnr).data
    return encoder.encode(quality).data


def decode_array(data: bytes, *, max_pixels: int, threads: int | None) -> NDArray[np.uint8]:
    """See nvc.decode."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"an .nvc file is bytes, not {type(data).__name__}")
    _check_threads(threads)
    picture = decode_picture(data, max_pixels=max_pixels, threads=threads)
    if picture.alpha is None:
        return picture.pixels
    pixels = picture.pixels if picture.pixels.ndim == 3 else np.repeat(picture.pixels[:, :, None], 3, axis=2)
    return np.dstack([pixels, picture.alpha])


def encode_iterable(
    frames: Iterable[Frame420],
    stream: BinaryIO,
    quality: float | None,
    *,
    fps: Fraction | int,
    codec: str,
    gop: int | None,
    intra_period: int,
    closed_gop: bool,
    reparam: bool,
    model: str | None,
    threads: int | None,
) -> int:
    """See nvc.encode_frames."""
    from nvc.codec.gop import Gop
    from nvc.codec.sequence_encoder import SequenceEncoder, SequenceSettings
    from nvc.codec.video_model import load
    from nvc.media.video_info import VideoInfo

    if quality is not None and not 1 <= quality <= 8:
        raise UsageError(f"quality {quality:g}: 1 to 8")
    if fps <= 0 or intra_period < 0:
        raise UsageError(f"fps {fps} must be above 0, and intra_period {intra_period} at least 0")
    _check_threads(threads)
    use_threads(threads)
    entry = _entry(codec, gop, intra_period, closed_gop, model)
    weights = load(model, entry.name)
    size = gop or entry.gop_for(intra_period, closed=closed_gop) or min(entry.gops)
    if size not in entry.gops or (intra_period % size and not closed_gop):
        raise UsageError(f"codec {entry.name}: no groups of {size} frames with an intra period of {intra_period}")
    settings = SequenceSettings(Gop(size, intra_period, closed_gop), reparam)
    encoder = None
    for index, frame in enumerate(frames):
        if encoder is None:
            info = VideoInfo(frame.width, frame.height, Fraction(fps), 1 / Fraction(fps))
            encoder = SequenceEncoder(stream, weights, info, weights.quality(quality), settings)
        for _ in encoder.push(frame, index):
            pass
    if encoder is None:
        raise InputError("no frames")
    for _ in encoder.finish():
        pass
    return encoder.bytes


def _entry(codec: str, gop: int | None, intra_period: int, closed_gop: bool, model: str | None) -> Entry:
    if codec == "auto":
        named = CATALOGUE.get(codec_of(model) or "") if model else None
        found = named or for_video(gop, intra_period, low_latency=False, closed=closed_gop)
    else:
        found = CATALOGUE.get(codec)
    if found is None or found.kind != "video":
        raise UsageError(f"codec {codec}: none of video has such groups of frames")
    return found


def decode_iterable(
    stream: BinaryIO,
    *,
    start: int,
    count: int | None,
    model: str | None,
    max_pixels: int,
    max_frames: int,
    threads: int | None,
) -> Iterator[Frame420]:
    """See nvc.decode_frames."""
    from nvc.codec.clip_decoder import ClipDecoder
    from nvc.codec.sequence_decoder import DecodedFrame

    _check_threads(threads)
    use_threads(threads)
    events = ClipDecoder(
        stream, start=start, frames=count, model=model, max_pixels=max_pixels, max_frames=max_frames
    )  # fmt: skip
    return (event.frame for event in events if isinstance(event, DecodedFrame))


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: at least 1, or None for all cores")
