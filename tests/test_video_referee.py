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
from referee_bidirectional import motion_between  # noqa: E402
from referee_conditional import nothing_coded  # noqa: E402
from referee_planes import latents  # noqa: E402
from video_streams import (  # noqa: E402
    B,
    I,
    P,
    any_coefficients,
    build,
    choosing,
    clip,
    encode,
    gop_of,
    random_choices,
    random_latents,
    show,
)

from nvc.bitstream.header import VideoParameters  # noqa: E402
from nvc.bitstream.video_boxes import AudioPacket  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.codec import borrowing, weight_files  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.predictors import Blocks  # noqa: E402
from nvc.codec.table_names import gather  # noqa: E402
from nvc.codec.transform import Layers  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.codec.weight_files import TensorFile  # noqa: E402
from nvc.errors import InputError  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks import aivc_integer, symmetric  # noqa: E402
from nvc.networks.filters import Filter  # noqa: E402

GOLDEN = HERE / "golden" / "video"
# By folder of golden streams.
MODELS = {
    "video": "tiny_video", "contexts": "tiny_contexts", "levels": "tiny_levels", "lhbdc": "tiny_lhbdc",
    "aivc": "tiny_aivc", "overlap": "tiny_overlap", "fine": "tiny_fine", "layers": "tiny_layers",
    "filters": "tiny_filters", "blocks": "tiny_blocks",
}  # fmt: skip
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
    if name == "replaced" or (folder in ("lhbdc", "aivc") and name == "foreign"):
        assert seen.reused > 0


def test_weights_of_two_files(tmp_path: Path) -> None:
    """Tensors that a weight file has of its base."""
    whole, base, thin = weight_file("contexts"), weight_file("video"), tmp_path / "thin.safetensors.gz"
    borrowing.write(thin, read_tensors(whole, ""), TensorFile(whole).metadata, base)
    merged = video_referee.read_weights(thin.read_bytes(), base.read_bytes())
    assert video_referee.model_id(merged) == VideoModel(whole).id
    data = (HERE / "golden" / "contexts" / "replaced.nvc").read_bytes()
    one, other = (
        video_referee.decode(data, *files) for files in ((whole.read_bytes(),), (thin.read_bytes(), base.read_bytes()))
    )
    for (_, planes), (_, again) in zip(one.frames, other.frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes, again, strict=True))
    with pytest.raises(video_referee.Invalid, match="weights of another model"):
        video_referee.decode(data, thin.read_bytes())


def test_equal_tensors_stored_once(tmp_path: Path) -> None:
    """One of them under a name that a decoder does not know."""
    whole, folded = weight_file("lhbdc"), tmp_path / "folded.safetensors.gz"
    tensors, metadata = read_tensors(whole, ""), TensorFile(whole).metadata
    borrowing.write(folded, tensors | {"ablation.copy": tensors["decoder.intra.linear"]}, metadata)
    stored = TensorFile(folded)
    assert not stored.names & {"decoder.intra.linear", "decoder.residual.linear"}
    weights, data = folded.read_bytes(), (HERE / "golden" / "lhbdc" / "foreign.nvc").read_bytes()
    assert video_referee.model_id(video_referee.read_weights(weights)) == VideoModel(whole).id
    agree(data, VideoModel(folded), weights)
    left_out = "decoder.residual.linear"
    lies = [
        {name: stored.tensors()[name] for name in stored.names - {"decoder.biresidual.linear"}},
        stored.tensors() | {left_out: tensors[left_out]},
    ]
    for lie in lies:
        weight_files.write(folded, lie, stored.metadata)
        with pytest.raises(InputError, match=f"not a sound weight file: .*{left_out}"):
            VideoModel(folded)
        with pytest.raises(video_referee.Invalid, match="a tensor"):
            video_referee.decode(data, folded.read_bytes())


@pytest.mark.parametrize(("folder", "name"), BAD)
def test_bad_streams(folder: str, name: str) -> None:
    data, weights = (HERE / "golden" / folder / "bad" / f"{name}.nvc").read_bytes(), weight_file(folder).read_bytes()
    with pytest.raises(video_referee.Invalid):
        video_referee.decode(data, weights)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tables.residual.3.main.size", ""),
        ("tables.residual.3.context.row", ""),
        ("tables.residual.3.context.row", "tables.residual.context.row"),
        ("tables.residual.3.main.offset", "tables.residual.main.offset"),
        ("tables.residual.3.main.offset", "tables.residual.9.main.offset"),
        ("tables.residual.context.mix", "tables.residual.8.context.mix"),
        ("tables.motion.main.size", "tables.motion.3.main.size"),
        ("tables.motion.context.row", "tables.motion.3.context.row"),
    ],
)
def test_main_tables_of_mixed_forms(old: str, new: str) -> None:
    """Neither takes them. Without a new name the tensor is missing."""
    header = video_referee.Header(video_referee.boxes((HERE / "golden" / "levels" / "sets.nvc").read_bytes())[0][1])
    tensors, information = read_tensors(weight_file("levels"), ""), old.split(".")[1]
    referee = video_referee.Decoder(header, tensors, video_referee.Video())
    assert referee.levelled(information) == (information == "residual")
    value = tensors.pop(old)
    tensors |= {new: value} if new else {}
    with pytest.raises(video_referee.Invalid):
        video_referee.Decoder(header, tensors, video_referee.Video()).levelled(information)
    with pytest.raises((KeyError, ValueError)):
        gather({name.removeprefix("tables."): v for name, v in tensors.items()}, information, 3, 8)


@pytest.mark.parametrize("quality", [1.0, 6.6])
def test_clips(quality: float, model: VideoModel, weights: bytes) -> None:
    gop = gop_of(model)
    frames = clip(35, 66, 3 if gop == 1 else 6, "stair", (1, 2))
    agree(encode(model, frames, quality, gop=gop)[0], model, weights)


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
    order, displays, video = [I, P, P, I], [0, 1, 2, 3], VideoParameters(1, 25)
    if gop_of(model) > 1:
        order, displays = [I, P, B, B, B, I, B], [0, 4, 2, 1, 3, 6, 5]
        video = VideoParameters(1, 25, gop_log2=2, low_latency=False)
    frames: list[Any] = []
    for kind in order:
        given = random_latents(model, kind, (50, 40), random, spreads[seed])
        choices = random_choices(model, kind, random)
        coefficients = any_coefficients(model, kind, choices, (50, 40), random)
        frames.append((kind, given, int(random.integers(2)), choices, coefficients))
    agree(build(model, (50, 40), 1 + 6.999 * random.random(), frames, video, displays=displays), model, weights)


@pytest.mark.parametrize("quality", [1.0, 8.0])
@pytest.mark.parametrize("ends", [[-32767], [32767], [-32767, 32767]], ids=str)
def test_the_most_extreme_latents(ends: list[int], quality: float, model: VideoModel, weights: bytes) -> None:
    """Every symbol at an end, every choice the largest: nothing overflows, and what is decoded is exact."""
    random, size = np.random.default_rng(9), (20, 35)
    order, displays, video = [I, P, P], [0, 1, 2], VideoParameters(1, 25)
    if gop_of(model) > 1:
        order, displays, video = [I, P, B], [0, 2, 1], VideoParameters(1, 25, gop_log2=1, low_latency=False)
    frames: list[Any] = []
    for kind in order:
        latents = random_latents(model, kind, size, random, [1])
        for values in (part for pair in latents.values() for part in pair):
            values[:] = random.choice(ends, values.shape)
        choices = tuple((1 << width) - 1 for width in model.backend.choice_bits.get(kind, ()))
        choices = choosing(
            model, kind, choices, blocks=int(Blocks.SMOOTHED), layers=int(Layers.BOTH), filter=int(Filter.EIGHT)
        )
        coefficients = any_coefficients(model, kind, choices, size, random, 1.0, 1.0)
        if coefficients is not None:
            coefficients.blocks[:] = random.choice(ends, coefficients.blocks.shape)
        frames.append((kind, latents, 0, choices, coefficients))
    agree(build(model, size, quality, frames, video, displays=displays), model, weights)


@pytest.mark.parametrize("folder", ["lhbdc", "aivc"])
@pytest.mark.parametrize("quality", [1.0, 8.0])
def test_anchors_beyond_the_ends_of_the_scale(quality: float, folder: str) -> None:
    """P frames of all choices, above level 8 and below level 1, with the quality of the file's tables for either."""
    path, random = weight_file(folder), np.random.default_rng(3)
    model = VideoModel(path)
    frames: list[Any] = [(I, random_latents(model, I, (20, 40), random, [0.5, 2]), 0, ())]
    for drop in range(16):
        frames.append((P, random_latents(model, P, (20, 40), random, [0.3, 1, 30]), 0, (drop,)))
    video = VideoParameters(1, 25, gop_log2=0, low_latency=False)
    agree(build(model, (20, 40), quality, frames, video), model, path.read_bytes())


@pytest.mark.parametrize("code", [-15 * 1024, -1, 5000, 28672, 28672 + 8 * 1024])
def test_where_nothing_is_coded(code: int) -> None:
    """By steps of all levels, and down to a sixteenth of a symbol; beyond the ends of the scale of qualities too."""
    random = np.random.default_rng(6)
    for largest in (3000, 1):
        log_step = random.integers(0, largest, (8, 41)).astype(np.int32)
        mean = random.integers(-20, 20, (41, 9, 11)).astype(np.int16)
        symbols = random.integers(-1200, -400, mean.shape).astype(np.int32)
        symbols[40, 0, :2], mean[40, 0, :2] = -1024, (-8, -9)
        wide = (array.astype(np.int64) for array in (symbols, mean))
        y = latents(*wide, {"log_step": log_step.astype(np.int64)}, code)
        nothing = aivc_integer.skipped(symbols, mean, log_step, code)
        np.testing.assert_array_equal(nothing, nothing_coded(y))
        assert 0 < nothing.mean() < 1
    assert nothing[0, :2].tolist() == [False, True]  # of steps of 1: -1024.5 and what is a little less


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("shares", [(1, 1), (3, 1), (2, 5), (16, 16)])
@pytest.mark.parametrize("size", [(1, 1), (17, 70), (90, 33)])
def test_motion_between_references(size: tuple[int, int], shares: tuple[int, int], start: int) -> None:
    """On photographs that move further than the finest level searches, and on noise, which is wild and full of ties."""
    random = np.random.default_rng(5)
    moved = clip(*size, 2, "sign", (7, 11))
    noise = [Frame420(random.choice([0, 255], size).astype(np.uint8), frame.u, frame.v) for frame in moved]
    for first, second in (moved, noise):
        want = motion_between(first.y.astype(np.int64), second.y.astype(np.int64), *shares, start)
        got = symmetric.motion_between(first, second, *shares, start)
        np.testing.assert_array_equal(got, want[::-1])
