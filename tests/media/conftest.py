"""Clips made on the spot: a window that wanders over a photograph, coded by libav."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

PHOTO = np.asarray(Image.open(Path(__file__).parents[1] / "data" / "stair.png").convert("RGB"))

Clip = Callable[..., Path]


def window(index: int, width: int, height: int) -> np.ndarray:
    """(height, width, 3) of the photograph, two pixels further right and one further down with each frame."""
    return np.ascontiguousarray(PHOTO[index : index + height, 2 * index : 2 * index + width])


def add_tone(container: Any, codec: str, seconds: float, rate: int = 48000) -> list[bytes]:
    """A tone in a track of its own; the coded packets as they were muxed."""
    stream = container.add_stream(codec, rate=rate, layout="stereo")
    stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=rate, frame_size=size)
    coded = []
    for start in range(0, int(seconds * rate), size):
        wave = (8000 * np.sin(np.arange(start, start + size) * 0.05)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="s16p", layout="stereo")
        frame.rate, frame.pts = rate, start
        for ready in resampler.resample(frame):
            coded += stream.encode(ready)
    coded += stream.encode(None)
    data = [bytes(packet) for packet in coded]
    container.mux(coded)
    return data


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """make(name, …) -> path of a new clip; pts in ticks of time_base, colour = (primaries, transfer, matrix, range)."""

    def make(
        name: str,
        *,
        codec: str = "ffv1",
        pix_fmt: str = "yuv420p",
        size: tuple[int, int] = (64, 48),
        count: int = 5,
        pts: Sequence[int] | None = None,
        time_base: Fraction = Fraction(1, 25),
        rate: Fraction = Fraction(25),
        colour: tuple[int, int, int, int] | None = None,
        rotation: int = 0,
        aspect: Fraction | None = None,
        options: dict[str, str] | None = None,
        audio: str = "",
        flags: int = 0,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = *size, pix_fmt
            context.time_base = stream.time_base = time_base
            context.thread_count = 1
            if colour:
                context.color_primaries, context.color_trc, context.colorspace, context.color_range = colour
            if aspect:
                context.sample_aspect_ratio = aspect
            if flags:
                context.flags |= flags
            if rotation:
                stream.set_display_rotation(rotation)
            if audio:
                add_tone(container, audio, count / 25)
            for index, stamp in enumerate(pts if pts is not None else range(count)):
                frame = av.VideoFrame.from_ndarray(window(index, *size), format="rgb24").reformat(format=pix_fmt)
                frame.pts, frame.time_base = stamp, time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def libav_planes() -> Callable[[Path], list[list[np.ndarray]]]:
    """Planes of every frame as libav decodes them, without nvc."""

    def planes(path: Path) -> list[list[np.ndarray]]:
        with av.open(str(path)) as container:
            return [
                [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].copy() for p in frame.planes]
                for frame in container.decode(video=0)
            ]

    return planes
