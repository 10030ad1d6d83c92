"""Frames as plain samples: y4m with its head, or headerless YUV."""

from typing import BinaryIO

import numpy as np

from nvc.frames import Frame420
from nvc.media.audio import AudioPacket
from nvc.media.video_info import VideoInfo


class RawSink:
    """y4m (mjpegtools' yuv4mpeg(5), with the X tags that FFmpeg reads) or YUV 4:2:0 without a head, to any stream."""

    def __init__(self, file: BinaryIO, info: VideoInfo, *, y4m: bool) -> None:
        self._file, self._info, self._y4m = file, info, y4m
        self._count = 0
        self.warnings: list[str] = []
        name = "y4m" if y4m else "yuv"
        if info.audio is not None:
            self.warnings.append(f"{name} holds no audio: left out")
        self._name = name

    def write(self, frame: Frame420, pts: int) -> None:
        """The next frame; its time is kept only as far as the frame rate goes."""
        if self._y4m:
            if self._count == 0:
                self._file.write(self._head())
            self._file.write(b"FRAME\n")
        for plane in frame.planes:
            self._file.write(np.ascontiguousarray(plane).data)
        note = off_beat(self._info, self._count, pts)
        if note and not any(note in line for line in self.warnings):
            self.warnings.append(f"{self._name} {note}")
        self._count += 1

    def write_audio(self, packet: AudioPacket) -> None:
        """There is no place for it."""

    def close(self) -> None:
        """Push out what is buffered."""
        self._file.flush()

    def abort(self) -> None:
        """Nothing to undo."""

    def _head(self) -> bytes:
        info = self._info
        rate, aspect = info.frame_rate, info.pixel_aspect
        fields = [
            f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip",
            f"A{aspect.numerator}:{aspect.denominator} C420jpeg XYSCSS=420JPEG",
            f"XCOLORRANGE={'FULL' if info.colour.full_range else 'LIMITED'}\n",
        ]
        return " ".join(fields).encode()


def off_beat(info: VideoInfo, index: int, pts: int) -> str:
    """Why a format without time stamps shows a frame at another time than `pts`; "" within a frame's time of it."""
    wanted = pts * info.time_base * info.frame_rate
    return "" if abs(wanted - index) < 1 else "keeps no time stamps: frames of variable rate become evenly spaced"
