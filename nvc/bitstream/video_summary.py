"""What nvc-info says of a video file: every box checked, nothing decoded."""

from collections import Counter
from typing import Any, BinaryIO

from nvc.bitstream.boxes import FORMAT_NUMBER
from nvc.bitstream.header import MAX_PIXELS
from nvc.bitstream.video_boxes import AudioStream, Text
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_reader import MAX_FRAMES, VideoReader, parameters


def video_summary(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES) -> dict[str, Any]:
    """Summary ready for JSON, of a file that is read once. Raises as VideoReader does.

    Keys beside those of a picture's summary: fps ("num/den", nominal), duration (seconds), variable_rate, colour
    (H.273 code points), aspect, gop, low_latency, intra_period, frame_types and bytes_by_type (counts, and bytes of
    boxes, by I, P, B), reparameterised (frames), audio, text.
    """
    reader = VideoReader(stream, max_pixels=max_pixels, max_frames=max_frames)
    header, video = reader.header, parameters(reader.header)
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    audio: list[dict[str, Any]] = []
    text: list[list[str]] = []
    reparameterised = stepped = 0
    for part in reader:
        if isinstance(part, VideoFrame):
            counts[part.type.name] += 1
            sizes[part.type.name] += part.size
            reparameterised += part.reparameterised
            stepped += part.time != part.display * video.frame_duration
        elif isinstance(part, AudioStream):
            audio.append({"codec": part.codec, "rate": part.rate, "channels": part.channels, "layout": part.layout})
        elif isinstance(part, Text):
            text.append([part.key, part.value])
    return {
        "bytes": reader.bytes,
        "format": FORMAT_NUMBER,
        "codec": header.codec,
        "model_id": header.model_id.hex(),
        "width": header.width,
        "height": header.height,
        "frames": reader.frames,
        "grey": False,
        "alpha": False,
        "quality": header.quality,
        "table_level": header.table_level,
        "bpp": 8 * reader.bytes / (header.pixels * reader.frames),
        "parts": reader.sizes,
        "metadata": sorted({"TEXT"} if text else set()),
        "unknown": sorted(reader.unknown),
        "checksums": {"boxes": f"{reader.chain:08x}"},
        "fps": f"{video.fps.numerator}/{video.fps.denominator}",
        "duration": float((reader.duration or 0) * video.time_base),
        "variable_rate": bool(stepped),
        "colour": {
            "primaries": video.primaries,
            "transfer": video.transfer,
            "matrix": video.matrix,
            "full_range": video.full_range,
        },
        "aspect": f"{video.aspect_num}:{video.aspect_den}",
        "gop": video.gop,
        "low_latency": video.low_latency,
        "intra_period": video.intra_period,
        "frame_types": dict(counts),
        "bytes_by_type": dict(sizes),
        "reparameterised": reparameterised,
        "audio": audio,
        "text": text,
    }
