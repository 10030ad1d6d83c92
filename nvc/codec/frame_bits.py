"""The bits of every part of every frame of a video file, from its parse alone: no picture is made."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from nvc.bitstream.header import MAX_PIXELS, QUALITY_STEPS
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_reader import MAX_FRAMES, VideoReader
from nvc.codec.frame_coding import PARTS, FrameCoder, Key
from nvc.codec.latents import Content
from nvc.codec.video_model import VideoModel
from nvc.entropy_models.reparameterized import Plan
from nvc.errors import BadStream


@dataclass(frozen=True, eq=False)
class ParsedFrame:
    """A frame whose payload was read. level: of its tables, 1..8.

    bits: of the coder, by (information, "masks" | "parameters" | "side" | "main"). plans: of its tables, by
    (information, "side" | "main"); empty where the frame is not re-parameterised.
    """

    coded: VideoFrame
    level: int
    content: Content
    bits: dict[tuple[str, str], float]
    plans: dict[Key, Plan]


def parse_frames(
    stream: BinaryIO, model: VideoModel, *, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES
) -> Iterator[ParsedFrame]:
    """Frames of a file in coding order. Raises as VideoReader does, BadStream for a payload that is damaged."""
    reader = VideoReader(stream, max_pixels=max_pixels, max_frames=max_frames)
    header, backend = reader.header, model.backend
    coder = FrameCoder(backend, model.tables)
    for part in reader:
        if not isinstance(part, VideoFrame):
            continue
        level = header.quality_code // QUALITY_STEPS + 1 + part.table_set
        if level > backend.levels or part.type not in backend.informations:
            raise BadStream(f"frame {part.display}: its type or tables are not of its codec; damaged")
        bits: dict[tuple[str, str], float] = {}
        try:
            content = coder.decode(
                part.type, part.payload, part.reparameterised, level, header.quality_code,
                (header.height, header.width), bits,
            )  # fmt: skip
        except BadStream as exc:
            raise BadStream(f"frame {part.display}: {exc}") from exc
        keys = [(name, half) for name in content.latents for half in PARTS] if part.reparameterised else []
        yield ParsedFrame(part, level, content, bits, {key: coder.plan(*key) for key in keys})
