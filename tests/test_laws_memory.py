"""The laws about memory, over all codecs of video: of forged sizes, and of many frames. See test_laws.py."""

import gc
import io
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from test_laws import PAIRS, encode  # noqa: E402
from video_streams import clip, gop_of, show  # noqa: E402

from nvc.bitstream.video_frame import VideoFrame  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.codec.gop import Gop  # noqa: E402
from nvc.codec.sequence_decoder import SequenceDecoder  # noqa: E402
from nvc.codec.sequence_encoder import SequenceEncoder, SequenceSettings  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.media.video_info import VideoInfo  # noqa: E402


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def model(request: pytest.FixtureRequest) -> VideoModel:
    return VideoModel(HERE / "data" / f"{request.param[1]}.safetensors")


FORGED = """
import io, resource, sys
import numpy as np
from pathlib import Path
from nvc.bitstream.container import FrameType
from nvc.bitstream.header import Header, VideoParameters
from nvc.bitstream.video_writer import VideoWriter
from nvc.codec.video_model import VideoModel
from nvc.errors import BadStream
from video_streams import show

model = VideoModel(Path(sys.argv[1]))
words = np.random.default_rng(5).integers(0, 1 << 32, 50, np.uint64).astype("<u4")
words[1] >>= np.uint32(1)

def refused(width, height, code):
    stream = io.BytesIO()
    header = Header(model.entry.number, model.id, code, width, height, video=VideoParameters(1, 25))
    writer = VideoWriter(stream, header)
    writer.frame(FrameType.I, words.tobytes(), 0)
    writer.finish()
    try:
        show(stream.getvalue(), model)
    except BadStream:
        return True

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

refused(64, 64, 0), refused(64, 64, 28672)
before = peak()
told = [refused(*size, code) for size in ((16384, 16384), (1 << 24, 16), (16, 1 << 24)) for code in (0, 28672)]
print(peak() - before, all(told))
"""


def test_forged_size(model: VideoModel) -> None:
    """2^28 pixels claimed, 200 bytes of stream: refused within 32 MiB (one frame alone would take 400)."""
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"}
    command = [sys.executable, "-c", FORGED, str(model.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    grown, told = done.stdout.split()
    assert told == "True"
    assert int(grown) <= 32


# ---- 6: memory does not grow with the number of frames


def held_after(count: int, model: VideoModel, source: list[Frame420]) -> int:
    """Bytes that encoder and decoder hold after so many frames, the file itself taken off."""
    info = VideoInfo(source[0].width, source[0].height, Fraction(25), Fraction(1, 25))
    gc.collect()
    tracemalloc.start()
    stream = io.BytesIO()
    encoder = SequenceEncoder(stream, model, info, 4.5, SequenceSettings(gop=Gop(gop_of(model), 16)))
    coded = sum(1 for i in range(count) for _ in encoder.push(source[i % len(source)], i))
    coded += sum(1 for _ in encoder.finish())
    size = stream.tell()
    stream.seek(0)
    reader = VideoReader(stream)
    decoder = SequenceDecoder(reader.header, model)
    shown = sum(isinstance(part, VideoFrame) and decoder.frame(part) is not None for part in reader)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert coded == shown == count
    return held - size


def test_memory_does_not_grow_with_the_number_of_frames(model: VideoModel) -> None:
    """No frame is kept, nor its latents."""
    source = clip(32, 48, 8)
    show(encode(model, source, 4.5)[0], model)  # what is loaded and compiled only once
    few, many = held_after(20, model, source), held_after(100, model, source)
    assert many - few < 80 * 32 * 48 / 4
