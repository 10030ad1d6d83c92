"""Frames and audio into Matroska (FFV1) or MP4 (H.264), through PyAV."""

from contextlib import ExitStack
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av import Packet, VideoFrame

from nvc.errors import OutputError
from nvc.frames import Frame420
from nvc.media.audio import AudioPacket, template
from nvc.media.libav_guard import guarded
from nvc.media.video_info import VideoInfo

_BUFFER = 1 << 20  # bytes libav hands to a file object at once
_CANNOT = "cannot be written"

# level 3: slices, a CRC for each; every frame stands alone; range coder with its default table
_FFV1 = {"level": "3", "slicecrc": "1", "g": "1", "coder": "1", "context": "0"}
_X264 = {"crf": "4", "preset": "veryfast", "profile": "high"}
_MUXERS = {"mkv": ("matroska", "ffv1", _FFV1), "mp4": ("mp4", "libx264", _X264)}


# PCM, DTS and TrueHD have a place in MP4 that hardly any player looks at
_MP4_AUDIO = ("aac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "alac", "vorbis")


class ContainerSink:
    """One video stream and, where the container takes it, one of audio. `file` is not closed."""

    def __init__(self, file: BinaryIO, format: str, info: VideoInfo, threads: int) -> None:
        muxer, codec, options = _MUXERS[format]
        if format == "mp4" and (info.width % 2 or info.height % 2):
            raise OutputError(
                f"H.264 in 4:2:0 has no odd sizes ({info.width}x{info.height}): use mkv, which keeps them"
            )
        self._info, self._file = info, file
        self.warnings: list[str] = []
        self._last_audio: int | None = None
        self._audio_gap = 0  # ticks between the last two packets
        self._stack = ExitStack()
        with self._stack, guarded(OutputError, _CANNOT):
            self._container = av.open(file, "w", format=muxer, options={"fflags": "+bitexact"}, buffer_size=_BUFFER)
            self._stack.callback(self._container.close)
            self._video: Any = self._container.add_stream(codec, rate=info.frame_rate, options=dict(options))
            self._describe_video(threads, format)
            self._audio = None
            if format == "mkv" and info.pixel_aspect != 1:  # PyAV has no way to tell Matroska's muxer
                shape = f"{info.pixel_aspect.numerator}:{info.pixel_aspect.denominator}"
                self.warnings.append(f"mkv: the shape of pixels, {shape}, is left out (mp4 and y4m keep it)")
            if info.audio is not None:
                try:
                    if format == "mp4" and info.audio.codec not in _MP4_AUDIO:
                        raise ValueError
                    source = self._stack.enter_context(template(info.audio))
                    self._audio = self._container.add_stream_from_template(source)
                    self._audio.codec_context.extradata = info.audio.extradata or None
                    self._audio.time_base = info.audio.time_base
                except (ValueError, KeyError, av.error.FFmpegError):
                    self.warnings.append(f"{format} does not take {info.audio.codec} audio: left out")
            self._container.start_encoding()
            self._stack = self._stack.pop_all()

    def _describe_video(self, threads: int, format: str) -> None:
        info, context = self._info, self._video.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, "yuv420p"
        context.time_base = info.time_base
        context.thread_count = threads
        context.thread_type = "SLICE" if format == "mkv" else "AUTO"
        context.sample_aspect_ratio = info.pixel_aspect
        context.color_primaries = info.colour.primaries
        context.color_trc = info.colour.transfer
        context.colorspace = info.colour.matrix
        context.color_range = 2 if info.colour.full_range else 1
        self._video.time_base = info.time_base
        if format == "mkv":
            # Fixed by the size, so that bytes do not depend on the number of cores. Level 3 cannot cut all odd sizes.
            whole = info.width % 2 or info.height % 2 or min(info.width, info.height) < 64
            slices = 1 if whole else 4 if info.width * info.height < 1 << 19 else 12
            context.options = {**context.options, "slices": str(slices)}

    def write(self, frame: Frame420, pts: int) -> None:
        """The next frame."""
        with guarded(OutputError, _CANNOT):
            picture = VideoFrame(frame.width, frame.height, "yuv420p")
            for plane, samples in zip(picture.planes, frame.planes, strict=True):
                rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
                rows[:, : plane.width] = samples
            picture.pts, picture.time_base = pts, self._info.time_base
            picture.duration = self._info.frame_ticks
            picture.color_range = 2 if self._info.colour.full_range else 1
            for packet in self._video.encode(picture):
                self._container.mux_one(packet)

    def write_audio(self, packet: AudioPacket) -> None:
        """The next packet, unless the container does not take its codec."""
        if self._audio is None or self._info.audio is None:
            return
        with guarded(OutputError, _CANNOT):
            coded = Packet(packet.data)
            coded.stream = self._audio
            coded.pts = coded.dts = packet.pts
            if self._last_audio is not None:
                self._audio_gap = max(0, packet.pts - self._last_audio)
            self._last_audio = packet.pts
            coded.duration = packet.duration or self._audio_gap  # MP4 would hide a last packet that takes no time
            coded.time_base = Fraction(self._info.audio.time_base)
            coded.is_keyframe = packet.key
            self._container.mux_one(coded)

    def close(self) -> None:
        """The encoder's last frames, and the index."""
        with self._stack, guarded(OutputError, _CANNOT):
            for packet in self._video.encode(None):
                self._container.mux_one(packet)
            self._container.close()
            self._file.flush()

    def abort(self) -> None:
        """Let go without an index."""
        try:
            self._stack.close()
        except (av.error.FFmpegError, OSError, ValueError):
            return  # the disk is full or the pipe is gone: that is why
