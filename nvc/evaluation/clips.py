"""Clips as the evaluation sees them: frames in memory, what identifies them, and how a decoded clip is measured."""

import hashlib
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from nvc.errors import BadStream, InputError, LimitError
from nvc.evaluation.codecs import Codec
from nvc.evaluation.metrics import UInt8Array, psnr
from nvc.evaluation.results import Row
from nvc.evaluation.sources import find, probe
from nvc.frames import Frame420
from nvc.media.colour import frame_to_rgb, rgb_to_frame
from nvc.media.video_info import VideoInfo

SUFFIXES = frozenset({".mkv", ".mp4", ".webm", ".mov", ".y4m", ".avi"})
"""What a folder of clips is searched for."""

FRAMES = 33
"""Frames of a clip that are measured unless something else is asked for: two groups of 16 and the closing frame."""

EQUAL = 99.99
"""dB of a frame, or a plane of one, that comes back unchanged: means stay finite."""


@dataclass(frozen=True, eq=False)
class Clip:
    """frames: at least one, in display order; times: ticks of each; info: what else is known, audio left out."""

    frames: list[Frame420]
    times: list[int]
    info: VideoInfo

    @cached_property
    def rgb(self) -> list[UInt8Array]:
        """(H, W, 3) of every frame."""
        return [self.to_rgb(frame) for frame in self.frames]

    def to_rgb(self, frame: Frame420) -> UInt8Array:
        """A frame with this clip's colours as full-range RGB."""
        colour = self.info.colour
        return frame_to_rgb(frame, colour.matrix_for(self.info.width, self.info.height), colour.full_range)


@dataclass(frozen=True)
class Clips:
    """Clips as a medium of `rd.measure`. frames: measured of each clip, from its first on, as many as it has."""

    frames: int = FRAMES

    def find(self, paths: Sequence[Path]) -> list[Path]:
        """Files as given and, of folders, the clips directly inside."""
        return find(paths, SUFFIXES, "clips")

    def read(self, path: Path) -> Clip:
        """Raises InputError, LimitError."""
        from nvc.media.video_reader import open_video

        try:
            with open_video(path, frames=self.frames, audio=False) as reader:
                frames, times = zip(*reader, strict=True)
                return Clip(list(frames), list(times), reader.info)
        except (InputError, LimitError) as error:
            raise type(error)(f"{path}: {error}") from error

    def about(self, clip: Clip) -> dict[str, Any]:
        """Size, frames, rate and the digest of the samples."""
        info, digest = clip.info, hashlib.sha256()
        digest.update(struct.pack("<3Q", info.width, info.height, len(clip.frames)))
        for frame in clip.frames:
            for plane in frame.planes:
                digest.update(plane.tobytes())
        return {
            "width": info.width, "height": info.height, "digest": digest.hexdigest()[:16],
            "frames": len(clip.frames), "fps": str(info.frame_rate),
        }  # fmt: skip

    def probe(self) -> Clip:
        """Three frames of 80x64: a window that moves over the picture probe."""
        frames = [rgb_to_frame(probe()[:, 4 * t : 4 * t + 80], 6, False) for t in range(3)]
        return Clip(frames, [0, 1, 2], VideoInfo(80, 64, Fraction(25), Fraction(1, 25)))

    def has_ms_ssim(self, clip: Clip) -> bool:
        """It is measured on pictures alone."""
        return False

    def measure(self, name: str, clip: Clip, codec: Codec, setting: float, with_ms_ssim: bool = False) -> Row:
        """One file: encode, decode the bytes, compare. BadStream where other frames come back than went in."""
        start = time.perf_counter()
        data = codec.encode(clip, setting)
        encoded = time.perf_counter()
        decoded: list[Frame420] = codec.decode(data)
        stop = time.perf_counter()
        sizes = {(frame.width, frame.height) for frame in decoded}
        if len(decoded) != len(clip.frames) or sizes != {(clip.info.width, clip.info.height)}:
            raise BadStream(f"{name}: {codec.name} made {len(decoded)} frames of {sizes} of {len(clip.frames)}")
        return Row(
            picture=name,
            codec=codec.name,
            setting=setting,
            bytes=len(data),
            psnr=fmean(capped(a, clip.to_rgb(b)) for a, b in zip(clip.rgb, decoded, strict=True)),
            ms_ssim=None,
            encode_s=encoded - start,
            decode_s=stop - encoded,
            width=clip.info.width,
            height=clip.info.height,
            yuv_psnr=fmean(planes_psnr(a, b) for a, b in zip(clip.frames, decoded, strict=True)),
            frames=len(decoded),
            fps=clip.info.frame_rate,
        )


def planes_psnr(a: Frame420, b: Frame420) -> float:
    """(6·Y + U + V) / 8 of the three planes' PSNR in dB."""
    y, u, v = (capped(*pair) for pair in zip(a.planes, b.planes, strict=True))
    return (6 * y + u + v) / 8


def capped(a: UInt8Array, b: UInt8Array) -> float:
    """`metrics.psnr`, at most EQUAL."""
    return min(psnr(a, b), EQUAL)
