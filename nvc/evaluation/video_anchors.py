"""H.264 and H.265 to measure video against: x264 and x265 as libav brings them, elementary streams, really decoded.

Settings are constant rate factors. A file is the stream in Annex B with its parameter sets, at every I frame again; the
note of its options that an encoder adds (SEI user data, some 700 bytes) is not counted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np

from nvc.errors import InputError, NvcError, UsageError
from nvc.evaluation.clips import Clip
from nvc.evaluation.codecs import OptionsInName
from nvc.frames import Frame420
from nvc.media.colour import Colour
from nvc.media.libav_guard import guarded
from nvc.media.video_convert import convert, pixel_format

LATENCIES = ("zero", "normal")
MOST_CRF = 51
_SEI = rb"\x00?\x00\x00\x01\x06.*?(?=\x00?\x00\x00\x01|\Z)"  # of H.264: start code, type, up to the next


@dataclass(frozen=True)
class _LibavCodec(OptionsInName):
    """latency: "zero" is the tune zerolatency (no B frames, no look-ahead), "normal" no tune.

    intra: frames from I to I with scene cuts off, 0 = as the encoder likes, with its own scene cuts.
    preset: speed against size. psy: 0 switches off what the encoder does for the eye at the cost of PSNR.
    threads: bytes depend on it a little; with one they are the same on every machine.
    """

    latency: str = "zero"
    intra: int = 32
    preset: str = "medium"
    psy: int = 1
    threads: int = 1
    medium = "video"
    encoder = decoder = ""

    def __post_init__(self) -> None:
        if self.latency not in LATENCIES:
            raise UsageError(f"latency is one of {', '.join(LATENCIES)}, not {self.latency}")
        if self.psy not in (0, 1) or self.intra < 0 or self.threads < 1:
            raise UsageError("psy is 0 or 1, intra at least 0, threads at least 1")

    @property
    def ladder(self) -> tuple[float, ...]:
        return (14, 18, 22, 26, 30, 34, 38, 42, 46)

    def version(self) -> str:
        libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
        return f"PyAV {av.__version__}, libavcodec {libavcodec}, {self.encoder}"

    def model_id(self, data: bytes) -> str:
        return ""

    def encode(self, clip: Clip, setting: float) -> bytes:
        """An elementary stream; every frame lasts as long as the next."""
        if not 0 <= setting <= MOST_CRF:
            raise UsageError(f"{self.name}: a rate factor is 0..{MOST_CRF}, not {setting:g}")
        with guarded(NvcError, f"{self.encoder} cannot encode this clip"):
            context = cast(Any, av.CodecContext.create(self.encoder, "w"))
            context.width, context.height, context.pix_fmt = clip.info.width, clip.info.height, "yuv420p"
            context.framerate = clip.info.frame_rate
            context.time_base = 1 / Fraction(clip.info.frame_rate)
            context.thread_count = self.threads
            tune = {"tune": "zerolatency"} if self.latency == "zero" else {}
            private = ":".join(f"{key}={value}" for key, value in self.parameters().items())
            context.options = {"preset": self.preset, "crf": f"{setting:g}", **tune, f"{self.base}-params": private}
            packets = []
            for index, frame in enumerate(clip.frames):
                packets += context.encode(_to_av(frame, index, context.time_base))
            packets += context.encode(None)
            return self.without_notes(b"".join(bytes(packet) for packet in packets))

    def without_notes(self, stream: bytes) -> bytes:
        """The stream without what its encoder says about itself."""
        return stream

    def parameters(self) -> dict[str, Any]:
        """In the encoder's own names."""
        raise NotImplementedError

    def decode(self, data: bytes) -> list[Frame420]:
        """Frames in display order."""
        with guarded(InputError, f"{self.decoder} cannot decode this stream"):
            return list(self._decoded(data))

    def _decoded(self, data: bytes) -> Iterator[Frame420]:
        context = cast(Any, av.CodecContext.create(self.decoder, "r"))
        context.thread_count = self.threads
        for packet in (*context.parse(data), *context.parse(None), None):
            for frame in context.decode(packet):
                yield convert(frame, pixel_format(frame.format.name), Colour())


@dataclass(frozen=True)
class X264(_LibavCodec):
    """H.264 of x264."""

    base = "x264"
    encoder, decoder = "libx264", "h264"

    def parameters(self) -> dict[str, Any]:
        return (
            ({"keyint": self.intra, "min-keyint": self.intra, "scenecut": 0} if self.intra else {"keyint": "infinite"})
            | ({} if self.psy else {"aq-mode": 0, "no-psy": 1})
            | {"open-gop": 0}
        )

    def without_notes(self, stream: bytes) -> bytes:
        """SEI units cut out; x264 writes one for its options, and no other with these."""
        return re.sub(_SEI, b"", stream, flags=re.DOTALL)


@dataclass(frozen=True)
class X265(_LibavCodec):
    """H.265 of x265."""

    base = "x265"
    encoder, decoder = "libx265", "hevc"

    def parameters(self) -> dict[str, Any]:
        return (
            ({"keyint": self.intra, "min-keyint": self.intra, "scenecut": 0} if self.intra else {"keyint": -1})
            | ({} if self.psy else {"aq-mode": 0, "psy-rd": 0, "psy-rdoq": 0})
            | {"pools": "none" if self.threads == 1 else self.threads, "frame-threads": 1}
            | {"open-gop": 0, "info": 0, "log-level": "none"}
        )


def _to_av(frame: Frame420, index: int, time_base: Fraction) -> av.VideoFrame:
    picture = av.VideoFrame(frame.width, frame.height, "yuv420p")
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
        rows[:, : plane.width] = samples
    picture.pts, picture.time_base = index, time_base
    return picture
