"""FORMAT.md is enough to write a decoder of video: the referee, written from it, decodes to the planes of nvc."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import video_referee  # noqa: E402
from video_streams import I, P, build, clip, encode, random_latents, show  # noqa: E402

from nvc.bitstream.video_boxes import AudioPacket  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402

GOLDEN = HERE / "golden" / "video"
MODELS = {"video": "tiny_video", "contexts": "tiny_contexts"}  # by folder of golden streams
GOOD, BAD = (
    [(folder, path.stem) for folder in MODELS for path in sorted((HERE / "golden" / folder / place).glob("*.nvc"))]
    for place in (".", "bad")
)


def weight_file(folder: str) -> Path:
    return HERE / "data" / f"{MODELS[folder]}.safetensors"


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> VideoModel:
    return VideoModel(weight_file(request.param))


@pytest.fixture(scope="module")
def weights(model: VideoModel) -> bytes:
    return model.path.read_bytes()


def agree(data: bytes, model: VideoModel, weights: bytes) -> video_referee.Video:
    """Both decoders show the same; what the referee saw."""
    seen = video_referee.decode(data, weights)
    shown = show(data, model)
    assert [time for time, _ in seen.frames] == [frame.time for frame in shown]
    for (_, planes), frame in zip(seen.frames, shown, strict=True):
        for ours, theirs in zip(frame.frame.planes, planes, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    return seen


@pytest.mark.parametrize(("folder", "name"), GOOD)
def test_golden_streams(folder: str, name: str) -> None:
    path = weight_file(folder)
    data = (HERE / "golden" / folder / f"{name}.nvc").read_bytes()
    seen = agree(data, VideoModel(path), path.read_bytes())
    if name in ("replaced", "foreign"):
        assert seen.replaced > 0
    if name == "replaced":
        assert seen.reused > 0


@pytest.mark.parametrize(("folder", "name"), BAD)
def test_bad_streams(folder: str, name: str) -> None:
    data, weights = (HERE / "golden" / folder / "bad" / f"{name}.nvc").read_bytes(), weight_file(folder).read_bytes()
    with pytest.raises(video_referee.Invalid):
        video_referee.decode(data, weights)


@pytest.mark.parametrize("quality", [1.0, 6.6])
def test_clips(quality: float, model: VideoModel, weights: bytes) -> None:
    frames = clip(35, 66, 3, "stair", (1, 2))
    agree(encode(model, frames, quality)[0], model, weights)


def test_boxes_beside_the_frames() -> None:
    data, path = (GOLDEN / "sounding.nvc").read_bytes(), weight_file("video")
    seen = agree(data, VideoModel(path), path.read_bytes())
    reader = VideoReader(io.BytesIO(data))
    packets = [part for part in reader if isinstance(part, AudioPacket)]
    assert seen.streams == {0: "aac"}
    assert seen.packets == [(p.pts, p.duration, p.key, p.data) for p in packets]
    assert seen.duration == reader.duration == 200


@pytest.mark.parametrize("seed", range(3))
def test_symbols_that_no_clip_has(seed: int, model: VideoModel, weights: bytes) -> None:
    """Escapes up to the limit, latents, flows and residuals at their clamps, tables replaced for noise."""
    random = np.random.default_rng(seed)
    spreads: list[list[float]] = [[0, 0.4, 60000], [1, 2.5], [5, 200]]
    frames: list[Any] = []
    for i in range(4):
        kind = P if i % 3 else I
        frames.append((kind, random_latents(model, kind, (50, 40), random, spreads[seed]), int(random.integers(2))))
    agree(build(model, (50, 40), 1 + 6.999 * random.random(), frames), model, weights)
